//! The question for a ticket, asked of a person made of text: answers, mistakes, leaving, and policies that change meanwhile.

use super::*;
use crate::testbed::{Machine, Tenant};
use belay_certs::policy::Action;
use std::sync::Arc;

const GRANT: &str = "\n[[grants]]\nwho = [\"alice\"]\non = [\"*\"]\ndo = [\"enrol\"]\n\
    [[grants]]\nwho = [\"alice\"]\non = [\"*\"]\ndo = [\"shell\"]\nas = [\"root\"]\nticket = \"INC-[0-9]+\"\n";

/// Types what it is given, then does `after`.
struct Typist {
    keys: std::collections::VecDeque<u8>,
    after: After,
    shown: String,
}

enum After {
    Leaves(Left),
    Waits,
}

impl Typist {
    fn new(keys: &str, after: After) -> Self {
        Self { keys: keys.bytes().collect(), after, shown: String::new() }
    }
}

impl Console for Typist {
    async fn show(&mut self, text: &str) -> Result<(), Left> {
        self.shown += text;
        Ok(())
    }

    async fn typed(&mut self) -> Result<u8, Left> {
        match (self.keys.pop_front(), &self.after) {
            (Some(byte), _) => Ok(byte),
            (None, After::Leaves(left)) => Err(*left),
            (None, After::Waits) => std::future::pending().await,
        }
    }
}

struct Door {
    tenant: Tenant,
    _machine: Machine,
    standing: Standing,
}

fn door() -> Door {
    let mut tenant = Tenant::new("acme");
    tenant.found(|draft| draft.grants = GRANT);
    let machine = Machine::joined(&tenant);
    let authority = machine.approved(&tenant);
    let (key, account) = (tenant.alice.public().clone(), "root".parse().unwrap());
    let standing = Standing { authority, key, account, action: Action::Shell, ticket: None };
    Door { tenant, _machine: machine, standing }
}

async fn asked(door: &mut Door, typist: &mut Typist) -> Result<Grant, String> {
    ask(&"web1.acme".parse().unwrap(), typist, &mut door.standing).await
}

#[tokio::test]
async fn the_answer_is_what_is_decided_with() {
    let (mut door, mut typist) = (door(), Typist::new("INC-17\rls\r", After::Waits));
    asked(&mut door, &mut typist).await.unwrap();
    assert_eq!(door.standing.ticket.as_deref(), Some("INC-17"));
    assert_eq!(typist.shown, "ticket for web1.acme (INC-[0-9]+): INC-17\r\n");
    assert_eq!(typist.keys, b"ls\r", "what was typed ahead is the shell's");
}

#[tokio::test]
async fn a_mistake_is_told_and_asked_again_and_the_third_ends_it() {
    let (mut door, mut typist) = (door(), Typist::new("CHG-1\r\rINC-\rINC-4\r", After::Waits));
    let refused = asked(&mut door, &mut typist).await.unwrap_err();
    assert!(refused.contains("the ticket is not like INC-[0-9]+"), "{refused}");
    assert_eq!(typist.shown.matches("ticket for web1.acme").count(), 3);
    assert_eq!(typist.shown.matches("that is no ticket like INC-[0-9]+").count(), 2);
    assert_eq!(door.standing.ticket.as_deref(), Some("INC-"));
    assert_eq!(typist.keys, b"INC-4\r");
}

#[tokio::test]
async fn who_leaves_gets_nothing_and_the_record_says_so() {
    for (keys, after, words) in [
        ("INC-1\u{3}", After::Waits, "no ticket was given: the grant at line"),
        ("\u{4}", After::Waits, "no ticket was given: the grant at line"),
        ("INC", After::Leaves(Left::Interrupted), "no ticket was given: the grant at line"),
        ("INC", After::Leaves(Left::Closed), "the client left without giving a ticket"),
    ] {
        let (mut door, mut typist) = (door(), Typist::new(keys, after));
        let refused = asked(&mut door, &mut typist).await.unwrap_err();
        assert!(refused.starts_with(words), "{keys:?}: {refused}");
        assert_eq!(door.standing.ticket, None);
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_answer_is_refused_after_the_time_for_it() {
    let (mut door, mut typist) = (door(), Typist::new("INC-", After::Waits));
    let began = tokio::time::Instant::now();
    let refused = asked(&mut door, &mut typist).await.unwrap_err();
    assert!(refused.starts_with("no ticket was given in time: the grant at line"), "{refused}");
    assert_eq!(began.elapsed().as_secs(), TICKET_WAIT.as_secs());
}

#[tokio::test]
async fn hostile_keys_show_nothing_but_letters_and_grant_nothing() {
    let keys = "\u{1b}]0;owned\u{7}\u{202e}INC-\u{661}\r".to_owned() + &"9".repeat(10_000) + "\r\u{9b}2J\u{0}\r";
    let (mut door, mut typist) = (door(), Typist::new(&keys, After::Waits));
    asked(&mut door, &mut typist).await.unwrap_err();
    assert!(typist.shown.bytes().all(|b| b.is_ascii_graphic() || b" \r\n\x07".contains(&b)), "{:?}", typist.shown);
    assert!(door.standing.ticket.unwrap().len() <= TICKET_BYTES_MAX);
}

/// Makes `change` the next version while the person thinks.
async fn asked_while(change: &'static str, keys: &str) -> (Result<Grant, String>, String) {
    let mut door = door();
    let mut typist = Typist::new(keys, After::Waits);
    let next = door.tenant.publish(|draft| draft.grants = change);
    let (authority, name) = (Arc::clone(&door.standing.authority), door.tenant.name());
    let asking = async {
        let result = asked(&mut door, &mut typist).await;
        (result, typist.shown)
    };
    let changing = async {
        tokio::task::yield_now().await;
        authority.take_policy(&name, &next).unwrap();
    };
    tokio::join!(asking, changing).0
}

#[tokio::test]
async fn a_policy_that_wants_no_ticket_any_more_lets_the_person_in() {
    let open = "\n[[grants]]\nwho = [\"alice\"]\non = [\"*\"]\ndo = [\"shell\"]\nas = [\"root\"]\n";
    asked_while(open, "IN").await.0.unwrap();
}

#[tokio::test]
async fn a_policy_that_grants_nothing_any_more_ends_the_question() {
    let closed = "\n[[grants]]\nwho = [\"alice\"]\non = [\"*\"]\ndo = [\"files\"]\nas = [\"root\"]\n";
    let (result, _) = asked_while(closed, "IN").await;
    assert!(result.unwrap_err().contains("no grant gives alice `shell`"));
}

#[tokio::test]
async fn a_policy_that_wants_another_ticket_asks_for_that_one() {
    let other =
        "\n[[grants]]\nwho = [\"alice\"]\non = [\"*\"]\ndo = [\"shell\"]\nas = [\"root\"]\nticket = \"CHG-[0-9]+\"\n";
    let mut door = door();
    let next = door.tenant.publish(|draft| draft.grants = other);
    let (authority, name) = (Arc::clone(&door.standing.authority), door.tenant.name());
    // INC-1 without Enter, then the change; what was typed before it is forgotten.
    let mut typist = Typist::new("INC-1", After::Waits);
    let asking = asked(&mut door, &mut typist);
    let asked_again = tokio::time::timeout(std::time::Duration::from_millis(50), async {
        tokio::join!(asking, async { authority.take_policy(&name, &next).unwrap() }).0
    });
    assert!(asked_again.await.is_err(), "it goes on asking");
    assert!(typist.shown.ends_with("\r\nticket for web1.acme (CHG-[0-9]+): "), "{:?}", typist.shown);
}
