//! What people and machines sign: policy, token, join request, device record, runbook, order, and the keys, signatures and
//! certificates on them.

use crate::read_again;
use belay_certs::{
    DeviceAddress, Digest, Id, Namespace, PrivateKey, PublicKey, Signed, Timestamp,
    device::{Batch, DeviceRecord},
    envelope as stream, host_certificate,
    join::JoinRequest,
    limits::{CSR_BYTES_MAX, POLICY_BYTES_MAX},
    order::{DeviceList, Order},
    output::{Line, open, read as read_whole, read_cut_off},
    policy::{Policy, difference},
    runbook::{Arguments, Runbook},
    sshsig,
    time::DAY,
    token::{Token, TokenFile},
    transport::{self as tls, TransportCa},
};
use std::sync::OnceLock;

/// A policy reads the same twice, differs in nothing from itself, and every grant of it can be said.
pub(crate) fn policy(input: &[u8]) {
    let Ok(policy) = Policy::parse(input) else { return };
    let again = Policy::parse(input).map(|again| difference(&policy, &again));
    assert_eq!(again.ok(), Some(Vec::new()), "a policy does not differ from itself");
}

pub(crate) fn token(input: &[u8]) {
    if let Ok(token) = Token::parse(input) {
        read_again(&token, Token::parse(token.to_text().as_bytes()));
    }
    if let Ok(file) = TokenFile::parse(input) {
        let again = file.to_text().and_then(|text| TokenFile::parse(text.as_bytes())).map(|again| again.token);
        assert_eq!(again.ok(), Some(file.token), "a token file is read as it is written");
    }
}

pub(crate) fn join(input: &[u8]) {
    if let Ok(request) = JoinRequest::parse(input) {
        read_again(&request, JoinRequest::parse(request.to_text().as_bytes()));
    }
}

/// A device record, and a batch of them.
pub(crate) fn record(input: &[u8]) {
    if let Ok(record) = DeviceRecord::parse(input) {
        read_again(&record, DeviceRecord::parse(record.to_text().as_bytes()));
    }
    if let Ok(batch) = Batch::parse(input) {
        read_again(&batch, Batch::parse(batch.to_text().as_bytes()));
    }
}

/// A runbook is its bytes, whatever default it has it takes, and arguments become their own variables and nothing else.
pub(crate) fn runbook(input: &[u8]) {
    let runbook = match Runbook::parse(input) {
        Ok(runbook) => runbook,
        Err(refused) => {
            assert!(!refused.sentence.contains(char::is_control), "one line: {refused}");
            return;
        }
    };
    assert_eq!(runbook.version, Digest::of(input), "its version is the digest of its bytes");
    read_again(&runbook, Runbook::parse(input));
    let given = runbook.parameters.iter().filter_map(|(name, one)| Some((name.clone(), one.default.clone()?)));
    let mut arguments: Arguments = given.collect();
    for (name, parameter) in &runbook.parameters {
        let words = ["a", "0", "true", "restart", "\n", "\u{202e}"].iter().map(|word| (*word).to_owned());
        if let Some(value) = words.into_iter().find(|word| parameter.check(word).is_ok()) {
            assert!(!value.contains(char::is_control), "{name} takes what nobody can see");
            arguments.entry(name.clone()).or_insert(value);
        }
    }
    let Ok(environment) = runbook.environment(&arguments) else { return };
    assert_eq!(environment.len(), arguments.len(), "one variable an argument");
    for ((variable, value), (name, given)) in environment.iter().zip(&arguments) {
        let rest = variable.strip_prefix("BELAY_ARG_").unwrap_or_default();
        assert!(rest.eq_ignore_ascii_case(name.as_str()) && value == given, "{variable}");
        assert!(rest.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_'), "{variable}");
    }
}

/// What a run printed: whole or cut off it is read as it is written, and never as more than there is.
pub(crate) fn output(input: &[u8]) {
    let Ok(read) = read_cut_off(input) else { return };
    let text: String = read.lines.iter().map(Line::to_text).collect();
    assert_eq!(Some(text.as_bytes()), input.get(..read.whole_bytes), "one spelling");
    assert!(read.kept() <= input.len() as u64, "more than there is");
    assert_eq!(read_whole(text.as_bytes()).as_ref(), Ok(&read.lines), "the whole lines are a file");
    let (lines, sealed) = (read.lines.clone(), read.is_sealed());
    match open(read, None) {
        Ok(opened) => assert!(opened.lines == lines && !sealed, "what is open stays as it is"),
        Err(_) => assert!(sealed, "only what is sealed needs a key"),
    }
}

/// An order and the list of its devices are read as they are written; every device is under the list's root.
pub(crate) fn order(input: &[u8]) {
    if let Ok(order) = Order::parse(input) {
        read_again(&order, Order::parse(order.to_text().as_bytes()));
        let gates = order.waves.gates(order.devices);
        assert!(gates.is_sorted() && gates.first() > Some(&0) && gates.last() == Some(&order.devices), "{gates:?}");
    }
    if let Ok(list) = DeviceList::parse(input) {
        assert_eq!(DeviceList::of(list.lines().to_vec()).as_ref(), Ok(&list), "it is in its one order");
        read_again(&list, DeviceList::parse(list.to_text().as_bytes()));
        let tree = list.tree();
        (0..list.count()).for_each(|place| assert!(tree.path(place).is_ok(), "a path for each"));
    }
    if let Ok((signed, rest)) = stream::split_first(input, POLICY_BYTES_MAX) {
        assert!(signed.bytes.len() + rest.len() <= input.len(), "no byte is read twice");
    }
}

/// A signed document in one stream: what is taken apart and put together is taken apart the same.
pub(crate) fn envelope(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(signatures) = stream::signatures(&text) {
        let armored = stream::armor(&Signed { bytes: Vec::new(), signatures: signatures.clone() });
        read_again(&signatures, stream::signatures(&armored));
    }
    if let Ok(signed) = stream::split(input, POLICY_BYTES_MAX) {
        let _ = signed.only_signer(Namespace::Policy);
        let again = stream::split(&stream::join(&signed), POLICY_BYTES_MAX + 1);
        assert_eq!(again.ok().map(|again| again.signatures), Some(signed.signatures), "as it was put together");
    }
}

/// The line that the signed bytes of a signature end with: the rest of the input is the signature.
const SIGNED: &[u8] = b"what was signed";

/// A signature is good for its own bytes and namespace, and for no others.
pub(crate) fn signature(input: &[u8]) {
    let armored = String::from_utf8_lossy(input);
    let spaces = [
        Namespace::Policy,
        Namespace::Token,
        Namespace::Join,
        Namespace::Device,
        Namespace::Statement,
        Namespace::Runbook,
        Namespace::Order,
    ];
    let good: Vec<Namespace> =
        spaces.into_iter().filter(|space| sshsig::verify(*space, SIGNED, &armored).is_ok()).collect();
    assert!(good.len() <= 1, "good in {good:?}");
    if let [space] = good.as_slice() {
        assert!(sshsig::verify(*space, b"something else", &armored).is_err(), "good for other bytes too");
    }
}

/// Public keys as people write them, and private keys as their tools do.
pub(crate) fn key(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(key) = PublicKey::parse(&text) {
        read_again(&key, PublicKey::parse(&key.line()));
        read_again(&key, PublicKey::from_ssh(key.as_ssh()));
    }
    if let Ok(key) = PrivateKey::from_openssh(&text) {
        let again = key.to_openssh().and_then(|text| PrivateKey::from_openssh(&text));
        assert_eq!(again.ok().map(|again| again.public().clone()).as_ref(), Some(key.public()), "as it is written");
    }
}

/// A host certificate, for a device of nobody's: nothing a fuzzer writes is signed by its CA.
pub(crate) fn certificate(input: &[u8]) {
    static DEVICE: OnceLock<Option<(DeviceAddress, PrivateKey)>> = OnceLock::new();
    let device = DEVICE.get_or_init(|| Some(("web1.acme".parse().ok()?, PrivateKey::generate_ed25519("").ok()?)));
    let Some((address, key)) = device else { return };
    let line = String::from_utf8_lossy(input);
    let ca = [key.public().clone()];
    let checked = host_certificate::check(&line, address, key.public(), 1, &ca);
    assert!(checked.is_err(), "a certificate of a CA that signed nothing");
}

/// What a device's TLS brings: a certificate request, a certificate. What is issued names the device.
pub(crate) fn transport(input: &[u8]) {
    static CA: OnceLock<Option<TransportCa>> = OnceLock::new();
    let now = Timestamp::from_seconds(1_800_000_000);
    let _ = tls::client_id(input);
    let request = tls::csr_key_digest(input);
    assert!(input.len() <= CSR_BYTES_MAX || request.is_err(), "a request over its limit");
    if request.is_err() {
        return;
    }
    let Some(ca) = CA.get_or_init(|| TransportCa::generate("gw.example", now.plus(-DAY)).ok()) else { return };
    let id = Id([7; 16]);
    let issued = ca.issue_client(input, id, now, DAY).ok();
    let named = issued.and_then(|chain| tls::client_id(chain.first()?).ok());
    assert_eq!(named, Some(id), "a good request gets a certificate that names the device");
}
