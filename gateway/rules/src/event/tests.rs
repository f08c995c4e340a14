//! What every event looks like in the log.

use super::*;
use crate::draft::Draft;
use crate::fixtures::{Speaker, ended, intent, key, now};
use crate::log_name::LogName;
use belay_certs::order::Outcome;
use belay_certs::statement::{
    Body, Command, Deed, FileDeed, Intent, PolicyUsed, RunIntent, SessionKind, WORD_BYTES_MAX,
};

const ID: Id = Id([1; 16]);

fn session() -> Session {
    Session {
        session: ID,
        access: ID,
        key: "SHA256:x".to_owned(),
        account: "root".to_owned(),
        kind: SessionKind::Exec,
        command: Some("uptime".to_owned()),
        target: None,
        ticket: None,
        grant_line: Some(7),
        policies: vec![PolicyUsed { tenant: "acme".parse().unwrap(), version: 1, digest: Digest::of(b"p") }],
    }
}

fn run_intent() -> RunIntent {
    RunIntent {
        order: ID,
        order_digest: Digest::of(b"o"),
        runbook: "restart".parse().unwrap(),
        version: Digest::of(b"r"),
        author: Some("carol".parse().unwrap()),
        person: "alice".parse().unwrap(),
        key: "SHA256:x".to_owned(),
        account: "root".parse().unwrap(),
        ticket: Some("T-1".to_owned()),
        grant_line: Some(9),
        review: true,
        policies: session().policies,
    }
}

fn run() -> Run {
    Run::from(&run_intent())
}

fn run_end() -> RunEnd {
    RunEnd {
        order: ID,
        outcome: Outcome::Failed,
        exit: Some(3),
        signal: None,
        reason: None,
        duration_ms: 12,
        output: Some(Digest::of(b"x")),
        output_bytes: 7,
        output_dropped: 2,
    }
}

fn seen() -> CheckpointSeen {
    CheckpointSeen { origin: "gw.example/acme".to_owned(), size: 7, root: Digest::of(b"root") }
}

/// One of every kind.
fn every_event() -> Vec<What> {
    let (digest, text) = (Digest::of(b"x"), || "x".to_owned());
    let deed = FileDeed { did: Deed::Up, path: text(), to: None, bytes: Some(2), partial: true };
    let mut all = vec![
        What::LogStarted { origin: text(), vkey: text(), continues: None },
        What::LogRestarted { name: "acme".parse().unwrap(), origin: text(), continues: seen() },
        What::GatewayStarted { version: text(), devices_lost: 2 },
        What::GatewayStopped { reason: text() },
        What::TenantAdded { name: "acme".parse().unwrap(), origin: text() },
        What::StrangersRefused { count: 9, since: now(), until: now(), sample: vec![text()] },
        What::PolicyAdopted { version: 1, digest, signers: vec![text()], signatures: vec![digest] },
        What::PolicyRefused { version: 1, digest, sentence: text() },
        What::PolicyRestarted { lost: digest, lost_version: 4, begun: digest, devices_lost: 2 },
        What::TokenIssued {
            token: ID,
            digest,
            signature: digest,
            uses: 3,
            expires: now(),
            labels: vec![text()],
            name_pattern: text(),
        },
        What::AccessOpened { access: ID, key: text(), address: text() },
        What::AccessRefused { target: text(), key: text(), address: text(), sentence: text() },
        What::AccessEnded { access: ID, bytes_up: 1, bytes_down: 2, reason: text() },
        What::SessionOpened(session()),
        What::SessionRefused { session: session(), reason: text() },
        What::SessionEnded {
            session: ID,
            exit: Some(3),
            signal: None,
            reason: None,
            bytes_in: 1,
            bytes_out: 2,
            recording: Some(digest),
            files: Some(Files { list: vec![deed], up: 1, up_bytes: 2, ..Files::default() }),
        },
        What::SessionWithheld { session: ID, reason: text() },
        What::SessionKilled(SessionKilled { session: ID, access: ID, of: "ann".parse().unwrap() }),
        What::FreezeBegun(FreezeBegun {
            frozen: "acme/msp:ann".parse().unwrap(),
            host_key: Some(text()),
            reason: Some(text()),
        }),
        What::FreezeLifted(FreezeLifted { frozen: "web1.acme".parse().unwrap() }),
        What::ReviewGiven(ReviewGiven {
            subject: ID,
            of: crate::review::Kind::Session,
            verdict: crate::review::Opinion::Flagged,
            note: text(),
        }),
        What::RunStarted(run()),
        What::RunRefused { run: run(), reason: text() },
        What::RunEnded(run_end()),
        What::RunWithheld { order: ID, reason: text() },
        What::StatementRejected { seq: 3, expected: 2, said: digest, signature: digest, reason: text() },
        What::CommandRan { words: vec![text()] },
    ];
    all.extend(device_events());
    all.extend(recording_events());
    all
}

/// One of every kind about what was recorded, of sessions and of runs.
fn recording_events() -> Vec<What> {
    let (digest, text) = (Digest::of(b"x"), || "x".to_owned());
    vec![
        What::RecordingRead(RecordingRead { session: ID, kind: Look::Search }),
        What::RecordingCut(RecordingCut { session: ID, chunks: 2, head: digest }),
        What::RecordingDeleted(RecordingDeleted { session: ID, chunks: 2, bytes: 3, head: digest, why: text() }),
        What::RecordingHeld(RecordingHold { session: ID, reason: text() }),
        What::RecordingReleased(RecordingHold { session: ID, reason: text() }),
        What::OutputRead(OutputRead { job: ID, kind: Look::Search }),
        What::OutputDeleted(OutputDeleted { job: ID, bytes: 3, digest: Some(digest), why: text() }),
        What::OutputHeld(OutputHold { job: ID, reason: text() }),
        What::OutputReleased(OutputHold { job: ID, reason: text() }),
    ]
}

/// One of every kind about a device's coming and going.
fn device_events() -> Vec<What> {
    let (digest, text) = (Digest::of(b"x"), || "x".to_owned());
    let host_key = key("web1").public().clone();
    vec![
        What::DevicePending {
            join: ID,
            token: ID,
            name: "web1".parse().unwrap(),
            host_key: host_key.clone(),
            machine_id: digest,
            request: digest,
            signatures: vec![digest, digest],
            address: text(),
        },
        What::DeviceApproved {
            join: ID,
            record: text(),
            serial: 4,
            host_key,
            labels: vec![text()],
            formerly: Some("web0".parse().unwrap()),
            batch: digest,
            batch_signature: digest,
            place: 0,
            path: vec![digest],
            certificate: digest,
        },
        What::DeviceCarried {
            join: ID,
            record: text(),
            serial: 4,
            approved_by: text(),
            batch: digest,
            batch_signature: digest,
            place: 0,
            path: vec![digest],
            certificate: digest,
        },
        What::DeviceReplaced { join: ID, serial: 3, by: ID },
        What::DeviceRecertified { join: ID, serial: 3, certificate: digest, ca: text() },
        What::DeviceConnected { join: ID, connection: ID, address: text(), version: text() },
        What::DeviceDisconnected { join: ID, connection: ID, reason: text() },
        What::DeviceSuperseded { join: ID, connection: ID, address: text() },
        What::DeviceRefused { join: ID, address: text(), reason: text() },
    ]
}

#[test]
fn every_event_becomes_an_entry_and_is_read_back() {
    let acme = LogName::Tenant("acme".parse().unwrap());
    for what in every_event() {
        let draft = Draft::new(acme.clone(), what.clone()).on("web1".parse().unwrap()).by("ann".parse().unwrap());
        let bytes = draft.event(ID, now()).entry().unwrap().to_bytes().unwrap();
        let entry = Entry::parse(&bytes).unwrap();
        assert_eq!(entry.kind, what.type_name());
        assert_eq!(What::of(&entry).unwrap(), what);
    }
}

#[test]
fn every_type_is_dotted_past_tense_and_its_own() {
    let mut names: Vec<&str> = every_event().iter().map(What::type_name).collect();
    for name in &names {
        let (subject, verb) = name.split_once('.').unwrap();
        assert!(
            !subject.is_empty()
                && (verb.ends_with("ed")
                    || ["ran", "pending", "withheld", "begun", "given", "read", "cut", "held"].contains(&verb)),
            "{name}"
        );
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!((names.len(), count), (45, 45));
}

#[test]
fn the_entry_of_a_statement_agrees_with_it() {
    let mut device = Speaker::new("web1", 1);
    let mut files = Files { failed: 3, ..Files::default() };
    files.add(FileDeed { did: Deed::Up, path: "a".to_owned(), to: None, bytes: Some(2), partial: true });
    let full = Intent {
        command: Some(Command::of(b"uptime")),
        target: Some("db:5432".to_owned()),
        ticket: Some("T-1".to_owned()),
        policies: session().policies,
        ..intent(ID, ID)
    };
    let ended_by = Body::SessionEnded {
        session: ID,
        exit: Some(1),
        signal: Some("KILL".to_owned()),
        reason: Some("over".to_owned()),
        bytes_in: 0,
        bytes_out: u64::MAX,
        recording: Some(Digest::of(b"x")),
        files: Some(files),
    };
    let bodies = [
        Body::SessionOpened(intent(ID, ID)),
        Body::SessionOpened(full.clone()),
        Body::SessionRefused { intent: full, reason: "no".to_owned() },
        ended(ID),
        ended_by,
        Body::RunStarted(run_intent()),
        Body::RunRefused {
            intent: RunIntent { grant_line: None, review: false, ..run_intent() },
            reason: "no".to_owned(),
        },
        Body::RunEnded(run_end()),
    ];
    for body in bodies {
        let (signed, statement) = device.say(body);
        let acme = LogName::Tenant("acme".parse().unwrap());
        let mut draft = Draft::new(acme, crate::statement::what(&statement.body)).on("web1".parse().unwrap());
        draft.person = statement.person().cloned();
        draft.statement = Some(signed);
        let entry = draft.event(ID, now()).entry().unwrap();
        entry.check_envelope(Some(device.host_key.public())).unwrap();
    }
}

#[test]
fn the_longest_list_of_files_fits_an_entry_however_much_of_it_is_escaped() {
    let mut files = Files { failed: u64::MAX, unfinished: true, ..Files::default() };
    for path in ["\\\"".repeat(500), "\"".repeat(9)].iter().cycle().take(10_000) {
        let bytes = Some(u64::MAX);
        files.add(FileDeed { did: Deed::Up, path: path.clone(), to: None, bytes, partial: true });
    }
    assert!(files.unlisted > 0);
    let body = Body::SessionEnded {
        session: ID,
        exit: Some(u32::MAX),
        signal: Some("\"".repeat(WORD_BYTES_MAX)),
        reason: Some("\"".repeat(WORD_BYTES_MAX)),
        bytes_in: u64::MAX,
        bytes_out: u64::MAX,
        recording: Some(Digest::of(b"x")),
        files: Some(files.clone()),
    };
    let (signed, _) = Speaker::new("web1", 7).say(body);
    let what = What::SessionEnded {
        session: ID,
        exit: Some(u32::MAX),
        signal: Some("\"".repeat(WORD_BYTES_MAX)),
        reason: Some("\"".repeat(WORD_BYTES_MAX)),
        bytes_in: u64::MAX,
        bytes_out: u64::MAX,
        recording: Some(Digest::of(b"x")),
        files: Some(files),
    };
    let draft = Draft::new(LogName::Tenant("acme".parse().unwrap()), what).on("web1".parse().unwrap());
    let draft = Draft { statement: Some(signed), ..draft };
    draft.event(ID, now()).entry().unwrap().to_bytes().unwrap();
}
