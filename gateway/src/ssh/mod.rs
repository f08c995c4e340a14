//! The door for people: SSH connections come in here, with the `ssh` they already have.
//!
//! Login proves a key and nothing else: the user name is ignored, the gateway has no accounts. What follows is a jump to a
//! device (`jump`) or a command of the gateway (`commands`).

mod commands;
mod connection;
mod cut;
mod execute;
mod jump;

use crate::{Gateway, limits};
use belay_certs::PrivateKey;
use connection::Connection;
use cut::Cut;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use russh::{
    MethodKind, MethodSet, Preferred, SshId, cipher, kex,
    server::{Config, run_stream},
};
use std::{
    borrow::Cow,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// Hybrid post-quantum first, then X25519; strict key exchange against prefix truncation (Terrapin).
const KEY_EXCHANGES: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];
/// AES-GCM only where the CPU has AES: a client's own first choice, chacha20, costs 1.8 times as much there.
const CIPHERS_WITH_AES: &[cipher::Name] = &[cipher::AES_256_GCM, cipher::AES_128_GCM];
const CIPHERS_WITHOUT_AES: &[cipher::Name] = &[cipher::CHACHA20_POLY1305, cipher::AES_256_GCM, cipher::AES_128_GCM];

/// Accepts connections until the gateway stops.
pub(crate) async fn serve(gateway: Arc<Gateway>, listener: TcpListener, host_key: PrivateKey) {
    let config = Arc::new(config(&host_key));
    let rate = rate_limiter();
    let places = Arc::new(Semaphore::new(limits::SSH_CONNECTIONS_MAX));
    let logins = Arc::new(Semaphore::new(limits::LOGINS_MAX));
    loop {
        let accepted = tokio::select! {
            biased;
            () = gateway.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors: others must close first, and accepting again at once would only spin.
                tracing::error!("a connection could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if rate.len() > limits::ADDRESSES_REMEMBERED_MAX {
            rate.retain_recent();
            rate.shrink_to_fit();
        }
        let allowed = rate.check_key(&network(from.ip())).is_ok();
        let taken = (Arc::clone(&places).try_acquire_owned(), Arc::clone(&logins).try_acquire_owned());
        let (true, (Ok(place), Ok(logging_in))) = (allowed, taken) else {
            // One line a connection would let a flood fill the disk.
            tracing::debug!(%from, "a connection was refused: too many");
            continue;
        };
        let (gateway, config) = (Arc::clone(&gateway), Arc::clone(&config));
        let tracker = gateway.tracker.clone();
        tracker.spawn(async move {
            converse(gateway, config, stream, (from, logging_in)).await;
            drop(place);
        });
    }
}

fn rate_limiter() -> DefaultKeyedRateLimiter<IpAddr> {
    let second = NonZeroU32::new(limits::SSH_CONNECTIONS_PER_ADDRESS_SECOND).unwrap_or(NonZeroU32::MIN);
    let burst = NonZeroU32::new(limits::SSH_CONNECTIONS_PER_ADDRESS_BURST).unwrap_or(NonZeroU32::MIN);
    RateLimiter::keyed(Quota::per_second(second).allow_burst(burst))
}

/// What the rate limiter counts as one caller: an IPv4 address, or the /64 that one IPv6 customer has.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        address @ IpAddr::V4(_) => address,
    }
}

/// One connection from its first byte to its end.
async fn converse(
    gateway: Arc<Gateway>,
    config: Arc<Config>,
    stream: TcpStream,
    (from, logging_in): (SocketAddr, OwnedSemaphorePermit),
) {
    let _ = stream.set_nodelay(true);
    let (connection, login) = Connection::new(Arc::clone(&gateway), (from, logging_in));
    // Whatever ends this function ends the connection: a client that was told to go may not want to.
    let gone = connection.gone();
    let stream = Cut::new(stream, gone.clone());
    let _ended = gone.drop_guard();
    let beginning = tokio::time::timeout(limits::LOGIN_DEADLINE, run_stream(config, stream, connection)).await;
    let running = match beginning {
        Ok(Ok(running)) => running,
        Ok(Err(error)) => return tracing::debug!(%from, "a connection ended before it began: {error}"),
        Err(_) => return tracing::debug!(%from, "a connection said nothing in time"),
    };
    let handle = running.handle();
    let say = |sentence: &str| handle.disconnect(russh::Disconnect::ByApplication, sentence.to_owned(), String::new());
    tokio::pin!(running);
    let ended = tokio::select! {
        biased;
        ended = &mut running => ended,
        () = gateway.stop.cancelled() => {
            let _ = say("belay: the gateway is stopping; come back in a moment").await;
            let _ = tokio::time::timeout(limits::FAREWELL_WAIT, &mut running).await;
            return;
        }
        () = login.missed(limits::LOGIN_DEADLINE) => {
            let _ = say("belay: no login in time").await;
            let _ = tokio::time::timeout(limits::FAREWELL_WAIT, &mut running).await;
            return;
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%from, "a connection ended: {error}");
    }
}

fn config(host_key: &PrivateKey) -> Config {
    Config {
        server_id: SshId::Standard(Cow::Borrowed(concat!("SSH-2.0-Belay_", env!("CARGO_PKG_VERSION")))),
        methods: MethodSet::from([MethodKind::PublicKey].as_slice()),
        auth_rejection_time: Duration::from_millis(200),
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![host_key.as_ssh().clone()],
        window_size: belay_protocol::flow::WINDOW_BYTES,
        maximum_packet_size: limits::SSH_PACKET_BYTES,
        channel_buffer_size: limits::CHANNEL_MESSAGES_MAX,
        preferred: Preferred {
            kex: Cow::Borrowed(KEY_EXCHANGES),
            cipher: Cow::Borrowed(if has_aes() { CIPHERS_WITH_AES } else { CIPHERS_WITHOUT_AES }),
            ..Preferred::DEFAULT
        },
        max_auth_attempts: limits::AUTH_ATTEMPTS_MAX,
        inactivity_timeout: None,
        keepalive_interval: Some(limits::SSH_KEEPALIVE),
        keepalive_max: limits::SSH_KEEPALIVES_MISSED_MAX,
        nodelay: true,
        ..Config::default()
    }
}

fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}
