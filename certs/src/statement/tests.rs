//! Every body there and back, the exact text, the bounds, and what a wrong signature or a changed byte does.

use super::*;
use crate::limits::COMMAND_BYTES_KEPT;

fn intent(kind: SessionKind) -> Intent {
    Intent {
        session: Id([1; 16]),
        access: Id([2; 16]),
        person: "msp:alice".parse().unwrap(),
        key: "SHA256:abc".to_owned(),
        account: "root".to_owned(),
        kind,
        command: (kind == SessionKind::Exec).then(|| Command::of(b"uptime")),
        target: (kind == SessionKind::Forward).then(|| "192.168.1.7:443".to_owned()),
        tty: kind == SessionKind::Shell,
        ticket: Some("INC-7".to_owned()),
        grant_line: Some(52),
        policies: vec![PolicyUsed { tenant: "acme".parse().unwrap(), version: 3, digest: Digest([4; 32]) }],
    }
}

fn statement(body: Body) -> Statement {
    let head = Head {
        id: Id([3; 16]),
        device: "web1.acme".parse().unwrap(),
        serial: 7,
        seq: 1,
        previous: None,
        checkpoint: Some(CheckpointSeen { origin: "gw.example/acme".to_owned(), size: 9, root: Digest([5; 32]) }),
        issued: "2026-11-21T09:00:00.000005Z".parse().unwrap(),
    };
    Statement { head, body }
}

fn ended() -> Body {
    Body::SessionEnded {
        session: Id([1; 16]),
        exit: None,
        signal: Some("TERM".to_owned()),
        reason: Some("the policy no longer grants it".to_owned()),
        bytes_in: 10,
        bytes_out: u64::MAX,
        recording: Some(Digest([6; 32])),
        files: None,
    }
}

/// The end of a file session that did one of each kind.
fn files_ended() -> Body {
    let mut files = Files { failed: 2, unfinished: true, ..Files::default() };
    let deed = |did, path: &str| FileDeed { did, path: path.to_owned(), to: None, bytes: None, partial: false };
    files.add(FileDeed { bytes: Some(9), ..deed(Deed::Up, "/srv/a\\n") });
    files.add(FileDeed { bytes: Some(4), partial: true, ..deed(Deed::Down, "/srv/b") });
    files.add(FileDeed { to: Some("/srv/c".to_owned()), ..deed(Deed::Rename, "/srv/b") });
    let (session, recording) = (Id([1; 16]), None);
    let ended = (Some(0), None, None);
    let (exit, signal, reason) = ended;
    Body::SessionEnded { session, exit, signal, reason, bytes_in: 10, bytes_out: 11, recording, files: Some(files) }
}

fn bodies() -> Vec<Body> {
    let reason = "no grant of acme allows root on web1".to_owned();
    vec![
        Body::SessionOpened(intent(SessionKind::Shell)),
        Body::SessionOpened(intent(SessionKind::Exec)),
        Body::SessionOpened(intent(SessionKind::Sftp)),
        Body::SessionOpened(intent(SessionKind::Forward)),
        Body::SessionRefused { intent: intent(SessionKind::Exec), reason },
        ended(),
        files_ended(),
    ]
}

/// The text of a shell's intent with `from` replaced by `to`.
fn edited(from: &str, to: &str) -> String {
    let text = statement(Body::SessionOpened(intent(SessionKind::Shell))).to_text().unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    text.replacen(from, to, 1)
}

#[test]
fn every_body_is_written_and_read_back() {
    for body in bodies() {
        let statement = statement(body);
        let text = statement.to_text().unwrap();
        assert!(text.starts_with("{\"v\":1,"), "{text}");
        assert!(text.contains(&format!("\"type\":\"{}\"", statement.type_name())), "{text}");
        assert_eq!(Statement::parse(text.as_bytes()).unwrap(), statement);
    }
}

#[test]
fn the_text_of_an_intent_is_exactly_this() {
    let (one, two, three) = ("01".repeat(16), "02".repeat(16), "03".repeat(16));
    let (four, five) = ("04".repeat(32), "05".repeat(32));
    let uptime = Digest::of(b"uptime");
    let expected = format!(
        concat!(
            r#"{{"v":1,"id":"{three}","device":"web1.acme","serial":7,"seq":1,"#,
            r#""checkpoint":{{"origin":"gw.example/acme","size":9,"root":"sha256:{five}"}},"#,
            r#""issued":"2026-11-21T09:00:00.000005Z","type":"session.opened","session":"{one}","access":"{two}","#,
            r#""person":"msp:alice","key":"SHA256:abc","account":"root","kind":"exec","#,
            r#""command":{{"text":"uptime","bytes":6,"digest":"{uptime}"}},"tty":false,"ticket":"INC-7","#,
            r#""grant_line":52,"policies":[{{"tenant":"acme","version":3,"digest":"sha256:{four}"}}]}}"#,
        ),
        one = one,
        two = two,
        three = three,
        four = four,
        five = five,
        uptime = uptime,
    );
    assert_eq!(statement(Body::SessionOpened(intent(SessionKind::Exec))).to_text().unwrap(), expected);
}

#[test]
fn the_text_of_a_file_sessions_end_is_exactly_this() {
    let text = statement(files_ended()).to_text().unwrap();
    let expected = format!(
        concat!(
            r#""type":"session.ended","session":"{one}","exit":0,"bytes_in":10,"bytes_out":11,"files":{{"list":["#,
            r#"{{"did":"up","path":"/srv/a\\n","bytes":9}},{{"did":"down","path":"/srv/b","bytes":4,"partial":true}},"#,
            r#"{{"did":"rename","path":"/srv/b","to":"/srv/c"}}],"up":1,"up_bytes":9,"down":1,"down_bytes":4,"#,
            r#""changed":1,"partial":1,"failed":2,"unfinished":true}}}}"#,
        ),
        one = "01".repeat(16),
    );
    assert!(text.ends_with(&expected), "{text}");
}

#[test]
fn a_list_of_files_with_a_control_character_is_no_statement() {
    let text = statement(files_ended()).to_text().unwrap().replace("/srv/c", "/srv/\\u001b[2J");
    assert!(Statement::parse(text.as_bytes()).unwrap_err().sentence.contains("path"));
}

#[test]
fn a_newer_device_may_say_more() {
    let text = edited("\"tty\":true", "\"tty\":true,\"mood\":{\"good\":[1.5,null]}");
    assert_eq!(Statement::parse(text.as_bytes()).unwrap(), statement(Body::SessionOpened(intent(SessionKind::Shell))));
}

#[test]
fn what_is_not_this_format_is_refused() {
    let cases = [
        ("\"v\":1", "\"v\":2", "format 2"),
        ("session.opened", "session.imagined", "session.imagined"),
        ("\"serial\":7", "\"serial\":7.0", "7.0"),
        ("\"serial\":7", "\"serial\":-7", "-7"),
        ("\"serial\":7", "\"serial\":7,\"serial\":8", "serial"),
        ("\"account\":\"root\"", "\"account\":\"root\",\"account\":\"deploy\"", "account"),
        ("\"type\":\"session.opened\"", "\"type\":\"session.opened\",\"type\":\"session.ended\"", "type"),
        ("\"account\":\"root\",", "", "account"),
        ("\"device\":\"web1.acme\"", "\"device\":\"web1\"", "DEVICE.TENANT"),
        ("\"seq\":1", "\"seq\":0", "previous"),
        ("\"seq\":1", "\"seq\":2", "previous"),
        (":\"root\"", ":\"ro\\u001bot\"", "control character"),
        (":\"root\"", ":\"ro\\u202eot\"", "control character"),
        ("\"shell\"", "\"exec\"", "which"),
        ("\"shell\"", "\"forward\"", "where to"),
        ("\"v\":1,", "\"v\":1,\r\n", "CR"),
    ];
    for (from, to, word) in cases {
        let text = edited(from, to);
        let refused = Statement::parse(text.as_bytes()).unwrap_err();
        assert_eq!(refused.fault, Fault::Malformed, "{to}");
        assert!(refused.sentence.contains(word), "{to}: {refused}");
    }
    assert!(Statement::parse(edited("}", "} {}").as_bytes()).is_err());
}

#[test]
fn too_long_words_lists_and_texts_are_refused() {
    let mut long = intent(SessionKind::Shell);
    long.account = "x".repeat(WORD_BYTES_MAX + 1);
    assert_eq!(statement(Body::SessionOpened(long)).to_text().unwrap_err().fault, Fault::TooLarge);

    let mut many = intent(SessionKind::Shell);
    many.policies.resize(POLICIES_USED_MAX + 1, many.policies[0].clone());
    assert_eq!(statement(Body::SessionOpened(many)).to_text().unwrap_err().fault, Fault::TooLarge);

    let padded = edited("\"v\":1,", &format!("\"v\":1,{}", " ".repeat(STATEMENT_BYTES_MAX)));
    assert_eq!(Statement::parse(padded.as_bytes()).unwrap_err().fault, Fault::TooLarge);
}

#[test]
fn the_longest_statement_fits_whatever_a_stranger_typed() {
    for noise in ["\"", "\\", "\n", "\u{1b}", "é", "\u{0}", "🦀"] {
        let noisy = noise.repeat(COMMAND_BYTES_KEPT * 2);
        let mut largest = intent(SessionKind::Exec);
        largest.command = Some(Command::of(noisy.as_bytes()));
        largest.account = word(&noisy);
        largest.target = Some(word(&noisy));
        largest.ticket = Some(word(&noisy));
        let used = PolicyUsed { tenant: "x".repeat(63).parse().unwrap(), version: u64::MAX, digest: Digest([255; 32]) };
        largest.policies = vec![used; POLICIES_USED_MAX];
        let statement = statement(Body::SessionRefused { intent: largest, reason: word(&noisy) });
        let text = statement.to_text().unwrap();
        assert_eq!(Statement::parse(text.as_bytes()).unwrap(), statement, "{noise:?}");
    }
}

#[test]
fn a_command_keeps_whole_characters_its_length_and_its_digest() {
    let long = "é".repeat(COMMAND_BYTES_KEPT);
    let command = Command::of(long.as_bytes());
    assert_eq!(command.text, "é".repeat(COMMAND_BYTES_KEPT / 2));
    assert_eq!((command.bytes, command.digest), (2 * COMMAND_BYTES_KEPT as u64, Digest::of(long.as_bytes())));
    assert_eq!(Command::of(&[b'x'; COMMAND_BYTES_KEPT + 1]).text.len(), COMMAND_BYTES_KEPT);
    assert_eq!(Command::of(b"a\xffb\x1b[2J\tc\n").text, "a\u{fffd}b\u{fffd}[2J\tc\n");
    assert_eq!(Command::of(b"").text, "");
}

#[test]
fn only_the_host_key_over_exactly_this_text_verifies() {
    let (key, other) = (PrivateKey::generate_ed25519("").unwrap(), PrivateKey::generate_ed25519("").unwrap());
    let said = statement(ended());
    let signed = sign(&said, &key).unwrap();
    assert_eq!(verify(&signed, key.public()).unwrap(), said);
    assert_eq!(verify(&signed, other.public()).unwrap_err().fault, Fault::WrongSigner);

    let changed = SignedStatement { text: signed.text.replace("TERM", "KILL"), ..signed.clone() };
    assert_eq!(verify(&changed, key.public()).unwrap_err().fault, Fault::BadSignature);

    let order = sshsig::sign(Namespace::Order, signed.text.as_bytes(), &key).unwrap();
    let foreign = SignedStatement { signature: order, ..signed.clone() };
    assert_eq!(verify(&foreign, key.public()).unwrap_err().fault, Fault::BadSignature);

    let long = SignedStatement { text: " ".repeat(STATEMENT_BYTES_MAX + 1), ..signed.clone() };
    assert_eq!(verify(&long, key.public()).unwrap_err().fault, Fault::TooLarge);
    let long = SignedStatement { signature: " ".repeat(SIGNATURE_BYTES_MAX + 1), ..signed };
    assert_eq!(verify(&long, key.public()).unwrap_err().fault, Fault::TooLarge);
}

#[test]
fn every_changed_byte_breaks_the_signature() {
    let key = PrivateKey::generate_ed25519("").unwrap();
    let signed = sign(&statement(Body::SessionOpened(intent(SessionKind::Exec))), &key).unwrap();
    for position in 0..signed.text.len() {
        let mut bytes = signed.text.clone().into_bytes();
        bytes[position] ^= 1;
        let text = String::from_utf8(bytes).unwrap();
        let changed = SignedStatement { text, signature: signed.signature.clone() };
        assert_eq!(verify(&changed, key.public()).unwrap_err().fault, Fault::BadSignature, "byte {position}");
    }
}
