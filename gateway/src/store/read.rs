//! What doors read: tenants, policies, tokens, and the way to a tenant's rows. Every list has an end; whoever wants more asks
//! on from there.
//!
//! A tenant's rows are reached through its [`TenantStore`] only, so that no query can forget whose they are (P3).
//! Not here: devices (`read_devices.rs`).

use super::Store;
use super::broken::Broken;
use super::heads::{signed, unsigned};
use super::limits::{ENTRIES_READ_MAX, ROWS_READ_MAX};
use super::sql;
use belay_certs::policy::LogIdentity;
use belay_certs::{Digest, Signed, TenantName, Timestamp};
use belay_rules::LogName;
use sqlx::Row;
use tokio::sync::watch;

/// A tenant in the operator's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantRow {
    /// Its name.
    pub name: TenantName,
    /// The digest of its policy's version 0; none before it was adopted.
    pub policy0: Option<Digest>,
    /// When it was added.
    pub added: Timestamp,
}

/// A token document that was issued, with its one signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Exact bytes and signature.
    pub signed: Signed,
}

impl Store {
    /// Every tenant, by name.
    ///
    /// # Errors
    /// When the database cannot be read; so for every function here.
    pub async fn tenants(&self) -> Result<Vec<TenantRow>, Broken> {
        let rows = sqlx::query(sql::TENANTS).fetch_all(self.readers()).await?;
        let tenants = rows.iter().map(|row| {
            let policy0: Option<&str> = row.try_get(1)?;
            Ok(TenantRow {
                name: row.try_get::<&str, _>(0)?.parse()?,
                policy0: policy0.map(str::parse).transpose()?,
                added: Timestamp::from_micros(row.try_get(2)?),
            })
        });
        tenants.collect()
    }

    /// The way to a tenant's rows; none when there is no such tenant. Reads nothing.
    pub fn tenant(&self, tenant: &TenantName) -> Option<TenantStore> {
        self.shared().heads.get(&LogName::Tenant(tenant.clone()))?;
        Some(TenantStore { store: self.clone(), tenant: tenant.clone() })
    }

    /// A log's origin and key, as policies name them; none when there is no such log. Reads nothing.
    pub fn log_identity(&self, log: &LogName) -> Option<LogIdentity> {
        self.shared().heads.get(log).map(|head| head.identity.clone())
    }

    /// The newest durable checkpoint of a log, a signed note, and its size. Reads nothing.
    pub fn checkpoint(&self, log: &LogName) -> Option<(u64, Vec<u8>)> {
        self.shared().heads.get(log).map(|head| (head.edge.size(), head.checkpoint.clone()))
    }

    /// Tells whenever some log grew: look at its checkpoint then.
    pub fn grown(&self) -> watch::Receiver<u64> {
        self.shared().heads.grown()
    }

    /// The entries of a log from index `from`, at most [`ENTRIES_READ_MAX`] and `limit`: their exact bytes.
    pub async fn entries(&self, log: &LogName, from: u64, limit: u64) -> Result<Vec<Vec<u8>>, Broken> {
        let head = self.head(log)?;
        let end = from.saturating_add(limit.min(ENTRIES_READ_MAX)).min(head.edge.size());
        let query = sqlx::query(sql::ENTRIES).bind(head.id).bind(signed(from)?).bind(signed(end)?);
        query.fetch_all(self.readers()).await?.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// The object beside a log that has this digest.
    pub async fn object(&self, log: &LogName, digest: &Digest) -> Result<Option<Vec<u8>>, Broken> {
        let head = self.head(log)?;
        let row = sqlx::query(sql::OBJECT).bind(head.id).bind(digest.hex()).fetch_optional(self.readers()).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }
}

/// The rows of one tenant.
#[derive(Debug, Clone)]
pub struct TenantStore {
    store: Store,
    tenant: TenantName,
}

impl TenantStore {
    /// Whose rows.
    pub fn name(&self) -> &TenantName {
        &self.tenant
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// The tenant's policies from version `from`, the oldest first, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be read; so for every function here.
    pub async fn policies(&self, from: u64, limit: u32) -> Result<Vec<Signed>, Broken> {
        let query = sqlx::query(sql::POLICIES).bind(self.tenant.as_str()).bind(signed(from)?).bind(rows_max(limit));
        let rows = query.fetch_all(self.store.readers()).await?;
        let policies = rows
            .iter()
            .map(|row| Ok(Signed { bytes: row.try_get(0)?, signatures: serde_json::from_str(row.try_get(1)?)? }));
        policies.collect()
    }

    /// The index in the tenant's log of the entry that says when a policy version came into force here; none when it has not.
    pub async fn policy_entry(&self, version: u64) -> Result<Option<u64>, Broken> {
        let query = sqlx::query(sql::POLICY_ENTRY).bind(self.tenant.as_str()).bind(signed(version)?);
        let row = query.fetch_optional(self.store.readers()).await?;
        row.map(|row| unsigned(row.try_get(0)?)).transpose()
    }

    /// The issued token with this document digest.
    pub async fn token(&self, digest: &Digest) -> Result<Option<TokenRow>, Broken> {
        let query = sqlx::query(sql::TOKEN_DOCUMENT).bind(self.tenant.as_str()).bind(digest.to_string());
        let row = query.fetch_optional(self.store.readers()).await?;
        row.map(|row| Ok(TokenRow { signed: Signed { bytes: row.try_get(0)?, signatures: vec![row.try_get(1)?] } }))
            .transpose()
    }
}

/// A limit as the database takes it.
pub(super) fn rows_max(limit: u32) -> i64 {
    i64::from(limit.min(ROWS_READ_MAX))
}
