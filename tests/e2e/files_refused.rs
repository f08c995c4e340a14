//! File sessions that may not be, may not go on or cannot finish: what the person hears, and what the record says.

#[path = "parts/moved.rs"]
mod moved;

use belay_tests::{
    Person, Plan, Said, Terminal, World,
    call::is_there,
    run,
    wait::{GENEROUS, until},
};
use moved::{deeds, ended, files_of, sftp};
use russh::{
    ChannelMsg, Sig, client,
    keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate, load_secret_key},
};
use serde_json::Value;
use std::{
    fs::{self, Permissions},
    io::Write,
    net::Ipv4Addr,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, chown},
    },
    path::Path,
    process::Stdio,
    sync::Arc,
};

const DEVICE: &str = "web1.acme";

fn scp(person: &Person, more: &[&str], from: &str, to: &str) -> Said {
    run(person.copier("scp").args(more).args([from, to]), b"").unwrap()
}

/// The process of the one file session that runs with `path` open.
fn session_with(path: &Path) -> Option<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers.find(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        line.windows(12).any(|words| words == b"file-session")
            && open.into_iter().any(|entry| fs::read_link(entry.path()).is_ok_and(|to| to == path))
    })
}

/// A copy that is under way: sftp on a terminal, sending a file whose start has arrived.
fn half_way(world: &World, person: &Person, target: &str, name: &str) -> (Terminal, std::path::PathBuf, u32) {
    let there = world.dir().join(name);
    // Sent slowly, and never at its end within this test: 64 kbit/s of an endless file.
    let mut sftp = person.copier("sftp");
    sftp.args(["-l", "64", target]);
    let mut terminal = Terminal::open(&sftp, 80, 24).unwrap();
    terminal.see("sftp>").unwrap();
    let big = world.dir().join(format!("{name}.source"));
    fs::File::create(&big).unwrap().set_len(1 << 30).unwrap();
    terminal.keys(&format!("put {} {}\r", big.display(), there.display())).unwrap();
    let pid = until("the copy to begin", GENEROUS, || {
        anyhow::ensure!(fs::metadata(&there).is_ok_and(|file| file.len() > 0), "nothing arrived");
        session_with(&there).ok_or_else(|| anyhow::anyhow!("no process has it open"))
    });
    (terminal, there, pid.unwrap())
}

fn partial_of(reader: &Person, there: &Path) -> Value {
    let there = there.display().to_string();
    let found = until("the end of the session in the log", GENEROUS, || {
        let ends = reader.log("acme").into_iter().filter(|entry| entry["type"] == "session.ended");
        let mut ends = ends.filter(|entry| deeds(&entry["files"]).contains(&("up".into(), there.clone())));
        ends.next().ok_or_else(|| anyhow::anyhow!("not there"))
    });
    let entry = found.unwrap();
    assert_eq!((&entry["files"]["up"], &entry["files"]["partial"]), (&1.into(), &1.into()), "{entry:#}");
    assert_eq!(entry["files"]["list"][0]["partial"], true, "{entry:#}");
    entry
}

#[test]
fn files_and_shell_are_granted_apart_and_a_refusal_is_said_and_recorded() {
    let world = World::small();
    let account = world.account().to_owned();
    let clerk = world.add_person("acme", "clerk", &["--do", "files", "--as", &account]).unwrap();
    let typist = world.add_person("acme", "typist", &["--do", "shell", "--as", &account]).unwrap();
    world.until_online(DEVICE).unwrap();
    let (from, to) = (world.dir().join("ports.json"), world.dir().join("copied.json"));
    let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());

    scp(&clerk, &[], from, &format!("{DEVICE}:{to}")).must();
    assert_eq!(fs::read(from).unwrap(), fs::read(to).unwrap());
    clerk.ssh(DEVICE, "true").must_refuse(254, &["files", "clerk"]);
    let legacy = scp(&clerk, &["-O"], from, &format!("{DEVICE}:{to}2"));
    assert!(!legacy.status.success() && legacy.err().contains("belay: "), "{}", legacy.story());

    typist.ssh(DEVICE, "true").must();
    for said in [scp(&typist, &[], from, &format!("{DEVICE}:{to}3")), sftp(&typist, DEVICE, "pwd\n")] {
        assert!(!said.status.success() && said.err().contains("belay: "), "{}", said.story());
        assert!(said.err().contains("typist") && said.err().contains("shell"), "{}", said.story());
    }
    let mut bare = typist.ssh_command();
    let said = run(bare.args(["-s", "--", DEVICE, "sftp"]), b"").unwrap();
    said.must_refuse(254, &["belay: "]);
    assert!(!Path::new(&format!("{to}2")).exists() && !Path::new(&format!("{to}3")).exists());
    let refused =
        world.person("tech").log("acme").into_iter().filter(|entry| {
            entry["type"] == "session.refused" && entry["kind"] == "sftp" && entry["person"] == "typist"
        });
    assert_eq!(refused.count(), 3);

    // The start of a file session stands in the log before its end, as a session of its own kind.
    let log = world.person("tech").log("acme");
    let opened = log.iter().position(|entry| entry["type"] == "session.opened" && entry["person"] == "clerk").unwrap();
    assert_eq!(log[opened]["kind"], "sftp");
    let over =
        log.iter().position(|entry| entry["session"] == log[opened]["session"] && entry["type"] == "session.ended");
    assert!(over > Some(opened));
}

#[test]
fn there_is_no_other_subsystem() {
    let world = World::shared();
    let mut netconf = world.person("tech").ssh_command();
    let said = run(netconf.args(["-s", "--", DEVICE, "netconf"]), b"").unwrap();
    said.must_refuse(254, &["there is no subsystem netconf"]);
}

#[test]
fn as_root_a_file_session_has_the_rights_of_its_account_and_no_more() {
    let world = World::small();
    if world.account() != "root" {
        println!("skipped: only root's agent becomes other accounts");
        return;
    }
    let guest = world.add_person("acme", "guest", &["--do", "files", "--as", "nobody"]).unwrap();
    world.until_online(DEVICE).unwrap();
    let target = format!("nobody@{DEVICE}");
    // Where `nobody` can come, and a file in it that only root may read.
    let open = tempfile::Builder::new().prefix("belay-open-").tempdir_in("/tmp").unwrap();
    fs::set_permissions(open.path(), Permissions::from_mode(0o777)).unwrap();
    let secret = open.path().join("secret");
    fs::write(&secret, b"root's").unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let (mine, own) = (world.dir().join("mine"), open.path().join("own"));
    fs::write(&mine, b"mine").unwrap();

    let said = sftp(&guest, &target, &format!("get {} {}\n", secret.display(), mine.display()));
    assert!(!said.status.success() && said.err().to_lowercase().contains("permission denied"), "{}", said.story());
    assert_eq!(fs::read(&mine).unwrap(), b"mine");
    sftp(&guest, &target, &format!("put {} {}\n", mine.display(), own.display())).must();
    let metadata = fs::metadata(&own).unwrap();
    let nobody = run(std::process::Command::new("id").args(["-u", "nobody"]), b"").unwrap().must().out();
    assert_eq!(metadata.uid().to_string(), nobody.trim());
    assert_eq!(metadata.mode() & 0o777, 0o644);
    let said = sftp(&guest, &target, &format!("chown 0 {}\n", own.display()));
    assert!(!said.status.success(), "{}", said.story());
    // A directory that the account cannot enter is not entered with root's rights either, on the way or for the record.
    chown(open.path(), Some(0), Some(0)).unwrap();
    fs::set_permissions(open.path(), Permissions::from_mode(0o700)).unwrap();
    assert!(!sftp(&guest, &target, &format!("get {} {}\n", own.display(), mine.display())).status.success());
    let tech = world.person("tech");
    files_of(&tech, |files| files["failed"] == 1 && files["list"] == Value::Array(Vec::new()));
    let entry = ended(&tech, |entry| entry["files"]["up"] == 1);
    assert_eq!(entry["files"]["list"][0]["path"], own.to_str().unwrap());
}

#[test]
fn as_root_nobody_traces_or_reads_the_process_of_a_file_session() {
    let world = World::small();
    if world.account() != "root" || !is_there("setpriv") {
        println!("skipped: needs an agent that runs as root, and setpriv");
        return;
    }
    let seer = world.add_person("acme", "seer", &["--do", "files", "--as", "nobody"]).unwrap();
    world.until_online(DEVICE).unwrap();
    let open = tempfile::Builder::new().prefix("belay-open-").tempdir_in("/tmp").unwrap();
    fs::set_permissions(open.path(), Permissions::from_mode(0o777)).unwrap();
    let mut sftp = seer.copier("sftp");
    sftp.arg(format!("nobody@{DEVICE}"));
    let mut terminal = Terminal::open(&sftp, 80, 24).unwrap();
    terminal.see("sftp>").unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pid = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            line.windows(12).any(|words| words == b"file-session")
                && environment.windows(17).any(|words| words == b"BELAY_PERSON=seer")
        })
        .unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    let nobody = run(std::process::Command::new("id").args(["-u", "nobody"]), b"").unwrap().must().out();
    assert!(line("Uid:").split_whitespace().skip(1).all(|id| id == nobody.trim()), "{status}");
    assert_eq!(line("CapEff:").split_whitespace().nth(1), Some("0000000000000000"), "{status}");
    // Its report pipe, its memory and its environment are behind the same door as tracing.
    for inside in ["fd", "mem", "environ"] {
        let mut look = std::process::Command::new("setpriv");
        look.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--", "head", "-c", "1"]);
        let path = if inside == "fd" { format!("/proc/{pid}/fd/0") } else { format!("/proc/{pid}/{inside}") };
        let said = run(look.arg(path), b"").unwrap();
        assert!(said.err().contains("Permission denied"), "{inside}: {}", said.story());
    }
    terminal.keys("bye\r").unwrap();
    assert!(terminal.ended(GENEROUS).unwrap().success());
}

#[test]
fn a_withdrawn_grant_ends_a_copy_under_way() {
    let world = World::small();
    let account = world.account().to_owned();
    let clerk = world.add_person("acme", "clerk", &["--do", "files", "--as", &account]).unwrap();
    world.until_online(DEVICE).unwrap();
    let (terminal, there, _) = half_way(&world, &clerk, DEVICE, "withdrawn");
    world.remove_person("acme", "clerk").unwrap();
    assert!(!terminal.ended(GENEROUS).unwrap().success());
    let entry = partial_of(&world.person("tech"), &there);
    assert!(entry["reason"].is_string() && entry["exit"] == 254, "{entry:#}");
}

#[test]
fn a_session_whose_process_is_killed_leaves_what_it_had_told() {
    let world = World::of(Plan::small());
    let tech = world.person("tech");
    let (terminal, there, pid) = half_way(&world, &tech, DEVICE, "killed");
    run(std::process::Command::new("kill").args(["-9", &pid.to_string()]), b"").unwrap().must();
    assert!(!terminal.ended(GENEROUS).unwrap().success());
    let entry = partial_of(&tech, &there);
    assert_eq!((&entry["signal"], &entry["files"]["unfinished"]), (&"KILL".into(), &true.into()), "{entry:#}");
}

#[test]
fn a_person_who_leaves_in_the_middle_leaves_a_partial_copy_in_the_record() {
    let world = World::of(Plan::small());
    let tech = world.person("tech");
    let (terminal, there, _) = half_way(&world, &tech, DEVICE, "left");
    drop(terminal);
    let entry = partial_of(&tech, &there);
    assert!(entry["files"]["unfinished"].is_null() && entry["files"]["up_bytes"].as_u64() > Some(0), "{entry:#}");
}

/// SFTP's packets, each as its kind and its fields; the greeting first.
fn packets(asked: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 5, 1, 0, 0, 0, 3];
    for (number, (kind, fields)) in asked.iter().enumerate() {
        let length = u32::try_from(5 + fields.len()).unwrap();
        bytes.extend([&length.to_be_bytes()[..], &[*kind], &u32::try_from(number).unwrap().to_be_bytes()].concat());
        bytes.extend(fields);
    }
    bytes
}

fn string(text: &[u8]) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], text].concat()
}

fn string_of(path: &Path) -> Vec<u8> {
    string(path.as_os_str().as_bytes())
}

/// The first two handles of a session.
const FIRST: [u8; 8] = [0, 0, 0, 4, 0, 0, 0, 0];
const SECOND: [u8; 8] = [0, 0, 0, 4, 0, 0, 0, 1];

#[test]
fn a_copy_on_the_machine_ends_with_its_person_and_is_in_the_list() {
    let world = World::of(Plan::small());
    let tech = world.person("tech");
    // More than any machine copies while this test waits.
    let source = world.dir().join("endless");
    fs::File::create(&source).unwrap().set_len(1 << 43).unwrap();
    let mut ssh = tech.ssh_command();
    ssh.args(["-s", "--", DEVICE, "sftp"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut ssh = ssh.spawn().unwrap();
    let asked = packets(&[
        (3, [string_of(&source), vec![0, 0, 0, 1], vec![0; 4]].concat()),
        (3, [string(b"/dev/null"), vec![0, 0, 0, 2], vec![0; 4]].concat()),
        (200, [string(b"copy-data"), FIRST.to_vec(), vec![0; 16], SECOND.to_vec(), vec![0; 8]].concat()),
    ]);
    ssh.stdin.as_mut().unwrap().write_all(&asked).unwrap();
    until("the copy to begin", GENEROUS, || session_with(&source).ok_or_else(|| anyhow::anyhow!("nothing is open")))
        .unwrap();
    ssh.kill().unwrap();
    ssh.wait().unwrap();
    let copy = ("copy".to_owned(), source.display().to_string());
    let entry = until("the end of the session in the log", GENEROUS, || {
        let mut ends = tech.log("acme").into_iter().filter(|entry| entry["type"] == "session.ended");
        ends.find(|entry| entry["files"]["down"] == 1).ok_or_else(|| anyhow::anyhow!("not there"))
    });
    let entry = entry.unwrap();
    assert!(deeds(&entry["files"]).contains(&copy) && entry["files"]["unfinished"].is_null(), "{entry:#}");
}

/// An SSH client that says what no command-line client can be made to say.
struct Raw;

impl client::Handler for Raw {
    type Error = russh::Error;
    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

/// Asks for signals after the greeting of a file session and then for a directory; the exit status.
async fn signal_and_make(world: &World, made: &Path) -> Option<u32> {
    let key = Arc::new(load_secret_key(world.person("tech").key(), None).unwrap());
    let key = || PrivateKeyWithHashAlg::new(Arc::clone(&key), None);
    let mut gateway = client::connect(Arc::default(), (Ipv4Addr::LOCALHOST, world.ssh_port()), Raw).await.unwrap();
    assert!(gateway.authenticate_publickey("x", key()).await.unwrap().success());
    let way = gateway.channel_open_direct_tcpip(DEVICE, 22, "127.0.0.1", 1).await.unwrap();
    let mut device = client::connect_stream(Arc::default(), way.into_stream(), Raw).await.unwrap();
    assert!(device.authenticate_publickey(world.account(), key()).await.unwrap().success());
    let mut channel = device.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "sftp").await.unwrap();
    let asked = packets(&[(14, [string_of(made), vec![0; 4]].concat())]);
    let (greeting, rest) = asked.split_at(9);
    channel.data(greeting).await.unwrap();
    let (mut answers, mut exit) = (0, None);
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { .. } if answers == 0 => {
                answers += 1;
                for signal in [Sig::KILL, Sig::TERM, Sig::INT] {
                    channel.signal(signal).await.unwrap();
                }
                channel.data(rest).await.unwrap();
            }
            ChannelMsg::Data { .. } => channel.eof().await.unwrap(),
            ChannelMsg::ExitStatus { exit_status } => exit = Some(exit_status),
            _ => {}
        }
    }
    exit
}

#[test]
fn a_signal_of_the_client_ends_no_file_session() {
    let world = World::of(Plan::small());
    let made = world.dir().join("made-after-signals");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(runtime.block_on(signal_and_make(&world, &made)), Some(0));
    let made = ("mkdir".to_owned(), made.display().to_string());
    let files = files_of(&world.person("tech"), |files| deeds(files).contains(&made));
    assert!(files["unfinished"].is_null(), "{files:#}");
}

#[test]
fn as_root_attributes_that_were_set_are_in_the_list_though_others_could_not_be() {
    let world = World::small();
    if world.account() != "root" {
        println!("skipped: only root's agent becomes other accounts");
        return;
    }
    let setter = world.add_person("acme", "setter", &["--do", "files", "--as", "nobody"]).unwrap();
    world.until_online(DEVICE).unwrap();
    let open = tempfile::Builder::new().prefix("belay-open-").tempdir_in("/tmp").unwrap();
    fs::set_permissions(open.path(), Permissions::from_mode(0o777)).unwrap();
    let nobody = run(std::process::Command::new("id").args(["-u", "nobody"]), b"").unwrap().must().out();
    let own = open.path().join("own");
    fs::write(&own, b"to be emptied").unwrap();
    chown(&own, Some(nobody.trim().parse().unwrap()), None).unwrap();
    let word = |number: u32| number.to_be_bytes().to_vec();
    let (size, owner, mode) = (1, 2, 4);
    let asked = packets(&[
        // Emptied and given another mode; root is not made its owner.
        (9, [string_of(&own), word(size | owner | mode), vec![0; 8], vec![0; 8], word(0o4777)].concat()),
        (3, [string_of(&own), word(2), word(0)].concat()),
        (10, [&FIRST[..], &word(mode), &word(0o600)].concat()),
        (10, [&FIRST[..], &word(owner | mode), &[0; 8], &word(0o640)].concat()),
        // Only these leave nothing but the transfer's own line, and nothing at all.
        (10, [&FIRST[..], &word(size), &7_u64.to_be_bytes()].concat()),
        (10, [&FIRST[..], &word(owner), &[0; 8]].concat()),
        (4, FIRST.to_vec()),
    ]);
    let mut ssh = setter.ssh_command();
    run(ssh.args(["-s", "--", &format!("nobody@{DEVICE}"), "sftp"]), &asked).unwrap().must();
    let metadata = fs::metadata(&own).unwrap();
    assert_eq!((metadata.len(), metadata.mode() & 0o7777), (7, 0o640));
    let files = files_of(&world.person("tech"), |files| files["up"] == 1);
    let did: Vec<String> = deeds(&files).into_iter().map(|(did, _)| did).collect();
    assert_eq!(did, ["attributes", "attributes", "attributes", "up"], "{files:#}");
    assert_eq!(files["failed"], 3, "{files:#}");
}

#[test]
fn a_disk_that_fills_up_is_said_and_the_copy_is_partial() {
    let world = World::shared();
    let tech = world.person("tech");
    let from = world.dir().join("too-much");
    fs::write(&from, vec![7; 200_000]).unwrap();
    for program in ["scp", "sftp"] {
        let said = match program {
            "scp" => scp(&tech, &[], from.to_str().unwrap(), &format!("{DEVICE}:/dev/full")),
            _ => sftp(&tech, DEVICE, &format!("put {} /dev/full\n", from.display())),
        };
        assert!(!said.status.success(), "{}", said.story());
        assert!(said.err().contains("/dev/full: No space left on device"), "{}", said.story());
        let files = files_of(&tech, |files| deeds(files) == [("up".into(), "/dev/full".into())]);
        assert_eq!((&files["partial"], &files["list"][0]["partial"]), (&1.into(), &true.into()), "{files:#}");
    }
}
