//! The door for people: SSH connections come in here, with the `ssh` they already have.
//!
//! Login proves a key and nothing else: the user name is ignored, the gateway has no accounts. What follows is a jump to a
//! device (`jump`) or a command of the gateway (`commands`).

mod commands;
mod connection;
mod converse;
mod cut;
mod execute;
mod guard;
mod jump;

use crate::{Gateway, limits, threshold::TurnedAway};
use belay_certs::PrivateKey;
use guard::Lengths;
use russh::{MethodKind, MethodSet, Preferred, SshId, cipher, kex, mac, server::Config};
use std::{
    borrow::Cow,
    io::Write,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::net::{TcpListener, TcpStream};

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
/// ChaCha20 first where AES would be slow.
const CIPHERS_WITHOUT_AES: &[cipher::Name] = &[cipher::CHACHA20_POLY1305, cipher::AES_256_GCM, cipher::AES_128_GCM];

/// Every cipher above brings its own; a client wants to see some all the same.
const MACS: &[mac::Name] = &[mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM];

/// Accepts connections until the gateway stops.
pub(crate) async fn serve(gateway: Arc<Gateway>, listener: TcpListener, host_key: PrivateKey) {
    let config = Arc::new(config(&host_key));
    let mut said: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            biased;
            () = gateway.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, and accepting again at once would only spin.
                if said.is_none_or(|at| at.elapsed() >= limits::STRANGERS_EVERY) {
                    said = Some(Instant::now());
                    tracing::error!("a connection could not be accepted, and others may follow: {error}");
                }
                tokio::time::sleep(limits::ACCEPT_REST).await;
                continue;
            }
        };
        match gateway.threshold.knock(from.ip(), Instant::now()) {
            Ok(place) => {
                let conversation = converse::converse(Arc::clone(&gateway), Arc::clone(&config), (stream, from), place);
                gateway.tracker.spawn(conversation);
            }
            Err(turned_away) => turn_away(&gateway, stream, from, turned_away),
        }
    }
}

/// Words for whoever listens, if they fit at once: nobody waits for a stranger. Counted with the others, for a line each
/// would let a flood fill the disk.
fn turn_away(gateway: &Gateway, stream: TcpStream, from: SocketAddr, why: TurnedAway) {
    let packet = belay_protocol::farewell::packet(why.sentence());
    // Straight to the socket: the runtime does not know yet that it can be written.
    let _ = stream.into_std().and_then(|mut socket| socket.write(&packet));
    gateway.strangers.count(gateway.now(), &format!("{} turned away: {why:?}", from.ip()));
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
            cipher: Cow::Borrowed(ciphers()),
            mac: Cow::Borrowed(MACS),
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

/// The ciphers on offer here.
fn ciphers() -> &'static [cipher::Name] {
    if has_aes() { CIPHERS_WITH_AES } else { CIPHERS_WITHOUT_AES }
}

/// Whether all of them leave the lengths of packets in the clear, for who reads along.
fn lengths() -> Lengths {
    let clear = [cipher::AES_256_GCM, cipher::AES_128_GCM];
    if ciphers().iter().all(|name| clear.contains(name)) { Lengths::Clear } else { Lengths::Hidden }
}

fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}
