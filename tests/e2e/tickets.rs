//! A grant that wants a ticket: sent by the client for each channel, asked for on a terminal, and never guessed.

#[path = "parts/changed.rs"]
mod changed;
#[path = "parts/granted.rs"]
mod granted;
#[path = "parts/policies.rs"]
mod policies;
#[path = "parts/recorded.rs"]
mod recorded;

use belay_tests::{
    Person, Said, Terminal, World, run,
    wait::{GENEROUS, until},
};
use recorded::{Recorded, newest};
use serde_json::Value;
use std::process::Command;

const REFUSED: i32 = 254;
const PROMPT: &str = "ticket for web1.acme (INC-[0-9]+): ";

/// A guest whose shells on web1 want a ticket.
fn world() -> (World, Person) {
    let world = World::small();
    let account = world.account().to_owned();
    let guest = world.add_person("acme", "guest", &["--do", "shell", "--as", &account]).unwrap();
    changed::change(&world, "web1.acme", |text| granted::add_to_grant(text, "guest", "ticket = \"INC-[0-9]+\""));
    (world, guest)
}

/// What is in the log of the guest's sessions of one kind.
fn entries(world: &World, kind: &str) -> Vec<Value> {
    let all = world.person("tech").log("acme");
    all.into_iter().filter(|entry| entry["type"] == kind && entry["person"] == "guest").collect()
}

/// Waits until the guest has been refused `count` times, and gives back the refusals.
#[track_caller]
fn refusals(world: &World, count: usize) -> Vec<Value> {
    until("the refusals in the log", GENEROUS, || {
        let refused = entries(world, "session.refused");
        anyhow::ensure!(refused.len() >= count, "{refused:#?}");
        Ok(refused)
    })
    .unwrap()
}

/// What the header of a session's recording says of its ticket; and it is the recording of what was `shown`.
#[track_caller]
fn recorded_ticket(world: &World, session: &str, shown: &str) -> Value {
    let recorded = Recorded::of(world, "tech", session);
    assert_eq!(String::from_utf8_lossy(&recorded.asciinema_cat()), shown);
    recorded.header()["belay"]["ticket"].clone()
}

fn with_ticket(person: &Person, ticket: &str, command: &str) -> Said {
    let mut ssh = person.ssh_command();
    ssh.env("BELAY_TICKET", ticket).args(["--", "web1.acme", command]);
    run(&mut ssh, b"").unwrap()
}

/// An interactive shell at a terminal.
fn shell(person: &Person, ticket: Option<&str>) -> Terminal {
    let mut ssh: Command = person.ssh_command();
    if let Some(ticket) = ticket {
        ssh.env("BELAY_TICKET", ticket);
    }
    ssh.args(["--", "web1.acme"]);
    Terminal::open(&ssh, 80, 24).unwrap()
}

#[test]
fn a_command_without_the_right_ticket_is_refused_once_and_told_how() {
    let (world, guest) = world();
    let mark = world.dir().join("ran");
    let touch = format!("touch {}", mark.display());
    let words = ["wants a ticket like INC-[0-9]+", "SendEnv=BELAY_TICKET", "belay config", "set_environment_variable"];
    let said = guest.ssh("web1.acme", &touch).must_refuse(REFUSED, &words);
    assert_eq!(said.err().trim().lines().count(), 1, "{}", said.story());
    with_ticket(&guest, "CHG-1", &touch).must_refuse(REFUSED, &["the ticket is not like INC-[0-9]+"]);
    // A terminal alone is no person: tools ask for one too, and nobody would answer them.
    let mut tool = guest.ssh_command();
    run(tool.args(["-tt", "--", "web1.acme", &touch]), b"").unwrap().must_refuse(REFUSED, &[]);
    assert!(!mark.exists());
    let refused = refusals(&world, 3);
    assert_eq!(refused.len(), 3, "{refused:#?}");
    assert_eq!(refused[1]["ticket"], "CHG-1");
    with_ticket(&guest, "INC-42", &touch).must();
    assert!(mark.exists());
    assert_eq!(entries(&world, "session.opened")[0]["ticket"], "INC-42");
    assert_eq!(recorded_ticket(&world, &newest(&world.person("tech"), "acme"), ""), "INC-42");
}

#[test]
fn each_channel_of_one_connection_has_its_own_ticket() {
    let (world, guest) = world();
    let control = format!("ControlPath={}", world.dir().join("live").display());
    let on = |ticket: Option<&str>, more: &[&str], command: &str| {
        let mut ssh = guest.ssh_command();
        if let Some(ticket) = ticket {
            ssh.env("BELAY_TICKET", ticket);
        }
        ssh.args(["-o", &control]).args(more).args(["--", "web1.acme", command]);
        run(&mut ssh, b"").unwrap()
    };
    let say = "echo \"<$BELAY_TICKET>\"";
    assert_eq!(
        on(Some("INC-1"), &["-o", "ControlMaster=yes", "-o", "ControlPersist=60"], say).must().out(),
        "<INC-1>\n"
    );
    assert_eq!(on(Some("INC-2"), &[], say).must().out(), "<INC-2>\n");
    on(None, &[], say).must_refuse(REFUSED, &["wants a ticket"]);
    on(Some("x"), &[], say).must_refuse(REFUSED, &["the ticket is not like"]);
    assert_eq!(on(Some("INC-3"), &[], say).must().out(), "<INC-3>\n");
    run(guest.ssh_command().args(["-o", &control, "-O", "exit", "web1.acme"]), b"").unwrap();
    let opened = entries(&world, "session.opened");
    let tickets: Vec<_> = opened.iter().map(|entry| entry["ticket"].as_str().unwrap()).collect();
    assert_eq!(tickets, ["INC-1", "INC-2", "INC-3"]);
    assert_eq!(opened[0]["access"], opened[2]["access"], "they were not on one connection: {opened:#?}");
    for (entry, ticket) in opened.iter().zip(tickets) {
        let session = entry["session"].as_str().unwrap();
        assert_eq!(recorded_ticket(&world, session, &format!("<{ticket}>\n")), ticket);
    }
}

#[test]
fn an_interactive_shell_is_asked_and_the_answer_is_recorded_before_it_starts() {
    let (world, guest) = world();
    let mut terminal = shell(&guest, None);
    terminal.see(PROMPT).unwrap();
    assert!(entries(&world, "session.opened").is_empty(), "something started before the ticket");
    terminal.keys("INC-7x\u{7f}7\r").unwrap();
    terminal.keys("echo \"<$BELAY_TICKET>\"; exit 3\n").unwrap();
    terminal.see("<INC-77>").unwrap();
    assert_eq!(terminal.ended(GENEROUS).unwrap().code(), Some(3));
    let opened = entries(&world, "session.opened");
    assert_eq!((opened.len(), &opened[0]["ticket"]), (1, &Value::from("INC-77")));
    let recorded = Recorded::of(&world, "tech", &newest(&world.person("tech"), "acme"));
    assert_eq!(recorded.header()["belay"]["ticket"], "INC-77");
    assert!(entries(&world, "session.refused").is_empty());
}

#[test]
fn a_wrong_ticket_is_asked_for_three_times_and_refused_once() {
    let (world, guest) = world();
    let mut terminal = shell(&guest, Some("CHG-9"));
    for answer in ["INC-", "\u{1b}]0;x\u{7}", "inc-1"] {
        terminal.see(PROMPT).unwrap();
        terminal.keys(&format!("{answer}\r")).unwrap();
    }
    terminal.see("the ticket is not like INC-[0-9]+").unwrap();
    assert_eq!(terminal.ended(GENEROUS).unwrap().code(), Some(REFUSED));
    let refused = refusals(&world, 1);
    assert_eq!((refused.len(), &refused[0]["ticket"]), (1, &Value::from("inc-1")), "{refused:#?}");
    assert!(entries(&world, "session.opened").is_empty());
}

#[test]
fn who_leaves_the_question_is_refused_once_and_nothing_starts() {
    let (world, guest) = world();
    for (count, leave) in ["\u{3}", "\u{4}"].into_iter().enumerate() {
        let mut terminal = shell(&guest, None);
        terminal.see(PROMPT).unwrap();
        terminal.keys(leave).unwrap();
        terminal.see("no ticket was given").unwrap();
        assert_eq!(terminal.ended(GENEROUS).unwrap().code(), Some(REFUSED));
        refusals(&world, count + 1);
    }
    let terminal = shell(&guest, None);
    terminal.see(PROMPT).unwrap();
    drop(terminal);
    let refused = refusals(&world, 3);
    let reasons: Vec<_> = refused.iter().map(|entry| entry["reason"].as_str().unwrap().to_owned()).collect();
    assert!(reasons[2].contains("before a ticket was given") || reasons[2].contains("the client left"), "{reasons:?}");
    assert!(entries(&world, "session.opened").is_empty());
}

#[test]
fn a_policy_that_changes_under_the_question_counts_at_once() {
    let (world, guest) = world();
    let mut terminal = shell(&guest, None);
    terminal.see(PROMPT).unwrap();
    changed::change(&world, "web1.acme", |text| text.replace("INC-[0-9]+", "CHG-[0-9]+"));
    terminal.see("ticket for web1.acme (CHG-[0-9]+): ").unwrap();
    terminal.keys("CHG-5\recho \"<$BELAY_TICKET>\"\n").unwrap();
    terminal.see("<CHG-5>").unwrap();
    // The live shell is judged by its ticket too: a pattern that it does not fit any more ends it.
    changed::change(&world, "web1.acme", |text| text.replace("CHG-[0-9]+", "INC-[0-9]+"));
    terminal.see("this session was ended: the ticket is not like INC-[0-9]+").unwrap();
    terminal.ended(GENEROUS).unwrap();
    let mut terminal = shell(&guest, None);
    terminal.see(PROMPT).unwrap();
    world.remove_person("acme", "guest").unwrap();
    terminal.see("belay: ").unwrap();
    terminal.keys("INC-1\r").unwrap();
    assert!(!terminal.ended(GENEROUS).unwrap().success());
}

#[test]
fn hostile_tickets_are_judged_as_wrong_ones_and_recorded_harmlessly() {
    let (world, guest) = world();
    let hostile = [
        "INC-1\u{1b}]0;owned\u{7}".to_owned(),
        "INC-\u{202e}1".to_owned(),
        "INC-1\nINC-2".to_owned(),
        "INC-1 ".to_owned(),
        "INC-\u{661}".to_owned(),
        format!("INC-{}", "1".repeat(10_000)),
        "INC-1\u{9b}31m".to_owned(),
    ];
    for ticket in &hostile {
        with_ticket(&guest, ticket, "true").must_refuse(REFUSED, &["the ticket is not like INC-[0-9]+"]);
    }
    let refused = refusals(&world, hostile.len());
    for entry in &refused {
        let ticket = entry["ticket"].as_str().unwrap();
        assert!(ticket.len() <= 200, "{ticket:?}");
        let hides = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!ticket.contains(hides), "{ticket:?}");
    }
    // Where no ticket is wanted a hostile one is recorded as harmlessly, and reaches no program.
    let tech = world.person("tech");
    let said = with_ticket(&tech, &hostile[0], "echo \"<$BELAY_TICKET>\"").must();
    assert_eq!(said.out(), "<>\n");
}
