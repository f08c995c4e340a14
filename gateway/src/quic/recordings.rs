//! Recordings on their way from devices into the store: one stream a session, chunk by chunk, each acknowledged when it is
//! durable.
//!
//! Cut off half-way, what is durable stays; the device begins a new stream behind it. What cannot be kept is refused with a
//! sentence, and the device ends the session: nothing is shown that is not recorded. Not here: the rows and the bytes
//! (`store/recordings.rs`).

use super::{
    device::{Ending, Link},
    frames::{Ended, Frames},
};
use crate::{
    limits,
    store::{Chunk, RecordError, SessionRow},
};
use belay_certs::{
    DeviceAddress, Id,
    recording::{Chain, Note, SignedNote, blob},
};
use belay_protocol::{
    GatewayPhase, RecordingBegun, RecordingChunk, RecordingKept, RecordingRefused, ToAgent, decode_frame,
    limits::clip_sentence,
};
use belay_rules::{RecordingName, RecordingState};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// The recordings of one connection that may go on: a session that shows little sends a stream for every chunk, and the store is
/// not asked each time what it just said. It judges every chunk all the same.
#[derive(Debug, Default)]
pub(super) struct Remembered(Mutex<HashMap<Id, Incoming>>);

impl Remembered {
    /// For one stream alone: another one of the same session asks the store.
    fn take(&self, session: Id) -> Option<Incoming> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&session)
    }

    /// Whose last chunk came, or who is one too many, is forgotten.
    fn keep(&self, incoming: Incoming) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !incoming.chain.is_whole() && held.len() < limits::RECORDINGS_PER_DEVICE_MAX as usize {
            held.insert(incoming.name.session, incoming);
        }
    }
}

/// A recording that is being received.
#[derive(Debug)]
struct Incoming {
    name: RecordingName,
    /// What the device is called now: notes name it so.
    called: DeviceAddress,
    /// All that is durable.
    chain: Chain,
}

/// Why a recording is not kept.
enum Refused {
    /// The device did what no device of ours does.
    Wrong(String),
    /// It did nothing wrong.
    Unable(String),
}

/// One recording, whose first frame was heard. Only a broken rule of the protocol ends the connection.
pub(super) async fn take(link: &Link, begun: RecordingBegun, mut frames: Frames<GatewayPhase>) -> Result<(), Ending> {
    let session = Id(begun.session);
    let mut incoming = match begin(link, session).await {
        Ok(incoming) => incoming,
        Err(refused) => return refuse(link, session, refused, frames).await,
    };
    // The device hears what is there before it sends what may be there already.
    kept(link, session, incoming.chain.chunks()).await?;
    if begun.chunk > incoming.chain.chunks() {
        frames.stop();
        return Ok(());
    }
    loop {
        let chunk: RecordingChunk = match frames.next().await {
            Ok(frame) => decode_frame(&frame).map_err(Ended::from)?,
            Err(ended @ Ended::Misbehaved(_)) => return Err(ended.into()),
            Err(Ended::Lost(_)) => {
                link.recordings.keep(incoming);
                return Ok(());
            }
        };
        match incoming.keep(link, chunk).await {
            Ok(Next::Kept) => kept(link, session, incoming.chain.chunks()).await?,
            Ok(Next::Elsewhere(chunks)) => {
                kept(link, session, chunks).await?;
                frames.stop();
                return Ok(());
            }
            Err(refused) => return refuse(link, session, refused, frames).await,
        }
    }
}

async fn kept(link: &Link, session: Id, chunks: u64) -> Result<(), Ending> {
    link.send(ToAgent::RecordingKept(RecordingKept { session: session.0, chunks })).await
}

async fn refuse(link: &Link, session: Id, refused: Refused, mut frames: Frames<GatewayPhase>) -> Result<(), Ending> {
    let sentence = match refused {
        Refused::Wrong(sentence) => {
            link.complain()?;
            sentence
        }
        Refused::Unable(sentence) => sentence,
    };
    tracing::warn!(join = %link.join, %session, "a recording is not kept: {sentence}");
    let sentence = clip_sentence(&sentence);
    link.send(ToAgent::RecordingRefused(RecordingRefused { session: session.0, sentence })).await?;
    frames.stop();
    Ok(())
}

/// The session must be one that the device said it starts; what is there of its recording is where it goes on.
async fn begin(link: &Link, session: Id) -> Result<Incoming, Refused> {
    let called = link.gateway.presence.called(link.join).unwrap_or_else(|| link.address.clone());
    if let Some(incoming) = link.recordings.take(session) {
        return Ok(Incoming { called, ..incoming });
    }
    let found = link.gateway.store.session_of(&called.tenant, link.join, session).await.map_err(unable)?;
    let Some(row) = found else {
        return Err(Refused::Wrong(format!("session {session} was never opened here, so no recording of it is kept")));
    };
    check_open(&row)?;
    let name = RecordingName { tenant: called.tenant.clone(), device: row.device, session };
    let chunks = row.recording.map_or(0, |kept| kept.chunks);
    let room = &link.gateway.room;
    let Some(last) = chunks.checked_sub(1) else {
        room.begin().map_err(Refused::Unable)?;
        return Ok(Incoming { name, called, chain: Chain::new(session) });
    };
    let store = link.gateway.store.tenant(&name.tenant);
    let notes = match store {
        Some(store) => store.chunks(&name, last).await.map_err(unable)?,
        None => Vec::new(),
    };
    let newest = notes.into_iter().next().ok_or_else(|| unable("the newest note of a recording is missing"))?;
    let signed = SignedNote { text: newest.note, signature: newest.signature };
    let note = signed.note().map_err(unable)?;
    Ok(Incoming { name, called, chain: Chain::behind(note, signed.digest()) })
}

/// Whether more of its recording may come.
fn check_open(row: &SessionRow) -> Result<(), Refused> {
    let session = row.session;
    match (row.recording_state(), &row.ended) {
        (Some(RecordingState::Deleted), _) => {
            Err(Refused::Unable(format!("the recording of session {session} was deleted; nothing more of it is kept")))
        }
        (_, Some(ended)) if ended.recording.is_none() => Err(Refused::Wrong(format!(
            "session {session} is over and its end named no recording, so nothing more of it is kept"
        ))),
        _ => Ok(()),
    }
}

/// What became of a chunk.
enum Next {
    /// It is durable, or was before.
    Kept,
    /// So many are durable, and the stream does not continue them.
    Elsewhere(u64),
}

impl Incoming {
    async fn keep(&mut self, link: &Link, chunk: RecordingChunk) -> Result<Next, Refused> {
        let signed = SignedNote { text: chunk.note, signature: chunk.signature };
        let said = signed.note().map_err(wrong)?;
        if said.chunk < self.chain.chunks() {
            return Ok(Next::Kept);
        }
        if said.chunk > self.chain.chunks() {
            return Ok(Next::Elsewhere(self.chain.chunks()));
        }
        let mut chain = self.chain.clone();
        let note = chain.take(&signed.text, &chunk.blob).map_err(wrong)?;
        self.check(link, &note, &signed)?;
        let blob = bytes::Bytes::from(chunk.blob);
        let chunk = Chunk {
            name: self.name.clone(),
            number: note.chunk,
            previous: note.previous,
            is_last: note.last,
            is_sealed: !blob::is_plain(&blob),
            note: signed.text,
            signature: signed.signature,
            bytes: note.blob_bytes,
            at: link.gateway.now(),
        };
        let chunks = store(link, chunk, blob).await?;
        if chunks != chain.chunks() {
            return Ok(Next::Elsewhere(chunks));
        }
        self.chain = chain;
        Ok(Next::Kept)
    }

    /// The note is this device's own, and signed: what is kept proves itself, whatever happens next.
    fn check(&self, link: &Link, note: &Note, signed: &SignedNote) -> Result<(), Refused> {
        let before = DeviceAddress { device: self.name.device.clone(), tenant: self.name.tenant.clone() };
        if note.device != self.called && note.device != before {
            return Err(Refused::Wrong(format!("a note of {} came from {}", note.device, self.called)));
        }
        signed.verify(&link.host_key).map_err(wrong)?;
        Ok(())
    }
}

/// Makes a chunk durable: how many there are then. While the store fails it is tried again for a while; the device holds
/// its session's output meanwhile.
async fn store(link: &Link, chunk: Chunk, blob: bytes::Bytes) -> Result<u64, Refused> {
    let mut tries = 0;
    loop {
        link.gateway.room.go_on().map_err(Refused::Unable)?;
        match link.gateway.store.keep_chunk(chunk.clone(), blob.clone()).await {
            Ok(chunks) => return Ok(chunks),
            Err(RecordError::Refused(refusal)) => return Err(Refused::Unable(refusal.to_string())),
            Err(RecordError::Broken(why)) => {
                tries += 1;
                if why.is_full() || tries == limits::RECORDING_TRIES {
                    return Err(unable(why));
                }
                tracing::error!(join = %link.join, "a chunk of a recording was not kept, and is tried again: {why}");
                tokio::time::sleep(limits::RECORDING_RETRY).await;
            }
        }
    }
}

fn wrong(error: impl std::fmt::Display) -> Refused {
    Refused::Wrong(error.to_string())
}

/// Something of ours is broken: its reason is for our own log.
fn unable(error: impl std::fmt::Display) -> Refused {
    tracing::error!("a recording was not kept: {error}");
    Refused::Unable("the gateway cannot keep recordings just now; its operator finds why in the log".to_owned())
}

#[cfg(test)]
mod tests;
