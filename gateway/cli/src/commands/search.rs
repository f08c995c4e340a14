//! `belay search`: what a terminal showed, found by its text. The gateway looks where it may read; here it is looked where only
//! the auditor may.

mod sealed;

use super::{
    cell,
    desk::index::{Index, Listed},
    now,
};
use crate::{
    failure::{Outcome, usage},
    gateway::{Gateway, quoted},
    home::Home,
    screen::{escape as visible, json, note, say, table},
    trusted::Trusted,
};
use belay_certs::{
    DeviceAddress, TenantName, Timestamp,
    recording::offset_words,
    screen::pages::Phrase,
    time::{DAY, SECOND},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{cmp::Reverse, path::PathBuf};

/// Lines shown when nobody says how many.
const FOUND_DEFAULT: usize = 100;
/// Lines shown at most.
const FOUND_MAX: usize = 10_000;

/// `belay search`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What was shown: words of a line, next to each other; capitals and accents do not matter
    text: String,
    /// Only sessions of this tenant
    #[arg(long)]
    tenant: Option<TenantName>,
    /// Only sessions of this person
    #[arg(long)]
    person: Option<String>,
    /// Only sessions on this device
    #[arg(long)]
    device: Option<DeviceAddress>,
    /// Only sessions that began then or later: a moment, 24h, 7d
    #[arg(long, value_name = "MOMENT")]
    since: Option<String>,
    /// Only of this kind: shell, exec, sftp, or run for what runs printed
    #[arg(long)]
    kind: Option<String>,
    /// At most so many lines
    #[arg(long, value_name = "N", default_value_t = FOUND_DEFAULT)]
    limit: usize,
    /// The auditor's age identity [default: auditor.age among each tenant's keys of the home]
    #[arg(long, value_name = "FILE")]
    age_identity: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What a gateway answers to `search`, and what is answered here.
#[derive(Debug, Default, Deserialize)]
struct Answer {
    found: Vec<Value>,
    /// Recordings that fit, and that only the auditors can read; here: that nobody here could read either.
    unreadable: u64,
    /// How many of them are what runs printed.
    #[serde(default)]
    unreadable_runs: u64,
    /// Recordings that are not in the gateway's index yet.
    #[serde(default)]
    waiting: u64,
    /// Why they are not, when that is not for want of time.
    #[serde(default)]
    no_room: Option<String>,
    /// Those that only the auditors can read, when they were asked for.
    #[serde(default)]
    sealed: Option<Listed>,
}

/// What is looked for.
struct Asked<'a> {
    words: Phrase,
    /// The same as one word of a command.
    text: String,
    args: &'a Args,
    /// Of one tenant only.
    tenant: Option<&'a TenantName>,
    since: Timestamp,
    limit: usize,
}

impl<'a> Asked<'a> {
    fn new(args: &'a Args) -> Outcome<Self> {
        let words = Phrase::new(&args.text).map_err(|invalid| usage(invalid.sentence))?;
        let words = words.ok_or_else(|| usage("there is no word to look for: give one with a letter or a digit"))?;
        let since = args.since.as_deref().map(|text| moment(text, now())).transpose()?;
        Ok(Self {
            words,
            text: quoted(&args.text)?,
            args,
            tenant: args.tenant.as_ref().or(args.device.as_ref().map(|device| &device.tenant)),
            since: since.unwrap_or(Timestamp::from_micros(0)),
            limit: args.limit.min(FOUND_MAX),
        })
    }

    /// Asks a gateway, and for what changed since a moment of what it cannot look into.
    fn ask(&self, gateway: &Gateway<'_>, sealed: Option<Timestamp>) -> Outcome<Answer> {
        let Args { tenant, person, device, since, kind, .. } = self.args;
        let options = [
            ("--limit", Some(self.limit.to_string())),
            ("--tenant", tenant.as_ref().map(ToString::to_string)),
            ("--person", person.clone()),
            ("--device", device.as_ref().map(ToString::to_string)),
            // One moment for all gateways and for what is found here.
            ("--since", since.as_ref().map(|_| self.since.to_string())),
            ("--kind", kind.clone()),
            ("--sealed", sealed.map(|moment| moment.to_string())),
        ];
        let options = options.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?])).flatten();
        let options: Vec<String> = options.collect();
        let words = ["search", self.text.as_str(), "--json"];
        gateway.ask(&words.into_iter().chain(options.iter().map(String::as_str)).collect::<Vec<_>>())
    }
}

/// Finds it.
///
/// # Errors
/// A gateway cannot be asked; what the others have is shown.
pub fn run(home: &Home, args: &Args) -> Outcome {
    let asked = Asked::new(args)?;
    let trusted = Trusted::load(home)?;
    let mut all = Answer::default();
    let mut outcome = Ok(());
    for gateway in trusted.gateways(home)? {
        match of_gateway(home, &trusted, &asked, &gateway) {
            Ok(answer) => {
                all.found.extend(answer.found);
                all.unreadable += answer.unreadable;
                all.unreadable_runs += answer.unreadable_runs;
                all.waiting += answer.waiting;
                all.no_room = all.no_room.or(answer.no_room);
            }
            Err(failure) => outcome = Err(failure),
        }
    }
    // The newest session first, and in it as it went.
    let place = |row: &Value| (cell(row, "session"), row.get("at_ms").and_then(Value::as_u64));
    all.found.sort_by_cached_key(|row| (Reverse(cell(row, "started").parse::<Timestamp>().ok()), place(row)));
    all.found.truncate(asked.limit);
    if args.json {
        let Answer { found, unreadable, unreadable_runs, waiting, no_room, sealed: _ } = all;
        json(&json!({
            "found": found, "unreadable": unreadable, "unreadable_runs": unreadable_runs, "waiting": waiting,
            "no_room": no_room,
        }));
    } else if !all.found.is_empty() {
        let rows: Vec<Vec<String>> = all.found.iter().map(cells).collect();
        say(table(&["SESSION", "DEVICE", "PERSON", "AT", "LINE"], &rows).trim_end());
    }
    outcome
}

fn of_gateway(home: &Home, trusted: &Trusted, asked: &Asked<'_>, gateway: &Gateway<'_>) -> Outcome<Answer> {
    let answer = match Index::is_there(home) {
        true => None,
        // Most gateways can read all that they have: then there is nothing to keep here.
        false => Some(asked.ask(gateway, None)?).filter(|answer| answer.unreadable == 0),
    };
    let answer = match answer {
        Some(answer) => answer,
        None => sealed::search(home, trusted, asked, gateway)?,
    };
    match &answer.no_room {
        Some(why) => {
            note(&format!("belay: {}; recordings that are not searched: {}", visible(why), answer.waiting));
        }
        None if answer.waiting > 0 => {
            note("belay: the gateway has not read its newest recordings yet: search again in a while");
        }
        None => {}
    }
    Ok(answer)
}

/// A moment as the gateways read it: itself, or how long ago.
fn moment(text: &str, now: Timestamp) -> Outcome<Timestamp> {
    let ago = |(unit, micros): (char, i64)| {
        let count: u32 = text.strip_suffix(unit)?.parse().ok()?;
        i64::from(count).checked_mul(micros)
    };
    let units = [('d', DAY), ('h', 3_600 * SECOND), ('m', 60 * SECOND), ('s', SECOND)];
    match units.into_iter().find_map(ago) {
        Some(ago) => Ok(Timestamp::from_micros(now.micros().saturating_sub(ago).max(0))),
        None => text
            .parse()
            .map_err(|_| usage(format!("{text:?} is no moment: write 24h, 7d, 30m or 2026-11-21T09:00:00Z"))),
    }
}

fn cells(found: &Value) -> Vec<String> {
    let at = found.get("at_ms").and_then(Value::as_u64).unwrap_or(0);
    let (mut session, device) = (cell(found, "session"), cell(found, "device"));
    if cell(found, "kind") == "run" {
        session = format!("{session}/{}", device.split_once('.').map_or(device.as_str(), |(device, _)| device));
    }
    vec![session, device, cell(found, "person"), offset_words(at), cell(found, "line")]
}

#[cfg(test)]
mod tests;
