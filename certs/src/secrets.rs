//! Secrets of an order: what a runbook is told and nobody else may read, encrypted for one device each.
//!
//! The line of a device in the order's list holds one age file (binary, in base64) to the device's SSH host key, so the order's
//! signature covers it and `age -R` makes it. Inside stands whose orders it is for, the fingerprint of the key that signs them: who
//! lifts a line into an order of their own has nothing, whatever id that order takes.
//! Not here: which parameters are secret (`runbook`), and hiding the values in an output (the agent).

use crate::{
    PrivateKey, PublicKey,
    digest::serde_as_text,
    invalid::{Fault, Invalid, malformed},
    limits::{SEALED_BYTES_MAX, SEALED_TEXT_BYTES_MAX, SECRET_BYTES_MAX, SECRET_BYTES_MIN, SECRETS_TEXT_BYTES_MAX},
    recording::blob::{not_encrypted, not_opened},
    runbook::ParameterName,
};
use age::ssh::{Identity, Recipient};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt,
    io::{Read, Write},
    str::FromStr,
};

/// Values by parameter. They are in no error, and `Debug` shows only the names.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<ParameterName, String>);

/// The secrets of one device as they travel: an age file in base64, in its one spelling.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sealed(String);

/// What is encrypted, as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inside {
    /// The fingerprint of the key that signs the order.
    signer: String,
    /// The values.
    secrets: BTreeMap<ParameterName, String>,
}

impl Secrets {
    /// Takes one more.
    ///
    /// # Errors
    /// When the name is there already, or the value is too short to be hidden, too long, or holds NUL. It is not shown.
    pub fn add(&mut self, name: ParameterName, value: String) -> Result<(), Invalid> {
        check(&value).map_err(|invalid| invalid.of(format!("the secret {name}")))?;
        if self.0.contains_key(&name) {
            return Err(malformed(format!("the secret {name} is given twice: keep one")));
        }
        self.0.insert(name, value);
        Ok(())
    }

    /// Their names, sorted: what the order says.
    pub fn names(&self) -> Vec<ParameterName> {
        self.0.keys().cloned().collect()
    }

    /// Each with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&ParameterName, &str)> {
        self.0.iter().map(|(name, value)| (name, value.as_str()))
    }

    /// One of them.
    pub fn get(&self, name: &ParameterName) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Encrypts them for the device with this host key and for orders that this key signs.
    ///
    /// # Errors
    /// When they are too long together, or the key is not Ed25519.
    pub fn seal(&self, signer: &PublicKey, host_key: &PublicKey) -> Result<Sealed, Invalid> {
        let inside = Inside { signer: signer.fingerprint(), secrets: self.0.clone() };
        let text = serde_json::to_vec(&inside).map_err(|_| malformed("the secrets cannot be written"))?;
        if text.len() > SECRETS_TEXT_BYTES_MAX {
            let sentence = format!(
                "the secrets have {} bytes together, over the limit of {SECRETS_TEXT_BYTES_MAX}: give fewer or shorter ones",
                text.len()
            );
            return Err(Invalid::new(Fault::TooLarge, sentence));
        }
        let to = Recipient::from_str(&host_key.line()).ok().filter(|to| matches!(to, Recipient::SshEd25519(..)));
        let to = to.ok_or_else(|| malformed(format!("nothing can be encrypted to the key {host_key:?}")))?;
        let unsealed = |why: &dyn fmt::Display| malformed(format!("the secrets were not encrypted: {why}"));
        let encryptor = age::Encryptor::with_recipients(std::iter::once(&to as &dyn age::Recipient));
        let encryptor = encryptor.map_err(|error| unsealed(&not_encrypted(&error)))?;
        let mut sealed = Vec::new();
        let written = encryptor.wrap_output(&mut sealed).and_then(|mut writer| {
            writer.write_all(&text)?;
            writer.finish()
        });
        written.map_err(|error| unsealed(&error))?;
        STANDARD.encode(sealed).parse()
    }

    /// Decrypts what was sealed for this device and for orders that this key signs.
    ///
    /// # Errors
    /// `WrongSigner` when it is not encrypted to this key; `Mismatch` when it is for another signer's orders; else what is wrong with it.
    /// No sentence shows a value.
    pub fn open(sealed: &Sealed, signer: &PublicKey, host_key: &PrivateKey) -> Result<Self, Invalid> {
        let text = decrypt(sealed, host_key)?;
        // What the reader says of a mistake may show a value.
        let inside: Inside = serde_json::from_slice(&text)
            .map_err(|_| malformed("what is encrypted is not {\"signer\":SHA256,\"secrets\":{NAME:VALUE,…}}"))?;
        // What stands there is not shown: nobody knows what it is.
        if inside.signer != signer.fingerprint() {
            let sentence =
                format!("were not encrypted for orders signed by {}: encrypt them anew", signer.fingerprint());
            return Err(Invalid::new(Fault::Mismatch, sentence));
        }
        // Nor is a name, before it is known to be one of the order's: somebody may have written the value there.
        inside.secrets.values().try_for_each(|value| check(value).map_err(|invalid| invalid.of("a secret")))?;
        Ok(Self(inside.secrets))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys().map(ParameterName::as_str)).finish()
    }
}

impl Sealed {
    /// The base64 text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The age file.
    fn bytes(&self) -> Vec<u8> {
        STANDARD.decode(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Sealed {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.len() > SEALED_TEXT_BYTES_MAX {
            let sentence =
                format!("sealed secrets of {} bytes are over the limit of {SEALED_TEXT_BYTES_MAX}", text.len());
            return Err(Invalid::new(Fault::TooLarge, sentence));
        }
        // Strict in padding and spare bits: one spelling, for the order signs the text.
        match STANDARD.decode(text) {
            Ok(bytes) if !bytes.is_empty() => Ok(Self(text.to_owned())),
            _ => Err(malformed("sealed secrets are an age file in base64, on one line: `age -R KEY | base64 -w0`")),
        }
    }
}

serde_as_text!(Sealed);

fn decrypt(sealed: &Sealed, host_key: &PrivateKey) -> Result<Vec<u8>, Invalid> {
    let broken = |why: &dyn fmt::Display| malformed(format!("what is encrypted cannot be read: {why}"));
    let pem = host_key.to_openssh()?;
    let identity = Identity::from_buffer(pem.as_bytes(), None).map_err(|error| broken(&error))?;
    let file = sealed.bytes();
    let decryptor = age::Decryptor::new(file.as_slice()).map_err(|error| broken(&not_opened(&error)))?;
    let opened = decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity));
    let mut reader = opened.map_err(|error| match error {
        age::DecryptError::NoMatchingKeys => {
            Invalid::new(Fault::WrongSigner, "is not encrypted to the host key of this machine")
        }
        other => broken(&not_opened(&other)),
    })?;
    let mut text = Vec::new();
    let read = (&mut reader).take(SEALED_BYTES_MAX as u64 + 1).read_to_end(&mut text);
    read.map_err(|error| broken(&error))?;
    if text.len() > SECRETS_TEXT_BYTES_MAX {
        return Err(Invalid::new(Fault::TooLarge, format!("has more than {SECRETS_TEXT_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// Whether this may be a secret at all.
fn check(value: &str) -> Result<(), Invalid> {
    let bytes = value.len();
    if bytes < SECRET_BYTES_MIN {
        return Err(malformed(format!(
            "is shorter than {SECRET_BYTES_MIN} bytes and could not be hidden in what the script prints: use a longer one"
        )));
    }
    if bytes > SECRET_BYTES_MAX {
        return Err(Invalid::new(
            Fault::TooLarge,
            format!("has {bytes} bytes, over the limit of {SECRET_BYTES_MAX}: let the script fetch it"),
        ));
    }
    if !value.lines().any(|line| line.len() >= SECRET_BYTES_MIN) {
        return Err(malformed(format!(
            "has no line of {SECRET_BYTES_MIN} bytes and could not be hidden in what the script prints: use a longer one"
        )));
    }
    match value.contains('\0') {
        true => Err(malformed("holds a NUL, which no environment variable can: encode it")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
