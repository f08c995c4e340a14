//! `belay trust`: pins one hash and verifies everything from there. There is no other way in.

use super::now;
use crate::{
    chain::{self, Held},
    failure::{Outcome, usage},
    gateway::{Gateway, Route},
    home::{Home, PinnedAs},
    invite::Invite,
    screen::{note, say},
};
use belay_certs::{Digest, PublicKey, TenantName};
use std::path::PathBuf;

/// `belay trust`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The hash of version 0, as `belay init` printed it: sha256:…
    hash: Digest,
    /// The tenant whose policy it is; with --from or --invite it is known
    #[arg(long)]
    tenant: Option<TenantName>,
    /// Take the policies from a directory with policy-0.toml, policy-0.toml.sig, policy-0.toml.bob.sig, …
    #[arg(long, value_name = "DIR", conflicts_with_all = ["gateway", "invite"])]
    from: Option<PathBuf>,
    /// Take them from the gateway of this invite
    #[arg(long, value_name = "FILE", conflicts_with = "gateway")]
    invite: Option<PathBuf>,
    /// Take them from the gateway at HOST:PORT
    #[arg(long, value_name = "HOST:PORT", requires = "host_keys")]
    gateway: Option<String>,
    /// The gateway's ssh host key, "TYPE BASE64"; may be given again
    #[arg(long = "host-key", value_name = "KEY")]
    host_keys: Vec<PublicKey>,
    /// This is your provider: believe the tenants that its policy serves, too
    #[arg(long)]
    provider: bool,
}

/// Pins it.
///
/// # Errors
/// The policies cannot be fetched or do not follow from the hash, or another hash is pinned.
pub fn run(home: &Home, args: &Args) -> Outcome {
    let held = if let Some(dir) = &args.from {
        let (held, documents) = chain::from_dir(dir, &args.hash)?;
        same_tenant(args, held.chain.tenant())?;
        home.check_pin(held.chain.tenant(), &args.hash)?;
        keep_newer(home, held, &documents, &args.hash)?
    } else {
        let (tenant, route) = place(home, args)?;
        home.check_pin(&tenant, &args.hash)?;
        chain::refresh(home, &Gateway::new(home, route), &tenant, &args.hash)?
    };
    // Last: a pin without its policies would stop every other command.
    let pinned_as = if args.provider { PinnedAs::Provider } else { PinnedAs::Tenant };
    home.pin(held.chain.tenant(), args.hash, pinned_as)?;
    tell(home, &held)
}

/// A directory may be behind what this laptop has verified already: the newer chain stays.
fn keep_newer(home: &Home, held: Held, documents: &[belay_certs::Signed], pin: &Digest) -> Outcome<Held> {
    let tenant = held.chain.tenant().clone();
    let cached = chain::cached(home, &tenant, pin)?;
    if let Some(cached) = cached.filter(|cached| cached.chain.version() >= held.chain.version()) {
        return Ok(cached);
    }
    chain::keep(home, &tenant, held.chain.version(), documents)?;
    Ok(held)
}

fn place(home: &Home, args: &Args) -> Outcome<(TenantName, Route)> {
    if let Some(path) = &args.invite {
        let invite = Invite::read(path)?;
        same_tenant(args, &invite.tenant)?;
        return Ok((invite.tenant.clone(), invite.route()?));
    }
    let pinned = home.pins()?.pins.into_iter().find(|(_, pin)| *pin == args.hash).map(|(tenant, _)| tenant);
    let tenant = args
        .tenant
        .clone()
        .or(pinned)
        .ok_or_else(|| usage("whose policy is it? give --tenant NAME, or --invite FILE, or --from DIR"))?;
    if let Some(address) = &args.gateway {
        return Ok((tenant, Route::new(address, &args.host_keys)?));
    }
    match chain::cached(home, &tenant, &args.hash)? {
        Some(held) => Ok((tenant, Route::of(held.policy())?)),
        None => Err(usage(
            "where is the policy? give --from DIR, or --invite FILE, or --gateway HOST:PORT with --host-key KEY",
        )),
    }
}

fn same_tenant(args: &Args, found: &TenantName) -> Outcome {
    match &args.tenant {
        Some(named) if named != found => Err(usage(format!("this is the policy of {found}, not of {named}"))),
        _ => Ok(()),
    }
}

fn tell(home: &Home, held: &Held) -> Outcome {
    let chain = &held.chain;
    say(&format!("{} is trusted from {}: version {}, verified", chain.tenant(), chain.policy0(), chain.version()));
    let serves: Vec<&str> = held.policy().serves.iter().map(|serves| serves.tenant.as_str()).collect();
    if !serves.is_empty() {
        say(&format!("it serves {}", serves.join(", ")));
        if !home.pins()?.is_provider(chain.tenant()) {
            say(&format!(
                "they are not believed from its list: if it is your provider, run `belay trust {} --provider`",
                chain.policy0()
            ));
        }
    }
    if let Err(refusal) = chain.check_expiry(now()) {
        note(&format!("belay: {refusal}"));
    }
    say("next: belay config");
    Ok(())
}
