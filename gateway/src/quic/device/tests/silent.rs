//! Callers who prove their address, begin a handshake, and say no more.

use super::*;
use std::{net::SocketAddr, time::Instant};
use tokio::{net::UdpSocket, task::JoinHandle};
use tokio_util::task::TaskTracker;

/// More than there are turns.
const SILENT: usize = limits::HANDSHAKES_MAX + 88;
/// How many call at once: sockets hold no more.
const AT_ONCE: usize = 40;

/// A way to the door, from an address of its own, on which only Retry comes back: whoever calls there falls silent after it.
async fn deaf_way(door: SocketAddr) -> (SocketAddr, JoinHandle<()>) {
    let near = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let far = UdpSocket::bind((Ipv4Addr::new(127, 0, 1, 1), 0)).await.unwrap();
    far.connect(door).await.unwrap();
    let address = near.local_addr().unwrap();
    let carry = async move {
        let (mut out, mut back, mut caller) = ([0; 2_048], [0; 2_048], None);
        loop {
            tokio::select! {
                heard = near.recv_from(&mut out) => {
                    let (length, from) = heard.unwrap();
                    caller = Some(from);
                    let _ = far.send(&out[..length]).await;
                }
                heard = far.recv(&mut back) => {
                    let length = heard.unwrap();
                    // A long header of type 3 (RFC 9000, 17.2.5).
                    if let (Some(to), 0xf0) = (caller, back[0] & 0xf0) {
                        let _ = near.send_to(&back[..length], to).await;
                    }
                }
            }
        }
    };
    (address, TaskTracker::new().spawn(carry))
}

#[tokio::test]
async fn a_device_comes_in_while_an_address_holds_more_silent_handshakes_than_there_are_turns() {
    let bench = Bench::new().await;
    let machine = bench.scene.machine("web1").await;
    let (way, carrying) = deaf_way(bench.door.local_addr().unwrap()).await;
    let crowd = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let config = bench.config(None, ALPN_JOIN, Resumption::disabled());
    let mut silent = Vec::new();
    while silent.len() < SILENT {
        for _ in 0..AT_ONCE {
            silent.push(crowd.connect_with(config.clone(), way, "gw.example").unwrap());
        }
        // On a slow machine the first turns are over before the last caller came: then the queue is as long as it gets.
        let (began, held) = (Instant::now(), silent.len().min(limits::HANDSHAKES_MAX));
        while bench.door.open_connections() < held && began.elapsed() < limits::HANDSHAKE_TURN {
            tokio::task::yield_now().await;
        }
    }
    let mut line = timeout(GENEROUS, bench.call(&machine, Hello { policies: held(0), ..hello() })).await.unwrap();
    assert!(matches!(line.hear().await, ToAgent::Welcome(_)));
    carrying.abort();
}
