//! The certificates of the transport: a gateway's own CA, its server certificate, and one for each device that calls.
//!
//! They carry no authority: a certificate only says which join request is calling. What a device or a person may do
//! is never read from here.

use crate::digest::{Digest, Id, random};
use crate::invalid::{Fault, Invalid, malformed};
pub use crate::limits::{CERTIFICATE_BYTES_MAX, CSR_BYTES_MAX, LEAF_SECONDS_MAX};
use crate::time::{DAY, SECOND, Timestamp};
use ::time::OffsetDateTime;
use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use std::fmt;
use x509_parser::certificate::X509Certificate;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// How far before `now` a certificate begins, in the unit of [`Timestamp`]: the other side's clock may be behind.
const BACKDATED: i64 = 5 * 60 * SECOND;
/// A CA's life in days: policies pin it by digest, so it ends by a new policy long before.
const CA_DAYS: i64 = 3650;
/// A CA's name, in bytes (RFC 5280: ub-common-name).
const NAME_BYTES_MAX: usize = 64;
/// What stands before the join id in a client certificate's one URI.
const URI_PREFIX: &str = "belay:join:";
/// The DER of every uncompressed P-256 public key up to its 64 bytes (RFC 5480): the only kind a client may have.
const P256_SPKI: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

/// The gateway's certificate authority: Ed25519, path length zero. While it takes the place of an earlier one it carries that
/// one's word for it.
pub struct TransportCa {
    issuer: Issuer<'static, KeyPair>,
    certificate: Vec<u8>,
    not_after: Timestamp,
    /// The CA before this one, until it is retired.
    previous: Option<Previous>,
}

/// A CA whose place was taken. Its key is gone.
#[derive(Clone)]
struct Previous {
    /// The next CA's key, certified by the previous one: who pinned only the previous CA still finds a way to the gateway.
    cross: Vec<u8>,
    /// The previous CA's own certificate.
    certificate: Vec<u8>,
}

/// A fresh certificate with its key.
pub struct Issued {
    /// DER certificates, the leaf first, then the CA.
    pub chain: Vec<Vec<u8>>,
    /// The leaf's private key, PKCS #8 DER.
    pub key_der: Vec<u8>,
}

/// A device's transport key, made where it is used: P-256, a new one for each certificate.
pub struct ClientKey(KeyPair);

impl TransportCa {
    /// A new CA named `name`, which begins five minutes before `now`.
    ///
    /// # Errors
    /// When the name is empty or too long, or the system gives no randomness.
    pub fn generate(name: &str, now: Timestamp) -> Result<Self, Invalid> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(not_made)?;
        let certificate = ca_params(name, now, now.plus(CA_DAYS * DAY))?.self_signed(&key).map_err(not_made)?;
        Self::from_parts(vec![certificate.der().to_vec()], key)
    }

    /// A new CA that takes the place of this one, and whom this one certifies. Its servers show both ways, so a device
    /// that pinned either of them believes them; clients of both are known by [`TransportCa::roots`].
    ///
    /// # Errors
    /// As [`TransportCa::generate`], and when this CA still carries an earlier one.
    pub fn next(&self, name: &str, now: Timestamp) -> Result<Self, Invalid> {
        if self.previous.is_some() {
            return Err(malformed("the transport CA before this one is not retired yet: there are never three"));
        }
        let next = Self::generate(name, now)?;
        let key = SubjectPublicKeyInfo::from_der(&next.issuer.key().subject_public_key_info()).map_err(not_made)?;
        let end = next.not_after.min(self.not_after);
        let cross = ca_params(name, now, end)?.signed_by(&key, &self.issuer).map_err(not_made)?;
        let previous = Previous { cross: cross.der().to_vec(), certificate: self.certificate.clone() };
        Ok(Self { previous: Some(previous), ..next })
    }

    /// The CA as it was kept: the certificates of [`TransportCa::to_pem`] and the PKCS #8 key, both PEM.
    ///
    /// # Errors
    /// When either is unreadable, a certificate is no CA's, or they do not belong together.
    pub fn from_pem(certificates_pem: &str, key_pem: &str) -> Result<Self, Invalid> {
        let unreadable =
            |what: &str| malformed(format!("transport CA has an unreadable {what}; restore it from backup"));
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates_pem.as_bytes()).collect();
        let certificates = certificates.map_err(|_| unreadable("certificate (PEM)"))?;
        let key = KeyPair::from_pem(key_pem).map_err(|_| unreadable("key (PKCS #8 PEM)"))?;
        Self::from_parts(certificates.into_iter().map(|der| der.to_vec()).collect(), key)
    }

    /// The CA's own certificate first; then, if there is a previous CA, the cross certificate and its own.
    fn from_parts(certificates: Vec<Vec<u8>>, key: KeyPair) -> Result<Self, Invalid> {
        let unreadable = || malformed("transport CA has an unreadable certificate; restore it from backup");
        let mismatch = |why: &str| {
            Invalid::new(
                Fault::Mismatch,
                format!("transport CA's {why} do not belong together; restore both from one backup"),
            )
        };
        let own = certificates.first().cloned().ok_or_else(unreadable)?;
        let previous = match certificates.get(1..).unwrap_or_default() {
            [] => None,
            [cross, certificate] => Some(Previous { cross: cross.clone(), certificate: certificate.clone() }),
            _ => return Err(mismatch("certificates")),
        };
        let (spki, not_after) = ca_facts(&own)?;
        if spki != key.subject_public_key_info() {
            return Err(mismatch("key and certificate"));
        }
        if let Some(Previous { cross, certificate }) = &previous {
            ca_facts(certificate)?;
            if ca_facts(cross)?.0 != spki {
                return Err(mismatch("certificates"));
            }
        }
        let issuer = Issuer::from_ca_cert_der(&own.as_slice().into(), key).map_err(|_| unreadable())?;
        Ok(Self { issuer, certificate: own, not_after, previous })
    }

    /// The same CA without the previous one: whoever pinned only that one is not reached any more.
    ///
    /// # Errors
    /// When the key cannot be read back.
    pub fn retired(&self) -> Result<Self, Invalid> {
        let key = KeyPair::from_pem(&self.issuer.key().serialize_pem()).map_err(not_made)?;
        Self::from_parts(vec![self.certificate.clone()], key)
    }

    /// The certificates and the private key to keep, both PEM.
    pub fn to_pem(&self) -> (String, String) {
        let previous = self.previous.iter().flat_map(|previous| [&previous.cross, &previous.certificate]);
        let certificates = std::iter::once(&self.certificate).chain(previous).map(|der| pem(der)).collect();
        (certificates, self.issuer.key().serialize_pem())
    }

    /// The CA certificate's DER.
    pub fn certificate_der(&self) -> &[u8] {
        &self.certificate
    }

    /// The certificates whose clients count: this CA's, and the previous one's until it is retired.
    pub fn roots(&self) -> Vec<&[u8]> {
        let previous = self.previous.iter().map(|previous| previous.certificate.as_slice());
        std::iter::once(self.certificate.as_slice()).chain(previous).collect()
    }

    /// The digest of the certificate's DER, as policies pin it.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.certificate)
    }

    /// The digest of the previous CA's certificate, until it is retired.
    pub fn previous(&self) -> Option<Digest> {
        self.previous.as_ref().map(|previous| Digest::of(&previous.certificate))
    }

    /// A server certificate for `dns_name` (or an IP address) with a new P-256 key, which ends `life` after `now`, in the
    /// unit of [`Timestamp`]. Its chain also leads to the previous CA.
    ///
    /// # Errors
    /// When the name is none, `life` is out of bounds, the CA has ended, or the system gives no randomness.
    pub fn issue_server(&self, dns_name: &str, now: Timestamp, life: i64) -> Result<Issued, Invalid> {
        ServerName::try_from(dns_name)
            .map_err(|_| malformed(format!("{dns_name:?} is neither a DNS name nor an IP address")))?;
        let key = KeyPair::generate().map_err(not_made)?;
        let named = CertificateParams::new(vec![dns_name.to_owned()]).map_err(not_made)?;
        let mut params = self.leaf(&self.common_name(dns_name), now, life, ExtendedKeyUsagePurpose::ServerAuth)?;
        params.subject_alt_names = named.subject_alt_names;
        let mut chain = self.signed(&params, &key)?;
        chain.extend(
            self.previous.iter().flat_map(|Previous { cross, certificate }| [cross.clone(), certificate.clone()]),
        );
        Ok(Issued { chain, key_der: key.serialize_der() })
    }

    /// A client certificate for the key of a request, which names the join request `join` and ends `life` after `now`, in
    /// the unit of [`Timestamp`]. Nothing else of the request is taken over.
    ///
    /// # Errors
    /// When the request is not signed by its own P-256 key, `life` is out of bounds, or the CA has ended.
    pub fn issue_client(&self, csr_der: &[u8], join: Id, now: Timestamp, life: i64) -> Result<Vec<Vec<u8>>, Invalid> {
        let key = SubjectPublicKeyInfo::from_der(&csr_key(csr_der)?).map_err(not_made)?;
        let name = format!("{URI_PREFIX}{join}");
        let mut params = self.leaf(&name, now, life, ExtendedKeyUsagePurpose::ClientAuth)?;
        params.subject_alt_names = vec![SanType::URI(name.as_str().try_into().map_err(not_made)?)];
        self.signed(&params, &key)
    }

    fn leaf(
        &self,
        name: &str,
        now: Timestamp,
        life: i64,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<CertificateParams, Invalid> {
        let seconds = life / SECOND;
        if !(1..=LEAF_SECONDS_MAX).contains(&seconds) {
            let sentence = format!("a certificate for {seconds} seconds is refused: choose 1 to {LEAF_SECONDS_MAX}");
            return Err(malformed(sentence));
        }
        if now >= self.not_after {
            let sentence =
                format!("transport CA ended at {}: make a new one and name it in the policies", self.not_after);
            return Err(Invalid::new(Fault::Expired, sentence));
        }
        let mut params = params(name, now, now.plus(life).min(self.not_after))?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }

    fn signed(&self, params: &CertificateParams, key: &impl PublicKeyData) -> Result<Vec<Vec<u8>>, Invalid> {
        let leaf = params.signed_by(key, &self.issuer).map_err(not_made)?;
        Ok(vec![leaf.der().to_vec(), self.certificate.clone()])
    }

    /// A DNS name may be longer than a common name; the alternative name is what counts.
    fn common_name(&self, dns_name: &str) -> String {
        if dns_name.len() > NAME_BYTES_MAX { "belay gateway".to_owned() } else { dns_name.to_owned() }
    }
}

impl ClientKey {
    /// A new key.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate() -> Result<Self, Invalid> {
        KeyPair::generate().map(Self).map_err(not_made)
    }

    /// The key as it was kept.
    ///
    /// # Errors
    /// When it is not a P-256 key in PKCS #8 DER.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, Invalid> {
        KeyPair::from_pkcs8_der_and_sign_algo(&der.into(), &rcgen::PKCS_ECDSA_P256_SHA256)
            .map(Self)
            .map_err(|_| malformed("transport key is not P-256 in PKCS #8; make a new one"))
    }

    /// A certificate request for this key, DER. It names nothing: the gateway knows who asks.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn csr_der(&self) -> Result<Vec<u8>, Invalid> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        Ok(params.serialize_request(&self.0).map_err(not_made)?.der().to_vec())
    }

    /// The private key, PKCS #8 DER: for the TLS configuration and the state directory only.
    pub fn pkcs8_der(&self) -> Vec<u8> {
        self.0.serialize_der()
    }

    /// The digest of the public key's SubjectPublicKeyInfo, as a join request names it.
    pub fn spki_digest(&self) -> Digest {
        Digest::of(&self.0.subject_public_key_info())
    }
}

/// The join request that a client certificate names. Whether our CA signed it, the TLS handshake has checked.
///
/// # Errors
/// When it is no certificate, or does not have exactly one name of that form.
pub fn client_id(leaf_der: &[u8]) -> Result<Id, Invalid> {
    let other = || malformed("the client certificate names no join request: it was not issued to a device");
    let certificate = certificate(leaf_der)?;
    let names = certificate.subject_alternative_name().ok().flatten().ok_or_else(other)?;
    let [GeneralName::URI(uri)] = names.value.general_names.as_slice() else { return Err(other()) };
    uri.strip_prefix(URI_PREFIX).ok_or_else(other)?.parse()
}

/// From when to when a certificate is to be renewed: from two thirds to five sixths of its life as it was issued. Whoever has
/// one draws a moment in between, so that those who got theirs together do not come back together.
///
/// # Errors
/// When it is no certificate.
pub fn renewal(leaf_der: &[u8]) -> Result<(Timestamp, Timestamp), Invalid> {
    let (begin, end) = validity(leaf_der)?;
    let issued = begin.plus(BACKDATED);
    let sixth = (end.micros() - issued.micros()) / 6;
    Ok((issued.plus(4 * sixth), issued.plus(5 * sixth)))
}

/// When a certificate begins.
///
/// # Errors
/// When it is no certificate.
pub fn begin(der: &[u8]) -> Result<Timestamp, Invalid> {
    validity(der).map(|(begin, _)| begin)
}

/// When a certificate begins and ends.
fn validity(leaf_der: &[u8]) -> Result<(Timestamp, Timestamp), Invalid> {
    let certificate = certificate(leaf_der)?;
    let validity = certificate.validity();
    Ok((
        Timestamp::from_seconds(validity.not_before.timestamp()),
        Timestamp::from_seconds(validity.not_after.timestamp()),
    ))
}

/// The digest of the key that a certificate request is for, as [`ClientKey::spki_digest`].
///
/// # Errors
/// When the request is not signed by its own P-256 key.
pub fn csr_key_digest(csr_der: &[u8]) -> Result<Digest, Invalid> {
    csr_key(csr_der).map(|spki| Digest::of(&spki))
}

/// The SubjectPublicKeyInfo of a request whose signature proves that the asker has the private half.
fn csr_key(csr_der: &[u8]) -> Result<Vec<u8>, Invalid> {
    check_length(csr_der, CSR_BYTES_MAX, "certificate request")?;
    let request = match X509CertificationRequest::from_der(csr_der) {
        Ok(([], request)) => request,
        Ok(_) | Err(_) => return Err(malformed("certificate request is not one DER PKCS #10 request")),
    };
    let spki = request.certification_request_info.subject_pki.raw;
    if !spki.starts_with(&P256_SPKI) || spki.len() != P256_SPKI.len() + 64 {
        return Err(malformed("certificate request is for another kind of key: use P-256"));
    }
    request.verify_signature().map_err(|_| {
        Invalid::new(Fault::BadSignature, "certificate request is not signed by the key that it is for; make a new one")
    })?;
    Ok(spki.to_vec())
}

/// A CA certificate's public key (SPKI) and its end.
fn ca_facts(der: &[u8]) -> Result<(Vec<u8>, Timestamp), Invalid> {
    let certificate = certificate(der)?;
    if !certificate.is_ca() {
        return Err(malformed("transport CA's certificate is not a CA's; restore it from backup"));
    }
    let not_after = Timestamp::from_seconds(certificate.validity().not_after.timestamp());
    Ok((certificate.public_key().raw.to_vec(), not_after))
}

/// What a CA's certificate says, whoever signs it.
fn ca_params(name: &str, now: Timestamp, not_after: Timestamp) -> Result<CertificateParams, Invalid> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(malformed(format!("transport CA {name:?} needs a name of 1 to {NAME_BYTES_MAX} bytes")));
    }
    let mut params = params(name, now, not_after)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// A certificate as text (RFC 7468).
fn pem(der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let lines: String =
        base64.as_bytes().chunks(64).map(|line| format!("{}\n", String::from_utf8_lossy(line))).collect();
    format!("-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n")
}

fn certificate(der: &[u8]) -> Result<X509Certificate<'_>, Invalid> {
    check_length(der, CERTIFICATE_BYTES_MAX, "certificate")?;
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) | Err(_) => Err(malformed("certificate is not one DER X.509 certificate")),
    }
}

fn check_length(der: &[u8], bytes_max: usize, name: &str) -> Result<(), Invalid> {
    if der.len() > bytes_max {
        let sentence = format!("{name} has {} bytes, at most {bytes_max} are allowed", der.len());
        return Err(Invalid::new(Fault::TooLarge, sentence));
    }
    Ok(())
}

/// rcgen's defaults run from 1975 to 4096 without a random serial, so all three are always set here.
fn params(name: &str, now: Timestamp, not_after: Timestamp) -> Result<CertificateParams, Invalid> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from_slice(&random::<16>()?));
    params.not_before = moment(now.plus(-BACKDATED))?;
    params.not_after = moment(not_after)?;
    Ok(params)
}

fn moment(at: Timestamp) -> Result<OffsetDateTime, Invalid> {
    OffsetDateTime::from_unix_timestamp(at.seconds())
        .map_err(|_| malformed(format!("{at} is no date of a certificate")))
}

fn not_made(error: impl fmt::Display) -> Invalid {
    malformed(format!("certificate was not made: {error}"))
}

impl fmt::Debug for TransportCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransportCa({})", self.digest())
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Issued({:?})", self.chain.first().map(|leaf| Digest::of(leaf)))
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientKey({})", self.spki_digest())
    }
}

#[cfg(test)]
mod tests;
