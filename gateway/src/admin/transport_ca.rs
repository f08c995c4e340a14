//! The operator exchanges the transport CA: a new one that the old one certifies, and, when every policy names it, the end
//! of the old one.
//!
//! Nobody is stranded on the way: until the old CA is retired the gateway is believed by whoever pinned either of the two.

use super::acts::Operator;
use crate::{
    act::{devices, policies},
    limits::DEVICES_NAMED_MAX,
    store::DeviceRow,
};
use anyhow::{Context, bail};
use belay_certs::{DeviceAddress, Digest, TenantName, policy::Policy};
use belay_rules::{DeviceState, LogName};
use std::fmt::Write;

/// Who would be lost if the previous CA went now.
struct Laggards {
    /// Tenants whose newest policy does not name the CA.
    tenants: Vec<TenantName>,
    /// Devices that have not said that they hold a policy that names it.
    devices: Vec<DeviceAddress>,
}

impl Operator {
    /// What is in force, and who still needs the previous CA.
    pub(super) async fn show_transport_ca(&self) -> anyhow::Result<String> {
        let ca = self.gateway.transport.ca();
        let mut text = format!("in force  {}\n", ca.digest());
        let Some(previous) = ca.previous() else { return Ok(text) };
        let _ = writeln!(text, "previous  {previous}");
        let laggards = self.laggards(&ca.digest()).await?;
        text.push_str(&laggards.sentence().unwrap_or_else(|| {
            "nobody needs the previous one any more: belay-gateway transport-ca retire\n".to_owned()
        }));
        Ok(text)
    }

    /// A new CA takes the place of the one in force.
    pub(super) async fn rotate_transport_ca(&self) -> anyhow::Result<String> {
        let _keys = self.keys.lock().await;
        if let Some(previous) = self.gateway.transport.ca().previous() {
            bail!("{previous} is not retired yet, and there are never three; see `belay-gateway transport-ca show`");
        }
        self.note(LogName::System, &["transport-ca", "rotate"]).await?;
        self.gateway.transport.exchange(|| {
            // What is kept counts: an earlier try may have failed after it happened.
            let kept = self.directory.transport_ca()?;
            if kept.previous().is_some() {
                return Ok(kept);
            }
            let next = kept.next(&self.config.name, self.gateway.now())?;
            self.directory.exchange_transport_ca(&next)?;
            Ok(next)
        })?;
        let ca = self.gateway.transport.ca();
        let previous = ca.previous().context("the transport CA was exchanged again meanwhile")?;
        let new = ca.digest();
        Ok(format!(
            "in force  {new}\nprevious  {previous}\n\
             Devices go on as they are: the old CA certifies the new one. Now each tenant adds the new fingerprint to its policy:\n  \
             [gateway]\n  transport_ca = [\"{new}\", \"{previous}\"]\n\
             `belay-gateway transport-ca show` lists who has not. When nobody is left: belay-gateway transport-ca retire\n"
        ))
    }

    /// The previous CA ends: who pinned only that one does not find the gateway any more. Refused while there is somebody,
    /// unless `force`.
    pub(super) async fn retire_transport_ca(&self, force: bool) -> anyhow::Result<String> {
        let _keys = self.keys.lock().await;
        let ca = self.gateway.transport.ca();
        let Some(previous) = ca.previous() else {
            bail!("there is no previous transport CA to retire; `belay-gateway transport-ca rotate` makes a new one");
        };
        let laggards = self.laggards(&ca.digest()).await?.sentence();
        if let Some(sentence) = laggards.filter(|_| !force) {
            bail!(
                "nothing was retired, because these would not find the gateway any more:\n{sentence}\
                 `--force` retires it all the same; a device that is lost so comes back only by `belay-agent forget` and a new token"
            );
        }
        let words: &[&str] = if force { &["transport-ca", "retire", "--force"] } else { &["transport-ca", "retire"] };
        self.note(LogName::System, words).await?;
        self.gateway.transport.exchange(|| {
            let retired = self.directory.transport_ca()?.retired()?;
            self.directory.exchange_transport_ca(&retired)?;
            Ok(retired)
        })?;
        Ok(format!("in force  {}\n{previous} is retired; policies may drop it.\n", ca.digest()))
    }

    async fn laggards(&self, ca: &Digest) -> anyhow::Result<Laggards> {
        let mut laggards = Laggards { tenants: Vec::new(), devices: Vec::new() };
        for tenant in self.gateway.store.tenants().await? {
            let Some(chain) = self.gateway.book.chain(&tenant.name) else { continue };
            if !chain.policy().gateway.transport_ca.contains(ca) {
                laggards.tenants.push(tenant.name);
                continue;
            }
            let since = self.named_since(&tenant.name, ca).await?;
            let rows = devices::all(&self.gateway, &tenant.name).await?;
            // Whoever is not admitted any more misses nothing.
            let served = rows
                .iter()
                .filter(|row| row.state == DeviceState::Approved && self.gateway.barred(&row.standing()).is_none());
            let missed = served.filter(|row| !self.took(row, since));
            laggards.devices.extend(missed.map(devices::address));
        }
        Ok(laggards)
    }

    /// The first of the tenant's newest policies that all name the CA.
    async fn named_since(&self, tenant: &TenantName, ca: &Digest) -> anyhow::Result<u64> {
        let rows = self.gateway.store.tenant(tenant).context("the tenant is gone")?;
        let (mut version, mut naming) = (0, None);
        loop {
            let page = policies::page(&rows, version).await?;
            if page.is_empty() {
                break;
            }
            for signed in page {
                let names = Policy::parse(&signed.bytes)?.gateway.transport_ca.contains(ca);
                naming = naming.filter(|_| names).or(names.then_some(version));
                version += 1;
            }
        }
        naming.context("no policy names the CA in force")
    }

    /// Whether a device said that it holds that version or a newer one: that it was sent says nothing.
    fn took(&self, row: &DeviceRow, version: u64) -> bool {
        let earlier = row.presence.as_ref().and_then(|presence| presence.held);
        self.gateway.presence.held(row.join).max(earlier) >= Some(version)
    }
}

impl Laggards {
    /// Who they are; none when there are none.
    fn sentence(&self) -> Option<String> {
        let mut text = String::new();
        for tenant in &self.tenants {
            let _ = writeln!(text, "  the policy of {tenant} does not name the CA in force");
        }
        for device in self.devices.iter().take(DEVICES_NAMED_MAX) {
            let _ = writeln!(text, "  {device} has not said that it holds a policy that names the CA in force");
        }
        let more = self.devices.len().saturating_sub(DEVICES_NAMED_MAX);
        if more > 0 {
            let _ = writeln!(text, "  and {more} more devices");
        }
        Some(text).filter(|text| !text.is_empty())
    }
}
