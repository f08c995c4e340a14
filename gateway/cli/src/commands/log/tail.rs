//! `belay log tail`: the events of a tenant as the gateway records them, to the screen, or into a file with a cursor that survives
//! a crash of either side. Proved by `belay log verify`, not here.
//!
//! The file first, then the cursor, each synced: whatever dies in between, the next start writes some events again and leaves none
//! out. So a reader of the file counts `metadata.sequence`.

use crate::{
    failure::{Failure, Outcome, While, refused, usage},
    gateway::{Gateway, HangUp, Route},
    home::{Home, read_text, write_whole},
    limits::{TAIL_LINES_WAITING_MAX, WATCH_PAUSES},
    screen::{note, say},
    trusted::Trusted,
};
use belay_certs::TenantName;
use serde::Deserialize;
use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, sync_channel},
    thread,
};

/// The first line of a cursor.
const CURSOR: &str = "belay log cursor 1";
/// Bytes looked at together for the end of the last whole line.
const LOOK_BACK_BYTES: u64 = 64 << 10;

/// `belay log tail`.
#[derive(Debug, clap::Args)]
pub struct Tail {
    /// The tenant
    tenant: TenantName,
    /// Go on as events come
    #[arg(long)]
    follow: bool,
    /// From this entry on [default: the newest; with --cursor: 0]
    #[arg(long, value_name = "N")]
    from: Option<u64>,
    /// At most so many of the newest
    #[arg(long, value_name = "N", conflicts_with_all = ["from", "to"])]
    limit: Option<u64>,
    /// Append JSON Lines to this file instead of printing
    #[arg(long, value_name = "FILE", requires = "cursor")]
    to: Option<PathBuf>,
    /// Where the next start goes on; it counts more than --from
    #[arg(long, value_name = "FILE", requires = "to")]
    cursor: Option<PathBuf>,
    /// Print JSON Lines, named as OCSF names them
    #[arg(long)]
    json: bool,
}

/// Prints or keeps them.
///
/// # Errors
/// The gateway refuses, or a file cannot be written.
pub fn run(home: &Home, args: &Tail) -> Outcome {
    let trusted = Trusted::load(home)?;
    let gateway = Gateway::new(home, Route::of(trusted.tenant(&args.tenant)?.policy())?);
    match (&args.to, &args.cursor) {
        (Some(to), Some(cursor)) => keep(&gateway, args, to, cursor),
        _ => print(&gateway, args),
    }
}

fn print(gateway: &Gateway<'_>, args: &Tail) -> Outcome {
    let (from, limit) = (args.from.map(|from| from.to_string()), args.limit.map(|limit| limit.to_string()));
    let mut words = vec!["log", "tail", args.tenant.as_str()];
    words.extend(from.iter().flat_map(|from| ["--from", from.as_str()]));
    words.extend(limit.iter().flat_map(|limit| ["--limit", limit.as_str()]));
    words.extend(args.follow.then_some("--follow"));
    words.extend(args.json.then_some("--json"));
    gateway.lines(&words, &HangUp::default(), |line| {
        say(&String::from_utf8_lossy(line));
        Ok(())
    })
}

/// Appends what comes to a file, and comes back when the gateway is away.
fn keep(gateway: &Gateway<'_>, args: &Tail, to: &Path, cursor: &Path) -> Outcome {
    let mut kept = Kept::open(to, cursor, args.from.unwrap_or(0))?;
    let mut pause = WATCH_PAUSES.0;
    loop {
        let before = kept.next;
        let ended = kept.read(gateway, args);
        match ended {
            Ok(()) if !args.follow => return Ok(()),
            // It stopped in good order, or was killed.
            Ok(()) | Err(Failure::Unreachable(_)) if args.follow => {}
            other => return other,
        }
        if kept.next > before {
            pause = WATCH_PAUSES.0;
        }
        note(&format!("belay: the gateway is away; {} goes on at entry {} once it is back", args.tenant, kept.next));
        HangUp::default().pause(pause);
        pause = (pause * 2).min(WATCH_PAUSES.1);
    }
}

/// The part of an event that says where it stands.
#[derive(Deserialize)]
struct Line {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    sequence: u64,
    log_name: String,
}

/// The file, and how far it is.
struct Kept {
    file: File,
    to: PathBuf,
    cursor: PathBuf,
    /// Which log it is of; none before the first event.
    origin: Option<String>,
    /// The next entry.
    next: u64,
}

impl Kept {
    /// Opens both; nobody else may write the file meanwhile. Half a line at its end is what a crash left, and is cut off: it was
    /// never counted.
    fn open(to: &Path, cursor: &Path, from: u64) -> Outcome<Self> {
        let doing = || format!("cannot write {}", to.display());
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(to).during(doing)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(refused(format!("another `belay log tail` writes {}: end that one first", to.display())));
            }
            Err(TryLockError::Error(error)) => return Err(error).during(doing),
        }
        let whole = whole_lines(&mut file).during(doing)?;
        file.set_len(whole).and_then(|()| file.sync_all()).during(doing)?;
        let dir = to.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(dir).and_then(|dir| dir.sync_all()).during(doing)?;
        let (origin, next) = match cursor.exists() {
            true => parse(&read_text(cursor)?).ok_or_else(|| {
                usage(format!("{} is no cursor of `belay log tail`: name another file", cursor.display()))
            })?,
            false => (None, from),
        };
        Ok(Self { file, to: to.to_owned(), cursor: cursor.to_owned(), origin, next })
    }

    /// Reads until the gateway ends it. A file that takes nothing makes the gateway wait.
    fn read(&mut self, gateway: &Gateway<'_>, args: &Tail) -> Outcome {
        let from = self.next.to_string();
        let mut words = vec!["log", "tail", args.tenant.as_str(), "--json", "--from", &from];
        words.extend(args.follow.then_some("--follow"));
        let call = HangUp::default();
        let (send, lines) = sync_channel(TAIL_LINES_WAITING_MAX);
        thread::scope(|scope| {
            let (words, hang_up) = (&words, &call);
            let reading = scope.spawn(move || {
                gateway.lines(words, hang_up, |line| send.send(line.to_vec()).map_err(|_| refused("nobody listens")))
            });
            let written = self.write_all(&lines);
            drop(lines);
            if written.is_err() {
                call.hang_up();
            }
            let read = reading.join().unwrap_or_else(|_| Err(refused("reading from the gateway stopped halfway")));
            written.and(read)
        })
    }

    /// What has come is written together: one sync of each file for all of it.
    fn write_all(&mut self, lines: &Receiver<Vec<u8>>) -> Outcome {
        while let Ok(first) = lines.recv() {
            let mut bytes = Vec::new();
            for line in std::iter::once(first).chain(lines.try_iter().take(TAIL_LINES_WAITING_MAX)) {
                self.count(&line)?;
                bytes.extend(line);
                bytes.push(b'\n');
            }
            let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
            written.during(|| format!("cannot write {}", self.to.display()))?;
            write_whole(&self.cursor, self.text().as_bytes(), 0o600)?;
        }
        Ok(())
    }

    /// The event that was asked for, and no other.
    fn count(&mut self, line: &[u8]) -> Outcome {
        let read: Result<Line, _> = serde_json::from_slice(line);
        let Metadata { sequence, log_name } = read.during(|| "an event is not understood".to_owned())?.metadata;
        if let Some(origin) = self.origin.as_ref().filter(|origin| **origin != log_name) {
            return Err(refused(format!(
                "{} is of the log {origin}, and the gateway has {log_name} now, which begins at 0: keep that in other files",
                self.cursor.display()
            )));
        }
        if sequence != self.next {
            return Err(refused(format!("the gateway sent entry {sequence} of {log_name} in place of {}", self.next)));
        }
        self.origin = Some(log_name);
        self.next = sequence.saturating_add(1);
        Ok(())
    }

    fn text(&self) -> String {
        let origin = self.origin.as_deref().unwrap_or_default();
        format!("{CURSOR}\nlog {origin}\nnext {}\n", self.next)
    }
}

fn parse(text: &str) -> Option<(Option<String>, u64)> {
    let mut lines = text.lines();
    if lines.next() != Some(CURSOR) {
        return None;
    }
    let origin = lines.next()?.strip_prefix("log ")?.to_owned();
    Some((Some(origin), lines.next()?.strip_prefix("next ")?.parse().ok()?))
}

/// How many bytes of the file are whole lines.
fn whole_lines(file: &mut File) -> std::io::Result<u64> {
    let mut end = file.metadata()?.len();
    while end > 0 {
        let start = end.saturating_sub(LOOK_BACK_BYTES);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        Read::by_ref(file).take(end - start).read_to_end(&mut bytes)?;
        if let Some(at) = bytes.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn event(sequence: u64, log: &str) -> Vec<u8> {
        format!("{{\"metadata\":{{\"sequence\":{sequence},\"log_name\":\"{log}\"}}}}").into_bytes()
    }

    fn keep(kept: &mut Kept, events: &[Vec<u8>]) -> Outcome {
        let (send, lines) = sync_channel(events.len());
        events.iter().for_each(|event| send.send(event.clone()).unwrap());
        drop(send);
        kept.write_all(&lines)
    }

    #[test]
    fn a_file_goes_on_where_its_cursor_says_and_half_a_line_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let (to, cursor) = (dir.path().join("events"), dir.path().join("cursor"));
        let mut kept = Kept::open(&to, &cursor, 0).unwrap();
        assert!(Kept::open(&to, &cursor, 0).err().unwrap().sentence().contains("another"));
        keep(&mut kept, &[event(0, "gw/acme"), event(1, "gw/acme")]).unwrap();
        drop(kept);
        // A crash in the middle of the next line.
        OpenOptions::new().append(true).open(&to).unwrap().write_all(b"{\"metadata\":{\"seq").unwrap();
        let mut kept = Kept::open(&to, &cursor, 0).unwrap();
        assert_eq!((kept.next, kept.origin.as_deref()), (2, Some("gw/acme")));
        keep(&mut kept, &[event(2, "gw/acme")]).unwrap();
        let text = fs::read_to_string(&to).unwrap();
        assert_eq!((text.lines().count(), text.ends_with("}}\n")), (3, true), "{text}");
    }

    #[test]
    fn another_event_than_the_next_or_another_log_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut kept = Kept::open(&dir.path().join("events"), &dir.path().join("cursor"), 5).unwrap();
        assert!(keep(&mut kept, &[event(6, "gw/acme")]).unwrap_err().sentence().contains("in place of 5"));
        keep(&mut kept, &[event(5, "gw/acme")]).unwrap();
        let other = keep(&mut kept, &[event(6, "gw/acme/2")]).unwrap_err();
        assert!(other.sentence().contains("gw/acme/2 now"), "{other:?}");
        assert_eq!(fs::read_to_string(dir.path().join("events")).unwrap().lines().count(), 1);
        assert!(keep(&mut kept, &[b"no event".to_vec()]).is_err());
    }

    #[test]
    fn a_cursor_is_read_as_it_is_written_and_nothing_else_is_one() {
        assert_eq!(parse("belay log cursor 1\nlog gw/acme\nnext 7\n"), Some((Some("gw/acme".to_owned()), 7)));
        for wrong in ["", "belay log cursor 2\nlog x\nnext 1\n", "belay log cursor 1\nlog x\nnext -1\n"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
