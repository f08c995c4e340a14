//! The next version of a policy: drafted from the newest verified text, shown as its difference, signed, pushed.
//!
//! What is changed is the commands' business; which keys there are to sign with is known here.

use crate::{
    chain::{self, Held},
    failure::{Outcome, refused, usage},
    gateway::{Gateway, Route},
    home::{self, Home},
    keygen,
    policy_edit::{Edit, Head},
    screen::{confirm, note, say},
};
use belay_certs::{
    Fault, Namespace, PublicKey, Signed, TenantName, Timestamp, envelope,
    limits::POLICY_DAYS_MAX,
    policy::{Policy, Step, difference},
    sshsig,
    time::DAY,
};
use std::path::{Path, PathBuf};

/// The root keys to sign with, and whether to ask before.
#[derive(Debug, Clone, clap::Args)]
pub struct Signing {
    /// A root key, or the .pub of one that your ssh-agent holds; may be given again [default: those that `belay init` left
    /// in the home]
    #[arg(long = "root", value_name = "KEY")]
    roots: Vec<PathBuf>,
    /// Sign and push without asking
    #[arg(long)]
    pub yes: bool,
}

/// A version that nobody has signed yet.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The version it follows.
    pub held: Held,
    /// Its text.
    pub text: String,
    /// What it says.
    pub policy: Policy,
}

impl Draft {
    /// The newest version with a new head: number, previous, issued, expires.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn renewed(held: &Held, now: Timestamp) -> Outcome<Self> {
        Self::changed(held, now, |_| Ok(()))
    }

    /// The newest version with a new head and one change.
    ///
    /// # Errors
    /// The change cannot be made, or makes a policy that is none.
    pub fn changed(held: &Held, now: Timestamp, change: impl FnOnce(&mut Edit) -> Outcome) -> Outcome<Self> {
        let mut edit = Edit::of(&String::from_utf8_lossy(&held.newest.bytes))?;
        let issued = now.whole_second().max(held.chain.issued());
        change(&mut edit)?;
        edit.renumber(&Head {
            version: held.chain.version().saturating_add(1),
            previous: held.chain.digest(),
            issued,
            expires: issued.plus(POLICY_DAYS_MAX * DAY),
        })?;
        Self::of_text(held, edit.text())
    }

    /// A text that somebody wrote.
    ///
    /// # Errors
    /// It is no policy: every mistake with its line.
    pub fn of_text(held: &Held, text: String) -> Outcome<Self> {
        let policy = Policy::parse(text.as_bytes())?;
        Ok(Self { held: held.clone(), text, policy })
    }

    /// What it changes beside its head, a line each.
    pub fn changes(&self) -> Vec<String> {
        changes(self.held.policy(), &self.policy)
    }

    /// Shows what it changes, asks, signs and pushes; with too few keys the file is put aside for the others.
    ///
    /// # Errors
    /// The person says no, no root key is here, or it is refused.
    pub fn carry_out(&self, home: &Home, signing: &Signing) -> Outcome {
        let keys = self.keys(home, &signing.roots)?;
        let Policy { tenant, version, expires, .. } = &self.policy;
        note(&format!("version {version} of {tenant}, which expires at {expires}:"));
        match self.changes() {
            none if none.is_empty() => note("  nothing else is changed"),
            changes => changes.iter().for_each(|line| note(&format!("  {line}"))),
        }
        let question = format!(
            "Sign it with {} and push it?",
            keys.iter().map(|key| key.display().to_string()).collect::<Vec<_>>().join(", ")
        );
        confirm(&question, signing.yes)?;
        self.sign_and_push(home, &keys)
    }

    /// The root keys of this policy that are here: the given ones, or as many as are needed of those in the home.
    ///
    /// # Errors
    /// A given key is no root key, or none is here.
    pub fn keys(&self, home: &Home, given: &[PathBuf]) -> Outcome<Vec<PathBuf>> {
        let tenant = &self.policy.tenant;
        let mut roots = self.held.policy().root.keys.clone();
        roots.extend(self.policy.root.keys.iter().cloned());
        if let Some(stranger) = given.iter().find(|path| !is_one_of(path, &roots)) {
            return Err(usage(format!(
                "{} is no root key of {tenant}: its signature would count for nothing",
                stranger.display()
            )));
        }
        let keys = if given.is_empty() { self.keys_at_home(home, &roots) } else { given.to_vec() };
        if keys.is_empty() {
            return Err(refused(format!("no root key of {tenant} is here: give --root FILE")));
        }
        Ok(keys)
    }

    fn keys_at_home(&self, home: &Home, roots: &[PublicKey]) -> Vec<PathBuf> {
        let need = self.held.policy().root.threshold.max(self.policy.root.threshold);
        let mut found: Vec<PathBuf> =
            home.root_keys(&self.policy.tenant).into_iter().filter(|path| is_one_of(path, roots)).collect();
        found.truncate(need);
        found
    }

    /// Signs with these keys and pushes. Where the same change waits for more signatures already, they are added to it.
    ///
    /// # Errors
    /// A signature cannot be made, more are needed, or the gateway refuses it.
    pub fn sign_and_push(&self, home: &Home, keys: &[PathBuf]) -> Outcome {
        let path = home.draft(&self.policy.tenant, self.policy.version);
        let waiting = self.waiting(&path)?;
        let fresh = Signed { bytes: self.text.clone().into_bytes(), signatures: Vec::new() };
        let mut signed = waiting.unwrap_or(fresh);
        let have = signers(&signed);
        for key in keys {
            if !have.contains(&keygen::public(key)?) {
                signed.signatures.push(keygen::sign(key, Namespace::Policy, &signed.bytes)?);
            }
        }
        match self.held.chain.extend(&signed) {
            Ok(_) => push(home, &self.held, &signed),
            Err(invalid) if invalid.fault == Fault::Unsigned => put_aside(&path, &signed, &invalid.sentence),
            Err(invalid) => Err(invalid.into()),
        }
    }

    /// The same change, signed by others before and not yet by enough.
    fn waiting(&self, path: &Path) -> Outcome<Option<Signed>> {
        if !path.exists() {
            return Ok(None);
        }
        let waiting = chain::read(path)?;
        let policy = Policy::parse(&waiting.bytes).map_err(|invalid| invalid.of(path.display()))?;
        let same = policy.previous == self.policy.previous && changes(&policy, &self.policy).is_empty();
        Ok((same && policy.issued >= self.held.chain.issued()).then_some(waiting))
    }
}

/// What differs but the head, which differs in every version.
fn changes(before: &Policy, after: &Policy) -> Vec<String> {
    let is_head = |line: &String| {
        ["~ version: ", "~ previous: ", "~ issued: ", "~ expires: "].iter().any(|head| line.starts_with(head))
    };
    difference(before, after).into_iter().filter(|line| !is_head(line)).collect()
}

/// More root keys have to sign, likely on other machines: the file goes there.
fn put_aside(path: &Path, signed: &Signed, missing: &str) -> Outcome {
    home::make_private_dir(path.parent().unwrap_or(Path::new(".")))?;
    chain::write(path, signed)?;
    say(&format!("not valid yet: {missing}"));
    say(&format!("each other root key: belay policy sign {0} --key KEY, then: belay policy push {0}", path.display()));
    Err(refused("nothing was pushed: more signatures are needed"))
}

/// Whether the key at this path is one of these; a key that cannot be read is none.
fn is_one_of(path: &Path, keys: &[PublicKey]) -> bool {
    keygen::public(path).is_ok_and(|key| keys.contains(&key))
}

/// Sends a policy that verifies here, and keeps it.
///
/// # Errors
/// It does not follow from what is held, or the gateway refuses it.
pub fn push(home: &Home, held: &Held, signed: &Signed) -> Outcome {
    let step = held.chain.extend(signed)?;
    let tenant = held.chain.tenant();
    let gateway = Gateway::new(home, Route::of(held.policy())?);
    let answer = gateway.run(&["policy", "push", tenant.as_str()], &envelope::join(signed))?;
    if let Step::Next(chain) = step {
        chain::keep(home, tenant, chain.version(), &[chain::counted(&chain, signed.bytes.clone())])?;
        forget_draft(home, tenant, chain.version());
    }
    say(String::from_utf8_lossy(&answer).trim_end());
    Ok(())
}

/// A draft that became a version waits for nobody any more.
fn forget_draft(home: &Home, tenant: &TenantName, version: u64) {
    let path = home.draft(tenant, version);
    for path in [chain::signature_path(&path), path] {
        let _ = std::fs::remove_file(path);
    }
}

/// Whose signatures of these very bytes there are.
fn signers(signed: &Signed) -> Vec<PublicKey> {
    let verified = |armored: &String| sshsig::verify(Namespace::Policy, &signed.bytes, armored).ok();
    signed.signatures.iter().filter_map(verified).collect()
}
