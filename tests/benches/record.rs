//! Durable events through the gateway's own store: 512 callers at once, and a lone one beside a bare SQLite commit. An event
//! that only stands in the log, and one that opens an access: the log's entry and a row of its own.

use crate::figure::{Samples, Target, short, show};
use anyhow::{Context, Result};
use belay_certs::{DeviceName, Id, PersonRef, TenantName, Timestamp};
use belay_gateway::store::{LogKeys, Store};
use belay_rules::{Ask, Draft, LogName, What};
use sqlx::{Connection, Executor, SqliteConnection};
use std::{
    path::Path,
    time::{Duration, Instant, SystemTime},
};
use tokio::task::JoinSet;

/// Callers that each wait for their event before they bring the next.
const CALLERS: usize = 512;
/// How long they go on.
const LASTS: Duration = Duration::from_secs(5);
/// Lone events, and bare commits, in turns.
const LONE: usize = 1_000;

/// Measures and prints.
///
/// # Errors
/// The store fails.
pub fn measure() -> Result<()> {
    let scratch = tempfile::Builder::new().prefix("belay-numbers-").tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let keys = LogKeys::new(scratch.path().join("keys"), "gw.example");
        let store = Store::open(scratch.path(), keys, now()).await.map_err(|error| anyhow::anyhow!("{error}"))?;
        let tenant: TenantName = "acme".parse()?;
        store.record(Ask::AddTenant { tenant: tenant.clone() }, now()).await.map_err(anyhow::Error::new)?;
        let lone = lone(&store, &tenant, scratch.path()).await?;
        crowd(&store, "durable events, 512 callers", Target::AtLeast(50_000.0), lone, {
            let tenant = tenant.clone();
            move || command(&tenant)
        })
        .await?;
        crowd(&store, "durable accesses, 512 callers", Target::None, lone, {
            let tenant = tenant.clone();
            move || access(&tenant)
        })
        .await?;
        store.close().await;
        Ok(())
    })
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

/// A command that ran: an entry of 330 bytes and nothing else.
fn command(tenant: &TenantName) -> Result<Ask> {
    let words =
        ["devices", "--json", "--label", "site=berlin,floor=3,rack=17,role=database,stage=production,owner=ops"];
    let what = What::CommandRan { words: words.map(str::to_owned).to_vec() };
    Ok(Ask::Note(Draft::new(LogName::Tenant(tenant.clone()), what).by("tech".parse()?)))
}

/// A person who is let through to a device: an entry of 330 bytes, and a row that its end will find.
fn access(tenant: &TenantName) -> Result<Ask> {
    let key = "SHA256:J5Xr0F3C0NJRlcTWbtWrC7jLpNvxmsxiqe9mCMIEfzI".to_owned();
    let what = What::AccessOpened { access: Id::random()?, key, address: "203.0.113.7:51234".to_owned() };
    let (device, person): (DeviceName, PersonRef) = ("web1".parse()?, "tech".parse()?);
    Ok(Ask::Note(Draft::new(LogName::Tenant(tenant.clone()), what).on(device).by(person)))
}

/// Microseconds of a lone event; the bare commit is told beside it.
async fn lone(store: &Store, tenant: &TenantName, dir: &Path) -> Result<f64> {
    let url = format!("sqlite://{}?mode=rwc", dir.join("bare.sqlite").display());
    let mut bare = SqliteConnection::connect(&url).await?;
    for text in [
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL",
        "CREATE TABLE bare (id INTEGER PRIMARY KEY, entry BLOB)",
    ] {
        bare.execute(text).await?;
    }
    let (mut events, mut commits) = (Samples::default(), Samples::default());
    for _ in 0..LONE {
        let start = Instant::now();
        sqlx::query("INSERT INTO bare (entry) VALUES ($1)").bind(vec![7_u8; 330]).execute(&mut bare).await?;
        commits.add(start.elapsed().as_secs_f64() * 1e6);
        let ask = command(tenant)?;
        let start = Instant::now();
        store.record(ask, now()).await.map_err(anyhow::Error::new)?;
        events.add(start.elapsed().as_secs_f64() * 1e6);
    }
    let beside = format!("bare SQLite commit, synchronous FULL: {}", short(commits.p50()));
    show("lone durable event, p50", events.p50(), "us", Target::Times(1.5, commits.p50()), &beside);
    Ok(events.p50())
}

async fn crowd<E>(store: &Store, name: &str, target: Target, lone: f64, event: E) -> Result<()>
where
    E: Fn() -> Result<Ask> + Clone + Send + 'static,
{
    let until = Instant::now() + LASTS;
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (store, event) = (store.clone(), event.clone());
        callers.spawn(async move {
            let mut took = Samples::default();
            while Instant::now() < until {
                let start = Instant::now();
                store.record(event()?, now()).await.map_err(anyhow::Error::new)?;
                took.add(start.elapsed().as_secs_f64() * 1e3);
            }
            anyhow::Ok(took)
        });
    }
    let start = Instant::now();
    let mut all = Samples::default();
    while let Some(ended) = callers.join_next().await {
        all.take(ended.context("a caller ended")??);
    }
    let rate = all.count() as f64 / start.elapsed().as_secs_f64();
    let beside = format!("p50 {} ms, p99 {} ms; alone {} us", short(all.p50()), short(all.p99()), short(lone));
    show(name, rate, "a second", target, &beside);
    Ok(())
}
