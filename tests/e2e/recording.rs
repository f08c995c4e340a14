//! What sessions show is recorded byte for byte, and stock tools open, check and play it: `age`, `zstd`, `sha256sum`, `ssh-keygen`,
//! `asciinema`.

#[path = "parts/changed.rs"]
mod changed;
#[path = "parts/policies.rs"]
mod policies;
#[path = "parts/recorded.rs"]
mod recorded;

use belay_tests::{Plan, Terminal, World, run, wait::GENEROUS};
use recorded::{Recorded, newest};
use serde_json::Value;
use std::{fs, process::Command, time::Duration};

/// Bytes that are no text in any encoding, made on the machine.
const NOISE: &str = "head -c 200000 /dev/urandom";
/// What a full-screen program says: colours, cursor, alternate screen, split characters.
const SCREEN: &str = r"printf '\033[?1049h\033[2J\033[1;31mGr\303\274\303\237e\033[0m\r\n'; printf '\342\202'; printf '\254 \360\237'; printf '\246\200\377\000\033]0;title\007\033[?1049l'";

fn readable(world: &World) {
    changed::change(world, "web1.acme", |text| {
        let lines = text.lines().map(|line| match line.starts_with("to = [\"age1") {
            true => "readable_by_gateway = true\ninput = true",
            false => line,
        });
        lines.map(|line| format!("{line}\n")).collect()
    });
}

/// Runs a command with a terminal and without, and sees that its recording is what came.
#[track_caller]
fn same(world: &World, command: &str) {
    let tech = world.person("tech");
    let whole = format!("{command}; exit 0");
    for words in [vec!["--"], vec!["-tt", "--"]] {
        let mut ssh = tech.ssh_command();
        let said = run(ssh.args(&words).args(["web1.acme", &whole]), b"").unwrap().must();
        let recorded = Recorded::of(world, "tech", &newest(&tech, "acme"));
        let shown = recorded.asciinema_cat();
        assert!(!said.stdout.is_empty());
        assert!(
            shown == said.stdout,
            "{words:?} {command}: {} bytes came, {} are recorded",
            said.stdout.len(),
            shown.len()
        );
        assert_eq!(recorded.header()["belay"]["command"], whole);
        assert_eq!(recorded.header()["env"].get("TERM").is_some(), words.len() == 2);
    }
}

#[test]
fn a_recording_is_byte_for_byte_what_came_and_stock_tools_open_it() {
    let world = World::of(Plan::small());
    same(&world, "echo hello");
    same(&world, NOISE);
    same(&world, SCREEN);
    readable(&world);
    same(&world, NOISE);
    same(&world, "seq 1000000");
    let tech = world.person("tech");
    let said = tech.ssh("web1.acme", "echo out; echo err >&2").must();
    let both = Recorded::of(&world, "tech", &newest(&tech, "acme")).asciinema_cat();
    assert_eq!(both.len(), said.stdout.len() + said.stderr.len());
    assert!(both.windows(4).any(|window| window == b"err\n"), "what came on standard error is there too");
}

#[test]
fn a_shell_is_recorded_with_its_sizes_and_without_what_is_typed_in_the_dark() {
    let world = World::of(Plan::small());
    readable(&world);
    let tech = world.person("tech");
    let mut ssh: Command = tech.ssh_command();
    ssh.args([
        "-t",
        "--",
        "web1.acme",
        "cat >/dev/null; stty -echo; echo dark; read -r word; stty echo; echo light; read -r line",
    ]);
    let mut terminal = Terminal::open(&ssh, 100, 30).unwrap();
    terminal.keys("in the light\n\u{4}").unwrap();
    terminal.see("dark").unwrap();
    terminal.keys("very secret\n").unwrap();
    terminal.see("light").unwrap();
    terminal.resize(132, 43).unwrap();
    terminal.keys("typed again\n").unwrap();
    assert_eq!(terminal.ended(GENEROUS).unwrap().code(), Some(0));
    let recorded = Recorded::of(&world, "tech", &newest(&tech, "acme"));
    assert_eq!((&recorded.header()["width"], &recorded.header()["height"]), (&Value::from(100), &Value::from(30)));
    let text = recorded.text();
    assert!(text.contains("\"r\", \"132x43\"]"), "{text}");
    assert!(text.contains("\"i\", \"in the light") && text.contains("\"i\", \"typed again"), "{text}");
    assert!(!text.contains("very secret"), "{text}");
}

#[test]
fn a_file_session_is_recorded_by_its_deeds() {
    let world = World::of(Plan::small());
    let tech = world.person("tech");
    let (from, to) = (world.dir().join("from"), world.dir().join("to"));
    fs::write(&from, "what a file holds").unwrap();
    let mut scp = tech.copier("scp");
    let target = format!("web1.acme:{}", to.display());
    run(scp.arg(&from).arg(&target), b"").unwrap().must();
    let text = Recorded::of(&world, "tech", &newest(&tech, "acme")).text();
    assert!(text.contains("\"m\", ") && text.contains(&format!("opened to write {}", to.display())), "{text}");
    assert!(text.contains("closed, 17 bytes") && !text.contains("what a file holds"), "{text}");
}

#[test]
fn without_a_gateway_that_takes_it_output_stops_and_the_session_ends() {
    let world = World::of(Plan::small());
    let tech = world.person("tech");
    let mut ssh = tech.ssh_command();
    ssh.args(["-t", "--", "web1.acme", "echo be''gun; exec cat"]);
    let mut terminal = Terminal::open(&ssh, 80, 24).unwrap();
    terminal.see("begun").unwrap();
    world.kill_gateway();
    terminal.keys("into the void\n").unwrap();
    // The way to the machine leads through the gateway: with it gone the session is, and what was recorded is kept for it.
    assert!(!terminal.ended(Duration::from_secs(90)).unwrap().success());
    world.start_gateway().unwrap();
    let id = newest(&tech, "acme");
    let recorded = belay_tests::wait::until("the whole recording", GENEROUS, || {
        let recorded = Recorded::fetch(&world, "tech", &id)?;
        anyhow::ensure!(recorded.state() == "whole", "{}", recorded.state());
        Ok(recorded)
    });
    assert!(recorded.unwrap().text().contains("begun"));
}
