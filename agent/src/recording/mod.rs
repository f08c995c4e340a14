//! Recordings: what the sessions of this machine showed, from the first byte to the gateway's word that it has it.
//!
//! | file | what |
//! |---|---|
//! | `one` | one session's: events in, sealed chunks out, and whether the person may be shown more |
//! | `seal` | chunks compressed, encrypted, chained and signed, off the runtime's threads |
//!
//! Fail closed: where the policy has `[recording]`, nothing is shown that is not recorded, and little that the gateway does not have
//! yet. Not here: what a chunk is (`belay_certs::recording`), the rules (`belay_agent_rules::recording`), streams (`quic/recording`).

mod one;
mod seal;

pub(crate) use one::{Recording, Standing, Take};

use crate::{
    authority::Authority,
    limits::{RECORDINGS_ENDED_BYTES_MAX, SETTLE_WAIT},
    words::heard,
};
use belay_certs::{
    Id, PrivateKey,
    recording::{
        blob::Readers,
        cast::{About, Header, Kind},
    },
};
use seal::Sealer;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// The recordings of this machine. Cheap to clone.
#[derive(Clone)]
pub struct Recordings(Arc<Shared>);

/// What every recording needs.
struct Shared {
    /// What the policy says, and who this machine is.
    authority: Arc<Authority>,
    /// Signs the notes.
    host_key: PrivateKey,
    /// Every task is spawned here; each ends with its recording.
    tracker: TaskTracker,
    /// Every recording that the gateway does not have whole.
    all: Mutex<BTreeMap<Id, Arc<Recording>>>,
    /// Rises when one is added or forgotten.
    changes: watch::Sender<u64>,
    /// Whether the gateway reached last takes recordings: an older one would close the connection.
    taken: AtomicBool,
}

/// A terminal, as the header of a recording names it.
pub(crate) struct Terminal<'a> {
    /// `TERM`.
    pub(crate) term: &'a str,
    /// Its width.
    pub(crate) columns: u32,
    /// Its height.
    pub(crate) rows: u32,
}

impl Recordings {
    /// No recording yet.
    pub fn new(authority: Arc<Authority>, host_key: PrivateKey) -> Self {
        let (tracker, all, changes) = (TaskTracker::new(), Mutex::default(), watch::Sender::new(0));
        Self(Arc::new(Shared { authority, host_key, tracker, all, changes, taken: AtomicBool::new(false) }))
    }

    /// Whether a session may begin, as far as recording goes.
    ///
    /// # Errors
    /// The sentence for the person.
    pub(crate) fn ready(&self) -> Result<(), String> {
        if !self.0.authority.recording().is_on() {
            return Ok(());
        }
        if !self.taken() {
            return Err("the policy has sessions recorded, and the gateway is too old to keep recordings: upgrade it"
                .to_owned());
        }
        let waiting: usize = self.all().iter().map(|one| one.ended_bytes()).sum();
        if waiting > RECORDINGS_ENDED_BYTES_MAX {
            let sentence = "the recordings of earlier sessions have not reached the gateway, and there is no room for more: try again later";
            return Err(sentence.to_owned());
        }
        Ok(())
    }

    /// Begins the recording of a session; none where the policy has no `[recording]`. Who reads it is settled now: a policy that
    /// changes counts for the sessions after it.
    ///
    /// # Errors
    /// The sentence for the person: a session that cannot be recorded does not begin.
    pub(crate) fn begin(&self, about: About, terminal: Option<&Terminal<'_>>) -> Result<Option<Take>, String> {
        let policy = self.0.authority.recording();
        let cannot = |error: belay_certs::Invalid| format!("it cannot be recorded: {error}");
        let Some(readers) = Readers::of(&policy).map_err(cannot)? else { return Ok(None) };
        let facts = self.0.authority.device().ok_or("it cannot be recorded: this machine is not approved")?;
        let (session, shows) = (about.session, about.kind != Kind::Sftp);
        let header = Header::new(about, self.0.authority.clock().now().seconds());
        let header = match terminal {
            Some(terminal) => header.with_terminal(terminal.term, terminal.columns, terminal.rows),
            None => header,
        };
        let recording = Arc::new(Recording::new(session, header.to_line().map_err(cannot)?, shows, policy.input));
        let sealer = Sealer { device: facts.address, serial: facts.serial, host_key: self.0.host_key.clone(), readers };
        self.lock().insert(session, recording.clone());
        self.changed();
        let (all, sealed) = (self.clone(), recording.clone());
        self.0.tracker.spawn(async move {
            sealer.seal(&sealed).await;
            all.forget_if_kept(&sealed);
        });
        Ok(Some(Take::new(recording)))
    }

    /// Whether the gateway reached last takes recordings.
    pub(crate) fn taken(&self) -> bool {
        self.0.taken.load(Ordering::Relaxed)
    }

    /// A connection to a gateway that takes recordings, or is too old for them.
    pub(crate) fn connected(&self, takes: bool) {
        self.0.taken.store(takes, Ordering::Relaxed);
    }

    /// The gateway keeps so many chunks of a recording.
    pub(crate) fn kept(&self, session: Id, chunks: u64) {
        let Some(recording) = self.get(session) else { return };
        match recording.keep(chunks) {
            Ok(()) => self.forget_if_kept(&recording),
            Err(ahead) => tracing::warn!(%session, "{ahead}"),
        }
    }

    /// The gateway will not keep a recording: its session ends.
    pub(crate) fn refused(&self, session: Id, sentence: &str) {
        let Some(recording) = self.get(session) else { return };
        let sentence = heard(sentence);
        tracing::warn!(%session, "the gateway does not keep the recording: {sentence}");
        recording.refuse(&sentence);
        self.forget_if_kept(&recording);
    }

    /// Every recording that the gateway does not have whole.
    pub(crate) fn all(&self) -> Vec<Arc<Recording>> {
        self.lock().values().cloned().collect()
    }

    /// Rises when a recording is added or forgotten.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Where tasks about recordings run.
    pub(crate) fn tracker(&self) -> &TaskTracker {
        &self.0.tracker
    }

    /// Waits until the gateway has every recording.
    pub(crate) async fn settled(&self) {
        let mut changes = self.changes();
        while !self.lock().is_empty() && changes.changed().await.is_ok() {}
    }

    /// Waits a moment for the tasks, after the last connection was closed.
    pub(crate) async fn close(&self) {
        self.0.tracker.close();
        if tokio::time::timeout(SETTLE_WAIT, self.0.tracker.wait()).await.is_err() {
            tracing::warn!(recordings = self.all().len(), "some recordings were not at the gateway in time");
        }
    }

    fn get(&self, session: Id) -> Option<Arc<Recording>> {
        self.lock().get(&session).cloned()
    }

    fn forget_if_kept(&self, recording: &Recording) {
        if recording.is_done() && self.lock().remove(&recording.session).is_some() {
            recording.forget();
            self.changed();
        }
    }

    fn changed(&self) {
        self.0.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Id, Arc<Recording>>> {
        self.0.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(crate) mod tests;
