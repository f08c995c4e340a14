//! The task that makes chunks of one recording: waits for a cut, seals it, signs its note, and so on to the end.

use super::one::{Chunk, Recording, Step};
use belay_agent_rules::recording::Cut;
use belay_certs::{
    DeviceAddress, Digest, Invalid, PrivateKey,
    recording::{Note, blob::Readers},
};
use std::sync::Arc;

/// Micro- to milliseconds.
const MICROS: u64 = 1_000;

/// What the notes of one recording say beside the chunk, and who can open the blobs.
#[derive(Clone)]
pub(super) struct Sealer {
    pub(super) device: DeviceAddress,
    pub(super) serial: u64,
    pub(super) host_key: PrivateKey,
    pub(super) readers: Readers,
}

impl Sealer {
    /// Seals every chunk until the recording is over. Without a seal nothing may be shown: then the session ends.
    pub(super) async fn seal(self, recording: &Arc<Recording>) {
        let this = Arc::new(self);
        let mut previous = None;
        loop {
            match recording.step() {
                Step::Seal(cut) => {
                    let (last, session) = (cut.last, recording.session);
                    let sealer = this.clone();
                    // Compressing and signing take a millisecond or more: keystrokes of others do not wait for it.
                    let made = tokio::task::spawn_blocking(move || sealer.chunk(session, &cut, previous)).await;
                    match made.map_err(|error| error.to_string()).and_then(|made| made.map_err(|no| no.to_string())) {
                        Ok(chunk) => {
                            previous = Some(chunk.note.digest());
                            recording.sealed(chunk, last);
                        }
                        Err(error) => {
                            tracing::error!(%session, "a chunk was not sealed: {error}");
                            return recording.ended(Some("this machine could not seal it"));
                        }
                    }
                }
                Step::Wait(None) => recording.stirred().await,
                Step::Wait(Some(until)) => tokio::select! {
                    biased;
                    () = recording.stirred() => {}
                    () = tokio::time::sleep_until(until) => {}
                },
                Step::Done => return recording.ended(None),
            }
        }
    }

    fn chunk(&self, session: belay_certs::Id, cut: &Cut, previous: Option<Digest>) -> Result<Chunk, Invalid> {
        let blob = self.readers.seal(cut.text.as_bytes())?;
        let note = Note {
            device: self.device.clone(),
            serial: self.serial,
            session,
            chunk: cut.chunk,
            from_ms: cut.from / MICROS,
            to_ms: cut.to / MICROS,
            blob_bytes: blob.len() as u64,
            blob: Digest::of(&blob),
            previous,
            last: cut.last,
        };
        Ok(Chunk { number: cut.chunk, note: note.sign(&self.host_key)?, blob })
    }
}
