//! What is found where only the auditor may look: the gateway is asked in one command for its own lines and for what is new of
//! the recordings that it cannot read, what is new is fetched, checked, opened and indexed, and the index of this home answers.
//!
//! Not here: the index (`desk/index.rs`), and what is believed of a recording (`desk`).

use super::{Answer, Asked};
use crate::{
    commands::desk::{
        case::{About, Case},
        index::{Filter, Index, Known, Listed, kind_word},
        ran::Ran,
        stream,
        taken::{Extent, Taken},
    },
    failure::{Outcome, refused},
    gateway::{Gateway, Route},
    home::Home,
    limits::{SEALED_KNOWN_MAX, SEALED_LISTS_MAX},
    runs::job::Job,
    screen::note,
    trusted::Trusted,
};
use belay_certs::{
    Id, TenantName, Timestamp,
    output::Line as Printed,
    recording::{
        blob::Identities,
        cast::{EventKind, Header, Reader},
    },
    screen::{Line, Lines, Typed, visible},
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Recordings after which it is told again how far a first search has come.
const TOLD_EVERY: u64 = 100;
/// Lines that are kept of one recording: weeks of reading.
const LINES_MAX: usize = 1_000_000;
/// Jobs that are held while their runs are fetched, each up to 10,000 devices.
const JOBS_HELD_MAX: usize = 4;
/// The kind of what runs print.
const RUN: &str = "run";
/// The state of a recording that was not deleted, as far as a case asks.
const THERE: &str = "listed";

/// What a gateway finds, and this home in an index that is made anew if it is damaged.
pub fn search(home: &Home, trusted: &Trusted, asked: &Asked<'_>, gateway: &Gateway<'_>) -> Outcome<Answer> {
    let mut index = Index::open(home)?;
    match look((home, &mut index), trusted, asked, gateway) {
        Err(_) if index.is_damaged() => {
            drop(index);
            note("belay: the index of this home was damaged and is made anew");
            Index::forget(home);
            look((home, &mut Index::open(home)?), trusted, asked, gateway)
        }
        answer => answer,
    }
}

fn look(
    (home, index): (&Home, &mut Index),
    trusted: &Trusted,
    asked: &Asked<'_>,
    gateway: &Gateway<'_>,
) -> Outcome<Answer> {
    let (mut answer, tenants) = follow(index, trusted, asked, gateway)?;
    let filter = filter(asked, &tenants);
    take_all(home, index, trusted, asked, gateway, &filter)?;
    // What could not be had is left out, and counted.
    let missing = index.missing(&filter)?;
    let unlisted = answer.unreadable.saturating_sub(index.count(&filter)?);
    if unlisted > 0 {
        note(&format!(
            "belay: the gateway counts {unlisted} more encrypted recordings than it lists: they are not searched"
        ));
    }
    answer.unreadable = unlisted.saturating_add(missing.len() as u64);
    answer.unreadable_runs = missing.iter().filter(|known| known.kind == RUN).count() as u64;
    let lines = index.find(&asked.words, &filter, asked.limit)?;
    answer.found.extend(lines.into_iter().map(|line| {
        let one = line.recording;
        json!({
            "tenant": one.device.tenant, "session": one.session, "device": one.device, "person": one.person, "kind": one.kind,
            "started": one.started, "at_ms": line.at_ms, "line": line.text,
        })
    }));
    Ok(answer)
}

fn filter<'a>(asked: &'a Asked<'_>, tenants: &'a BTreeSet<TenantName>) -> Filter<'a> {
    let args = asked.args;
    let (person, kind) = (args.person.as_deref(), args.kind.as_deref());
    Filter { tenants, person, device: args.device.as_ref(), since: asked.since, kind }
}

/// Asks the gateway until its list of what is new has ended. Its answer, and the tenants that it is about.
///
/// Where the gateway counts others than are known here, as after its clock was set back or a backup was restored, the list is asked
/// for from its beginning, once.
fn follow(
    index: &mut Index,
    trusted: &Trusted,
    asked: &Asked<'_>,
    gateway: &Gateway<'_>,
) -> Outcome<(Answer, BTreeSet<TenantName>)> {
    let name = gateway.route().to_string();
    let beginning = Timestamp::from_micros(0);
    // Every listing has a number of its own, so that what one from the beginning does not name is known.
    let list = index.new_list(super::now())?;
    let mut from = index.until(&name, asked.tenant)?.unwrap_or(beginning);
    let (mut is_whole, mut is_again) = (from == beginning, false);
    for _ in 0..SEALED_LISTS_MAX {
        let mut answer = asked.ask(gateway, Some(from))?;
        let listed =
            answer.sealed.take().ok_or_else(|| refused("the gateway does not say what only auditors can read"))?;
        let listed = own(listed, trusted, asked.tenant, gateway);
        if !is_whole && is_new(index, &name, &listed.tenants)? {
            (from, is_whole) = (beginning, true);
            continue;
        }
        index.learn(&name, &listed, list, SEALED_KNOWN_MAX)?;
        if listed.more {
            if listed.until <= from {
                return Err(refused("the gateway's list of recordings does not go on"));
            }
            from = listed.until;
            continue;
        }
        if is_whole {
            let gone = index.settle(&listed.tenants, list)?;
            if gone > 0 {
                note(&format!(
                    "belay: {gone} recordings that were known here are none of the gateway's any more, and left out"
                ));
            }
        }
        if asked.tenant.is_none() {
            index.follow_only(&name, &listed.tenants)?;
        }
        if is_again || is_whole || index.count(&filter(asked, &listed.tenants))? == answer.unreadable {
            return Ok((answer, listed.tenants));
        }
        (from, is_whole, is_again) = (beginning, true, true);
    }
    Err(refused(format!("the gateway's list of recordings has not ended after {SEALED_LISTS_MAX} parts: search again")))
}

/// Of a list what may be this gateway's: not of tenants that were not asked for, or whose policy names another gateway.
fn own(mut listed: Listed, trusted: &Trusted, tenant: Option<&TenantName>, gateway: &Gateway<'_>) -> Listed {
    let is_own = |named: &TenantName| {
        let elsewhere = trusted.tenant(named).ok().and_then(|held| Route::of(held.policy()).ok());
        tenant.is_none_or(|tenant| tenant == named) && elsewhere.is_none_or(|route| route == *gateway.route())
    };
    listed.tenants.retain(is_own);
    listed
}

/// Whether a tenant is among them whose recordings were never listed here.
fn is_new(index: &Index, gateway: &str, tenants: &BTreeSet<TenantName>) -> Outcome<bool> {
    for tenant in tenants {
        if index.until(gateway, Some(tenant))?.is_none() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes in what is meant and new. One that cannot be had is told and left out, each time.
fn take_all(
    home: &Home,
    index: &mut Index,
    trusted: &Trusted,
    asked: &Asked<'_>,
    gateway: &Gateway<'_>,
    filter: &Filter<'_>,
) -> Outcome {
    let mut keys: BTreeMap<TenantName, Option<Identities>> = BTreeMap::new();
    let (mut read, mut locked, mut printed) = (0_u64, 0_u64, Jobs::default());
    // The oldest first: what is put in last is found first.
    for known in index.missing(filter)? {
        let tenant = &known.device.tenant;
        if !keys.contains_key(tenant) {
            let given = asked.args.age_identity.as_deref();
            keys.insert(tenant.clone(), stream::identities(home, tenant, given)?);
        }
        let Some(key) = keys.get(tenant).and_then(Option::as_ref) else {
            locked += 1;
            continue;
        };
        read += 1;
        if read.is_multiple_of(TOLD_EVERY) {
            note(&format!("belay: {read} recordings are fetched and read; the next search has them"));
        }
        let taken = if known.kind == RUN {
            printed.of(gateway, &known.session).and_then(|job| {
                let shown = (gateway.clone(), job);
                let ran = Ran::of(home, trusted, shown, &known.device.device, asked.args.age_identity.as_deref())?;
                take_in_run(index, ran, &known)
            })
        } else {
            let about = About::of(known.session, &known.device, THERE.to_owned());
            Case::of(home, trusted, gateway.clone(), about).and_then(|case| take_in(index, &case, key, &known))
        };
        if let Err(failure) = taken {
            if index.is_damaged() {
                return Err(failure);
            }
            let Known { session, device, kind, .. } = known;
            let what = if kind == RUN { "the run of job" } else { "session" };
            note(&format!("belay: {what} {session} on {device} is left out: {}", failure.sentence()));
        }
    }
    if locked > 0 {
        note(&format!(
            "belay: {locked} recordings are encrypted, and no auditor's key is here: give --age-identity FILE"
        ));
    }
    Ok(())
}

/// The jobs that were asked for last: runs of a few that went on at the same time come one after the other.
#[derive(Default)]
struct Jobs(VecDeque<Job>);

impl Jobs {
    fn of(&mut self, gateway: &Gateway<'_>, id: &Id) -> Outcome<Job> {
        if let Some(job) = self.0.iter().find(|job| job.id == *id) {
            return Ok(job.clone());
        }
        let job = Job::read(&gateway.run(&["job", &id.to_string(), "--json"], &[])?, id)?;
        self.0.truncate(JOBS_HELD_MAX - 1);
        self.0.push_front(job.clone());
        Ok(job)
    }
}

/// Indexes what one run printed, if its device signed it.
fn take_in_run(index: &mut Index, ran: Ran, known: &Known) -> Outcome {
    if let Err(why) = ran.proof {
        return Err(refused(why));
    }
    let person = ran.header.about.person.to_string();
    index.put(known, (&person, RUN), |keep| {
        let mut screen = ran.header.screen();
        for line in &ran.output.lines {
            let lines = match line {
                Printed::Piece { at, bytes, .. } => screen.feed(*at, bytes),
                Printed::Cut { at, dropped } => {
                    vec![Line { at_ms: *at, text: format!("{dropped} bytes were not kept") }]
                }
                // It was opened.
                Printed::Sealed { .. } => Vec::new(),
            };
            lines.into_iter().try_for_each(&mut *keep)?;
        }
        screen.finish().into_iter().try_for_each(keep)
    })
}

/// Fetches, verifies, decrypts and indexes one recording.
fn take_in(index: &mut Index, case: &Case<'_>, key: &Identities, known: &Known) -> Outcome {
    let taken = Taken::fetch(case)?;
    let intent = &case.said.intent;
    index.put(known, (&intent.person.to_string(), kind_word(intent.kind)), |keep| {
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
        let extent = taken.text(Some(key), &mut |_, text| {
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
        if let Extent::Beginning(chunks) = extent
            && chunks < known.chunks
        {
            return Err(refused(format!("the gateway lists {} chunks of it and gives {chunks}", known.chunks)));
        }
        keep(typed.finish().into_iter().chain(terminal.map(Lines::finish).unwrap_or_default()).collect())
    })
}
