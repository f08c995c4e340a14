//! `recording`, `hold` and `release`: what a session showed, handed over as it was signed; and kept from being deleted.
//!
//! A tar of the notes with their signatures and of the bytes as they are stored: stock tools check and open all of it (P8).
//! What is altered ends it with the chunk's number.

use super::{
    Call, Failure, Output, Place,
    show::{self, Form},
};
use crate::archive::{END, append};
use crate::store::{Broken, ChunkRow, Kept, RecordError, SessionRow, TenantStore};
use belay_certs::{
    Digest, Id, PersonRef, TenantName, Timestamp,
    policy::ActionKind,
    recording::{Chain, SignedNote, blob},
};
use belay_rules::{
    Ask, Draft, LogName, RecordingName, RecordingState, What,
    event::{Look, RecordingRead},
};
use serde::Serialize;
use tokio::io::AsyncWriteExt;

/// Holding a recording, or letting it go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// Nothing deletes it from now on.
    Lay,
    /// The policy's `keep` counts again.
    Lift,
}

/// A recording as JSON: `recording.json` of the archive.
#[derive(Serialize)]
struct About {
    session: Id,
    tenant: TenantName,
    /// `web1.acme`.
    device: String,
    /// Of the device's record, as the first note says it.
    serial: Option<u64>,
    person: PersonRef,
    account: String,
    kind: String,
    command: Option<String>,
    ticket: Option<String>,
    started: Timestamp,
    ended: Option<Timestamp>,
    state: &'static str,
    chunks: u64,
    bytes: u64,
    /// As the session's signed end names it.
    head: Option<Digest>,
    readable: bool,
    held: bool,
}

/// A session with its recording, in a tenant whose auditor the caller is.
struct Found {
    place: Place,
    store: TenantStore,
    row: SessionRow,
    kept: Kept,
    name: RecordingName,
}

/// The session of that id in any tenant in which the caller may audit; the command is recorded there before this returns. One
/// that is not there, one of a tenant that is none of the caller's business and one that nobody recorded are answered alike
/// (P3).
async fn find(call: &Call<'_>, id: Id) -> Result<Found, Failure> {
    let places = call.auditing();
    let is_auditor = !places.is_empty();
    for place in places {
        let Some(store) = call.gateway.store.tenant(&place.tenant) else { continue };
        let Some(row) = store.session(id).await? else { continue };
        let Some(kept) = row.recording.clone() else { continue };
        call.record(std::slice::from_ref(&place)).await?;
        let name = RecordingName { tenant: place.tenant.clone(), device: row.device.clone(), session: id };
        return Ok(Found { place, store, row, kept, name });
    }
    // Recorded in every tenant of the caller's: it was looked for in all of them.
    call.granted(None).await?;
    if !is_auditor {
        return Err(call.lacks(None, ActionKind::Audit));
    }
    Err(Failure::Refused(format!("session {id} has no recording that you may see; list them with `sessions`")))
}

pub(super) async fn run(
    call: &Call<'_>,
    id: Id,
    from: u64,
    form: Form,
    stdout: &mut Output<'_>,
) -> Result<String, Failure> {
    let found = find(call, id).await?;
    let about = about(&found).await?;
    if form == Form::Json {
        return Ok(show::json(&about)?);
    }
    let look = What::RecordingRead(RecordingRead { session: id, kind: Look::Read });
    note_looks(call, &found.place, [(found.name.device.clone(), look)]).await?;
    append(stdout, "recording.json", show::json(&about)?.as_bytes()).await?;
    let mut next = from;
    let mut chain = before(&found, from).await?;
    while next < found.kept.chunks {
        let notes = found.store.chunks(&found.name, next).await?;
        if notes.is_empty() {
            return Err(Broken::new(format!("the note of chunk {next} of session {id} is missing")).into());
        }
        for note in notes.into_iter().take_while(|note| note.number < found.kept.chunks) {
            next = note.number.saturating_add(1);
            chunk(call, &found, &mut chain, note, stdout).await?;
        }
    }
    stdout.write_all(&END).await?;
    Ok(String::new())
}

async fn about(found: &Found) -> Result<About, Failure> {
    let Found { row, kept, name, store, .. } = found;
    let first = store.chunks(name, 0).await?.into_iter().next();
    let serial = first.map(|first| SignedNote { text: first.note, signature: first.signature }.note());
    Ok(About {
        session: row.session,
        tenant: name.tenant.clone(),
        device: format!("{}.{}", name.device, name.tenant),
        serial: serial.transpose().map_err(Broken::from)?.map(|note| note.serial),
        person: row.person.clone(),
        account: row.account.clone(),
        kind: row.kind.clone(),
        command: row.command.clone(),
        ticket: row.ticket.clone(),
        started: row.started,
        ended: row.ended.as_ref().map(|ended| ended.at),
        state: row.recording_state().map_or("", RecordingState::as_str),
        chunks: kept.chunks,
        bytes: kept.bytes,
        head: row.ended.as_ref().and_then(|ended| ended.recording),
        readable: kept.is_readable,
        held: kept.hold.is_some(),
    })
}

/// All that is known of the chunks before `from`.
async fn before(found: &Found, from: u64) -> Result<Chain, Failure> {
    let Some(last) = from.checked_sub(1) else { return Ok(Chain::new(found.row.session)) };
    let note = found.store.chunks(&found.name, last).await?.into_iter().next();
    let Some(note) = note else {
        let chunks = found.kept.chunks;
        return Err(Failure::Refused(format!("the recording has {chunks} chunks, so none comes from {from} on")));
    };
    let signed = SignedNote { text: note.note, signature: note.signature };
    Ok(Chain::behind(signed.note().map_err(Broken::from)?, signed.digest()))
}

/// Note, signature and bytes of one chunk; of one that was deleted the first two.
async fn chunk(
    call: &Call<'_>,
    found: &Found,
    chain: &mut Chain,
    ChunkRow { number, note, signature }: ChunkRow,
    stdout: &mut Output<'_>,
) -> Result<(), Failure> {
    let deleted = found.kept.deleted.is_some();
    let named = match deleted {
        true => None,
        false => Some(bytes_of(call, found, number).await?),
    };
    if let Some((_, bytes)) = &named {
        chain.take(&note, bytes)?;
    }
    append(stdout, &format!("{number:08}.note"), note.as_bytes()).await?;
    append(stdout, &format!("{number:08}.note.sig"), signature.as_bytes()).await?;
    if let Some((file, bytes)) = named {
        append(stdout, &file, &bytes).await?;
    }
    Ok(())
}

/// A chunk's file name and bytes: as an encrypted one, or a plain one.
async fn bytes_of(call: &Call<'_>, found: &Found, number: u64) -> Result<(String, bytes::Bytes), Failure> {
    // A recording may begin plain and go on encrypted, or the other way round: when the policy changed.
    let first = !found.kept.is_readable;
    for is_sealed in [first, !first] {
        if let Some(bytes) = call.gateway.store.blob(&found.name, number, is_sealed).await? {
            return Ok((blob::file_name(number, !is_sealed), bytes));
        }
    }
    Err(Failure::Refused(format!("chunk {number} of the recording is not here any more: somebody removed its file")))
}

/// Records every look at what a device recorded, before the first byte of it is shown.
pub(super) async fn note_looks(
    call: &Call<'_>,
    place: &Place,
    looks: impl IntoIterator<Item = (belay_certs::DeviceName, What)>,
) -> Result<(), Failure> {
    let notes = looks.into_iter().map(|(device, what)| {
        let draft = Draft::new(LogName::Tenant(place.tenant.clone()), what).on(device).by(place.person.clone());
        call.gateway.record(Ask::Note(draft))
    });
    recorded(futures_util::future::try_join_all(notes).await.map(|_| ()))
}

pub(super) fn recorded(answer: Result<(), RecordError>) -> Result<(), Failure> {
    match answer {
        Ok(()) => Ok(()),
        Err(RecordError::Refused(refusal)) => Err(Failure::Refused(refusal.to_string())),
        Err(RecordError::Broken(why)) => Err(why.into()),
    }
}

pub(super) async fn hold(call: &Call<'_>, id: Id, reason: String, wanted: Hold) -> Result<String, Failure> {
    let Found { name, place, .. } = find(call, id).await?;
    let by = place.person;
    let (ask, said) = match wanted {
        Hold::Lay => (Ask::HoldRecording { name, by, reason }, "is held: nothing deletes it"),
        Hold::Lift => (Ask::ReleaseRecording { name, by, reason }, "is held no more: the policy's `keep` counts"),
    };
    recorded(call.gateway.record(ask).await.map(|_| ()))?;
    Ok(format!("the recording of session {id} {said}\n"))
}
