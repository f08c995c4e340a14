//! The limits of a file session, met by a client that writes its own packets, and a directory of ten thousand files.

#[path = "parts/moved.rs"]
mod moved;

use belay_tests::{Said, World, call::run_within, wait::BULKY};
use moved::{deeds, files_of, sftp};
use std::{collections::BTreeMap, fs, os::unix::ffi::OsStrExt, path::Path};

const DEVICE: &str = "web1.acme";
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
const STAT: u8 = 17;
const OPEN_DIRECTORY: u8 = 11;
const READ_DIRECTORY: u8 = 12;
const MAKE_DIRECTORY: u8 = 14;
const RENAME: u8 = 18;
const EXTENDED: u8 = 200;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
/// Open handles, as `limits@openssh.com` tells them.
const HANDLES_MAX: u32 = 128;

/// Requests in the order in which they are sent.
struct Batch(Vec<u8>);

impl Batch {
    /// Begins as every client does.
    fn begin() -> Self {
        let mut batch = Self(Vec::new());
        batch.packet(&[1, 0, 0, 0, 3]);
        batch
    }

    fn packet(&mut self, packet: &[u8]) {
        self.0.extend(u32::try_from(packet.len()).unwrap().to_be_bytes());
        self.0.extend(packet);
    }

    fn ask(&mut self, kind: u8, id: u32, fields: &[&[u8]]) {
        self.packet(&[&[kind][..], &id.to_be_bytes(), &fields.concat()].concat());
    }

    /// Sends everything at once and never waits for an answer; what came back, by the number of the request.
    #[track_caller]
    fn send(&self, world: &World) -> (Said, BTreeMap<u32, Vec<u8>>) {
        let mut ssh = world.person("tech").ssh_command();
        let said = run_within(ssh.args(["-s", "--", DEVICE, "sftp"]), &self.0, BULKY).unwrap();
        let mut answers = BTreeMap::new();
        let mut rest = &said.stdout[..];
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let (packet, after) = after.split_at(u32::from_be_bytes(*length) as usize);
            let number = u32::from_be_bytes(packet[1..5].try_into().unwrap());
            // The greeting has its version there; requests are numbered from 100.
            answers.insert(number, packet.to_vec());
            rest = after;
        }
        (said, answers)
    }
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

fn path(path: &Path) -> Vec<u8> {
    string(path.as_os_str().as_bytes())
}

fn handle(number: u32) -> Vec<u8> {
    string(&number.to_be_bytes())
}

/// The words of a status.
fn status(answer: &[u8]) -> (u32, String) {
    assert_eq!(answer[0], STATUS, "not a status: {answer:?}");
    let code = u32::from_be_bytes(answer[5..9].try_into().unwrap());
    let length = u32::from_be_bytes(answer[9..13].try_into().unwrap()) as usize;
    (code, String::from_utf8_lossy(&answer[13..13 + length]).into_owned())
}

#[test]
fn open_files_are_as_many_as_promised_and_one_more_is_refused() {
    let world = World::shared();
    let file = world.dir().join("opened");
    fs::write(&file, b"x").unwrap();
    let mut batch = Batch::begin();
    let open = [path(&file), 1u32.to_be_bytes().to_vec(), vec![0; 4]].concat();
    for id in 0..=HANDLES_MAX {
        batch.ask(OPEN, 100 + id, &[&open]);
    }
    batch.ask(CLOSE, 1000, &[&handle(7)]);
    batch.ask(OPEN, 1001, &[&open]);
    batch.ask(CLOSE, 1002, &[&handle(7)]);
    batch.ask(READ, 1003, &[&string(b"foreign"), &[0; 8], &[0, 0, 0, 1]]);
    let (said, answers) = batch.send(&world);
    said.must();
    assert!((100..100 + HANDLES_MAX).all(|id| answers[&id][0] == HANDLE));
    let (code, words) = status(&answers[&(100 + HANDLES_MAX)]);
    assert!(code == 4 && words.contains("128 files and directories are open already"), "{words}");
    assert_eq!((status(&answers[&1000]).0, answers[&1001][0]), (0, HANDLE));
    // A handle that was closed, and one that never was.
    assert_eq!((status(&answers[&1002]).0, status(&answers[&1003]).0), (2, 2));
    let opened = file.display().to_string();
    let files = files_of(&world.person("tech"), |files| files["down"] == HANDLES_MAX + 1);
    assert_eq!((&files["failed"], &files["partial"]), (&1.into(), &HANDLES_MAX.into()), "{files:#}");
    let listed = deeds(&files);
    assert!(listed.iter().all(|deed| *deed == ("down".into(), opened.clone())));
    // The list is short and says so; the sums count everything.
    assert_eq!(listed.len() as u64 + files["unlisted"].as_u64().unwrap_or_default(), u64::from(HANDLES_MAX) + 1);
}

#[test]
fn thousands_of_requests_in_one_go_are_answered_in_order() {
    let world = World::shared();
    let file = world.dir().join("read");
    fs::write(&file, vec![b'z'; 1000]).unwrap();
    let mut batch = Batch::begin();
    batch.ask(OPEN, 100, &[&path(&file), &[0, 0, 0, 1], &[0; 4]]);
    // More answers than any window: the session waits for the client, in bounded memory, and loses none.
    for id in 0..20_000_u32 {
        batch.ask(READ, 1000 + id, &[&handle(0), &u64::from(id % 1000).to_be_bytes(), &[0, 0, 0xff, 0xff]]);
    }
    let (said, answers) = batch.send(&world);
    said.must();
    for id in 0..20_000_u32 {
        let answer = &answers[&(1000 + id)];
        assert_eq!((answer[0], answer.len()), (DATA, 9 + 1000 - (id % 1000) as usize));
    }
}

#[test]
fn packets_that_are_too_long_or_none_end_the_session_with_a_sentence() {
    let world = World::shared();
    for (bytes, word) in [
        (vec![0xff, 0xff, 0xff, 0xff], "a packet of 4294967295 bytes is longer than"),
        ([&(256_u32 * 1024 + 1).to_be_bytes()[..], &[0; 16]].concat(), "is longer than 262144 bytes"),
        (vec![0, 0, 0, 6, STAT, 0, 0, 0, 100, 9], "ends in the middle of a field"),
        (vec![0, 0, 0, 5, 1, 0, 0, 0, 3], "exactly one INIT"),
    ] {
        let mut batch = Batch::begin();
        batch.0.extend(bytes);
        let (said, _) = batch.send(&world);
        said.must_refuse(1, &["belay: this file session cannot go on", word]);
    }
    let mut early = Batch(Vec::new());
    early.ask(STAT, 100, &[&string(b"/")]);
    early.send(&world).0.must_refuse(1, &["exactly one INIT"]);
}

#[test]
fn paths_that_no_file_can_have_are_refused_and_the_session_goes_on() {
    let world = World::shared();
    let mut batch = Batch::begin();
    batch.ask(STAT, 100, &[&string(&[b'x'; 5000])]);
    batch.ask(STAT, 101, &[&string(b"/tmp\0/x")]);
    batch.ask(STAT, 102, &[&string(&[b"/".as_slice(), &[b'x'; 300]].concat())]);
    batch.ask(EXTENDED, 103, &[&string(b"nobody-knows@example")]);
    batch.ask(99, 104, &[]);
    batch.ask(STAT, 105, &[&string(b"/")]);
    let (said, answers) = batch.send(&world);
    said.must();
    let codes: Vec<u32> = (100..105).map(|id| status(&answers[&id]).0).collect();
    assert_eq!(codes, [5, 5, 5, 8, 8]);
    assert_eq!(answers[&105][0], 105);
}

#[test]
fn names_beyond_the_longest_path_are_recorded_and_so_is_all_that_follows() {
    let world = World::shared();
    // A link to a directory as deep as a path can say: what is in it has longer names than any path.
    let mut deep = world.dir().join("deep");
    while deep.as_os_str().len() < 4_088 {
        let rest = 4_088 - deep.as_os_str().len() - 1;
        // Never so that a part without a name is left.
        deep.push("d".repeat(if rest > 200 { 100 } else { rest }));
    }
    fs::create_dir_all(&deep).unwrap();
    let (short, after) = (world.dir().join("short"), world.dir().join("after-the-long-ones"));
    std::os::unix::fs::symlink(&deep, &short).unwrap();
    let (from, to) = (short.join("x".repeat(255)), short.join("y".repeat(255)));
    fs::write(&from, b"x").unwrap();
    let mut batch = Batch::begin();
    batch.ask(RENAME, 100, &[&path(&from), &path(&to)]);
    batch.ask(MAKE_DIRECTORY, 101, &[&path(&after), &[0; 4]]);
    let (said, answers) = batch.send(&world);
    said.must();
    assert_eq!((status(&answers[&100]).0, status(&answers[&101]).0), (0, 0));
    let made = ("mkdir".to_owned(), after.display().to_string());
    let files = files_of(&world.person("tech"), |files| deeds(files).contains(&made));
    assert_eq!((&files["changed"], &files["unfinished"]), (&2.into(), &serde_json::Value::Null), "{files:#}");
    let rename = &files["list"][0];
    assert!(rename["path"].as_str().unwrap().ends_with('…') && rename["to"].as_str().unwrap().ends_with('…'));
}

#[test]
fn a_directory_of_ten_thousand_files_is_listed_whole_in_batches() {
    let world = World::shared();
    let dir = world.dir().join("crowded");
    fs::create_dir_all(&dir).unwrap();
    for number in 0..10_000 {
        fs::write(dir.join(format!("file-{number:05}")), b"").unwrap();
    }
    let said = sftp(&world.person("tech"), DEVICE, &format!("ls -1 {}\n", dir.display())).must();
    let mut names: Vec<&str> = std::str::from_utf8(&said.stdout).unwrap().lines().collect();
    names.retain(|line| line.contains("file-"));
    assert_eq!(names.len(), 10_000, "{}", names.len());
    names.dedup();
    assert_eq!(names.len(), 10_000);

    let mut batch = Batch::begin();
    batch.ask(OPEN_DIRECTORY, 100, &[&path(&dir)]);
    for id in 0..110 {
        batch.ask(READ_DIRECTORY, 1000 + id, &[&handle(0)]);
    }
    let (said, answers) = batch.send(&world);
    said.must();
    let counts = (0..110_u32).map(|id| &answers[&(1000 + id)]).take_while(|answer| answer[0] == NAME);
    let counts: Vec<u32> = counts.map(|answer| u32::from_be_bytes(answer[5..9].try_into().unwrap())).collect();
    assert!(counts.iter().all(|count| *count <= 100), "{counts:?}");
    assert_eq!(counts.iter().sum::<u32>(), 10_002);
}

#[test]
fn a_pipe_that_nobody_writes_to_stops_no_session() {
    let world = World::shared();
    let pipe = world.dir().join("pipe");
    belay_tests::run(std::process::Command::new("mkfifo").arg(&pipe), b"").unwrap().must();
    let said = sftp(&world.person("tech"), DEVICE, &format!("-get {} /dev/null\npwd\n", pipe.display())).must();
    assert!(said.out().contains("Remote working directory"), "{}", said.story());
}

#[test]
fn a_long_list_is_cut_and_its_sums_are_not() {
    let world = World::shared();
    let (here, there) = (world.dir().join("many"), world.dir().join("many-there"));
    fs::create_dir_all(&here).unwrap();
    for number in 0..500 {
        fs::write(here.join(format!("{number}-{}", "x".repeat(150))), b"four").unwrap();
    }
    let tech = world.person("tech");
    let mut scp = tech.copier("scp");
    scp.arg("-r").arg(&here).arg(format!("{DEVICE}:{}", there.display()));
    run_within(&mut scp, b"", BULKY).unwrap().must();
    let files = files_of(&tech, |files| files["up"] == 500);
    let listed = files["list"].as_array().unwrap().len() as u64;
    assert!(listed > 30 && listed < 500, "{listed}");
    assert_eq!(files["up_bytes"], 2000);
    assert_eq!(listed + files["unlisted"].as_u64().unwrap(), 500 + files["changed"].as_u64().unwrap());
}
