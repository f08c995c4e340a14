//! The one task that owns every job under way: hears what happened, then gives each tenant its turn.
//!
//! What changes a job is recorded before it counts here, and offers are recorded before they are sent. The store failing
//! stops no job: what could not be recorded is tried again.

use super::{JobKey, Prepared, Said, Told, turns, under_way::UnderWay};
use crate::{
    Gateway,
    act::enrol::refused,
    limits,
    store::{Broken, RecordError, Recorded, RunRow},
};
use belay_certs::{DeviceAddress, Invalid, PersonRef, Timestamp, order::DeviceLine};
use belay_rules::{
    Ask, Freezes, Outcome, Refusal,
    job::{Job, Owed, Plan, Rota, Run},
    limits::OFFERS_PER_ASK_MAX,
    submission::{RunState, Submission},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::sync::mpsc;

/// The jobs, by a number that only this task knows.
pub(super) struct Desk {
    pub(super) gateway: Arc<Gateway>,
    pub(super) jobs: BTreeMap<u64, UnderWay>,
    by_key: HashMap<JobKey, u64>,
    rota: Rota<u64>,
    next: u64,
    /// Whether something is to be tried again soon, whatever happens.
    pub(super) retry: bool,
    /// The freezes that its jobs go by.
    pub(super) freezes: Arc<Freezes>,
}

impl Desk {
    /// The desk with every job that was under way when the gateway went away.
    ///
    /// # Errors
    /// When one of them cannot be read: a gateway that left some behind would look as if it carried out all.
    pub(super) async fn open(gateway: Arc<Gateway>) -> Result<Self, Broken> {
        let (jobs, by_key) = (BTreeMap::new(), HashMap::new());
        let freezes = gateway.store.freezes();
        let mut desk = Self { gateway, jobs, by_key, rota: Rota::default(), next: 0, retry: false, freezes };
        for key in desk.gateway.store.jobs_open().await? {
            let named = |broken| Broken::new(format!("job {} of {}: {broken}", key.1, key.0));
            desk.restore(key.clone()).await.map_err(named)?;
        }
        Ok(desk)
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Told>) {
        let mut freezes = self.gateway.store.freezes_changed();
        loop {
            self.follow_freezes();
            self.turn().await;
            let wake = self.wake_in();
            let told = tokio::select! {
                told = inbox.recv() => told,
                Ok(()) = freezes.changed() => continue,
                () = tokio::time::sleep(wake) => continue,
            };
            let Some(told) = told else { return };
            self.hear(told).await;
            // What came meanwhile is one turn's work.
            for _ in 0..limits::JOBS_TOLD_MAX {
                let Ok(told) = inbox.try_recv() else { break };
                self.hear(told).await;
            }
        }
    }

    /// Reads a job back as it was left.
    async fn restore(&mut self, key: JobKey) -> Result<(), Broken> {
        let Some(rows) = self.gateway.store.tenant(&key.0) else { return Ok(()) };
        let (Some(row), Some(documents)) = (rows.job(key.1).await?, rows.job_documents(key.1).await?) else {
            return Ok(());
        };
        let runbooks = rows.runbook(row.version).await?;
        let read = tokio::task::spawn_blocking(move || Prepared::read(documents, runbooks));
        let prepared = read.await.map_err(|error| Broken::new(error.to_string()))??;
        let runs = rows.runs(key.1, None).await?;
        let plan = prepared.plan.clone();
        let kept = runs.iter().map(|run| (usize::try_from(run.place).unwrap_or(usize::MAX), standing(&plan, run)));
        let job = Job::restore(plan.clone(), row.phase, kept).map_err(|error| Broken::new(error.to_string()))?;
        self.begin(key, row.person, job, prepared);
        Ok(())
    }

    /// A job under way from now on; who of its devices is there is looked up.
    fn begin(&mut self, key: JobKey, person: PersonRef, job: Job, prepared: Prepared) {
        let number = self.next;
        self.next += 1;
        let mut under_way = UnderWay::new(key.clone(), person, job, prepared);
        let now = self.gateway.now();
        for place in 0..under_way.prepared.lines().len() {
            self.gateway.look(&self.freezes, &mut under_way, place, now);
        }
        self.rota.add(&key.0, number);
        self.gateway.jobs.begin(key.clone());
        self.by_key.insert(key, number);
        self.jobs.insert(number, under_way);
    }

    async fn hear(&mut self, told: Told) {
        match told {
            Told::Submit { submission, prepared, answer } => {
                let _ = answer.send(self.submit(*submission, *prepared).await);
            }
            Told::Cancel { key, by, answer } => {
                let _ = answer.send(self.cancel(&key, by).await);
            }
            Told::Moved(device) => self.moved(&device),
            Told::Said { tenant, device, order, said } => {
                let now = self.gateway.now();
                let key = (tenant, order);
                if let Some(under_way) = self.by_key.get(&key).and_then(|number| self.jobs.get_mut(number))
                    && let Some(place) = under_way.prepared.place(&device)
                {
                    match said {
                        Said::Started => {
                            under_way.job.started(place, now);
                            under_way.hold_if_frozen(&self.freezes, &self.gateway.presence, place);
                        }
                        Said::Ended(outcome) => {
                            if let Err(withheld) = under_way.job.ended(place, outcome) {
                                tracing::debug!(job = %order, %device, "an end changed nothing: {withheld}");
                            }
                        }
                    }
                }
                self.gateway.jobs.ring(&key);
            }
        }
    }

    async fn submit(&mut self, submission: Submission, prepared: Prepared) -> Result<Recorded, Invalid> {
        let key = (submission.order.tenant.clone(), submission.order.id);
        if !self.by_key.contains_key(&key) {
            let room = self.rota.check_room(&key.0).and_then(|()| turns::check_places(&self.jobs, &key.0, &prepared));
            room.map_err(|full| refused(RecordError::Refused(full.into())))?;
        }
        let person = submission.person.clone();
        let recorded = self.gateway.record(Ask::SubmitJob(Box::new(submission))).await.map_err(refused)?;
        if recorded.outcome == Outcome::Recorded {
            let job = Job::new(prepared.plan.clone());
            self.begin(key, person, job, prepared);
        }
        Ok(recorded)
    }

    async fn cancel(&mut self, key: &JobKey, by: PersonRef) -> Result<usize, Invalid> {
        let sentence = format!("{by} cancelled the job");
        let ask = Ask::CancelJob { tenant: key.0.clone(), job: key.1, by };
        self.gateway.record(ask).await.map_err(refused)?;
        let Some(under_way) = self.by_key.get(key).and_then(|number| self.jobs.get_mut(number)) else { return Ok(0) };
        under_way.called_off = sentence;
        // Who was offered it forgets it sooner so; who started is ended.
        let offered = (0..).zip(under_way.job.runs()).filter(|(_, run)| matches!(run, Run::Offered { .. }));
        let offered: Vec<usize> = offered.map(|(place, _)| place).collect();
        let started = under_way.job.cancel();
        under_way.unsent.clear();
        under_way.unrecorded.clear();
        under_way.declined.clear();
        for place in offered.into_iter().chain(started.iter().copied()) {
            under_way.send_cancel(&self.gateway.presence, place);
        }
        self.gateway.jobs.ring(key);
        Ok(started.len())
    }

    /// A device came or went: its place in every job of its tenant.
    fn moved(&mut self, device: &DeviceAddress) {
        let now = self.gateway.now();
        for under_way in self.jobs.values_mut().filter(|under_way| under_way.key.0 == device.tenant) {
            if let Some(place) = under_way.prepared.place(&device.device) {
                self.gateway.look(&self.freezes, under_way, place, now);
            }
        }
    }

    /// Time, stop rules, offers, ends.
    async fn turn(&mut self) {
        self.retry = false;
        let now = self.gateway.now();
        for under_way in self.jobs.values_mut() {
            under_way.job.tick(now);
        }
        self.stop_missed().await;
        self.offer(now).await;
        self.decline().await;
        self.end_over().await;
    }

    async fn stop_missed(&mut self) {
        for under_way in self.jobs.values_mut() {
            let Some(missed) = under_way.job.missed() else { continue };
            let (tenant, job) = under_way.key.clone();
            match self.gateway.record(Ask::StopJob { tenant, job, missed }).await {
                Ok(_) | Err(RecordError::Refused(_)) => {
                    under_way.called_off = "the job stopped, because too many runs did not succeed".to_owned();
                    under_way.job.stop();
                    self.gateway.jobs.ring(&under_way.key);
                }
                Err(RecordError::Broken(_)) => self.retry = true,
            }
        }
    }

    /// Offers to whoever's turn it is, at most so many a round, so that what devices say is heard in between.
    async fn offer(&mut self, now: Timestamp) {
        let mut taken: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (number, under_way) in &mut self.jobs {
            let freezes = &self.freezes;
            let again: Vec<usize> = std::mem::take(&mut under_way.unrecorded).into_iter().collect();
            let (frozen, again): (Vec<usize>, Vec<usize>) =
                again.into_iter().partition(|place| under_way.frozen(freezes, *place).is_some());
            under_way.unrecorded.extend(frozen);
            if !again.is_empty() {
                taken.insert(*number, again);
            }
            for place in std::mem::take(&mut under_way.unsent) {
                under_way.send_offer(&self.gateway.presence, place);
            }
            self.retry |= !under_way.unsent.is_empty();
        }
        turns::take(&mut self.jobs, &mut self.rota, (now, self.gateway.jobs.pace.now()), &mut taken);
        self.gateway.jobs.pace.under_way(self.jobs.values().any(|under_way| under_way.job.unanswered() > 0));
        let asks = taken.iter().flat_map(|(number, places)| {
            places.chunks(OFFERS_PER_ASK_MAX).map(|places| (*number, places)).collect::<Vec<_>>()
        });
        let gateway = Arc::clone(&self.gateway);
        let recorded = asks.filter_map(|(number, places)| {
            let gateway = Arc::clone(&gateway);
            let under_way = self.jobs.get(&number)?;
            let line = |place: &usize| {
                let DeviceLine { name, serial, .. } = under_way.prepared.line(*place)?;
                let line = DeviceLine { name: name.clone(), serial: *serial, sealed: None };
                Some((u64::try_from(*place).ok()?, line))
            };
            let (tenant, job) = under_way.key.clone();
            let ask = Ask::OfferRuns { tenant, job, devices: places.iter().filter_map(line).collect() };
            Some(async move { (number, places, gateway.record(ask).await) })
        });
        // Together, so that they share a commit.
        for (number, places, recorded) in futures_util::future::join_all(recorded.collect::<Vec<_>>()).await {
            self.offered(number, places, recorded);
        }
    }

    /// The offer to these places is recorded, or not: then it is sent, or made again.
    fn offered(&mut self, number: u64, places: &[usize], recorded: Result<Recorded, RecordError>) {
        let Some(under_way) = self.jobs.get_mut(&number) else { return };
        match recorded {
            Ok(_) => {
                for place in places {
                    under_way.send_offer(&self.gateway.presence, *place);
                }
                self.retry |= !under_way.unsent.is_empty();
                self.gateway.jobs.ring(&under_way.key);
            }
            // Frozen meanwhile: those that are not are offered again with the next turn, the others once they are thawed.
            Err(RecordError::Refused(Refusal::Frozen(_))) => {
                under_way.unrecorded.extend(places);
                self.retry = true;
            }
            // Its window closed meanwhile: the next turn knows that too.
            Err(RecordError::Refused(refusal)) => {
                tracing::info!(job = %under_way.key.1, "an offer was not made: {refusal}");
            }
            Err(RecordError::Broken(_)) => {
                under_way.unrecorded.extend(places);
                self.retry = true;
            }
        }
    }

    /// Records the end of what is over, and forgets it.
    async fn end_over(&mut self) {
        let over: Vec<u64> =
            self.jobs.iter().filter(|(_, under_way)| under_way.job.is_over()).map(|(number, _)| *number).collect();
        for number in over {
            let Some(under_way) = self.jobs.get(&number) else { continue };
            let standing = under_way.job.standing();
            let unanswered = standing.offered + standing.started;
            let (tenant, job) = under_way.key.clone();
            match self.gateway.record(Ask::EndJob { tenant, job, runs: standing.ended, unanswered }).await {
                Ok(_) | Err(RecordError::Refused(_)) => {
                    self.gateway.jobs.ring(&under_way.key);
                    self.gateway.jobs.end(&under_way.key);
                    self.by_key.remove(&under_way.key);
                    self.rota.remove(number);
                    self.jobs.remove(&number);
                }
                Err(RecordError::Broken(_)) => self.retry = true,
            }
        }
    }

    /// How long until something is to be done although nothing happens.
    fn wake_in(&self) -> Duration {
        if self.retry {
            return limits::JOBS_RETRY;
        }
        let now = self.gateway.now();
        let next = self.jobs.values().filter_map(|under_way| under_way.job.wake_at(now)).min();
        let micros = next.map_or(i64::MAX, |at| at.micros().saturating_sub(now.micros()).max(0));
        // A clock that is set forward must not be slept through.
        Duration::from_micros(u64::try_from(micros).unwrap_or(0)).min(limits::JOBS_LOOK_EVERY)
    }
}

impl Gateway {
    /// Looks whether the device at a place is there, and tells it what it is owed.
    pub(super) fn look(&self, freezes: &Freezes, under_way: &mut UnderWay, place: usize, now: Timestamp) {
        let Some(line) = under_way.prepared.line(place) else { return };
        if self.presence.find(&under_way.address(&line.name)).is_none() {
            return under_way.job.offline(place);
        }
        if under_way.hold_if_frozen(freezes, &self.presence, place) {
            return;
        }
        match under_way.job.online(place, now) {
            Owed::Nothing => {}
            Owed::Offer if under_way.unrecorded.contains(&place) => {}
            Owed::Offer => under_way.send_offer(&self.presence, place),
            Owed::Cancel => under_way.send_cancel(&self.presence, place),
        }
    }
}

/// A run as the rules know it, from its row.
fn standing(plan: &Plan, row: &RunRow) -> Run {
    match row.state {
        RunState::Offered => Run::Offered { due: Plan::offer_due(row.offered) },
        RunState::Started => Run::Started { due: plan.run_due(row.started.unwrap_or(row.offered)) },
        RunState::Ended(outcome) => Run::Ended(outcome),
    }
}
