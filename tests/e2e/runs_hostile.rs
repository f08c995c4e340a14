//! Scripts that misbehave: that stay, fill the disk, ignore the word to end, print without end, print what a terminal would
//! obey, kill their own. Each has a clear outcome, and a good run succeeds afterwards on the same agent.

#[path = "parts/changed.rs"]
mod changed;
#[path = "parts/disk.rs"]
mod disk;
#[path = "parts/jobs.rs"]
mod jobs;
#[path = "parts/opened.rs"]
mod opened;
#[path = "parts/policies.rs"]
mod policies;
#[path = "parts/runs.rs"]
mod runs;

use belay_certs::{
    Digest,
    output::{Line, Stream},
};
use belay_tests::{
    Person, Plan, World,
    wait::{BULKY, GENEROUS, until},
};
use disk::Disk;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};
use tempfile::TempDir;

const DEVICE: &str = "web1.acme";
/// Room for a machine's keys, policies and journal, and a little output.
const AGENT_SIZE: &str = "1m";
/// Orders given while it is full: the first may still fit into pages that a failed write gave back.
const ORDERS_MAX: usize = 20;
const MIB: u64 = 1 << 20;

/// An installation; a run of a runbook on one machine. Fields end in this order: programs, disk, directories.
struct Scene {
    world: World,
    disk: Option<Disk>,
    scratch: TempDir,
    author: Person,
    tech: Person,
}

/// A run that is over.
struct Over {
    id: String,
    run: Value,
}

impl Scene {
    fn new() -> Self {
        Self::of(|_| None)
    }

    fn of(disk: impl Fn(&World) -> Option<Disk>) -> Self {
        let scratch = TempDir::with_prefix("belay-").unwrap();
        let world = World::prepare(scratch.path(), Plan::three()).unwrap();
        let disk = disk(&world);
        world.bring_up(&|_| {}).unwrap();
        let author = runs::allow(&world, DEVICE);
        let tech = world.person("tech");
        Self { world, disk, scratch, author, tech }
    }

    /// A script's way to tell that it is there.
    fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Runs this script on web1 to its end.
    fn run(&self, name: &str, declared: &str, script: &str) -> Over {
        runs::push(&self.world, &self.author, name, declared, script);
        jobs::order(&self.tech, &[name, "--on", DEVICE, "--detach"]);
        self.over(&jobs::newest(&self.tech))
    }

    /// Its output as the gateway has it, once all of it is there: what the device stated, to the byte.
    fn output(&self, over: &Over) -> Vec<Line> {
        let bytes = until("the output", GENEROUS, || {
            let said = self.tech.gw(&format!("job {} --device web1 --output", over.id));
            let digest = Digest::of(&said.must().stdout.clone()).to_string();
            anyhow::ensure!(over.run["output"] == digest.as_str(), "{digest} is not in {:#}", over.run);
            Ok(self.tech.gw(&format!("job {} --device web1 --output", over.id)).must().stdout)
        });
        let bytes = bytes.unwrap();
        assert_eq!(over.run["output_bytes"], bytes.len() as u64);
        opened::opened(&self.world, &bytes)
    }

    /// A good run, now.
    fn is_healthy(&self) {
        let over = self.run("fine", "", "echo fine");
        let states = jobs::states(&jobs::job(&self.tech, &over.id));
        assert_eq!(states, [("web1".to_owned(), "succeeded".to_owned())]);
        assert_eq!(text(&self.output(&over), Stream::Out), b"fine\n");
        self.tech.belay(["log", "verify", "acme"]).unwrap().must();
    }

    /// Orders again and again on a full disk until one is not taken, in clear words; those that still had a place.
    fn until_refused(&self, disk: &Disk) -> Vec<String> {
        let script = format!("echo ran >> {}", self.file("meanwhile").display());
        runs::push(&self.world, &self.author, "meanwhile", "", &script);
        let mut taken = Vec::new();
        while taken.len() < ORDERS_MAX {
            disk.fill();
            jobs::order(&self.tech, &["meanwhile", "--on", DEVICE, "--detach"]);
            let id = jobs::newest(&self.tech);
            let run = until("what becomes of another order", GENEROUS, || {
                let run = jobs::job(&self.tech, &id)["runs"][0].clone();
                anyhow::ensure!(run["state"] != "waiting" && run["state"] != "offered", "{run:#}");
                Ok(run)
            });
            let run = run.unwrap();
            if run["state"] == "refused" {
                let reason = run["reason"].as_str().unwrap();
                assert!(reason.contains("this machine could not"), "{reason}");
                return taken;
            }
            taken.push(id);
        }
        panic!("the disk is full, and {ORDERS_MAX} orders were taken");
    }

    /// The run on web1 of this job, once it is over.
    fn over(&self, id: &str) -> Over {
        let job = until("the end of the job", BULKY, || {
            let job = jobs::job(&self.tech, id);
            anyhow::ensure!(job["over"] == true && job["runs"][0]["ended"].is_string(), "{job:#}");
            Ok(job)
        });
        Over { id: id.to_owned(), run: job.unwrap()["runs"][0].clone() }
    }

    /// The agent's resident memory, in KiB.
    fn rss(&self) -> u64 {
        let pid = self.world.agent_pid(DEVICE).unwrap();
        let pages = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
        pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4
    }
}

impl Over {
    fn state(&self) -> &str {
        self.run["state"].as_str().unwrap()
    }
}

/// What of it was written to one stream.
fn text(lines: &[Line], of: Stream) -> Vec<u8> {
    let bytes = lines.iter().filter_map(|line| match line {
        Line::Piece { stream, bytes, .. } if *stream == of => Some(bytes.as_slice()),
        Line::Piece { .. } | Line::Cut { .. } | Line::Sealed { .. } => None,
    });
    bytes.collect::<Vec<_>>().concat()
}

/// What the files below a directory hold. One that goes away meanwhile holds nothing.
fn bytes_below(at: &Path) -> u64 {
    let entries = fs::read_dir(at).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => bytes_below(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

/// The process whose id is in this file, once it is there.
fn pid(file: &Path) -> u32 {
    until("the id of a process", GENEROUS, || Ok(fs::read_to_string(file)?.trim().parse()?)).unwrap()
}

fn lives(pid: u32) -> bool {
    // Also not a dead one that nobody has waited for.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

fn end(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_script_that_forks_and_stays_is_over_and_what_it_left_too_unless_it_left_by_itself() {
    let scene = Scene::new();
    // In its session, with the script's output in its hand.
    let stays = scene.file("stays");
    let script = format!("sleep 1000 &\necho $! > {}\necho done", stays.display());
    let began = Instant::now();
    let over = scene.run("stays", "", &script);
    assert_eq!((over.state(), over.run["exit"].as_u64()), ("succeeded", Some(0)), "{:#}", over.run);
    assert_eq!(text(&scene.output(&over), Stream::Out), b"done\n");
    assert!(!lives(pid(&stays)), "a child of the script was left");
    // In a session of its own it is nobody's to end (TRUST.md says so), and keeps nobody waiting.
    let left = scene.file("left");
    let script = format!(
        "setsid sh -c 'echo $$ > {}; exec sleep 1000' &\nuntil [ -s {0} ]; do :; done\necho done",
        left.display()
    );
    let over = scene.run("leaves", "", &script);
    assert_eq!(over.state(), "succeeded", "{:#}", over.run);
    let left = pid(&left);
    assert!(lives(left), "it left the session, and was ended all the same: say so in TRUST.md");
    end(left);
    assert!(began.elapsed() < GENEROUS, "a child that stays kept its run for {} s", began.elapsed().as_secs());
    scene.is_healthy();
}

#[test]
fn a_script_that_ignores_the_word_to_end_is_killed_with_all_it_started() {
    let scene = Scene::new();
    let child = scene.file("child");
    let script = format!(
        "trap '' TERM HUP INT\nsh -c 'trap \"\" TERM; echo $$ > {}; while :; do sleep 1; done' &\necho begun\nwhile :; do sleep 1; done",
        child.display()
    );
    let over = scene.run("deaf", "timeout = \"1s\"", &script);
    assert_eq!((over.state(), over.run["signal"].as_str()), ("timed out", Some("KILL")), "{:#}", over.run);
    assert!(over.run["duration_ms"].as_u64().unwrap() >= 11_000, "it had ten seconds to end: {:#}", over.run);
    assert_eq!(text(&scene.output(&over), Stream::Out), b"begun\n");
    assert!(!lives(pid(&child)), "a child of the script was left");
    // One that listens ends in its own way, and is timed out all the same.
    let over = scene.run("listens", "timeout = \"1s\"", "trap 'echo bye; exit 7' TERM\nwhile :; do sleep 1; done");
    assert_eq!((over.state(), over.run["exit"].as_u64()), ("timed out", Some(7)), "{:#}", over.run);
    assert_eq!(text(&scene.output(&over), Stream::Out), b"bye\n");
    scene.is_healthy();
}

#[test]
fn what_ends_a_script_is_what_is_said_and_it_has_nothing_to_read() {
    let scene = Scene::new();
    let cases = [
        ("term", "kill -TERM $$\nsleep 100", "failed", None, Some("TERM")),
        ("segv", "kill -SEGV $$\nsleep 100", "failed", None, Some("SEGV")),
        // Its own group is the script, and not the agent.
        ("group", "echo hello\nkill -KILL 0\nsleep 100", "failed", None, Some("KILL")),
        ("reads", "if read -r line; then exit 9; fi\ncat\necho nothing", "succeeded", Some(0), None),
        ("closes", "echo early\nexec >&- 2>&-\nsleep 1\nexit 5", "failed", Some(5), None),
        ("status", "exit 255", "failed", Some(255), None),
        ("terminal", "test -t 0 || test -t 1 || test -c /dev/tty && : < /dev/tty", "failed", None, None),
        ("silent", ":", "succeeded", Some(0), None),
    ];
    for (name, script, state, exit, signal) in cases {
        let over = scene.run(name, "", script);
        assert_eq!((over.state(), over.run["signal"].as_str()), (state, signal), "{name}: {:#}", over.run);
        assert!(exit.is_none() || over.run["exit"].as_u64() == exit, "{name}: {:#}", over.run);
        let out = text(&scene.output(&over), Stream::Out);
        let wanted: &[u8] = match name {
            "group" => b"hello\n",
            "reads" => b"nothing\n",
            "closes" => b"early\n",
            _ => b"",
        };
        assert_eq!(out, wanted, "{name}");
    }
    scene.is_healthy();
}

#[test]
fn output_in_any_encoding_is_kept_to_the_byte_and_shown_harmless() {
    let scene = Scene::new();
    // Invalid UTF-8, a title, a cursor, a hyperlink, eight-bit controls, a forged line of another device, a bell, NUL.
    let hostile: &[u8] =
        b"\xff\xfe\x80 \x1b]0;owned\x07 \x1b[2J\x1b[1;1H \x1b]8;;http://x\x1b\\y \xc2\x9b31m \xe2\x80\xae evil\rweb2.acme | fine\x00\n";
    let octal: String = hostile.iter().map(|byte| format!("\\{byte:03o}")).collect();
    let script = format!("printf '{octal}'\nprintf '{octal}' >&2\nhead -c 3 /dev/zero");
    let over = scene.run("hostile", "", &script);
    assert_eq!(over.state(), "succeeded", "{:#}", over.run);
    let lines = scene.output(&over);
    assert_eq!(text(&lines, Stream::Out), [hostile, b"\0\0\0"].concat());
    assert_eq!(text(&lines, Stream::Err), hostile);
    let harmless = |said: &belay_tests::Said| {
        let shown = String::from_utf8(said.stdout.clone()).expect("it is text");
        let wrong = |c: char| c != '\n' && (c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c));
        assert!(!shown.contains(wrong), "{shown:?}");
        assert!(shown.contains("owned") && shown.contains("evil"), "{shown:?}");
        assert!(shown.lines().all(|line| line.starts_with("web1.acme ")), "{shown}");
    };
    harmless(&scene.tech.belay(["job", &over.id, "--device", "web1", "--output"]).unwrap().must());
    // The same digest stands in the log, in what the device signed.
    let ends: Vec<Value> = scene.tech.log("acme").into_iter().filter(|entry| entry["type"] == "run.ended").collect();
    assert_eq!(ends.len(), 1);
    assert_eq!(ends[0]["output"], over.run["output"], "{:#}", ends[0]);
    // A name that a script chooses reaches nobody's terminal: its reason is the agent's own.
    scene.is_healthy();
}

#[test]
fn a_script_that_prints_without_end_costs_its_limit_and_no_more() {
    let scene = Scene::new();
    let bytes: u64 = if std::env::var_os("BELAY_LONG").is_some() { 10 << 30 } else { 200 << 20 };
    let before = scene.rss();
    let runs = scene.world.agent_dir(DEVICE).join("runs");
    let script = format!("echo head\nhead -c {bytes} /dev/zero | tr '\\0' x\necho\necho tail");
    runs::push(&scene.world, &scene.author, "prints", "output = \"256KiB\"\ntimeout = \"1h\"", &script);
    assert_eq!(jobs::order(&scene.tech, &["prints", "--on", DEVICE, "--detach"]).code(), Some(4));
    let id = jobs::newest(&scene.tech);
    let (mut rss_most, mut kept_most) = (0, 0);
    let job = until("the end of the job", BULKY * 12, || {
        rss_most = scene.rss().max(rss_most);
        kept_most = bytes_below(&runs).max(kept_most);
        let job = jobs::job(&scene.tech, &id);
        anyhow::ensure!(job["over"] == true, "{job:#}");
        Ok(job)
    });
    let over = Over { id, run: job.unwrap()["runs"][0].clone() };
    println!("measured: {} MiB printed: agent RSS {before} to {rss_most} KiB, {kept_most} B kept", bytes / MIB);
    assert_eq!(over.state(), "succeeded", "{:#}", over.run);
    assert!(rss_most < before + (16 << 10), "{before} to {rss_most} KiB");
    assert!(kept_most < MIB, "{kept_most} bytes on the disk");
    let lines = scene.output(&over);
    assert!(over.run["output_bytes"].as_u64().unwrap() <= 256 << 10, "{:#}", over.run);
    let out = text(&lines, Stream::Out);
    assert!(out.starts_with(b"head\nxxx") && out.ends_with(b"x\ntail\n"), "head and tail");
    let cuts: Vec<u64> = lines
        .iter()
        .filter_map(|line| match line {
            Line::Cut { dropped, .. } => Some(*dropped),
            Line::Piece { .. } | Line::Sealed { .. } => None,
        })
        .collect();
    assert_eq!(cuts, [over.run["output_dropped"].as_u64().unwrap()]);
    assert_eq!(cuts[0] + out.len() as u64, bytes + "head\n\ntail\n".len() as u64, "nothing is unaccounted for");
    let shown = scene.tech.belay(["job", &over.id, "--device", "web1", "--output"]).unwrap().must();
    assert!(shown.out().contains(&format!("{} bytes were not kept", cuts[0])), "it says what is missing");
    scene.is_healthy();
}

#[test]
fn a_script_that_fills_the_agents_disk_is_over_and_so_is_the_harm() {
    let scene = Scene::of(|world| Disk::mount(&world.agent_dir(DEVICE), AGENT_SIZE));
    let Some(disk) = &scene.disk else { return };
    let (pid, began) = (scene.world.agent_pid(DEVICE), scene.file("began"));
    let ballast = scene.world.agent_dir(DEVICE).join("ballast");
    // It prints on a disk without a page to spare.
    let script = format!(
        "echo before\nuntil [ -s {}/runs/$BELAY_RUN/output ]; do sleep 0.1; done\ncat /dev/zero > {} 2>/dev/null\n: > {}\nhead -c 60000 /dev/urandom\necho after\nexit 3",
        scene.world.agent_dir(DEVICE).display(),
        ballast.display(),
        began.display()
    );
    runs::push(&scene.world, &scene.author, "fills", "", &script);
    assert_eq!(jobs::order(&scene.tech, &["fills", "--on", DEVICE, "--detach"]).code(), Some(4));
    let id = jobs::newest(&scene.tech);
    until("the full disk", GENEROUS, || Ok(fs::metadata(&began)?)).unwrap();
    let log = scene.world.log(DEVICE);
    log.wait("that the output is cut", 0, GENEROUS, |line| line.contains("the output of a run is cut")).unwrap();
    let taken = scene.until_refused(disk);
    disk.free();
    let over = scene.over(&id);
    assert_eq!((over.state(), over.run["exit"].as_u64()), ("failed", Some(3)), "{:#}", over.run);
    let reason = over.run["reason"].as_str().unwrap();
    assert!(reason.contains("its output is cut, for it could not be written"), "{reason}");
    let out = text(&scene.output(&over), Stream::Out);
    assert!(out.starts_with(b"before\n"), "what was written before is there");
    assert!(over.run["output_dropped"].as_u64().unwrap() > 0, "{:#}", over.run);
    assert_eq!(scene.world.agent_pid(DEVICE), pid);
    scene.is_healthy();
    let marks = fs::read_to_string(scene.file("meanwhile")).unwrap_or_default();
    let ran = taken.iter().filter(|id| scene.over(id).state() == "succeeded").count();
    assert_eq!(marks.lines().count(), ran, "what was refused ran");
}
