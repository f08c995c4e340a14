//! The machine's own SSH server: one connection of a person, on one stream of the tunnel.
//!
//! The gateway carries these bytes and cannot read them: the keys of this connection end here. Not here: sessions
//! (`session/`), decisions (`authority`).

mod algorithms;
mod connection;
mod cut;
mod farewell;

use crate::{device::Device, limits};
use belay_protocol::session::Open;
use connection::Connection;
use cut::Cut;
use russh::{
    MethodKind, MethodSet, SshId,
    server::{Config, run_stream},
};
use std::{borrow::Cow, sync::Arc, time::Duration};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

/// What the machine says first. The comment is for clients that ask by name in which order a server takes the two names of a
/// symbolic link (asyncssh): as OpenSSH's does, which is not the draft's.
const VERSION_LINE: &str = concat!("SSH-2.0-Belay_", env!("CARGO_PKG_VERSION"), " sftp-as-OpenSSH");

/// Serves one person's connection until either side ends it.
///
/// Cut off half-way (lost tunnel): `gone` is cancelled by the connection's drop and every session on it ends and is
/// reported.
pub async fn serve<S>(device: Arc<Device>, stream: S, open: Open, ended: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Some(config) = config(&device) else {
        let sentence = "this machine is not approved yet: someone with `enrol` runs `belay approve`";
        return farewell::say(stream, sentence).await;
    };
    if let Err(refusal) = device.authority.clock().check() {
        return farewell::say(stream, &refusal.to_string()).await;
    }
    let gone = CancellationToken::new();
    let _ended = gone.clone().drop_guard();
    let (connection, login) = Connection::new(Arc::clone(&device), &open, (gone.clone(), ended));
    let beginning = run_stream(Arc::new(config), Cut::new(stream, gone.clone()), connection);
    let begun = tokio::select! {
        begun = tokio::time::timeout(limits::LOGIN_WAIT, beginning) => begun,
        () = device.stop.cancelled() => return,
    };
    let running = match begun {
        Ok(Ok(running)) => running,
        Ok(Err(error)) => return tracing::debug!("a session connection ended before it began: {error}"),
        Err(_) => return tracing::debug!("a session connection said nothing in time"),
    };
    let handle = running.handle();
    tokio::pin!(running);
    tokio::select! {
        biased;
        ended = &mut running => if let Err(error) = ended {
            tracing::debug!("a session connection ended: {error}");
        },
        () = login.missed() => tracing::debug!("no login was made in time on a session connection"),
        () = device.stop.cancelled() => {
            let sentence = "the agent on this machine is stopping".to_owned();
            let _ = handle.disconnect(russh::Disconnect::ByApplication, sentence, String::new()).await;
            let _ = tokio::time::timeout(limits::STOP_GRACE, &mut running).await;
        }
    }
}

/// Host key, certificate and limits of this machine; `None` before it was approved.
fn config(device: &Device) -> Option<Config> {
    let certificate = device.authority.host_certificate()?;
    Some(Config {
        server_id: SshId::Standard(Cow::Borrowed(VERSION_LINE)),
        methods: MethodSet::from([MethodKind::PublicKey].as_slice()),
        auth_rejection_time: Duration::from_millis(200),
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![device.host_key.as_ssh().clone()],
        certificates: vec![certificate],
        window_size: belay_protocol::flow::WINDOW_BYTES,
        maximum_packet_size: limits::SSH_PACKET_BYTES,
        channel_buffer_size: limits::CHANNEL_MESSAGES_MAX,
        preferred: algorithms::preferred(),
        max_auth_attempts: limits::AUTH_ATTEMPTS_MAX,
        inactivity_timeout: None,
        keepalive_interval: Some(limits::SSH_KEEPALIVE),
        keepalive_max: limits::SSH_KEEPALIVES_MISSED_MAX,
        nodelay: true,
        ..Config::default()
    })
}
