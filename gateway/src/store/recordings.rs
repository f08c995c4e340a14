//! Recordings as the tables have them: how far each has come, and the notes that prove it.
//!
//! Where a recording stands is never stored: it follows from its session's signed end, so that no crash can leave the two
//! apart. Not here: the bytes (`objects.rs`), and what may be done to a recording (`belay_rules::recording`).

use super::Store;
use super::broken::{Broken, RecordError};
use super::heads::{signed, unsigned};
use super::index::Wanted;
use super::limits::{CHUNKS_READ_MAX, INDEXED_READ_MAX, RECORDINGS_DUE_MAX};
use super::objects::{ChunkName, Newest};
use super::read::{TenantStore, rows_max};
use super::record::Work;
use super::sessions::{self, SessionRow};
use super::sql;
use super::transaction::{Binding, Bound};
use belay_certs::{DeviceName, Digest, Id, Timestamp};
use belay_rules::{RecordingHeld, RecordingName, RecordingState, Refusal};
use sqlx::Row;
use sqlx::any::AnyRow;

/// What is held of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// When its first chunk was durable.
    pub begun: Timestamp,
    /// When its newest one was, or when it was given up.
    pub kept: Timestamp,
    /// Chunks that are durable.
    pub chunks: u64,
    /// Their bytes, as stored.
    pub bytes: u64,
    /// Of the newest note's text.
    pub head: Digest,
    /// Whether the newest note says that it is the last.
    pub is_last: bool,
    /// Whether no chunk is encrypted.
    pub is_readable: bool,
    /// Whether the log says that it was cut off: by an end that names none, or by nothing heard for long.
    pub is_cut: bool,
    /// Why nothing may delete it, if so.
    pub hold: Option<String>,
    /// When its chunks were removed, if they were.
    pub deleted: Option<Timestamp>,
}

impl Kept {
    /// Where it stands, by the end of its session: none while nobody said that it ended, else the recording that it names.
    pub fn state(&self, end: Option<Option<Digest>>) -> RecordingState {
        match end {
            _ if self.deleted.is_some() => RecordingState::Deleted,
            None if self.is_cut => RecordingState::Unterminated,
            None => RecordingState::Live,
            Some(None) => RecordingState::Cut,
            Some(Some(named)) if named == self.head && self.is_last => RecordingState::Whole,
            Some(Some(_)) => RecordingState::Missing,
        }
    }
}

/// A recording with what its session's end says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingRow {
    /// Which.
    pub name: RecordingName,
    /// What is held of it.
    pub kept: Kept,
    /// The session's end, and the recording that it names.
    pub end: Option<(Timestamp, Option<Digest>)>,
}

impl RecordingRow {
    /// Where it stands.
    pub fn state(&self) -> RecordingState {
        self.kept.state(self.end.map(|(_, named)| named))
    }

    /// As its judges want it.
    pub(super) fn held(&self) -> RecordingHeld {
        let Kept { chunks, bytes, head, ref hold, .. } = self.kept;
        RecordingHeld { state: self.state(), chunks, bytes, head, hold: hold.clone() }
    }
}

/// A chunk's note as signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkRow {
    /// Its number, from 0.
    pub number: u64,
    /// The note's exact text.
    pub note: String,
    /// The armoured signature.
    pub signature: String,
}

/// A chunk on its way in; its note was checked against its bytes and its device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Whose recording: the device is called as it was when the session began.
    pub name: RecordingName,
    /// Its number, from 0.
    pub number: u64,
    /// The digest of the note before, as this note names it.
    pub previous: Option<Digest>,
    /// Whether it is the last.
    pub is_last: bool,
    /// Whether its bytes are encrypted.
    pub is_sealed: bool,
    /// The note's exact text.
    pub note: String,
    /// The armoured signature.
    pub signature: String,
    /// How many bytes the blob has.
    pub bytes: u64,
    /// When it came.
    pub at: Timestamp,
}

/// A recording as its row is written.
#[derive(Debug, Clone)]
pub(super) struct RecordingWritten {
    pub(super) name: RecordingName,
    pub(super) kept: Kept,
}

impl Bound for RecordingWritten {
    fn bind<'q>(&self, query: Binding<'q>) -> Binding<'q> {
        let (name, kept) = (&self.name, &self.kept);
        query
            .bind(name.tenant.as_str())
            .bind(name.device.as_str())
            .bind(name.session.to_string())
            .bind(kept.begun.micros())
            .bind(kept.kept.micros())
            .bind(i64::try_from(kept.chunks).unwrap_or(i64::MAX))
            .bind(i64::try_from(kept.bytes).unwrap_or(i64::MAX))
            .bind(kept.head.to_string())
            .bind(i64::from(kept.is_last))
            .bind(i64::from(kept.is_readable))
            .bind(i64::from(kept.is_cut))
            .bind(kept.hold.as_deref())
            .bind(kept.deleted.map(Timestamp::micros))
    }
}

/// A chunk as its row is written.
#[derive(Debug)]
pub(super) struct ChunkWritten {
    pub(super) name: RecordingName,
    pub(super) number: i64,
    pub(super) note: String,
    pub(super) signature: String,
}

impl Bound for ChunkWritten {
    fn bind<'q>(&self, query: Binding<'q>) -> Binding<'q> {
        query
            .bind(self.name.tenant.as_str())
            .bind(self.name.device.as_str())
            .bind(self.name.session.to_string())
            .bind(self.number)
            .bind(self.note.as_str())
            .bind(self.signature.as_str())
    }
}

impl Store {
    /// Keeps a chunk that continues what is there: its bytes first, then its row. How many chunks are durable when this
    /// returns; another number than the chunk's own and one says that it was not the next one.
    ///
    /// Cut off between the two: bytes without a row count as never come, and are written anew.
    ///
    /// # Errors
    /// Refused when it does not follow the note before, or its session is over without a recording or gone; broken when the
    /// disk did not take it: nothing is acknowledged then.
    pub async fn keep_chunk(&self, chunk: Chunk, blob: bytes::Bytes) -> Result<u64, RecordError> {
        let objects = self.objects();
        let mut turn = objects.turn(chunk.name.session).await;
        let newest = turn.as_mut().and_then(|turn| turn.take()).filter(|newest| newest.name == chunk.name);
        let (kept, head) = match newest {
            Some(newest) => (newest.chunks, Some(newest.head)),
            None => self.newest(&chunk.name).await?,
        };
        if kept != chunk.number {
            return Ok(kept);
        }
        follows(&chunk, head)?;
        let name = ChunkName { recording: &chunk.name, number: chunk.number, is_sealed: chunk.is_sealed };
        objects.put(&name, blob).await?;
        let newest = Newest {
            name: chunk.name.clone(),
            chunks: chunk.number.saturating_add(1),
            head: Digest::of(chunk.note.as_bytes()),
        };
        let kept = self.keep_work(Work::Chunk(Box::new(chunk))).await?;
        if let Some(turn) = turn.as_mut()
            && kept == newest.chunks
        {
            **turn = Some(newest);
        }
        Ok(kept)
    }

    /// How many chunks of a recording are durable, and the digest of the newest one's note.
    async fn newest(&self, name: &RecordingName) -> Result<(u64, Option<Digest>), Broken> {
        let tenant = self.tenant(&name.tenant).ok_or_else(|| Broken::new("a recording of no tenant"))?;
        let held = tenant.recording(name).await?;
        Ok(held.map_or((0, None), |held| (held.kept.chunks, Some(held.kept.head))))
    }

    /// The session of a device, whatever the device was called when it began.
    ///
    /// # Errors
    /// When the database cannot be read; so for every function here.
    pub async fn session_of(
        &self,
        tenant: &belay_certs::TenantName,
        join: Id,
        session: Id,
    ) -> Result<Option<SessionRow>, Broken> {
        let query =
            sqlx::query(sql::SESSION_OF_DEVICE).bind(tenant.as_str()).bind(session.to_string()).bind(join.to_string());
        query.fetch_optional(self.readers()).await?.as_ref().map(sessions::session).transpose()
    }

    /// The bytes of a chunk; none when they are not here.
    pub async fn blob(
        &self,
        name: &RecordingName,
        number: u64,
        is_sealed: bool,
    ) -> Result<Option<bytes::Bytes>, Broken> {
        self.objects().get(&ChunkName { recording: name, number, is_sealed }).await
    }

    /// Removes the bytes of a recording whose deletion is recorded.
    pub async fn remove_chunks(&self, name: &RecordingName) -> Result<u64, Broken> {
        let mut turn = self.objects().turn(name.session).await;
        if let Some(turn) = turn.as_mut() {
            **turn = None;
        }
        self.objects().remove(name).await
    }

    /// Removes the bytes of recordings whose deletion is recorded and was cut off before them. How many objects that were.
    ///
    /// What else has no row stays: a chunk cut off before its row is written anew, and after a restore of an older database
    /// the bytes may be all that is left.
    pub async fn sweep_chunks(&self) -> Result<u64, Broken> {
        let mut removed = 0;
        for name in self.objects().recordings().await? {
            let Some(tenant) = self.tenant(&name.tenant) else { continue };
            if tenant.recording(&name).await?.is_some_and(|held| held.state() == RecordingState::Deleted) {
                removed += self.remove_chunks(&name).await?;
            }
        }
        Ok(removed)
    }
}

/// Whether the chunk's note names the newest one that is held.
pub(super) fn follows(chunk: &Chunk, head: Option<Digest>) -> Result<(), Refusal> {
    match chunk.previous == head {
        true => Ok(()),
        false => Err(Refusal::RecordingForked { session: chunk.name.session, chunk: chunk.number }),
    }
}

impl TenantStore {
    /// What is held of a recording.
    ///
    /// # Errors
    /// When the database cannot be read; so for every function here.
    pub async fn recording(&self, name: &RecordingName) -> Result<Option<RecordingRow>, Broken> {
        let query = sqlx::query(sql::RECORDING)
            .bind(self.name().as_str())
            .bind(name.device.as_str())
            .bind(name.session.to_string());
        let row = query.fetch_optional(self.store().readers()).await?;
        row.map(|row| recording(&row, self.name())).transpose()
    }

    /// The session of that id; of two, the older.
    pub async fn session(&self, id: Id) -> Result<Option<SessionRow>, Broken> {
        let query = sqlx::query(sql::SESSION_BY_ID).bind(self.name().as_str()).bind(id.to_string());
        query.fetch_optional(self.store().readers()).await?.as_ref().map(sessions::session).transpose()
    }

    /// The notes of a recording from chunk `from` on, at most [`CHUNKS_READ_MAX`].
    pub async fn chunks(&self, name: &RecordingName, from: u64) -> Result<Vec<ChunkRow>, Broken> {
        let query = sqlx::query(sql::CHUNKS)
            .bind(self.name().as_str())
            .bind(name.device.as_str())
            .bind(name.session.to_string())
            .bind(signed(from)?)
            .bind(CHUNKS_READ_MAX);
        let rows = query.fetch_all(self.store().readers()).await?;
        let read = |row: &AnyRow| {
            Ok(ChunkRow { number: unsigned(row.try_get(0)?)?, note: row.try_get(1)?, signature: row.try_get(2)? })
        };
        rows.iter().map(read).collect()
    }

    /// Recordings of sessions that were over or given up before `before`, with nothing newer in them, that nobody holds.
    pub async fn recordings_due(&self, before: Timestamp) -> Result<Vec<RecordingRow>, Broken> {
        let query =
            sqlx::query(sql::RECORDINGS_DUE).bind(self.name().as_str()).bind(before.micros()).bind(RECORDINGS_DUE_MAX);
        let rows = query.fetch_all(self.store().readers()).await?;
        rows.iter().map(|row| recording(row, self.name())).collect()
    }

    /// Recordings of sessions that nobody said to have ended, the way to which was gone before `before`, with nothing newer in
    /// them; but not those that were given up.
    pub async fn recordings_unheard(&self, before: Timestamp) -> Result<Vec<RecordingRow>, Broken> {
        let query = sqlx::query(sql::RECORDINGS_UNHEARD)
            .bind(self.name().as_str())
            .bind(before.micros())
            .bind(RECORDINGS_DUE_MAX);
        let rows = query.fetch_all(self.store().readers()).await?;
        rows.iter().map(|row| recording(row, self.name())).collect()
    }

    /// Recordings of sessions that are over or given up, with something new from `since` on: a chunk, the end, or that they were deleted.
    /// The oldest first.
    pub async fn recordings_changed(&self, since: Timestamp) -> Result<Vec<RecordingRow>, Broken> {
        let query =
            sqlx::query(sql::RECORDINGS_CHANGED).bind(self.name().as_str()).bind(since.micros()).bind(INDEXED_READ_MAX);
        let rows = query.fetch_all(self.store().readers()).await?;
        rows.iter().map(|row| recording(row, self.name())).collect()
    }

    /// Recordings that only auditors can read and that changed from `since` on, with their sessions, in the order of it: a chunk that
    /// came, or that they were deleted. At most `limit`; from 0 on without those that were deleted.
    pub async fn sealed_changed(&self, since: Timestamp, limit: u32) -> Result<Vec<SessionRow>, Broken> {
        let query =
            sqlx::query(sql::SEALED_CHANGED).bind(self.name().as_str()).bind(since.micros()).bind(rows_max(limit));
        query.fetch_all(self.store().readers()).await?.iter().map(sessions::session).collect()
    }

    /// How many recordings a search would look into, and that only auditors can read.
    pub async fn unreadable(&self, wanted: &Wanted) -> Result<u64, Broken> {
        let query = sqlx::query(sql::RECORDINGS_UNREADABLE)
            .bind(self.name().as_str())
            .bind(wanted.device.as_ref().map_or("", DeviceName::as_str))
            .bind(wanted.person.as_ref().map(ToString::to_string).unwrap_or_default())
            .bind(wanted.since.micros())
            .bind(wanted.kind_word());
        unsigned(query.fetch_one(self.store().readers()).await?.try_get(0)?)
    }
}

/// A row of `recording_held!`.
pub(super) fn recording(row: &AnyRow, tenant: &belay_certs::TenantName) -> Result<RecordingRow, Broken> {
    let (device, session) = (row.try_get::<&str, _>(0)?.parse()?, row.try_get::<&str, _>(1)?.parse()?);
    let ended: Option<i64> = row.try_get(12)?;
    let named: Option<&str> = row.try_get(13)?;
    let named = named.map(str::parse).transpose()?;
    Ok(RecordingRow {
        name: RecordingName { tenant: tenant.clone(), device, session },
        kept: kept(row, 2)?,
        end: ended.map(|at| (Timestamp::from_micros(at), named)),
    })
}

/// The columns of `recording` from `begun_us` on, which stand at `at`.
pub(super) fn kept(row: &AnyRow, at: usize) -> Result<Kept, Broken> {
    let truth = |at: usize| -> Result<bool, Broken> { Ok(row.try_get::<i64, _>(at)? != 0) };
    let deleted: Option<i64> = row.try_get(at + 9)?;
    Ok(Kept {
        begun: Timestamp::from_micros(row.try_get(at)?),
        kept: Timestamp::from_micros(row.try_get(at + 1)?),
        chunks: unsigned(row.try_get(at + 2)?)?,
        bytes: unsigned(row.try_get(at + 3)?)?,
        head: row.try_get::<&str, _>(at + 4)?.parse()?,
        is_last: truth(at + 5)?,
        is_readable: truth(at + 6)?,
        is_cut: truth(at + 7)?,
        hold: row.try_get(at + 8)?,
        deleted: deleted.map(Timestamp::from_micros),
    })
}
