//! The one writer: takes asks off the queue, as many as share a transaction (`gathering.rs`), and makes each batch durable.
//!
//! A batch is recorded whole or not at all. After any failure nothing in memory is trusted: the connection is made anew
//! and every head is read back, because a commit that failed may have happened. After a failed sync what is read back may not
//! be on the disk: then nothing is recorded any more, and the next start settles it (`database.rs`).

use super::broken::{Broken, RecordError};
use super::devices::Devices;
use super::gathering::{Gathering, batch_len};
use super::heads::Shared;
use super::jobs::Jobs;
use super::keys::LogKeys;
use super::limits::BATCH_ASKS_MAX;
use super::record::{Answered, Job, Recorded, Work};
use super::reviews::Asking;
use super::stage::{Grown, Stage};
use super::transaction::Transaction;
use super::turn::{Answer, Turn};
use belay_certs::Timestamp;
use belay_rules::{Draft, Freezes, LogName, What};
use sqlx::{AnyConnection, Connection};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The writer's state; one task owns it.
pub(super) struct Writer {
    shared: Arc<Shared>,
    keys: LogKeys,
    /// The connection; none after a failure.
    connection: Option<AnyConnection>,
    devices: Devices,
    jobs: Jobs,
    asking: Asking,
    /// Logs whose keys were made in a transaction that has not succeeded, or not yet.
    begun: Vec<LogName>,
    /// How many asks were answered since the start.
    turns: u64,
    /// Why nothing is written any more: the disk did not keep a write, and only a start sorts out which.
    over: Option<Broken>,
    #[cfg(test)]
    pub(super) faults: Arc<super::tests::Faults>,
}

/// The answers of a batch that is durable, in the order of its asks.
struct Durable {
    answers: Vec<Result<Answered, RecordError>>,
    grown: Grown,
    freezes: Arc<Freezes>,
}

impl Writer {
    /// A writer on the database, with every log's head loaded and the system log begun.
    pub(super) async fn open(shared: Arc<Shared>, keys: LogKeys, now: Timestamp) -> Result<Self, Broken> {
        let mut writer = Self {
            shared,
            keys,
            connection: None,
            devices: Devices::default(),
            jobs: Jobs::default(),
            asking: Asking::default(),
            begun: Vec::new(),
            turns: 0,
            over: None,
            #[cfg(test)]
            faults: Arc::default(),
        };
        writer.recover().await?;
        if writer.shared.heads.get(&LogName::System).is_none()
            && let Err(broken) = writer.begin_system_log(now).await
        {
            writer.abandon();
            writer.recover().await?;
            return Err(broken);
        }
        Ok(writer)
    }

    /// Runs until every store is dropped or `stop` is called; what was queued by then is still recorded.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Job>, stop: CancellationToken) {
        let (mut jobs, mut gathering) = (Vec::with_capacity(BATCH_ASKS_MAX), Gathering::new());
        loop {
            let taken = tokio::select! {
                biased;
                () = stop.cancelled(), if !queue.is_closed() => {
                    queue.close();
                    continue;
                }
                taken = queue.recv_many(&mut jobs, BATCH_ASKS_MAX) => taken,
            };
            if taken == 0 {
                break;
            }
            gathering.gather(&mut queue, &mut jobs).await;
            while !jobs.is_empty() {
                let batch: Vec<Job> = jobs.drain(..batch_len(&jobs)).collect();
                self.record(batch).await;
            }
        }
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "the database was not closed in good order; nothing is lost");
        }
    }

    /// Records one batch and answers every ask in it.
    async fn record(&mut self, batch: Vec<Job>) {
        let (works, callers): (Vec<Work>, Vec<_>) = batch.into_iter().map(|job| (job.work, job.answer)).unzip();
        if let Some(over) = &self.over {
            return callers.into_iter().for_each(|caller| _ = caller.send(Err(over.clone().into())));
        }
        match self.commit(works).await {
            Ok(durable) => {
                durable.grown.publish(&self.shared);
                self.shared.freezes.publish(durable.freezes);
                self.devices.trim();
                self.jobs.trim();
                self.asking.trim();
                for (caller, answer) in callers.into_iter().zip(durable.answers) {
                    // Whoever asked may have gone; the record stands.
                    let _ = caller.send(answer);
                }
            }
            Err(broken) => {
                tracing::error!(%broken, asks = callers.len(), "nothing was recorded");
                self.abandon();
                // Heads that may have moved are read back before anyone hears of it.
                let recovered = if broken.is_final() { Ok(()) } else { self.recover().await };
                let broken = recovered.err().unwrap_or(broken);
                if broken.is_final() && self.over.is_none() {
                    tracing::error!(%broken, "the gateway stops: its next start finds out what the disk has kept");
                    self.over = Some(broken.clone());
                    self.shared.over.cancel();
                }
                for caller in callers {
                    let _ = caller.send(Err(broken.clone().into()));
                }
            }
        }
    }

    async fn commit(&mut self, batch: Vec<Work>) -> Result<Durable, Broken> {
        if self.connection.is_none() {
            self.recover().await?;
        }
        let connection = self.connection.as_mut().ok_or_else(|| Broken::new("no connection to the database"))?;
        let transaction = Transaction::on(connection);
        let Self { shared, keys, devices, jobs, asking, begun, turns, .. } = self;
        let freezes = shared.freezes.now();
        let mut turn =
            Turn { transaction, devices, jobs, asking, freezes, shared, keys, begun, stage: Stage::default() };
        let mut answers = Vec::with_capacity(batch.len());
        for work in batch {
            match turn.take(work).await {
                Err(RecordError::Broken(broken)) => return Err(broken),
                answer => answers.push(answer),
            }
        }
        let Turn { transaction, mut stage, freezes, .. } = turn;
        if stage.is_empty() {
            // Refusals and repetitions only: nothing to sign or to sync.
            transaction.leave().await?;
            return Ok(Durable { answers: finish(answers, stage, turns), grown: Grown::default(), freezes });
        }
        let grown = stage.commit(transaction).await?;
        #[cfg(test)]
        self.faults.after_commit()?;
        self.begun.clear();
        Ok(Durable { answers: finish(answers, stage, &mut self.turns), grown, freezes })
    }

    /// Drops everything that a failed transaction may have touched.
    fn abandon(&mut self) {
        self.connection = None;
        self.devices.clear();
        self.jobs.clear();
        self.asking.clear();
        self.shared.tiles.clear();
    }

    /// Connects, and reads every head from the database. Only now it is known which logs did not begin: their keys are
    /// taken back.
    async fn recover(&mut self) -> Result<(), Broken> {
        let mut connection = self.shared.database.writer().await?;
        self.shared.heads.reload(&mut connection, &self.keys).await?;
        self.shared.freezes.reload(&mut connection).await?;
        for log in self.begun.drain(..) {
            if self.shared.heads.get(&log).is_none() {
                self.keys.unmake(&log)?;
            }
        }
        self.connection = Some(connection);
        Ok(())
    }

    async fn begin_system_log(&mut self, now: Timestamp) -> Result<(), Broken> {
        let connection = self.connection.as_mut().ok_or_else(|| Broken::new("no connection to the database"))?;
        let transaction = Transaction::on(connection);
        let Self { shared, keys, devices, jobs, asking, begun, .. } = self;
        let freezes = shared.freezes.now();
        let mut turn =
            Turn { transaction, devices, jobs, asking, freezes, shared, keys, begun, stage: Stage::default() };
        let identity = turn.begin_log(&LogName::System).await?;
        let what = What::LogStarted { origin: identity.origin, vkey: identity.vkey, continues: None };
        turn.note(Draft::new(LogName::System, what), now).map_err(|error| Broken::new(error.to_string()))?;
        let Turn { transaction, mut stage, .. } = turn;
        let grown = stage.commit(transaction).await?;
        self.begun.clear();
        grown.publish(&self.shared);
        Ok(())
    }
}

/// The answers with the bytes of the entries that are durable now, numbered from `turns` on.
fn finish(
    answers: Vec<Result<Answer, RecordError>>,
    stage: Stage,
    turns: &mut u64,
) -> Vec<Result<Answered, RecordError>> {
    let mut entries: Vec<_> = stage.entries.into_iter().map(|entry| Some((entry.log, entry.bytes))).collect();
    let mut take = |position: usize| entries.get_mut(position).and_then(Option::take);
    let finished = answers.into_iter().map(|answer| {
        *turns += 1;
        match answer? {
            Answer::Kept(kept) => Ok(Answered::Kept(kept)),
            Answer::Old { log, index, entry, outcome } => {
                Ok(Answered::Recorded(Recorded { log, index, turn: *turns, entry, outcome }))
            }
            Answer::New(entered, outcome) => {
                let (log, entry) = take(entered.position).ok_or_else(|| Broken::new("an entry was answered twice"))?;
                Ok(Answered::Recorded(Recorded { log, index: entered.index, turn: *turns, entry, outcome }))
            }
        }
    });
    finished.collect()
}
