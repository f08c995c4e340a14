//! `belay policy renew`: the next version of every policy that is due, with nothing changed but its head.
//!
//! Each tenant is renewed for itself: cut off half-way, those that were pushed are renewed and the next call does the rest.

use super::now;
use crate::{
    chain::Held,
    failure::{Outcome, refused, usage},
    home::Home,
    next_version::Draft,
    screen::{confirm, note, say, table},
    trusted::Trusted,
};
use belay_certs::{TenantName, policy::Chain};
use std::{collections::BTreeSet, path::PathBuf};

/// `belay policy renew`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The tenants, due or not
    #[arg(required_unless_present = "all")]
    tenants: Vec<TenantName>,
    /// Every tenant whose policy expires within 30 days
    #[arg(long, conflicts_with = "tenants")]
    all: bool,
    /// A root key of any of them, or the .pub of one that your ssh-agent holds; may be given again [default: those that
    /// `belay init` left in the home]
    #[arg(long = "root", value_name = "KEY")]
    roots: Vec<PathBuf>,
    /// Sign and push without asking
    #[arg(long)]
    yes: bool,
}

/// One tenant on the list.
struct Due {
    draft: Draft,
    keys: Vec<PathBuf>,
}

/// Renews them.
///
/// # Errors
/// The person says no, or one could not be renewed; the others are.
pub fn run(home: &Home, args: &Args) -> Outcome {
    let wanted: BTreeSet<TenantName> = args.tenants.iter().cloned().collect();
    let trusted = if args.all { Trusted::refresh(home)? } else { Trusted::refresh_only(home, &wanted)? };
    wanted.iter().try_for_each(|tenant| trusted.tenant(tenant).map(drop))?;
    let is_wanted = |held: &&Held| wanted.contains(held.chain.tenant()) || (args.all && days(&held.chain).is_some());
    let (mut due, mut left) = (Vec::new(), Vec::new());
    for held in trusted.reached().filter(is_wanted) {
        match plan(home, held, &args.roots) {
            Ok(one) => due.push(one),
            Err(failure) => left.push((held.chain.tenant().clone(), failure.sentence().to_owned())),
        }
    }
    if due.is_empty() && left.is_empty() {
        say("nothing is due: no policy here expires within 30 days");
        return Ok(());
    }
    if !due.is_empty() {
        note(show(&due).trim_end());
        confirm(&format!("Sign and push {}, each with its own root key?", count(due.len())), args.yes)?;
    }
    for Due { draft, keys } in &due {
        if let Err(failure) = draft.sign_and_push(home, keys) {
            left.push((draft.policy.tenant.clone(), failure.sentence().to_owned()));
        }
    }
    let renewed = due.len().saturating_sub(left.iter().filter(|(tenant, _)| is_one_of(&due, tenant)).count());
    say(&format!("renewed: {}", count(renewed)));
    if left.is_empty() {
        return Ok(());
    }
    for (tenant, why) in &left {
        note(&format!("belay: {tenant} is not renewed: {why}"));
    }
    Err(refused(format!("{} not renewed; see above", count(left.len()))))
}

fn plan(home: &Home, held: &Held, given: &[PathBuf]) -> Outcome<Due> {
    let draft = Draft::renewed(held, now())?;
    // Of the given keys each is for some of the tenants only.
    let own: Vec<PathBuf> =
        given.iter().filter(|path| draft.keys(home, std::slice::from_ref(path)).is_ok()).cloned().collect();
    if own.is_empty() && !given.is_empty() {
        return Err(usage("none of the given keys is a root key of it"));
    }
    let keys = draft.keys(home, &own)?;
    Ok(Due { draft, keys })
}

fn is_one_of(due: &[Due], tenant: &TenantName) -> bool {
    due.iter().any(|one| one.draft.policy.tenant == *tenant)
}

/// Days left, when they are few.
fn days(chain: &Chain) -> Option<i64> {
    chain.expires_soon(now())
}

fn count(policies: usize) -> String {
    if policies == 1 { "1 policy".to_owned() } else { format!("{policies} policies") }
}

fn show(due: &[Due]) -> String {
    let row = |Due { draft, keys }: &Due| {
        let keys: Vec<String> = keys.iter().map(|key| key.display().to_string()).collect();
        vec![
            draft.policy.tenant.to_string(),
            draft.policy.version.to_string(),
            draft.held.policy().expires.to_string(),
            draft.policy.expires.to_string(),
            keys.join(","),
        ]
    };
    table(&["TENANT", "VERSION", "EXPIRES", "THEN", "SIGNED WITH"], &due.iter().map(row).collect::<Vec<_>>())
}
