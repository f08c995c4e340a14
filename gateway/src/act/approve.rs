//! What a person decides about devices: approvals, and new host certificates. Signatures are checked here, off the threads
//! that relay, before the store is asked.
//!
//! Not here: how a machine comes to wait for approval (`enrol.rs`).

mod before;

use super::{devices, enrol::refused};
use crate::{
    Gateway,
    store::{DeviceRow, RecordError},
};
use belay_certs::{
    Digest, Fault, Id, Invalid, PersonRef, PublicKey, Signed, TenantName,
    device::{Approval, CheckedBatch, DeviceRecord},
    host_certificate,
    limits::BATCH_RECORDS_MAX,
    policy::{Action, DeviceFacts, Question, decide},
};
use belay_rules::{Ask, DeviceState, Recertified, limits::APPROVALS_PER_ASK_MAX};
use serde::Deserialize;
use std::sync::Arc;

/// What a person sends to approve devices of one signed batch, all of them or a part: everything signed on their own machine.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedBatch {
    /// The batch document.
    batch: String,
    /// Its armoured signature.
    signature: String,
    /// Devices of the batch.
    approvals: Vec<SentApproval>,
}

/// One device of a batch.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SentApproval {
    /// The device record.
    record: String,
    /// Its place in the batch, from 0.
    index: u64,
    /// The path from there to the batch's root.
    path: Vec<Digest>,
    /// The host certificate.
    certificate: String,
}

/// What a person sends to give devices new host certificates.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SentCertificates {
    /// One for each device.
    certificates: Vec<SentCertificate>,
}

/// One device's certificate.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SentCertificate {
    /// The device it is for.
    name: belay_certs::DeviceAddress,
    /// The serial of its record.
    serial: u64,
    /// The certificate, one line.
    certificate: String,
}

/// What became of one device.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settled {
    /// `web1.acme`.
    pub(crate) name: String,
    /// The record's serial.
    pub(crate) serial: u64,
    /// Why it was not done; none when it was, now or before.
    pub(crate) refused: Option<String>,
}

/// Approves the devices that `sent` names, in steps. Each step is durable or not at all, and the same can be sent again: a
/// device that has the record is not approved twice. One that cannot be approved any more stops no other.
pub(crate) async fn approve(gateway: &Gateway, tenant: &TenantName, sent: Vec<u8>) -> Result<Vec<Settled>, Invalid> {
    let tenant = tenant.clone();
    gateway.carry_through(|gateway| approve_all(gateway, tenant, sent)).await
}

async fn approve_all(gateway: Arc<Gateway>, tenant: TenantName, sent: Vec<u8>) -> Result<Vec<Settled>, Invalid> {
    let checking = {
        let (gateway, tenant) = (Arc::clone(&gateway), tenant.clone());
        // Hundreds of documents and certificates: not on a thread that relays.
        tokio::task::spawn_blocking(move || check_batch(&gateway, &tenant, &sent))
    };
    let approvals = checking.await.map_err(|error| crate::broken(&error))??;
    let mut settled = Vec::with_capacity(approvals.len());
    let mut free = Vec::with_capacity(approvals.len());
    for mut one in approvals {
        match before::judge(&gateway, &tenant, &one).await.map_err(|why| crate::broken(&why))? {
            Ok(over) => {
                one.over = over;
                free.push(one);
            }
            Err(invalid) => settled.push(one.settled(Some(invalid.sentence))),
        }
    }
    for part in free.chunks(APPROVALS_PER_ASK_MAX) {
        match record(&gateway, &tenant, part).await {
            Ok(()) => settled.extend(part.iter().map(|one| one.settled(None))),
            // All or none of an ask: whoever does not fit must not hold up the others.
            Err(RecordError::Refused(_)) => {
                for one in part {
                    let refusal = match record(&gateway, &tenant, std::slice::from_ref(one)).await {
                        Ok(()) => None,
                        Err(RecordError::Refused(refusal)) => Some(refusal.to_string()),
                        Err(RecordError::Broken(why)) => return Err(crate::broken(&why)),
                    };
                    settled.push(one.settled(refusal));
                }
            }
            Err(RecordError::Broken(why)) => return Err(crate::broken(&why)),
        }
    }
    Ok(settled)
}

/// An approval whose signatures hold, and who signed its batch.
struct Checked {
    record: DeviceRecord,
    approval: Approval,
    by: PersonRef,
    signer: PublicKey,
    /// Serials of the records that it voids, as far as the signer may.
    over: Vec<u64>,
}

impl Checked {
    fn settled(&self, refused: Option<String>) -> Settled {
        Settled { name: self.record.address.to_string(), serial: self.record.serial, refused }
    }
}

/// Parses and checks what a person sent. The batch's one signature is verified once.
fn check_batch(gateway: &Gateway, tenant: &TenantName, sent: &[u8]) -> Result<Vec<Checked>, Invalid> {
    let sent: SignedBatch = parse(sent, "an approval as `belay approve` sends it")?;
    let batch = Signed { bytes: sent.batch.into_bytes(), signatures: vec![sent.signature] };
    let now = gateway.now();
    let checked = gateway.book.with(tenant, |policies| {
        let checked_batch = CheckedBatch::of(policies, &batch, now)?;
        let approvals = sent.approvals.into_iter().map(|one| {
            let approval = Approval {
                record: one.record.into_bytes(),
                index: one.index,
                path: one.path.into_iter().map(|digest| digest.0).collect(),
                batch: batch.clone(),
                certificate: one.certificate.trim().to_owned(),
            };
            let host_key = DeviceRecord::parse(&approval.record)?.host_key;
            let (record, by) = checked_batch.check(&approval, &host_key, None, now)?;
            let signer = checked_batch.signer().clone();
            Ok(Checked { record, approval, by, signer, over: Vec::new() })
        });
        approvals.collect()
    });
    checked.unwrap_or_else(|| Err(no_policy(tenant)))
}

fn parse<'a, T: Deserialize<'a>>(sent: &'a [u8], what: &str) -> Result<T, Invalid> {
    serde_json::from_slice(sent).map_err(|error| Invalid::new(Fault::Malformed, format!("this is not {what}: {error}")))
}

fn no_policy(tenant: &TenantName) -> Invalid {
    Invalid::new(Fault::ForeignTenant, format!("tenant {tenant} has no policy here yet"))
}

/// Records approvals of one person as one ask.
async fn record(gateway: &Gateway, tenant: &TenantName, part: &[Checked]) -> Result<(), RecordError> {
    let Some(by) = part.first().map(|one| one.by.clone()) else { return Ok(()) };
    let replaced = replaced(gateway, tenant, part).await;
    let approvals = part.iter().map(|one| (one.record.clone(), one.approval.clone())).collect();
    let over = part.iter().flat_map(|one| one.over.iter().copied()).collect();
    let recorded = gateway.record(Ask::Approve { tenant: tenant.clone(), approvals, by, over }).await;
    // Also after a fault: it may have happened all the same.
    if !matches!(recorded, Err(RecordError::Refused(_))) {
        present(gateway, tenant, part).await;
        replaced.into_iter().for_each(|join| gateway.presence.wake(join));
    }
    recorded.map(drop)
}

/// The machines whose names go to others: each looks at its own row again afterwards, and goes.
async fn replaced(gateway: &Gateway, tenant: &TenantName, part: &[Checked]) -> Vec<Id> {
    let mut joins = Vec::new();
    for one in part.iter().filter(|one| one.record.replaces.is_some()) {
        match devices::find(gateway, &one.record.address).await {
            Ok(Some(row)) => joins.push(row.join),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(
                    "a device that loses its name was not found, so each of {tenant} looks for itself: {error}"
                );
                gateway.presence.wake_tenant(tenant);
            }
        }
    }
    joins
}

/// Approved devices that are connected can be reached from now on, and get their records.
async fn present(gateway: &Gateway, tenant: &TenantName, part: &[Checked]) {
    for Checked { record, .. } in part {
        match devices::find(gateway, &record.address).await {
            Ok(Some(row)) if row.state == DeviceState::Approved => {
                gateway.presence.approve(row.join, record.address.clone());
                gateway.presence.wake(row.join);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::error!(
                    "an approved device was not found again, so each of {tenant} looks for itself: {error}"
                );
                return gateway.presence.wake_tenant(tenant);
            }
        }
    }
}

/// Gives devices new host certificates for the records they have. Sent again it is the same.
pub(crate) async fn recertify(
    gateway: &Gateway,
    tenant: &TenantName,
    sent: Vec<u8>,
    key: PublicKey,
) -> Result<Vec<Settled>, Invalid> {
    let tenant = tenant.clone();
    gateway.carry_through(|gateway| recertify_all(gateway, tenant, sent, key)).await
}

async fn recertify_all(
    gateway: Arc<Gateway>,
    tenant: TenantName,
    sent: Vec<u8>,
    key: PublicKey,
) -> Result<Vec<Settled>, Invalid> {
    let parsing = tokio::task::spawn_blocking(move || parse_certificates(&sent));
    let mut left = parsing.await.map_err(|error| crate::broken(&error))??.into_iter();
    let mut settled = Vec::with_capacity(left.len());
    while left.len() > 0 {
        let part: Vec<SentCertificate> = left.by_ref().take(APPROVALS_PER_ASK_MAX).collect();
        let checked = check_certificates(&gateway, &tenant, part, &key).await?;
        let good: Vec<&Given> = checked.iter().filter_map(|(_, given)| given.as_ref().ok()).collect();
        if let Some(Given { by, .. }) = good.first() {
            let certificates = good.iter().map(|given| given.certificate.clone()).collect();
            let ask = Ask::Recertify { tenant: tenant.clone(), certificates, by: by.clone() };
            let recorded = gateway.record(ask).await;
            if !matches!(recorded, Err(RecordError::Refused(_))) {
                good.iter().for_each(|given| gateway.presence.wake(given.join));
            }
            recorded.map_err(refused)?;
        }
        settled.extend(checked.into_iter().map(|(one, given)| Settled {
            name: one.name.to_string(),
            serial: one.serial,
            refused: given.err().map(|invalid| invalid.sentence),
        }));
    }
    Ok(settled)
}

/// As many as one approval can have: each one costs a look into the database.
fn parse_certificates(sent: &[u8]) -> Result<Vec<SentCertificate>, Invalid> {
    let sent: SentCertificates = parse(sent, "a list of certificates as `belay device recertify` sends it")?;
    let count = sent.certificates.len();
    if count > BATCH_RECORDS_MAX {
        let sentence = format!("these are {count} certificates, but at most {BATCH_RECORDS_MAX} are taken at once");
        return Err(Invalid::new(Fault::TooLarge, sentence));
    }
    Ok(sent.certificates)
}

/// A certificate that may be given.
struct Given {
    certificate: Recertified,
    by: PersonRef,
    /// Its device.
    join: Id,
}

/// Checks a part, each with the row of its device. Nobody's devices but the tenant's are looked at: neither the answer nor
/// its time says which others there are.
async fn check_certificates(
    gateway: &Arc<Gateway>,
    tenant: &TenantName,
    part: Vec<SentCertificate>,
    key: &PublicKey,
) -> Result<Vec<(SentCertificate, Result<Given, Invalid>)>, Invalid> {
    let mut found = Vec::with_capacity(part.len());
    for one in part {
        let row = match one.name.tenant == *tenant {
            true => devices::find(gateway, &one.name).await.map_err(|why| crate::broken(&why))?,
            false => None,
        };
        found.push((one, row));
    }
    let (gateway, tenant, key) = (Arc::clone(gateway), tenant.clone(), key.clone());
    // Hundreds of signatures: not on a thread that relays.
    let checking = tokio::task::spawn_blocking(move || {
        let check = |(one, row): (SentCertificate, Option<DeviceRow>)| {
            let given = check_certificate(&gateway, &tenant, &one, row.as_ref(), &key);
            (one, given)
        };
        found.into_iter().map(check).collect()
    });
    checking.await.map_err(|error| crate::broken(&error))
}

/// The certificate is by a device CA of the policy, for the key and the record of an approved device that the person may enrol.
fn check_certificate(
    gateway: &Gateway,
    tenant: &TenantName,
    sent: &SentCertificate,
    row: Option<&DeviceRow>,
    key: &PublicKey,
) -> Result<Given, Invalid> {
    let gone = || Invalid::new(Fault::Mismatch, format!("{} is no approved device with that record", sent.name));
    let row = row.filter(|row| row.tenant == *tenant && row.state == DeviceState::Approved).ok_or_else(gone)?;
    let facts: DeviceFacts = devices::facts(row).filter(|facts| facts.serial == sent.serial).ok_or_else(gone)?;
    let host_key = row.host_key().map_err(|why| crate::broken(&why))?;
    let question = Question { key: key.clone(), device: facts, account: None, action: Action::Enrol, ticket: None };
    let checked = gateway.book.with(tenant, |policies| {
        let grant = decide(policies, &question, gateway.now())
            .map_err(|refusal| Invalid::new(Fault::WrongSigner, refusal.to_string()))?;
        let ca = &policies.tenant.policy().devices.ca;
        let certificate = host_certificate::check(&sent.certificate, &sent.name, &host_key, sent.serial, ca)?;
        let ca = certificate.signature_key().fingerprint(Default::default()).to_string();
        let certificate = sent.certificate.trim().to_owned();
        let certificate = Recertified { serial: sent.serial, certificate, ca };
        Ok(Given { certificate, by: grant.person().clone(), join: row.join })
    });
    checked.unwrap_or_else(|| Err(no_policy(tenant)))
}

#[cfg(test)]
mod tests;
