//! The token: a person's signed permission to ask that devices be joined, for a few uses and a few days.
//!
//! Not here: the request made with it (`join`), the approval that follows (`device`), the counting of uses (the gateway).

pub(crate) mod seen;

use crate::limits::{ADDRESS_BYTES_MAX, TOKEN_ADDRESSES_MAX, TOKEN_FILE_BYTES_MAX, TOKEN_TRANSPORT_CAS_MAX};
use crate::{
    Digest, Id, PersonRef, PrivateKey, PublicKey, TenantName, Timestamp,
    invalid::{Fault, Invalid, malformed},
    limits::{DOCUMENT_BYTES_MAX, LABELS_MAX, TOKEN_DAYS_MAX, TOKEN_USES_MAX},
    policy::{ActionKind, DevicePattern, Glob, Policies, may_anywhere},
    sshsig::{
        Namespace, Signed,
        document::{self, Document},
    },
    time::DAY,
};
use serde::Deserialize;

/// The signed document (`token.v1@belay`): what the gateway is given, without any secret.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// The tenant that devices join.
    pub tenant: TenantName,
    /// Random; what the uses are counted under.
    pub id: Id,
    /// The public half of the key that signs join requests.
    pub join_key: PublicKey,
    /// The tenant's version 0: what a joining device pins.
    pub policy0: Digest,
    /// The newest policy version its maker knew: a joining device accepts no older one.
    pub policy_version: u64,
    /// The digest of that version's bytes.
    pub policy: Digest,
    /// Devices that may ask with it, 1 to 10,000.
    pub uses: u64,
    /// When it was made.
    #[serde(deserialize_with = "document::moment")]
    pub issued: Timestamp,
    /// When it ends, at most 30 days after `issued`.
    #[serde(deserialize_with = "document::moment")]
    pub expires: Timestamp,
    /// Labels proposed for the devices; only the approved record decides.
    pub labels: Vec<String>,
    /// The device names it is for; `*` for any.
    #[serde(deserialize_with = "glob")]
    pub name_pattern: Glob,
    /// Where the gateway listens for devices, `HOST:PORT`, at least one.
    pub addresses: Vec<String>,
    /// SHA-256 of the gateway's transport CA certificates (DER), at least one: checked before a word is said.
    pub transport_ca: Vec<Digest>,
}

impl Token {
    /// The document's text, to be signed as it is.
    pub fn to_text(&self) -> String {
        Document::default()
            .quoted("tenant", &self.tenant)
            .quoted("id", self.id)
            .quoted("join_key", &self.join_key)
            .quoted("policy0", self.policy0)
            .bare("policy_version", self.policy_version)
            .quoted("policy", self.policy)
            .bare("uses", self.uses)
            .bare("issued", self.issued)
            .bare("expires", self.expires)
            .list("labels", &self.labels)
            .quoted("name_pattern", &self.name_pattern)
            .list("addresses", &self.addresses)
            .list("transport_ca", &self.transport_ca)
            .finish()
    }

    /// Reads the document's bytes. Says nothing about who signed it: see [`check_issued`].
    ///
    /// # Errors
    /// With the line or field that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, Invalid> {
        let parsed = document::read::<Self>(bytes, DOCUMENT_BYTES_MAX).and_then(|token| {
            token.check_limits()?;
            Ok(token)
        });
        parsed.map_err(|invalid| invalid.of("the token"))
    }

    fn check_limits(&self) -> Result<(), Invalid> {
        if !(1..=TOKEN_USES_MAX).contains(&self.uses) {
            return Err(malformed(format!("uses is {}, but must be 1 to {TOKEN_USES_MAX}", self.uses)));
        }
        if self.expires <= self.issued || self.expires > self.issued.plus(TOKEN_DAYS_MAX * DAY) {
            return Err(malformed(format!("expires must be after issued, by at most {TOKEN_DAYS_MAX} days")));
        }
        check_labels(&self.labels)?;
        document::check_list("addresses", &self.addresses, TOKEN_ADDRESSES_MAX)?;
        document::check_list("transport_ca", &self.transport_ca, TOKEN_TRANSPORT_CAS_MAX)?;
        if self.addresses.is_empty() || self.transport_ca.is_empty() {
            return Err(malformed("addresses and transport_ca must not be empty: a device could not find the gateway"));
        }
        self.addresses.iter().try_for_each(|address| check_address(address))
    }
}

fn glob<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Glob, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

/// Labels as a policy's `tag:LABEL` can name them, at most 32, none twice.
pub(crate) fn check_labels(labels: &[String]) -> Result<(), Invalid> {
    document::check_list("labels", labels, LABELS_MAX)?;
    labels.iter().try_for_each(|label| {
        let pattern: Result<DevicePattern, Invalid> = format!("tag:{label}").parse();
        pattern.map(drop).map_err(|_| {
            malformed(format!(
                "{label:?} in labels is not a label: use A-Z, a-z, 0-9 and '_.-:=/', as after `tag:` in a policy"
            ))
        })
    })
}

fn check_address(address: &str) -> Result<(), Invalid> {
    let (host, port) = address.rsplit_once(':').unwrap_or_default();
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
    let host_ok = !host.is_empty() && !host.starts_with('-') && host.bytes().all(legal);
    let port_ok = port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0);
    if !host_ok || !port_ok || address.len() > ADDRESS_BYTES_MAX {
        return Err(malformed(format!("{address:?} in addresses is not HOST:PORT, as gw.example:4433")));
    }
    Ok(())
}

/// Checks a token document as the gateway and the device do: who signed it, for which tenant, and that it still counts.
///
/// Counting the uses is the caller's.
///
/// # Errors
/// When it does not parse, is another tenant's or another chain's, has expired, was issued in the future or under a
/// policy not held here, or its signer has no `enrol` in the newest policy.
pub fn check_issued(policies: &Policies<'_>, signed: &Signed, now: Timestamp) -> Result<(Token, PersonRef), Invalid> {
    let token = Token::parse(&signed.bytes)?;
    let person = check_signed(policies, &token, signed, now).map_err(|invalid| invalid.of("the token"))?;
    Ok((token, person))
}

fn check_signed(policies: &Policies<'_>, token: &Token, signed: &Signed, now: Timestamp) -> Result<PersonRef, Invalid> {
    let chain = policies.tenant;
    let signer = signed.only_signer(Namespace::Token)?;
    if token.tenant != *chain.tenant() {
        return Err(Invalid::new(Fault::ForeignTenant, format!("is for {}, not for {}", token.tenant, chain.tenant())));
    }
    if token.policy0 != chain.policy0() {
        return Err(Invalid::new(
            Fault::Mismatch,
            format!("names another version 0 of the policy of {}", token.tenant),
        ));
    }
    seen::check_version(chain, token.policy_version, &token.policy)?;
    seen::check_issued(token.issued, now)?;
    if now >= token.expires {
        let sentence = format!("expired at {}: make a new one with `belay token`", token.expires);
        return Err(Invalid::new(Fault::Expired, sentence));
    }
    chain.check_expiry(now).map_err(|refusal| seen::refused(&refusal))?;
    may_anywhere(policies, &signer, ActionKind::Enrol, now).ok_or_else(|| {
        let sentence = format!("was signed by {}, whom no grant gives `enrol`", signer.fingerprint());
        Invalid::new(Fault::WrongSigner, sentence)
    })
}

/// What a device is given: the signed document and the secret join key, in one file, never on a command line.
#[derive(Debug, Clone)]
pub struct TokenFile {
    /// The document and its one signature.
    pub token: Signed,
    /// The key that signs join requests.
    pub join_key: PrivateKey,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFile {
    token: String,
    signature: String,
    join_key: String,
}

impl TokenFile {
    /// The file's text. It is a secret.
    ///
    /// # Errors
    /// When the token is not text with one signature.
    pub fn to_text(&self) -> Result<String, Invalid> {
        let token = crate::sshsig::text(&self.token.bytes, DOCUMENT_BYTES_MAX)?;
        let [signature] = self.token.signatures.as_slice() else {
            return Err(malformed(format!("a token has one signature, not {}", self.token.signatures.len())));
        };
        Ok(Document::default()
            .comment("A secret: whoever has this file can ask to join devices. For `belay-agent join --token-file`.")
            .block("token", token)
            .block("signature", signature)
            .block("join_key", &self.join_key.to_openssh()?)
            .finish())
    }

    /// Reads the file and checks that its parts belong together. Whether the signer may is [`check_issued`]'s question.
    ///
    /// # Errors
    /// With the line or part that is wrong. No sentence repeats a part of the key.
    pub fn parse(bytes: &[u8]) -> Result<Self, Invalid> {
        let written: WrittenFile =
            document::read(bytes, TOKEN_FILE_BYTES_MAX).map_err(|invalid| invalid.of("the token file"))?;
        let token = Signed { bytes: written.token.into_bytes(), signatures: vec![written.signature] };
        token.only_signer(Namespace::Token).map_err(|invalid| invalid.of("the token file"))?;
        let join_key =
            PrivateKey::from_openssh(&written.join_key).map_err(|invalid| invalid.of("the token file's join_key"))?;
        if Token::parse(&token.bytes)?.join_key != *join_key.public() {
            return Err(Invalid::new(Fault::Mismatch, "the token file's join_key is not the one its token names"));
        }
        Ok(Self { token, join_key })
    }
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
