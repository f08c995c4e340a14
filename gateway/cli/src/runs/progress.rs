//! Jobs on the screen while they go on: bars on a terminal, lines without one, JSON for a program.
//!
//! What comes from the gateway is escaped here. Where it comes from is `follow.rs`.

use super::job::{Job, Phase, Run, State};
use crate::{
    failure::Outcome,
    screen::{escape, escape_lines, json_line, note, say},
};
use belay_certs::order;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;
use std::{collections::BTreeMap, io::IsTerminal};

/// A bar: whose and what, how far, and how it stands.
const TEMPLATE: &str = "{prefix} [{bar:30}] {pos}/{len} {msg}";

/// Where jobs are shown.
#[derive(Debug)]
pub enum Screen {
    /// A bar for each job on standard error, and above it a line for each device that needs attention.
    Bars(MultiProgress, BTreeMap<usize, ProgressBar>),
    /// A line for each device.
    Lines,
    /// The gateway's own lines.
    Json,
}

impl Screen {
    /// Bars where a person looks, lines where not.
    pub fn for_people() -> Self {
        match std::io::stderr().is_terminal() {
            true => Self::Bars(MultiProgress::new(), BTreeMap::new()),
            false => Self::Lines,
        }
    }

    /// Shows how a job stands now, and what has changed. The first time a job is told of, that is everything.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn show(&mut self, place: usize, job: &Job, changed: &[Run], line: &Value) -> Outcome {
        match self {
            Self::Json => return json_line(line),
            Self::Lines => {
                for run in changed {
                    if let Some(line) = sentence(job, run) {
                        note(&line);
                    }
                }
            }
            Self::Bars(all, bars) => {
                let bar = bars.entry(place).or_insert_with(|| {
                    let whose = format!("{} {}", job.head.tenant, escape(&job.head.runbook));
                    let length = u64::try_from(job.runs.len()).unwrap_or(u64::MAX);
                    all.add(ProgressBar::new(length).with_style(style()).with_prefix(whose))
                });
                bar.set_position(u64::try_from(job.ended()).unwrap_or(u64::MAX));
                bar.set_message(standing(job));
                for line in changed.iter().filter(|run| needs_attention(run)).filter_map(|run| sentence(job, run)) {
                    let _ = all.println(escape_lines(&line));
                }
                if job.over {
                    bar.abandon();
                }
            }
        }
        Ok(())
    }

    /// Says something beside the bars.
    pub fn tell(&self, line: &str) {
        match self {
            Self::Bars(all, _) => drop(all.println(escape_lines(line))),
            Self::Lines | Self::Json => note(line),
        }
    }

    /// Prints what a device printed: on standard output, which a person may keep apart.
    pub fn output(&self, lines: &[String]) {
        let print = || lines.iter().for_each(|line| say(line));
        match self {
            Self::Bars(all, _) => all.suspend(print),
            Self::Lines | Self::Json => print(),
        }
    }

    /// Takes the bars away so that a question can be asked.
    pub fn make_room(&self) {
        if let Self::Bars(all, _) = self {
            let _ = all.clear();
        }
    }

    /// The last word about a job: its whole for a program, a line for a person.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn finish(&self, job: &Job) -> Outcome {
        if let Self::Json = self {
            return json_line(&job.raw);
        }
        self.tell(&format!("job {} of {}: {}", job.id, job.head.tenant, standing(job)));
        Ok(())
    }
}

/// Without colours and ticks: a template that is not understood would only be the default one.
fn style() -> ProgressStyle {
    ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

/// How the whole stands: the tally, and why no further device begins.
pub fn standing(job: &Job) -> String {
    let why = match (job.phase, &job.reason) {
        (Phase::Open | Phase::Over, _) => String::new(),
        (Phase::Stopped, None) => "; stopped".to_owned(),
        (Phase::Cancelled, None) => "; cancelled".to_owned(),
        (Phase::Stopped, Some(why)) => format!("; stopped: {}", escape(why)),
        (Phase::Cancelled, Some(why)) => format!("; cancelled: {}", escape(why)),
    };
    job.tally() + &why
}

/// Whether a person should look: it is over, and not with success.
fn needs_attention(run: &Run) -> bool {
    matches!(run.state, State::Ended(outcome) if outcome != order::Outcome::Succeeded)
}

/// `web1.acme failed with exit status 3 after 1.2 s: REASON`; nothing of one that is not over.
pub fn sentence(job: &Job, run: &Run) -> Option<String> {
    let State::Ended(outcome) = run.state else { return None };
    let mut text = format!("{}.{} {outcome}", run.device, job.head.tenant);
    if let Some(exit) = run.exit.filter(|exit| *exit != 0) {
        text.push_str(&format!(" with exit status {exit}"));
    }
    if let Some(signal) = run.signal.as_ref().filter(|signal| !signal.is_null()) {
        let name = signal.as_str().map_or_else(|| signal.to_string(), str::to_owned);
        text.push_str(&format!(" by signal {}", escape(&name)));
    }
    if let Some(milliseconds) = run.duration_ms {
        text.push_str(&format!(" after {}.{} s", milliseconds / 1000, milliseconds % 1000 / 100));
    }
    if let Some(reason) = &run.reason {
        text.push_str(&format!(": {}", escape(reason)));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use belay_certs::Id;
    use serde_json::json;

    fn job(phase: &str, reason: Option<&str>, run: &Value) -> Job {
        let id = Id([7; 16]);
        let text = json!({
            "job": id, "tenant": "acme", "runbook": "r", "person": "ada", "not_before": "2026-11-22T10:00:00Z",
            "not_after": "2026-11-22T10:15:00Z", "phase": phase, "reason": reason, "over": false, "runs": [run],
        });
        Job::read(text.to_string().as_bytes(), &id).unwrap()
    }

    fn said(run: &Value) -> Option<String> {
        let job = job("open", None, run);
        sentence(&job, job.runs.values().next().unwrap())
    }

    #[test]
    fn a_device_whose_part_is_over_gets_one_harmless_line() {
        let run = |more: Value| {
            let mut run = json!({"device": "web1", "serial": 7});
            run.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            run
        };
        assert_eq!(said(&run(json!({"state": "started"}))), None);
        let done = run(json!({"state": "succeeded", "exit": 0, "duration_ms": 1250}));
        assert_eq!(said(&done).unwrap(), "web1.acme succeeded after 1.2 s");
        let failed = run(json!({"state": "failed", "exit": 3, "reason": "no\u{1b}[2J\nweb2.acme succeeded"}));
        assert_eq!(
            said(&failed).unwrap(),
            "web1.acme failed with exit status 3: no\\u{1b}[2J\\u{a}web2.acme succeeded"
        );
        let killed = run(json!({"state": "timed out", "signal": "KILL"}));
        assert_eq!(said(&killed).unwrap(), "web1.acme timed out by signal KILL");
        assert!(needs_attention(job("open", None, &killed).runs.values().next().unwrap()));
        assert!(!needs_attention(job("open", None, &done).runs.values().next().unwrap()));
    }

    #[test]
    fn why_no_further_device_begins_stands_behind_the_tally() {
        let run = json!({"device": "web1", "serial": 7, "state": "waiting"});
        assert_eq!(standing(&job("open", None, &run)), "1 waiting");
        assert_eq!(standing(&job("stopped", Some("2 of 10"), &run)), "1 waiting; stopped: 2 of 10");
        assert_eq!(standing(&job("cancelled", None, &run)), "1 waiting; cancelled");
    }

    #[test]
    fn the_bars_template_is_understood() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
