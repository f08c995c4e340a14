//! The renewal request: a device whose transport certificate has ended asks for another, signed with its host key.
//!
//! It proves who asks on which TLS connection, and nothing else: a transport certificate carries no authority.
//! Not here: the certificate (`transport`).

use crate::{
    Digest, Id, PrivateKey, PublicKey, Timestamp,
    invalid::{Fault, Invalid},
    limits::DOCUMENT_BYTES_MAX,
    sshsig::{
        Namespace,
        document::{self, Document},
        sign as sign_bytes, verify,
    },
};
use serde::Deserialize;

/// The label of the keying material that [`RenewalRequest::channel`] is a digest of (RFC 8446, 7.5), with an empty context.
pub const CHANNEL_LABEL: &[u8] = b"EXPORTER-belay-renewal";
/// Bytes of that keying material.
pub const CHANNEL_BYTES: usize = 32;

/// The signed document (`renewal.v1@belay`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewalRequest {
    /// The id of the device's join.
    pub join: Id,
    /// SHA-256 of the public key (SPKI DER) in its certificate request.
    pub transport_key: Digest,
    /// SHA-256 of what both sides exported from the TLS connection: on another connection the request is worth nothing.
    pub channel: Digest,
    /// The machine's clock when it asked; for people who read it, not compared with anything.
    #[serde(deserialize_with = "document::moment")]
    pub issued: Timestamp,
}

impl RenewalRequest {
    /// The document's text, to be signed as it is.
    pub fn to_text(&self) -> String {
        Document::default()
            .quoted("join", self.join)
            .quoted("transport_key", self.transport_key)
            .quoted("channel", self.channel)
            .bare("issued", self.issued)
            .finish()
    }

    /// Reads the document's bytes. Says nothing about the signature: see [`check`].
    ///
    /// # Errors
    /// With the line or field that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, Invalid> {
        document::read(bytes, DOCUMENT_BYTES_MAX).map_err(|invalid| invalid.of("the renewal request"))
    }
}

/// Signs a request: its bytes and the armoured signature.
///
/// # Errors
/// When the key cannot sign.
pub fn sign(request: &RenewalRequest, host_key: &PrivateKey) -> Result<(Vec<u8>, String), Invalid> {
    let bytes = request.to_text().into_bytes();
    let signature = sign_bytes(Namespace::Renewal, &bytes, host_key)?;
    Ok((bytes, signature))
}

/// Checks that the holder of `host_key` asks, on the TLS connection `channel`, for a certificate of the key `transport_key`.
///
/// # Errors
/// When it is another's signature, or one for another connection or another key.
pub fn check(
    bytes: &[u8],
    by_host_key: &str,
    host_key: &PublicKey,
    channel: &Digest,
    transport_key: &Digest,
) -> Result<(), Invalid> {
    let request = RenewalRequest::parse(bytes)?;
    let wrong = |fault, why: &str| Invalid::new(fault, format!("the renewal request {why}"));
    if verify(Namespace::Renewal, bytes, by_host_key).map_err(|invalid| invalid.of("the renewal request"))? != *host_key
    {
        return Err(wrong(Fault::WrongSigner, "is not signed by the device's host key"));
    }
    if request.channel != *channel {
        return Err(wrong(Fault::Mismatch, "was made for another connection; somebody may be in between"));
    }
    if request.transport_key != *transport_key {
        return Err(wrong(Fault::Mismatch, "names another key than the certificate request beside it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::fixture::{key, now};

    fn request() -> RenewalRequest {
        RenewalRequest {
            join: Id([7; 16]),
            transport_key: Digest::of(b"spki"),
            channel: Digest::of(b"this connection"),
            issued: now(),
        }
    }

    #[test]
    fn a_request_counts_for_its_host_key_connection_and_transport_key_only() {
        let (host, other) = (key("host"), key("other"));
        let (bytes, signature) = sign(&request(), &host).unwrap();
        assert_eq!(RenewalRequest::parse(&bytes).unwrap(), request());
        let (channel, spki) = (Digest::of(b"this connection"), Digest::of(b"spki"));
        check(&bytes, &signature, host.public(), &channel, &spki).unwrap();
        let fault = |key: &PrivateKey, channel: &[u8], spki: &[u8]| {
            check(&bytes, &signature, key.public(), &Digest::of(channel), &Digest::of(spki)).unwrap_err().fault
        };
        assert_eq!(fault(&other, b"this connection", b"spki"), Fault::WrongSigner);
        assert_eq!(fault(&host, b"another", b"spki"), Fault::Mismatch);
        assert_eq!(fault(&host, b"this connection", b"another"), Fault::Mismatch);
        let altered = String::from_utf8(bytes.clone()).unwrap().replace("issued = 2", "issued = 3").into_bytes();
        assert!(check(&altered, &signature, host.public(), &channel, &spki).is_err());
    }

    #[test]
    fn a_signature_for_another_purpose_is_none_here() {
        let host = key("host");
        let bytes = request().to_text().into_bytes();
        for namespace in [Namespace::Join, Namespace::Statement, Namespace::Token] {
            let signature = sign_bytes(namespace, &bytes, &host).unwrap();
            let (channel, spki) = (Digest::of(b"this connection"), Digest::of(b"spki"));
            assert!(check(&bytes, &signature, host.public(), &channel, &spki).is_err(), "{namespace}");
        }
    }
}
