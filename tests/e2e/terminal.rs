//! A person at a real terminal: size and resizing, keys that are signals, UTF-8, full-screen programs, the environment.

use belay_tests::{Person, Terminal, World, wait::GENEROUS};
use std::process::Command;

/// What a shell shows when it is ready; spelled apart where it is typed, so that the echo is not taken for it.
const READY: &str = "<ready>";

fn on_terminal(person: &Person, command: &str) -> Terminal {
    let mut ssh: Command = person.ssh_command();
    ssh.args(["-t", "--", "web1.acme", command]);
    Terminal::open(&ssh, 80, 24).unwrap()
}

/// An interactive shell without the account's own start-up files.
fn shell(person: &Person) -> Terminal {
    let terminal = on_terminal(person, "PS1='<rea''dy>' exec bash --noprofile --norc -i");
    terminal.see(READY).unwrap();
    terminal
}

fn is_here(program: &str) -> bool {
    let here = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().status.success();
    if !here {
        println!("skipped: {program} is not installed");
    }
    here
}

#[test]
fn a_login_shell_opens_as_the_account_and_knows_person_and_session() {
    let world = World::shared();
    let mut ssh = world.person("tech").ssh_command();
    ssh.args(["--", "web1.acme"]);
    let mut terminal = Terminal::open(&ssh, 80, 24).unwrap();
    terminal.keys("echo \"<$(id -un) $BELAY_PERSON ${#BELAY_SESSION} $TERM $(tty)>\"\n").unwrap();
    terminal.see(&format!("<{} tech 32 xterm-256color /dev/pts/", world.account())).unwrap();
    terminal.keys("exit 5\n").unwrap();
    assert_eq!(terminal.ended(GENEROUS).unwrap().code(), Some(5));
}

#[test]
fn the_window_has_its_size_and_is_resized() {
    let world = World::shared();
    let mut terminal = shell(&world.person("tech"));
    terminal.keys("stty size\n").unwrap();
    terminal.see("24 80").unwrap();
    terminal.see(READY).unwrap();
    terminal.keys("trap 'echo \"si\"ze: $(stty size)' WINCH; echo \"trap\"ped\n").unwrap();
    terminal.see("trapped").unwrap();
    terminal.resize(132, 43).unwrap();
    // The trap runs when the shell gets to it: at the next line at the latest.
    terminal.keys("\n").unwrap();
    terminal.see("size: 43 132").unwrap();
    terminal.keys("exit\n").unwrap();
    terminal.ended(GENEROUS).unwrap();
}

#[test]
fn ctrl_c_interrupts_and_ctrl_z_suspends() {
    let world = World::shared();
    let mut terminal = shell(&world.person("tech"));
    terminal.keys("sh -c 'echo \"beg\"un; exec sleep 1000'\n").unwrap();
    terminal.see("begun").unwrap();
    terminal.keys("\u{3}").unwrap();
    terminal.see(READY).unwrap();
    terminal.keys("echo \"sta\"tus $?\n").unwrap();
    terminal.see("status 130").unwrap();
    terminal.see(READY).unwrap();
    terminal.keys("sh -c 'echo \"aga\"in; exec sleep 1000'\n").unwrap();
    terminal.see("again").unwrap();
    terminal.keys("\u{1a}").unwrap();
    terminal.see("Stopped").unwrap();
    terminal.see(READY).unwrap();
    terminal.keys("kill -KILL %1; exec true\n").unwrap();
    assert_eq!(terminal.ended(GENEROUS).unwrap().code(), Some(0));
}

#[test]
fn utf_8_passes_both_ways_unharmed() {
    let world = World::shared();
    let terminal_text = "Grüße, 世界, 🧗";
    let mut terminal = on_terminal(&world.person("tech"), "stty -echo; echo ready; read -r line; echo \"<$line>\"");
    terminal.see("ready").unwrap();
    terminal.keys(&format!("{terminal_text}\n")).unwrap();
    terminal.see(&format!("<{terminal_text}>")).unwrap();
    assert_eq!(terminal.ended(GENEROUS).unwrap().code(), Some(0));
}

#[test]
fn vim_edits_a_file() {
    if !is_here("vim") {
        return;
    }
    let world = World::shared();
    let file = world.dir().join("edited");
    let mut terminal = on_terminal(&world.person("tech"), &format!("vim -u NONE -n {}", file.display()));
    // The screen is drawn when the last line names the new file.
    terminal.see("edited").unwrap();
    terminal.keys("iwritten in vïm\u{1b}:wq\r").unwrap();
    assert_eq!(terminal.ended(GENEROUS).unwrap().code(), Some(0));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "written in vïm\n");
}

#[test]
fn top_draws_and_quits() {
    if !is_here("top") {
        return;
    }
    let world = World::shared();
    let mut terminal = on_terminal(&world.person("tech"), "top");
    terminal.see("load average").unwrap();
    terminal.see("PID").unwrap();
    terminal.keys("q").unwrap();
    assert_eq!(terminal.ended(GENEROUS).unwrap().code(), Some(0));
}

#[test]
fn a_closed_terminal_hangs_up_what_ran_on_it() {
    let world = World::shared();
    let mark = world.dir().join("hung-up");
    let tech = world.person("tech");
    let command =
        format!("trap 'echo gone > {}; exit' HUP; echo ready; while :; do read -r line; done", mark.display());
    let terminal = on_terminal(&tech, &command);
    terminal.see("ready").unwrap();
    drop(terminal);
    belay_tests::wait::until("the hang-up on the device", GENEROUS, || Ok(std::fs::read(&mark)?)).unwrap();
}
