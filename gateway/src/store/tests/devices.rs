//! A device's way from token to approval to revocation, and who may have which name, key and serial.

use super::fixtures::key;
use super::*;
use crate::store::{PendingWanted, RecordError};
use belay_certs::policy::{Policies, Step};
use belay_certs::{Digest, device, join, token};
use belay_rules::{DeviceState, Refusal};

async fn refusal(world: &World, ask: Ask) -> Refusal {
    match world.store.record(ask, now()).await {
        Err(RecordError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_machine_joins_and_is_approved_and_every_paper_is_kept() {
    let (world, acme, chain) = World::with_acme().await;
    let (document, issued) = world.issue(&acme, &chain, 1).await;
    let rows = world.store.tenant(&tenant()).unwrap();
    let token = rows.token(&Digest::of(&document.bytes)).await.unwrap().unwrap();
    let policies = Policies { tenant: &chain, imports: Vec::new() };
    token::check_issued(&policies, &token.signed, now()).unwrap();
    let (host_key, join) = (key("web1"), Id([7; 16]));
    world.record(redeem(&acme, &document, join, "web1", &host_key)).await;
    let pending = rows.pending(&PendingWanted { limit: 10, ..PendingWanted::default() }).await.unwrap();
    assert_eq!((pending.len(), pending[0].join, &pending[0].token), (1, join, &document));
    join::check(&pending[0].request, &issued, &pending[0].token.bytes).unwrap();
    let approvals = acme.approve(vec![record("web1", &host_key, 1)]);
    let ask = Ask::Approve { tenant: tenant(), approvals: approvals.clone(), by: ann(), over: Vec::new() };
    world.record(ask.clone()).await;
    assert_eq!(rows.approval(join).await.unwrap().unwrap(), approvals[0].1);
    assert_eq!(world.record(ask).await.outcome, Outcome::Again);
    let listed = rows.devices("", 10).await.unwrap();
    assert_eq!(
        (listed.len(), listed[0].state, listed[0].host_key().unwrap()),
        (1, DeviceState::Approved, host_key.public().clone())
    );
    let approved = listed[0].approved.as_ref().unwrap();
    assert_eq!(
        (approved.serial, approved.labels.as_slice(), &approved.by),
        (1, ["server".to_owned()].as_slice(), &ann())
    );
    assert_eq!(
        (
            rows.pending(&PendingWanted { limit: 10, ..PendingWanted::default() }).await.unwrap().len(),
            rows.highest_serial().await.unwrap()
        ),
        (0, 1)
    );
    let types = ["log.started", "policy.adopted", "token.issued", "device.pending", "device.approved"];
    assert_eq!(world.types(&acme_log()).await, types);
    // Policy, token and batch with a signature each, the request with two, the certificate.
    assert_eq!(world.check().await.objects, 10);
}

#[tokio::test]
async fn a_token_joins_as_many_machines_as_it_says_and_counts_none_twice() {
    let (world, acme, chain) = World::with_acme().await;
    let (document, _) = world.issue(&acme, &chain, 1).await;
    let (host_key, join) = (key("web1"), Id([7; 16]));
    let first = world.record(redeem(&acme, &document, join, "web1", &host_key)).await;
    let again = world.record(redeem(&acme, &document, Id([8; 16]), "web1", &host_key)).await;
    assert_eq!((again.outcome, again.index, again.entry), (Outcome::JoinedBefore(join), first.index, first.entry));
    let used_up = refusal(&world, redeem(&acme, &document, Id([9; 16]), "web2", &key("web2"))).await;
    assert_eq!(used_up, Refusal::TokenUsedUp(1));
    let (unknown, _) = acme.token(&chain, Id([5; 16]), 1);
    let unknown = refusal(&world, redeem(&acme, &unknown, Id([9; 16]), "web2", &key("web2"))).await;
    assert_eq!(unknown, Refusal::TokenUnknown);
}

#[tokio::test]
async fn machines_racing_for_one_name_in_one_batch_are_judged_one_after_the_other() {
    let (world, acme, chain) = World::with_acme().await;
    let (document, _) = world.issue(&acme, &chain, 5).await;
    let (one, two) = (
        redeem(&acme, &document, Id([1; 16]), "web1", &key("a")),
        redeem(&acme, &document, Id([2; 16]), "web1", &key("b")),
    );
    let (one, two) = tokio::join!(world.store.record(one, now()), world.store.record(two, now()));
    assert_eq!(one.unwrap().outcome, Outcome::Recorded);
    let taken = Refusal::DeviceNameTaken { name: "web1".parse().unwrap(), state: DeviceState::Pending };
    assert_eq!(two.unwrap_err(), RecordError::Refused(taken));
}

#[tokio::test]
async fn approvals_are_all_recorded_or_none() {
    let (world, acme, chain) = World::with_acme().await;
    let (document, _) = world.issue(&acme, &chain, 5).await;
    let keys = [key("a"), key("b"), key("c")];
    for (number, name) in (1..).zip(["web1", "web2"]) {
        world.record(redeem(&acme, &document, Id([number; 16]), name, &keys[usize::from(number) - 1])).await;
    }
    let approve = |approvals| Ask::Approve { tenant: tenant(), approvals, by: ann(), over: Vec::new() };
    let three =
        acme.approve(vec![record("web1", &keys[0], 1), record("web2", &keys[1], 2), record("web3", &keys[2], 3)]);
    let absent = refusal(&world, approve(three)).await;
    assert_eq!(absent, Refusal::NotPending("web3".parse().unwrap()));
    let rows = world.store.tenant(&tenant()).unwrap();
    assert_eq!(
        (
            rows.pending(&PendingWanted { limit: 10, ..PendingWanted::default() }).await.unwrap().len(),
            rows.highest_serial().await.unwrap()
        ),
        (2, 0)
    );
    let two = acme.approve(vec![record("web1", &keys[0], 1), record("web2", &keys[1], 2)]);
    let first = world.record(approve(two.clone())).await;
    assert_eq!(first.index, 5);
    assert_eq!(rows.approval(Id([2; 16])).await.unwrap().unwrap(), two[1].1);
    let taken = acme.approve(vec![record("web2", &keys[1], 1)]);
    let taken = refusal(&world, approve(taken)).await;
    assert_eq!(taken, Refusal::SerialTaken { serial: 1, holder: "web1".parse().unwrap() });
    let both =
        [acme.approve(vec![record("web1", &keys[0], 8)]), acme.approve(vec![record("web1", &keys[0], 9)])].concat();
    let both = Ask::Approve { tenant: tenant(), approvals: both, by: ann(), over: vec![1] };
    assert_eq!(refusal(&world, both).await, Refusal::ApprovedTwice("web1".parse().unwrap()));
    assert_eq!(refusal(&world, approve(Vec::new())).await, Refusal::ApprovalsMissing);
    assert_eq!(world.check().await.devices, 2);
}

#[tokio::test]
async fn revoking_a_serial_frees_the_name_and_never_the_key() {
    let (world, acme, chain) = World::with_acme().await;
    let (document, _) = world.issue(&acme, &chain, 5).await;
    let (old_key, new_key) = (key("old"), key("new"));
    let old = world.device(&acme, &document, "web1", &old_key, 1).await;
    let (zero, _) = (world.store.tenant(&tenant()).unwrap().policies(0, 9).await.unwrap().remove(0), ());
    let one = acme.policy(1, Some(&zero), &[1]);
    let Step::Next(chain) = chain.extend(&one).unwrap() else { panic!("the same version") };
    world.record(adopt(&chain, one)).await;
    assert_eq!(world.store.device_by_join(old).await.unwrap().unwrap().state, DeviceState::Revoked);
    let (address, version) = (String::new(), String::new());
    let connect = Ask::Connect { join: old, connection: Id([3; 16]), address, version, held: None };
    let gone = Refusal::DeviceGone { name: "web1".parse().unwrap(), state: DeviceState::Revoked };
    assert_eq!(refusal(&world, connect).await, gone);
    let burnt = refusal(&world, redeem(&acme, &document, Id([4; 16]), "web1", &old_key)).await;
    assert_eq!(burnt, Refusal::HostKeyRevoked("web1".parse().unwrap()));
    let new = world.device(&acme, &document, "web1", &new_key, 2).await;
    let rows = world.store.tenant(&tenant()).unwrap();
    assert_eq!(rows.device(&"web1".parse().unwrap()).await.unwrap().unwrap().join, new);
    let names: Vec<Id> = rows.devices("", 9).await.unwrap().iter().map(|row| row.join).collect();
    assert_eq!(names, [new]);
    // The old one is not revoked any more, but its name has gone to the new machine.
    let two = acme.policy(2, rows.policies(1, 1).await.unwrap().first(), &[]);
    let Step::Next(chain) = chain.extend(&two).unwrap() else { panic!("the same version") };
    world.record(adopt(&chain, two)).await;
    assert_eq!(world.store.device_by_join(old).await.unwrap().unwrap().state, DeviceState::Revoked);
    assert_eq!((rows.policies(0, 9).await.unwrap().len(), world.check().await.devices), (3, 1));
}

#[tokio::test]
async fn a_policy_is_adopted_once_and_forks_are_refused() {
    let (world, acme, chain) = World::with_acme().await;
    let zero = world.store.tenant(&tenant()).unwrap().policies(0, 1).await.unwrap().remove(0);
    let again = world.record(adopt(&chain, zero.clone())).await;
    assert_eq!((again.outcome, again.index), (Outcome::Again, 1));
    let steps = [acme.policy(1, Some(&zero), &[]), acme.policy(1, Some(&zero), &[9])].map(|signed| {
        let Step::Next(chain) = chain.extend(&signed).unwrap() else { panic!("the same version") };
        (chain, signed)
    });
    let [one, two] = steps.map(|(chain, signed)| world.store.record(adopt(&chain, signed), now()));
    let (one, two) = tokio::join!(one, two);
    assert_eq!(one.unwrap().outcome, Outcome::Recorded);
    assert!(matches!(two.unwrap_err(), RecordError::Refused(Refusal::PolicyFork { version: 1, .. })));
    let held = world.store.tenants().await.unwrap().remove(0).policy0;
    assert_eq!(held, Some(chain.policy0()));
}

#[tokio::test]
async fn an_approval_read_back_is_what_the_device_checks() {
    let (world, acme, chain) = World::with_acme().await;
    let (document, _) = world.issue(&acme, &chain, 9).await;
    let keys: Vec<PrivateKey> = (0..5).map(|_| key("x")).collect();
    let mut records = Vec::new();
    for (number, host_key) in (1u8..).zip(&keys) {
        let name = format!("web{number}");
        world.record(redeem(&acme, &document, Id([number; 16]), &name, host_key)).await;
        records.push(record(&name, host_key, u64::from(number)));
    }
    world
        .record(Ask::Approve { tenant: tenant(), approvals: acme.approve(records), by: ann(), over: Vec::new() })
        .await;
    let approval = world.store.tenant(&tenant()).unwrap().approval(Id([5; 16])).await.unwrap().unwrap();
    let batch = device::Batch::parse(&approval.batch.bytes).unwrap();
    let leaf = belay_certs::tlog::leaf_hash(&approval.record);
    belay_certs::tlog::verify_inclusion(&leaf, approval.index, batch.count, &approval.path, &batch.root.0).unwrap();
}
