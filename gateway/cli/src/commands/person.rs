//! `belay person`: adds and removes people, each as one new, signed version of the policy.

use super::{now, policy};
use crate::{
    chain::{self, Held},
    failure::{Outcome, refused},
    gateway::{Gateway, Route},
    home::{self, Home},
    keygen,
    policy_edit::{Edit, Head, NewGrant, NewPerson},
    screen::{note, say},
    trusted::Trusted,
};
use belay_certs::{
    AccountName, Fault, Namespace, PersonName, Signed, TenantName,
    limits::POLICY_DAYS_MAX,
    policy::{ActionKind, DevicePattern, Policy, difference},
    time::DAY,
};
use std::path::PathBuf;

/// `belay person …`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Add a person, and with --do a grant for them
    Add(Add),
    /// Remove a person from the people and from every grant
    Remove(Remove),
}

/// `belay person add`.
#[derive(Debug, clap::Args)]
pub struct Add {
    /// The tenant whose policy it is
    tenant: TenantName,
    /// The person's name in it
    name: PersonName,
    /// Their public key file; may be given again
    #[arg(long = "key", value_name = "PUBFILE", required = true)]
    keys: Vec<PathBuf>,
    /// A team they belong to; may be given again
    #[arg(long = "team", value_name = "T", value_delimiter = ',')]
    teams: Vec<PersonName>,
    /// What they may do: shell,files,forward,run,enrol,audit,operate
    #[arg(long = "do", value_name = "ACTION", value_delimiter = ',')]
    actions: Vec<ActionKind>,
    /// On which devices: names, globs, tag:LABEL
    #[arg(long, value_name = "PATTERN", value_delimiter = ',', default_value = "*", requires = "actions")]
    on: Vec<DevicePattern>,
    /// As which accounts
    #[arg(long = "as", value_name = "ACCOUNT", value_delimiter = ',', requires = "actions")]
    accounts: Vec<AccountName>,
    /// A program, not a human
    #[arg(long)]
    robot: bool,
    /// A root key, or the .pub of one that your ssh-agent holds; may be given again
    #[arg(long = "root", value_name = "KEY", required = true)]
    roots: Vec<PathBuf>,
}

/// `belay person remove`.
#[derive(Debug, clap::Args)]
pub struct Remove {
    /// The tenant whose policy it is
    tenant: TenantName,
    /// The person's name in it
    name: PersonName,
    /// A root key, or the .pub of one that your ssh-agent holds; may be given again
    #[arg(long = "root", value_name = "KEY", required = true)]
    roots: Vec<PathBuf>,
}

/// Does it.
///
/// # Errors
/// What was refused, and why.
pub fn run(home: &Home, command: Command) -> Outcome {
    match command {
        Command::Add(args) => add(home, &args),
        Command::Remove(args) => change(home, &args.tenant, &args.roots, |edit| edit.remove_person(args.name.as_str())),
    }
}

fn add(home: &Home, args: &Add) -> Outcome {
    let keys = args.keys.iter().map(|path| Ok(keygen::public(path)?.line())).collect::<Outcome<Vec<_>>>()?;
    let grant = (!args.actions.is_empty()).then(|| NewGrant {
        actions: args.actions.iter().map(ActionKind::to_string).collect(),
        on: args.on.iter().map(DevicePattern::to_string).collect(),
        accounts: args.accounts.iter().map(AccountName::to_string).collect(),
    });
    let person = NewPerson {
        name: args.name.to_string(),
        robot: args.robot,
        keys,
        teams: args.teams.iter().map(PersonName::to_string).collect(),
        grant,
    };
    change(home, &args.tenant, &args.roots, |edit| edit.add_person(&person))
}

/// One change as the next version: edited from the newest verified text, shown, signed, pushed.
fn change(home: &Home, tenant: &TenantName, roots: &[PathBuf], edit: impl FnOnce(&mut Edit) -> Outcome) -> Outcome {
    let trusted = Trusted::load(home)?;
    let cached = trusted.tenant(tenant)?;
    let gateway = Gateway::new(home, Route::of(cached.policy())?);
    let held = chain::refresh(home, &gateway, tenant, &cached.chain.policy0())?;
    let (text, next) = edited(&held, edit)?;
    let shown: Vec<String> = difference(held.policy(), &next).iter().map(|line| format!("  {line}")).collect();
    note(&format!("version {} of {tenant} is signed with these changes:\n{}", next.version, shown.join("\n")));
    let mut signed = Signed { bytes: text.into_bytes(), signatures: Vec::new() };
    for key in roots {
        signed.signatures.push(keygen::sign(key, Namespace::Policy, &signed.bytes)?);
    }
    match held.chain.extend(&signed) {
        Ok(_) => policy::push(home, &gateway, &held, &signed),
        Err(invalid) if invalid.fault == Fault::Unsigned => put_aside(home, tenant, &next, &signed, &invalid.sentence),
        Err(invalid) => Err(invalid.into()),
    }
}

fn edited(held: &Held, change: impl FnOnce(&mut Edit) -> Outcome) -> Outcome<(String, Policy)> {
    let mut edit = Edit::of(&String::from_utf8_lossy(&held.newest.bytes))?;
    let issued = now().whole_second().max(held.chain.issued());
    change(&mut edit)?;
    edit.renumber(&Head {
        version: held.chain.version().saturating_add(1),
        previous: held.chain.digest(),
        issued,
        expires: issued.plus(POLICY_DAYS_MAX * DAY),
    })?;
    let text = edit.text();
    let next = Policy::parse(text.as_bytes())?;
    Ok((text, next))
}

/// More root keys have to sign, likely on other machines: the file goes there.
fn put_aside(home: &Home, tenant: &TenantName, next: &Policy, signed: &Signed, missing: &str) -> Outcome {
    let path = home.dir().join("drafts").join(format!("{tenant}-{}.toml", next.version));
    home::make_private_dir(&home.dir().join("drafts"))?;
    chain::write(&path, signed)?;
    say(&format!("not valid yet: {missing}"));
    say(&format!("each other root key: belay policy sign {0} --key KEY, then: belay policy push {0}", path.display()));
    Err(refused("nothing was pushed: more signatures are needed"))
}
