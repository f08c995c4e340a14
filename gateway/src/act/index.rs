//! What sessions showed and were told, as lines that can be found: recordings that the gateway can read, once their session is
//! over.
//!
//! Not here: the index itself (`store/index.rs`), and who may search it (the doors).

use crate::{
    Gateway, limits,
    store::{Broken, Index, IndexError, Indexed, IndexedSession, RecordingRow, TenantStore},
};
use belay_certs::{
    TenantName, Timestamp,
    recording::{
        Chain, blob,
        cast::{EventKind, Header, Reader},
    },
    screen::{Line, Lines, visible},
};
use belay_rules::RecordingState;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};
use tokio::sync::Mutex as Turn;

/// How far each tenant's index has come, and whose turn it is to bring it further.
#[derive(Debug, Default)]
pub(crate) struct Indexes {
    turns: Mutex<HashMap<TenantName, Arc<Turn<Option<Timestamp>>>>>,
}

impl Indexes {
    fn turn(&self, tenant: &TenantName) -> Arc<Turn<Option<Timestamp>>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(tenant.clone()).or_default())
    }
}

impl Indexes {
    /// Removes a tenant's index, which was found damaged: the next pass reads all recordings.
    pub(crate) async fn make_anew(&self, gateway: &Gateway, tenant: &TenantName) -> Result<(), Broken> {
        let turn = self.turn(tenant);
        let mut known = turn.lock().await;
        gateway.store.forget_index(tenant)?;
        *known = None;
        Ok(())
    }
}

/// Keeps every index as new as the recordings, until the gateway stops.
///
/// Cut off half-way: the recording under way is not in the index, and is added the next time.
pub(crate) async fn keep_up(gateway: Arc<Gateway>) {
    let keeping = async {
        loop {
            for tenant in gateway.book.tenants() {
                if let Err(error) = Box::pin(catch_up(&gateway, &tenant, limits::INDEX_PASS)).await {
                    tracing::error!(%tenant, "what was shown cannot be indexed: {error}");
                }
            }
            tokio::time::sleep(limits::INDEX_EVERY).await;
        }
    };
    gateway.stop.run_until_cancelled(keeping).await;
}

/// Brings a tenant's index up to its recordings for about `within`: how many wait after that. While somebody else does,
/// nobody waits for them.
pub(crate) async fn catch_up(
    gateway: &Gateway,
    tenant: &TenantName,
    within: std::time::Duration,
) -> Result<u64, Broken> {
    let turn = gateway.indexes.turn(tenant);
    let Ok(mut known) = turn.try_lock() else { return Ok(1) };
    let Some(store) = gateway.store.tenant(tenant) else { return Ok(0) };
    match pass(gateway, &store, *known, within).await {
        Ok((waiting, until)) => {
            *known = until;
            Ok(waiting)
        }
        Err(IndexError::Damaged(why)) => {
            tracing::warn!(%tenant, "the index is damaged and is made anew: {why}");
            gateway.store.forget_index(tenant)?;
            *known = None;
            let (waiting, until) = pass(gateway, &store, None, within).await?;
            *known = until;
            Ok(waiting)
        }
        Err(IndexError::Broken(broken)) => Err(broken),
    }
}

/// One pass over the recordings that changed since `known`, or over all. How many wait, and since when nothing is unknown.
async fn pass(
    gateway: &Gateway,
    store: &TenantStore,
    known: Option<Timestamp>,
    within: std::time::Duration,
) -> Result<(u64, Option<Timestamp>), IndexError> {
    let began = Instant::now();
    // A little before, for clocks of one gateway that were set meanwhile, and commits under way.
    let until = gateway.now().plus(-limits::INDEX_OVERLAP_MICROS);
    let over = store.recordings_changed(known.unwrap_or(Timestamp::from_micros(0))).await?;
    if over.is_empty() && known.is_some() {
        return Ok((0, Some(until)));
    }
    let mut index = gateway.store.index(store.name()).await?;
    let mut seen = index.seen().await?;
    let mut waiting = 0;
    let mut there = HashSet::new();
    for recording in over {
        let key: Indexed = (recording.name.device.clone(), recording.name.session);
        if recording.state() == RecordingState::Deleted {
            if seen.remove(&key).is_some() {
                index.forget(&key).await?;
            }
            continue;
        }
        there.insert(key.clone());
        if !recording.kept.is_readable || seen.get(&key) == Some(&recording.kept.chunks) {
            continue;
        }
        if began.elapsed() > within {
            waiting += 1;
            continue;
        }
        add(gateway, store, &mut index, &recording).await?;
    }
    if known.is_none() {
        // Of recordings that no row knows, as after a restore of an older database.
        for gone in seen.keys().filter(|key| !there.contains(*key)) {
            index.forget(gone).await?;
        }
    }
    index.close().await;
    Ok((waiting, if waiting == 0 { Some(until) } else { known }))
}

/// Adds one recording. One that is altered or does not read is in the index as far as it does.
async fn add(
    gateway: &Gateway,
    store: &TenantStore,
    index: &mut Index,
    recording: &RecordingRow,
) -> Result<(), IndexError> {
    let name = &recording.name;
    let Some(session) = store.session(name.session).await?.filter(|session| session.device == name.device) else {
        return Ok(());
    };
    let indexed = IndexedSession {
        session: (name.device.clone(), name.session),
        person: session.person,
        kind: session.kind,
        started: session.started,
        chunks: recording.kept.chunks,
    };
    let mut adding = index.add(indexed).await?;
    let (mut chain, mut shown) = (Chain::new(name.session), Some(Shown::default()));
    'chunks: while chain.chunks() < recording.kept.chunks {
        let notes = store.chunks(name, chain.chunks()).await?;
        if notes.is_empty() {
            break;
        }
        for note in notes {
            let bytes = gateway.store.blob(name, note.number, false).await?.unwrap_or_default();
            let Some(mut reading) = shown.take() else { break 'chunks };
            if let Err(error) = chain.take(&note.note, &bytes) {
                tracing::warn!(session = %name.session, "a recording is indexed up to where it is altered: {error}");
                break 'chunks;
            }
            let read = tokio::task::spawn_blocking(move || reading.read(&bytes).map(|lines| (reading, lines))).await;
            match read.map_err(|error| Broken::new(error.to_string()))? {
                Ok((reading, lines)) => {
                    for line in lines {
                        adding.line(line.at_ms, &line.text).await?;
                    }
                    shown = Some(reading);
                }
                Err(error) => {
                    tracing::warn!(session = %name.session, "a recording is indexed up to where it reads: {error}");
                    break 'chunks;
                }
            }
        }
    }
    for line in shown.map(Shown::finish).unwrap_or_default() {
        adding.line(line.at_ms, &line.text).await?;
    }
    adding.finish().await
}

/// A recording being read: what its terminal showed, and what was typed.
#[derive(Debug, Default)]
struct Shown {
    reader: Reader,
    /// The terminal, once the header said how large it is.
    screen: Option<Lines>,
    /// What was typed since the last line end, and when that began.
    typed: Vec<u8>,
    typed_ms: u64,
}

impl Shown {
    /// The lines that finish with a chunk.
    fn read(&mut self, bytes: &[u8]) -> Result<Vec<Line>, belay_certs::Invalid> {
        let text = blob::open(bytes, None)?;
        let events = self.reader.read(&text)?;
        let mut lines = Vec::new();
        for event in events {
            let at_ms = event.at / 1_000;
            match event.kind {
                EventKind::Output(bytes) => lines.extend(self.screen().feed(at_ms, &bytes)),
                EventKind::Resize { columns, rows } => {
                    let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
                    lines.extend(self.screen().resize(at_ms, size(columns), size(rows)));
                }
                EventKind::Input(bytes) => self.take_typed(at_ms, &bytes, &mut lines),
                EventKind::Marker(text) => lines.push(Line { at_ms, text: visible(&text).into_owned() }),
            }
        }
        lines.retain(|line| !line.text.trim().is_empty());
        Ok(lines)
    }

    fn screen(&mut self) -> &mut Lines {
        let begun = || self.reader.header().map_or_else(|| Lines::new(80, 24), Header::screen);
        self.screen.get_or_insert_with(begun)
    }

    fn take_typed(&mut self, at_ms: u64, bytes: &[u8], lines: &mut Vec<Line>) {
        for byte in bytes {
            if self.typed.is_empty() {
                self.typed_ms = at_ms;
            }
            match byte {
                b'\r' | b'\n' => lines.extend(self.typed_line()),
                byte => self.typed.push(*byte),
            }
            if self.typed.len() >= limits::INDEX_LINE_BYTES_MAX {
                lines.extend(self.typed_line());
            }
        }
    }

    fn typed_line(&mut self) -> Option<Line> {
        let typed = std::mem::take(&mut self.typed);
        let text = visible(&String::from_utf8_lossy(&typed)).into_owned();
        (!text.trim().is_empty()).then_some(Line { at_ms: self.typed_ms, text })
    }

    /// What is left when the session is over.
    fn finish(mut self) -> Vec<Line> {
        let mut lines: Vec<Line> = self.typed_line().into_iter().collect();
        lines.extend(self.screen.map(Lines::finish).unwrap_or_default());
        lines.retain(|line| !line.text.trim().is_empty());
        lines
    }
}
