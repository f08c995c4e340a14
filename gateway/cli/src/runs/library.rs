//! A tenant's runbooks: asked of its gateway, and judged here from their bytes and signatures.
//!
//! What the gateway says of a runbook only decides which one is fetched first. It can hide a newer version until the policy
//! ends; it cannot make one.

use crate::{
    failure::{Failure, Outcome, While, refused},
    gateway::{Gateway, at_once},
    screen::{escape, note},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use belay_certs::{
    Digest, Namespace, PersonRef, RunbookName, Signed, TenantName, Timestamp,
    policy::Policies,
    runbook::{self, Runbook},
};
use serde::Deserialize;
use std::{collections::BTreeSet, str::FromStr};

/// Which runbook is meant: the newest of a name, or one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// `restart-service`
    Name(RunbookName),
    /// `sha256:…`
    Version(Digest),
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.starts_with("sha256:") {
            true => text.parse().map(Self::Version).map_err(|invalid| invalid.to_string()),
            false => text.parse().map(Self::Name).map_err(|invalid| invalid.to_string()),
        }
    }
}

/// One row of `runbooks`, as far as it is used: the gateway's word.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Row {
    /// Its name.
    pub name: RunbookName,
    /// Which bytes.
    pub version: Digest,
    /// When it was issued.
    pub issued: Timestamp,
}

/// The answer to `runbook show`.
#[derive(Debug, Deserialize)]
struct Shown {
    runbook: String,
    signatures: Vec<String>,
}

/// A runbook whose author the policy trusts.
#[derive(Debug, Clone)]
pub struct Verified {
    /// What it declares.
    pub runbook: Runbook,
    /// Who signed it, each with the bytes and that signature. Never none.
    pub signed: Vec<(PersonRef, Signed)>,
}

impl Verified {
    /// Judges the bytes of one version with the signatures that came with them.
    ///
    /// # Errors
    /// The bytes are another version, or nobody signed them who counts as an author.
    pub fn of(
        policies: &Policies<'_>,
        version: &Digest,
        bytes: &[u8],
        signatures: &[String],
        now: Timestamp,
    ) -> Outcome<Self> {
        if Digest::of(bytes) != *version {
            return Err(refused(format!("the gateway shows other bytes for {version}: {}", Digest::of(bytes))));
        }
        let (mut found, mut why) = (None, None);
        for signature in signatures {
            let signed = Signed { bytes: bytes.to_vec(), signatures: vec![signature.clone()] };
            match runbook::check_signed(policies, &signed, now) {
                Ok((runbook, author)) => {
                    let found = found.get_or_insert_with(|| Self { runbook, signed: Vec::new() });
                    found.signed.push((author, signed));
                }
                Err(invalid) => why = Some(invalid),
            }
        }
        found.ok_or_else(|| why.map_or_else(|| refused(format!("{version} has no signature")), Failure::from))
    }

    /// The bytes with the signature of an author who is not `person`, if there is one: two persons are wanted for high risk.
    pub fn signed_beside(&self, person: Option<&PersonRef>) -> Option<&Signed> {
        let other = self.signed.iter().find(|(author, _)| Some(author) != person);
        other.or(self.signed.first()).map(|(_, signed)| signed)
    }

    /// The exact bytes.
    pub fn bytes(&self) -> &[u8] {
        self.signed.first().map_or(&[], |(_, signed)| signed.bytes.as_slice())
    }

    /// Its authors with the fingerprints of their keys: `ada (SHA256:…)`.
    pub fn authors(&self) -> String {
        let one = |(author, signed): &(PersonRef, Signed)| match signed.only_signer(Namespace::Runbook) {
            Ok(key) => format!("{author} ({})", key.fingerprint()),
            Err(_) => author.to_string(),
        };
        self.signed.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// A tenant's library behind its gateway.
#[derive(Debug, Clone)]
pub struct Library<'a> {
    /// Where it is.
    pub gateway: Gateway<'a>,
    /// Whose it is.
    pub tenant: &'a TenantName,
    /// By what it is judged.
    pub policies: &'a Policies<'a>,
    /// The laptop's clock.
    pub now: Timestamp,
}

impl Library<'_> {
    /// What the gateway says is there, the newest of each name first.
    ///
    /// # Errors
    /// It does not answer.
    pub fn rows(&self, name: Option<&RunbookName>) -> Outcome<Vec<Row>> {
        let mut words = vec!["runbooks", self.tenant.as_str(), "--json"];
        words.extend(name.iter().flat_map(|name| ["--name", name.as_str()]));
        let mut rows: Vec<Row> = self.gateway.ask(&words)?;
        rows.sort_by(|a, b| (a.name.as_str(), b.issued, a.version).cmp(&(b.name.as_str(), a.issued, b.version)));
        // A version that several people signed has several rows.
        rows.dedup_by(|a, b| (&a.name, a.version) == (&b.name, b.version));
        Ok(rows)
    }

    /// One version.
    ///
    /// # Errors
    /// It is not there, or does not verify.
    pub fn version(&self, version: &Digest) -> Outcome<Verified> {
        let Signed { bytes, signatures } = self.documents(version)?;
        Verified::of(self.policies, version, &bytes, &signatures, self.now)
    }

    /// What the gateway has of one version, unjudged: whoever signed it may be no author any more.
    ///
    /// # Errors
    /// It is not there.
    pub fn documents(&self, version: &Digest) -> Outcome<Signed> {
        let shown: Shown = self.gateway.ask(&["runbook", "show", self.tenant.as_str(), &version.to_string()])?;
        let bytes = STANDARD.decode(&shown.runbook).during(|| format!("the bytes of {version} do not read"))?;
        Ok(Signed { bytes, signatures: shown.signatures })
    }

    /// A row's version, if it is what the row says.
    ///
    /// # Errors
    /// As [`Library::version`]; or its name or moment is another.
    pub fn check(&self, row: &Row) -> Outcome<Verified> {
        let found = self.version(&row.version)?;
        row.check(&found.runbook)?;
        Ok(found)
    }

    /// The runbook that is meant. Versions of a name that do not verify are told and passed over.
    ///
    /// # Errors
    /// There is none, or two versions are equally new.
    pub fn find(&self, wanted: &Wanted) -> Outcome<Verified> {
        match wanted {
            Wanted::Version(version) => self.version(version),
            Wanted::Name(name) => {
                let rows: Vec<Row> = self.rows(Some(name))?.into_iter().filter(|row| row.name == *name).collect();
                let Newest { valid, invalid } = newest(&rows, |row| self.check(row));
                for (version, sentence) in invalid {
                    note(&format!("belay: {}: {name} {version} is passed over: {}", self.tenant, escape(&sentence)));
                }
                let version = runbook::newest(valid.iter().map(|one| &one.runbook), name)?.version;
                let found = valid.into_iter().find(|one| one.runbook.version == version);
                found.ok_or_else(|| refused(format!("there is no runbook {name}")))
            }
        }
    }

    /// For every name its newest versions that verify, and what is passed over on the way to them.
    ///
    /// # Errors
    /// The gateway does not answer.
    pub fn all(&self) -> Outcome<Vec<(RunbookName, Newest)>> {
        let rows = self.rows(None)?;
        let names: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        let of_name: Vec<Vec<Row>> =
            names.iter().map(|name| rows.iter().filter(|row| row.name.as_str() == *name).cloned().collect()).collect();
        let found = at_once(&of_name, |rows| newest(rows, |row| self.check(row)));
        Ok(of_name.iter().zip(found).filter_map(|(rows, newest)| Some((rows.first()?.name.clone(), newest))).collect())
    }
}

impl Row {
    /// The gateway's word about the order of versions would otherwise decide which one is run.
    fn check(&self, runbook: &Runbook) -> Outcome {
        if runbook.name == self.name && runbook.issued == self.issued {
            return Ok(());
        }
        Err(refused(format!(
            "the gateway calls it {} of {}, but it is {} of {}",
            self.name, self.issued, runbook.name, runbook.issued
        )))
    }
}

/// The newest of one name.
#[derive(Debug, Default)]
pub struct Newest {
    /// The newest version that verifies, and those of the same moment.
    pub valid: Vec<Verified>,
    /// Versions that were met before it and do not verify, with the reason.
    pub invalid: Vec<(Digest, String)>,
}

/// Goes from the newest row back to the first that verifies, and takes those of its moment too.
fn newest(rows: &[Row], check: impl Fn(&Row) -> Outcome<Verified>) -> Newest {
    let mut newest = Newest::default();
    for row in rows {
        if newest.valid.first().is_some_and(|found| found.runbook.issued != row.issued) {
            break;
        }
        match check(row) {
            Ok(found) => newest.valid.push(found),
            Err(failure) => newest.invalid.push((row.version, failure.sentence().to_owned())),
        }
    }
    newest
}
