//! Files with the tools people have: scp, sftp and rsync, both ways and byte for byte, and the one record each session leaves.

#[path = "parts/moved.rs"]
mod moved;

use belay_tests::{
    Person, Said, World,
    call::{is_there, run_within},
    run,
    wait::BULKY,
};
use moved::{deeds, ended, files_of, sftp};
use std::{
    ffi::OsStr,
    fs::{self, Permissions},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
};

const DEVICE: &str = "web1.acme";
/// What is moved both ways in the default run.
const BULK_BYTES: usize = 100 << 20;

/// Two directories: what is sent, and where it goes on the device, which is this machine.
struct Place {
    here: PathBuf,
    there: PathBuf,
}

fn place(world: &World, name: &str) -> Place {
    let base = world.dir().join("copied").join(name);
    let (here, there) = (base.join("here"), base.join("there"));
    fs::create_dir_all(&here).unwrap();
    fs::create_dir_all(&there).unwrap();
    Place { here, there }
}

fn on_device(path: &Path) -> std::ffi::OsString {
    let mut word = std::ffi::OsString::from(format!("{DEVICE}:"));
    word.push(path);
    word
}

fn scp(person: &Person, more: &[&str], from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> Said {
    run_within(person.copier("scp").args(more).arg(from).arg(to), b"", BULKY).unwrap()
}

/// Bytes that no compression and no accident makes.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(bytes);
    out
}

/// A tree with everything a tree can hold.
fn tree(root: &Path) {
    fs::create_dir_all(root.join("deep/er")).unwrap();
    fs::write(root.join("empty"), b"").unwrap();
    fs::write(root.join("deep/er/noise"), noise(300_001)).unwrap();
    fs::write(root.join("deep/tool"), b"#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("deep/tool"), Permissions::from_mode(0o751)).unwrap();
    let dated = fs::File::options().write(true).open(root.join("deep/tool")).unwrap();
    dated.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000)).unwrap();
}

fn must_be_the_same_tree(one: &Path, other: &Path) {
    for name in ["empty", "deep/er/noise", "deep/tool"] {
        let (a, b) = (fs::read(one.join(name)).unwrap(), fs::read(other.join(name)).unwrap());
        assert!(a == b, "{name} differs: {} and {} bytes", a.len(), b.len());
    }
    let (a, b) = (fs::metadata(one.join("deep/tool")).unwrap(), fs::metadata(other.join("deep/tool")).unwrap());
    assert_eq!((a.mode(), a.mtime()), (b.mode(), b.mtime()));
}

#[test]
fn scp_copies_a_tree_both_ways_with_modes_and_times() {
    let world = World::shared();
    let tech = world.person("tech");
    for (name, more) in [("scp", &["-r", "-p"][..]), ("scp-legacy", &["-O", "-r", "-p"])] {
        let Place { here, there } = place(&world, name);
        tree(&here.join("tree"));
        scp(&tech, more, here.join("tree"), on_device(&there)).must();
        must_be_the_same_tree(&here.join("tree"), &there.join("tree"));
        fs::create_dir(here.join("back")).unwrap();
        scp(&tech, more, on_device(&there.join("tree")), here.join("back")).must();
        must_be_the_same_tree(&here.join("tree"), &here.join("back/tree"));
    }
    // By SFTP it is a file session with a list; the old way it is a command.
    let there = world.dir().join("copied/scp/there/tree");
    let files = files_of(&tech, |files| {
        files["list"]
            .as_array()
            .unwrap()
            .iter()
            .any(|deed| deed["path"] == there.join("deep/er/noise").to_str().unwrap())
            && files["up"] == 3
    });
    assert_eq!((&files["up_bytes"], &files["partial"]), (&(300_001 + 10).into(), &serde_json::Value::Null));
    let up = files["list"].as_array().unwrap().iter().find(|deed| deed["bytes"] == 300_001).unwrap();
    assert_eq!((&up["did"], &up["path"]), (&"up".into(), &there.join("deep/er/noise").to_str().unwrap().into()));
    let commands = tech.log("acme").into_iter().filter(|entry| entry["type"] == "session.opened");
    assert!(
        commands.filter_map(|entry| entry["command"].as_str().map(str::to_owned)).any(|line| line.starts_with("scp "))
    );
}

#[test]
fn what_is_copied_is_the_same_byte_for_byte_however_large() {
    let world = World::shared();
    let tech = world.person("tech");
    let Place { here, there } = place(&world, "bulk");
    fs::write(here.join("bulk"), noise(BULK_BYTES)).unwrap();
    scp(&tech, &[], here.join("bulk"), on_device(&there.join("bulk"))).must();
    scp(&tech, &[], on_device(&there.join("bulk")), here.join("back")).must();
    let (sent, back) = (fs::read(here.join("bulk")).unwrap(), fs::read(here.join("back")).unwrap());
    assert!(sent == back && sent == fs::read(there.join("bulk")).unwrap(), "{} and {} bytes", sent.len(), back.len());
    if std::env::var_os("BELAY_LONG").is_some() {
        let sparse = fs::File::create(here.join("sparse")).unwrap();
        sparse.set_len((2 << 30) + 1).unwrap();
        run_within(tech.copier("scp").arg(here.join("sparse")).arg(on_device(&there.join("sparse"))), b"", 4 * BULKY)
            .unwrap()
            .must();
        assert_eq!(fs::metadata(there.join("sparse")).unwrap().len(), (2 << 30) + 1);
    }
}

#[test]
fn a_home_is_found_by_its_tilde_and_a_relative_path_starts_there() {
    let world = World::shared();
    let tech = world.person("tech");
    let Place { here, .. } = place(&world, "home");
    let home = PathBuf::from(tech.ssh(DEVICE, "printf %s \"$HOME\"").must().out());
    let name = format!(".belay-test-{}", std::process::id());
    fs::write(here.join("a"), b"at home").unwrap();
    scp(&tech, &[], here.join("a"), format!("{DEVICE}:{name}")).must();
    let found = fs::read(home.join(&name));
    let back = scp(&tech, &[], format!("{DEVICE}:~/{name}"), here.join("b"));
    fs::remove_file(home.join(&name)).unwrap();
    assert_eq!(found.unwrap(), b"at home");
    back.must();
    assert_eq!(fs::read(here.join("b")).unwrap(), b"at home");
    let pwd = sftp(&tech, DEVICE, "pwd\n").must().out();
    assert!(pwd.contains(&format!("Remote working directory: {}", home.display())), "{pwd}");
}

#[test]
fn sftp_does_what_its_commands_say_and_every_change_is_in_the_list() {
    let world = World::shared();
    let tech = world.person("tech");
    let Place { here, there } = place(&world, "sftp");
    fs::write(here.join("a"), b"first").unwrap();
    let at = |name: &str| there.join(name).display().to_string();
    let batch = format!(
        "put {} {}\nrename {} {}\nln {} {}\nln -s b {}\nchmod 600 {}\nmkdir {}\nrmdir {}\ncp {} {}\nget {} {}\nls -la {}\ndf {}\nrm {}\n",
        here.join("a").display(),
        at("a"),
        at("a"),
        at("b"),
        at("b"),
        at("hard"),
        at("soft"),
        at("b"),
        at("dir"),
        at("dir"),
        at("b"),
        at("copy"),
        at("soft"),
        here.join("c").display(),
        there.display(),
        there.display(),
        at("hard"),
    );
    let said = sftp(&tech, DEVICE, &batch).must();
    for shown in ["-rw-------", "soft", "/.."] {
        assert!(said.out().contains(shown), "{}", said.story());
    }
    assert_eq!(fs::read(here.join("c")).unwrap(), b"first");
    assert_eq!(fs::read(there.join("copy")).unwrap(), b"first");
    assert_eq!(fs::read_link(there.join("soft")).unwrap(), Path::new("b"));
    assert_eq!(fs::metadata(there.join("b")).unwrap().mode() & 0o7777, 0o600);
    assert!(!there.join("hard").exists() && !there.join("dir").exists());
    let files = files_of(&tech, |files| deeds(files).contains(&("rename".into(), at("a"))));
    let did = deeds(&files);
    for (deed, name) in [
        ("up", "a"),
        ("rename", "a"),
        ("hardlink", "b"),
        ("symlink", "soft"),
        ("attributes", "b"),
        ("mkdir", "dir"),
        ("rmdir", "dir"),
        ("copy", "b"),
        ("remove", "hard"),
        // What was read is where the link led.
        ("down", "b"),
    ] {
        assert!(did.contains(&(deed.to_owned(), at(name))), "{deed} {name} is missing: {files:#}");
    }
    assert!(files["failed"].is_null() && files["unfinished"].is_null(), "{files:#}");
}

#[test]
fn rsync_goes_both_ways_as_a_command() {
    let world = World::shared();
    let tech = world.person("tech");
    if !is_there("rsync") {
        println!("skipped: there is no rsync on this machine");
        return;
    }
    let Place { here, there } = place(&world, "rsync");
    tree(&here.join("tree"));
    let rsh = format!("ssh -F {} -o BatchMode=yes", tech.ssh_config().display());
    let rsync = |from: &OsStr, to: &OsStr| {
        let mut rsync = std::process::Command::new("rsync");
        rsync.env_remove("SSH_AUTH_SOCK").args(["-a", "-e", &rsh]).arg(from).arg(to);
        run(&mut rsync, b"").unwrap().must()
    };
    rsync(here.join("tree").as_os_str(), &on_device(&there));
    must_be_the_same_tree(&here.join("tree"), &there.join("tree"));
    rsync(&on_device(&there.join("tree")), here.join("back").as_os_str());
    must_be_the_same_tree(&here.join("tree"), &here.join("back/tree"));
}

#[test]
fn an_interrupted_copy_is_taken_up_where_it_stopped() {
    let world = World::shared();
    let tech = world.person("tech");
    let Place { here, there } = place(&world, "resume");
    let whole = noise(3_000_000);
    for (command, from, to) in [("reput", &here, &there), ("reget", &there, &here)] {
        fs::write(from.join("whole"), &whole).unwrap();
        fs::write(to.join("part"), &whole[..1_234_567]).unwrap();
        let batch = format!("{command} {} {}\n", from.join("whole").display(), to.join("part").display());
        sftp(&tech, DEVICE, &batch).must();
        assert!(fs::read(to.join("part")).unwrap() == whole, "{command}");
        fs::remove_file(from.join("whole")).unwrap();
        fs::remove_file(to.join("part")).unwrap();
    }
}

#[test]
fn names_that_are_no_text_are_copied_and_recorded_harmlessly() {
    let world = World::shared();
    let tech = world.person("tech");
    let Place { here, there } = place(&world, "names");
    let names: [&[u8]; 4] = [b"caf\xe9", b"two\nlines", b"\x1b[2Jgone", "right\u{202e}left".as_bytes()];
    fs::create_dir(here.join("odd")).unwrap();
    for name in names {
        fs::write(here.join("odd").join(OsStr::from_bytes(name)), name).unwrap();
    }
    scp(&tech, &["-r"], here.join("odd"), on_device(&there)).must();
    for name in names {
        assert_eq!(fs::read(there.join("odd").join(OsStr::from_bytes(name))).unwrap(), name);
    }
    let back = here.join("back");
    scp(&tech, &["-r"], on_device(&there.join("odd")), &back).must();
    for name in names {
        assert_eq!(fs::read(back.join(OsStr::from_bytes(name))).unwrap(), name);
    }
    let files =
        files_of(&tech, |files| deeds(files).iter().any(|(did, path)| did == "up" && path.ends_with(r"caf\xe9")));
    let paths: Vec<String> = deeds(&files).into_iter().map(|(_, path)| path).collect();
    for shown in [r"two\nlines", r"\x1b[2Jgone", r"right\u{202e}left"] {
        assert!(paths.iter().any(|path| path.ends_with(shown)), "{shown} is missing: {files:#}");
    }
    // A link is followed to what it names, and the record says what was read.
    symlink("/etc/hostname", there.join("innocent")).unwrap();
    scp(&tech, &[], on_device(&there.join("innocent")), here.join("host")).must();
    let real = fs::canonicalize("/etc/hostname").unwrap().display().to_string();
    files_of(&tech, |files| deeds(files) == [("down".into(), real.clone())]);
}

#[test]
fn the_lists_of_people_show_what_moved() {
    let world = World::shared();
    let tech = world.person("tech");
    let Place { here, there } = place(&world, "shown");
    fs::write(here.join("a"), vec![b'x'; 1_234_567]).unwrap();
    scp(&tech, &[], here.join("a"), on_device(&there.join("a"))).must();
    let line = "1 up (1,234,567 bytes)";
    assert!(tech.gw("sessions --device web1.acme").must().out().contains(line));
    let rows = tech.gw("sessions --device web1.acme --json").json();
    assert!(rows.as_array().unwrap().iter().any(|row| row["kind"] == "sftp" && row["files"] == line), "{rows:#}");
    let entry = ended(&tech, |entry| entry["files"]["up_bytes"] == 1_234_567);
    assert_eq!((&entry["exit"], &entry["device"]), (&0.into(), &"web1".into()));
    let shown = tech.gw("log tail acme --limit 50").must().out();
    assert!(shown.contains("session.ended") && shown.contains("up_bytes"), "{shown}");
}
