//! Tokens and token files: read, written, believed and refused.

use super::{
    fixture::{Tenant, at, key, now, signed},
    *,
};
use std::{fs, os::unix::fs::PermissionsExt, process::Command};

#[test]
fn a_token_is_written_in_one_order_and_read_back() {
    let token = Tenant::new("acme").token(&key("join"));
    let text = token.to_text();
    assert_eq!(Token::parse(text.as_bytes()).unwrap(), token);
    let fields: Vec<&str> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(
        fields.join(" "),
        "tenant id join_key policy0 policy_version policy uses issued expires labels name_pattern addresses transport_ca"
    );
    assert!(text.contains("issued = 2026-12-01T09:00:00Z\n"), "{text}");
    assert!(text.contains("labels = [\"server\", \"site=berlin/1\"]\n"), "{text}");
}

#[test]
fn a_token_written_by_hand_may_have_comments_and_another_order_but_no_field_less() {
    let token = Tenant::new("acme").token(&key("join"));
    let written = token.to_text();
    let mut lines: Vec<&str> = written.lines().collect();
    lines.reverse();
    let text = format!("# for the new racks\n\n{}", lines.join("   # hm\n"));
    assert_eq!(Token::parse(text.as_bytes()).unwrap(), token);
    for line in lines {
        let refused = Token::parse(written.replace(line, "").as_bytes()).unwrap_err();
        assert!(refused.sentence.contains("missing field"), "{line}: {refused}");
    }
}

#[test]
fn values_out_of_bounds_are_refused_by_name() {
    let good = Tenant::new("acme").token(&key("join")).to_text();
    let cases = [
        ("uses = 3", "uses = 0", "uses is 0"),
        ("uses = 3", "uses = 10001", "1 to 10000"),
        ("uses = 3", "uses = \"3\"", "line 7"),
        ("uses = 3", "uses = 3\nmax = 1", "line 8: unknown field `max`"),
        ("2026-12-08", "2026-12-01", "expires must be after issued"),
        ("2026-12-08", "2027-01-01", "at most 30 days"),
        ("2026-12-08T09:00:00Z", "\"soon\"", "line 9"),
        ("\"acme\"", "\"com\"", "line 1: \"com\" cannot be a tenant name"),
        ("\"server\"", "\"a,b\"", "\"a,b\" in labels"),
        ("\"server\"", "\"site=berlin/1\"", "twice"),
        ("\"web*\"", "\"web?\"", "line 11"),
        ("gw.example:4433", "gw.example", "is not HOST:PORT"),
        ("gw.example:4433", "gw.example:0", "is not HOST:PORT"),
        ("gw.example:4433", "gw.example:+1", "is not HOST:PORT"),
        ("gw.example:4433", "-oProxy:1", "is not HOST:PORT"),
        ("ssh-ed25519", "restrict ssh-ed25519", "line 3"),
        ("tenant =", "tenant =\r", "CR at line 1"),
    ];
    for (old, new, hint) in cases {
        let refused = Token::parse(good.replace(old, new).as_bytes()).unwrap_err();
        assert!(refused.sentence.starts_with("the token: "), "{refused}");
        assert!(refused.sentence.contains(hint), "{new}: {refused}");
    }
    let big = format!("{good}# {}", "x".repeat(DOCUMENT_BYTES_MAX));
    assert_eq!(Token::parse(big.as_bytes()).unwrap_err().fault, Fault::TooLarge);
}

#[test]
fn a_token_signed_with_ssh_keygen_by_somebody_with_enrol_counts() {
    let tenant = Tenant::new("acme");
    let token = tenant.token(&key("join"));
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("alice");
    fs::write(&key_file, tenant.alice.to_openssh().unwrap()).unwrap();
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(folder.path().join("token"), token.to_text()).unwrap();
    let sign = ["-Y", "sign", "-f", "alice", "-n", "token.v1@belay", "token"];
    assert!(Command::new("ssh-keygen").current_dir(folder.path()).args(sign).output().unwrap().status.success());
    let signature = fs::read_to_string(folder.path().join("token.sig")).unwrap();
    let signed = Signed { bytes: token.to_text().into_bytes(), signatures: vec![signature] };
    let (read, person) = check_issued(&tenant.policies(), &signed, now()).unwrap();
    assert_eq!((read, person.to_string().as_str()), (token, "alice"));
}

#[test]
fn only_persons_with_enrol_make_tokens() {
    let tenant = Tenant::new("acme");
    let text = tenant.token(&key("join")).to_text();
    for signer in [&tenant.bob, &key("stranger")] {
        let refused = check_issued(&tenant.policies(), &signed(Namespace::Token, &text, signer), now()).unwrap_err();
        assert_eq!(refused.fault, Fault::WrongSigner, "{refused}");
    }
    let elsewhere = signed(Namespace::Order, &text, &tenant.alice);
    assert_eq!(check_issued(&tenant.policies(), &elsewhere, now()).unwrap_err().fault, Fault::BadSignature);
    let unsigned = Signed { bytes: text.into_bytes(), signatures: vec![] };
    assert_eq!(check_issued(&tenant.policies(), &unsigned, now()).unwrap_err().fault, Fault::Unsigned);
}

#[test]
fn a_token_that_does_not_fit_tenant_policy_or_time_is_refused() {
    let tenant = Tenant::new("acme");
    let good = tenant.token(&key("join"));
    let other = Digest::of(b"other");
    let cases = [
        (Token { tenant: "umbrella".parse().unwrap(), ..good.clone() }, Fault::ForeignTenant),
        (Token { policy0: other, ..good.clone() }, Fault::Mismatch),
        (Token { policy: other, ..good.clone() }, Fault::Fork),
        (Token { policy_version: 1, policy: other, ..good.clone() }, Fault::Mismatch),
        (Token { issued: at("2026-12-01T12:06:00Z"), ..good.clone() }, Fault::Clock),
        (Token { issued: at("2026-11-10T12:00:00Z"), expires: now(), ..good }, Fault::Expired),
    ];
    for (token, fault) in cases {
        let signed = signed(Namespace::Token, &token.to_text(), &tenant.alice);
        let refused = check_issued(&tenant.policies(), &signed, now()).unwrap_err();
        assert_eq!(refused.fault, fault, "{refused}");
    }
}

#[test]
fn no_token_counts_after_the_policy_expired() {
    let tenant = Tenant::new("acme");
    let dates = (at("2027-02-15T00:00:00Z"), at("2027-03-01T00:00:00Z"));
    let token = Token { issued: dates.0, expires: dates.1, ..tenant.token(&key("join")) };
    let signed = signed(Namespace::Token, &token.to_text(), &tenant.alice);
    check_issued(&tenant.policies(), &signed, at("2027-02-18T00:00:00Z")).unwrap();
    let refused = check_issued(&tenant.policies(), &signed, at("2027-02-20T00:00:00Z")).unwrap_err();
    assert_eq!(refused.fault, Fault::Expired);
}

fn token_file() -> TokenFile {
    let (tenant, join_key) = (Tenant::new("acme"), key("join"));
    let token = signed(Namespace::Token, &tenant.token(&join_key).to_text(), &tenant.alice);
    TokenFile { token, join_key }
}

#[test]
fn a_token_file_is_readable_and_read_back() {
    let file = token_file();
    let text = file.to_text().unwrap();
    let document = std::str::from_utf8(&file.token.bytes).unwrap();
    assert!(text.contains(document), "the document stands in it as it is: {text}");
    let read = TokenFile::parse(text.as_bytes()).unwrap();
    assert_eq!(read.token, file.token);
    assert_eq!(read.join_key.public(), file.join_key.public());
    let secret = file.join_key.to_openssh().unwrap();
    assert!(!format!("{read:?}").contains(secret.lines().nth(3).unwrap()), "Debug shows the secret");
}

#[test]
fn a_token_file_whose_parts_do_not_belong_together_is_refused() {
    let (file, other) = (token_file(), token_file());
    let mixed = TokenFile { token: file.token.clone(), join_key: other.join_key };
    let refused = TokenFile::parse(mixed.to_text().unwrap().as_bytes()).unwrap_err();
    assert_eq!(refused.fault, Fault::Mismatch);
    let mixed = Signed { bytes: file.token.bytes.clone(), signatures: other.token.signatures };
    let mixed = TokenFile { token: mixed, join_key: file.join_key.clone() };
    assert_eq!(TokenFile::parse(mixed.to_text().unwrap().as_bytes()).unwrap_err().fault, Fault::BadSignature);
    let extra = file.to_text().unwrap() + "note = \"x\"\n";
    assert!(TokenFile::parse(extra.as_bytes()).unwrap_err().sentence.contains("unknown field `note`"));
}

#[test]
fn a_broken_token_file_is_refused_without_showing_the_secret() {
    let file = token_file();
    let (text, secret) = (file.to_text().unwrap(), file.join_key.to_openssh().unwrap());
    let line = secret.lines().nth(3).unwrap();
    let broken = [text.replace("OPENSSH PRIVATE", "PRIVATE"), text.replace("'''", ""), text.replace(line, "AAAA")];
    for text in broken {
        let refused = TokenFile::parse(text.as_bytes()).unwrap_err();
        assert!(!refused.sentence.contains(line), "{refused}");
    }
}
