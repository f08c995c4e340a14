//! The verified chain of one tenant's policy, held as its newest version: it begins at version 0 and only moves forward.
//!
//! Not here: where version 0's digest is pinned, nor where versions are kept.

use super::{Person, Policy, Refusal, Root};
use crate::invalid::{Fault, Invalid};
use crate::limits::{EXPIRY_WARNING_DAYS, KEY_NAME_CHARS_MAX, KEYS_NAMED_MAX, POLICY_SIGNATURES_MAX};
use crate::time::{DAY, Timestamp};
use crate::{Digest, Namespace, PublicKey, Signed, TenantName, sshsig};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The newest verified version of one tenant's policy. Only [`Chain::begin`] and [`Chain::extend`] make one. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Chain(Arc<Held>);

#[derive(Debug)]
struct Held {
    policy: Policy,
    /// Of this version's bytes.
    digest: Digest,
    /// Of version 0's bytes.
    policy0: Digest,
    /// One for each root key that made this version valid, trimmed.
    signatures: Vec<String>,
    /// The place in `policy.people` of the person each key belongs to.
    by_key: BTreeMap<PublicKey, usize>,
}

/// What a document was to the chain held.
#[derive(Debug, Clone)]
pub enum Step {
    /// The next version: hold this chain from now on.
    Next(Chain),
    /// The version already held, byte for byte.
    Same,
}

impl Chain {
    /// Begins a chain with version 0. The caller compares [`Chain::policy0`] with what it has pinned.
    ///
    /// # Errors
    /// When it is not a version 0 that `threshold` distinct keys of its own root have signed.
    pub fn begin(signed: &Signed) -> Result<Self, Invalid> {
        let policy = Policy::parse(&signed.bytes)?;
        if policy.version != 0 {
            return Err(Invalid::new(
                Fault::WrongPrevious,
                format!(
                    "version {} of the policy of {} cannot begin a chain: version 0 does",
                    policy.version, policy.tenant
                ),
            ));
        }
        let what = format!("version 0 of the policy of {}", policy.tenant);
        let signers = Signers::of(signed)?;
        signers.satisfy(&what, &[(&policy.root, "its own".to_owned())])?;
        let digest = Digest::of(&signed.bytes);
        let signatures = signers.by(&[&policy.root]);
        Ok(Self::hold(policy, digest, digest, signatures))
    }

    /// Judges a document against the version held.
    ///
    /// # Errors
    /// When it is another tenant's (`ForeignTenant`), older (`Older`), a second document of the version held (`Fork`), not
    /// the next in line (`WrongPrevious`), issued before the version held (`Clock`), or not signed by enough root keys of
    /// the version held and of its own (`Unsigned`, `BadSignature`).
    pub fn extend(&self, signed: &Signed) -> Result<Step, Invalid> {
        let digest = Digest::of(&signed.bytes);
        if digest == self.digest() {
            return Ok(Step::Same);
        }
        let policy = Policy::parse(&signed.bytes)?;
        let signers = Signers::of(signed)?;
        self.check_place(&policy, &signers)?;
        let what = format!("version {} of the policy of {}", policy.version, policy.tenant);
        let roots =
            [(&self.policy().root, format!("version {}'s", self.version())), (&policy.root, "its own".to_owned())];
        signers.satisfy(&what, &roots)?;
        let signatures = signers.by(&[&self.policy().root, &policy.root]);
        Ok(Step::Next(Self::hold(policy, digest, self.policy0(), signatures)))
    }

    /// Whether `next` is what must follow the version held.
    fn check_place(&self, next: &Policy, signers: &Signers) -> Result<(), Invalid> {
        let (tenant, held) = (self.tenant(), self.version());
        let refuse = |fault, sentence| Err(Invalid::new(fault, sentence));
        if next.tenant != *tenant {
            return refuse(Fault::ForeignTenant, format!("this is a policy of {}, not of {tenant}", next.tenant));
        }
        if next.version < held {
            let sentence = format!(
                "version {} of the policy of {tenant} is older than version {held}, already held",
                next.version
            );
            return refuse(Fault::Older, sentence);
        }
        if next.version == held {
            let signed = match signers.count(&self.policy().root) {
                0 => "not signed by its root keys: somebody made it up".to_owned(),
                some => format!("signed by {some} of its root keys: they signed two documents under one number"),
            };
            return refuse(
                Fault::Fork,
                format!("a second, different version {held} of the policy of {tenant}, {signed}"),
            );
        }
        if held.checked_add(1) != Some(next.version) {
            let sentence = format!(
                "version {} of the policy of {tenant} does not follow version {held}: bring the ones between first",
                next.version
            );
            return refuse(Fault::WrongPrevious, sentence);
        }
        if next.previous != Some(self.digest()) {
            let sentence = format!(
                "`previous` of version {} of the policy of {tenant} is not the digest of version {held}, {}",
                next.version,
                self.digest()
            );
            return refuse(Fault::WrongPrevious, sentence);
        }
        if next.issued < self.issued() {
            let sentence = format!(
                "version {} of the policy of {tenant} was issued at {}, before version {held} at {}",
                next.version,
                next.issued,
                self.issued()
            );
            return refuse(Fault::Clock, sentence);
        }
        Ok(())
    }

    fn hold(policy: Policy, digest: Digest, policy0: Digest, signatures: Vec<String>) -> Self {
        let people = policy.people.iter().enumerate();
        let by_key = people.flat_map(|(at, person)| person.keys.iter().map(move |key| (key.clone(), at))).collect();
        Self(Arc::new(Held { policy, digest, policy0, signatures, by_key }))
    }

    /// Whose policy.
    pub fn tenant(&self) -> &TenantName {
        &self.0.policy.tenant
    }

    /// The number of the version held.
    pub fn version(&self) -> u64 {
        self.0.policy.version
    }

    /// The digest of its bytes.
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    /// The digest of version 0's bytes: what others pin.
    pub fn policy0(&self) -> Digest {
        self.0.policy0
    }

    /// The signatures to keep beside this version's bytes: of each root key that made it valid, one. Whoever brought the
    /// document chose what else lay beside it, so that is not to be kept: it could make the version unreadable later.
    pub fn signatures(&self) -> &[String] {
        &self.0.signatures
    }

    /// What it says.
    pub fn policy(&self) -> &Policy {
        &self.0.policy
    }

    /// When it was written.
    pub fn issued(&self) -> Timestamp {
        self.0.policy.issued
    }

    /// The person this key belongs to in this policy alone.
    pub(super) fn person_by_key(&self, key: &PublicKey) -> Option<&Person> {
        self.0.by_key.get(key).and_then(|at| self.0.policy.people.get(*at))
    }

    /// Every key of a person.
    pub(super) fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.0.by_key.keys()
    }

    /// Whether something may still start under this version.
    ///
    /// # Errors
    /// [`Refusal::PolicyExpired`] from `expires` on.
    pub fn check_expiry(&self, now: Timestamp) -> Result<(), Refusal> {
        let Policy { tenant, version, expires, .. } = self.policy();
        if now >= *expires {
            return Err(Refusal::PolicyExpired { tenant: tenant.clone(), version: *version, expires: *expires });
        }
        Ok(())
    }

    /// Whether the clock is not behind this version.
    ///
    /// # Errors
    /// [`Refusal::Clock`] before `issued`.
    pub fn check_clock(&self, now: Timestamp) -> Result<(), Refusal> {
        if now < self.issued() {
            return Err(Refusal::Clock { now, issued: self.issued() });
        }
        Ok(())
    }

    /// Whole days until the expiry, when it is less than 30 days away; 0 when it has passed.
    pub fn expires_soon(&self, now: Timestamp) -> Option<i64> {
        let left = self.policy().expires.micros() - now.micros();
        (left < EXPIRY_WARNING_DAYS * DAY).then(|| left.max(0) / DAY)
    }

    /// Whether an agent of this semantic version may act on the policy.
    ///
    /// # Errors
    /// [`Refusal::AgentTooOld`] when it is older than `min_agent`, or no semantic version.
    pub fn check_agent(&self, agent: &str) -> Result<(), Refusal> {
        let min_agent = &self.policy().min_agent;
        match (semver::Version::parse(agent), semver::Version::parse(min_agent)) {
            (Ok(is), Ok(min)) if is >= min => Ok(()),
            _ => Err(Refusal::AgentTooOld { agent: agent.to_owned(), min_agent: min_agent.clone() }),
        }
    }
}

/// The distinct keys that validly signed a document, each with its signature.
struct Signers {
    keys: BTreeMap<PublicKey, String>,
    /// The first signature that did not verify. It counts for nothing, and is told when signatures are missing.
    bad: Option<Invalid>,
}

impl Signers {
    fn of(signed: &Signed) -> Result<Self, Invalid> {
        if signed.signatures.len() > POLICY_SIGNATURES_MAX {
            let sentence =
                format!("a policy carries at most {POLICY_SIGNATURES_MAX} signatures, not {}", signed.signatures.len());
            return Err(Invalid::new(Fault::TooLarge, sentence));
        }
        let mut signers = Self { keys: BTreeMap::new(), bad: None };
        for armored in &signed.signatures {
            match sshsig::verify(Namespace::Policy, &signed.bytes, armored) {
                Ok(key) => drop(signers.keys.entry(key).or_insert_with(|| armored.trim_ascii().to_owned())),
                Err(invalid) => drop(signers.bad.get_or_insert(invalid)),
            }
        }
        Ok(signers)
    }

    fn count(&self, root: &Root) -> usize {
        root.keys.iter().filter(|key| self.keys.contains_key(key)).count()
    }

    /// The signatures by keys of these roots, in the order of the keys.
    fn by(self, roots: &[&Root]) -> Vec<String> {
        let is_root = |key: &PublicKey| roots.iter().any(|root| root.keys.contains(key));
        self.keys.into_iter().filter(|(key, _)| is_root(key)).map(|(_, armored)| armored).collect()
    }

    /// At least `threshold` keys of each of these roots must be among them. Roots are told with whose they are.
    fn satisfy(&self, what: &str, roots: &[(&Root, String)]) -> Result<(), Invalid> {
        let mut missing: Vec<String> = Vec::new();
        for (at, (root, whose)) in roots.iter().enumerate() {
            let told = roots.iter().take(at).any(|(other, _)| other == root);
            missing.extend(self.missing(root, whose).filter(|_| !told));
        }
        if missing.is_empty() {
            return Ok(());
        }
        let sentence = format!("{what} {}", missing.join("; and it "));
        Err(match &self.bad {
            Some(bad) => Invalid::new(Fault::BadSignature, format!("{sentence}; one does not verify: {bad}")),
            None => Invalid::new(Fault::Unsigned, sentence),
        })
    }

    /// Who of a root signed, and how many of whom are missing; none when enough did.
    fn missing(&self, root: &Root, whose: &str) -> Option<String> {
        let (signed, others): (Vec<_>, Vec<_>) = root.keys.iter().partition(|key| self.keys.contains_key(key));
        let (have, need) = (signed.len(), root.threshold);
        let short = need.checked_sub(have).filter(|short| *short > 0)?;
        let by = if signed.is_empty() { String::new() } else { format!(" ({})", called(&signed)) };
        Some(format!(
            "has {have} of the {need} signatures it needs from {whose} root keys{by}: {short} more must sign, of {}",
            called(&others)
        ))
    }
}

/// Keys by their comments, which their owners know, or else by their fingerprints; a long list is cut.
fn called(keys: &[&PublicKey]) -> String {
    let name = |key: &&PublicKey| match key.comment() {
        comment if (1..=KEY_NAME_CHARS_MAX).contains(&comment.chars().count()) => comment.to_owned(),
        _ => key.fingerprint(),
    };
    let shown: Vec<String> = keys.iter().take(KEYS_NAMED_MAX).map(name).collect();
    let more = keys.len().saturating_sub(KEYS_NAMED_MAX);
    let rest = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{rest}", shown.join(", "))
}
