//! What one person, one device and one tenant may take of the gateway once they are in.
//!
//! Too fast is slowed down: whoever asks waits, and nobody else does. Too much at once is refused with words. Not here:
//! strangers (`threshold/`), and what a device may do wrong (`quic/noise`).

use crate::{
    limits,
    threshold::rates::{Rate, Rates},
};
use belay_certs::{Id, PublicKey, TenantName};
use belay_protocol::flow::Pool;
use belay_rules::{Ask, LogName};
use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// Every share.
pub(crate) struct Shares {
    /// Jumps and commands of one person's key.
    requests: Rates<String>,
    /// Lines in the log file about one key's logins.
    login_lines: Rates<String>,
    /// Statements of one device.
    statements: Rates<Id>,
    /// Records in one tenant's log.
    events: Rates<TenantName>,
    /// Connections of one person's key.
    connections: Arc<Counts<String>>,
    /// Channels of one person's key, over all its connections.
    channels: Arc<Counts<String>>,
    /// Bytes that wait on all channels of one person's key; gone with the last of its connections.
    pools: Mutex<HashMap<String, Weak<Pool>>>,
    /// Open ways to devices of one tenant.
    ways: Arc<Counts<TenantName>>,
}

impl Default for Shares {
    fn default() -> Self {
        let keys_max = limits::SHARES_REMEMBERED_MAX;
        Self {
            requests: Rates::new(Rate { burst: limits::REQUESTS_BURST, every: limits::REQUEST_EVERY }, keys_max),
            login_lines: Rates::new(Rate { burst: limits::LOGIN_LINES_BURST, every: limits::LINES_EVERY }, keys_max),
            statements: Rates::new(Rate { burst: limits::STATEMENTS_BURST, every: limits::STATEMENT_EVERY }, keys_max),
            events: Rates::new(Rate { burst: limits::EVENTS_BURST, every: limits::EVENT_EVERY }, keys_max),
            connections: Arc::default(),
            channels: Arc::default(),
            pools: Mutex::default(),
            ways: Arc::default(),
        }
    }
}

impl Shares {
    /// Returns when this person may begin one more jump or command. Cut off half-way, nothing was taken.
    pub(crate) async fn request(&self, key: &PublicKey) {
        self.requests.wait(&key.fingerprint()).await;
    }

    /// Whether one more login of this key is worth a line in the log file.
    pub(crate) fn login_line(&self, key: &PublicKey) -> bool {
        self.login_lines.take(&key.fingerprint())
    }

    /// Returns when this device may have one more statement recorded, in its tenant's turn.
    pub(crate) async fn statement(&self, join: Id, tenant: &TenantName) {
        self.statements.wait(&join).await;
        self.events.wait(tenant).await;
    }

    /// Returns when one more event of the ask's tenant may be recorded. The writer is one for all tenants: a loud one would
    /// fill its queue (P3). Asks that come from devices were counted by their door, which knows the tenant.
    pub(crate) async fn event(&self, ask: &Ask) {
        let tenant = match ask {
            Ask::Note(draft) => match &draft.log {
                LogName::Tenant(tenant) => tenant,
                LogName::System => return,
            },
            Ask::AdoptPolicy { tenant, .. }
            | Ask::Approve { tenant, .. }
            | Ask::Recertify { tenant, .. }
            | Ask::DeclineRun { tenant, .. }
            | Ask::PushRunbook { tenant, .. } => tenant,
            Ask::Review(said) => &said.tenant,
            Ask::Freeze { frozen, .. } | Ask::Thaw { frozen, .. } => frozen.tenant(),
            // One task asks for all tenants and must not wait for one of them; its own rules pace it.
            Ask::SubmitJob(_)
            | Ask::OfferRuns { .. }
            | Ask::CancelJob { .. }
            | Ask::StopJob { .. }
            | Ask::EndJob { .. }
            | Ask::DeleteRecording { .. }
            | Ask::GiveUpRecording { .. }
            | Ask::DeleteOutput { .. } => return,
            Ask::HoldRecording { name, .. } | Ask::ReleaseRecording { name, .. } => &name.tenant,
            Ask::HoldOutput { name, .. } | Ask::ReleaseOutput { name, .. } => &name.tenant,
            Ask::IssueToken { token, .. } => &token.tenant,
            Ask::Redeem { request, .. } => &request.tenant,
            Ask::AddTenant { .. }
            | Ask::RestartLog { .. }
            | Ask::RestartPolicy { .. }
            | Ask::StartUp { .. }
            | Ask::Connect { .. }
            | Ask::Disconnect { .. }
            | Ask::Statement { .. } => return,
        };
        self.events.wait(tenant).await;
    }

    /// One more connection of this person, if they may have it.
    pub(crate) fn connection(&self, key: &PublicKey) -> Option<Counted<String>> {
        self.connections.take(key.fingerprint(), limits::PERSON_CONNECTIONS_MAX)
    }

    /// One more channel of this person, if they may have it.
    pub(crate) fn channel(&self, key: &PublicKey) -> Option<Counted<String>> {
        self.channels.take(key.fingerprint(), limits::PERSON_CHANNELS_MAX)
    }

    /// What the bytes that wait on this person's channels count in.
    pub(crate) fn pool(&self, key: &PublicKey) -> Arc<Pool> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if pools.len() >= limits::POOLS_BEFORE_PRUNING {
            pools.retain(|_, pool| pool.strong_count() > 0);
        }
        let name = key.fingerprint();
        pools.get(&name).and_then(Weak::upgrade).unwrap_or_else(|| {
            let pool = Arc::default();
            pools.insert(name, Arc::downgrade(&pool));
            pool
        })
    }

    /// One more way to a device of this tenant, if it may have it.
    pub(crate) fn way(&self, tenant: &TenantName) -> Option<Counted<TenantName>> {
        self.ways.take(tenant.clone(), limits::TENANT_WAYS_MAX)
    }
}

/// How many of something each has; who has none is not remembered.
struct Counts<K: Hash + Eq + Clone> {
    held: Mutex<HashMap<K, usize>>,
}

impl<K: Hash + Eq + Clone> Default for Counts<K> {
    fn default() -> Self {
        Self { held: Mutex::default() }
    }
}

impl<K: Hash + Eq + Clone> Counts<K> {
    fn take(self: &Arc<Self>, key: K, max: usize) -> Option<Counted<K>> {
        let mut held = self.lock();
        let count = held.get(&key).copied().unwrap_or(0);
        if count >= max {
            return None;
        }
        held.insert(key.clone(), count + 1);
        Some(Counted { counts: Arc::clone(self), key })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of somebody's; given back when dropped.
pub(crate) struct Counted<K: Hash + Eq + Clone> {
    counts: Arc<Counts<K>>,
    key: K,
}

impl<K: Hash + Eq + Clone> Drop for Counted<K> {
    fn drop(&mut self) {
        let mut held = self.counts.lock();
        match held.get(&self.key).copied() {
            Some(2..) => *held.entry(self.key.clone()).or_default() -= 1,
            Some(_) | None => drop(held.remove(&self.key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use belay_certs::PrivateKey;
    use futures_util::FutureExt;

    fn key() -> PublicKey {
        PrivateKey::generate_ed25519("").unwrap().public().clone()
    }

    #[test]
    fn logins_without_end_are_so_many_lines_and_another_persons_are_seen() {
        let (shares, loud, other) = (Shares::default(), key(), key());
        let lines = (0..1_000).filter(|_| shares.login_line(&loud)).count();
        assert_eq!(lines, limits::LOGIN_LINES_BURST as usize);
        assert!(shares.login_line(&other));
    }

    #[test]
    fn a_person_has_so_many_connections_and_channels_and_another_has_as_many() {
        let (shares, loud, other) = (Shares::default(), key(), key());
        let connections: Vec<_> = std::iter::from_fn(|| shares.connection(&loud)).collect();
        let channels: Vec<_> = std::iter::from_fn(|| shares.channel(&loud)).collect();
        assert_eq!(connections.len(), limits::PERSON_CONNECTIONS_MAX);
        assert_eq!(channels.len(), limits::PERSON_CHANNELS_MAX);
        assert!(shares.connection(&other).is_some() && shares.channel(&other).is_some());
        drop(connections);
        assert!(shares.connection(&loud).is_some());
        assert!(shares.connections.lock().is_empty(), "who has none is forgotten");
    }

    #[test]
    fn all_connections_of_one_person_share_one_pool_and_pools_go_with_them() {
        let (shares, one) = (Shares::default(), key());
        let held = shares.pool(&one);
        assert!(Arc::ptr_eq(&held, &shares.pool(&one)) && !Arc::ptr_eq(&held, &shares.pool(&key())));
        (0..limits::POOLS_BEFORE_PRUNING * 2).for_each(|_| drop(shares.pool(&key())));
        assert!(shares.pools.lock().unwrap().len() <= limits::POOLS_BEFORE_PRUNING + 1);
        assert!(Arc::ptr_eq(&held, &shares.pool(&one)));
    }

    #[test]
    fn a_tenant_has_so_many_ways_and_another_has_as_many() {
        let (shares, loud, other) = (Shares::default(), "acme".parse().unwrap(), "globex".parse().unwrap());
        let ways: Vec<_> = std::iter::from_fn(|| shares.way(&loud)).collect();
        assert_eq!(ways.len(), limits::TENANT_WAYS_MAX);
        assert!(shares.way(&other).is_some());
    }

    #[tokio::test]
    async fn who_asks_too_fast_waits_and_nobody_else_does() {
        let (shares, loud, other) = (Shares::default(), key(), key());
        let at_once = (0..limits::REQUESTS_BURST * 2).take_while(|_| shares.request(&loud).now_or_never().is_some());
        let at_once = u32::try_from(at_once.count()).unwrap();
        assert!((limits::REQUESTS_BURST..limits::REQUESTS_BURST * 2).contains(&at_once), "{at_once}");
        assert!(shares.request(&other).now_or_never().is_some());
        // And gets a turn.
        shares.request(&loud).await;
    }

    #[tokio::test]
    async fn a_device_that_states_without_end_waits_and_its_neighbours_do_not() {
        let (shares, acme) = (Shares::default(), "acme".parse().unwrap());
        let most = limits::STATEMENTS_BURST * 2;
        let at_once = (0..most).take_while(|_| shares.statement(Id([1; 16]), &acme).now_or_never().is_some()).count();
        assert!((limits::STATEMENTS_BURST as usize..most as usize).contains(&at_once), "{at_once}");
        assert!(shares.statement(Id([2; 16]), &acme).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_tenant_that_records_without_end_waits_and_another_does_not() {
        let shares = Shares::default();
        let note = |tenant: &str| {
            let what = belay_rules::What::GatewayStopped { reason: String::new() };
            Ask::Note(belay_rules::Draft::new(LogName::Tenant(tenant.parse().unwrap()), what))
        };
        let most = limits::EVENTS_BURST * 4;
        let at_once = (0..most).take_while(|_| shares.event(&note("acme")).now_or_never().is_some()).count();
        assert!((limits::EVENTS_BURST as usize..most as usize).contains(&at_once), "{at_once}");
        assert!(shares.event(&note("globex")).now_or_never().is_some());
    }
}
