//! Whose key it is: what `ssh`, the approver and the gateway itself see when root on the gateway swaps keys and documents.

use super::{
    DEVICE, NO_CONNECTION, acme,
    edited::edit,
    impostor::Impostor,
    record,
    rogue::{Rogue, ssh_through},
    with_mallory,
};
use belay_certs::{Digest, Namespace, PrivateKey, join::JoinRequest, sshsig::sign};
use belay_tests::{World, run, wait::GENEROUS};
use std::{fs, process::Command};

#[test]
fn a_machine_that_nobody_approved_serves_nobody_whatever_the_gateway_calls_it() {
    let world = World::of(acme(&[]));
    let (tech, token) = (world.person("tech"), world.dir().join("join.token"));
    world.make_token("acme", &token, &[]).unwrap();
    world.join(DEVICE, &token).unwrap().must();
    let rogue = Rogue::instead_of_the_gateway(&world, "acme");
    world.start_agent(DEVICE).unwrap();
    rogue.hello(0);
    let marker = world.dir().join("ran");
    let said = rogue.ssh(&tech, DEVICE, &format!("touch {}", marker.display()));
    said.must_refuse(NO_CONNECTION, &["this machine is not approved yet"]);
    assert!(!marker.exists());
}

#[test]
fn ssh_sees_a_host_key_that_the_device_ca_did_not_certify() {
    let world = World::of(acme(&["web1", "db1"]));
    let (tech, dir) = (world.person("tech"), world.dir().join("impostor"));
    fs::create_dir_all(&dir).unwrap();
    keygen(&["-q", "-t", "ed25519", "-N", "", "-f", &path(&dir, "host")]);
    keygen(&["-q", "-t", "ed25519", "-N", "", "-f", &path(&dir, "ca")]);
    keygen(&["-q", "-s", &path(&dir, "ca"), "-h", "-I", "web1", "-n", DEVICE, &path(&dir, "host.pub")]);
    let host = fs::read_to_string(dir.join("host")).unwrap();
    let by_another_ca = fs::read_to_string(dir.join("host-cert.pub")).unwrap();
    // Root on db1 helps root on the gateway: a real certificate and its key, for another name.
    let db1 = fs::read_to_string(world.agent_dir("db1.acme").join("host_key")).unwrap();
    let of_db1 = record(&world, "db1.acme").certificate;
    let cases = [
        (Impostor::start(&host, None), "no matching host key type found"),
        (Impostor::start(&host, Some(&by_another_ca)), "Host key verification failed"),
        (Impostor::start(&db1, Some(&of_db1)), "name is not a listed principal"),
    ];
    for (impostor, reason) in &cases {
        ssh_through(impostor.port, &tech, DEVICE, "echo secret").must_refuse(NO_CONNECTION, &[reason]);
        assert_eq!(impostor.heard(), [""; 0], "the command was told to an impostor");
    }
    // The impostor is a server like any other: under its own name it gets the command.
    let (own, _) = &cases[2];
    ssh_through(own.port, &tech, "db1.acme", "echo secret").must();
    assert_eq!(own.heard(), ["echo secret"]);
}

fn path(dir: &std::path::Path, name: &str) -> String {
    dir.join(name).to_str().unwrap().to_owned()
}

fn keygen(words: &[&str]) {
    run(Command::new("ssh-keygen").args(words), b"").unwrap().must();
}

#[test]
fn a_host_key_swapped_in_the_database_is_seen_by_whoever_approves() {
    let world = World::of(acme(&[]));
    let (tech, token) = (world.person("tech"), world.dir().join("join.token"));
    world.make_token("acme", &token, &["--uses", "2"]).unwrap();
    for device in ["web1.acme", "web2.acme"] {
        world.join(device, &token).unwrap().must();
    }
    let pending = tech.gw("pending --json").json();
    let row = pending.as_array().unwrap().iter().find(|row| row["name"] == DEVICE).unwrap();
    let asked = JoinRequest::parse(row["request"]["text"].as_str().unwrap().as_bytes()).unwrap();
    // The gateway's root has a key of its own for web1, and signs with it whatever it signs.
    let own = PrivateKey::generate_ed25519("").unwrap();
    let swapped = JoinRequest { host_key: own.public().clone(), ..asked }.to_text();
    let by_own = sign(Namespace::Join, swapped.as_bytes(), &own).unwrap();
    world.stop_gateway().unwrap();
    let change = "UPDATE device SET host_key = ?, fingerprint = ?, request = CAST(? AS BLOB), by_join_key = ?, by_host_key = ? \
                WHERE name = 'web1'";
    assert_eq!(
        edit(&world, change, &[&own.public().line(), &own.public().fingerprint(), &swapped, &by_own, &by_own]),
        1
    );
    world.start_gateway().unwrap();
    let reason = "the first signature is not by the token's join key";
    world.try_approve("acme", "web1").unwrap().must_refuse(1, &[reason, "nothing that matches verifies"]);
    assert!(tech.belay(["pending", "--json"]).unwrap().json().to_string().contains(reason));
    // The other machine's request is as it was, and only that one is approved.
    world.try_approve("acme", "*").unwrap().must_refuse(1, &[reason, "1 that matched stayed out"]);
    assert_eq!(world.device(DEVICE).unwrap()["state"], "pending");
    assert_ne!(world.device("web2.acme").unwrap()["state"], "pending");
}

#[test]
fn a_gateway_does_not_serve_a_policy_that_somebody_wrote_into_its_database() {
    let world = World::of(acme(&["web1"]));
    let forged = with_mallory(&world, &world.stranger("mallory").unwrap(), 1);
    let (text, digest) = (String::from_utf8(forged.clone()).unwrap(), Digest::of(&forged).to_string());
    world.stop_gateway().unwrap();
    let change = "UPDATE policy SET bytes = CAST(? AS BLOB), digest = ? WHERE version = 1";
    assert_eq!(edit(&world, change, &[&text, &digest]), 1);
    let (logged, why) = (world.log("gateway").mark(), "policy version 1 of acme in the database");
    assert!(world.start_gateway().is_err(), "it serves");
    let line = world.log("gateway").wait(why, logged, GENEROUS, |line| line.contains(why)).unwrap();
    assert!(line.contains("has 0 of the 1 signatures it needs from version 0's root keys"), "{line}");
}
