//! The runbook: one script with its declaration in a comment, signed as it is; its version is the digest of its bytes.
//!
//! Not here: the order to run one (`order`), and running it (the agent).
//!
//! ```sh
//! #!/bin/sh
//! # /// belay
//! # name = "restart-service"
//! # description = "Restart one service."
//! # issued = 2026-11-21T09:00:00Z
//! # [parameters.service]
//! # type = "string"
//! # pattern = "[a-z0-9@._-]+"
//! # required = true
//! # ///
//! systemctl restart "$BELAY_ARG_SERVICE"
//! ```

mod block;
mod declaration;
mod parameter;
mod values;
mod version;

pub use block::Interpreter;
pub use parameter::{Kind, Parameter, ParameterName, check_argument};
pub use values::{OutputLimit, Platform, Timeout};
pub use version::{issue, newest};

use crate::{
    AccountName, Digest, PersonRef, RunbookName, Timestamp,
    invalid::{Fault, Invalid, malformed},
    limits::RUNBOOK_BYTES_MAX,
    policy::{Policies, Risk, runbook_signer},
    reader::Reader,
    secrets::Secrets,
    sshsig::{self, Namespace, Signed},
    token::seen,
};
use std::collections::BTreeMap;

/// Arguments by parameter, each as the exact text that the script will see.
pub type Arguments = BTreeMap<ParameterName, String>;

/// One version of a runbook: what its declaration says. The script is the bytes it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runbook {
    /// The digest of the script's bytes: orders and `withdrawn` name it.
    pub version: Digest,
    /// Its name; versions of one name follow each other by `issued`.
    pub name: RunbookName,
    /// What it does, one line.
    pub description: String,
    /// When this version was written.
    pub issued: Timestamp,
    /// The program that reads the script.
    pub interpreter: Interpreter,
    /// The platforms it is for; none: any.
    pub platforms: Vec<Platform>,
    /// The account that is meant when nobody names one.
    pub account: Option<AccountName>,
    /// How long a run may take.
    pub timeout: Timeout,
    /// How much of a run's output is kept.
    pub output: OutputLimit,
    /// How much harm it can do.
    pub risk: Risk,
    /// What it wants to be told.
    pub parameters: BTreeMap<ParameterName, Parameter>,
}

impl Runbook {
    /// Reads the exact bytes of a script. Says nothing about who signed it: see [`check_signed`].
    ///
    /// # Errors
    /// With the line of the script of the first thing wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, Invalid> {
        let first = |wrong: Vec<Invalid>| wrong.into_iter().next().unwrap_or_else(|| malformed("is no runbook"));
        Self::read(bytes).map_err(|wrong| first(wrong).of("the runbook"))
    }

    /// Everything that keeps a script from being a runbook, as far as it can be told at once: one mistake of each member of the
    /// declaration, each with its line. None: [`Runbook::parse`] takes it.
    pub fn mistakes(bytes: &[u8]) -> Vec<Invalid> {
        Self::read(bytes).err().unwrap_or_default()
    }

    fn read(bytes: &[u8]) -> Result<Self, Vec<Invalid>> {
        let text = sshsig::text(bytes, RUNBOOK_BYTES_MAX).map_err(|invalid| vec![invalid])?;
        let interpreter = block::interpreter(text);
        match block::declaration(text) {
            Ok(declaration) => declaration::read(&Reader::new(&declaration), interpreter, Digest::of(bytes)),
            Err(invalid) => Err(interpreter.err().into_iter().chain([invalid]).collect()),
        }
    }

    /// The environment that arguments become: `BELAY_ARG_NAME` and the value, by name; a parameter without argument takes its
    /// default, and is left out if it has none. Secrets are not among them: see [`Runbook::check_secrets`].
    ///
    /// # Errors
    /// When an argument is for no parameter, missing, or not what its parameter allows; the sentence names it.
    pub fn environment(&self, arguments: &Arguments) -> Result<Vec<(String, String)>, Invalid> {
        self.fill(arguments).map_err(|invalid| invalid.of(format!("the runbook {}", self.name)))
    }

    fn fill(&self, arguments: &Arguments) -> Result<Vec<(String, String)>, Invalid> {
        if let Some(unknown) = arguments.keys().find(|name| !self.parameters.contains_key(*name)) {
            let names: Vec<&str> = self.parameters.keys().map(ParameterName::as_str).collect();
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Err(malformed(format!("there is no parameter {unknown}: its parameters are {known}")));
        }
        let mut environment = Vec::with_capacity(self.parameters.len());
        for (name, parameter) in &self.parameters {
            if parameter.kind.is_secret() && !arguments.contains_key(name) {
                continue;
            }
            let value = match (arguments.get(name), &parameter.default) {
                (Some(given), _) => {
                    parameter.check(given).map_err(|invalid| invalid.of(format!("the parameter {name}")))?;
                    given
                }
                (None, Some(default)) => default,
                (None, None) if parameter.required => {
                    return Err(malformed(format!("the parameter {name} is missing: give {name}=VALUE")));
                }
                (None, None) => continue,
            };
            environment.push((name.variable(), value.clone()));
        }
        Ok(environment)
    }

    /// Whether these are secrets that it may be told, and all that it must be.
    ///
    /// # Errors
    /// When one is for no secret parameter, or one that is required is missing.
    pub fn check_secrets(&self, names: &[ParameterName]) -> Result<(), Invalid> {
        let of = |sentence: String| Err(malformed(sentence).of(format!("the runbook {}", self.name)));
        let is_secret = |name: &ParameterName| self.parameters.get(name).is_some_and(|one| one.kind.is_secret());
        if let Some(other) = names.iter().find(|name| !is_secret(name)) {
            return of(format!("{other} is none of its secret parameters"));
        }
        let missing = self.secrets().find(|(name, one)| one.required && !names.contains(name));
        match missing {
            Some((name, _)) => of(format!("the secret {name} is missing: give {name}=@FILE")),
            None => Ok(()),
        }
    }

    /// Whether the values are what their parameters allow.
    ///
    /// # Errors
    /// With the name of one that is not, and never its value.
    pub fn check_secret_values(&self, secrets: &Secrets) -> Result<(), Invalid> {
        self.check_secrets(&secrets.names())?;
        for (name, parameter) in self.secrets() {
            if let (Some(value), Kind::Secret { pattern: Some(pattern) }) = (secrets.get(name), &parameter.kind)
                && !pattern.matches(value)
            {
                let sentence = format!("the secret {name} does not fit its pattern {pattern}");
                return Err(malformed(sentence).of(format!("the runbook {}", self.name)));
            }
        }
        Ok(())
    }

    /// The parameters whose values are secret.
    pub fn secrets(&self) -> impl Iterator<Item = (&ParameterName, &Parameter)> {
        self.parameters.iter().filter(|(_, parameter)| parameter.kind.is_secret())
    }

    /// Whether it is for this platform, named as `std::env::consts::OS` does.
    ///
    /// # Errors
    /// `Mismatch`, naming both.
    pub fn check_platform(&self, platform: &str) -> Result<(), Invalid> {
        if self.platforms.is_empty() || self.platforms.iter().any(|one| one.as_str() == platform) {
            return Ok(());
        }
        let names: Vec<&str> = self.platforms.iter().map(|one| one.as_str()).collect();
        let sentence = format!(
            "the runbook {} is for {}, and this machine runs {platform}: choose devices it is for",
            self.name,
            names.join(", ")
        );
        Err(Invalid::new(Fault::Mismatch, sentence))
    }
}

/// Checks a runbook as a machine and a laptop do: who signed it, and that it still counts. The person is its author.
///
/// # Errors
/// When it does not parse, was not signed by exactly one key, was issued in the future or is withdrawn, or its signer is none
/// of `[runbooks] signers` in the newest policy.
pub fn check_signed(policies: &Policies<'_>, signed: &Signed, now: Timestamp) -> Result<(Runbook, PersonRef), Invalid> {
    let runbook = Runbook::parse(&signed.bytes)?;
    let author = check_author(policies, &runbook, signed, now);
    let author = author.map_err(|invalid| invalid.of(format!("the runbook {}", runbook.name)))?;
    Ok((runbook, author))
}

fn check_author(
    policies: &Policies<'_>,
    runbook: &Runbook,
    signed: &Signed,
    now: Timestamp,
) -> Result<PersonRef, Invalid> {
    let signer = signed.only_signer(Namespace::Runbook)?;
    seen::check_issued(runbook.issued, now)?;
    let policy = policies.tenant.policy();
    if policy.runbooks.withdrawn.contains(&runbook.version) {
        let sentence = format!(
            "version {} is in `withdrawn` of the policy of {}: run a newer one",
            runbook.version, policy.tenant
        );
        return Err(Invalid::new(Fault::Spent, sentence));
    }
    let author = runbook_signer(policies, &signer, now).map_err(|refusal| seen::refused(&refusal))?;
    author.ok_or_else(|| {
        let sentence = format!(
            "was signed by {}, who is not in `signers` under [runbooks] of the policy of {}",
            signer.fingerprint(),
            policy.tenant
        );
        Invalid::new(Fault::WrongSigner, sentence)
    })
}

#[cfg(test)]
pub(crate) mod tests;
