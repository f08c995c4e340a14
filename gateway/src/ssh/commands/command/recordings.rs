//! The commands of sessions and recordings, read from their words.

use super::super::{recording::Hold, show::Form};
use super::{Command, said::Rest, said::Said};
use crate::limits::{HOLD_REASON_BYTES_MAX, SEARCH_SHOWN_MAX, SESSIONS_MAX};
use belay_certs::{
    DeviceAddress, DeviceName, Id, PersonRef, TenantName, Timestamp, recording::cast::Kind, statement::SessionKind,
    time::SECOND,
};
use std::str::FromStr;

/// Sessions, or lines, shown when nobody says how many.
const SHOWN_DEFAULT: u64 = 100;

/// Which sessions are meant; in a search, which of `Kind`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Sought<K = SessionKind> {
    /// Only this tenant's.
    pub(in super::super) tenant: Option<TenantName>,
    /// Only this person's.
    pub(in super::super) person: Option<PersonRef>,
    /// Only on this device.
    pub(in super::super) device: Option<DeviceAddress>,
    /// Only those begun from this moment on.
    pub(in super::super) since: Option<Since>,
    /// Only those begun before this moment.
    pub(in super::super) until: Option<Since>,
    /// Only of this kind.
    pub(in super::super) kind: Option<K>,
    /// Beside what is found: the recordings that only auditors can read and that changed from this moment on.
    pub(in super::super) sealed: Option<Since>,
    /// At most so many.
    pub(in super::super) limit: u64,
}

/// A moment as people write it: itself, or how long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Since {
    /// Then.
    At(Timestamp),
    /// So many microseconds ago.
    Ago(i64),
}

impl Since {
    /// The moment, at this one.
    pub(in super::super) fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(moment) => moment,
            Self::Ago(micros) => Timestamp::from_micros(now.micros().saturating_sub(micros)),
        }
    }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no moment: write 24h, 7d, 30m or 2026-11-21T09:00:00Z");
        let ago = |count: &str, seconds: i64| -> Option<Self> {
            let count: i64 = count.parse::<u32>().ok()?.into();
            Some(Self::Ago(count.checked_mul(seconds)?.checked_mul(SECOND)?))
        };
        let units = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];
        match units.into_iter().find_map(|(unit, seconds)| ago(text.strip_suffix(unit)?, seconds)) {
            Some(since) => Ok(since),
            None => text.parse().map(Self::At).map_err(|_| wrong()),
        }
    }
}

/// What is held, or let go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Held {
    /// The recording of a session.
    Session(Id),
    /// What a device's run of a job printed.
    Run(Id, DeviceName),
}

/// A kind of session, or a run, as people write it.
#[derive(Debug, Clone, Copy)]
pub(super) enum KindWord {
    Session(SessionKind),
    Run,
}

impl KindWord {
    fn of_session(self) -> Result<SessionKind, String> {
        match self {
            Self::Session(kind) => Ok(kind),
            Self::Run => {
                Err("runs are no sessions: `jobs` lists them by their jobs, and `job JOB` one by one".to_owned())
            }
        }
    }

    /// Of what is recorded.
    fn of_recording(self) -> Result<Kind, String> {
        match self {
            Self::Run => Ok(Kind::Run),
            Self::Session(SessionKind::Shell) => Ok(Kind::Shell),
            Self::Session(SessionKind::Exec) => Ok(Kind::Exec),
            Self::Session(SessionKind::Sftp) => Ok(Kind::Sftp),
            Self::Session(SessionKind::Forward) => {
                Err("forwards are not recorded, so there is nothing to find: shell, exec, sftp or run".to_owned())
            }
        }
    }
}

impl FromStr for KindWord {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self::Session(match text {
            "shell" => SessionKind::Shell,
            "exec" => SessionKind::Exec,
            "sftp" => SessionKind::Sftp,
            "forward" => SessionKind::Forward,
            "run" => return Ok(Self::Run),
            other => return Err(format!("{other:?} is no kind of session or run: shell, exec, sftp, forward or run")),
        }))
    }
}

/// The options of [`Sought`]: `sessions` has all but the last, a search all but the first.
const OPTIONS: [&str; 9] =
    ["--until", "--tenant", "--person", "--device", "--since", "--kind", "--limit", "--json", "--sealed"];

fn sought<K>(said: &mut Said, kind: fn(KindWord) -> Result<K, String>, max: u64) -> Result<Sought<K>, String> {
    if let (Some(tenant), Some(device)) = (&said.tenant, &said.device)
        && device.tenant != *tenant
    {
        return Err(format!("{device} is not a device of {tenant}; leave --tenant out"));
    }
    Ok(Sought {
        tenant: said.tenant.take(),
        person: said.person.take(),
        device: said.device.take(),
        since: said.since,
        until: said.until,
        sealed: said.sealed,
        kind: said.kind.map(kind).transpose()?,
        limit: said.limit.unwrap_or(SHOWN_DEFAULT).min(max),
    })
}

pub(super) fn sessions(rest: Rest<'_>) -> Result<Command, String> {
    let usage = "sessions [--tenant T] [--person P] [--device D] [--since MOMENT|24h|7d] [--until MOMENT|24h|7d] [--kind K] \
                 [--limit N] [--json]";
    let mut said = rest.read(usage, 0, &OPTIONS[..8])?;
    Ok(Command::Sessions { sought: sought(&mut said, KindWord::of_session, SESSIONS_MAX)?, form: said.form })
}

pub(super) fn search(rest: Rest<'_>) -> Result<Command, String> {
    let usage = "search TEXT [--tenant T] [--person P] [--device D] [--since MOMENT|24h|7d] [--kind K] [--limit N] \
                 [--json [--sealed MOMENT]]";
    let mut said = rest.read(usage, 1, &OPTIONS[1..])?;
    let text = said.plain.pop().ok_or_else(|| format!("a text is missing; write `{usage}`"))?;
    if !text.chars().any(char::is_alphanumeric) {
        return Err("words are found, and these are none: name a letter or a digit".to_owned());
    }
    if said.sealed.is_some() && said.form == Form::Table {
        return Err(format!("what only auditors can read is only listed as JSON; write `{usage}`"));
    }
    let sought = sought(&mut said, KindWord::of_recording, SEARCH_SHOWN_MAX)?;
    Ok(Command::Search { text, sought, form: said.form })
}

pub(super) fn recording(rest: Rest<'_>) -> Result<Command, String> {
    let usage = "recording SESSION [--from N] | recording SESSION --json";
    let mut said = rest.read(usage, 1, &["--from", "--json"])?;
    if said.from.is_some() && said.form == Form::Json {
        return Err(format!("the JSON is of the whole recording; write `{usage}`"));
    }
    Ok(Command::Recording { id: id(said.plain.pop(), usage)?, from: said.from.unwrap_or(0), form: said.form })
}

pub(super) fn hold(rest: Rest<'_>, wanted: Hold) -> Result<Command, String> {
    let usage = match wanted {
        Hold::Lay => "hold SESSION|JOB/DEVICE --reason TEXT",
        Hold::Lift => "release SESSION|JOB/DEVICE --reason TEXT",
    };
    let mut said = rest.read(usage, 1, &["--reason"])?;
    let reason = said.reason.take().filter(|reason| !reason.trim().is_empty());
    let reason = reason.ok_or_else(|| format!("a reason is missing; write `{usage}`"))?;
    if reason.len() > HOLD_REASON_BYTES_MAX {
        return Err(format!("the reason is longer than {HOLD_REASON_BYTES_MAX} bytes; say it shorter"));
    }
    let held = match said.plain.pop() {
        Some(word) if word.contains('/') => run(&word)?,
        word => Held::Session(id(word, usage)?),
    };
    Ok(Command::Hold { held, reason, wanted })
}

/// `JOB/DEVICE`; a job is of one tenant, so its device's name is enough.
fn run(word: &str) -> Result<Held, String> {
    let named = word.split_once('/').and_then(|(job, device)| {
        let (short, _) = device.split_once('.').unwrap_or((device, ""));
        Some(Held::Run(job.parse().ok()?, short.parse().ok()?))
    });
    named.ok_or_else(|| format!("{word:?} is no run: write JOB/DEVICE, as `belay replay` takes it"))
}

fn id(word: Option<String>, usage: &str) -> Result<Id, String> {
    let word = word.ok_or_else(|| format!("a session is missing; write `{usage}`"))?;
    word.parse().map_err(|_| format!("{word:?} is not the id of a session; `sessions --json` lists them"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command, String> {
        super::super::parse(&belay_rules::words::split(line.as_bytes()).unwrap())
    }

    fn all<K>(limit: u64) -> Sought<K> {
        Sought { tenant: None, person: None, device: None, since: None, until: None, sealed: None, kind: None, limit }
    }

    #[test]
    fn every_command_about_recordings_is_read_as_it_is_written() {
        let id = Id([0x11; 16]);
        let some = Sought {
            person: Some("tech".parse().unwrap()),
            device: Some("web1.acme".parse().unwrap()),
            since: Some(Since::Ago(86_400 * SECOND)),
            kind: Some(SessionKind::Exec),
            ..all(5)
        };
        let web1: DeviceName = "web1".parse().unwrap();
        let found = Sought { kind: Some(Kind::Run), limit: 5, ..all(5) };
        let options = "--device web1.acme --person tech --since 24h --kind exec --limit 5";
        let text = || "rm -rf".to_owned();
        for (line, command) in [
            ("sessions".to_owned(), Command::Sessions { sought: all(SHOWN_DEFAULT), form: Form::Table }),
            (format!("sessions {options} --json"), Command::Sessions { sought: some.clone(), form: Form::Json }),
            ("search 'rm -rf'".to_owned(), Command::Search { text: text(), sought: all(100), form: Form::Table }),
            (
                "search 'rm -rf' --kind run --limit 5".to_owned(),
                Command::Search { text: text(), sought: found, form: Form::Table },
            ),
            (
                "search x --json --sealed 24h".to_owned(),
                Command::Search {
                    text: "x".to_owned(),
                    sought: Sought { sealed: Some(Since::Ago(86_400 * SECOND)), ..all(100) },
                    form: Form::Json,
                },
            ),
            (format!("recording {id}"), Command::Recording { id, from: 0, form: Form::Table }),
            (format!("recording --from 7 {id}"), Command::Recording { id, from: 7, form: Form::Table }),
            (format!("recording {id} --json"), Command::Recording { id, from: 0, form: Form::Json }),
            (
                format!("hold {id} --reason 'case 7'"),
                Command::Hold { held: Held::Session(id), reason: "case 7".into(), wanted: Hold::Lay },
            ),
            (
                format!("hold {id}/web1 --reason x"),
                Command::Hold { held: Held::Run(id, web1.clone()), reason: "x".into(), wanted: Hold::Lay },
            ),
            (
                format!("release {id}/web1.acme --reason x"),
                Command::Hold { held: Held::Run(id, web1), reason: "x".into(), wanted: Hold::Lift },
            ),
            (
                format!("release {id} --reason=over"),
                Command::Hold { held: Held::Session(id), reason: "over".into(), wanted: Hold::Lift },
            ),
        ] {
            assert_eq!(read(&line).unwrap(), command, "{line}");
        }
    }

    #[test]
    fn what_is_no_command_about_recordings_is_refused_with_a_sentence() {
        let id = Id([0x11; 16]);
        for (line, why) in [
            (format!("recording {id} --from 7 --json"), "whole recording"),
            ("recording".to_owned(), "a session is missing"),
            ("recording web1".to_owned(), "is not the id of a session"),
            (format!("hold {id}"), "a reason is missing"),
            (format!("hold {id} --reason ' '"), "a reason is missing"),
            (format!("hold {id} --reason {}", "x".repeat(2_000)), "say it shorter"),
            ("search".to_owned(), "a text is missing"),
            ("search ---".to_owned(), "there is no option"),
            ("search '...'".to_owned(), "name a letter"),
            ("search x --sealed 24h".to_owned(), "only listed as JSON"),
            ("sessions --json --sealed 24h".to_owned(), "there is no option"),
            ("sessions --kind ftp".to_owned(), "no kind of session"),
            ("sessions --kind run".to_owned(), "`jobs` lists them"),
            ("search x --kind forward".to_owned(), "are not recorded"),
            ("hold web1/web1 --reason x".to_owned(), "write JOB/DEVICE"),
            (format!("hold {id}/ --reason x"), "write JOB/DEVICE"),
            ("sessions --since soon".to_owned(), "no moment"),
            ("sessions --tenant globex --device web1.acme".to_owned(), "leave --tenant out"),
        ] {
            let refused = read(&line).unwrap_err();
            assert!(refused.contains(why), "{line}: {refused}");
        }
    }

    #[test]
    fn a_moment_is_itself_or_how_long_ago() {
        let now = Timestamp::from_seconds(1_000_000);
        for (text, seconds) in [("24h", 86_400), ("7d", 604_800), ("30m", 1_800), ("5s", 5), ("0d", 0)] {
            assert_eq!(text.parse::<Since>().unwrap().before(now), now.plus(-seconds * SECOND), "{text}");
        }
        let moment: Timestamp = "2026-11-21T09:00:00Z".parse().unwrap();
        assert_eq!("2026-11-21T09:00:00Z".parse::<Since>().unwrap().before(now), moment);
        for text in ["", "d", "-1d", "1.5h", "yesterday", "7 d", "99999999999d"] {
            assert!(text.parse::<Since>().is_err(), "{text}");
        }
    }
}
