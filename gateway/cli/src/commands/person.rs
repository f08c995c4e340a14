//! `belay person`: people, their keys and their teams, each change as one new, signed version of the policy.
//!
//! In a provider's policy one such version counts for every customer that imports it.

use super::now;
use crate::{
    chain,
    failure::Outcome,
    gateway::{Gateway, Route},
    home::Home,
    keygen,
    next_version::{Draft, Signing},
    policy_edit::{Edit, NewGrant, NewPerson},
    trusted::Trusted,
};
use belay_certs::{
    AccountName, PersonName, TenantName,
    policy::{ActionKind, DevicePattern},
};
use std::path::{Path, PathBuf};

/// `belay person …`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Add a person, and with --do a grant for them
    Add(Add),
    /// Remove a person from the people and from every grant
    Remove {
        #[command(flatten)]
        whose: Whose,
    },
    /// Give a person one more key: a new laptop
    AddKey {
        #[command(flatten)]
        whose: Whose,
        /// The public key file; may be given again
        #[arg(long = "key", value_name = "PUBFILE", required = true)]
        keys: Vec<PathBuf>,
    },
    /// Take a key from a person: a lost laptop
    RemoveKey {
        #[command(flatten)]
        whose: Whose,
        /// The public key file, or the key's fingerprint, SHA256:…
        #[arg(long, value_name = "PUBFILE|FINGERPRINT")]
        key: String,
    },
    /// Put a person into a team
    Join {
        #[command(flatten)]
        whose: Whose,
        /// The team
        #[arg(long)]
        team: PersonName,
    },
    /// Take a person out of a team
    Leave {
        #[command(flatten)]
        whose: Whose,
        /// The team
        #[arg(long)]
        team: PersonName,
    },
}

/// Whom a change is about, and who signs it.
#[derive(Debug, clap::Args)]
pub struct Whose {
    /// The tenant whose policy it is
    tenant: TenantName,
    /// The person's name in it
    name: PersonName,
    #[command(flatten)]
    signing: Signing,
}

/// `belay person add`.
#[derive(Debug, clap::Args)]
pub struct Add {
    #[command(flatten)]
    whose: Whose,
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
}

/// Does it.
///
/// # Errors
/// What was refused, and why.
pub fn run(home: &Home, command: Command) -> Outcome {
    let by = |whose: Whose, edit: &dyn Fn(&mut Edit, &str) -> Outcome| {
        change(home, &whose.tenant, &whose.signing, |policy| edit(policy, whose.name.as_str()))
    };
    match command {
        Command::Add(args) => add(home, &args),
        Command::Remove { whose } => by(whose, &|policy, name| policy.remove_person(name)),
        Command::AddKey { whose, keys } => {
            let keys = keys.iter().map(|path| keygen::public(path)).collect::<Outcome<Vec<_>>>()?;
            by(whose, &|policy, name| keys.iter().try_for_each(|key| policy.add_key(name, key)))
        }
        Command::RemoveKey { whose, key } => {
            let fingerprint = match key.starts_with("SHA256:") {
                true => key,
                false => keygen::public(Path::new(&key))?.fingerprint(),
            };
            by(whose, &|policy, name| policy.remove_key(name, &fingerprint))
        }
        Command::Join { whose, team } => by(whose, &|policy, name| policy.join_team(name, team.as_str())),
        Command::Leave { whose, team } => by(whose, &|policy, name| policy.leave_team(name, team.as_str())),
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
        name: args.whose.name.to_string(),
        robot: args.robot,
        keys,
        teams: args.teams.iter().map(PersonName::to_string).collect(),
        grant,
    };
    change(home, &args.whose.tenant, &args.whose.signing, |edit| edit.add_person(&person))
}

/// One change as the next version: edited from the newest verified text, shown, signed, pushed.
///
/// # Errors
/// What was refused, and why.
pub fn change(home: &Home, tenant: &TenantName, signing: &Signing, edit: impl FnOnce(&mut Edit) -> Outcome) -> Outcome {
    let trusted = Trusted::load(home)?;
    let cached = trusted.tenant(tenant)?;
    let gateway = Gateway::new(home, Route::of(cached.policy())?);
    let held = chain::refresh(home, &gateway, tenant, &cached.chain.policy0())?;
    Draft::changed(&held, now(), edit)?.carry_out(home, signing)
}
