//! What makes a machine join, what keeps it from joining, and what is true when it is cut off.

use super::*;
use crate::{
    quic::endpoint::tests::gateway,
    testbed::{Tenant, key, sign},
};
use belay_certs::{Fault, Namespace, Signed, join::SignedJoin, time::DAY, transport::TransportCa};
use belay_protocol::{FrameReader, GatewayPhase, JoinRefused, PolicyBytes, decode_frame};
use quinn::Endpoint;

/// A tenant, a gateway that takes joins for it, and a machine that wants in.
struct Bench {
    keep: tempfile::TempDir,
    tenant: Tenant,
    ca: TransportCa,
    endpoint: Endpoint,
}

fn today() -> Timestamp {
    Timestamp::from_system(std::time::SystemTime::now())
}

impl Bench {
    fn new() -> Self {
        let ca = TransportCa::generate("gw", today()).unwrap();
        let issued = ca.issue_server("gw.example", today(), 30 * belay_certs::time::DAY).unwrap();
        let endpoint = gateway(&issued.chain, &issued.key_der, ALPN_JOIN, None);
        let mut tenant = Tenant::new("acme");
        tenant.found(current);
        Self { keep: tempfile::tempdir().unwrap(), tenant, ca, endpoint }
    }

    fn token(&self) -> Token {
        Token {
            tenant: self.tenant.name(),
            id: Id::random().unwrap(),
            join_key: key("").public().clone(),
            policy0: self.tenant.policy0(),
            policy_version: self.tenant.draft.version,
            policy: Digest::of(&self.tenant.versions.last().unwrap().bytes),
            uses: 1,
            issued: today().whole_second(),
            expires: today().plus(DAY).whole_second(),
            labels: vec![],
            name_pattern: "web*".parse().unwrap(),
            addresses: vec![self.endpoint.local_addr().unwrap().to_string()],
            transport_ca: vec![self.ca.digest()],
        }
    }

    /// Writes a token file, changed by `change`, signed by alice.
    fn write(&self, change: impl FnOnce(&mut Token)) -> PathBuf {
        self.write_by(&self.tenant.alice, change)
    }

    fn write_by(&self, signer: &PrivateKey, change: impl FnOnce(&mut Token)) -> PathBuf {
        let join_key = key("join");
        let mut token = Token { join_key: join_key.public().clone(), ..self.token() };
        change(&mut token);
        let file = TokenFile { token: sign(Namespace::Token, &token.to_text(), signer), join_key };
        let path = self.keep.path().join(format!("token-{}", token.id));
        fs::write(&path, file.to_text().unwrap()).unwrap();
        path
    }

    fn state(&self) -> PathBuf {
        self.keep.path().join("state")
    }

    async fn join(&self, token_file: &Path) -> Result<Joined, NotJoined> {
        join(token_file, &self.state(), Some("web1".parse().unwrap())).await
    }

    fn pin(&self) -> Option<Pin> {
        Pin::load(&StateDir::open(&self.state()).unwrap()).unwrap()
    }

    /// Takes one question and gives the answer that `answer` makes of it.
    async fn serve(&self, answer: impl FnOnce(&JoinAsked) -> Vec<u8>) -> JoinAsked {
        let connection = self.endpoint.accept().await.unwrap().await.unwrap();
        let (mut send, mut recv) = connection.accept_bi().await.unwrap();
        let mut reader = FrameReader::new(GatewayPhase::AwaitingJoin);
        let asked: JoinAsked = loop {
            let chunk = recv.read_chunk(4_096, true).await.unwrap().unwrap();
            if let Some(frame) = reader.push(&mut &chunk.bytes[..]).unwrap() {
                break decode_frame(&frame).unwrap();
            }
        };
        send.write_all(&answer(&asked)).await.unwrap();
        send.finish().unwrap();
        connection.closed().await;
        asked
    }

    fn accept(&self, asked: &JoinAsked) -> JoinAccepted {
        let chain = self.ca.issue_client(&asked.csr, Id([7; 16]), today(), 30 * belay_certs::time::DAY).unwrap();
        JoinAccepted { join: [7; 16], chain, policies: policies(&self.tenant) }
    }

    fn accepted(&self, asked: &JoinAsked) -> Vec<u8> {
        belay_protocol::encode_frame(&self.accept(asked)).unwrap()
    }
}

/// A policy of today: the join reads the real clock.
fn current(draft: &mut crate::testbed::Draft) {
    draft.issued = leak(today().plus(-DAY));
    draft.expires = leak(today().plus(60 * DAY));
}

fn leak(moment: Timestamp) -> &'static str {
    Box::leak(moment.whole_second().to_string().into_boxed_str())
}

fn policies(tenant: &Tenant) -> Vec<PolicyBytes> {
    let each = (0..).zip(&tenant.versions);
    each.map(|(version, Signed { bytes, signatures })| PolicyBytes {
        tenant: tenant.draft.tenant.clone(),
        version,
        bytes: bytes.clone(),
        signatures: signatures.clone(),
    })
    .collect()
}

fn now() -> Timestamp {
    today()
}

#[tokio::test]
async fn a_machine_with_a_good_token_is_pinned_and_pending() {
    let mut bench = Bench::new();
    bench.tenant.publish(|_| {});
    let file = bench.write(|_| {});
    let (joined, asked) = tokio::join!(bench.join(&file), bench.serve(|asked| bench.accepted(asked)));
    let joined = joined.unwrap();
    assert!(!joined.before);
    assert!(joined.to_string().contains("web1.acme is pending: someone with `enrol` runs  belay approve web1.acme"));
    assert!(joined.to_string().contains(&joined.fingerprint));

    let token = Token::parse(&asked.token).unwrap();
    let signed = SignedJoin { bytes: asked.request, by_join_key: asked.by_join_key, by_host_key: asked.by_host_key };
    let request = join::check(&signed, &token, &asked.token).unwrap();
    assert_eq!(transport::csr_key_digest(&asked.csr).unwrap(), request.transport_key);
    assert_eq!(request.host_key.fingerprint(), joined.fingerprint);

    assert_eq!(bench.pin().unwrap().policy0, bench.tenant.policy0());
    let agent = crate::run::Agent::open(&bench.state()).await.unwrap();
    assert_eq!(agent.device.authority.policies()[0].1, 1);
    assert!(!agent.device.authority.approved());
}

#[tokio::test]
async fn joining_again_changes_nothing_and_another_tenant_is_refused() {
    let bench = Bench::new();
    let file = bench.write(|_| {});
    let (joined, _) = tokio::join!(bench.join(&file), bench.serve(|asked| bench.accepted(asked)));
    let again = bench.join(&file).await.unwrap();
    assert!(again.before && again.fingerprint == joined.unwrap().fingerprint);

    let other = bench.write(|token| token.policy0 = Digest::of(b"another chain"));
    let refused = bench.join(&other).await.unwrap_err();
    assert!(matches!(&refused, NotJoined::Pinned { .. }), "{refused}");
    assert!(refused.to_string().contains("belay-agent forget"));
    let meant = forget(&bench.state(), &"umbrella".parse().unwrap()).unwrap_err();
    assert!(matches!(meant, NotForgotten::Other { .. }) && bench.pin().is_some());
    let tenant = bench.pin().unwrap().tenant;
    let held = crate::state::StateDir::open(&bench.state()).unwrap();
    assert!(forget(&bench.state(), &tenant).unwrap_err().to_string().contains("another belay-agent"));
    drop(held);
    let forgotten = forget(&bench.state(), &tenant).unwrap();
    assert!(bench.pin().is_none() && forgotten.aside.join("pin.json").exists());
    assert_eq!(forgotten.undelivered, Some(0));
    assert!(matches!(forget(&bench.state(), &tenant), Err(NotForgotten::Nothing)));
}

#[tokio::test]
async fn a_join_that_was_cut_off_goes_on_with_the_same_keys() {
    let bench = Bench::new();
    let file = bench.write(|_| {});
    let (cut, first) = tokio::join!(bench.join(&file), bench.serve(|_| Vec::new()));
    assert!(matches!(cut, Err(NotJoined::Unanswered(_))));
    assert!(bench.pin().is_none());
    let (joined, second) = tokio::join!(bench.join(&file), bench.serve(|asked| bench.accepted(asked)));
    joined.unwrap();
    assert_eq!(transport::csr_key_digest(&first.csr), transport::csr_key_digest(&second.csr));
    let host_key = |asked: &JoinAsked| JoinRequest::parse(&asked.request).unwrap().host_key;
    assert_eq!(host_key(&first), host_key(&second));
}

#[tokio::test]
async fn a_clone_makes_new_keys_and_stays_with_its_tenant() {
    let bench = Bench::new();
    let file = bench.write(|_| {});
    let (first, _) = tokio::join!(bench.join(&file), bench.serve(|asked| bench.accepted(asked)));
    let pin = Pin { machine: Digest::of(b"another machine"), ..bench.pin().unwrap() };
    pin.keep(&StateDir::open(&bench.state()).unwrap()).unwrap();
    let refused = crate::run::Agent::open(&bench.state()).await.err().unwrap().to_string();
    assert!(refused.contains("made on another machine"), "{refused}");
    let other = bench.write(|token| token.policy0 = Digest::of(b"another chain"));
    assert!(matches!(bench.join(&other).await, Err(NotJoined::Pinned { .. })));
    let (second, _) = tokio::join!(bench.join(&file), bench.serve(|asked| bench.accepted(asked)));
    assert_ne!(first.unwrap().fingerprint, second.unwrap().fingerprint);
}

#[tokio::test]
async fn a_gateway_with_another_fingerprint_hears_nothing() {
    let bench = Bench::new();
    let file = bench.write(|token| token.transport_ca = vec![Digest::of(b"the real one")]);
    let (refused, ()) = tokio::join!(bench.join(&file), async {
        assert!(bench.endpoint.accept().await.unwrap().await.is_err());
    });
    assert!(matches!(refused, Err(NotJoined::Unreached(_))));
}

#[tokio::test]
async fn a_refusal_is_told_in_the_gateways_words() {
    let bench = Bench::new();
    let file = bench.write(|_| {});
    let sentence = "the token\u{1b}is\nused\u{202e}up".to_owned();
    let frame = belay_protocol::encode_frame(&JoinRefused { sentence }).unwrap();
    let (refused, _) = tokio::join!(bench.join(&file), bench.serve(|_| frame));
    assert_eq!(refused.unwrap_err().to_string(), "the gateway refused the join: the token is used\u{fffd}up");
}

#[tokio::test]
async fn what_can_be_seen_here_is_refused_before_anybody_is_asked() {
    let bench = Bench::new();
    let expired = bench.write(|token| {
        (token.issued, token.expires) = (today().plus(-2 * DAY).whole_second(), today().plus(-DAY).whole_second())
    });
    assert!(bench.join(&expired).await.unwrap_err().to_string().contains("expired"));
    let named = bench.write(|token| token.name_pattern = "db*".parse().unwrap());
    assert!(bench.join(&named).await.unwrap_err().to_string().contains("names like db*, not web1"));
    assert!(bench.join(Path::new("/nonexistent")).await.unwrap_err().to_string().contains("no such file"));
    assert!(bench.pin().is_none());
}

#[tokio::test]
async fn a_certificate_for_another_key_or_device_pins_nothing() {
    let bench = Bench::new();
    let file = bench.write(|_| {});
    let other_key = ClientKey::generate().unwrap().csr_der().unwrap();
    for (csr, join) in [(Some(other_key), [7; 16]), (None, [8; 16])] {
        let (refused, _) = tokio::join!(
            bench.join(&file),
            bench.serve(|asked| {
                let chain = bench
                    .ca
                    .issue_client(csr.as_ref().unwrap_or(&asked.csr), Id([7; 16]), today(), 30 * belay_certs::time::DAY)
                    .unwrap();
                let accepted = JoinAccepted { join, chain, ..bench.accept(asked) };
                belay_protocol::encode_frame(&accepted).unwrap()
            })
        );
        assert!(refused.unwrap_err().to_string().contains("its transport certificate is for another"));
        assert!(bench.pin().is_none());
    }
}

#[tokio::test]
async fn only_the_chain_that_the_token_pins_and_knows_is_believed() {
    let mut bench = Bench::new();
    bench.tenant.publish(|_| {});
    let signed = |token: &Token| sign(Namespace::Token, &token.to_text(), &bench.tenant.alice);
    let fault =
        |policies: Vec<PolicyBytes>, token: &Token| verify(policies, token, &signed(token), now()).unwrap_err().fault;
    let (all, token) = (policies(&bench.tenant), bench.token());
    assert_eq!(verify(all.clone(), &token, &signed(&token), now()).unwrap().policies.len(), 2);
    assert_eq!(fault(all[..1].to_vec(), &token), Fault::Older, "the newest version is held back");
    assert_eq!(fault(Vec::new(), &token), Fault::Older);
    assert_eq!(fault(all[1..].to_vec(), &token), Fault::WrongPrevious);
    let mut other = Tenant::new("acme");
    other.found(current);
    assert_eq!(fault(policies(&other), &Token { policy_version: 1, ..token.clone() }), Fault::Fork);
    let mut fork = bench.tenant.draft.clone();
    fork.revoked = vec![9];
    let mut forked = all.clone();
    forked[1].bytes = fork.signed().bytes;
    forked[1].signatures = fork.signed().signatures;
    assert_eq!(fault(forked, &token), Fault::Fork);
    let mut renamed = all.clone();
    renamed[0].tenant = "other".to_owned();
    assert_eq!(fault(renamed, &token), Fault::ForeignTenant);
    let by_mallory = sign(Namespace::Token, &token.to_text(), &key("mallory"));
    assert_eq!(verify(all, &token, &by_mallory, now()).unwrap_err().fault, Fault::WrongSigner);
}

#[test]
fn a_host_name_becomes_a_device_name_or_is_asked_for() {
    assert_eq!(name_of_host("Web1.corp.example\n").unwrap().as_str(), "web1");
    for text in ["", "web_1", "-"] {
        assert!(name_of_host(text).unwrap_err().to_string().contains("--name"), "{text:?}");
    }
}
