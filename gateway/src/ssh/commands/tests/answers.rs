//! What the commands do and print.

use super::world::{World, tenant};
use belay_certs::{
    Id, Namespace, PrivateKey, Timestamp, envelope,
    statement::{self, Body, Head, Intent, SessionKind, Statement},
};
use belay_rules::{Ask, Outcome, Outer};
use std::io::Read;

#[tokio::test]
async fn a_machine_is_pending_then_approved_then_listed() {
    let world = World::new().await;
    let (token, _) = world.token(&["server"]);
    let issued = world.run_with(&world.tech, "token acme", &envelope::join(&token)).await;
    assert!(issued.out.starts_with("token ") && issued.out.contains(" recorded: 10 uses until 20"), "{issued:?}");

    let host_keys = world.join(&["web1", "web2"], &["server"]).await;
    let pending = world.run(&world.tech, "pending --json").await.json();
    assert_eq!(pending[0]["name"], "web1.acme");
    assert_eq!(pending[0]["fingerprint"], host_keys[0].public().fingerprint());
    assert_eq!((&pending[0]["serial_next"], &pending[1]["serial_next"]), (&1.into(), &2.into()));
    assert_eq!(pending[1]["labels"], serde_json::json!(["server"]));
    let listed = world.run(&world.tech, "devices --json").await.json();
    assert_eq!((&listed[0]["state"], &listed[0]["labels"]), (&"pending".into(), &serde_json::json!([])));
    assert_eq!(world.run(&world.guest, "devices --json").await.json(), serde_json::json!([]));

    let approval = world.approval(&pending);
    let approved = world.run_with(&world.tech, "approve acme", &approval).await;
    assert_eq!(approved.out, "web1.acme approved with serial 1\nweb2.acme approved with serial 2\n");
    assert_eq!(world.run_with(&world.tech, "approve acme", &approval).await.status, 0, "sent again it is the same");
    assert_eq!(world.run(&world.tech, "pending --json").await.json(), serde_json::json!([]));
    let listed = world.run(&world.tech, "devices --json").await.json();
    assert_eq!((&listed[0]["state"], &listed[0]["since"]), (&"offline".into(), &serde_json::Value::Null));
}

#[tokio::test]
async fn devices_are_those_a_grant_reaches_and_the_text_fits() {
    let world = World::new().await;
    world.devices(&["web1", "web2"], &["front"]).await;
    world.devices(&["db1"], &["store"]).await;
    let names = |answer: super::world::Answer| -> Vec<String> {
        answer.json().as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(world.run(&world.tech, "devices --json").await), ["db1.acme", "web1.acme", "web2.acme"]);
    assert_eq!(names(world.run(&world.guest, "devices --json").await), ["web2.acme"]);
    assert_eq!(names(world.run(&world.tech, "devices web --json").await), ["web1.acme", "web2.acme"]);
    assert_eq!(names(world.run(&world.tech, "devices store --json").await), ["db1.acme"]);
    assert!(names(world.run(&world.tech, "devices --tenant globex --json").await).is_empty());
    let table = world.run(&world.tech, "devices").await.out;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("NAME       STATE") && lines[1].starts_with("db1.acme   offline"), "{table}");
}

#[tokio::test]
async fn a_batch_that_was_changed_on_its_way_approves_nothing() {
    let world = World::new().await;
    world.join(&["web1"], &[]).await;
    let pending = world.run(&world.tech, "pending --json").await.json();
    let approval = String::from_utf8(world.approval(&pending)).unwrap().replace("serial = 1", "serial = 2");
    let refused = world.run_with(&world.tech, "approve acme", approval.as_bytes()).await;
    assert_eq!((refused.status, refused.out.as_str()), (1, ""), "{refused:?}");
    let garbled = world.run_with(&world.tech, "approve acme", b"{\"batch\": 1}").await;
    assert!(garbled.status == 1 && garbled.err.contains("not an approval"), "{garbled:?}");
    assert_eq!(world.run(&world.tech, "pending --json").await.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_policy_is_pushed_by_anyone_it_knows_and_shown_as_it_was_signed() {
    let world = World::new().await;
    let text = world.policy("acme", 1, "# the newest\n");
    let signed = world.sign(Namespace::Policy, text.clone(), &world.root);
    let pushed = world.run_with(&world.idle, "policy push acme", &envelope::join(&signed)).await;
    assert_eq!((pushed.status, pushed.out.as_str()), (0, "acme: version 1 adopted\n"), "{pushed:?}");
    let again = world.run_with(&world.tech, "policy push acme", &envelope::join(&signed)).await;
    assert!(again.status == 0 && again.out.contains("already"), "{again:?}");
    assert_eq!(world.run(&world.guest, "policy show acme").await.out, text);
    let shown = world.run(&world.tech, "policy show acme --json").await.json();
    assert_eq!(shown["versions"].as_array().unwrap().len(), 2);
    assert_eq!(shown["versions"][0]["text"], world.policy_text("acme"));
    assert_eq!(shown["versions"][1]["signatures"][0], signed.signatures[0].trim());
    let newest = world.run(&world.tech, "policy show acme --from 1 --json").await.json();
    assert_eq!((&newest["versions"][0]["version"], &newest["versions"][0]["text"]), (&1.into(), &text.as_str().into()));
    let none = world.run(&world.tech, "policy show acme --from 18446744073709551615 --json").await.json();
    assert_eq!(none["versions"], serde_json::json!([]));
}

#[tokio::test]
async fn a_policy_that_does_not_verify_is_refused_with_its_reason_and_an_event() {
    let world = World::new().await;
    let signed = world.sign(Namespace::Policy, world.policy("acme", 1, ""), &world.tech);
    let before = world.size("acme");
    let refused = world.run_with(&world.tech, "policy push acme", &envelope::join(&signed)).await;
    assert!(refused.status == 1 && refused.err.contains("root"), "{refused:?}");
    let kinds: Vec<String> = world.entries("acme", before).await.into_iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, ["command.ran", "policy.refused"]);
    assert_eq!(world.chain("acme").version(), 0);
    let unsigned = world.run_with(&world.tech, "policy push acme", b"format = 1\n").await;
    assert!(unsigned.status == 1 && unsigned.err.contains("signature"), "{unsigned:?}");
}

#[tokio::test]
async fn a_log_is_tailed_exported_and_its_head_given() {
    let world = World::new().await;
    let tail = world.run(&world.audit, "log tail acme --limit 2 --json").await.json();
    let last = world.size("acme") - 1;
    assert_eq!((&tail[1]["index"], &tail[1]["type"]), (&last.into(), &"command.ran".into()));
    assert_eq!(tail.as_array().unwrap().len(), 2);
    assert_eq!(world.run(&world.audit, "log tail acme --limit 0 --json").await.json(), serde_json::json!([]));
    assert_eq!(world.run(&world.audit, "log tail acme").await.out.lines().count(), world.size("acme") as usize);
    let head = world.run(&world.guest, "log checkpoint acme").await.out;
    assert!(head.starts_with("gw.example/acme\n") && head.contains("\n\n— gw.example/acme "), "{head}");
    let exported = world.run(&world.audit, "log export acme").await;
    let mut archive = tar::Archive::new(exported.bytes.as_slice());
    let mut files = archive.entries().unwrap().map(|file| {
        let mut file = file.unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        (file.path().unwrap().to_str().unwrap().to_owned(), bytes)
    });
    let (_, checkpoint) = files.find(|(path, _)| path == "checkpoint").unwrap();
    let size = format!("gw.example/acme\n{}\n", world.size("acme"));
    assert!(checkpoint.starts_with(size.as_bytes()), "the export is recorded before it begins, so it is in it");
}

#[tokio::test]
async fn an_entry_is_proved_by_its_number_its_id_and_what_it_is_about() {
    let world = World::new().await;
    let host_keys = world.devices(&["web2"], &[]).await;
    open_session(&world, &host_keys[0], "tech", "uptime").await;
    let session = world.run(&world.audit, "sessions --json").await.json()[0]["id"].as_str().unwrap().to_owned();
    let opened = world.run(&world.audit, &format!("log proof acme {session}")).await.json();
    let entry: serde_json::Value = serde_json::from_str(opened["proofs"][0]["entry"].as_str().unwrap()).unwrap();
    assert_eq!((&entry["type"], &entry["session"]), (&"session.opened".into(), &session.as_str().into()));
    assert_eq!(opened["proofs"].as_array().unwrap().len(), 1, "not who asked about it");
    for which in [entry["id"].as_str().unwrap().to_owned(), opened["proofs"][0]["index"].to_string()] {
        let again = world.run(&world.audit, &format!("log proof acme {which} --json")).await.json();
        assert_eq!(again["proofs"][0]["entry"], opened["proofs"][0]["entry"], "{which}");
        assert!(again["checkpoint"].as_str().unwrap().starts_with("gw.example/acme\n"), "{again}");
    }
    let event = entry["id"].as_str().unwrap();
    let anywhere = world.run(&world.audit, &format!("log proof {event}")).await.json();
    assert_eq!((&anywhere["tenant"], &anywhere["proofs"][0]["entry"]), (&"acme".into(), &opened["proofs"][0]["entry"]));
    // Whoever audits another log finds there what stands there, and this does not.
    let other = world.run(&world.other, &format!("log proof {event}")).await;
    assert!(other.status == 1 && other.err.contains("any log that you audit"), "{other:?}");
    for (line, why) in [
        ("log proof acme 100000", "there is no entry"),
        ("log proof acme", "which entry"),
        ("log proof 0", "of which log"),
    ] {
        assert!(world.run(&world.audit, line).await.err.contains(why), "{line}");
    }
    let unknown = world.run(&world.audit, &format!("log proof acme {}", "0".repeat(32))).await;
    assert!(unknown.status == 1 && unknown.err.contains("has this id"), "{unknown:?}");
    assert_eq!(world.run(&world.guest, "log proof acme 0").await.status, 1, "without `audit`");
}

/// `guest` opened a session on web2.
async fn open_session(world: &World, host_key: &PrivateKey, person: &str, command: &str) {
    let access = Id::random().unwrap();
    let now = Timestamp::from_system(std::time::SystemTime::now());
    let device: belay_certs::DeviceAddress = "web2.acme".parse().unwrap();
    let statement = Statement {
        head: Head {
            id: Id::random().unwrap(),
            device: device.clone(),
            serial: 1,
            seq: 1,
            previous: None,
            checkpoint: None,
            issued: now,
        },
        body: Body::SessionOpened(Intent {
            session: Id::random().unwrap(),
            access,
            person: person.parse().unwrap(),
            key: "SHA256:x".to_owned(),
            account: "root".to_owned(),
            kind: SessionKind::Exec,
            command: Some(statement::Command::of(command.as_bytes())),
            target: None,
            tty: false,
            ticket: None,
            grant_line: Some(1),
            policies: Vec::new(),
        }),
    };
    let signed = statement::sign(&statement, host_key).unwrap();
    let row = world.gateway.store.tenant(&tenant("acme")).unwrap().device(&device.device).await.unwrap().unwrap();
    let outer = Some(Outer { access, person: person.parse().unwrap(), device: device.device });
    let ask = Ask::Statement { join: row.join, signed, statement: Box::new(statement), outer };
    assert_eq!(world.gateway.record(ask).await.unwrap().outcome, Outcome::Recorded);
}

#[tokio::test]
async fn sessions_are_everybodys_for_auditors_and_ones_own_for_others() {
    let world = World::new().await;
    let host_keys = world.devices(&["web2"], &[]).await;
    open_session(&world, &host_keys[0], "tech", "echo \u{202e}x").await;
    let shown = world.run(&world.audit, "sessions --json").await.json();
    assert_eq!(
        (&shown[0]["device"], &shown[0]["person"], &shown[0]["ended"]),
        (&"web2.acme".into(), &"tech".into(), &serde_json::Value::Null)
    );
    assert_eq!(world.run(&world.guest, "sessions --json").await.json(), serde_json::json!([]));
    assert_eq!(world.run(&world.tech, "sessions --device web1.acme --json").await.json(), serde_json::json!([]));
    let table = world.run(&world.audit, "sessions --tenant acme").await.out;
    assert!(
        table.contains("web2.acme  tech    root     exec  -     -          echo") && !table.contains('\u{202e}'),
        "{table}"
    );
}
