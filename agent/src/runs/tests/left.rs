//! A gateway that does not know a run: its end is recorded, its output stays on the machine, and the machine is free of it.

use super::bench::*;
use crate::testbed::now;
use belay_certs::{Digest, order::Outcome, time::DAY};

/// The run that is not forgotten.
fn only(bench: &Bench) -> std::sync::Arc<crate::runs::Run> {
    let mut all = bench.life.runs.all();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

#[tokio::test]
async fn an_output_that_the_gateway_does_not_know_is_left_for_a_person_once_nobody_can_order_it_again() {
    let mut bench = Bench::new().await;
    let end = bench.run(&bench.draft("echo hello")).await;
    assert_eq!(end.outcome, Outcome::Succeeded);
    let (run, left) = (only(&bench), bench.machine.dir.at("left").join(end.order.to_string()));
    run.progress.unknown();
    // The window is over, and the gateway may still be the wrong one.
    bench.machine.set_clock("2026-12-01T20:00:00Z");
    bench.life.authority.clock().gateway_says(moment("2026-12-01T20:00:00Z"));
    run.progress.unknown();
    bench.output(&end);
    assert!(!left.exists());
    // Another life of the agent hears the same.
    bench.stop().await;
    bench.restart().await;
    let run = only(&bench);
    bench.machine.set_clock("2026-12-03T12:00:00Z");
    assert!(now().plus(DAY) < moment("2026-12-03T12:00:00Z"));
    bench.life.authority.clock().gateway_says(moment("2026-12-03T12:00:00Z"));
    run.progress.unknown();
    bench.forgotten(end.order).await;
    assert_eq!(Some(Digest::of(&std::fs::read(&left).unwrap())), end.output);
    assert!(!bench.directory(end.order).exists() && bench.life.runs.all().is_empty());
    // The id is remembered all the same: it is not run a second time.
    bench.over().await;
}

#[tokio::test]
async fn a_gateway_that_knows_the_run_again_gets_its_output() {
    let mut bench = Bench::new().await;
    let end = bench.run(&bench.draft("echo hello")).await;
    let run = only(&bench);
    run.progress.unknown();
    bench.life.runs.kept(end.order, 0);
    assert!(!run.progress.watch().borrow().unknown);
    bench.machine.set_clock("2026-12-03T12:00:00Z");
    bench.life.authority.clock().gateway_says(moment("2026-12-03T12:00:00Z"));
    bench.life.runs.kept(end.order, end.output_bytes);
    bench.forgotten(end.order).await;
    assert!(!bench.machine.dir.at("left").exists());
}
