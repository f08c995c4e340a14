//! Which asks share a transaction: those that wait when the writer looks, and while many come those that may wait for one another.
//!
//! A transaction costs the same sync, the same last pages and the same signature whether it holds one entry or a hundred. What
//! a person sits and waits for is never kept back, and nothing is while few come: a run on one machine is as quick as ever.

use super::limits::{BATCH_ASKS_MAX, BATCH_ENTRIES_MAX, GATHERED_ABOVE, GATHERING_MAX};
use super::record::{Job, Urgency, Work};
use belay_certs::statement::Body;
use belay_rules::Ask;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// When the writer last began, and how much came lately.
#[derive(Debug)]
pub(super) struct Gathering {
    began: Instant,
    /// What could wait, of the span of [`GATHERING_MAX`] that began then, and of the one before.
    since: Instant,
    came: usize,
    before: usize,
}

impl Gathering {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { began: now, since: now, came: 0, before: 0 }
    }

    /// Takes more from the queue, as long as everything taken can wait, a transaction has room, much came lately and the last
    /// transactions began less than [`GATHERING_MAX`] ago.
    pub(super) async fn gather(&mut self, queue: &mut mpsc::Receiver<Job>, jobs: &mut Vec<Job>) {
        self.count(jobs);
        let until = self.began + GATHERING_MAX;
        let mut seen = 0;
        while self.is_busy() && jobs.iter().skip(seen).all(can_wait) {
            seen = jobs.len();
            let weight: usize = jobs.iter().map(|job| job.work.weight()).sum();
            let room = BATCH_ASKS_MAX.saturating_sub(seen);
            if room == 0 || weight >= BATCH_ENTRIES_MAX {
                break;
            }
            match timeout_at(until, queue.recv_many(jobs, room)).await {
                Ok(1..) => self.count(jobs.get(seen..).unwrap_or_default()),
                Ok(0) | Err(_) => break,
            }
        }
        self.began = Instant::now();
    }

    fn count(&mut self, jobs: &[Job]) {
        let (now, past) = (Instant::now(), self.since.elapsed());
        if past >= GATHERING_MAX {
            self.before = if past < GATHERING_MAX * 2 { self.came } else { 0 };
            (self.since, self.came) = (now, 0);
        }
        self.came += jobs.iter().filter(|job| can_wait(job)).count();
    }

    fn is_busy(&self) -> bool {
        self.came.max(self.before) >= GATHERED_ABOVE
    }
}

/// Whether nobody sits and waits for it: what machines say of runs, and that they came or went. Behind what a session shows waits
/// the session, behind what a run prints its next piece, and behind one of several statements of a machine all others of it.
pub(super) fn can_wait(job: &Job) -> bool {
    let Work::Judge { ask, urgency: Urgency::CanWait, .. } = &job.work else { return false };
    match ask.as_ref() {
        Ask::OfferRuns { .. } | Ask::Connect { .. } | Ask::Disconnect { .. } => true,
        Ask::Statement { statement, .. } => match statement.body {
            Body::RunStarted(_) | Body::RunRefused { .. } | Body::RunEnded(_) => true,
            Body::SessionOpened(_) | Body::SessionRefused { .. } | Body::SessionEnded { .. } => false,
        },
        _ => false,
    }
}

/// How many of the asks make up one transaction.
pub(super) fn batch_len(jobs: &[Job]) -> usize {
    let mut entries = 0;
    let fitting = jobs.iter().take_while(|job| {
        entries += job.work.weight();
        entries <= BATCH_ENTRIES_MAX
    });
    fitting.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use belay_certs::{Id, Timestamp};
    use belay_rules::statement::Seen;
    use std::time::Duration;
    use tokio::sync::oneshot;

    fn job(ask: Ask, urgency: Urgency) -> Job {
        let work = Work::Judge { ask: Box::new(ask), urgency, seen: Seen::Fits, now: Timestamp::from_micros(1) };
        Job { work, answer: oneshot::channel().0 }
    }

    fn left(urgency: Urgency) -> Job {
        let id = Id([7; 16]);
        job(Ask::Disconnect { join: id, connection: id, reason: String::new(), held: None }, urgency)
    }

    fn patient() -> Job {
        left(Urgency::CanWait)
    }

    fn urgent() -> Job {
        job(Ask::AddTenant { tenant: "acme".parse().unwrap() }, Urgency::CanWait)
    }

    /// A writer that has just begun a transaction of so many that could wait.
    async fn after(count: usize) -> Gathering {
        let mut gathering = Gathering::new();
        let (_sender, mut queue) = mpsc::channel(1);
        gathering.gather(&mut queue, &mut (0..count).map(|_| patient()).collect()).await;
        gathering
    }

    /// What is taken when `later` come one after the other, a fifth of the time apart, behind `first`; and after how long.
    async fn gathered(gathering: &mut Gathering, first: Job, later: Vec<Job>) -> (usize, Duration) {
        let (sender, mut queue) = mpsc::channel(BATCH_ASKS_MAX * 2);
        let mut jobs = vec![first];
        let start = Instant::now();
        let send = async {
            for job in later {
                tokio::time::sleep(GATHERING_MAX / 5).await;
                sender.send(job).await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = gathering.gather(&mut queue, &mut jobs) => {}
            () = send => {}
        }
        (jobs.len(), start.elapsed())
    }

    /// The timer's own steps.
    fn about(took: Duration, meant: Duration) -> bool {
        took >= meant && took <= meant + Duration::from_millis(2)
    }

    #[tokio::test(start_paused = true)]
    async fn while_many_come_what_can_wait_waits_for_others() {
        let mut gathering = after(GATHERED_ABOVE).await;
        let (count, took) = gathered(&mut gathering, patient(), vec![patient(), patient()]).await;
        assert!(count == 3 && about(took, GATHERING_MAX), "{count} {took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn while_few_come_and_after_a_quiet_time_nothing_waits() {
        let mut gathering = after(GATHERED_ABOVE - 2).await;
        assert_eq!(gathered(&mut gathering, patient(), vec![patient()]).await, (1, Duration::ZERO));
        let mut gathering = after(GATHERED_ABOVE).await;
        tokio::time::advance(GATHERING_MAX * 2).await;
        assert_eq!(gathered(&mut gathering, patient(), vec![patient()]).await, (1, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn what_somebody_waits_for_is_not_kept_back_and_takes_the_others_along() {
        let mut gathering = after(GATHERED_ABOVE).await;
        assert_eq!(gathered(&mut gathering, urgent(), vec![patient()]).await, (1, Duration::ZERO));
        for last in [urgent(), left(Urgency::AtOnce)] {
            let mut gathering = after(GATHERED_ABOVE).await;
            let (count, took) = gathered(&mut gathering, patient(), vec![patient(), last, patient()]).await;
            assert!(count == 3 && about(took, GATHERING_MAX / 5 * 2), "{count} {took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_transaction_waits_for_nothing() {
        let mut gathering = after(GATHERED_ABOVE).await;
        let (sender, mut queue) = mpsc::channel(BATCH_ASKS_MAX * 2);
        for _ in 0..BATCH_ASKS_MAX * 2 {
            sender.send(patient()).await.unwrap();
        }
        let (mut jobs, start) = (vec![patient()], Instant::now());
        gathering.gather(&mut queue, &mut jobs).await;
        assert_eq!((jobs.len(), start.elapsed()), (BATCH_ASKS_MAX, Duration::ZERO));
        jobs.clear();
        drop(sender);
        while queue.recv_many(&mut jobs, BATCH_ASKS_MAX).await > 0 {}
        assert_eq!(jobs.len(), BATCH_ASKS_MAX + 1, "nothing is lost");
    }

    #[tokio::test(start_paused = true)]
    async fn one_of_the_weight_of_a_whole_transaction_waits_for_nothing() {
        let mut gathering = after(GATHERED_ABOVE).await;
        let line = |place: u64| {
            let name = format!("d{place}").parse().unwrap();
            (place, belay_certs::order::DeviceLine { name, serial: 1, sealed: None })
        };
        let offers = || {
            let (tenant, devices) = ("acme".parse().unwrap(), (0..256).map(line).collect());
            job(Ask::OfferRuns { tenant, job: Id([1; 16]), devices }, Urgency::CanWait)
        };
        let each = offers().work.weight();
        let (sender, mut queue) = mpsc::channel(BATCH_ASKS_MAX);
        let fill = BATCH_ENTRIES_MAX.div_ceil(each);
        for _ in 1..fill {
            sender.send(offers()).await.unwrap();
        }
        let (mut jobs, start) = (vec![offers()], Instant::now());
        gathering.gather(&mut queue, &mut jobs).await;
        assert!(jobs.len() == fill && start.elapsed() <= GATHERING_MAX, "{} of {fill}", jobs.len());
        assert_eq!(start.elapsed(), Duration::ZERO, "{each} each");
    }
}
