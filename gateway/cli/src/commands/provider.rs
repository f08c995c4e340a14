//! `belay import` and `belay serve`: how a customer lets a provider's people be named, and how a provider's laptops find the
//! customers.

use super::person::change;
use crate::{failure::Outcome, home::Home, next_version::Signing, screen::note, trusted::Trusted};
use belay_certs::{Digest, TenantName};

/// `belay import`.
#[derive(Debug, clap::Args)]
pub struct Import {
    /// The customer whose policy it is
    tenant: TenantName,
    /// The provider's tenant, whose people may be named as PROVIDER:NAME
    provider: TenantName,
    /// The hash of the provider's version 0
    hash: Digest,
    #[command(flatten)]
    signing: Signing,
}

/// `belay serve`.
#[derive(Debug, clap::Args)]
pub struct Serve {
    /// The provider's tenant that holds the list
    provider: TenantName,
    /// The tenant to put on it
    tenant: TenantName,
    /// The hash of that tenant's version 0
    #[arg(required_unless_present = "stop")]
    hash: Option<Digest>,
    /// Take it from the list
    #[arg(long, conflicts_with = "hash")]
    stop: bool,
    #[command(flatten)]
    signing: Signing,
}

/// Imports a provider's people. Grants for them are written with `belay policy edit`.
///
/// # Errors
/// What was refused, and why.
pub fn import(home: &Home, args: &Import) -> Outcome {
    change(home, &args.tenant, &args.signing, |edit| edit.import(args.provider.as_str(), &args.hash))
}

/// Puts a tenant on the list of those served, or takes it from there.
///
/// # Errors
/// What was refused, and why.
pub fn serve(home: &Home, args: &Serve) -> Outcome {
    warn_of_readers(home, args)?;
    let tenant = args.tenant.as_str();
    change(home, &args.provider, &args.signing, |edit| match &args.hash {
        Some(hash) => edit.serve(tenant, hash),
        None => edit.serve_no_more(tenant),
    })
}

/// Whoever imports a policy can read all of it, and so can every device of theirs: a policy with people in it is there to be
/// imported, and is no place for a list of customers.
fn warn_of_readers(home: &Home, args: &Serve) -> Outcome {
    let trusted = Trusted::load(home)?;
    let has_people = !trusted.tenant(&args.provider)?.policy().people.is_empty();
    if has_people && args.hash.is_some() && !trusted.are_in_the_same_hands(&args.provider, &args.tenant) {
        note(&format!(
            "belay: every customer that imports {0} can read in its policy that it serves {1}: keep the list in a tenant of its \
             own that nobody imports, as {0}-customers, and let {0} serve only that",
            args.provider, args.tenant
        ));
    }
    Ok(())
}
