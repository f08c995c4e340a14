//! What a session or a run on this machine needs: who decides, who records, and the key the machine is known by.

use crate::{authority::Authority, recorder::Recorder, recording::Recordings, runs::Runs};
use belay_certs::PrivateKey;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// This machine while the agent runs; shared by the tunnel and every session.
pub struct Device {
    /// Says yes or no: the policies, the device record, the clock.
    pub authority: Arc<Authority>,
    /// Proves intents and reports ends.
    pub recorder: Recorder,
    /// Keeps what sessions show until the gateway has it.
    pub recordings: Recordings,
    /// Takes orders, and carries them out.
    pub runs: Runs,
    /// The host key: the SSH server's, and the one that signs statements.
    pub host_key: PrivateKey,
    /// Every task of a session is spawned here, so that stopping waits for it.
    pub tracker: TaskTracker,
    /// Places for file sessions.
    pub file_sessions: Arc<Semaphore>,
    /// Cancelled when the agent stops: sessions hang up.
    pub stop: CancellationToken,
}
