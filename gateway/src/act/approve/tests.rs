//! What becomes of approvals and certificates that a person brings.

use super::*;
use crate::scene::{Machine, Scene, acme, now, sent, sign};
use belay_certs::{
    Namespace,
    device::{Batch, approvals},
};
use serde_json::json;
use std::pin::pin;

/// The approvals of these records as one batch by `tech`, each with its certificate.
fn batch(scene: &Scene, records: &[DeviceRecord]) -> Vec<Approval> {
    batch_by(scene, records, &scene.keys.tech)
}

fn batch_by(scene: &Scene, records: &[DeviceRecord], signer: &belay_certs::PrivateKey) -> Vec<Approval> {
    let chain = scene.chain();
    let batch = Batch::over(records, chain.version(), chain.digest(), now()).unwrap();
    let signed = sign(Namespace::Device, batch.to_text(), signer);
    let certificates: Vec<String> = records.iter().map(|record| scene.certify(record)).collect();
    approvals(records, signed, &certificates).unwrap()
}

fn record(machine: &Machine, serial: u64) -> DeviceRecord {
    DeviceRecord {
        address: format!("{}.acme", machine.name).parse().unwrap(),
        host_key: machine.host_key.public().clone(),
        labels: Vec::new(),
        serial,
        replaces: None,
        issued: now(),
    }
}

async fn approve_now(scene: &Scene, approvals: &[Approval]) -> Vec<Settled> {
    approve(&scene.gateway, &acme(), sent(approvals)).await.unwrap()
}

async fn called(scene: &Scene, name: &str) -> Option<DeviceState> {
    let address = format!("{name}.acme").parse().unwrap();
    devices::find(&scene.gateway, &address).await.unwrap().map(|row| row.state)
}

#[tokio::test]
async fn an_approval_goes_on_although_the_approver_is_gone() {
    let scene = Scene::new().await;
    let machine = scene.machine("web1").await;
    let all = batch(&scene, &[record(&machine, 1)]);
    {
        let acme = acme();
        let mut approving = pin!(approve(&scene.gateway, &acme, sent(&all)));
        assert!(futures_util::poll!(approving.as_mut()).is_pending());
    }
    scene.settled().await;
    assert_eq!(called(&scene, "web1").await, Some(DeviceState::Approved));
}

#[tokio::test]
async fn a_batch_sent_in_parts_and_again_approves_each_device_once() {
    let scene = Scene::new().await;
    let mut records = Vec::new();
    for (serial, name) in (1..).zip(["web1", "web2", "web3"]) {
        records.push(record(&scene.machine(name).await, serial));
    }
    let all = batch(&scene, &records);
    assert_eq!(approve_now(&scene, &all[1..2]).await.len(), 1);
    for _ in 0..2 {
        let settled = approve_now(&scene, &all).await;
        assert!(settled.iter().all(|one| one.refused.is_none()), "{settled:?}");
    }
    assert_eq!(scene.count(acme().into(), "device.approved").await, 3);
}

#[tokio::test]
async fn one_that_cannot_be_approved_any_more_stops_no_other() {
    let scene = Scene::new().await;
    let (web1, web2) = (scene.machine("web1").await, scene.machine("web2").await);
    let all = batch(&scene, &[record(&web1, 1), record(&web2, 2)]);
    // Before the batch came, web1 was approved and then renamed by somebody else.
    approve_now(&scene, &batch(&scene, &[record(&web1, 5)])).await;
    let renamed = DeviceRecord { address: "www.acme".parse().unwrap(), ..record(&web1, 6) };
    assert_eq!(approve_now(&scene, &batch(&scene, &[renamed])).await[0].refused, None);
    let settled = approve_now(&scene, &all).await;
    let refused = settled[0].refused.as_deref().unwrap();
    assert!(refused.contains("a new one needs a higher serial"), "{refused}");
    assert_eq!(settled[1].refused, None);
    assert_eq!((called(&scene, "web1").await, called(&scene, "www").await), (None, Some(DeviceState::Approved)));
}

#[tokio::test]
async fn one_changed_byte_of_a_batch_approves_nothing() {
    let scene = Scene::new().await;
    let machine = scene.machine("web1").await;
    let honest = String::from_utf8(sent(&batch(&scene, &[record(&machine, 1)]))).unwrap();
    let changes = [
        ("serial = 1", "serial = 2"),
        ("labels = []", "labels = [\\\"x\\\"]"),
        ("count = 1", "count = 2"),
        ("\"index\":0", "\"index\":1"),
        ("\"path\":[]", "\"path\":[\"sha256:0000000000000000000000000000000000000000000000000000000000000000\"]"),
    ];
    for (from, to) in changes {
        let changed = honest.replace(from, to);
        assert_ne!(changed, honest, "{from}");
        approve(&scene.gateway, &acme(), changed.into_bytes()).await.unwrap_err();
    }
    assert_eq!(scene.count(acme().into(), "device.approved").await, 0);
    approve(&scene.gateway, &acme(), honest.into_bytes()).await.unwrap();
}

#[tokio::test]
async fn a_name_that_is_held_goes_only_to_a_machine_that_is_said_to_replace_its_holder() {
    let scene = Scene::new().await;
    let old = scene.machine("web1").await;
    approve_now(&scene, &batch(&scene, &[record(&old, 3)])).await;
    let new = scene.machine("web1").await;
    let settled = approve_now(&scene, &batch(&scene, &[record(&new, 4)])).await;
    assert!(settled[0].refused.as_deref().unwrap().contains("--replace"), "{settled:?}");
    let instead = DeviceRecord { replaces: Some(3), ..record(&new, 4) };
    assert_eq!(approve_now(&scene, &batch(&scene, &[instead])).await[0].refused, None);
    let row = |join| scene.gateway.store.device_by_join(join);
    let (old, new) = (row(old.join).await.unwrap().unwrap(), row(new.join).await.unwrap().unwrap());
    assert_eq!((old.state, new.state), (DeviceState::Replaced, DeviceState::Approved));
    assert!(scene.gateway.barred(&old.standing()).is_some() && scene.gateway.barred(&new.standing()).is_none());
    assert_eq!(scene.count(acme().into(), "device.replaced").await, 1);
}

#[tokio::test]
async fn a_certificate_comes_anew_for_the_record_in_force_and_from_a_device_ca_only() {
    let scene = Scene::new().await;
    let machine = scene.machine("web1").await;
    let record = record(&machine, 1);
    approve_now(&scene, &batch(&scene, std::slice::from_ref(&record))).await;
    let tech = scene.keys.tech.public().clone();
    let bring = async |name: &str, serial: u64, certificate: String, key: &PublicKey| {
        let sent = json!({"certificates": [{"name": name, "serial": serial, "certificate": certificate}]});
        recertify(&scene.gateway, &acme(), sent.to_string().into_bytes(), key.clone()).await.unwrap().remove(0).refused
    };
    // ssh-keygen puts a nonce into each: the second one is another.
    let second = scene.certify(&record);
    let stranger = crate::scene::key();
    for (name, serial, certificate, key) in [
        ("web2.acme", 1, second.clone(), &tech),
        ("web1.acme", 2, second.clone(), &tech),
        ("web1.acme", 1, "no certificate".to_owned(), &tech),
        ("web1.acme", 1, second.clone(), stranger.public()),
    ] {
        assert!(bring(name, serial, certificate, key).await.is_some(), "{name} {serial}");
    }
    for _ in 0..2 {
        assert_eq!(bring("web1.acme", 1, second.clone(), &tech).await, None);
    }
    let rows = scene.gateway.store.tenant(&acme()).unwrap();
    assert_eq!(rows.approval(machine.join).await.unwrap().unwrap().certificate, second.trim());
    assert_eq!(scene.count(acme().into(), "device.recertified").await, 1);
}

#[tokio::test]
async fn certificates_for_devices_of_another_tenant_are_refused_without_a_look_at_them() {
    let scene = Scene::new().await;
    let machine = scene.machine("web1").await;
    approve_now(&scene, &batch(&scene, &[record(&machine, 1)])).await;
    let bring = |name: &str| json!({"certificates": [{"name": name, "serial": 1, "certificate": "x"}]}).to_string();
    let beta: TenantName = "beta".parse().unwrap();
    scene.gateway.record(Ask::AddTenant { tenant: beta.clone() }).await.unwrap();
    let key = scene.keys.tech.public();
    // Nothing can be looked at any more: whoever tries is told that the gateway is broken.
    scene.gateway.store.close().await;
    let ask = async |name: &str| recertify(&scene.gateway, &beta, bring(name).into_bytes(), key.clone()).await;
    for name in ["web1.acme", "web2.acme", "web1.nobody"] {
        let refused = ask(name).await.unwrap().remove(0).refused;
        assert_eq!(refused, Some(format!("{name} is no approved device with that record")));
    }
    ask("web1.beta").await.unwrap_err();
}

#[tokio::test]
async fn more_certificates_than_an_approval_can_have_are_not_looked_at() {
    let scene = Scene::new().await;
    let key = scene.keys.tech.public();
    let bring = async |count: usize| {
        let one = json!({"name": "web1.beta", "serial": 1, "certificate": "x"});
        let sent = json!({"certificates": vec![one; count]}).to_string();
        recertify(&scene.gateway, &acme(), sent.into_bytes(), key.clone()).await
    };
    assert_eq!(bring(BATCH_RECORDS_MAX).await.unwrap().len(), BATCH_RECORDS_MAX);
    let refused = bring(BATCH_RECORDS_MAX + 1).await.unwrap_err().sentence;
    assert!(refused.contains("at most 10000 are taken at once"), "{refused}");
}

#[tokio::test]
async fn who_may_enrol_only_the_lab_cannot_relabel_rename_or_replace_another_device() {
    let scene = Scene::new().await;
    let mallory = crate::scene::key();
    let next = String::from_utf8(scene.keys.policy(Some((0, &scene.first)), &[]).bytes).unwrap()
        + &format!(
            "[[people]]\nname = \"mallory\"\nkeys = [\"{}\"]\n\
             [[grants]]\nwho = [\"mallory\"]\non = [\"tag:lab\"]\ndo = [\"enrol\"]\n",
            mallory.public()
        );
    scene.push(sign(Namespace::Policy, next, &scene.keys.root)).await;
    let (db1, hers) = (scene.machine("webdb1").await, scene.machine("weblab").await);
    approve_now(&scene, &batch(&scene, &[record(&db1, 1)])).await;
    let lab = |record: DeviceRecord| DeviceRecord { labels: vec!["lab".to_owned()], ..record };
    let named = |name: &str, record| DeviceRecord { address: name.parse().unwrap(), ..lab(record) };
    let by_her = |record: DeviceRecord| batch_by(&scene, &[record], &mallory);
    let rival = scene.machine("webdb1").await;
    for theft in [
        lab(record(&db1, 50)),
        named("lab9.acme", record(&db1, 51)),
        DeviceRecord { replaces: Some(1), ..lab(record(&rival, 52)) },
    ] {
        let settled = approve_now(&scene, &by_her(theft)).await;
        let refused = settled[0].refused.as_deref().unwrap();
        assert!(refused.contains("as that device stands now"), "{refused}");
    }
    let row = scene.gateway.store.device_by_join(db1.join).await.unwrap().unwrap();
    assert_eq!((row.name.as_str(), row.state, row.approved.unwrap().serial), ("webdb1", DeviceState::Approved, 1));
    // With a device of the lab she does what she likes, also when somebody else's stands in the same batch.
    assert_eq!(approve_now(&scene, &by_her(lab(record(&hers, 60)))).await[0].refused, None);
    let both = [named("lab9.acme", record(&hers, 61)), lab(record(&db1, 62))];
    let settled = approve_now(&scene, &batch_by(&scene, &both, &mallory)).await;
    let of = |serial| settled.iter().find(|one| one.serial == serial).unwrap().refused.is_some();
    assert_eq!((of(61), of(62)), (false, true));
}
