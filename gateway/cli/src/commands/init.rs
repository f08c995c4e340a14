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
    AccountName, Digest, Namespace, PersonName, PersonRef, PublicKey, Signed, TenantName,
    limits::POLICY_DAYS_MAX,
    policy::{ActionKind, Chain},
    time::DAY,
};
use std::path::{Path, PathBuf};

/// What the first grant allows unless it is said: everything that needs no further thought.
const FIRST_ACTIONS: [ActionKind; 5] =
    [ActionKind::Shell, ActionKind::Files, ActionKind::Enrol, ActionKind::Audit, ActionKind::Operate];
/// Root keys made when none is given: one in use, one put away.
const ROOT_KEYS_MADE: usize = 2;

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
    /// An existing root key instead of new ones; may be given again; the first signs
    #[arg(long = "root-key", value_name = "FILE")]
    root_keys: Vec<PathBuf>,
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
        root_keys,
        device_ca: vec![device_ca],
        recipients: recipients(&args, &dir)?,
        first,
        imports: args.imports.clone(),
        grant: Some(grant),
    };
    let text = invite::version_0(&invite, &beginning);
    let signer = root_files.first().ok_or_else(|| usage("no root key"))?;
    let chain = sign(&text, signer, &file)?;
    tell(&args, &invite, &file, &chain);
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

fn sign(text: &str, signer: &Path, file: &Path) -> Outcome<Chain> {
    belay_certs::policy::Policy::parse(text.as_bytes())?;
    note(&format!("{text}\nThis is signed with {}.", signer.display()));
    let signature = keygen::sign(signer, Namespace::Policy, text.as_bytes())?;
    let signed = Signed { bytes: text.as_bytes().to_vec(), signatures: vec![signature] };
    let chain = Chain::begin(&signed)?;
    chain::write(file, &signed)?;
    Ok(chain)
}

fn root_keys(args: &Args, dir: &Path) -> Outcome<(Vec<PathBuf>, Vec<PublicKey>)> {
    if !args.root_keys.is_empty() {
        let keys = args.root_keys.iter().map(|path| keygen::public(path)).collect::<Outcome<Vec<_>>>()?;
        return Ok((args.root_keys.clone(), keys));
    }
    let made = (1..=ROOT_KEYS_MADE).map(|number| {
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

fn tell(args: &Args, invite: &Invite, file: &Path, chain: &Chain) {
    let hash = chain.digest();
    let dir = file.parent().unwrap_or(Path::new("."));
    say(&format!("version 0 of {}'s policy is signed: {}", args.tenant, file.display()));
    say(&format!("its hash, to be pinned on every laptop: {hash}"));
    say(&format!("next, on {}, by its operator, with policy-0.toml and policy-0.toml.sig:", invite.gateway));
    say(&format!("  belay-gateway tenant adopt {} policy-0.toml", args.tenant));
    say("then, on a laptop:");
    say(&format!("  belay trust {hash} --from {}", dir.display()));
    let made: Vec<&str> =
        ["root-1", "root-2", "device-ca", "auditor.age"].into_iter().filter(|name| dir.join(name).exists()).collect();
    if !made.is_empty() {
        say(&format!("secrets in {}: {}; keep root-2 and auditor.age somewhere else", dir.display(), made.join(", ")));
    }
}
