//! A device that was taken over, with a transport certificate that counts, and callers without one: whatever they do to the
//! gateway costs it bounded memory and few lines, and another tenant's sessions go on.

#[path = "parts/dial.rs"]
mod dial;
#[path = "flooding/meanwhile.rs"]
mod meanwhile;
#[path = "flooding/measure.rs"]
mod measure;

use belay_protocol::{ALPN, CloseCode, Facts, Hello, PolicyRefused, RecordTaken, encode_frame};
use belay_tests::{World, wait::GENEROUS};
use dial::{dial, dial_with, hello};
use meanwhile::{meanwhile, times};
use measure::status_kib;
use quinn::{Connection, ConnectionError, TransportConfig, VarInt};
use std::{
    net::{Ipv4Addr, UdpSocket},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// The device that was taken over.
const DEVICE: &str = "web1.acme";
/// Says hello as the device; what it hears stays unread.
async fn enter(
    world: &World,
    transport: TransportConfig,
) -> (quinn::Endpoint, Connection, quinn::SendStream, quinn::RecvStream) {
    let (endpoint, connection) = dial_with(world, ALPN, Some(DEVICE), transport).await;
    let (mut send, recv) = connection.open_bi().await.unwrap();
    send.write_all(&encode_frame(&hello()).unwrap()).await.unwrap();
    (endpoint, connection, send, recv)
}

#[test]
fn whatever_a_hostile_device_does_another_tenant_works_on() {
    let world = Arc::new(World::new());
    world.stop_agent(DEVICE).unwrap();
    meanwhile(&world, "streams opened and reset", |world, done| async move {
        let (_endpoint, connection, _send, _recv) = enter(&world, TransportConfig::default()).await;
        for _ in 0..times(20_000, 200_000) {
            // The gateway lets it open a few and takes none of them.
            let Ok(Ok((mut send, mut recv))) = tokio::time::timeout(Duration::from_secs(5), connection.open_bi()).await
            else {
                break;
            };
            let _ = send.write(b"x").await;
            let _ = (send.reset(VarInt::from_u32(7)), recv.stop(VarInt::from_u32(7)));
            done.fetch_add(1, Ordering::Relaxed);
        }
    });
    meanwhile(&world, "connecting and going", |world, done| async move {
        for _ in 0..times(300, 3_000) {
            let (_endpoint, connection, _send, mut recv) = enter(&world, TransportConfig::default()).await;
            let mut welcome = [0; 64];
            let _ = recv.read(&mut welcome).await;
            connection.close(VarInt::from_u32(0), b"");
            done.fetch_add(1, Ordering::Relaxed);
        }
    });
    meanwhile(&world, "no hello at all", |world, done| async move {
        let mut silent = Vec::new();
        for _ in 0..times(200, 2_000) {
            silent.push(dial(&world, ALPN, None).await);
            done.fetch_add(1, Ordering::Relaxed);
        }
        for (_, connection) in silent {
            let ended = connection.closed().await;
            // A farewell that was lost is a stateless reset (RFC 9000, 10.3) when we speak again.
            let by_the_gateway = matches!(ended, ConnectionError::ApplicationClosed(_) | ConnectionError::Reset);
            assert!(by_the_gateway, "{ended}");
        }
    });
    meanwhile(&world, "datagrams of noise", |world, done| async move {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        for number in 0..times(20_000, 400_000) {
            let _ = socket.send_to(&initial(number as u64), (Ipv4Addr::LOCALHOST, world.quic_port()));
            done.fetch_add(1, Ordering::Relaxed);
            if number % 64 == 0 {
                tokio::task::yield_now().await;
            }
        }
    });
    // Whatever was done in its name, the device itself comes back when the gateway has rested from it.
    world.kill_gateway();
    world.start_gateway().unwrap();
    world.start_agent(DEVICE).unwrap();
    world.until_online(DEVICE).unwrap();
}

/// A long header of an Initial packet, padded as the standard wants it, with noise inside (RFC 9000 section 17.2.2).
fn initial(number: u64) -> Vec<u8> {
    let id = number.to_be_bytes();
    [&[0xc3, 0, 0, 0, 1, 8][..], &id, &[8], &id, &[0, 0x44, 0x9e], &[number as u8; 1174]].concat()
}

#[test]
fn a_hostile_device_that_talks_too_much_is_sent_away_and_one_that_never_listens_is_cut_off() {
    let world = Arc::new(World::new());
    world.stop_agent(DEVICE).unwrap();
    meanwhile(&world, "records taken that nobody offered", |world, done| async move {
        let (_endpoint, _connection, mut send, _recv) = enter(&world, TransportConfig::default()).await;
        let taken = encode_frame(&RecordTaken { serial: 9 }).unwrap();
        for _ in 0..times(50_000, 1_000_000) {
            send.write_all(&taken).await.unwrap();
            done.fetch_add(1, Ordering::Relaxed);
        }
    });
    meanwhile(&world, "policies refused", |world, done| async move {
        let (_endpoint, connection, mut send, _recv) = enter(&world, TransportConfig::default()).await;
        let refused = PolicyRefused { tenant: "acme".into(), version: 1, digest: [0; 32], sentence: "x".repeat(1_000) };
        let refused = encode_frame(&refused).unwrap();
        while send.write_all(&refused).await.is_ok() {
            done.fetch_add(1, Ordering::Relaxed);
        }
        let ConnectionError::ApplicationClosed(close) = connection.closed().await else {
            panic!("not closed by the gateway")
        };
        assert_eq!(CloseCode::from_code(close.error_code.into_inner()), Some(CloseCode::Busy));
    });
    meanwhile(&world, "never reading", |world, done| async move {
        // So little credit that not even a welcome fits.
        let mut deaf = TransportConfig::default();
        deaf.stream_receive_window(VarInt::from_u32(1)).keep_alive_interval(Some(Duration::from_secs(5)));
        let (_endpoint, connection) = dial_with(&world, ALPN, Some("db1.acme"), deaf).await;
        let (mut send, _recv) = connection.open_bi().await.unwrap();
        send.write_all(&encode_frame(&hello()).unwrap()).await.unwrap();
        done.fetch_add(1, Ordering::Relaxed);
        let ended = tokio::time::timeout(GENEROUS, connection.closed()).await;
        assert!(ended.is_ok(), "the gateway goes on speaking to somebody who does not listen");
    });
    let peak = status_kib(world.gateway_pid().unwrap(), "VmHWM");
    println!("measured: gateway RSS at its highest {peak} KiB");
}

#[test]
fn escape_sequences_in_what_a_device_says_of_itself_reach_no_terminal_and_no_log_file() {
    let world = World::new();
    world.stop_agent(DEVICE).unwrap();
    let evil = "\u{1b}[2J\u{1b}]0;owned\u{7}\r\nroot@gw# ".to_owned();
    let said = Hello {
        agent_version: evil.clone(),
        facts: Facts { hostname: evil.clone(), os: evil.clone(), kernel: evil.clone(), arch: evil },
        ..hello()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mark = world.log("gateway").mark();
    let (_endpoint, connection) = runtime.block_on(dial(&world, ALPN, Some(DEVICE)));
    runtime.block_on(async {
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        send.write_all(&encode_frame(&said).unwrap()).await.unwrap();
        let mut welcome = [0; 64];
        let _ = recv.read(&mut welcome).await;
    });
    let tech = world.person("tech");
    for shown in [tech.gw("devices"), tech.gw("log tail acme"), tech.belay(["devices"]).unwrap()] {
        let shown = shown.must();
        let raw = shown.stdout.iter().chain(&shown.stderr).filter(|byte| byte.is_ascii_control() && **byte != b'\n');
        assert_eq!(raw.count(), 0, "{}", shown.story());
    }
    for line in world.log("gateway").since(mark) {
        assert!(!line.contains('\u{1b}') && !line.starts_with("root@gw"), "{line:?}");
    }
}
