//! Join requests: the honest one, and what a relay in between could try.

use super::*;
use crate::token::fixture::{Tenant, at, key, now};

struct Joining {
    token: Token,
    join_key: PrivateKey,
    host_key: PrivateKey,
}

impl Joining {
    fn new() -> Self {
        let join_key = key("join");
        Self { token: Tenant::new("acme").token(&join_key), join_key, host_key: key("host") }
    }

    fn request(&self) -> JoinRequest {
        JoinRequest {
            tenant: "acme".parse().unwrap(),
            token: Digest::of(self.token.to_text().as_bytes()),
            host_key: self.host_key.public().clone(),
            transport_key: Digest::of(b"spki"),
            name: "web1".parse().unwrap(),
            machine_id: Digest::of(b"machine"),
            nonce: Id::random().unwrap(),
            issued: now(),
        }
    }

    fn signed(&self) -> SignedJoin {
        sign(&self.request(), &self.join_key, &self.host_key).unwrap()
    }

    fn check(&self, signed: &SignedJoin) -> Result<JoinRequest, Invalid> {
        check(signed, &self.token, self.token.to_text().as_bytes())
    }
}

#[test]
fn a_request_is_written_signed_and_read_back() {
    let joining = Joining::new();
    let request = joining.request();
    assert_eq!(JoinRequest::parse(request.to_text().as_bytes()).unwrap(), request);
    let signed = sign(&request, &joining.join_key, &joining.host_key).unwrap();
    assert_eq!(joining.check(&signed).unwrap(), request);
    let fields: Vec<String> = request.to_text().lines().map(|l| l.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(fields.join(" "), "tenant token host_key transport_key name machine_id nonce issued");
}

#[test]
fn a_relay_cannot_swap_the_host_key() {
    let joining = Joining::new();
    let theirs = key("relay");
    let honest = joining.signed();
    let text = String::from_utf8(honest.bytes.clone()).unwrap();
    let swapped = text.replace(&joining.host_key.public().line(), &theirs.public().line());
    let by_host_key = sign_bytes(Namespace::Join, swapped.as_bytes(), &theirs).unwrap();
    let changed = SignedJoin { bytes: swapped.into_bytes(), by_host_key, ..honest };
    assert_eq!(joining.check(&changed).unwrap_err().fault, Fault::BadSignature);
}

#[test]
fn signatures_by_other_keys_or_in_the_wrong_place_are_refused() {
    let joining = Joining::new();
    let honest = joining.signed();
    let theirs = sign_bytes(Namespace::Join, &honest.bytes, &key("relay")).unwrap();
    let attempts = [
        SignedJoin { by_join_key: theirs.clone(), ..honest.clone() },
        SignedJoin { by_host_key: theirs, ..honest.clone() },
        SignedJoin { by_join_key: honest.by_host_key.clone(), ..honest.clone() },
        SignedJoin { by_host_key: honest.by_join_key.clone(), ..honest },
    ];
    for attempt in attempts {
        assert_eq!(joining.check(&attempt).unwrap_err().fault, Fault::WrongSigner);
    }
}

#[test]
fn the_join_key_cannot_be_the_host_key() {
    let joining = Joining::new();
    let request = JoinRequest { host_key: joining.join_key.public().clone(), ..joining.request() };
    let signed = sign(&request, &joining.join_key, &joining.join_key).unwrap();
    assert!(joining.check(&signed).unwrap_err().sentence.contains("must not serve as the host key"));
    assert!(sign(&request, &joining.join_key, &joining.host_key).is_err(), "signed by a key it does not name");
}

#[test]
fn what_does_not_agree_with_the_token_is_refused() {
    let joining = Joining::new();
    let cases = [
        (JoinRequest { tenant: "umbrella".parse().unwrap(), ..joining.request() }, Fault::ForeignTenant),
        (JoinRequest { token: Digest::of(b"other"), ..joining.request() }, Fault::Mismatch),
        (JoinRequest { name: "db1".parse().unwrap(), ..joining.request() }, Fault::Mismatch),
        (JoinRequest { issued: at("2026-12-08T09:00:00Z"), ..joining.request() }, Fault::Expired),
    ];
    for (request, fault) in cases {
        let refused = joining.check(&sign(&request, &joining.join_key, &joining.host_key).unwrap()).unwrap_err();
        assert_eq!(refused.fault, fault, "{refused}");
        assert!(refused.sentence.starts_with("the join request of "), "{refused}");
    }
}

#[test]
fn the_bytes_of_another_token_with_the_same_key_are_noticed() {
    let joining = Joining::new();
    let wider = Token { uses: 9_999, ..joining.token.clone() };
    let refused = check(&joining.signed(), &wider, joining.token.to_text().as_bytes()).unwrap_err();
    assert_eq!(refused.fault, Fault::Mismatch);
}

#[test]
fn unknown_fields_and_names_with_a_tenant_are_refused_with_their_line() {
    let text = Joining::new().request().to_text();
    for (old, new, hint) in [
        ("\"web1\"", "\"web1.acme\"", "line 5: \"web1.acme\" is not a device name"),
        ("nonce = ", "nonce = 1 #", "line 7"),
        ("issued = ", "labels = []\nissued = ", "line 8: unknown field `labels`"),
    ] {
        let refused = JoinRequest::parse(text.replace(old, new).as_bytes()).unwrap_err();
        assert!(refused.sentence.contains(hint), "{refused}");
    }
}
