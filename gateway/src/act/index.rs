//! What sessions showed and were told and what runs printed, as lines that can be found: recordings that the gateway can read,
//! once their session or run is over.
//!
//! Not here: the index itself (`store/index.rs`), how outputs are read (`printed`), and who may search it (the doors).

mod printed;

use crate::{
    Gateway, limits,
    store::{
        Broken, Index, IndexError, Indexed, IndexedSession, OutputRow, RecordingRow, Source, TenantStore,
        limits::INDEXED_MAX,
    },
};
use belay_certs::{
    Id, Invalid, TenantName, Timestamp,
    recording::{
        Chain, blob,
        cast::{EventKind, Header, Reader},
    },
    screen::{
        Line, Lines, Typed,
        pages::{Page, Pages},
        visible,
    },
};
use belay_rules::RecordingState;
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};
use tokio::sync::Mutex as Turn;

/// How far each tenant's index has come, and whose turn it is to bring it further.
#[derive(Debug, Default)]
pub(crate) struct Indexes {
    turns: Mutex<HashMap<TenantName, Arc<Turn<Option<Timestamp>>>>>,
    /// Whether the operator was told that the disk has no room for them.
    no_room: AtomicBool,
}

/// What is not in an index yet.
#[derive(Debug, Default)]
pub(crate) struct Behind {
    /// Recordings, of sessions and of runs, that wait; or more.
    pub(crate) recordings: u64,
    /// Why they wait for the operator: one sentence. None when they wait for their turn.
    pub(crate) no_room: Option<String>,
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

/// Brings a tenant's index up to its recordings for about `within`: what waits after that. While somebody else does, nobody
/// waits for them.
pub(crate) async fn catch_up(
    gateway: &Gateway,
    tenant: &TenantName,
    within: std::time::Duration,
) -> Result<Behind, Broken> {
    let turn = gateway.indexes.turn(tenant);
    let Ok(mut known) = turn.try_lock() else { return Ok(Behind { recordings: 1, no_room: None }) };
    let Some(store) = gateway.store.tenant(tenant) else { return Ok(Behind::default()) };
    let (behind, until) = match pass(gateway, &store, *known, within).await {
        Ok(passed) => passed,
        Err(IndexError::Damaged(why)) => {
            tracing::warn!(%tenant, "the index is made anew, and searches find more and more meanwhile: {why}");
            gateway.store.forget_index(tenant)?;
            *known = None;
            pass(gateway, &store, None, within).await?
        }
        Err(IndexError::Broken(broken)) => return Err(broken),
    };
    *known = until;
    Ok(behind)
}

/// An index can take as much as all that was shown: it grows only while recordings may begin, for the rest of the disk is the
/// log's. One that is under way may take half of what is left then.
fn room(gateway: &Gateway) -> Result<(), String> {
    let left = gateway.room.begin_index();
    let told = gateway.indexes.no_room.swap(left.is_err(), Ordering::Relaxed);
    match &left {
        Err(why) if !told => tracing::warn!("{why}"),
        Err(_) | Ok(()) => {}
    }
    left
}

/// One pass over the recordings that changed since `known`, or over all. What waits, and since when nothing is unknown.
async fn pass(
    gateway: &Gateway,
    store: &TenantStore,
    known: Option<Timestamp>,
    within: std::time::Duration,
) -> Result<(Behind, Option<Timestamp>), IndexError> {
    let began = Instant::now();
    // A little before, for clocks of one gateway that were set meanwhile, and commits under way.
    let until = gateway.now().plus(-limits::INDEX_OVERLAP_MICROS);
    let over = store.recordings_changed(known.unwrap_or(Timestamp::from_micros(0))).await?;
    let since = known.unwrap_or(Timestamp::from_micros(0));
    let mut outputs = printed::Changed::between(store, since, gateway.now()).await?;
    if over.is_empty() && outputs.is_empty() && known.is_some() {
        return Ok((Behind::default(), Some(until)));
    }
    let index = gateway.store.index(store.name()).await?;
    let (behind, there) = (Behind::default(), HashSet::new());
    let mut pass = Pass { gateway, store, index, seen: HashMap::new(), there, behind, began, within };
    pass.seen = pass.index.seen().await?;
    for recording in over {
        pass.recording(recording).await?;
    }
    while let Some(output) = outputs.next().await? {
        pass.output(output).await?;
    }
    let Pass { mut index, seen, there, behind, .. } = pass;
    if known.is_none() {
        // Of recordings that no row knows, as after a restore of an older database.
        for gone in seen.keys().filter(|key| !there.contains(*key)) {
            index.forget(gone).await?;
        }
    }
    index.keep().await?;
    index.close().await;
    let until = if behind.recordings == 0 { Some(until) } else { known };
    Ok((behind, until))
}

/// One pass under way.
struct Pass<'a> {
    gateway: &'a Gateway,
    store: &'a TenantStore,
    index: Index,
    /// What was in the index before it, and was not removed.
    seen: HashMap<Indexed, u64>,
    /// What the tables know of.
    there: HashSet<Indexed>,
    behind: Behind,
    began: Instant,
    within: std::time::Duration,
}

impl Pass<'_> {
    async fn recording(&mut self, recording: RecordingRow) -> Result<(), IndexError> {
        let key: Indexed = (recording.name.device.clone(), recording.name.session, Source::Session);
        if recording.state() == RecordingState::Deleted {
            return self.forget(&key).await;
        }
        self.there.insert(key.clone());
        if !recording.kept.is_readable || self.seen.get(&key) == Some(&recording.kept.chunks) || self.waits() {
            return Ok(());
        }
        let added = match room(self.gateway) {
            Ok(()) => add(self.gateway, self.store, &mut self.index, &recording).await?,
            Err(why) => Err(why),
        };
        self.count(added);
        Ok(())
    }

    async fn output(&mut self, output: OutputRow) -> Result<(), IndexError> {
        let key = printed::key(&output);
        if output.deleted.is_some() {
            return self.forget(&key).await;
        }
        let Some(digest) = output.whole() else { return Ok(()) };
        self.there.insert(key.clone());
        if self.seen.get(&key) == Some(&output.kept) || self.waits() {
            return Ok(());
        }
        let left = room(self.gateway);
        if left.is_ok() {
            printed::add(self.store, &mut self.index, &output, digest).await?;
        }
        self.count(left);
        Ok(())
    }

    /// Also what was not read of a very large index.
    async fn forget(&mut self, key: &Indexed) -> Result<(), IndexError> {
        self.seen.remove(key);
        self.index.forget(key).await
    }

    /// Whether another one must wait for its turn or for room: then it is counted.
    fn waits(&mut self) -> bool {
        if self.seen.len() >= INDEXED_MAX {
            let full = format!("the index of {} holds {INDEXED_MAX} recordings, and no more", self.store.name());
            self.behind.no_room.get_or_insert(full);
        }
        let waits = self.behind.no_room.is_some() || self.began.elapsed() > self.within;
        self.behind.recordings += u64::from(waits);
        waits
    }

    /// One was added, or there was no room.
    fn count(&mut self, added: Result<(), String>) {
        self.behind.recordings += u64::from(added.is_err());
        self.behind.no_room = added.err();
    }
}

/// Adds one recording. One that is altered or does not read is in the index as far as it does; one for which the disk has no
/// room is not in it, and why is the inner error.
async fn add(
    gateway: &Gateway,
    store: &TenantStore,
    index: &mut Index,
    recording: &RecordingRow,
) -> Result<Result<(), String>, IndexError> {
    let name = &recording.name;
    let Some(session) = store.session(name.session).await?.filter(|session| session.device == name.device) else {
        return Ok(Ok(()));
    };
    let indexed = IndexedSession {
        session: (name.device.clone(), name.session, Source::Session),
        person: session.person,
        kind: session.kind,
        started: session.started,
        chunks: recording.kept.chunks,
        is_sealed: false,
    };
    // What was added before this one is kept if this one cannot be read.
    let mut first = match read(gateway, store, recording, Shown::begin(recording)).await {
        Ok(read) => read,
        Err(broken) => {
            index.keep().await?;
            return Err(broken.into());
        }
    };
    let mut adding = index.add(indexed).await?;
    loop {
        let Step { pages, rest } = first;
        // The next chunks are read while the pages of these are written.
        let next = async {
            match rest {
                Some(shown) => Ok(Some(read(gateway, store, recording, shown).await?)),
                None => Ok(None),
            }
        };
        let write = async {
            for page in pages {
                adding.page(page).await?;
            }
            Ok::<(), IndexError>(())
        };
        let (next, written): (Result<_, Broken>, _) = tokio::join!(next, write);
        written?;
        match (next?, gateway.room.go_on_index()) {
            (Some(next), Ok(())) => first = next,
            (Some(_), Err(why)) => {
                adding.give_up().await?;
                return Ok(Err(why));
            }
            (None, _) => break,
        }
    }
    adding.finish().await?;
    Ok(Ok(()))
}

/// Some of a recording, read.
struct Step {
    /// Its pages.
    pages: Vec<Page>,
    /// What the rest is read with; none at the end, or where it does not read.
    rest: Option<Box<Shown>>,
}

/// Reads the next chunks of a recording.
async fn read(
    gateway: &Gateway,
    store: &TenantStore,
    recording: &RecordingRow,
    mut shown: Box<Shown>,
) -> Result<Step, Broken> {
    let name = &recording.name;
    let mut blobs = Vec::new();
    for note in store.chunks(name, shown.chain.chunks()).await?.into_iter().take(limits::INDEX_CHUNKS) {
        let bytes = gateway.store.blob(name, note.number, false).await?.unwrap_or_default();
        blobs.push((note.note, bytes));
    }
    let chunks = recording.kept.chunks;
    let read = tokio::task::spawn_blocking(move || {
        let (mut pages, mut good) = (Vec::new(), !blobs.is_empty());
        for (note, bytes) in blobs {
            if let Err(error) = shown.read(&note, &bytes, &mut pages) {
                let session = shown.session;
                tracing::warn!(%session, "a recording is indexed up to where it is altered or does not read: {error}");
                good = false;
                break;
            }
        }
        if good && shown.chain.chunks() < chunks {
            return Ok(Step { pages, rest: Some(shown) });
        }
        shown.finish(&mut pages)?;
        Ok::<Step, Invalid>(Step { pages, rest: None })
    });
    let read = read.await.map_err(|error| Broken::new(error.to_string()))?;
    read.map_err(|invalid| Broken::new(invalid.sentence))
}

/// A recording being read: what its terminal showed, and what was typed.
struct Shown {
    session: Id,
    /// The chunks so far, checked.
    chain: Chain,
    reader: Reader,
    /// The terminal, once the header said how large it is.
    screen: Option<Lines>,
    /// What was typed since the last line end.
    typed: Typed,
    /// Lines on their way into the index.
    pages: Pages,
}

impl Shown {
    /// Before the first chunk.
    fn begin(recording: &RecordingRow) -> Box<Self> {
        let session = recording.name.session;
        let (chain, reader, pages) = (Chain::new(session), Reader::default(), Pages::default());
        Box::new(Self { session, chain, reader, screen: None, typed: Typed::default(), pages })
    }

    /// Reads one chunk: the pages that are full with it.
    fn read(&mut self, note: &str, blob: &[u8], pages: &mut Vec<Page>) -> Result<(), Invalid> {
        self.chain.take(note, blob)?;
        let text = blob::open(blob, None)?;
        for event in self.reader.read(&text)? {
            let at_ms = event.at / 1_000;
            let mut lines = Vec::new();
            match event.kind {
                EventKind::Output(bytes) => lines = self.screen().feed(at_ms, &bytes),
                EventKind::Resize { columns, rows } => {
                    let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
                    lines = self.screen().resize(at_ms, size(columns), size(rows));
                }
                EventKind::Input(bytes) => lines = self.typed.feed(at_ms, &bytes),
                EventKind::Marker(text) => lines.push(Line { at_ms, text: visible(&text).into_owned() }),
            }
            self.keep(&lines, pages)?;
        }
        Ok(())
    }

    fn keep(&mut self, lines: &[Line], pages: &mut Vec<Page>) -> Result<(), Invalid> {
        for line in lines.iter().filter(|line| !line.text.trim().is_empty()) {
            pages.extend(self.pages.add(line)?);
        }
        Ok(())
    }

    fn screen(&mut self) -> &mut Lines {
        let begun = || self.reader.header().map_or_else(|| Lines::new(80, 24), Header::screen);
        self.screen.get_or_insert_with(begun)
    }

    /// What is left when the session is over.
    fn finish(mut self: Box<Self>, pages: &mut Vec<Page>) -> Result<(), Invalid> {
        let mut lines: Vec<Line> = self.typed.finish().into_iter().collect();
        lines.extend(self.screen.take().map(Lines::finish).unwrap_or_default());
        self.keep(&lines, pages)?;
        pages.extend(self.pages.finish()?);
        Ok(())
    }
}
