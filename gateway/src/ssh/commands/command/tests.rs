//! What each line of words says, and the sentence for a wrong one.

use super::*;
use crate::limits::{HOLD_REASON_BYTES_MAX, JOBS_SHOWN_MAX, REVIEWS_SHOWN_MAX, SEARCH_SHOWN_MAX, SESSIONS_MAX};
use crate::seeded::Seeded;

mod listed;

fn read(line: &str) -> Result<Command, String> {
    parse(&belay_rules::words::split(line.as_bytes()).unwrap())
}

fn acme() -> TenantName {
    "acme".parse().unwrap()
}

#[test]
fn every_command_is_read_as_it_is_written() {
    let table = [
        ("", Command::Help),
        ("help", Command::Help),
        ("devices", Command::Devices { text: None, tenant: None, form: Form::Table }),
        (
            "devices 'web 1' --json --tenant acme",
            Command::Devices { text: Some("web 1".into()), tenant: Some(acme()), form: Form::Json },
        ),
        (
            "pending --tenant=acme",
            Command::Pending {
                wanted: PendingWords { tenant: Some(acme()), ..PendingWords::default() },
                form: Form::Table,
            },
        ),
        (
            "pending --after web1.acme --limit 9 --beyond 4 --wait 9999 --json",
            Command::Pending {
                wanted: PendingWords {
                    after: Some("web1.acme".parse().unwrap()),
                    limit: Some(9),
                    beyond: Some(4),
                    wait_seconds: PENDING_WAIT_SECONDS_MAX,
                    ..PendingWords::default()
                },
                form: Form::Json,
            },
        ),
        (
            "records acme --device web1.acme",
            Command::Records {
                tenant: acme(),
                device: Some("web1.acme".parse().unwrap()),
                after: None,
                limit: RECORDS_MAX,
            },
        ),
        ("recertify acme --json", Command::Recertify { tenant: acme(), form: Form::Json }),
        ("token acme", Command::Token { tenant: acme() }),
        ("approve acme --json", Command::Approve { tenant: acme(), form: Form::Json }),
        ("policy show acme", Command::PolicyShow { tenant: acme(), from: 0, form: Form::Table }),
        ("policy show --from 3 acme --json", Command::PolicyShow { tenant: acme(), from: 3, form: Form::Json }),
        ("policy push acme", Command::PolicyPush { tenant: acme() }),
        ("policy fetch", Command::PolicyFetch),
        ("log tail acme --limit 99999999", Command::LogTail { tenant: acme(), limit: TAIL_MAX, form: Form::Table }),
        ("log export acme", Command::LogExport { tenant: acme(), life: None }),
        ("log export acme/1", Command::LogExport { tenant: acme(), life: Some(1) }),
        ("log checkpoint acme", Command::LogCheckpoint { tenant: acme() }),
    ];
    for (line, command) in table {
        assert_eq!(read(line).unwrap(), command, "{line}");
    }
}

#[test]
fn every_command_about_orders_is_read_as_it_is_written() {
    let table = [
        ("runbooks acme", Command::Runbooks { tenant: acme(), name: None, form: Form::Table }),
        (
            "runbooks --name restart acme --json",
            Command::Runbooks { tenant: acme(), name: Some("restart".parse().unwrap()), form: Form::Json },
        ),
        ("runbook push acme", Command::RunbookPush { tenant: acme() }),
        ("run acme --json", Command::Run { tenant: acme(), form: Form::Json }),
        ("jobs --limit 99999999", Command::Jobs { tenant: None, limit: JOBS_SHOWN_MAX, form: Form::Table }),
        (
            "job 01010101010101010101010101010101 --follow --json",
            Command::Job {
                id: Id([1; 16]),
                device: None,
                wanted: Wanted { form: Form::Json, follow: true, ..Wanted::default() },
            },
        ),
        (
            "job 01010101010101010101010101010101 --device web1.acme --output",
            Command::Job {
                id: Id([1; 16]),
                device: Some("web1".parse().unwrap()),
                wanted: Wanted { output: true, ..Wanted::default() },
            },
        ),
        ("cancel 01010101010101010101010101010101", Command::Cancel { id: Id([1; 16]) }),
    ];
    for (line, command) in table {
        assert_eq!(read(line).unwrap(), command, "{line}");
    }
}

#[test]
fn wrong_words_are_answered_with_how_it_is_written() {
    for (line, part) in [
        ("reboot", "no command \"reboot\""),
        ("devices a b", "one word too many"),
        ("devices --jsn", "write `devices"),
        ("devices --json=yes", "takes no value"),
        ("devices --tenant", "needs a value"),
        ("devices --tenant com", "cannot be a tenant name"),
        ("devices --tenant acme --tenant acme", "given twice"),
        ("devices -x", "no option \"-x\""),
        ("pending --tenant globex --after web1.acme", "not a name of globex"),
        ("records globex --after web1.acme", "not a device of globex"),
        ("records", "a tenant is missing"),
        ("token", "a tenant is missing"),
        ("token Acme", "not a tenant name"),
        ("token acme --json", "no option"),
        ("policy", "policy push TENANT"),
        ("policy show acme --from 2", "add --json"),
        ("sessions --limit many", "--limit"),
        ("sessions --tenant globex --device web1.acme", "not a device of globex"),
        ("runbook", "runbook show TENANT VERSION"),
        ("runbook show acme", "a version is missing"),
        ("runbook show acme sha256:12", "VERSION"),
        ("run", "a tenant is missing"),
        ("job", "a job is missing"),
        ("job web1", "not the id of a job"),
        ("job 01010101010101010101010101010101 --csv --json", "either"),
        ("job 01010101010101010101010101010101 --output", "--device"),
        ("cancel 01010101010101010101010101010101 now", "one word too many"),
        ("log", "log export TENANT"),
        ("log tail", "a tenant is missing"),
    ] {
        let sentence = read(line).unwrap_err();
        assert!(sentence.contains(part), "{line}: {sentence}");
    }
}

/// Lines that are right, of every kind of command: to be changed.
const LINES: [&str; 37] = [
    "help",
    "devices 'web 1' --json --tenant acme",
    "pending --after web1.acme --limit 9 --beyond 4 --wait 9999 --json",
    "records acme --device web1.acme --after web1.acme --limit 9999999",
    "recertify acme --json",
    "token acme",
    "policy show acme --from 3 --json",
    "policy fetch",
    "policy push acme",
    "runbooks acme --name restart --json",
    "runbook show acme sha256:0101010101010101010101010101010101010101010101010101010101010101",
    "runbook push acme",
    "run acme --json",
    "cancel 01010101010101010101010101010101",
    "sessions --tenant acme --device web1.acme --limit=99999999",
    "log tail acme --limit 99999999 --json",
    "jobs --tenant acme --limit 99999999",
    "job 01010101010101010101010101010101 --device web1 --output",
    "kill 01010101010101010101010101010101",
    "freeze acme/msp:anna --reason 'a stolen laptop'",
    "thaw web1.acme",
    "freezes --tenant acme --json",
    "review --state flagged --limit 9999999 --json",
    "review flag 01010101010101010101010101010101 --note 'why?' --device web1.acme",
    "review approve 01010101010101010101010101010101 --note 'all well'",
    "log tail acme --from 3 --follow --json",
    "log tail acme --follow --limit 99999999",
    "log export acme/1",
    "log checkpoint acme",
    "log proof acme 01010101010101010101010101010101 --device web1.acme --records",
    "approve \"acme\" --json",
    "sessions --person tech --since 24h --until 2026-11-21T09:00:00.5Z --kind exec --json",
    "search 'rm -rf' --tenant acme --since 2026-11-21T09:00:00Z --limit 99999",
    "search 'rm -rf' --json --sealed 1970-01-01T00:00:00Z",
    "recording 00000000000000000000000000000001 --from 3",
    "hold 00000000000000000000000000000001 --reason 'case 7'",
    "release 00000000000000000000000000000001 --reason 'case 7 is over'",
];

#[test]
fn a_changed_line_is_refused_in_one_line_or_asks_for_no_more_than_is_given() {
    let (mut seeded, mut taken, mut refused) = (Seeded::new(0xc0de), 0, 0);
    for turn in 0..20_000 {
        let line = seeded.mutate(LINES[turn % LINES.len()].as_bytes());
        match belay_rules::words::split(&line).and_then(|words| parse(&words)) {
            Ok(command) => {
                taken += 1;
                let bounded = match &command {
                    Command::Pending { wanted, .. } => wanted.wait_seconds <= PENDING_WAIT_SECONDS_MAX,
                    Command::Records { limit, .. } => *limit <= RECORDS_MAX,
                    Command::Sessions { sought, .. } => sought.limit <= SESSIONS_MAX,
                    Command::Search { sought, .. } => sought.limit <= SEARCH_SHOWN_MAX,
                    Command::Hold { reason, .. } => reason.len() <= HOLD_REASON_BYTES_MAX,
                    Command::LogTail { limit, .. } => *limit <= TAIL_MAX,
                    Command::Jobs { limit, .. } => *limit <= JOBS_SHOWN_MAX,
                    Command::Reviews { limit, .. } => *limit <= REVIEWS_SHOWN_MAX,
                    Command::LogStream { begin: Begin::Newest(limit), .. } => *limit <= TAIL_MAX,
                    Command::Help
                    | Command::Devices { .. }
                    | Command::Recording { .. }
                    | Command::Recertify { .. }
                    | Command::Token { .. }
                    | Command::Approve { .. }
                    | Command::PolicyShow { .. }
                    | Command::PolicyFetch
                    | Command::PolicyPush { .. }
                    | Command::Runbooks { .. }
                    | Command::RunbookShow { .. }
                    | Command::RunbookPush { .. }
                    | Command::Run { .. }
                    | Command::Job { .. }
                    | Command::Cancel { .. }
                    | Command::Kill { .. }
                    | Command::Freeze { .. }
                    | Command::Thaw { .. }
                    | Command::Freezes { .. }
                    | Command::ReviewGive { .. }
                    | Command::LogStream { begin: Begin::At(_), .. }
                    | Command::LogExport { .. }
                    | Command::LogProof { .. }
                    | Command::LogCheckpoint { .. } => true,
                };
                assert!(bounded, "{command:?}");
            }
            Err(sentence) => {
                refused += 1;
                let plain = !sentence.is_empty() && !sentence.contains(char::is_control);
                assert!(plain, "{:?}: {sentence:?}", line.escape_ascii().to_string());
            }
        }
    }
    assert!(taken > 1_000 && refused > 1_000, "{taken} taken, {refused} refused");
}

#[test]
fn what_stops_reviews_and_follows_is_read_as_it_is_written() {
    let id = belay_certs::Id([1; 16]);
    let follow = |begin, until, form| Command::LogStream { tenant: acme(), begin, until, form };
    for (line, expected) in [
        ("kill 01010101010101010101010101010101", Command::Kill { id }),
        (
            "freeze acme/msp:anna --reason 'a stolen laptop'",
            Command::Freeze { frozen: "acme/msp:anna".parse().unwrap(), reason: Some("a stolen laptop".to_owned()) },
        ),
        ("thaw web1.acme", Command::Thaw { frozen: "web1.acme".parse().unwrap() }),
        ("freezes --json", Command::Freezes { tenant: None, form: Form::Json }),
        (
            "review",
            Command::Reviews { tenant: None, state: State::Waiting, limit: REVIEWS_SHOWN_MAX, form: Form::Table },
        ),
        (
            "review flag 01010101010101010101010101010101 --note 'why?'",
            Command::ReviewGive { id, device: None, opinion: Opinion::Flagged, note: "why?".to_owned() },
        ),
        ("log tail acme --from 3 --json", follow(Begin::At(3), Until::Now, Form::Json)),
        ("log tail acme --follow", follow(Begin::Newest(TAIL_DEFAULT), Until::Forever, Form::Table)),
    ] {
        assert_eq!(read(line), Ok(expected), "{line}");
    }
    for line in [
        "kill",
        "kill web1",
        "freeze",
        "freeze a.b.c",
        "thaw acme acme",
        "review approve 01010101010101010101010101010101",
        "review --state odd",
        "log tail acme --from 1 --limit 2",
    ] {
        assert!(read(line).is_err(), "{line}");
    }
}
