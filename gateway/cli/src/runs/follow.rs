//! Following jobs until they are over, the person leaves, or a gateway does not come back.
//!
//! A thread reads each gateway, one fetches outputs, one waits for Ctrl-C; all tell this one, which shows and asks. Whatever
//! happens here, the jobs go on at their gateways.

use super::{
    job::{End, Job, Run, State},
    output::{self, Printed},
    progress::Screen,
    readers::Keys,
};
use crate::{
    failure::{Failure, Outcome, refused},
    gateway::{Gateway, HangUp, at_once},
    interrupt,
    limits::{FOLLOWS_MAX, OUTPUT_TRIES_MAX, OUTPUTS_AT_ONCE, WATCH_PAUSES},
};
use belay_certs::{DeviceAddress, Id, limits::ORDER_DEVICES_MAX};
use std::{
    io::{BufRead, IsTerminal, Read},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

/// Things that were told and not shown yet.
const EVENTS_MAX: usize = 256;
/// The longest answer to the question at Ctrl-C, in bytes.
const ANSWER_BYTES_MAX: u64 = 64;

/// One job to follow.
#[derive(Debug, Clone)]
pub struct Followed<'a> {
    /// Where.
    pub gateway: Gateway<'a>,
    /// Which.
    pub id: Id,
}

/// How it is followed.
#[derive(Debug, Clone)]
pub enum Outputs<'k> {
    /// Only how it goes.
    Left,
    /// What every device printed too, when its part is over, opened with these.
    Shown(Keys<'k>),
}

/// What somebody told.
enum Event {
    /// A line about the job at this place.
    Line(usize, Vec<u8>),
    /// Something that a person should know.
    Told(String),
    /// Nothing more comes about one of the jobs.
    End(Outcome),
    /// What a device printed.
    Output(DeviceAddress, Outcome<Printed>),
    /// Ctrl-C.
    Interrupt,
    /// What the person answered to it.
    Answer(String),
}

/// An output to be fetched.
struct Wanted {
    place: usize,
    device: DeviceAddress,
    run: Run,
}

/// Follows them all; how they ended together.
///
/// # Errors
/// A gateway tells what cannot be, or does not come back: with the status of a job that goes on.
pub fn follow(jobs: &[Followed<'_>], mut screen: Screen, outputs: &Outputs<'_>) -> Outcome<End> {
    let (tell, events) = sync_channel(EVENTS_MAX);
    let told = tell.clone();
    interrupt::listen(move || drop(told.send(Event::Interrupt)))?;
    let fetching = HangUp::default();
    let calls: Vec<HangUp> = jobs.iter().map(|_| HangUp::default()).collect();
    thread::scope(|scope| {
        for (place, (job, call)) in jobs.iter().zip(&calls).enumerate() {
            let tell = tell.clone();
            scope.spawn(move || {
                let end = read(job, call, &tell, place);
                let _ = tell.send(Event::End(end));
            });
        }
        let (want, wanted) = sync_channel(jobs.len().saturating_mul(ORDER_DEVICES_MAX));
        let teller = tell.clone();
        let fetching = &fetching;
        if let Outputs::Shown(keys) = &outputs {
            let keys = keys.clone();
            scope.spawn(move || fetch(jobs, &wanted, &teller, (&keys, fetching)));
        }
        let mut state = Following {
            jobs,
            known: jobs.iter().map(|_| None).collect(),
            open: jobs.len(),
            outputs: matches!(outputs, Outputs::Shown(_)),
            fetching: 0,
            want,
            tell,
            asked: false,
            cancelled: false,
            failure: None,
        };
        let end = state.go_on(&events, &mut screen);
        calls.iter().chain([fetching]).for_each(HangUp::hang_up);
        // Whoever still tells is not listened to any more, and must not wait for it.
        drop((state, events));
        end
    })
}

/// What is known of the jobs.
struct Following<'a> {
    jobs: &'a [Followed<'a>],
    known: Vec<Option<Job>>,
    /// Jobs about which something may still come.
    open: usize,
    /// Whether what devices print is wanted.
    outputs: bool,
    /// Outputs that are asked for and have not come.
    fetching: usize,
    want: SyncSender<Wanted>,
    tell: SyncSender<Event>,
    /// Ctrl-C was pressed, and what it means was asked.
    asked: bool,
    /// The person called them off here.
    cancelled: bool,
    /// What went wrong about a job that goes on.
    failure: Option<Failure>,
}

impl Following<'_> {
    fn go_on(&mut self, events: &Receiver<Event>, screen: &mut Screen) -> Outcome<End> {
        while self.open > 0 || self.fetching > 0 {
            match events.recv().map_err(|_| refused("nothing more is told about the job"))? {
                Event::Line(place, line) => self.take(place, &line, screen)?,
                Event::Told(line) => screen.tell(&line),
                Event::End(outcome) => {
                    self.open = self.open.saturating_sub(1);
                    self.failure = self.failure.take().or(outcome.err());
                }
                Event::Output(device, printed) => {
                    self.fetching = self.fetching.saturating_sub(1);
                    match printed {
                        Ok(printed) => {
                            screen.output(&printed.lines);
                            printed.warning(&device).iter().for_each(|line| screen.tell(&format!("belay: {line}")));
                        }
                        Err(failure) => screen.tell(&format!("belay: {}", failure.sentence())),
                    }
                }
                Event::Interrupt if self.asked || !std::io::stdin().is_terminal() => return self.detach(screen),
                Event::Interrupt => self.ask(screen),
                Event::Answer(answer) => match answer.trim() {
                    "c" | "cancel" => self.cancel(screen),
                    "d" | "detach" => return self.detach(screen),
                    _ => {
                        self.asked = false;
                        screen.tell("going on; Ctrl-C asks again");
                    }
                },
            }
        }
        self.settle(screen)
    }

    fn take(&mut self, place: usize, line: &[u8], screen: &mut Screen) -> Outcome {
        let (Some(asked), Some(known)) = (self.jobs.get(place), self.known.get_mut(place)) else { return Ok(()) };
        let changed: Vec<Run> = match known {
            Some(job) => job.take(line)?,
            None => known.insert(Job::read(line, &asked.id)?).runs.values().cloned().collect(),
        };
        let Some(job) = known else { return Ok(()) };
        let raw = serde_json::from_slice(line).unwrap_or_default();
        screen.show(place, job, &changed, &raw)?;
        if !self.outputs {
            return Ok(());
        }
        for run in changed.iter().filter(|run| matches!(run.state, State::Ended(outcome) if outcome.has_begun())) {
            let device = DeviceAddress { device: run.device.clone(), tenant: job.head.tenant.clone() };
            let has_some = run.output.is_some() && run.output_bytes != Some(0);
            // Each device ends once, so there is room for all.
            if has_some && self.want.try_send(Wanted { place, device, run: run.clone() }).is_ok() {
                self.fetching += 1;
            }
        }
        Ok(())
    }

    /// Asks in a thread of its own, so that the next Ctrl-C is heard. Without an answer nothing happens.
    fn ask(&mut self, screen: &Screen) {
        self.asked = true;
        screen.make_room();
        screen.tell("The job goes on without this terminal. Detach (d), cancel it (c), or go on watching (Enter)?");
        let tell = self.tell.clone();
        thread::spawn(move || {
            let mut answer = String::new();
            let _ = std::io::stdin().lock().take(ANSWER_BYTES_MAX).read_line(&mut answer);
            let _ = tell.send(Event::Answer(answer));
        });
    }

    fn cancel(&mut self, screen: &Screen) {
        let open: Vec<&Followed<'_>> = self
            .jobs
            .iter()
            .zip(&self.known)
            .filter(|(_, known)| known.as_ref().is_none_or(|job| !job.over))
            .map(|(job, _)| job)
            .collect();
        for answer in at_once(&open, |job| cancel(&job.gateway, &job.id)) {
            match answer {
                Ok(sentence) => {
                    self.cancelled = true;
                    screen.tell(&sentence);
                }
                Err(failure) => screen.tell(&format!("belay: it was not cancelled: {}", failure.sentence())),
            }
        }
        self.asked = false;
    }

    fn detach(&self, screen: &Screen) -> Outcome<End> {
        screen.make_room();
        for job in self.jobs {
            screen.tell(&format!("the job {0} goes on: `belay job {0} --follow` or `belay cancel {0}`", job.id));
        }
        Ok(End::Open)
    }

    fn settle(&mut self, screen: &Screen) -> Outcome<End> {
        for job in self.known.iter().flatten() {
            screen.finish(job)?;
        }
        if let Some(failure) = self.failure.take() {
            return Err(Failure::Job { status: 4, sentence: failure.sentence().to_owned() });
        }
        let ends = self.known.iter().map(|known| known.as_ref().map_or(End::Open, Job::end));
        match ends.reduce(End::and) {
            Some(End::Open) | None => Ok(End::Open),
            Some(_) if self.cancelled => Ok(End::Cancelled),
            Some(end) => Ok(end),
        }
    }
}

/// Cancels a job; the gateway's sentence.
///
/// # Errors
/// It refuses or does not answer.
pub fn cancel(gateway: &Gateway<'_>, id: &Id) -> Outcome<String> {
    let said = gateway.run(&["cancel", &id.to_string()], &[])?;
    Ok(String::from_utf8_lossy(&said).trim_end().to_owned())
}

/// Reads what a gateway tells about a job, and asks again when the connection is lost.
fn read(job: &Followed<'_>, call: &HangUp, tell: &SyncSender<Event>, place: usize) -> Outcome {
    let id = job.id.to_string();
    let (mut pause, mut tries) = (WATCH_PAUSES.0, 0);
    loop {
        let mut is_over = false;
        let mut heard = false;
        let ended = job.gateway.lines(&["job", &id, "--follow", "--json"], call, |line| {
            heard = true;
            is_over = serde_json::from_slice::<Over>(line).is_ok_and(|line| line.over);
            tell.send(Event::Line(place, line.to_vec())).map_err(|_| refused("nobody listens"))
        });
        if is_over || call.is_over() {
            return Ok(());
        }
        if heard {
            (pause, tries) = (WATCH_PAUSES.0, 0);
        }
        match ended {
            Ok(()) | Err(Failure::Unreachable(_)) if tries < FOLLOWS_MAX => {
                if tries == 0 {
                    let line = format!("the connection to the gateway of job {id} was lost; trying again");
                    let _ = tell.send(Event::Told(line));
                }
                call.pause(pause);
                (pause, tries) = ((pause * 2).min(WATCH_PAUSES.1), tries + 1);
            }
            Ok(()) => return Err(refused(format!("the gateway does not tell the end of the job {id}"))),
            Err(failure) => return Err(failure),
        }
    }
}

/// The one member of a line that says whether more comes.
#[derive(serde::Deserialize)]
struct Over {
    over: bool,
}

/// Fetches outputs, some at once, until nobody wants any.
fn fetch(
    jobs: &[Followed<'_>],
    wanted: &Receiver<Wanted>,
    tell: &SyncSender<Event>,
    (keys, call): (&Keys<'_>, &HangUp),
) {
    while let Ok(first) = wanted.recv() {
        let some: Vec<Wanted> = std::iter::once(first).chain(wanted.try_iter()).take(OUTPUTS_AT_ONCE).collect();
        let printed = at_once(&some, |one| match jobs.get(one.place) {
            Some(job) => fetch_whole(job, one, keys, call),
            None => Err(refused("there is no such job")),
        });
        for (one, printed) in some.into_iter().zip(printed) {
            if tell.send(Event::Output(one.device, printed)).is_err() {
                return;
            }
        }
    }
}

/// The end of a run is often known before the last of its output has come.
fn fetch_whole(job: &Followed<'_>, one: &Wanted, keys: &Keys<'_>, call: &HangUp) -> Outcome<Printed> {
    let fetch = || output::fetch(&job.gateway, &job.id, (&one.device, &one.run), keys);
    let mut pause = WATCH_PAUSES.0;
    for _ in 1..OUTPUT_TRIES_MAX {
        let printed = fetch()?;
        if printed.missing == 0 || call.is_over() {
            return Ok(printed);
        }
        call.pause(pause);
        pause = (pause * 2).min(WATCH_PAUSES.1);
    }
    fetch()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::stage::Stage;
    use serde_json::json;

    const JOB: &str = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f";

    fn line(over: bool, state: &str) -> Event {
        let job = json!({
            "job": JOB, "tenant": "acme", "runbook": "r", "person": "alice", "not_before": "2026-11-22T10:00:00Z",
            "not_after": "2026-11-22T10:15:00Z", "phase": "over", "over": over, "runs": [{"device": "web1", "serial": 7, "state": state}],
        });
        Event::Line(0, job.to_string().into_bytes())
    }

    /// How following one job ends when this is told, and what the gateway was asked.
    fn follow(asked: bool, told: Vec<Event>) -> (Outcome<End>, String) {
        let stage = Stage::new();
        stage.answers("cancel_ID", "job <ID> is cancelled\n");
        let route = crate::gateway::Route::of(stage.chain.policy()).unwrap();
        let jobs = [Followed { gateway: Gateway::new(&stage.home, route), id: JOB.parse().unwrap() }];
        let (tell, events) = sync_channel(EVENTS_MAX);
        let (want, _wanted) = sync_channel(1);
        told.into_iter().for_each(|event| tell.send(event).unwrap());
        let (known, open, outputs, fetching) = (vec![None], 1, false, 0);
        let (cancelled, failure) = (false, None);
        let mut state =
            Following { jobs: &jobs, known, open, outputs, fetching, want, tell, asked, cancelled, failure };
        (state.go_on(&events, &mut Screen::Lines), stage.asked())
    }

    #[test]
    fn who_answers_cancel_cancels_and_goes_on_to_the_end() {
        let answer = || Event::Answer("c\n".to_owned());
        let (end, asked) =
            follow(true, vec![line(false, "started"), answer(), line(true, "cancelled"), Event::End(Ok(()))]);
        assert_eq!((end.unwrap(), asked), (End::Cancelled, format!("cancel {JOB}\n")));
    }

    #[test]
    fn who_answers_detach_or_presses_again_leaves_the_job_going() {
        for leave in [Event::Answer("detach\n".to_owned()), Event::Interrupt] {
            let (end, asked) = follow(true, vec![line(false, "started"), leave]);
            assert_eq!((end.unwrap(), asked.as_str()), (End::Open, ""));
        }
    }

    #[test]
    fn any_other_answer_goes_on() {
        let told = vec![Event::Answer("\n".to_owned()), line(true, "succeeded"), Event::End(Ok(()))];
        assert_eq!(follow(true, told).0.unwrap(), End::Succeeded);
    }

    #[test]
    fn a_gateway_that_does_not_come_back_leaves_a_job_that_goes_on() {
        let lost = Err(Failure::Unreachable("no connection".to_owned()));
        let failure = follow(false, vec![line(false, "started"), Event::End(lost)]).0.unwrap_err();
        assert_eq!((failure.status(), failure.sentence()), (4, "no connection"));
        assert!(follow(false, vec![Event::Line(0, b"{}".to_vec())]).0.is_err(), "a line that is none");
    }
}
