//! What a connected device lacks: policies and its record, handed to it when it comes and at every change.
//!
//! A change anywhere is compared with what is in memory; the store is asked for what this device needs, and again when it
//! failed.

use super::device::{Ending, Link};
use crate::{
    act::enrol,
    limits,
    store::{Broken, Standing},
};
use belay_certs::Digest;
use belay_protocol::{CloseCode, Hello, PolicyHeld, ToAgent, extensions::CERTIFICATE_HELD};
use belay_rules::DeviceState;
use std::{collections::HashMap, time::Duration};

/// Why nothing more is offered for now.
enum Halt {
    /// The store failed: later again.
    Broken(Broken),
    /// The connection is over.
    Over(Ending),
}

impl From<Broken> for Halt {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl From<Ending> for Halt {
    fn from(ending: Ending) -> Self {
        Self::Over(ending)
    }
}

/// What the device has, as far as it said and we sent.
pub(super) struct Held {
    /// The newest policy version of each tenant.
    policies: HashMap<String, u64>,
    /// The serial of its record.
    serial: u64,
    /// Of its host certificate, if it says so.
    certificate: Option<[u8; 32]>,
    /// What its row said when it was last read.
    standing: Standing,
    /// Whether the row may have changed since.
    stale: bool,
}

/// Welcomes the device that stood so at its hello, and hands it what it lacks, until the connection is over.
pub(super) async fn offer(link: &Link, mut held: Held) -> Ending {
    let mut changes = link.gateway.book.changes();
    if let Err(ending) = link.welcome(held.standing.record.is_some()).await {
        return ending;
    }
    loop {
        changes.borrow_and_update();
        let retry = match Box::pin(held.complete(link)).await {
            Ok(()) => None,
            Err(Halt::Over(ending)) => return ending,
            Err(Halt::Broken(error)) => {
                tracing::error!(join = %link.join, "what a device lacks could not be read: {error}");
                Some(limits::STORE_RETRY)
            }
        };
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return Ending::lost("the gateway is gone") },
            () = link.news.notified() => held.stale = true,
            () = pause(retry) => {}
        }
    }
}

/// For ever, when there is nothing to try again.
async fn pause(retry: Option<Duration>) {
    match retry {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

impl Held {
    /// What the device said in its hello. The row was read before the device was there to be woken: an approval in between is
    /// found by reading it again.
    pub(super) fn new(standing: Standing, hello: Hello) -> Self {
        let certificate = hello.extensions.get(CERTIFICATE_HELD).and_then(|bytes| bytes.try_into().ok());
        let policies = hello.policies.into_iter().map(|PolicyHeld { tenant, version, .. }| (tenant, version)).collect();
        Self { policies, serial: hello.record_serial, certificate, standing, stale: true }
    }

    async fn complete(&mut self, link: &Link) -> Result<(), Halt> {
        self.look_again(link).await?;
        self.offer_policies(link).await?;
        if let Some(reason) = link.gateway.barred(&self.standing) {
            // The device learns the policy first: it ends its own sessions with the reason.
            tokio::time::sleep(limits::WITHDRAWAL_GRACE).await;
            return Err(Ending::new(CloseCode::NotAdmitted, reason).into());
        }
        self.offer_record(link).await
    }

    /// Reads the row again after news. An approved device can be reached from now on, also when it was approved while it
    /// was connecting.
    async fn look_again(&mut self, link: &Link) -> Result<(), Halt> {
        if !self.stale {
            return Ok(());
        }
        let Some(row) = link.gateway.store.device_by_join(link.join).await? else {
            return Err(Ending::new(CloseCode::NotAdmitted, "the device is gone").into());
        };
        (self.standing, self.stale) = (row.standing(), false);
        if self.standing.state == DeviceState::Approved {
            link.gateway.presence.approve(link.join, self.standing.address.clone());
            link.gateway.jobs.moved(self.standing.address.clone()).await;
        }
        Ok(())
    }

    /// Every policy version the device lacks, oldest first.
    async fn offer_policies(&mut self, link: &Link) -> Result<(), Halt> {
        for (tenant, newest) in link.gateway.book.newest_for(&link.address.tenant) {
            let name = tenant.to_string();
            let mut next = self.policies.get(&name).map_or(0, |version| version.saturating_add(1));
            while next <= newest {
                let page = link.gateway.policies_from(&tenant, next).await?;
                if page.is_empty() {
                    return Err(Broken::new(format!("policy version {next} of {tenant} is missing")).into());
                }
                for policy in page {
                    let version = policy.version;
                    link.send(ToAgent::PolicyOffered(policy.into())).await?;
                    self.policies.insert(name.clone(), version);
                    next = version.saturating_add(1);
                }
            }
        }
        Ok(())
    }

    /// The newest record of the device, if it has an older one or none, or another certificate for it.
    async fn offer_record(&mut self, link: &Link) -> Result<(), Halt> {
        let Some((serial, certificate)) = self.standing.record else { return Ok(()) };
        let recertified = self.certificate.is_some_and(|held| held != certificate.0);
        if serial <= self.serial && (serial < self.serial || !recertified) {
            return Ok(());
        }
        let Some(rows) = link.gateway.store.tenant(&link.address.tenant) else { return Ok(()) };
        if let Some(approval) = rows.approval(link.join).await? {
            self.certificate = Some(Digest::of(approval.certificate.as_bytes()).0);
            let record = enrol::record_offered(approval).map_err(Broken::new)?;
            link.send(ToAgent::RecordOffered(record)).await?;
        }
        self.serial = serial;
        Ok(())
    }
}
