//! `belay init`: a tenant's keys and version 0 of its policy, made and signed on the customer's or provider's machine.

use super::now;
use crate::{
    chain,
    failure::{Outcome, refused, usage},
    home::{Home, make_private_dir, write_new},
    invite::{self, Beginning, FirstGrant, Invite},
    keygen,
    screen::{note, say},
};
use age::secrecy::ExposeSecret;
use belay_certs::{
    AccountName, Digest, Fault, Namespace, PersonName, PersonRef, PublicKey, Signed, TenantName,
    limits::{POLICY_DAYS_MAX, ROOT_KEYS_MAX},
    policy::{ActionKind, Chain},
    time::DAY,
};
use std::path::{Path, PathBuf};

/// What the first grant allows unless it is said: everything that needs no further thought.
const FIRST_ACTIONS: [ActionKind; 5] =
    [ActionKind::Shell, ActionKind::Files, ActionKind::Enrol, ActionKind::Audit, ActionKind::Operate];
/// Root keys made when none is given, beyond those that must sign: one to put away.
const ROOT_KEYS_SPARE: usize = 1;

/// `belay init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The tenant's name: one label, its devices are DEVICE.TENANT
    tenant: TenantName,
    /// The invite that `belay-gateway tenant add` printed
    #[arg(long, value_name = "FILE")]
    invite: PathBuf,
    /// Where keys and policy-0.toml go [default: tenants/TENANT/keys of the home]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// A first person, with a grant on every device
    #[arg(long, value_name = "NAME", requires = "key")]
    person: Option<PersonName>,
    /// That person's public key file
    #[arg(long, value_name = "PUBFILE", requires = "person")]
    key: Option<PathBuf>,
    /// A provider whose people may be named as PROVIDER:NAME, with the hash of its version 0; may be given again
    #[arg(long = "import", value_name = "PROVIDER=HASH", value_parser = parse_import)]
    imports: Vec<(TenantName, Digest)>,
    /// Others who get the same grant: PROVIDER:TEAM
    #[arg(long = "grant", value_name = "WHO", value_delimiter = ',')]
    granted: Vec<PersonRef>,
    /// What that grant allows. Forwards are left to a grant that says where they may go
    #[arg(long = "do", value_name = "ACTION", value_delimiter = ',', default_values_t = FIRST_ACTIONS)]
    actions: Vec<ActionKind>,
    /// The accounts it is for
    #[arg(long = "as", value_name = "ACCOUNT", value_delimiter = ',', default_value = "root")]
    accounts: Vec<AccountName>,
    /// An existing root key instead of new ones; may be given again. The .pub of one that is elsewhere signs there
    #[arg(long = "root-key", value_name = "FILE")]
    root_keys: Vec<PathBuf>,
    /// How many of the root keys must sign each version
    #[arg(long, value_name = "K", default_value_t = 1)]
    threshold: usize,
    /// An existing device CA key instead of a new one
    #[arg(long, value_name = "FILE")]
    device_ca: Option<PathBuf>,
    /// An auditor's age recipient instead of a new age key; may be given again
    #[arg(long = "age", value_name = "RECIPIENT")]
    recipients: Vec<String>,
}

/// Makes them.
///
/// # Errors
/// The invite is another tenant's, a file is in the way, or a key cannot be used.
pub fn run(home: &Home, args: Args) -> Outcome {
    let invite = Invite::read(&args.invite)?;
    if invite.tenant != args.tenant {
        return Err(usage(format!("this invite is for {}, not for {}", invite.tenant, args.tenant)));
    }
    check_threshold(&args)?;
    let dir = args.dir.clone().unwrap_or_else(|| home.keys(&args.tenant));
    let file = dir.join("policy-0.toml");
    if file.exists() {
        return Err(refused(format!("{} exists: a tenant has one version 0, for ever", file.display())));
    }
    make_private_dir(&dir)?;
    let first = match (&args.person, &args.key) {
        (Some(name), Some(key)) => Some((name.clone(), keygen::public(key)?)),
        _ => None,
    };
    let grant = grant(&args)?;
    let (root_files, root_keys) = root_keys(&args, &dir)?;
    let device_ca = match &args.device_ca {
        Some(path) => keygen::public(path)?,
        None => keygen::generate(&dir.join("device-ca"), &format!("{}-device-ca", args.tenant))?,
    };
    let issued = now().whole_second();
    let beginning = Beginning {
        issued,
        expires: issued.plus(POLICY_DAYS_MAX * DAY),
        threshold: args.threshold,
        root_keys,
        device_ca: vec![device_ca],
        recipients: recipients(&args, &dir)?,
        first,
        imports: args.imports.clone(),
        grant: Some(grant),
    };
    let text = invite::version_0(&invite, &beginning);
    sign(&text, &signers(&root_files, args.threshold), &file)
        .map(|missing| tell(&args, &invite, &file, Digest::of(text.as_bytes()), missing))
}

/// Before any key is made: the policy would be refused.
fn check_threshold(args: &Args) -> Outcome {
    let most = if args.root_keys.is_empty() { ROOT_KEYS_MAX - ROOT_KEYS_SPARE } else { args.root_keys.len() };
    if !(1..=most).contains(&args.threshold) {
        return Err(usage(format!("--threshold is 1 to {most}: no more keys can sign than there are root keys")));
    }
    Ok(())
}

/// Without a grant for somebody there would be nobody who could bring version 1.
fn grant(args: &Args) -> Outcome<FirstGrant> {
    let own = args.person.iter().map(|name| PersonRef { tenant: None, name: name.clone() });
    let who: Vec<PersonRef> = own.chain(args.granted.iter().cloned()).collect();
    if who.is_empty() {
        return Err(usage(
            "who may bring the next version? give --person NAME --key PUBFILE, or --import PROVIDER=HASH --grant PROVIDER:TEAM",
        ));
    }
    Ok(FirstGrant { who, actions: args.actions.clone(), accounts: args.accounts.clone() })
}

/// `msp=sha256:…`.
fn parse_import(text: &str) -> Result<(TenantName, Digest), String> {
    let (provider, hash) = text.split_once('=').ok_or("write PROVIDER=sha256:…")?;
    let sentence = |invalid: belay_certs::Invalid| invalid.sentence;
    Ok((provider.parse().map_err(sentence)?, hash.parse().map_err(sentence)?))
}

/// The first keys that must sign, of those whose private half is here; without any, those an ssh-agent may hold.
fn signers(files: &[PathBuf], threshold: usize) -> Vec<&Path> {
    let is_public = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "pub");
    let (public, private): (Vec<_>, Vec<_>) = files.iter().partition(is_public);
    let able = if private.is_empty() { public } else { private };
    able.into_iter().take(threshold).map(PathBuf::as_path).collect()
}

/// Signs and writes it; what is missing, where others have to sign it too.
fn sign(text: &str, signers: &[&Path], file: &Path) -> Outcome<Option<String>> {
    belay_certs::policy::Policy::parse(text.as_bytes())?;
    let shown: Vec<String> = signers.iter().map(|path| path.display().to_string()).collect();
    note(&format!("{text}\nThis is signed with {}.", shown.join(" and ")));
    let mut signed = Signed { bytes: text.as_bytes().to_vec(), signatures: Vec::new() };
    for signer in signers {
        signed.signatures.push(keygen::sign(signer, Namespace::Policy, text.as_bytes())?);
    }
    let missing = match Chain::begin(&signed) {
        Ok(_) => None,
        Err(invalid) if invalid.fault == Fault::Unsigned => Some(invalid.sentence),
        Err(invalid) => return Err(invalid.into()),
    };
    chain::write(file, &signed)?;
    Ok(missing)
}

fn root_keys(args: &Args, dir: &Path) -> Outcome<(Vec<PathBuf>, Vec<PublicKey>)> {
    if !args.root_keys.is_empty() {
        let keys = args.root_keys.iter().map(|path| keygen::public(path)).collect::<Outcome<Vec<_>>>()?;
        return Ok((args.root_keys.clone(), keys));
    }
    let made = (1..=args.threshold.saturating_add(ROOT_KEYS_SPARE)).map(|number| {
        let path = dir.join(format!("root-{number}"));
        let key = keygen::generate(&path, &format!("{}-root-{number}", args.tenant))?;
        Ok((path, key))
    });
    Ok(made.collect::<Outcome<Vec<_>>>()?.into_iter().unzip())
}

/// The recipients given, or the public half of a new age key in `auditor.age`.
fn recipients(args: &Args, dir: &Path) -> Outcome<Vec<String>> {
    if !args.recipients.is_empty() {
        return Ok(args.recipients.clone());
    }
    let identity = age::x25519::Identity::generate();
    let public = identity.to_public().to_string();
    let text = format!(
        "# The auditor's key of {}: whoever has it can read the recordings. Keep it away from this machine.\n\
         # public key: {public}\n{}\n",
        args.tenant,
        identity.to_string().expose_secret()
    );
    write_new(&dir.join("auditor.age"), text.as_bytes(), 0o600)?;
    Ok(vec![public])
}

fn tell(args: &Args, invite: &Invite, file: &Path, hash: Digest, missing: Option<String>) {
    let dir = file.parent().unwrap_or(Path::new("."));
    if let Some(missing) = missing {
        say(&format!("{} is not valid yet: {missing}", file.display()));
        say(
            "pass policy-0.toml and policy-0.toml.sig on to whoever has such a key; they add theirs and send both back:",
        );
        say("  belay policy sign policy-0.toml --key KEY");
    } else {
        say(&format!("version 0 of {}'s policy is signed: {}", args.tenant, file.display()));
    }
    say(&format!("its hash, to be pinned on every laptop: {hash}"));
    say(&format!("next, on {}, by its operator, with policy-0.toml and policy-0.toml.sig:", invite.gateway));
    say(&format!("  belay-gateway tenant adopt {} policy-0.toml", args.tenant));
    say("then, on a laptop:");
    say(&format!("  belay trust {hash} --from {}", dir.display()));
    let made: Vec<String> = (1..=args.threshold.saturating_add(ROOT_KEYS_SPARE))
        .map(|number| format!("root-{number}"))
        .chain(["device-ca".to_owned(), "auditor.age".to_owned()])
        .filter(|name| dir.join(name).exists())
        .collect();
    if !made.is_empty() {
        let last = args.threshold.saturating_add(ROOT_KEYS_SPARE);
        say(&format!(
            "secrets in {}: {}; keep root-{last} and auditor.age somewhere else",
            dir.display(),
            made.join(", ")
        ));
    }
}
