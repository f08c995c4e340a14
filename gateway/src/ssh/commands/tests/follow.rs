//! A log that is followed: in order, without a gap, and at the pace of whoever reads.

use super::super::run;
use super::world::{World, tenant};
use crate::act::access::Caller;
use belay_certs::{Timestamp, time::SECOND};
use belay_rules::{Ask, Draft, LogName, What};
use serde_json::Value;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream, Lines};

/// More than a page, and more than the pipe holds.
const EVENTS: u64 = 500;
const PIPE_BYTES: usize = 1_024;

/// `log tail` under way, and its lines.
fn follow(world: &World, line: &str) -> (tokio::task::JoinHandle<u32>, Lines<BufReader<DuplexStream>>) {
    let caller = Caller { key: world.audit.public().clone(), address: "192.0.2.1:5".to_owned() };
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    let running = run(Arc::clone(&world.gateway), caller, line.as_bytes().to_vec(), &b""[..], near, tokio::io::sink());
    (world.gateway.tracker.spawn(running), BufReader::new(far).lines())
}

async fn note(world: &World, count: u64) {
    let log = LogName::Tenant(tenant("acme"));
    for number in 0..count {
        let what = What::CommandRan { words: vec![number.to_string()] };
        let ask = Ask::Note(Draft::new(log.clone(), what));
        world.gateway.store.record(ask, world.gateway.now()).await.unwrap();
    }
}

async fn sequence(lines: &mut Lines<BufReader<DuplexStream>>) -> u64 {
    let line = lines.next_line().await.unwrap().unwrap();
    serde_json::from_str::<Value>(&line).unwrap()["metadata"]["sequence"].as_u64().unwrap()
}

#[tokio::test]
async fn a_slow_reader_is_waited_for_and_gets_every_event_in_order() {
    let world = World::new().await;
    note(&world, EVENTS).await;
    let (running, mut lines) = follow(&world, "log tail acme --follow --from 0 --json");
    assert_eq!(sequence(&mut lines).await, 0);
    // It has not read on; meanwhile as much comes again, and nobody waits for it.
    note(&world, EVENTS).await;
    for expected in 1..2 * EVENTS {
        assert_eq!(sequence(&mut lines).await, expected);
    }
    assert!(!running.is_finished());
    // Who has gone is found out with the next event.
    drop(lines);
    note(&world, 1).await;
    assert_eq!(running.await.unwrap(), 1);
}

#[tokio::test]
async fn a_stream_ends_with_the_grant_or_with_the_newest_entry() {
    let world = World::new().await;
    note(&world, 3).await;
    let once = world.run(&world.audit, "log tail acme --from 2 --json").await;
    let first: Value = serde_json::from_str(once.out.lines().next().unwrap()).unwrap();
    assert_eq!((once.status, first["metadata"]["sequence"].as_u64()), (0, Some(2)));
    assert_eq!(once.out.lines().count() as u64, world.size("acme") - 2);
    let beyond = world.run(&world.audit, "log tail acme --from 999").await;
    assert!(beyond.status == 1 && beyond.err.contains("none at 999"), "{beyond:?}");
    let (running, mut lines) = follow(&world, "log tail acme --follow --json");
    sequence(&mut lines).await;
    let expired = |line: &str| match line.starts_with("expires = ") {
        true => {
            format!("expires = {}", Timestamp::from_system(std::time::SystemTime::now()).whole_second().plus(-SECOND))
        }
        false => line.to_owned(),
    };
    let text = world.policy("acme", 1, "");
    world.adopt_anyway("acme", text.lines().map(expired).collect::<Vec<_>>().join("\n"));
    while lines.next_line().await.unwrap().is_some() {}
    assert_eq!(running.await.unwrap(), 1);
}
