//! Which asks share a transaction: those that wait when the writer looks, and those that may wait for one another.
//!
//! A transaction costs the same sync, the same last pages and the same signature whether it holds one entry or a hundred. What
//! a person sits and waits for is never kept back, nor is anything that comes when it is quiet.

use super::limits::{BATCH_ASKS_MAX, BATCH_ENTRIES_MAX, GATHERING_MAX};
use super::record::{Job, Work};
use belay_certs::statement::Body;
use belay_rules::Ask;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// When the writer last began.
#[derive(Debug)]
pub(super) struct Gathering {
    began: Instant,
}

impl Gathering {
    pub(super) fn new() -> Self {
        Self { began: Instant::now() }
    }

    /// Takes more from the queue, as long as everything taken can wait and the last transaction began less than
    /// [`GATHERING_MAX`] ago.
    pub(super) async fn gather(&mut self, queue: &mut mpsc::Receiver<Job>, jobs: &mut Vec<Job>) {
        let until = self.began + GATHERING_MAX;
        let (mut seen, mut room) = (0, BATCH_ASKS_MAX.saturating_sub(jobs.len()));
        while room > 0 && jobs.iter().skip(seen).all(|job| can_wait(&job.work)) {
            seen = jobs.len();
            match timeout_at(until, queue.recv_many(jobs, room)).await {
                Ok(1..) => room = BATCH_ASKS_MAX.saturating_sub(jobs.len()),
                Ok(0) | Err(_) => break,
            }
        }
        self.began = Instant::now();
    }
}

/// Whether nobody sits and waits for it: what machines say of runs, that they came or went, and what is only to be kept.
fn can_wait(work: &Work) -> bool {
    match work {
        Work::Enter(_) => false,
        Work::Keep(_) | Work::Chunk(_) => true,
        Work::Judge { ask, .. } => match ask.as_ref() {
            Ask::OfferRuns { .. } | Ask::Connect { .. } | Ask::Disconnect { .. } => true,
            Ask::Statement { statement, .. } => match statement.body {
                Body::RunStarted(_) | Body::RunRefused { .. } | Body::RunEnded(_) => true,
                Body::SessionOpened(_) | Body::SessionRefused { .. } | Body::SessionEnded { .. } => false,
            },
            _ => false,
        },
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

    fn job(ask: Ask) -> Job {
        let work = Work::Judge { ask: Box::new(ask), seen: Seen::Fits, now: Timestamp::from_micros(1) };
        Job { work, answer: oneshot::channel().0 }
    }

    fn patient() -> Job {
        let id = Id([7; 16]);
        job(Ask::Disconnect { join: id, connection: id, reason: String::new(), held: None })
    }

    fn urgent() -> Job {
        job(Ask::AddTenant { tenant: "acme".parse().unwrap() })
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
    async fn what_can_wait_waits_for_others_but_not_after_a_quiet_time() {
        let mut gathering = Gathering::new();
        let (count, took) = gathered(&mut gathering, patient(), vec![patient(), patient()]).await;
        assert!(count == 3 && about(took, GATHERING_MAX), "{count} {took:?}");
        tokio::time::advance(GATHERING_MAX).await;
        let (count, took) = gathered(&mut gathering, patient(), vec![patient()]).await;
        assert!(count == 1 && about(took, Duration::ZERO), "{count} {took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_somebody_waits_for_is_not_kept_back_and_takes_the_others_along() {
        let mut gathering = Gathering::new();
        assert_eq!(gathered(&mut gathering, urgent(), vec![patient()]).await, (1, Duration::ZERO));
        let (count, took) = gathered(&mut gathering, patient(), vec![patient(), urgent(), patient()]).await;
        assert!(count == 3 && about(took, GATHERING_MAX / 5 * 2), "{count} {took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_transaction_waits_for_nothing() {
        let mut gathering = Gathering::new();
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
}
