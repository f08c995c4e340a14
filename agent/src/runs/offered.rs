//! An offer on its way to a note: judged by what the machine itself holds, kept, and noted with its intent; or refused, or
//! declined.
//!
//! What is proved to be of a person of the tenant is refused in a statement. Anything else is only declined: a hacked gateway
//! must not be able to fill this machine's statements. Not here: what follows the note (`carry`).

use super::{Offered, Shared, carry, start};
use crate::{
    authority::runs::Ordered,
    limits::DECLINES_PER_MINUTE_MAX,
    recorder::runs::{NotNoted, Noting},
    state::runs::Kept,
    words::heard,
};
use belay_agent_rules::run_ledger::NotTaken;
use belay_certs::{
    Digest, Id, Signed,
    order::{Offer, Order, Permit},
    secrets::Secrets,
    statement::{PolicyUsed, RunIntent, word},
};
use belay_protocol::{RunDeclined, RunOffered, RunOfferedSealed, ToGateway, limits::clip_sentence};
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::Instant};

/// Why there is no run.
enum Denied {
    /// It is said in a statement and the id remembered.
    Refused(Box<Ordered>, String),
    /// The gateway is told, and nobody else.
    Declined(Id, String),
    /// It is under way: the offer came again.
    Going,
}

/// The task that takes offers, one after the other: a note is durable before the next order is looked at.
pub(super) async fn attend(shared: Arc<Shared>, mut offers: mpsc::Receiver<Offered>) {
    let mut declines = Declines { since: Instant::now(), said: 0 };
    loop {
        let offered = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            offered = offers.recv() => offered,
        };
        let Some(Offered { kept, answers }) = offered else { return };
        let digest = Digest::of(&kept.order.bytes).0;
        match shared.take(kept).await {
            Ok(()) | Err(Denied::Going) => {}
            Err(Denied::Refused(ordered, sentence)) => {
                if let Err((order, sentence)) = shared.refuse(*ordered, sentence).await {
                    declines.say(order, digest, &sentence, &answers);
                }
            }
            Err(Denied::Declined(order, sentence)) => declines.say(order, digest, &sentence, &answers),
        }
    }
}

impl From<RunOffered> for Kept {
    fn from(offer: RunOffered) -> Self {
        Self {
            order: Signed { bytes: offer.order, signatures: vec![offer.order_signature] },
            runbook: Signed { bytes: offer.runbook, signatures: vec![offer.runbook_signature] },
            index: offer.index,
            path: offer.path,
            sealed: None,
        }
    }
}

impl From<RunOfferedSealed> for Kept {
    /// What is no age file in base64 is nothing, and no line has nothing.
    fn from(offer: RunOfferedSealed) -> Self {
        Self { sealed: offer.sealed.parse().ok(), ..offer.offered.into() }
    }
}

/// How many words went to the gateway in this minute.
struct Declines {
    since: Instant,
    said: u32,
}

impl Declines {
    fn say(&mut self, order: Id, digest: [u8; 32], sentence: &str, answers: &mpsc::Sender<ToGateway>) {
        if self.since.elapsed() >= Duration::from_secs(60) {
            *self = Self { since: Instant::now(), said: 0 };
        }
        self.said = self.said.saturating_add(1);
        if self.said > DECLINES_PER_MINUTE_MAX {
            return;
        }
        let sentence = heard(sentence);
        tracing::warn!(%order, "an order was not taken: {sentence}");
        let declined = RunDeclined { order: order.0, digest, sentence: clip_sentence(&sentence) };
        // A connection that takes no more answers is not waited for: the gateway offers again.
        let _ = answers.try_send(ToGateway::RunDeclined(declined));
    }
}

impl Shared {
    /// Takes an offer as far as its note.
    async fn take(self: &Arc<Self>, kept: Kept) -> Result<(), Denied> {
        let shared = self.clone();
        let order = Order::parse(&kept.order.bytes).map_err(|no| Denied::Declined(Id([0; 16]), no.to_string()))?;
        let (id, not_after) = (order.id, order.not_after);
        self.let_go().await;
        let new = self.recorder.check_run(id, not_after, self.authority.clock().now()).await;
        new.map_err(|not_noted| match not_noted {
            NotNoted::Taken(NotTaken::Going) => Denied::Going,
            other => Denied::Declined(id, other.to_string()),
        })?;
        let blocking = tokio::task::spawn_blocking(move || {
            let ordered =
                shared.authority.who_ordered(&kept.order).map_err(|no| Denied::Declined(id, no.to_string()))?;
            match shared.prepare(&kept) {
                Ok(permit) => Ok((shared.files.held_bytes(), kept, permit, ordered)),
                Err(sentence) => Err(Denied::Refused(Box::new(ordered), sentence)),
            }
        });
        let failed = |error| Denied::Declined(id, format!("this machine could not look at the order: {error}"));
        let (held_bytes, kept, permit, ordered) = blocking.await.map_err(failed)??;
        self.note(kept, permit, ordered, held_bytes).await
    }

    /// Judges the order, and looks whether the machine has what it needs.
    fn prepare(&self, kept: &Kept) -> Result<Permit, String> {
        let permit = self.judge(kept)?;
        start::check(&permit)?;
        self.secrets(&permit)?;
        Ok(permit)
    }

    /// The secrets of a run, as the script will see them.
    pub(super) fn secrets(&self, permit: &Permit) -> Result<Secrets, String> {
        permit.secrets(&self.host_key).map_err(|invalid| invalid.to_string())
    }

    /// The judgement as it stands now.
    pub(super) fn judge(&self, kept: &Kept) -> Result<Permit, String> {
        let Kept { order, runbook, index, path, sealed } = kept;
        let offer = Offer { order, runbook, place: *index, path, sealed: sealed.as_ref() };
        self.authority.judge_run(&offer, self.since)
    }

    /// The files, then the note with its intent.
    ///
    /// Crash before the note is durable: nothing happened, and the next start removes the files. Crash after: it is noted.
    async fn note(
        self: &Arc<Self>,
        kept: Kept,
        permit: Permit,
        ordered: Ordered,
        held_bytes: u64,
    ) -> Result<(), Denied> {
        let (id, not_after) = (permit.order().id, permit.order().not_after);
        let files = self.files.clone();
        let keeping = tokio::task::spawn_blocking(move || files.keep(id, &kept).map(|()| kept));
        let broken = |why: String| Denied::Declined(id, format!("this machine could not keep the order: {why}"));
        let written = match keeping.await {
            Ok(Ok(kept)) => Ok(kept),
            Ok(Err(error)) => Err(broken(error.to_string())),
            Err(error) => Err(broken(error.to_string())),
        };
        let kept = written.inspect_err(|_| self.files.remove(id))?;
        let intent = RunIntent::of(&permit, ordered.order_digest);
        let noting = Noting { intent, not_after, held_bytes, now: self.authority.clock().now() };
        // Before the gateway hears of it: it may be called off at once.
        let run = self.add(id);
        match self.recorder.note_run(noting).await {
            Ok(word) => {
                tracing::info!(order = %id, runbook = %permit.order().runbook, "a run is noted");
                self.tracker.spawn(carry::noted(self.clone(), run, Ok(kept), word));
                Ok(())
            }
            Err(not_noted) => {
                self.remove(id);
                Err(match not_noted {
                    NotNoted::Taken(why) if why.is_said() => Denied::Refused(Box::new(ordered), why.to_string()),
                    NotNoted::Taken(NotTaken::Going) => Denied::Going,
                    other => Denied::Declined(id, other.to_string()),
                })
            }
        }
    }

    /// Says in the log that the order was refused. What cannot be said there is for the gateway alone.
    async fn refuse(&self, ordered: Ordered, sentence: String) -> Result<(), (Id, String)> {
        let (id, not_after) = (ordered.order.id, ordered.order.not_after);
        tracing::info!(order = %id, person = %ordered.person, "an order was refused: {}", heard(&sentence));
        let intent = refused_intent(ordered);
        let noting = Noting { intent, not_after, held_bytes: 0, now: self.authority.clock().now() };
        let refused = self.recorder.refuse_run(noting, sentence.clone()).await;
        refused.map_err(|not_noted| (id, format!("{sentence}; and that could not be recorded: {not_noted}")))
    }

    /// Lets ids go whose window is over by this clock and by the gateway's: one of them that runs ahead lets none go.
    async fn let_go(&self) {
        let clock = self.authority.clock();
        if let (Ok(here), Some(gateway)) = (clock.check(), clock.gateway()) {
            self.recorder.let_runs_go(here.min(gateway)).await;
        }
    }
}

/// What was ordered and is refused.
fn refused_intent(ordered: Ordered) -> RunIntent {
    let Ordered { order, order_digest, person, key, policies } = ordered;
    RunIntent {
        order: order.id,
        order_digest,
        runbook: order.runbook,
        version: order.version,
        author: None,
        person,
        key,
        account: order.account,
        ticket: order.ticket.as_deref().map(word),
        grant_line: None,
        review: false,
        policies: PolicyUsed::all(&policies),
    }
}
