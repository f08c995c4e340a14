//! `belay device recertify`: new host certificates for all devices of a tenant, by another device CA, for the records they
//! have. Run again after a cut it goes on with the rest: what is done is seen by its certificate.

use super::held::{HeldRecord, Row};
use crate::{
    commands::approve::batch::{Sent, tell},
    failure::{Failure, Outcome, refused},
    gateway::{Gateway, Route},
    home::Home,
    keygen,
    limits::{PENDING_MAX, ROWS_AT_ONCE, SENT_AT_ONCE_MAX, SIGNING_LASTS},
    screen::{confirm, note, say},
    ssh_agent::Signing,
    trusted::Trusted,
};
use belay_certs::{PublicKey, TenantName};
use serde_json::json;
use std::{collections::BTreeSet, path::PathBuf};

/// `belay device recertify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The tenant
    tenant: TenantName,
    /// The new device CA, or the .pub of one that your ssh-agent holds; the policy names it already
    #[arg(long, value_name = "KEY")]
    ca: PathBuf,
    /// Certify without asking
    #[arg(long)]
    yes: bool,
}

/// Certifies them.
///
/// # Errors
/// The policy does not name the CA, the gateway does not answer, or some devices could not be certified.
pub(super) fn run(home: &Home, args: &Args) -> Outcome {
    let tenant = &args.tenant;
    let trusted = Trusted::refresh_only(home, &BTreeSet::from([tenant.clone()]))?;
    let policy = trusted.tenant(tenant)?.policy();
    let new = keygen::public(&args.ca)?;
    if !policy.devices.ca.contains(&new) {
        return Err(refused(format!(
            "{} is no device CA in the policy of {tenant}: add it to [devices] ca first, so that laptops and devices know it",
            args.ca.display()
        )));
    }
    let gateway = Gateway::new(home, Route::of(policy)?);
    let (due, done, unknown) = look(&gateway, tenant, &policy.devices.ca, &new)?;
    if due.is_empty() {
        return finish(tenant, &args.ca, done, unknown);
    }
    for one in &due {
        say(&format!("{}  serial {}  {}", one.record.address, one.record.serial, one.record.host_key.fingerprint()));
    }
    confirm(&format!("Certify the host keys of these {} devices by {}?", due.len(), args.ca.display()), args.yes)?;
    let mut signing = Signing::default();
    signing.add(&args.ca, SIGNING_LASTS)?;
    let mut sent = Sent::default();
    for some in due.chunks(SENT_AT_ONCE_MAX) {
        sent = send(&gateway, tenant, &mut signing, args, some, sent)?;
        if due.len() > SENT_AT_ONCE_MAX {
            note(&format!("{} of {} sent", sent.done + sent.refused, due.len()));
        }
    }
    if sent.refused > 0 {
        return Err(refused(format!("{} devices were refused by the gateway; see above", sent.refused)));
    }
    finish(tenant, &args.ca, done + sent.done, unknown)
}

fn send(
    gateway: &Gateway<'_>,
    tenant: &TenantName,
    signing: &mut Signing,
    args: &Args,
    some: &[HeldRecord],
    sent: Sent,
) -> Outcome<Sent> {
    let mut rows = Vec::with_capacity(some.len());
    for HeldRecord { record, .. } in some {
        let line = signing.certify(&args.ca, &record.address, &record.host_key, record.serial)?;
        rows.push(json!({"name": record.address, "serial": record.serial, "certificate": line}));
    }
    let input = json!({ "certificates": rows }).to_string();
    let answer = gateway.run(&["recertify", tenant.as_str(), "--json"], input.as_bytes())?;
    tell(&answer, some.iter().map(|one| (one.record.address.to_string(), one.record.serial)), "recertified", sent)
}

/// Devices to certify; how many have the new certificate already, and how many nothing is believed of.
fn look(
    gateway: &Gateway<'_>,
    tenant: &TenantName,
    ca: &[PublicKey],
    new: &PublicKey,
) -> Outcome<(Vec<HeldRecord>, usize, usize)> {
    let (mut due, mut done, mut unknown) = (Vec::new(), 0, 0);
    let limit = ROWS_AT_ONCE.to_string();
    let mut last: Option<String> = None;
    loop {
        let mut words = vec!["records", tenant.as_str(), "--json", "--limit", &limit];
        words.extend(last.iter().flat_map(|last| ["--after", last.as_str()]));
        let rows: Vec<Row> = gateway.ask(&words)?;
        let (count, end) = (rows.len(), rows.last().map(|row| row.name.clone()));
        for row in rows {
            let name = row.name.clone();
            match HeldRecord::check(row, ca) {
                Ok(held) if held.ca == *new => done += 1,
                Ok(held) => due.push(held),
                Err(failure) => {
                    note(&format!("belay: {name} stays out: {}", failure.sentence()));
                    unknown += 1;
                }
            }
        }
        if count < ROWS_AT_ONCE {
            return Ok((due, done, unknown));
        }
        if end <= last || due.len() + done + unknown > PENDING_MAX {
            return Err(Failure::Gateway("the gateway's list of devices has no end: it is not believed".to_owned()));
        }
        last = end;
    }
}

fn finish(tenant: &TenantName, ca: &std::path::Path, done: usize, unknown: usize) -> Outcome {
    if unknown > 0 {
        return Err(refused(format!("{unknown} devices could not be believed and keep the certificates they have")));
    }
    say(&format!(
        "all {done} devices of {tenant} are certified by {}: the other device CAs can leave [devices] ca once those that are \
         offline have been online",
        ca.display()
    ));
    Ok(())
}
