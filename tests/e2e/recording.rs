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

/// What terminals are tested with: cursor addressing, margins and origin, insertion and deletion, tabs, wide and double-sized
/// characters, line drawing, controls of one byte above 127 (alone and as UTF-8), questions about settings and answers to none,
/// modes of mouse and paste, both screens.
const TERMINAL_TEST: [&str; 6] = [
    r"i=1; while [ $i -le 24 ]; do printf '\033[%d;%dH*\033[%d;%df+' $i $i $((25-i)) $((80-i)); i=$((i+1)); done; printf '\033[5A\033[3B\033[9C\033[2D\033[G\0337\033[H\033[J\0338'",
    r"printf '\033[5;20r\033[?6h\033[1;1H'; seq 40; printf '\033D\033M\033E\033[3L\033[2M\033[4@\033[2P\033[3X\033[2S\033[T\033[?6l\033[r\033[?7l'; printf '%0200d' 7; printf '\033[?7h\033[4hins\033[4l'",
    r"printf '\033[3g\033[10G\033H\r\tx\033[Z\033[g\n\344\275\240\345\245\275 \360\237\246\200 e\314\201\n\033#6wide\n\033#3top\n\033#4bottom\n\033#5\033#8\033(0lqqk\033(B\016x\017\033*A\033n\033o'",
    r"printf '\233H\2332J\204\205\215\210\231\302\2332J\302\205\302\233\061m\220$qm\234\235\060;t\234\236pm\234\237apc\234\230sos\234\232\216\217'",
    r#"printf '\033P$q"p\033\\\033P$qr\033\\\033P+q544e\033\\\033[c\033[>c\033[6n\033[?6n\033[x\005\033[18t\033]52;c;eA==\007\033]4;1;?\007\033_apc\033\\\033^pm\033\\\033Xsos\033\\'"#,
    r"printf '\033[?47h\033[?1047h\033[?1049h\033[?1000h\033[?1006h\033[?2004h\033[?25l\033[?1;5h\033=\033>\033[!p\033c\033[?1049l\033[?25h\033[38;2;1;2;3m\033[48:5:9m\033[0m\n'",
];

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
        assert_eq!(recorded.header()["belay"].get("ticket"), Some(&Value::Null), "none was given");
        assert_eq!(recorded.header()["env"].get("TERM").is_some(), words.len() == 2);
    }
}

#[test]
fn a_recording_is_byte_for_byte_what_came_and_stock_tools_open_it() {
    let world = World::of(Plan::small());
    same(&world, "echo hello");
    same(&world, NOISE);
    same(&world, SCREEN);
    TERMINAL_TEST.iter().for_each(|part| same(&world, part));
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
        "echo rea''dy; cat >/dev/null; stty -echo; echo dark; read -r word; stty echo; echo light; read -r line",
    ]);
    let mut terminal = Terminal::open(&ssh, 100, 30).unwrap();
    // What is typed before is read by the terminal here, which is not raw yet.
    terminal.see("ready").unwrap();
    terminal.keys("in the light\n").unwrap();
    // Shown, and so judged, before the program goes on and switches its echo off.
    terminal.see("in the light").unwrap();
    terminal.keys("\u{4}").unwrap();
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
fn a_terminal_whose_window_changes_in_the_middle_gets_what_is_recorded() {
    let world = World::of(Plan::small());
    let tech = world.person("tech");
    let test = TERMINAL_TEST.join("; ");
    let resized = "stty -echo; trap 'echo changed $(stty size)' WINCH; echo rea''dy";
    let waited = "until [ \"$(stty size)\" = '50 132' ]; do sleep 0.1; done; read -r line";
    let command = format!("{resized}; {test}; echo fi''rst; {waited}; {test}; tput cols 2>/dev/null; echo last $line");
    let mut ssh = tech.ssh_command();
    // Quiet: what the client says itself is no part of the session.
    ssh.args(["-q", "-o", "ControlPath=none", "-tt", "--", "web1.acme", &command]);
    let mut terminal = Terminal::open(&ssh, 80, 24).unwrap();
    terminal.see("ready").unwrap();
    terminal.see("first").unwrap();
    for (columns, rows) in [(200, 10), (1, 1), (132, 50)] {
        terminal.resize(columns, rows).unwrap();
    }
    terminal.see("changed 50 132").unwrap();
    terminal.keys("word\n").unwrap();
    terminal.see("last word").unwrap();
    let received = terminal.all(GENEROUS).unwrap();
    let recorded = Recorded::of(&world, "tech", &newest(&tech, "acme"));
    let shown = recorded.asciinema_cat();
    assert!(shown == received, "{} bytes came, {} are recorded", received.len(), shown.len());
    assert!(recorded.text().contains("\"r\", \"132x50\"]"), "{}", recorded.text());
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
fn a_session_ends_with_its_gateway_and_the_next_one_gets_the_whole_recording() {
    let world = World::of(Plan::small());
    let tech = world.person("tech");
    let mut ssh = tech.ssh_command();
    ssh.args(["-t", "--", "web1.acme", "echo be''gun; exec cat"]);
    let mut terminal = Terminal::open(&ssh, 80, 24).unwrap();
    terminal.see("begun").unwrap();
    world.kill_gateway();
    terminal.keys("into the void\n").unwrap();
    // The way to the machine leads through the gateway: with it gone the session is, and what was recorded is kept for it. What a
    // gateway that goes on and keeps nothing can do: `hacked_gateway`.
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
