//! `belay search`: what a terminal showed, found by its text. The gateway looks where it may read; here it is looked where only
//! the auditor may.

use super::{
    cell,
    desk::{
        case::{About, Case},
        index::Index,
        stream,
        taken::Taken,
    },
    sessions::LISTED_MAX,
};
use crate::{
    failure::{Outcome, refused, usage},
    gateway::{Gateway, quoted},
    home::Home,
    screen::{json, note, say, table},
    trusted::Trusted,
};
use belay_certs::{
    DeviceAddress, Id, TenantName,
    recording::{
        blob::Identities,
        cast::{EventKind, Header, Reader},
        offset_words,
    },
    screen::{Line, Lines, Typed, pages::Phrase, visible},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

/// Lines shown when nobody says how many.
const FOUND_DEFAULT: usize = 100;
/// Lines shown at most.
const FOUND_MAX: usize = 10_000;
/// Lists that are asked for at most, each of older sessions: a million sessions.
const LISTS_MAX: usize = 100;
/// Recordings after which it is told again how far a first search has come.
const TOLD_EVERY: u64 = 100;
/// Lines that are kept of one session: weeks of reading.
const LINES_MAX: usize = 1_000_000;

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

/// What a gateway answers to `search`.
#[derive(Deserialize)]
struct Answer {
    found: Vec<Value>,
    /// Recordings that fit, and that only the auditors can read.
    unreadable: u64,
    /// How many of them are what runs printed.
    #[serde(default)]
    unreadable_runs: u64,
    /// Recordings that are not in its index yet.
    #[serde(default)]
    waiting: u64,
    /// Why they are not, when that is not for want of time.
    #[serde(default)]
    no_room: Option<String>,
}

/// A row of `sessions`, as far as it is needed.
#[derive(Deserialize)]
struct Row {
    id: Id,
    device: DeviceAddress,
    recording: Option<Kept>,
}

#[derive(Deserialize)]
struct Kept {
    state: String,
    chunks: u64,
    readable: bool,
}

/// Finds it.
///
/// # Errors
/// A gateway cannot be asked; what the others have is shown.
pub fn run(home: &Home, args: &Args) -> Outcome {
    let words = Phrase::new(&args.text).map_err(|invalid| usage(invalid.sentence))?;
    let words = words.ok_or_else(|| usage("there is no word to look for: give one with a letter or a digit"))?;
    let limit = args.limit.min(FOUND_MAX);
    let trusted = Trusted::load(home)?;
    let mut found = Vec::new();
    let mut outcome = Ok(());
    for gateway in trusted.gateways(home)? {
        match of_gateway(home, &trusted, (args, &words), &gateway, limit) {
            Ok(lines) => found.extend(lines),
            Err(failure) => outcome = Err(failure),
        }
    }
    // The newest session first, and in it as it went.
    let place = |row: &Value| (cell(row, "session"), row.get("at_ms").and_then(Value::as_u64));
    found.sort_by_cached_key(|row| (Reverse(cell(row, "started")), place(row)));
    found.truncate(limit);
    if args.json {
        json(&Value::Array(found));
    } else if !found.is_empty() {
        let rows: Vec<Vec<String>> = found.iter().map(cells).collect();
        say(table(&["SESSION", "DEVICE", "PERSON", "AT", "LINE"], &rows).trim_end());
    }
    outcome
}

/// What was asked, and its words.
type Asked<'a> = (&'a Args, &'a Phrase);

fn of_gateway(
    home: &Home,
    trusted: &Trusted,
    (args, words): Asked<'_>,
    gateway: &Gateway<'_>,
    limit: usize,
) -> Outcome<Vec<Value>> {
    let phrase = words;
    let filter = filter(args);
    let text = quoted(&args.text)?;
    let limit_word = limit.to_string();
    let words = ["search", text.as_str(), "--limit", limit_word.as_str(), "--json"];
    let words: Vec<&str> = words.into_iter().chain(filter.iter().map(String::as_str)).collect();
    let Answer { mut found, unreadable, unreadable_runs, waiting, no_room } = gateway.ask(&words)?;
    match no_room {
        Some(why) => note(&format!("belay: {}; recordings that are not searched: {waiting}", visible(&why))),
        None if waiting > 0 => {
            note("belay: the gateway has not read its newest recordings yet: search again in a while");
        }
        None => {}
    }
    if unreadable_runs > 0 {
        note(&format!(
            "belay: what {unreadable_runs} runs printed is encrypted, and not searched: `belay replay JOB/DEVICE` opens one"
        ));
    }
    if unreadable > unreadable_runs {
        let rows = sessions(gateway, &filter)?;
        found.extend(here(home, trusted, (args, phrase), gateway, &rows, limit)?);
    }
    Ok(found)
}

/// Every session that is meant, the newest first.
fn sessions(gateway: &Gateway<'_>, filter: &[String]) -> Outcome<Vec<Value>> {
    let (limit, mut until, mut rows) = (LISTED_MAX.to_string(), None, Vec::new());
    for _ in 0..LISTS_MAX {
        let words = ["sessions", "--json", "--limit", limit.as_str()];
        let words = words.into_iter().chain(filter.iter().map(String::as_str));
        let words: Vec<&str> = words.chain(until.as_deref().into_iter().flat_map(|until| ["--until", until])).collect();
        let listed: Vec<Value> = gateway.ask(&words)?;
        let (full, last) = (listed.len() >= LISTED_MAX, listed.last().map(|row| cell(row, "started")));
        rows.extend(listed);
        if !full {
            return Ok(rows);
        }
        until = last;
    }
    note(&format!("belay: of all sessions the newest {} are searched: name fewer, as with --since", rows.len()));
    Ok(rows)
}

/// The words that say which sessions are meant: the same for `search` and `sessions`.
fn filter(args: &Args) -> Vec<String> {
    let named = [
        ("--tenant", args.tenant.as_ref().map(ToString::to_string)),
        ("--person", args.person.clone()),
        ("--device", args.device.as_ref().map(ToString::to_string)),
        ("--since", args.since.clone()),
        ("--kind", args.kind.clone()),
    ];
    named.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?])).flatten().collect()
}

/// What is found in the recordings that the gateway may not read, in an index that is made anew if it is damaged.
fn here(
    home: &Home,
    trusted: &Trusted,
    asked: Asked<'_>,
    gateway: &Gateway<'_>,
    rows: &[Value],
    limit: usize,
) -> Outcome<Vec<Value>> {
    let mut index = Index::open(home)?;
    match look((home, &mut index), trusted, asked, gateway, rows, limit) {
        Err(_) if index.is_damaged() => {
            drop(index);
            note("belay: the index of this home was damaged and is made anew");
            Index::forget(home);
            look((home, &mut Index::open(home)?), trusted, asked, gateway, rows, limit)
        }
        answer => answer,
    }
}

/// One that cannot be had is told and left out.
fn look(
    (home, index): (&Home, &mut Index),
    trusted: &Trusted,
    (args, words): Asked<'_>,
    gateway: &Gateway<'_>,
    rows: &[Value],
    limit: usize,
) -> Outcome<Vec<Value>> {
    let mut keys: BTreeMap<TenantName, Option<Identities>> = BTreeMap::new();
    let (mut sessions, mut locked) = (BTreeMap::new(), BTreeSet::new());
    let mut read = 0_u64;
    // They come the newest first, and what is put in last is found first.
    for raw in rows.iter().rev() {
        let Ok(Row { id, device, recording: Some(kept) }) = serde_json::from_value(raw.clone()) else { continue };
        if kept.readable || kept.state == "deleted" || kept.chunks == 0 {
            continue;
        }
        if !index.has(&id, kept.chunks)? {
            let tenant = device.tenant.clone();
            if !keys.contains_key(&tenant) {
                keys.insert(tenant.clone(), stream::identities(home, &tenant, args.age_identity.as_deref())?);
            }
            let Some(key) = keys.get(&tenant).and_then(Option::as_ref) else {
                locked.insert(id);
                continue;
            };
            read += 1;
            if read.is_multiple_of(TOLD_EVERY) {
                note(&format!("belay: {read} recordings are fetched and read; the next search has them"));
            }
            let about = About::of(id, &device, kept.state);
            let taken = Case::of(home, trusted, gateway.clone(), about)
                .and_then(|case| take_in(index, &case, key, kept.chunks));
            if let Err(failure) = taken {
                if index.is_damaged() {
                    return Err(failure);
                }
                note(&format!("belay: session {id} on {device} is left out: {}", failure.sentence()));
                continue;
            }
        }
        sessions.insert(id, raw);
    }
    if !locked.is_empty() {
        note(&format!(
            "belay: {} recordings are encrypted, and no auditor's key is here: give --age-identity FILE",
            locked.len()
        ));
    }
    let ids: Vec<Id> = sessions.keys().copied().collect();
    let lines = index.find(words, &ids, limit)?;
    let shown = lines.into_iter().filter_map(|line| {
        let row = sessions.get(&line.session.parse::<Id>().ok()?)?;
        let field = |name: &str| row.get(name).cloned().unwrap_or(Value::Null);
        Some(json!({
            "tenant": tenant_of(row), "session": line.session, "device": field("device"), "person": field("person"), "kind": field("kind"),
            "started": field("started"), "at_ms": line.at_ms, "line": line.text,
        }))
    });
    Ok(shown.collect())
}

fn tenant_of(row: &Value) -> Option<String> {
    row.get("device")?.as_str()?.split_once('.').map(|(_, tenant)| tenant.to_owned())
}

/// Fetches, verifies, decrypts and indexes one recording.
fn take_in(index: &mut Index, case: &Case<'_>, key: &Identities, chunks: u64) -> Outcome {
    let taken = Taken::fetch(case)?;
    index.put(&case.about.session, chunks, |keep| {
        let mut reader = Reader::default();
        let (mut terminal, mut typed): (Option<Lines>, _) = (None, Typed::default());
        let mut kept = 0_usize;
        let mut keep = |lines: Vec<Line>| {
            kept = kept.saturating_add(lines.len());
            if kept > LINES_MAX {
                return Err(refused(format!("it shows more than {LINES_MAX} lines: use `belay recording` and grep")));
            }
            lines.into_iter().try_for_each(&mut *keep)
        };
        taken.text(Some(key), &mut |_, text| {
            let events = reader.read(text)?;
            let begun = || reader.header().map_or_else(|| Lines::new(80, 24), Header::screen);
            let terminal = terminal.get_or_insert_with(begun);
            for event in events {
                let at_ms = event.at / 1_000;
                keep(match event.kind {
                    EventKind::Output(bytes) => terminal.feed(at_ms, &bytes),
                    EventKind::Resize { columns, rows } => terminal.resize(at_ms, columns as usize, rows as usize),
                    EventKind::Marker(words) => vec![Line { at_ms, text: visible(&words).into_owned() }],
                    EventKind::Input(bytes) => typed.feed(at_ms, &bytes),
                })?;
            }
            Ok(())
        })?;
        keep(typed.finish().into_iter().chain(terminal.map(Lines::finish).unwrap_or_default()).collect())
    })
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
