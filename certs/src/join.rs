//! The join request: what a new machine says about itself, signed with the token's join key and its own host key.
//!
//! Two signatures, so that a relay can neither swap the host key nor pass off a machine that has no token.
//! Not here: the answer to it (`device`).

use crate::{
    DeviceName, Digest, Id, PrivateKey, PublicKey, TenantName, Timestamp,
    invalid::{Fault, Invalid, malformed},
    limits::DOCUMENT_BYTES_MAX,
    sshsig::{
        Namespace,
        document::{self, Document},
        sign as sign_bytes, verify,
    },
    token::Token,
};
use serde::Deserialize;

/// The signed document (`join.v1@belay`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// The tenant it wants to join.
    pub tenant: TenantName,
    /// The digest of the token document's bytes.
    pub token: Digest,
    /// The machine's new SSH host key.
    pub host_key: PublicKey,
    /// SHA-256 of the public key (SPKI DER) in its transport certificate request.
    pub transport_key: Digest,
    /// The name it proposes.
    pub name: DeviceName,
    /// A digest of the machine id, by which a clone is told apart.
    pub machine_id: Digest,
    /// Random, so that no two requests are equal.
    pub nonce: Id,
    /// The machine's clock when it asked.
    #[serde(deserialize_with = "document::moment")]
    pub issued: Timestamp,
}

/// A request as it is sent and shown to the approver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedJoin {
    /// The document's bytes.
    pub bytes: Vec<u8>,
    /// Their signature by the token's join key.
    pub by_join_key: String,
    /// Their signature by the host key in them.
    pub by_host_key: String,
}

impl JoinRequest {
    /// The document's text, to be signed as it is.
    pub fn to_text(&self) -> String {
        Document::default()
            .quoted("tenant", &self.tenant)
            .quoted("token", self.token)
            .quoted("host_key", &self.host_key)
            .quoted("transport_key", self.transport_key)
            .quoted("name", &self.name)
            .quoted("machine_id", self.machine_id)
            .quoted("nonce", self.nonce)
            .bare("issued", self.issued)
            .finish()
    }

    /// Reads the document's bytes. Says nothing about the signatures: see [`check`].
    ///
    /// # Errors
    /// With the line or field that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, Invalid> {
        document::read(bytes, DOCUMENT_BYTES_MAX).map_err(|invalid| invalid.of("the join request"))
    }
}

/// Signs a request with both keys.
///
/// # Errors
/// When the host key is not the one in the request, or a key cannot sign.
pub fn sign(request: &JoinRequest, join_key: &PrivateKey, host_key: &PrivateKey) -> Result<SignedJoin, Invalid> {
    if request.host_key != *host_key.public() {
        return Err(malformed("the join request names another host key than the one that is to sign it"));
    }
    let bytes = request.to_text().into_bytes();
    let by_join_key = sign_bytes(Namespace::Join, &bytes, join_key)?;
    let by_host_key = sign_bytes(Namespace::Join, &bytes, host_key)?;
    Ok(SignedJoin { bytes, by_join_key, by_host_key })
}

/// Checks a request against the token it was made with, as the gateway and the approver do.
///
/// Whether the token itself counts is `token::check_issued`'s question.
///
/// # Errors
/// When a signature is not by the right key, the token or the tenant is another one, the name is not one the token is
/// for, or the request was made after the token's end.
pub fn check(signed: &SignedJoin, token: &Token, token_bytes: &[u8]) -> Result<JoinRequest, Invalid> {
    let request = JoinRequest::parse(&signed.bytes)?;
    check_signatures(signed, &request, token)
        .and_then(|()| check_agrees(&request, token, token_bytes))
        .map_err(|invalid| invalid.of(format!("the join request of {}", request.name)))?;
    Ok(request)
}

fn check_signatures(signed: &SignedJoin, request: &JoinRequest, token: &Token) -> Result<(), Invalid> {
    let signer = |armored| verify(Namespace::Join, &signed.bytes, armored);
    if signer(&signed.by_join_key)? != token.join_key {
        return Err(Invalid::new(Fault::WrongSigner, "the first signature is not by the token's join key"));
    }
    if signer(&signed.by_host_key)? != request.host_key {
        return Err(Invalid::new(Fault::WrongSigner, "the second signature is not by the host key it names"));
    }
    if request.host_key == token.join_key {
        return Err(malformed(
            "the join key must not serve as the host key: whoever had the token could be the device",
        ));
    }
    Ok(())
}

fn check_agrees(request: &JoinRequest, token: &Token, token_bytes: &[u8]) -> Result<(), Invalid> {
    if request.tenant != token.tenant {
        let sentence = format!("is for {}, but its token is for {}", request.tenant, token.tenant);
        return Err(Invalid::new(Fault::ForeignTenant, sentence));
    }
    if request.token != Digest::of(token_bytes) || Token::parse(token_bytes)? != *token {
        return Err(Invalid::new(Fault::Mismatch, "was made with another token"));
    }
    if !token.name_pattern.matches(request.name.as_str()) {
        let sentence = format!("the token is for names like {}: join under such a name", token.name_pattern);
        return Err(Invalid::new(Fault::Mismatch, sentence));
    }
    if request.issued >= token.expires {
        let sentence = format!("was made at {}, after the token's end at {}", request.issued, token.expires);
        return Err(Invalid::new(Fault::Expired, sentence));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
