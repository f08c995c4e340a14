//! Recordings on their way to the gateway: a stream for each, from the chunk that the gateway wants next.
//!
//! A gateway that grants no stream, reads nothing or stops one holds that session's output, and nothing else. Not here: what is in a
//! chunk, who waits for it (`recording`).

use super::frames::{self, Ended};
use crate::{
    limits::RECORDING_RETRY,
    recording::{Recording, Recordings, Standing},
};
use belay_agent_rules::recording::{Next, Upload};
use belay_certs::Id;
use belay_protocol::{RecordingBegun, RecordingChunk, encode_frame};
use quinn::{Connection, SendStream};
use std::{collections::BTreeSet, sync::Arc};
use tokio::sync::watch;

/// Starts the upload of every recording, and of those that come later, for as long as the connection lasts. A gateway that is too
/// old for recordings gets none: there are none then but those of sessions before.
pub(super) async fn upload(connection: &Connection, recordings: &Recordings) -> Ended {
    if !recordings.taken() {
        return std::future::pending().await;
    }
    let mut changes = recordings.changes();
    let mut begun: BTreeSet<Id> = BTreeSet::new();
    loop {
        changes.mark_unchanged();
        let all = recordings.all();
        begun.retain(|session| all.iter().any(|one| one.session == *session));
        for recording in all {
            if begun.insert(recording.session) {
                let connection = connection.clone();
                // Not ended by the agent's stop: the last chunks are sent after the sessions ended.
                recordings.tracker().spawn(async move {
                    tokio::select! {
                        biased;
                        _ = connection.closed() => {}
                        ended = carry(&connection, &recording) => tracing::debug!(session = %recording.session, "{ended}"),
                    }
                });
            }
        }
        if changes.changed().await.is_err() {
            return Ended::Broken("nothing is recorded any more".to_owned());
        }
    }
}

/// Carries one recording until it is forgotten, in as many streams as it takes: one for each time that the gateway lacks something.
async fn carry(connection: &Connection, recording: &Arc<Recording>) -> Ended {
    let mut watch = recording.watch();
    loop {
        let wanted = watch.wait_for(|at| at.sealed > at.kept || at.forgotten).await.map(|at| at.forgotten);
        if !matches!(wanted, Ok(false)) {
            return Ended::lost("the recording is forgotten");
        }
        let mut stream = match connection.open_uni().await {
            Ok(stream) => stream,
            Err(error) => return Ended::lost(error),
        };
        let at = watch.borrow_and_update().clone();
        match send(&mut stream, recording, at.kept, &mut watch).await {
            Ok(()) => {}
            Err(ended) => {
                tracing::debug!(session = %recording.session, "a recording's stream ended, and is begun again: {ended}");
                let _ = stream.reset(0_u32.into());
                // The gateway says where it is; it may have said so before it stopped the stream.
                let word = watch.wait_for(|now| now.kept > at.kept || now.forgotten);
                let _ = tokio::time::timeout(RECORDING_RETRY, word).await;
            }
        }
    }
}

/// One stream, from the chunk that the gateway wants on. Comes back when the gateway keeps all that there is: a session that shows
/// nothing takes no stream from those that do, for a device may have fewer than it can have sessions.
async fn send(
    stream: &mut SendStream,
    recording: &Recording,
    kept: u64,
    watch: &mut watch::Receiver<Standing>,
) -> Result<(), Ended> {
    let unsendable = |error: belay_protocol::Unsendable| Ended::Broken(error.to_string());
    let (mut upload, session) = (Upload::begin(kept), recording.session.0);
    frames::write(stream, &encode_frame(&RecordingBegun { session, chunk: kept }).map_err(unsendable)?).await?;
    loop {
        let at = watch.borrow_and_update().clone();
        if at.forgotten || at.kept >= at.sealed {
            return stream.finish().map_err(Ended::lost);
        }
        match upload.next(at.sealed, at.kept) {
            Next::Send(number) => {
                // What is gone meanwhile is kept, or will never be.
                let Some(chunk) = recording.chunk(number) else { continue };
                let (note, blob) = (chunk.note.clone(), chunk.blob.clone());
                let message = RecordingChunk { note: note.text, signature: note.signature, blob };
                frames::write(stream, &encode_frame(&message).map_err(unsendable)?).await?;
                continue;
            }
            Next::Anew => return Err(Ended::lost("the gateway has more than this stream brought")),
            Next::Wait => {}
        }
        tokio::select! {
            biased;
            stopped = stream.stopped() => {
                return Err(Ended::lost(format_args!("the gateway stopped it: {stopped:?}")));
            }
            changed = watch.changed() => changed.map_err(Ended::lost)?,
        }
    }
}
