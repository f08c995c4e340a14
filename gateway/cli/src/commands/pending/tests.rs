//! Rows of `pending` as a gateway gives them, honest and not.

use super::*;
use crate::testing::{Customer, start};
use belay_certs::{Id, PrivateKey, policy::Chain, sshsig, time::DAY};

struct Scene {
    acme: Customer,
    chain: Chain,
    join_key: PrivateKey,
    host_key: PrivateKey,
}

impl Scene {
    fn new() -> Self {
        let acme = Customer::new("acme", "");
        let chain = Chain::begin(&acme.versions[0]).unwrap();
        let key = || PrivateKey::generate_ed25519("x").unwrap();
        Self { acme, chain, join_key: key(), host_key: key() }
    }

    fn token(&self) -> Token {
        Token {
            tenant: self.acme.name.clone(),
            id: Id::random().unwrap(),
            join_key: self.join_key.public().clone(),
            policy0: self.chain.policy0(),
            policy_version: 0,
            policy: self.chain.digest(),
            uses: 1,
            issued: start(),
            expires: start().plus(DAY),
            labels: vec!["server".into()],
            name_pattern: "web*".parse().unwrap(),
            addresses: vec!["gw.example:4433".into()],
            transport_ca: vec![Digest::of(b"ca")],
        }
    }

    fn row(&self, token: &Token, signer: &PrivateKey) -> Row {
        let text = token.to_text();
        let request = JoinRequest {
            tenant: token.tenant.clone(),
            token: Digest::of(text.as_bytes()),
            host_key: self.host_key.public().clone(),
            transport_key: Digest::of(b"transport"),
            name: "web1".parse().unwrap(),
            machine_id: Digest::of(b"machine"),
            nonce: Id::random().unwrap(),
            issued: start().plus(DAY / 2),
        };
        let sent = join::sign(&request, &self.join_key, &self.host_key).unwrap();
        Row {
            name: "web1.acme".into(),
            address: Some("192.0.2.1:5".into()),
            since: None,
            token: SentToken { signature: sshsig::sign(Namespace::Token, text.as_bytes(), signer).unwrap(), text },
            request: SentRequest {
                text: String::from_utf8(sent.bytes).unwrap(),
                by_join_key: sent.by_join_key,
                by_host_key: sent.by_host_key,
            },
            serial_next: 1,
            holder: None,
        }
    }

    fn verify(&self, row: &Row, now: Timestamp) -> Outcome<Candidate> {
        verify(|_| Ok(Policies { tenant: &self.chain, imports: Vec::new() }), row, now)
    }
}

fn soon() -> Timestamp {
    start().plus(DAY * 3 / 4)
}

#[test]
fn an_honest_row_becomes_a_candidate_with_signed_facts_only() {
    let scene = Scene::new();
    let row = scene.row(&scene.token(), &scene.acme.person);
    let candidate = scene.verify(&row, soon()).unwrap();
    assert_eq!(candidate.device.to_string(), "web1.acme");
    assert_eq!(candidate.host_key, *scene.host_key.public());
    assert_eq!(
        (candidate.labels.as_slice(), candidate.invited_by.to_string()),
        (["server".to_owned()].as_slice(), "alice".to_owned())
    );
    assert!(candidate.remark.is_empty());
}

#[test]
fn a_gateway_cannot_swap_the_key_the_name_or_the_token() {
    let scene = Scene::new();
    let honest = scene.row(&scene.token(), &scene.acme.person);
    let mut renamed = honest.clone();
    renamed.name = "db1.acme".into();
    assert!(scene.verify(&renamed, soon()).unwrap_err().sentence().contains("the machine signed web1.acme"));
    let mut swapped = honest.clone();
    let own = PrivateKey::generate_ed25519("gateway").unwrap();
    swapped.request.text = honest.request.text.replace(&scene.host_key.public().line(), &own.public().line());
    swapped.request.by_host_key = sshsig::sign(Namespace::Join, swapped.request.text.as_bytes(), &own).unwrap();
    assert!(scene.verify(&swapped, soon()).is_err());
    let mut other_token = honest;
    other_token.token = scene.row(&scene.token(), &scene.acme.person).token;
    assert!(scene.verify(&other_token, soon()).is_err());
}

#[test]
fn a_token_by_somebody_without_enrol_invites_nobody() {
    let scene = Scene::new();
    let stranger = PrivateKey::generate_ed25519("stranger").unwrap();
    let row = scene.row(&scene.token(), &stranger);
    assert!(scene.verify(&row, soon()).is_err());
    assert!(scene.verify(&row, start().plus(3 * DAY)).is_err());
}

#[test]
fn a_machine_that_asked_in_time_may_be_approved_after_its_token_expired() {
    let scene = Scene::new();
    let row = scene.row(&scene.token(), &scene.acme.person);
    let candidate = scene.verify(&row, start().plus(3 * DAY)).unwrap();
    assert!(candidate.remark.contains("expired"), "{}", candidate.remark);
    let late = Token { issued: start(), expires: start().plus(DAY / 4), ..scene.token() };
    let row = scene.row(&late, &scene.acme.person);
    assert!(scene.verify(&row, start().plus(3 * DAY)).is_err());
}

#[test]
fn a_row_of_another_shape_is_rejected_by_name() {
    let (_dir, home) = crate::testing::home();
    let acme = Customer::new("acme", "");
    home.pin(&acme.name, acme.pin(), crate::home::PinnedAs::Tenant).unwrap();
    acme.cache(&home);
    let trusted = Trusted::load(&home).unwrap();
    let rejected = judge(&trusted, json!({"name": "web1.acme", "serial_next": -1}), soon()).unwrap_err();
    assert_eq!(rejected.name, "web1.acme");
}
