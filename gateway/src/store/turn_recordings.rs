//! The turns of recordings: a chunk whose bytes are durable, an end that names none, holds and deletions.

use super::broken::{Broken, RecordError};
use super::heads::signed;
use super::recordings::{Chunk, ChunkWritten, Kept, RecordingRow, RecordingWritten, follows, recording};
use super::sql;
use super::turn::{Answer, Turn};
use belay_certs::{Digest, Id, PersonRef, TenantName, Timestamp};
use belay_rules::recording::{cut, delete, give_up, hold, release};
use belay_rules::{Draft, Outcome, RecordingName, RecordingState, Refusal};

/// A person's word about a recording.
pub(super) struct Said<'a> {
    pub(super) by: &'a PersonRef,
    pub(super) reason: &'a str,
}

impl Turn<'_> {
    /// Takes a chunk whose bytes are durable into the tables, if it is the next one. How many there are then.
    pub(super) async fn chunk(&mut self, chunk: Chunk) -> Result<u64, RecordError> {
        let held = self.recording(&chunk.name).await?;
        let kept = held.as_ref().map_or(0, |held| held.kept.chunks);
        if kept != chunk.number {
            return Ok(kept);
        }
        follows(&chunk, held.as_ref().map(|held| held.kept.head))?;
        match held.as_ref().map(RecordingRow::state) {
            Some(RecordingState::Deleted) => return Err(Refusal::RecordingGone(chunk.name.session).into()),
            Some(RecordingState::Cut) => return Err(Refusal::RecordingOver(chunk.name.session).into()),
            Some(
                RecordingState::Live | RecordingState::Whole | RecordingState::Missing | RecordingState::Unterminated,
            )
            | None => {}
        }
        let Chunk { name, number, is_last, is_sealed, note, signature, bytes, at, previous: _ } = chunk;
        let head = Digest::of(note.as_bytes());
        let before = held.map(|held| held.kept);
        let kept = Kept {
            begun: before.as_ref().map_or(at, |before| before.begun),
            kept: at,
            chunks: number.saturating_add(1),
            bytes: before.as_ref().map_or(0, |before| before.bytes).saturating_add(bytes),
            head,
            is_last,
            is_readable: before.as_ref().is_none_or(|before| before.is_readable) && !is_sealed,
            is_cut: false,
            hold: before.and_then(|before| before.hold),
            deleted: None,
        };
        let chunks = kept.chunks;
        self.stage.chunk(ChunkWritten { name: name.clone(), number: signed(number)?, note, signature });
        self.stage.recording(RecordingWritten { name, kept });
        Ok(chunks)
    }

    /// The recording as it stands in this transaction. Its session's end counts once it is committed: a device says it behind
    /// the last chunk.
    async fn recording(&mut self, name: &RecordingName) -> Result<Option<RecordingRow>, Broken> {
        let query = sqlx::query(sql::RECORDING)
            .bind(name.tenant.as_str())
            .bind(name.device.as_str())
            .bind(name.session.to_string());
        let row = query.fetch_optional(self.transaction.sql().await?).await?;
        let row = row.map(|row| recording(&row, &name.tenant)).transpose()?;
        let staged = self.stage.recording_staged(name).map(|staged| staged.kept.clone());
        Ok(match (row, staged) {
            (Some(row), Some(kept)) => Some(RecordingRow { kept, ..row }),
            (None, Some(kept)) => Some(RecordingRow { name: name.clone(), kept, end: None }),
            (row, None) => row,
        })
    }

    /// A session of this device is over and its end names no recording: what there is of one is a prefix, and the log says so.
    pub(super) async fn cut_off(
        &mut self,
        tenant: &TenantName,
        join: Id,
        session: Id,
        now: Timestamp,
    ) -> Result<(), RecordError> {
        // A chunk of it may be in this very transaction.
        if self.stage.has_recordings() {
            self.stage.write_rows(&mut self.transaction).await?;
        }
        let query = sqlx::query(sql::RECORDING_OF_DEVICE)
            .bind(tenant.as_str())
            .bind(session.to_string())
            .bind(join.to_string());
        let row = query.fetch_optional(self.transaction.sql().await?).await.map_err(Broken::from)?;
        let Some(row) = row.map(|row| recording(&row, tenant)).transpose()? else { return Ok(()) };
        if row.kept.is_cut || row.kept.deleted.is_some() || row.end.is_some_and(|(_, named)| named.is_some()) {
            return Ok(());
        }
        self.note(cut(&row.name, &row.held()), now)?;
        self.stage.recording(RecordingWritten { name: row.name, kept: Kept { is_cut: true, ..row.kept } });
        Ok(())
    }

    /// Nothing is waited for any more. Should more come all the same, it is taken, and the recording is live again.
    pub(super) async fn give_up_recording(
        &mut self,
        name: &RecordingName,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<Answer, RecordError> {
        let row = self.known(name).await?;
        if row.kept.kept >= before {
            return Err(Refusal::RecordingLive(name.session).into());
        }
        let draft = give_up(name, &row.held())?;
        self.change(draft, now, Kept { is_cut: true, kept: now, ..row.kept }, name)
    }

    pub(super) async fn hold_recording(
        &mut self,
        name: &RecordingName,
        said: Said<'_>,
        now: Timestamp,
    ) -> Result<Answer, RecordError> {
        let row = self.known(name).await?;
        let draft = hold(name, &row.held(), said.by, said.reason)?;
        self.change(draft, now, Kept { hold: Some(said.reason.to_owned()), ..row.kept }, name)
    }

    pub(super) async fn release_recording(
        &mut self,
        name: &RecordingName,
        said: Said<'_>,
        now: Timestamp,
    ) -> Result<Answer, RecordError> {
        let row = self.known(name).await?;
        let draft = release(name, &row.held(), said.by, said.reason)?;
        self.change(draft, now, Kept { hold: None, ..row.kept }, name)
    }

    /// The caller removes the bytes once this is durable; the next start does where that was cut off.
    pub(super) async fn delete_recording(
        &mut self,
        name: &RecordingName,
        why: &str,
        now: Timestamp,
    ) -> Result<Answer, RecordError> {
        let row = self.known(name).await?;
        let draft = delete(name, &row.held(), why)?;
        self.change(draft, now, Kept { deleted: Some(now), ..row.kept }, name)
    }

    async fn known(&mut self, name: &RecordingName) -> Result<RecordingRow, RecordError> {
        let row = self.recording(name).await?;
        row.ok_or_else(|| Refusal::RecordingUnknown(name.session).into())
    }

    fn change(
        &mut self,
        draft: Draft,
        now: Timestamp,
        kept: Kept,
        name: &RecordingName,
    ) -> Result<Answer, RecordError> {
        let entered = self.note(draft, now)?;
        self.stage.recording(RecordingWritten { name: name.clone(), kept });
        Ok(Answer::New(entered, Outcome::Recorded))
    }
}
