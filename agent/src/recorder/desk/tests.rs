//! The desk when the disk fails: nothing is answered or sent that is not durable, and it goes on when the disk does.

mod runs;

use super::*;
use crate::testbed::{Machine, Tenant, ended, intent};
use std::fs::File;

fn prove(n: u8) -> (Call, oneshot::Receiver<Result<Permission, NoProof>>) {
    let (answer, answered) = oneshot::channel();
    (Call::Prove { intent: Box::new(intent(n)), answer }, answered)
}

fn report(n: u8) -> (Call, oneshot::Receiver<Result<(), NotKept>>) {
    let (answer, answered) = oneshot::channel();
    (Call::Report { body: Box::new(ended(n)), answer }, answered)
}

fn sent(link: &mut mpsc::Receiver<ToGateway>) -> Option<StatementMade> {
    match link.try_recv().ok()? {
        ToGateway::StatementMade(made) => Some(made),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_full_disk_starts_nothing_and_is_survived() {
    let mut tenant = Tenant::new("acme");
    let machine = Machine::joined(&tenant);
    let authority = machine.approved(&tenant);
    let path = machine.dir.at("outbox");
    let mut desk = Desk::new(Outbox::open(path.clone()).unwrap(), authority.clone(), machine.host_key.clone());
    let (link, mut heard) = mpsc::channel(8);
    let mut full = File::open(&path).unwrap();

    desk.outbox.swap_file(&mut full);
    let ((proving, mut proof), (reporting, mut kept)) = (prove(1), report(2));
    desk.round(vec![Call::Connected(link), proving, reporting], Vec::new());
    assert!(matches!(proof.try_recv().unwrap(), Err(NoProof::Broken(_))));
    assert!(matches!(kept.try_recv().unwrap(), Err(NotKept::Broken(_))));
    assert!(sent(&mut heard).is_none());

    desk.outbox.swap_file(&mut full);
    let (proving, mut proof) = prove(3);
    desk.round(vec![proving], Vec::new());
    let made = sent(&mut heard).unwrap();
    assert_eq!(made.seq, 1, "what failed took no number");

    // The receipt is true, and its head cannot be kept: so it permits nothing, and is asked for again.
    let at = tenant.log.record(&made);
    desk.outbox.swap_file(&mut full);
    desk.round(vec![Call::Receipt(Box::new(tenant.log.receipt(at, 0)))], Vec::new());
    assert!(matches!(proof.try_recv().unwrap(), Err(NoProof::Broken(_))));
    assert!(desk.outbox.view().kept("gw.example/acme").is_none());
    desk.outbox.swap_file(&mut full);
    assert!(desk.wake_at().is_some());
    desk.delivery.hurry(0);
    desk.round(Vec::new(), Vec::new());
    assert_eq!(sent(&mut heard).unwrap().text, made.text);
    desk.round(vec![Call::Receipt(Box::new(tenant.log.receipt(at, 0)))], Vec::new());
    assert_eq!(Outbox::open(path).unwrap().chain().pending_count(), 0);
}

#[tokio::test]
async fn the_end_of_a_session_survives_a_full_disk() {
    let tenant = Tenant::new("acme");
    let machine = Machine::joined(&tenant);
    let authority = machine.approved(&tenant);
    let path = machine.dir.at("outbox");
    let open = || Desk::new(Outbox::open(path.clone()).unwrap(), authority.clone(), machine.host_key.clone());
    let mut desk = open();
    let (link, _heard) = mpsc::channel(8);
    let (one, two, three) = (prove(1), prove(2), prove(3));
    desk.round(vec![Call::Connected(link), one.0, two.0, three.0], Vec::new());
    let mut full = File::open(&path).unwrap();
    let open_sessions = |desk: &Desk| [1, 2, 3].map(|n| desk.outbox.chain().is_open(Id([n; 16])));

    // One session ended, one was given up; the third was left behind when the agent stopped on the full disk.
    desk.outbox.swap_file(&mut full);
    let (reporting, mut kept) = report(1);
    desk.round(
        vec![Call::Disconnected, reporting],
        vec![Abandoned { session: Id([2; 16]), reason: "late".to_owned() }],
    );
    assert!(matches!(kept.try_recv().unwrap(), Err(NotKept::Broken(_))));
    assert_eq!(open_sessions(&desk), [true; 3]);
    assert!(desk.wake_at().unwrap() > Instant::now(), "tried again, not at once, though there is no connection");
    desk.round(Vec::new(), Vec::new());
    desk.outbox.swap_file(&mut full);
    desk.round(Vec::new(), Vec::new());
    assert_eq!(open_sessions(&desk), [false, false, true]);
    assert_eq!(desk.wake_at(), None);
    let said = |desk: &Desk| -> Vec<Body> {
        let texts = desk.outbox.chain().pending().map(|made| made.statement.text.clone());
        texts.map(|text| Statement::parse(text.as_bytes()).unwrap().body).collect()
    };
    assert_eq!(said(&desk)[3], ended(1), "word for word, and once");
    assert_eq!(said(&desk).len(), 5);

    drop(desk);
    let mut desk = open();
    assert!(desk.wake_at().unwrap() <= Instant::now());
    desk.outbox.swap_file(&mut full);
    desk.round(Vec::new(), Vec::new());
    desk.outbox.swap_file(&mut full);
    desk.round(Vec::new(), Vec::new());
    assert_eq!(open_sessions(&desk), [false; 3]);
    assert_eq!(said(&desk).len(), 6);
}

#[tokio::test]
async fn a_desk_that_dies_after_the_write_and_before_the_answer_left_it_all_on_disk() {
    let tenant = Tenant::new("acme");
    let machine = Machine::joined(&tenant);
    let authority = machine.approved(&tenant);
    let path = machine.dir.at("outbox");
    let open = || Desk::new(Outbox::open(path.clone()).unwrap(), authority.clone(), machine.host_key.clone());
    let mut desk = open();
    let (link, _heard) = mpsc::channel(8);
    let (proving, proof) = prove(1);
    desk.round(vec![Call::Connected(link), proving], Vec::new());
    drop((desk, proof));
    let mut desk = open();
    desk.round(Vec::new(), Vec::new());
    let said: Vec<_> = desk.outbox.chain().pending().map(|made| (made.seq, made.what, made.session)).collect();
    assert_eq!(said, [(1, What::Opened, Id([1; 16])), (2, What::Ended, Id([1; 16]))]);
}
