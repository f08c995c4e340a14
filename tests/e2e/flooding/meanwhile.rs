//! An abuse, and a good login of another tenant meanwhile.

use super::measure::{State, logins, median};
use belay_tests::{
    World,
    wait::{BULKY, GENEROUS},
};
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// What the gateway may grow in each abuse, in KiB.
const MEMORY_KIB_MAX: u64 = 96 << 10;
/// Lines one abuse may cause beside those of the other tenant's logins.
const LINES_MAX: usize = 200;

/// A few for every day, many with `BELAY_LONG`.
pub fn times(few: usize, many: usize) -> usize {
    if std::env::var_os("BELAY_LONG").is_some() { many } else { few }
}

/// Runs `abuse` while somebody of another tenant logs in, and tells what it cost.
pub fn meanwhile<A>(world: &Arc<World>, name: &str, abuse: impl FnOnce(Arc<World>, Arc<AtomicU64>) -> A)
where
    A: Future<Output = ()> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (before, done) = (State::of(world), Arc::new(AtomicU64::new(0)));
    let abusing = runtime.spawn(abuse(Arc::clone(world), Arc::clone(&done)));
    let other = world.person("other");
    let count = times(3, 10);
    let mut took = logins(&other, "till1.globex", count);
    while done.load(Ordering::Relaxed) == 0 || !abusing.is_finished() && took.len() < times(12, 200) {
        took.extend(logins(&other, "till1.globex", 1));
    }
    took.sort();
    let after = State::of(world);
    let (half, most) = median(&took);
    let lines = after.lines - before.lines;
    println!(
        "measured: {name}, {} times: another tenant's login {half} ms median, {most} ms most; gateway RSS {} to {} KiB, {lines} \
         lines, {} events of its tenant, {} of the system",
        done.load(Ordering::Relaxed),
        before.rss,
        after.rss,
        after.acme - before.acme,
        after.system - before.system
    );
    assert!(after.rss < before.rss + MEMORY_KIB_MAX, "{name}: {before:?} {after:?}");
    assert!(lines < LINES_MAX + 4 * took.len(), "{name}:\n{}", world.log("gateway").tail());
    // What it did is ended or done by now; a panic in there is the test's.
    let patience = if times(0, 1) == 0 { GENEROUS } else { BULKY };
    let ended = runtime.block_on(async { tokio::time::timeout(patience, abusing).await });
    ended.expect("the abuse goes on and on").unwrap();
    runtime.shutdown_background();
}
