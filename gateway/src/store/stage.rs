//! What one transaction will write: entries and the rows that follow from them, gathered first and written in few,
//! large statements at its end.
//!
//! Not here: rows that a judge of the same transaction may have to read again; `turn*.rs` write those at once.

use super::broken::{Broken, RecordError};
use super::heads::{Head, Shared, signed};
use super::jobs::{PieceWritten, RunWritten};
use super::record::Ready;
use super::recordings::{ChunkWritten, RecordingWritten};
use super::rows::{
    AccessEnd, AccessRow, EntryRow, LogRow, ObjectRow, PresenceRow, SaidRow, SessionEnd, SessionRow, TileRow,
};
use super::sql;
use super::transaction::{Script, Transaction};
use belay_certs::policy::LogIdentity;
use belay_certs::tlog::{Checkpoint, CompletedTile, Edge, NoteSigner};
use belay_certs::{DeviceName, Digest, Id, TenantName, Timestamp};
use belay_rules::{Event, LogName, RecordingName, Refusal, What};
use std::collections::HashMap;
use std::sync::Arc;

/// A log that grows in this transaction.
#[derive(Debug)]
pub(super) struct Growing {
    pub(super) id: i64,
    pub(super) identity: LogIdentity,
    pub(super) signer: Arc<NoteSigner>,
    /// The edge with the entries of this transaction: a copy, thrown away when the commit fails.
    edge: Edge,
    completed: Vec<CompletedTile>,
    /// The newest entry's position among this transaction's entries; none while it has got none.
    last: Option<usize>,
    /// Whether the log was there before this transaction.
    began: Began,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Began {
    Before,
    Now,
}

/// Where an entry came to stand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entered {
    /// Among this transaction's entries.
    pub(super) position: usize,
    /// In its log.
    pub(super) index: u64,
}

/// The heads and tiles that are durable once the transaction is.
#[derive(Debug, Default)]
pub(super) struct Grown {
    heads: Vec<(LogName, Arc<Head>)>,
    tiles: Vec<(i64, CompletedTile)>,
}

/// Everything that waits to be written.
#[derive(Debug, Default)]
pub(super) struct Stage {
    logs: HashMap<LogName, Growing>,
    pub(super) entries: Vec<EntryRow>,
    objects: Vec<ObjectRow>,
    accesses: Vec<AccessRow>,
    access_ends: Vec<AccessEnd>,
    sessions: Vec<SessionRow>,
    session_ends: Vec<SessionEnd>,
    presence: HashMap<Id, PresenceRow>,
    said: Vec<SaidRow>,
    /// Each run's newest row.
    runs: HashMap<(TenantName, Id, DeviceName), RunWritten>,
    pieces: Vec<PieceWritten>,
    /// Each recording's newest row.
    recordings: HashMap<RecordingName, RecordingWritten>,
    chunks: Vec<ChunkWritten>,
}

impl Stage {
    /// Begins a log that was not there before.
    pub(super) fn begin_log(&mut self, log: LogName, id: i64, signer: NoteSigner) -> LogIdentity {
        let identity = LogIdentity { origin: signer.name().to_owned(), vkey: signer.vkey() };
        let growing = Growing {
            id,
            identity: identity.clone(),
            signer: Arc::new(signer),
            edge: Edge::empty(),
            completed: Vec::new(),
            last: None,
            began: Began::Now,
        };
        self.logs.insert(log, growing);
        identity
    }

    /// The log as it stands in this transaction; none when there is no such log.
    pub(super) fn log(&mut self, shared: &Shared, name: &LogName) -> Option<&mut Growing> {
        log_of(&mut self.logs, shared, name)
    }

    /// How many logs begin in this transaction.
    pub(super) fn logs_begun(&self) -> usize {
        self.logs.values().filter(|log| log.began == Began::Now).count()
    }

    /// Appends an entry to its log, with the rows that follow from its event.
    ///
    /// # Errors
    /// [`Refusal::TenantUnknown`] when there is no such log; nothing was changed then.
    pub(super) fn enter(&mut self, shared: &Shared, ready: Ready) -> Result<Entered, RecordError> {
        let Ready { event, bytes, leaf } = ready;
        let Some(log) = log_of(&mut self.logs, shared, &event.draft.log) else {
            return Err(match event.draft.log {
                LogName::Tenant(tenant) => Refusal::TenantUnknown(tenant).into(),
                LogName::System => Broken::new("the system log is missing").into(),
            });
        };
        let (index, position) = (log.edge.size(), self.entries.len());
        log.last = Some(position);
        let (id, seq) = (log.id, signed(index)?);
        log.completed.extend(log.edge.append(leaf));
        self.follow(&event, seq);
        let Event { at, draft, .. } = event;
        self.entries.push(EntryRow {
            id,
            seq,
            leaf,
            at,
            kind: draft.what.type_name(),
            device: draft.device,
            person: draft.person.map(|person| person.to_string()),
            bytes,
            head: None,
            log: draft.log,
        });
        Ok(Entered { position, index })
    }

    /// Keeps an object beside the log of an entry that refers to it.
    pub(super) fn keep(&mut self, entered: Entered, bytes: &[u8]) {
        if let Some(entry) = self.entries.get(entered.position) {
            let digest = Digest::of(bytes).hex();
            self.objects.push(ObjectRow { id: entry.id, digest, seq: entry.seq, bytes: bytes.to_vec() });
        }
    }

    /// Whose session ended with the event that was entered last.
    pub(super) fn ended_by(&mut self, join: Id) {
        if let Some(end) = self.session_ends.last_mut() {
            end.join = join;
        }
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.runs.is_empty() && self.pieces.is_empty() && self.recordings.is_empty()
    }

    /// Where a recording stands now.
    pub(super) fn recording(&mut self, row: RecordingWritten) {
        self.recordings.insert(row.name.clone(), row);
    }

    /// Whether rows of recordings wait to be written.
    pub(super) fn has_recordings(&self) -> bool {
        !self.recordings.is_empty()
    }

    /// Whether pieces of output wait to be written.
    pub(super) fn has_pieces(&self) -> bool {
        !self.pieces.is_empty()
    }

    /// A recording as this transaction has left it so far.
    pub(super) fn recording_staged(&self, name: &RecordingName) -> Option<&RecordingWritten> {
        self.recordings.get(name)
    }

    /// The note of a chunk whose bytes are durable.
    pub(super) fn chunk(&mut self, row: ChunkWritten) {
        self.chunks.push(row);
    }

    /// Where a run stands now.
    pub(super) fn run(&mut self, row: RunWritten) {
        self.runs.insert((row.tenant.clone(), row.job, row.run.device.clone()), row);
    }

    /// A piece of a run's output.
    pub(super) fn piece(&mut self, row: PieceWritten) {
        self.pieces.push(row);
    }

    /// The newest statement of a device.
    pub(super) fn said(&mut self, row: SaidRow) {
        self.said.push(row);
    }

    /// The statement with this number that a device said in this transaction.
    pub(super) fn said_earlier(&self, join: Id, seq: i64) -> Option<&SaidRow> {
        self.said.iter().rev().find(|row| row.join == join && row.seq == seq)
    }

    /// The rows that follow from an event alone. Those of the other events hold more than the event says, or must be
    /// readable at once: their judges' callers write them.
    fn follow(&mut self, event: &Event, seq: i64) {
        let Some(tenant) = event.draft.log.tenant() else { return };
        let device = event.draft.device.as_ref().map(ToString::to_string).unwrap_or_default();
        let person = || event.draft.person.as_ref().map(ToString::to_string).unwrap_or_default();
        match &event.draft.what {
            What::AccessOpened { .. } | What::AccessEnded { .. } => self.follow_access(tenant, device, person(), event),
            What::SessionOpened(session) => {
                let (tenant, person, session) = (tenant.clone(), person(), session.clone());
                self.sessions.push(SessionRow { tenant, device, person, session, started: event.at, entry: seq });
            }
            ended @ What::SessionEnded { .. } => self.session_ends.extend(session_end(tenant, ended, event.at)),
            What::LogStarted { .. }
            | What::LogRestarted { .. }
            | What::GatewayStarted { .. }
            | What::GatewayStopped { .. }
            | What::TenantAdded { .. }
            | What::StrangersRefused { .. }
            | What::PolicyAdopted { .. }
            | What::PolicyRefused { .. }
            | What::PolicyRestarted { .. }
            | What::DeviceReplaced { .. }
            | What::DeviceRecertified { .. }
            | What::TokenIssued { .. }
            | What::DevicePending { .. }
            | What::DeviceApproved { .. }
            | What::DeviceCarried { .. }
            | What::DeviceConnected { .. }
            | What::DeviceDisconnected { .. }
            | What::DeviceSuperseded { .. }
            | What::DeviceRefused { .. }
            | What::AccessRefused { .. }
            | What::SessionRefused { .. }
            | What::SessionWithheld { .. }
            | What::SessionKilled(_)
            | What::FreezeBegun(_)
            | What::FreezeLifted(_)
            | What::ReviewGiven(_)
            | What::RunbookPushed(_)
            | What::JobSubmitted(_)
            | What::JobOffered(_)
            | What::JobCancelled { .. }
            | What::JobStopped(_)
            | What::JobEnded(_)
            | What::RunDeclined { .. }
            | What::RunStarted(_)
            | What::RunRefused { .. }
            | What::RunEnded(_)
            | What::RunWithheld { .. }
            | What::StatementRejected { .. }
            | What::RecordingRead(_)
            | What::RecordingCut(_)
            | What::RecordingDeleted(_)
            | What::RecordingHeld(_)
            | What::RecordingReleased(_)
            | What::OutputRead(_)
            | What::OutputDeleted(_)
            | What::OutputHeld(_)
            | What::OutputReleased(_)
            | What::CommandRan { .. } => {}
        }
    }

    /// The rows of a way that opened or ended.
    fn follow_access(&mut self, tenant: &TenantName, device: String, person: String, event: &Event) {
        match &event.draft.what {
            What::AccessOpened { access, key, address } => self.accesses.push(AccessRow {
                id: *access,
                tenant: tenant.clone(),
                device,
                person,
                key: key.clone(),
                address: address.clone(),
                opened: event.at,
            }),
            What::AccessEnded { access, bytes_up, bytes_down, reason } => self.access_ends.push(AccessEnd {
                id: *access,
                at: event.at,
                bytes_up: *bytes_up,
                bytes_down: *bytes_down,
                reason: reason.clone(),
            }),
            _ => {}
        }
    }

    /// A device that came, or that went: then the row keeps where it came from last.
    pub(super) fn presence(&mut self, row: PresenceRow) {
        self.presence.insert(row.join, row);
    }

    /// Writes the rows of the tables now, for a question that must see them.
    pub(super) async fn write_rows(&mut self, transaction: &mut Transaction<'_>) -> Result<(), Broken> {
        let mut script = Script::default();
        self.rows(&mut script);
        transaction.run(&script).await?;
        self.accesses.clear();
        self.sessions.clear();
        self.access_ends.clear();
        self.session_ends.clear();
        self.presence.clear();
        self.said.clear();
        self.runs.clear();
        self.pieces.clear();
        self.recordings.clear();
        self.chunks.clear();
        Ok(())
    }

    /// What begins before what ends: both may be of one transaction.
    fn rows<'a>(&'a self, script: &mut Script<'a>) {
        script.insert(&sql::ACCESS_ROWS, &self.accesses);
        script.insert(&sql::SESSION_ROWS, &self.sessions);
        script.insert(&sql::PRESENCE_ROWS, self.presence.values());
        script.insert(&sql::SAID_ROWS, &self.said);
        script.insert(&sql::RUN_ROWS, self.runs.values());
        script.insert(&sql::PIECE_ROWS, &self.pieces);
        script.insert(&sql::RECORDING_ROWS, self.recordings.values());
        script.insert(&sql::CHUNK_ROWS, &self.chunks);
        self.access_ends.iter().for_each(|end| script.write(sql::ACCESS_END, end));
        self.session_ends.iter().for_each(|end| script.write(sql::SESSION_END, end));
    }

    /// Writes everything and commits: rows, entries, full tiles, objects, and each log's new head under one signature.
    pub(super) async fn commit(&mut self, transaction: Transaction<'_>) -> Result<Grown, Broken> {
        let (mut grown, mut tiles) = (Grown::default(), Vec::new());
        let mut logs = Vec::new();
        for (name, mut log) in std::mem::take(&mut self.logs) {
            let Some(last) = log.last else { continue };
            let began = log.began;
            for tile in std::mem::take(&mut log.completed) {
                tiles.push(TileRow::of(log.id, &tile)?);
                grown.tiles.push((log.id, tile));
            }
            let head = log.sign()?;
            if let Some(entry) = self.entries.get_mut(last) {
                entry.head = Some(head.checkpoint.clone());
            }
            if began == Began::Now {
                logs.push(LogRow { id: head.id, name: name.clone(), identity: head.identity.clone() });
            }
            grown.heads.push((name, Arc::new(head)));
        }
        let mut script = Script::default();
        self.rows(&mut script);
        script.insert(&sql::ENTRY_ROWS, &self.entries);
        script.insert(&sql::OBJECT_ROWS, &self.objects);
        script.insert(&sql::TILE_ROWS, &tiles);
        logs.iter().for_each(|log| script.write(sql::LOG_ADD, log));
        transaction.commit(&script).await?;
        Ok(grown)
    }
}

/// The row of a session's end; whose device says so is filled in by [`Stage::ended_by`].
fn session_end(tenant: &TenantName, ended: &What, at: Timestamp) -> Option<SessionEnd> {
    let What::SessionEnded { session, exit, signal, reason, bytes_in, bytes_out, recording, files } = ended else {
        return None;
    };
    Some(SessionEnd {
        tenant: tenant.clone(),
        join: Id([0; 16]),
        session: *session,
        at,
        exit: *exit,
        signal: signal.clone(),
        reason: reason.clone(),
        bytes_in: *bytes_in,
        bytes_out: *bytes_out,
        recording: *recording,
        files: files.as_ref().map(ToString::to_string),
    })
}

fn log_of<'a>(logs: &'a mut HashMap<LogName, Growing>, shared: &Shared, name: &LogName) -> Option<&'a mut Growing> {
    if !logs.contains_key(name) {
        let head = shared.heads.get(name)?;
        let growing = Growing {
            id: head.id,
            identity: head.identity.clone(),
            signer: head.signer.clone()?,
            edge: head.edge.clone(),
            completed: Vec::new(),
            last: None,
            began: Began::Before,
        };
        logs.insert(name.clone(), growing);
    }
    logs.get_mut(name)
}

impl Growing {
    /// The head over everything that was appended.
    fn sign(self) -> Result<Head, Broken> {
        let Self { id, identity, signer, edge, .. } = self;
        let checkpoint = Checkpoint { origin: identity.origin.clone(), size: edge.size(), root: edge.root() };
        let checkpoint = checkpoint.sign(&signer)?.into_bytes();
        Ok(Head { id, identity, signer: Some(signer), edge, checkpoint })
    }
}

impl Grown {
    /// Puts what is durable now where receipts are made from.
    pub(super) fn publish(self, shared: &Shared) {
        for (log, tile) in &self.tiles {
            shared.tiles.completed(*log, tile);
        }
        shared.heads.publish(self.heads);
    }
}
