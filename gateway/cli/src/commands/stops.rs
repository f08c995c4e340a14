//! `belay kill`, `belay freeze`, `belay thaw`, `belay freezes`: what must stop now. The gateway decides and does all of it.

use super::{ask_all, rows_table};
use crate::{
    failure::{Failure, Outcome, refused, usage},
    gateway::{self, Gateway, Route, quoted},
    home::Home,
    screen::{json, say},
    trusted::Trusted,
};
use belay_certs::{DeviceAddress, Id, PersonRef, TenantName};
use serde_json::Value;

/// `belay kill`.
#[derive(Debug, clap::Args)]
pub struct Kill {
    /// The session's id, as `belay sessions` shows it
    session: Id,
}

/// `belay freeze`.
#[derive(Debug, clap::Args)]
pub struct Freeze {
    /// acme, web1.acme or acme/anna; a provider's person is acme/msp:anna
    #[arg(value_name = "TENANT|DEVICE.TENANT|TENANT/PERSON")]
    what: String,
    /// Why, for whoever is kept out
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// `belay thaw`.
#[derive(Debug, clap::Args)]
pub struct Thaw {
    /// As it was frozen
    #[arg(value_name = "TENANT|DEVICE.TENANT|TENANT/PERSON")]
    what: String,
}

/// `belay freezes`.
#[derive(Debug, clap::Args)]
pub struct List {
    /// Only those of this tenant
    #[arg(long)]
    tenant: Option<TenantName>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Ends a session.
///
/// # Errors
/// No gateway has such a session, or it is over.
pub fn kill(home: &Home, args: &Kill) -> Outcome {
    say(&first_of(home, &["kill", &args.session.to_string()])?);
    Ok(())
}

/// Freezes something.
///
/// # Errors
/// The gateway refuses.
pub fn freeze(home: &Home, args: &Freeze) -> Outcome {
    let reason = args.reason.as_deref().map(quoted).transpose()?;
    let mut words = vec!["freeze", args.what.as_str()];
    words.extend(reason.iter().flat_map(|reason| ["--reason", reason.as_str()]));
    tell(home, &args.what, &words)
}

/// Lifts a freeze.
///
/// # Errors
/// The gateway refuses.
pub fn thaw(home: &Home, args: &Thaw) -> Outcome {
    tell(home, &args.what, &["thaw", args.what.as_str()])
}

/// Lists what is frozen.
///
/// # Errors
/// A gateway cannot be asked.
pub fn list(home: &Home, args: &List) -> Outcome {
    let mut words = vec!["freezes", "--json"];
    words.extend(args.tenant.iter().flat_map(|tenant| ["--tenant", tenant.as_str()]));
    let (rows, outcome) = ask_all(home, &Trusted::load(home)?, &words)?;
    if args.json {
        json(&Value::Array(rows));
    } else if !rows.is_empty() {
        say(rows_table(&["FROZEN", "SINCE", "BY", "REASON"], &rows).trim_end());
    }
    outcome
}

/// The words at the gateway of the tenant that `what` is of.
fn tell(home: &Home, what: &str, words: &[&str]) -> Outcome {
    let trusted = Trusted::load(home)?;
    let gateway = Gateway::new(home, Route::of(trusted.tenant(&tenant_of(what)?)?.policy())?);
    say(String::from_utf8_lossy(&gateway.run(words, &[])?).trim_end());
    Ok(())
}

fn tenant_of(what: &str) -> Outcome<TenantName> {
    let wrong =
        |invalid: belay_certs::Invalid| usage(format!("{what:?}: {invalid}; write acme, web1.acme or acme/anna"));
    match what.split_once('/') {
        Some((tenant, person)) => person.parse::<PersonRef>().and_then(|_| tenant.parse()).map_err(wrong),
        None if what.contains('.') => what.parse().map(|address: DeviceAddress| address.tenant).map_err(wrong),
        None => what.parse().map_err(wrong),
    }
}

/// What the first gateway says that does it: an id does not tell whose it is.
///
/// # Errors
/// None does: what one of them said, and that one could not be asked rather than that another has no such thing.
pub fn first_of(home: &Home, words: &[&str]) -> Outcome<String> {
    let gateways = Trusted::load(home)?.gateways(home)?;
    let mut why: Option<Failure> = None;
    for answer in gateway::at_once(&gateways, |gateway| gateway.run(words, &[])) {
        match answer {
            Ok(said) => return Ok(String::from_utf8_lossy(&said).trim_end().to_owned()),
            Err(failure) if !matches!(why, Some(Failure::Unreachable(_))) => why = Some(failure),
            Err(_) => {}
        }
    }
    Err(why.unwrap_or_else(|| refused("no gateway is known")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_frozen_names_its_tenant() {
        for what in ["acme", "web1.acme", "acme/anna", "acme/msp:anna"] {
            assert_eq!(tenant_of(what).unwrap().as_str(), "acme");
        }
        for what in ["", "acme/", "Web1.acme", "acme/a b", "a.b.c"] {
            assert_eq!(tenant_of(what).unwrap_err().status(), 2, "{what}");
        }
    }
}
