//! One session's recording: an event is an append to a buffer; chunks wait here until the gateway has them.
//!
//! The lock is held for an append, never across a wait. Not here: sealing (`seal`).

use belay_agent_rules::recording::{AheadOfChunks, Cut, Flow, Tape, Window, kept};
use belay_certs::{Digest, Id, recording::SignedNote};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

/// A sealed chunk, ready to be sent.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// Its number.
    pub(crate) number: u64,
    /// Its note, signed.
    pub(crate) note: SignedNote,
    /// Its bytes.
    pub(crate) blob: Vec<u8>,
}

/// How far a recording is; watched by whoever carries its chunks, and by its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Chunks that are sealed.
    pub(crate) sealed: u64,
    /// Chunks that the gateway keeps, by its own word.
    pub(crate) kept: u64,
    /// Whether the last sealed chunk says that it is the last.
    pub(crate) whole: bool,
    /// Whether nothing will be sealed any more.
    pub(crate) ended: bool,
    /// Whether the gateway said that it will not keep it.
    refused: bool,
    /// Whether nothing is to be sent any more.
    pub(crate) forgotten: bool,
    /// Whether output may go on.
    flow: Flow,
    /// Why the session must end, if it must.
    stopped: Option<String>,
}

/// What the sealing task does next.
pub(super) enum Step {
    /// Seal this.
    Seal(Cut),
    /// Wait for something to happen, at most until then.
    Wait(Option<Instant>),
    /// Nothing more will come.
    Done,
}

/// The recording of one session.
pub(crate) struct Recording {
    /// Whose.
    pub(crate) session: Id,
    /// Time zero.
    began: Instant,
    /// Whether what is shown is recorded byte by byte: not of a file session, whose bytes are packets and whose deeds are marked.
    shows: bool,
    /// Whether what is typed is recorded too.
    input: bool,
    inner: Mutex<Inner>,
    /// The sealing task has something to do, or must wait less long.
    wake: Notify,
    standing: watch::Sender<Standing>,
}

struct Inner {
    /// What is not cut yet; none once the session is over.
    tape: Option<Tape>,
    /// What the gateway does not have.
    window: Window,
    /// Cut, and not sealed yet: less than what the window lets through, and one read.
    cut: VecDeque<Cut>,
    /// Sealed, and not kept yet.
    sealed: VecDeque<Arc<Chunk>>,
    /// The digest of the last note.
    head: Option<Digest>,
}

/// The session's hold on its recording: one that is dropped without an end leaves a prefix, sealed and without a last chunk.
pub(crate) struct Take(Arc<Recording>);

impl Take {
    pub(super) fn new(recording: Arc<Recording>) -> Self {
        Self(recording)
    }

    /// The recording.
    pub(crate) fn recording(&self) -> &Arc<Recording> {
        &self.0
    }

    /// Ends the recording. Comes back when its last chunk is sealed, with the digest of that chunk's note; none when it could
    /// not be sealed.
    pub(crate) async fn finish(self) -> Option<Digest> {
        self.0.end(true);
        let mut standing = self.0.watch();
        let ended = standing.wait_for(|standing| standing.ended).await.map(|standing| standing.whole);
        self.0.lock().head.filter(|_| ended.unwrap_or(false))
    }
}

impl Drop for Take {
    fn drop(&mut self) {
        self.0.end(false);
    }
}

impl Recording {
    pub(super) fn new(session: Id, header: String, shows: bool, input: bool) -> Self {
        let inner = Inner {
            tape: Some(Tape::new(header)),
            window: Window::default(),
            cut: VecDeque::new(),
            sealed: VecDeque::new(),
            head: None,
        };
        let standing = Standing {
            sealed: 0,
            kept: 0,
            whole: false,
            ended: false,
            refused: false,
            forgotten: false,
            flow: Flow::Open,
            stopped: None,
        };
        let (wake, standing) = (Notify::new(), watch::Sender::new(standing));
        Self { session, began: Instant::now(), shows, input, inner: Mutex::new(inner), wake, standing }
    }

    /// The person is about to receive these bytes.
    pub(crate) fn shown(&self, bytes: &[u8]) {
        if self.shows {
            self.take(|tape, now| tape.output(now, bytes));
        }
    }

    /// Whether what is typed is recorded, where the terminal shows it.
    pub(crate) fn wants_input(&self) -> bool {
        self.input
    }

    /// The person typed these bytes, and the terminal echoes.
    pub(crate) fn typed(&self, bytes: &[u8]) {
        self.take(|tape, now| tape.input(now, bytes));
    }

    /// The terminal has another size.
    pub(crate) fn resized(&self, columns: u32, rows: u32) {
        self.take(|tape, now| tape.resize(now, columns, rows).into_iter().collect());
    }

    /// Something happened, in words.
    pub(crate) fn marked(&self, words: &str) {
        self.take(|tape, now| tape.marker(now, words).into_iter().collect());
    }

    /// Waits until more output may be read. Cancel-safe.
    pub(crate) async fn clear(&self) {
        let now = self.now();
        if self.judge(&mut self.lock(), now) == Flow::Open {
            return;
        }
        let mut standing = self.watch();
        if standing.wait_for(|standing| standing.flow == Flow::Open).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the session must end for want of a recording, and returns why. Cancel-safe.
    pub(crate) async fn impossible(&self) -> String {
        let mut standing = self.watch();
        let why =
            standing.wait_for(|standing| standing.stopped.is_some()).await.map(|standing| standing.stopped.clone());
        match why {
            Ok(why) => why.unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// How far it is.
    pub(crate) fn watch(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// A sealed chunk that the gateway is not known to keep.
    pub(crate) fn chunk(&self, number: u64) -> Option<Arc<Chunk>> {
        let inner = self.lock();
        let first = inner.sealed.front()?.number;
        inner.sealed.get(usize::try_from(number.checked_sub(first)?).ok()?).cloned()
    }

    /// Bytes that a session that is over leaves here; none of one that goes on.
    pub(super) fn ended_bytes(&self) -> usize {
        let inner = self.lock();
        let sealed = inner.sealed.iter().map(|chunk| chunk.blob.len());
        if inner.tape.is_some() { 0 } else { sealed.chain(inner.cut.iter().map(|cut| cut.text.len())).sum() }
    }

    /// Whether it ended, and the gateway has all of it or will not have it.
    pub(super) fn is_done(&self) -> bool {
        let standing = self.standing.borrow();
        standing.ended && (standing.refused || standing.kept >= standing.sealed)
    }

    /// Nothing is to be sent any more.
    pub(super) fn forget(&self) {
        self.standing.send_modify(|standing| standing.forgotten = true);
    }

    /// The gateway keeps the first `said` chunks. It may say so again.
    pub(super) fn keep(&self, said: u64) -> Result<(), AheadOfChunks> {
        let mut inner = self.lock();
        let (before, sealed) = {
            let standing = self.standing.borrow();
            (standing.kept, standing.sealed)
        };
        let kept = kept(before, said, sealed)?;
        while inner.sealed.pop_front_if(|chunk| chunk.number < kept).is_some() {}
        inner.window.keep(kept);
        self.standing.send_modify(|standing| standing.kept = kept);
        let now = self.now();
        self.judge(&mut inner, now);
        Ok(())
    }

    /// It will not be kept: nothing of it is sent any more.
    pub(super) fn refuse(&self, sentence: &str) {
        let mut inner = self.lock();
        inner.sealed.clear();
        self.standing.send_modify(|standing| standing.refused = true);
        self.stop(sentence);
    }

    pub(super) fn step(&self) -> Step {
        let now = self.now();
        let mut inner = self.lock();
        if let Some(cut) = inner.tape.as_mut().and_then(|tape| tape.due(now)) {
            inner.push(cut);
        }
        self.judge(&mut inner, now);
        if let Some(cut) = inner.cut.pop_front() {
            return Step::Seal(cut);
        }
        let Some(tape) = &inner.tape else { return Step::Done };
        let next = tape.due_at().into_iter().chain(inner.window.look_at(tape.waits())).min();
        Step::Wait(next.map(|at| self.began + Duration::from_micros(at)))
    }

    /// Waits until there may be another step. Cancel-safe.
    pub(super) async fn stirred(&self) {
        self.wake.notified().await;
    }

    pub(super) fn sealed(&self, chunk: Chunk, last: bool) {
        let mut inner = self.lock();
        inner.head = Some(chunk.note.digest());
        // Of one that was refused only the head counts: the session's end names it.
        if !self.standing.borrow().refused {
            inner.sealed.push_back(Arc::new(chunk));
        }
        self.standing.send_modify(|standing| {
            standing.sealed = standing.sealed.saturating_add(1);
            standing.whole = last;
        });
    }

    /// Nothing will be sealed any more: the end was, or it cannot be.
    pub(super) fn ended(&self, broken: Option<&str>) {
        if let Some(why) = broken {
            self.stop(why);
        }
        self.standing.send_modify(|standing| standing.ended = true);
    }

    fn end(&self, whole: bool) {
        let mut inner = self.lock();
        let Some(mut tape) = inner.tape.take() else { return };
        // Without an end only what waits is cut: a prefix says nothing of a last chunk.
        if whole || tape.waits().is_some() {
            let cut = tape.finish();
            inner.push(Cut { last: whole, ..cut });
        }
        self.wake.notify_one();
    }

    /// Records an event, unless the session is over.
    fn take(&self, event: impl FnOnce(&mut Tape, u64) -> Vec<Cut>) {
        let now = self.now();
        let mut inner = self.lock();
        let Some(tape) = &mut inner.tape else { return };
        let idle = tape.waits().is_none();
        let cuts = event(tape, now);
        let stir = idle || !cuts.is_empty();
        cuts.into_iter().for_each(|cut| inner.push(cut));
        if self.judge(&mut inner, now) != Flow::Open || stir {
            self.wake.notify_one();
        }
    }

    fn judge(&self, inner: &mut Inner, now: u64) -> Flow {
        let Some(tape) = &inner.tape else { return Flow::Open };
        let full = tape.is_full();
        let flow = if full { Flow::Over } else { inner.window.flow(tape.waits(), now) };
        self.standing.send_if_modified(|standing| std::mem::replace(&mut standing.flow, flow) != flow);
        if flow == Flow::Over {
            let why = if full { "it is as long as one may be" } else { "the gateway has not taken it for 30 seconds" };
            self.stop(why);
        }
        flow
    }

    fn stop(&self, why: &str) {
        let sentence = || format!("the recording could not be kept: {why}");
        self.standing.send_if_modified(|standing| {
            let first = standing.stopped.is_none();
            standing.stopped.get_or_insert_with(sentence);
            first
        });
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn push(&mut self, cut: Cut) {
        self.window.cut(cut.chunk, cut.text.len(), cut.from);
        self.cut.push_back(cut);
    }
}
