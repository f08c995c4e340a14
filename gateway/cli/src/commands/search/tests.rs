//! Searches where only the auditor may read, from a gateway that is a script.

use super::*;
use crate::testing::{recorded::Recorded, stage::Stage};
use age::secrecy::ExposeSecret;
use belay_certs::recording::blob::Readers;
use std::fs;

const OUTPUTS: [&[u8]; 2] = [b"$ \x1b[31mcat\x1b[0m /etc/sha", b"dow\r\nroot:*:\r\n"];
/// The beginning of every list, and how far two lists go.
const BEGIN: &str = "1970-01-01T00:00:00Z";
const FIRST: &str = "2026-11-21T09:00:00Z";
const SECOND: &str = "2026-11-21T10:00:00.5Z";
/// The line that both chunks make.
const LINE: (u64, &str) = (1_000, "$ cat /etc/shadow");

/// A stage with an ended session that only the auditor can read.
struct Bench {
    stage: Stage,
    recorded: Recorded,
    key: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let stage = Stage::new();
        let auditor = age::x25519::Identity::generate();
        let mut recorded = Recorded::new(&stage, Readers::Only(vec![auditor.to_public()]), &OUTPUTS);
        recorded.end().on(&stage);
        let key = stage.path().join("auditor.age");
        fs::write(&key, auditor.to_string().expose_secret()).unwrap();
        Self { stage, recorded, key }
    }

    /// The session as a gateway lists it.
    fn row(&self) -> Value {
        json!({
            "session": self.recorded.session, "device": "web1.acme", "person": "alice", "kind": "exec", "started": FIRST,
            "chunks": self.recorded.chunks.len(), "deleted": false,
        })
    }

    /// What the gateway answers to a search for `text`; from a moment on with a list of these rows, which goes so far.
    fn answers(&self, text: &str, unreadable: u64, list: Option<(&str, &[Value], &str, bool)>) {
        let mut answer = json!({"found": [], "unreadable": unreadable, "waiting": 0, "no_room": null});
        let mut line = format!("search '{text}' --json --limit 10");
        if let Some((from, rows, until, more)) = list {
            answer["sealed"] = json!({"tenants": ["acme"], "until": until, "more": more, "recordings": rows});
            line.push_str(&format!(" --sealed {from}"));
        }
        self.stage.answers(&line.replace([' ', '/', ':'], "_"), answer.to_string());
    }

    /// The lines that a search finds, and how many recordings it could not look into.
    fn search(&self, text: &str, key: Option<&PathBuf>) -> Outcome<(Vec<(u64, String)>, u64)> {
        let args = Args {
            text: text.to_owned(),
            tenant: None,
            person: None,
            device: None,
            since: None,
            kind: None,
            limit: 10,
            age_identity: key.cloned(),
            json: true,
        };
        let trusted = Trusted::load(&self.stage.home).unwrap();
        let gateway = trusted.gateways(&self.stage.home).unwrap().remove(0);
        let answer = of_gateway(&self.stage.home, &trusted, &Asked::new(&args).unwrap(), &gateway)?;
        let line = |line: &Value| (line["at_ms"].as_u64().unwrap(), cell(line, "line"));
        Ok((answer.found.iter().map(line).collect(), answer.unreadable))
    }

    fn found(&self, text: &str) -> (Vec<(u64, String)>, u64) {
        self.search(text, Some(&self.key)).unwrap()
    }

    /// The session was listed and read.
    fn has_read(&self) {
        self.answers("shadow", 1, None);
        self.answers("shadow", 1, Some((BEGIN, &[self.row()], FIRST, false)));
        assert_eq!(self.found("shadow"), (vec![line()], 0));
    }

    /// How often a command was asked for that holds this.
    fn asked(&self, words: &str) -> usize {
        self.stage.asked().lines().filter(|line| line.contains(words)).count()
    }
}

fn line() -> (u64, String) {
    (LINE.0, LINE.1.to_owned())
}

#[test]
fn what_only_the_auditor_may_read_is_fetched_once_and_found() {
    let bench = Bench::new();
    bench.answers("shadow", 1, None);
    bench.answers("shadow", 1, Some((BEGIN, &[bench.row()], FIRST, false)));
    assert_eq!(bench.search("shadow", None).unwrap(), (Vec::new(), 1), "without the key");
    // From now on the gateway is asked for what is new, in the command that asks for its own lines.
    for text in ["/etc/shadow", "CAT /etc", "root:*", "nowhere"] {
        bench.answers(text, 1, Some((FIRST, &[], FIRST, false)));
    }
    let before = bench.stage.asked().lines().count();
    assert_eq!(bench.found("/etc/shadow"), (vec![line()], 0));
    fs::remove_file(bench.stage.home.dir().join("answers/recording_ID")).unwrap();
    assert_eq!(bench.found("CAT /etc"), (vec![line()], 0), "it is in the index of the home");
    assert_eq!(bench.found("root:*"), (vec![(1_000, "root:*:".to_owned())], 0));
    assert_eq!(bench.found("nowhere"), (Vec::new(), 0));
    assert_eq!(bench.stage.asked().lines().count() - before, 4 + 2, "one command each, and two for what was read");
}

#[test]
fn a_gateway_that_reads_all_it_has_leaves_no_index_here() {
    let bench = Bench::new();
    bench.answers("shadow", 0, None);
    assert_eq!(bench.found("shadow"), (Vec::new(), 0));
    assert!(!Index::is_there(&bench.stage.home));
}

#[test]
fn a_recording_that_does_not_verify_is_not_indexed_and_told_each_time() {
    let mut bench = Bench::new();
    bench.recorded.chunks[1].1[200] ^= 1;
    bench.recorded.on(&bench.stage);
    bench.answers("shadow", 1, None);
    bench.answers("shadow", 1, Some((BEGIN, &[bench.row()], FIRST, false)));
    assert_eq!(bench.found("shadow"), (Vec::new(), 1));
    bench.answers("cat", 1, Some((FIRST, &[], FIRST, false)));
    assert_eq!(bench.found("cat"), (Vec::new(), 1), "nor its beginning");
    assert_eq!(bench.asked("log proof"), 2);
    // Fewer chunks than there are said to be are not all of it.
    bench.recorded.chunks[1].1[200] ^= 1;
    bench.recorded.entries.pop();
    bench.recorded.chunks.pop();
    bench.recorded.on(&bench.stage);
    assert_eq!(bench.found("cat"), (Vec::new(), 1));
}

#[test]
fn what_the_gateway_deleted_is_found_no_more() {
    let bench = Bench::new();
    bench.has_read();
    let mut gone = bench.row();
    gone["deleted"] = true.into();
    bench.answers("shadow", 0, Some((FIRST, &[gone], SECOND, false)));
    assert_eq!(bench.found("shadow"), (Vec::new(), 0));
    bench.answers("cat", 0, Some((SECOND, &[], SECOND, false)));
    assert_eq!(bench.found("cat"), (Vec::new(), 0));
}

#[test]
fn where_the_gateway_counts_others_the_list_is_asked_for_anew_once() {
    let bench = Bench::new();
    bench.has_read();
    // It was restored, and has none of it.
    bench.answers("shadow", 0, Some((FIRST, &[], SECOND, false)));
    bench.answers("shadow", 0, Some((BEGIN, &[], SECOND, false)));
    assert_eq!(bench.found("shadow"), (Vec::new(), 0));
    // Or its clock was set back, and it says again and again that there is one.
    bench.answers("cat", 1, Some((SECOND, &[], SECOND, false)));
    bench.answers("cat", 1, Some((BEGIN, &[], SECOND, false)));
    assert_eq!(bench.found("cat"), (Vec::new(), 1), "what it counts and does not list is not searched, and counted");
    assert_eq!(bench.asked("search 'cat'"), 2);
}

#[test]
fn a_long_list_is_taken_part_by_part_and_one_that_does_not_go_on_is_refused() {
    let bench = Bench::new();
    bench.answers("cat", 2, None);
    let mut other = bench.row();
    other["session"] = json!("0".repeat(32));
    bench.answers("cat", 2, Some((BEGIN, &[other], FIRST, true)));
    assert!(bench.found_refused("cat").contains("no answer"), "cut off behind the first part");
    bench.answers("cat", 2, Some((FIRST, &[bench.row()], SECOND, false)));
    let cat = (1_000, LINE.1.to_owned());
    assert_eq!(bench.found("cat"), (vec![cat], 1), "the other cannot be had");
    assert_eq!(bench.asked(&format!("--sealed {BEGIN}")), 1, "what was taken in is not asked for again");
    bench.answers("shadow", 2, Some((SECOND, &[], SECOND, true)));
    assert!(bench.found_refused("shadow").contains("does not go on"));
}

impl Bench {
    fn found_refused(&self, text: &str) -> String {
        self.search(text, Some(&self.key)).unwrap_err().sentence().to_owned()
    }
}

#[test]
fn of_a_list_only_what_may_be_the_gateways_is_taken() {
    let bench = Bench::new();
    bench.answers("shadow", 1, None);
    let mut foreign = bench.row();
    foreign["device"] = "till1.globex".into();
    bench.answers("shadow", 1, Some((BEGIN, &[foreign, bench.row()], FIRST, false)));
    assert_eq!(bench.found("shadow"), (vec![line()], 0), "it did not say that the list is of globex too");
}

#[test]
fn a_list_without_an_end_is_given_up() {
    let bench = Bench::new();
    bench.answers("shadow", 1, None);
    let second = |number: usize| Timestamp::from_seconds(i64::try_from(number).unwrap()).to_string();
    for part in 0..crate::limits::SEALED_LISTS_MAX + 1 {
        bench.answers("shadow", 1, Some((&second(part), &[], &second(part + 1), true)));
    }
    assert!(bench.found_refused("shadow").contains("has not ended after"));
    assert_eq!(bench.asked("--sealed"), crate::limits::SEALED_LISTS_MAX);
}

#[test]
fn the_gateway_is_asked_in_its_words() {
    let Bench { stage, .. } = Bench::new();
    let _ = stage.belay(&[
        "search",
        "load average",
        "--tenant",
        "acme",
        "--since",
        "2026-11-21T09:00:00Z",
        "--kind",
        "exec",
    ]);
    let words = "search 'load average' --json --limit 100 --tenant acme --since 2026-11-21T09:00:00Z --kind exec";
    assert!(stage.asked().contains(words), "{}", stage.asked());
    assert_eq!(stage.status(&["search", ""]), 2);
    assert_eq!(stage.status(&["search", "--", "--- ***"]), 2);
    assert_eq!(stage.status(&["search", "a\u{1b}b"]), 2);
    assert_eq!(stage.status(&["search", "x", "--since", "soon"]), 2);
}

#[test]
fn a_moment_is_itself_or_how_long_ago() {
    let now = Timestamp::from_seconds(1_000_000);
    let ago = [("24h", 86_400), ("7d", 604_800), ("30m", 1_800), ("5s", 5), ("0d", 0), ("99999d", 1_000_000)];
    for (text, seconds) in ago {
        assert_eq!(moment(text, now).unwrap().seconds(), 1_000_000 - seconds, "{text}");
    }
    assert_eq!(moment(FIRST, now).unwrap().to_string(), FIRST);
    for text in ["", "d", "-1d", "1.5h", "yesterday", "7 d", "99999999999d"] {
        assert!(moment(text, now).is_err(), "{text}");
    }
}

#[test]
fn an_offset_is_one_that_replay_takes() {
    let all = [(0, "0s"), (59_999, "59s"), (200_000, "3m20s"), (3_723_000, "1h2m3s")];
    for (ms, text) in all {
        assert_eq!(offset_words(ms), text);
        assert_eq!(crate::commands::desk::play::offset(text).map(|at| at.as_secs()), Ok(ms / 1_000));
    }
}
