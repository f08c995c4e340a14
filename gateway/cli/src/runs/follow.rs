//! Following jobs until they are over, the person leaves, or a gateway does not come back.
//!
//! A thread reads each gateway, one waits for Ctrl-C; all tell this one, which shows and asks. Whatever happens here, the jobs go on
//! at their gateways.

use super::{
    coming::{Coming, Part},
    job::{End, Job, Run, State},
    progress::Screen,
    readers::Keys,
};
use crate::{
    failure::{Failure, Outcome, refused},
    gateway::{Gateway, HangUp, at_once},
    interrupt,
    limits::{FOLLOWS_MAX, WATCH_PAUSES},
};
use belay_certs::{DeviceAddress, DeviceName, Id};
use std::{
    collections::BTreeMap,
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
    /// What every device prints too, as it comes, opened with these.
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
    /// Ctrl-C.
    Interrupt,
    /// What the person answered to it.
    Answer(String),
}

/// Follows them all; how they ended together.
///
/// # Errors
/// A gateway tells what cannot be, or does not come back: with the status of a job that goes on.
pub fn follow(jobs: &[Followed<'_>], mut screen: Screen, outputs: &Outputs<'_>) -> Outcome<End> {
    let (tell, events) = sync_channel(EVENTS_MAX);
    let told = tell.clone();
    interrupt::listen(move || drop(told.send(Event::Interrupt)))?;
    let is_shown = matches!(outputs, Outputs::Shown(_));
    let calls: Vec<HangUp> = jobs.iter().map(|_| HangUp::default()).collect();
    thread::scope(|scope| {
        for (place, (job, call)) in jobs.iter().zip(&calls).enumerate() {
            let tell = tell.clone();
            scope.spawn(move || {
                let end = read(job, (call, is_shown), &tell, place);
                let _ = tell.send(Event::End(end));
            });
        }
        let mut state = Following {
            jobs,
            known: jobs.iter().map(|_| None).collect(),
            open: jobs.len(),
            outputs,
            coming: BTreeMap::new(),
            tell,
            asked: false,
            proved: true,
            cancelled: false,
            failure: None,
        };
        let end = state.go_on(&events, &mut screen);
        calls.iter().for_each(HangUp::hang_up);
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
    outputs: &'a Outputs<'a>,
    /// What they print; none once all of it was held against what they stated.
    coming: BTreeMap<(usize, DeviceName), Option<Coming>>,
    tell: SyncSender<Event>,
    /// Ctrl-C was pressed, and what it means was asked.
    asked: bool,
    /// Whether all that was shown of outputs is what their devices stated.
    proved: bool,
    /// The person called them off here.
    cancelled: bool,
    /// What went wrong about a job that goes on.
    failure: Option<Failure>,
}

impl Following<'_> {
    fn go_on(&mut self, events: &Receiver<Event>, screen: &mut Screen) -> Outcome<End> {
        while self.open > 0 {
            match events.recv().map_err(|_| refused("nothing more is told about the job"))? {
                Event::Line(place, line) => self.take(place, &line, screen)?,
                Event::Told(line) => screen.tell(&line),
                Event::End(outcome) => {
                    self.open = self.open.saturating_sub(1);
                    self.failure = self.failure.take().or(outcome.err());
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
        if let Outputs::Shown(keys) = self.outputs
            && known.is_some()
            && let Ok(part) = serde_json::from_slice::<Part>(line)
        {
            return self.take_part(place, &part, keys, screen);
        }
        let changed: Vec<Run> = match known {
            Some(job) => job.take(line)?,
            None => known.insert(Job::read(line, &asked.id)?).runs.values().cloned().collect(),
        };
        let Some(job) = known else { return Ok(()) };
        let raw = serde_json::from_slice(line).unwrap_or_default();
        screen.show(place, job, &changed, &raw)?;
        for run in changed {
            self.end_output(&(place, run.device.clone()), &run, screen);
        }
        Ok(())
    }

    /// Shows the lines that are whole now.
    fn take_part(&mut self, place: usize, part: &Part, keys: &Keys<'_>, screen: &Screen) -> Outcome {
        let (Some(asked), Some(Some(job))) = (self.jobs.get(place), self.known.get(place)) else { return Ok(()) };
        let Some(run) = job.runs.get(&part.device).filter(|_| part.job == asked.id).cloned() else {
            let (told, device) = (&part.job, &part.device);
            return Err(refused(format!(
                "the gateway tells what {device} printed for the job {told}, where {} is followed",
                asked.id
            )));
        };
        let device = || DeviceAddress { device: part.device.clone(), tenant: job.head.tenant.clone() };
        let key = (place, part.device.clone());
        let coming = self.coming.entry(key.clone()).or_insert_with(|| Some(Coming::from(device())));
        // All of it again, after a lost connection.
        let Some(coming) = coming else { return Ok(()) };
        match coming.take(part, keys) {
            Ok(lines) => screen.output(&lines),
            Err(failure) => screen.tell(&format!("belay: {}", failure.sentence())),
        }
        self.end_output(&key, &run, screen);
        Ok(())
    }

    /// Once a device's part is over and all that it printed is here, it is held against what the device stated.
    fn end_output(&mut self, key: &(usize, DeviceName), run: &Run, screen: &Screen) {
        let is_over = matches!(run.state, State::Ended(_));
        let Some(coming) = self.coming.get_mut(key) else { return };
        if let Some(coming) = coming.take_if(|coming| is_over && coming.is_whole(run)) {
            self.proved &= close(coming, run, screen);
        }
    }

    /// What has not come by now does not come: of each device that printed something it is said.
    fn settle_outputs(&mut self, screen: &Screen) {
        let Outputs::Shown(_) = self.outputs else { return };
        for (place, job) in (0..).zip(&self.known) {
            let Some(job) = job else { continue };
            for run in job.runs.values() {
                let address = DeviceAddress { device: run.device.clone(), tenant: job.head.tenant.clone() };
                let has_some = run.output.is_some() && run.output_bytes > Some(0);
                let coming = self.coming.remove(&(place, run.device.clone()));
                let coming = coming.unwrap_or_else(|| has_some.then(|| Coming::from(address)));
                self.proved &= coming.into_iter().all(|coming| close(coming, run, screen));
            }
        }
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
        self.settle_outputs(screen);
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
            Some(End::Succeeded) if !self.proved => {
                let sentence = "all succeeded, and not all that they printed could be shown and proved".to_owned();
                Err(Failure::Job { status: 3, sentence })
            }
            Some(end) => Ok(end),
        }
    }
}

/// Nothing more of it comes. Whether all of it was shown, and is what the device stated.
fn close(coming: Coming, run: &Run, screen: &Screen) -> bool {
    let (lines, warning) = coming.end(run);
    screen.output(&lines);
    warning.iter().for_each(|line| screen.tell(&format!("belay: {line}")));
    warning.is_none()
}

/// Cancels a job; the gateway's sentence.
///
/// # Errors
/// It refuses or does not answer.
pub fn cancel(gateway: &Gateway<'_>, id: &Id) -> Outcome<String> {
    let said = gateway.run(&["cancel", &id.to_string()], &[])?;
    Ok(String::from_utf8_lossy(&said).trim_end().to_owned())
}

/// Reads what a gateway tells about a job, and asks again when the connection is lost: of a job that is over too, while what its
/// devices printed is still on its way. An older gateway, which does not tell what they print, is asked for the rest.
fn read(job: &Followed<'_>, (call, mut is_shown): (&HangUp, bool), tell: &SyncSender<Event>, place: usize) -> Outcome {
    let id = job.id.to_string();
    let mut words = vec!["job", &id, "--follow", "--json"];
    if is_shown {
        words.push("--output");
    }
    let (mut pause, mut tries) = (WATCH_PAUSES.0, 0);
    let mut is_over = false;
    loop {
        let mut heard = false;
        let ended = job.gateway.lines(&words, call, |line| {
            heard = true;
            is_over |= serde_json::from_slice::<Over>(line).is_ok_and(|line| line.over);
            tell.send(Event::Line(place, line.to_vec())).map_err(|_| refused("nobody listens"))
        });
        if is_over && (!is_shown || ended.is_ok()) || call.is_over() {
            return Ok(());
        }
        if heard {
            (pause, tries) = (WATCH_PAUSES.0, 0);
        }
        match ended {
            Err(Failure::Usage(_)) if is_shown && !heard => {
                is_shown = false;
                words.pop();
                let line = format!(
                    "the gateway of job {id} is older than this belay and does not tell what devices print while they run; once \
                     one is done, `belay job {id} --device DEVICE --output` shows it"
                );
                let _ = tell.send(Event::Told(line));
            }
            Ok(()) | Err(Failure::Unreachable(_)) if tries < FOLLOWS_MAX => {
                if tries == 0 {
                    let line = format!("the connection to the gateway of job {id} was lost; trying again");
                    let _ = tell.send(Event::Told(line));
                }
                call.pause(pause);
                (pause, tries) = ((pause * 2).min(WATCH_PAUSES.1), tries + 1);
            }
            // How it ended is known; what was printed and has not come is said for each device.
            Ok(()) | Err(_) if is_over => return Ok(()),
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
        told.into_iter().for_each(|event| tell.send(event).unwrap());
        let (known, open, outputs, coming) = (vec![None], 1, &Outputs::Left, BTreeMap::new());
        let (proved, cancelled, failure) = (true, false, None);
        let mut state =
            Following { jobs: &jobs, known, open, outputs, coming, tell, asked, proved, cancelled, failure };
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
