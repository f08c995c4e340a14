//! `belay device recertify`: new host certificates for all devices of a tenant, by another device CA, for the records they
//! have. Run again after a cut it goes on with the rest: what is done is seen by its certificate.

use super::{
    super::now,
    held::{self, HeldRecord, Row},
};
use crate::{
    commands::approve::batch::{Sent, tell},
    failure::{Outcome, refused},
    gateway::{Gateway, Route},
    home::Home,
    keygen,
    limits::{SENT_AT_ONCE_MAX, SIGNING_LASTS},
    screen::{confirm, note, say},
    ssh_agent::Signing,
    trusted::Trusted,
};
use belay_certs::{PublicKey, TenantName, Timestamp, policy::Policies};
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
    let Looked { due, done, unknown, .. } = look(&gateway, tenant, &trusted.policies(tenant)?, &new)?;
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

/// What the gateway's records are worth.
#[derive(Debug, Default)]
struct Looked {
    /// Devices to certify.
    due: Vec<HeldRecord>,
    /// How many have the new certificate already.
    done: usize,
    /// How many nothing is believed of.
    unknown: usize,
    /// The names that came.
    names: BTreeSet<String>,
}

impl Looked {
    /// Sorts a row: what a person did not approve, or has the name of another, gets no certificate.
    fn take(&mut self, row: Row, policies: &Policies<'_>, new: &PublicKey, now: Timestamp) {
        let name = row.name.clone();
        let checked = HeldRecord::check(row, &policies.tenant.policy().devices.ca).and_then(|held| {
            held.check_approved(policies, now)?;
            match self.names.insert(name.clone()) {
                true => Ok(held),
                false => Err(refused("the gateway has two records of that name")),
            }
        });
        match checked {
            Ok(held) if held.ca == *new => self.done += 1,
            Ok(held) => self.due.push(held),
            Err(failure) => {
                note(&format!("belay: {name} stays out: {}", failure.sentence()));
                self.unknown += 1;
            }
        }
    }
}

fn look(gateway: &Gateway<'_>, tenant: &TenantName, policies: &Policies<'_>, new: &PublicKey) -> Outcome<Looked> {
    let mut looked = Looked::default();
    held::each(gateway, tenant, |row| looked.take(row, policies, new, now()))?;
    Ok(looked)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, Customer, start};
    use belay_certs::{PrivateKey, policy::Chain, time::DAY};

    fn key() -> PrivateKey {
        PrivateKey::generate_ed25519("").unwrap()
    }

    /// What a gateway says of `web1` with this host key: certified by the device CA, approved by `approver`.
    fn row(acme: &Customer, chain: &Chain, host_key: &PublicKey, serial: u64, approver: &PrivateKey) -> Row {
        let record = testing::record("web1.acme", &[], serial, host_key);
        let row = testing::stage::row(acme, chain, &record, approver);
        serde_json::from_value(row).unwrap()
    }

    #[test]
    fn who_stole_the_old_device_ca_gets_no_certificate_by_the_new_one() {
        let acme = Customer::new("acme", "");
        let chain = Chain::begin(&acme.versions[0]).unwrap();
        let revoked = acme.next(|edit| edit.revoke_serial(3).unwrap());
        let chain = match chain.extend(&revoked).unwrap() {
            belay_certs::policy::Step::Next(next) => next,
            belay_certs::policy::Step::Same => panic!("the same version"),
        };
        let policies = Policies { tenant: &chain, imports: Vec::new() };
        let (new, honest, thief) = (key(), key(), key());
        let mut looked = Looked::default();
        let mut counts = |host_key: &PrivateKey, serial, approver: &PrivateKey| {
            let row = row(&acme, &chain, host_key.public(), serial, approver);
            looked.take(row, &policies, new.public(), start().plus(2 * DAY));
            (looked.due.len(), looked.unknown)
        };
        assert_eq!(counts(&thief, 8, &thief), (0, 1), "approved by nobody of the policy");
        assert_eq!(counts(&thief, 3, &acme.person), (0, 2), "a revoked record");
        assert_eq!(counts(&honest, 7, &acme.person), (1, 2));
        assert_eq!(counts(&thief, 6, &acme.person), (1, 3), "a second record of the same name");
        assert_eq!(looked.due[0].record.host_key, *honest.public());
    }
}
