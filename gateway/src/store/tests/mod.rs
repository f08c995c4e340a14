//! The store under load, under faults, and opened again.

mod devices;
mod faults;
#[path = "../../../rules/src/fixtures.rs"]
mod fixtures;
mod freezes;
mod jobs;
mod live;
mod log;
mod outputs;
mod recordings;
mod restart;

use super::broken::Broken;
use super::{LogKeys, Recorded, Store};
use belay_certs::entry::Entry;
use belay_certs::policy::Chain;
use belay_certs::tlog::check::{Report, Source, check_log};
use belay_certs::token::Token;
use belay_certs::{Id, Invalid, PrivateKey, Signed};
use belay_rules::{Ask, Bearer, Draft, LogName, Outcome, What};
use fixtures::{Acme, ann, now, record, tenant};
use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

/// Faults that tests order.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// The next commit happens and is reported as failed.
    lose_answer: AtomicBool,
}

impl Faults {
    pub(super) fn after_commit(&self) -> Result<(), Broken> {
        match self.lose_answer.swap(false, Ordering::SeqCst) {
            true => Err(Broken::new("the answer to COMMIT was lost")),
            false => Ok(()),
        }
    }
}

/// A gateway's directory, and the store in it.
struct World {
    directory: TempDir,
    store: Store,
    faults: Arc<Faults>,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, faults) = open(&directory).await.unwrap();
        Self { directory, store, faults }
    }

    /// With tenant acme and its policy.
    async fn with_acme() -> (Self, Acme, Chain) {
        let world = Self::new().await;
        world.record(Ask::AddTenant { tenant: tenant() }).await;
        let acme = Acme::new();
        let (signed, chain) = acme.begin();
        world.record(adopt(&chain, signed)).await;
        (world, acme, chain)
    }

    async fn record(&self, ask: Ask) -> Recorded {
        self.store.record(ask, now()).await.unwrap()
    }

    /// Closes the store and opens it again, as a restarted gateway does.
    async fn reopen(self) -> Self {
        self.store.close().await;
        let (store, faults) = open(&self.directory).await.unwrap();
        Self { store, faults, ..self }
    }

    /// Exports acme's log and checks all of it.
    async fn check(&self) -> Report {
        self.check_log(&acme_log()).await.unwrap()
    }

    async fn check_log(&self, log: &LogName) -> Result<Report, Invalid> {
        let mut archive = Vec::new();
        self.store.export(log, &mut archive).await.unwrap();
        let identity = self.store.log_identity(log).unwrap();
        check_log(&Export::read(&archive), &identity.origin, &identity.vkey, None, &mut |_, _| {})
    }

    /// The types of all entries of a log.
    async fn types(&self, log: &LogName) -> Vec<String> {
        let entries = self.store.entries(log, 0, u64::MAX).await.unwrap();
        entries.iter().map(|bytes| Entry::parse(bytes).unwrap().kind).collect()
    }
}

async fn open(directory: &TempDir) -> Result<(Store, Arc<Faults>), Broken> {
    let keys = LogKeys::new(directory.path().join("keys"), "gw.example");
    let database = super::Database::open(directory.path()).await?;
    let (heads, tiles, freezes, over) = Default::default();
    let shared = Arc::new(super::Shared { database, heads, tiles, freezes, over });
    let readers = shared.database.readers()?;
    let writer = super::Writer::open(shared.clone(), keys, now()).await?;
    let faults = writer.faults.clone();
    let objects = super::Objects::open(directory.path())?;
    Ok((Store::start(shared, readers, (objects, directory.path().to_owned()), writer), faults))
}

/// An archive in memory.
struct Export(HashMap<String, Vec<u8>>);

impl Export {
    fn read(archive: &[u8]) -> Self {
        let mut files = HashMap::new();
        for file in tar::Archive::new(archive).entries().unwrap() {
            let mut file = file.unwrap();
            let path = file.path().unwrap().to_str().unwrap().to_owned();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            assert!(files.insert(path, bytes).is_none());
        }
        Self(files)
    }
}

impl Source for Export {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Invalid> {
        Ok(self.0.get(path).cloned())
    }
}

fn acme_log() -> LogName {
    LogName::Tenant(tenant())
}

fn adopt(chain: &Chain, signed: Signed) -> Ask {
    Ask::AdoptPolicy { tenant: tenant(), chain: Box::new(chain.clone()), signed, bearer: Bearer::Operator }
}

/// A note that says `word`.
fn ran(log: LogName, word: &str) -> Ask {
    Ask::Note(Draft::new(log, What::CommandRan { words: vec![word.to_owned()] }))
}

impl World {
    async fn issue(&self, acme: &Acme, chain: &Chain, uses: u64) -> (Signed, Token) {
        let (signed, token) = acme.token(chain, Id::random().unwrap(), uses);
        let ask = Ask::IssueToken { signed: signed.clone(), token: Box::new(token.clone()), by: ann() };
        assert_eq!(self.record(ask).await.outcome, Outcome::Recorded);
        (signed, token)
    }

    /// A device that has joined and is approved with `serial`: its join id.
    async fn device(&self, acme: &Acme, token: &Signed, name: &str, host_key: &PrivateKey, serial: u64) -> Id {
        let join = Id::random().unwrap();
        assert_eq!(self.record(redeem(acme, token, join, name, host_key)).await.outcome, Outcome::Recorded);
        let approvals = acme.approve(vec![record(name, host_key, serial)]);
        let ask = Ask::Approve { tenant: tenant(), approvals, by: ann(), over: Vec::new() };
        assert_eq!(self.record(ask).await.outcome, Outcome::Recorded);
        join
    }
}

fn redeem(acme: &Acme, token: &Signed, join: Id, name: &str, host_key: &PrivateKey) -> Ask {
    let (request, signed) = acme.request(token, name, host_key);
    Ask::Redeem { join, request: Box::new(request), signed, address: "192.0.2.1:1".to_owned() }
}
