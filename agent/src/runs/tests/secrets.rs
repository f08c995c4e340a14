//! Secrets of runs: opened for the script alone, over a restart too, hidden in what it prints, and refused when they are not ours.

use super::bench::*;
use belay_certs::{
    PublicKey,
    order::{DeviceList, Outcome},
    output::Stream,
    secrets::{Sealed, Secrets},
    statement::Body,
};
use belay_protocol::RunOfferedSealed;

const DECLARED: &str = "# [parameters.token]\n# type = \"string\"\n# secret = true\n# required = true\n";
const VALUE: &str = "hunter2-hunter2\nsecond line of it";

fn sealed(names: &[&str], signer: &PublicKey, key: &PublicKey) -> Sealed {
    let mut secrets = Secrets::default();
    for name in names {
        secrets.add(name.parse().unwrap(), VALUE.to_owned()).unwrap();
    }
    secrets.seal(signer, key).unwrap()
}

/// An order that is told `token`, over this line.
fn offer(bench: &Bench, lines: &str, sealed: &Sealed) -> RunOfferedSealed {
    let mut draft = bench.draft_for("#!/bin/sh", DECLARED, lines);
    draft.order.secrets = vec!["token".parse().unwrap()];
    draft.order.devices_root = DeviceList::parse(format!("web1 7 {sealed}\n").as_bytes()).unwrap().root();
    RunOfferedSealed { offered: draft.signed(), sealed: sealed.to_string() }
}

#[tokio::test]
async fn a_script_has_its_secret_after_a_restart_too_and_prints_a_word_for_it() {
    let mut bench = Bench::new().await;
    let (key, alice) = (bench.machine.host_key.public().clone(), bench.tenant.alice.public().clone());
    let lines = "printf %s \"$BELAY_ARG_TOKEN\" | wc -c\necho \"<$BELAY_ARG_TOKEN>\"\nprintf 'second line of it' >&2";
    let offered = offer(&bench, lines, &sealed(&["token"], &alice, &key));
    bench.offer_sealed(offered).await;
    let intent = bench.intent().await;
    bench.restart().await;
    let intent_again = bench.intent().await;
    assert_eq!(intent.text, intent_again.text);
    bench.answer(&intent_again).await;
    let end = bench.end().await;
    assert_eq!(verdict(&end), (Outcome::Succeeded, ""));
    let lines = bench.output(&end);
    assert_eq!(text(&lines, Stream::Out), format!("{}\n<[secret token]>\n", VALUE.len()));
    assert_eq!(text(&lines, Stream::Err), "[secret token]");
    for entry in std::fs::read_dir(bench.directory(end.order)).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("hunter2"));
    }
    bench.over().await;
}

#[tokio::test]
async fn secrets_that_are_not_this_machines_or_this_signers_are_refused_in_a_statement() {
    let mut bench = Bench::new().await;
    let (key, alice) = (bench.machine.host_key.public().clone(), bench.tenant.alice.public().clone());
    let mark = bench.file("ran");
    let lines = format!("touch {}", mark.display());
    let other = stranger().public().clone();
    for (hint, offered) in [
        ("not encrypted to the host key", offer(&bench, &lines, &sealed(&["token"], &alice, &other))),
        ("were not encrypted for orders signed by", offer(&bench, &lines, &sealed(&["token"], &other, &key))),
        ("other secrets are encrypted", offer(&bench, &lines, &sealed(&["token", "more"], &alice, &key))),
        ("other secrets are encrypted", offer(&bench, &lines, &sealed(&[], &alice, &key))),
        ("is not for web1.acme", {
            let good = offer(&bench, &lines, &sealed(&["token"], &alice, &key));
            RunOfferedSealed { sealed: sealed(&["token"], &alice, &key).to_string(), ..good }
        }),
        ("the gateway offered it without those of this machine's line", {
            let good = offer(&bench, &lines, &sealed(&["token"], &alice, &key));
            RunOfferedSealed { sealed: "not base64".to_owned(), ..good }
        }),
    ] {
        bench.offer_sealed(offered).await;
        let made = bench.hear().await;
        match said(&made).body {
            Body::RunRefused { reason, .. } => {
                assert!(reason.contains(hint) && !reason.contains("hunter2"), "{reason}")
            }
            other => panic!("{hint}: {other:?}"),
        }
        bench.answer(&made).await;
    }
    assert!(!mark.exists());
}
