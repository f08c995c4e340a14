//! The certificates before the judge that counts, rustls, and the requests that are refused.

use super::*;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, RootCertStore};
use std::sync::Arc;
use std::time::Duration;

const JOIN: Id = Id([7; 16]);
/// What a request of [`ClientKey`] has around its signature, itself unsigned: the algorithm and the bit string's head.
const UNSIGNED: std::ops::Range<usize> = 103..118;

fn now() -> Timestamp {
    "2026-11-21T09:00:00Z".parse().unwrap()
}

fn ca() -> TransportCa {
    TransportCa::generate("gw.example transport", now()).unwrap()
}

fn unix(at: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(at.seconds().try_into().unwrap()))
}

fn roots(ca: &TransportCa) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(ca.certificate_der().to_vec())).unwrap();
    Arc::new(roots)
}

/// What a TLS server that trusts `ca` says of a client's chain.
fn as_client(ca: &TransportCa, chain: &[Vec<u8>], at: Timestamp) -> Result<(), rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(ca), provider).build().unwrap();
    let chain: Vec<_> = chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    verifier.verify_client_cert(&chain[0], &chain[1..], unix(at)).map(|_| ())
}

/// What a TLS client that trusts `ca` says of a server's chain.
fn as_server(ca: &TransportCa, chain: &[Vec<u8>], name: &str, at: Timestamp) -> Result<(), rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(ca), provider).build().unwrap();
    let chain: Vec<_> = chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], unix(at)).map(|_| ())
}

fn is_expired(verdict: Result<(), rustls::Error>) -> bool {
    use CertificateError::{Expired, ExpiredContext};
    matches!(verdict, Err(rustls::Error::InvalidCertificate(Expired | ExpiredContext { .. })))
}

#[test]
fn a_server_certificate_is_good_for_its_name_and_its_days_only() {
    let ca = ca();
    for name in ["gw.example", "192.0.2.1", "2001:db8::1"] {
        let issued = ca.issue_server(name, now(), 30 * DAY).unwrap();
        as_server(&ca, &issued.chain, name, now()).unwrap();
        as_server(&ca, &issued.chain, name, now().plus(-4 * 60 * SECOND)).unwrap();
        assert!(as_server(&ca, &issued.chain, "other.example", now()).is_err());
        assert!(as_server(&self::ca(), &issued.chain, name, now()).is_err());
        assert!(is_expired(as_server(&ca, &issued.chain, name, now().plus(31 * DAY))));
        assert!(as_client(&ca, &issued.chain, now()).is_err(), "a server's certificate is no client's");
    }
}

#[test]
fn a_servers_key_fits_its_certificate() {
    let issued = ca().issue_server("gw.example", now(), DAY).unwrap();
    let chain: Vec<_> = issued.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::Pkcs8(issued.key_der.into()))
        .unwrap();
}

#[test]
fn a_client_certificate_names_its_join_request_and_serves_nobody_else() {
    let (ca, key) = (ca(), ClientKey::generate().unwrap());
    let chain = ca.issue_client(&key.csr_der().unwrap(), JOIN, now(), 7 * DAY).unwrap();
    as_client(&ca, &chain, now()).unwrap();
    assert!(is_expired(as_client(&ca, &chain, now().plus(8 * DAY))));
    assert!(as_client(&self::ca(), &chain, now()).is_err());
    assert!(as_server(&ca, &chain, "gw.example", now()).is_err());
    assert_eq!(client_id(&chain[0]).unwrap(), JOIN);
    assert_eq!(certificate(&chain[0]).unwrap().public_key().raw, key.0.subject_public_key_info());
    assert_eq!(chain[1], ca.certificate_der());
}

#[test]
fn certificates_begin_before_now_end_with_the_ca_and_have_random_serials() {
    let (ca, csr) = (ca(), ClientKey::generate().unwrap().csr_der().unwrap());
    let [first, second] = [(), ()].map(|()| ca.issue_client(&csr, JOIN, now(), 7 * DAY).unwrap());
    assert_eq!(validity(&first[0]).unwrap(), (now().plus(-BACKDATED), now().plus(7 * DAY)));
    assert_ne!(certificate(&first[0]).unwrap().serial, certificate(&second[0]).unwrap().serial);

    let late = now().plus((CA_DAYS - 3) * DAY);
    let last = ca.issue_client(&csr, JOIN, late, 7 * DAY).unwrap();
    assert_eq!(validity(&last[0]).unwrap().1, now().plus(CA_DAYS * DAY));
    assert_eq!(ca.issue_client(&csr, JOIN, now().plus(CA_DAYS * DAY), 7 * DAY).unwrap_err().fault, Fault::Expired);
    for life in [i64::MIN, -1, 0, SECOND - 1, (LEAF_SECONDS_MAX + 1) * SECOND, i64::MAX] {
        assert!(ca.issue_client(&csr, JOIN, now(), life).is_err(), "{life}");
        assert!(ca.issue_server("gw.example", now(), life).is_err(), "{life}");
    }
}

#[test]
fn a_ca_is_kept_and_restored() {
    let first = ca();
    let (certificate_pem, key_pem) = first.to_pem();
    let restored = TransportCa::from_pem(&certificate_pem, &key_pem).unwrap();
    assert_eq!(restored.digest(), first.digest());
    assert_eq!(first.digest(), Digest::of(first.certificate_der()));
    let chain = restored.issue_client(&ClientKey::generate().unwrap().csr_der().unwrap(), JOIN, now(), DAY).unwrap();
    as_client(&first, &chain, now()).unwrap();

    let (other_certificate, other_key) = ca().to_pem();
    for (certificate, key) in [(&certificate_pem, &other_key), (&other_certificate, &key_pem)] {
        assert_eq!(TransportCa::from_pem(certificate, key).unwrap_err().fault, Fault::Mismatch);
    }
    assert!(TransportCa::from_pem("", &key_pem).is_err());
    assert!(TransportCa::from_pem(&certificate_pem, "").is_err());
    assert!(TransportCa::generate("", now()).is_err());
    assert!(TransportCa::generate(&"x".repeat(NAME_BYTES_MAX + 1), now()).is_err());
}

#[test]
fn a_leaf_is_no_ca() {
    let key = KeyPair::generate().unwrap();
    let mut params = params("leaf", now(), now().plus(DAY)).unwrap();
    params.is_ca = IsCa::ExplicitNoCa;
    let leaf = params.self_signed(&key).unwrap();
    let refused = TransportCa::from_pem(&leaf.pem(), &key.serialize_pem()).unwrap_err();
    assert!(refused.sentence.contains("not a CA's"), "{refused}");
}

#[test]
fn names_that_are_neither_dns_nor_address_are_refused() {
    for name in ["", "a b", "*.example", "gw.example:4433", "gw\0", &"x".repeat(64)] {
        assert!(ca().issue_server(name, now(), DAY).is_err(), "{name:?}");
    }
    let long = format!("{}.{}.example", "a".repeat(40), "b".repeat(40));
    let (ca, at) = (ca(), now());
    as_server(&ca, &ca.issue_server(&long, at, DAY).unwrap().chain, &long, at).unwrap();
}

#[test]
fn a_request_says_the_same_key_on_both_sides() {
    let key = ClientKey::generate().unwrap();
    assert_eq!(csr_key_digest(&key.csr_der().unwrap()).unwrap(), key.spki_digest());
    let kept = ClientKey::from_pkcs8_der(&key.pkcs8_der()).unwrap();
    assert_eq!(kept.spki_digest(), key.spki_digest());
    assert_ne!(ClientKey::generate().unwrap().spki_digest(), key.spki_digest());
    assert!(ClientKey::from_pkcs8_der(b"rubbish").is_err());
}

#[test]
fn what_a_request_asks_for_besides_its_key_is_not_given() {
    let key = KeyPair::generate().unwrap();
    let mut greedy = CertificateParams::new(vec!["gw.example".to_owned()]).unwrap();
    greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    greedy.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let csr = greedy.serialize_request(&key).unwrap();
    let ca = ca();
    let chain = ca.issue_client(csr.der(), JOIN, now(), DAY).unwrap();
    let leaf = certificate(&chain[0]).unwrap();
    assert!(!leaf.is_ca());
    assert_eq!(client_id(&chain[0]).unwrap(), JOIN);
    assert!(as_server(&ca, &chain, "gw.example", now()).is_err());
}

#[test]
fn requests_with_other_keys_and_changed_requests_are_refused() {
    for algorithm in [&rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P384_SHA384] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap();
        assert!(csr_key_digest(csr.der()).unwrap_err().sentence.contains("P-256"));
    }
    let key = ClientKey::generate().unwrap();
    let csr = key.csr_der().unwrap();
    for position in 0..csr.len() {
        let mut changed = csr.clone();
        changed[position] ^= 1;
        match csr_key_digest(&changed) {
            Err(_) => {}
            // x509-parser does not mind how some of it is spelled; the key and its proof are the same.
            Ok(same) => assert!(same == key.spki_digest() && UNSIGNED.contains(&position), "byte {position}"),
        }
        assert!(csr_key_digest(&csr[..position]).is_err(), "cut at {position}");
    }
    assert!(csr_key_digest(&[csr, vec![0]].concat()).is_err());
    assert_eq!(csr_key_digest(&vec![0; CSR_BYTES_MAX + 1]).unwrap_err().fault, Fault::TooLarge);
}

#[test]
fn a_request_made_by_openssl_is_good() {
    let dir = tempfile::tempdir().unwrap();
    let (key, csr) = (dir.path().join("key"), dir.path().join("csr"));
    let made = std::process::Command::new("openssl")
        .args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-batch"])
        .args(["-subj", "/CN=web1", "-outform", "DER", "-keyout"])
        .args([key.as_path(), "-out".as_ref(), csr.as_path()])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let ca = ca();
    let chain = ca.issue_client(&std::fs::read(csr).unwrap(), JOIN, now(), DAY).unwrap();
    as_client(&ca, &chain, now()).unwrap();
}

#[test]
fn a_certificate_that_names_no_or_another_thing_has_no_id() {
    let ca = ca();
    assert!(client_id(&ca.issue_server("gw.example", now(), DAY).unwrap().chain[0]).is_err());
    assert!(client_id(ca.certificate_der()).is_err());
    assert!(client_id(b"rubbish").is_err());
    let uri = |text: String| SanType::URI(text.as_str().try_into().unwrap());
    let good = format!("{URI_PREFIX}{JOIN}");
    let cases = [
        vec![uri(good.clone()), uri(good.clone())],
        vec![uri(good.to_uppercase())],
        vec![uri(format!("{good}00"))],
        vec![uri(format!("https://{good}"))],
        vec![SanType::DnsName("belay".try_into().unwrap()), uri(good)],
    ];
    for names in cases {
        let mut params = params("x", now(), now().plus(DAY)).unwrap();
        params.subject_alt_names = names;
        let leaf = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert!(client_id(leaf.der()).is_err(), "{:?}", params.subject_alt_names);
    }
}

#[test]
fn debug_shows_no_private_key() {
    let (ca, key) = (ca(), ClientKey::generate().unwrap());
    let issued = ca.issue_server("gw.example", now(), DAY).unwrap();
    for shown in [format!("{ca:?}"), format!("{key:?}"), format!("{issued:?}")] {
        assert!(shown.len() < 100 && shown.contains("sha256:"), "{shown}");
    }
}

/// What an agent does that pinned the CA with `pinned`: that certificate is its root, the others of the chain are ways to it.
fn as_agent(chain: &[Vec<u8>], pinned: Digest) -> Result<(), rustls::Error> {
    let chain: Vec<CertificateDer<'_>> = chain.iter().map(|der| der.as_slice().into()).collect();
    let mut roots = RootCertStore::empty();
    roots.add(chain.iter().find(|der| Digest::of(der) == pinned).cloned().unwrap().into_owned()).unwrap();
    let provider = rustls::crypto::ring::default_provider();
    let leaf = rustls::server::ParsedCertificate::try_from(&chain[0]).unwrap();
    let algorithms = provider.signature_verification_algorithms.all;
    rustls::client::verify_server_cert_signed_by_trust_anchor(&leaf, &roots, &chain[1..], unix(now()), algorithms)
}

#[test]
fn a_ca_that_takes_anothers_place_is_believed_by_whoever_pinned_either() {
    let old = ca();
    let new = old.next("gw.example transport", now()).unwrap();
    assert_eq!((new.previous(), new.roots().len()), (Some(old.digest()), 2));
    let chain = new.issue_server("gw.example", now(), DAY).unwrap().chain;
    assert_eq!(chain.len(), 4);
    as_agent(&chain, new.digest()).unwrap();
    as_agent(&chain, old.digest()).unwrap();
    assert!(new.next("gw.example transport", now()).is_err(), "never three");

    let (certificates, key) = new.to_pem();
    let kept = TransportCa::from_pem(&certificates, &key).unwrap();
    assert_eq!((kept.digest(), kept.previous()), (new.digest(), new.previous()));
    as_agent(&kept.issue_server("gw.example", now(), DAY).unwrap().chain, old.digest()).unwrap();
    let device = ClientKey::generate().unwrap();
    for issuer in [&old, &new] {
        let chain = issuer.issue_client(&device.csr_der().unwrap(), JOIN, now(), DAY).unwrap();
        assert!(new.roots().iter().any(|root| chain.iter().any(|der| der == root)));
    }

    let retired = kept.retired().unwrap();
    assert_eq!((retired.digest(), retired.previous(), retired.roots().len()), (new.digest(), None, 1));
    assert_eq!(retired.issue_server("gw.example", now(), DAY).unwrap().chain.len(), 2);
    retired.next("gw.example transport", now()).unwrap();
}

#[test]
fn certificates_that_do_not_belong_to_one_rotation_are_refused() {
    let (old, other) = (ca(), ca());
    let (new, foreign) = (old.next("gw", now()).unwrap(), other.next("gw", now()).unwrap());
    let ((pem, key), (foreign, _)) = (new.to_pem(), foreign.to_pem());
    let blocks = |text: &str| -> Vec<String> {
        text.split_inclusive("-----END CERTIFICATE-----\n").map(str::to_owned).collect()
    };
    let (ours, theirs) = (blocks(&pem), blocks(&foreign));
    for wrong in [
        format!("{}{}{}", ours[0], theirs[1], theirs[2]),
        format!("{}{}", ours[0], ours[1]),
        format!("{pem}{}", ours[0]),
        String::new(),
    ] {
        assert!(TransportCa::from_pem(&wrong, &key).is_err(), "{wrong}");
    }
}

#[test]
fn a_certificate_is_renewed_between_two_thirds_and_five_sixths_of_its_life() {
    let csr = ClientKey::generate().unwrap().csr_der().unwrap();
    for life in [6 * SECOND, 30 * DAY] {
        let chain = ca().issue_client(&csr, JOIN, now(), life).unwrap();
        assert_eq!(renewal(&chain[0]).unwrap(), (now().plus(life / 3 * 2), now().plus(life / 6 * 5)));
    }
}
