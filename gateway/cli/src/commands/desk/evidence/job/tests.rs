//! A job's pack is believed whole or not at all, by us and by stock tools.

use super::*;
use crate::{
    commands::desk::evidence,
    limits::EVIDENCE_DEVICES_MAX,
    testing::{
        log, ordered,
        packed::{files, made_anew, refuses_changes, refuses_mutations, stock_tools},
        stage::Stage,
    },
};
use serde_json::json;
use std::{fs, path::PathBuf};

/// A stage with a job, and the pack that `belay evidence` makes of it.
fn packed(change: impl Fn(&Stage, &mut ordered::Ordered), more: &[&str]) -> (Stage, PathBuf, Outcome) {
    let stage = Stage::new();
    let mut job = ordered::Ordered::new(&stage);
    change(&stage, &mut job);
    job.on(&stage);
    let pack = stage.path().join("pack.tar");
    let id = job.order.id.to_string();
    let done = stage.belay(&[&["evidence", &id, "-o", pack.to_str().unwrap()], more].concat());
    assert_eq!(done.is_ok(), pack.exists());
    (stage, pack, done)
}

fn whole() -> (Stage, PathBuf) {
    let (stage, pack, done) = packed(|_, _| (), &[]);
    done.unwrap();
    (stage, pack)
}

fn judged(pack: &[u8]) -> (Box<Proved>, usize) {
    let judged = evidence::judge(pack).unwrap();
    match judged.proved {
        evidence::Proved::Job(job) => (job, judged.entries),
        evidence::Proved::Session { .. } => panic!("this is the pack of a session"),
    }
}

#[test]
fn a_jobs_pack_is_verified_without_a_gateway() {
    let (stage, pack) = whole();
    fs::remove_file(stage.home.dir().join("ssh")).unwrap();
    stage.belay(&["evidence", "verify", pack.to_str().unwrap()]).unwrap();
    let (job, entries) = judged(&fs::read(pack).unwrap());
    assert_eq!((entries, job.said.runs.len(), job.missing.len(), job.only), (8, 2, 0, None));
    let run = |name: &str| &job.said.runs[&name.parse().unwrap()];
    assert!(run("web1").has_begun && run("web1").end.is_some() && run("db1").refused.is_some());
    assert_eq!(job.said.ends, ["job.ended"]);
}

#[test]
fn an_output_that_was_deleted_is_not_in_the_pack_unless_it_was_taken_anew() {
    // Before the run had ended, and after: its end is the entry behind `device.connected`.
    for (place, is_missing) in [(7, false), (8, true)] {
        let deleted = |job: &ordered::Ordered| {
            log::told_of("web1", "output.deleted", json!({"job": job.order.id, "bytes": 3, "why": "old"}))
        };
        let (_stage, pack, done) = packed(|_, job| job.entries.insert(place, deleted(job)), &[]);
        done.unwrap();
        let (job, entries) = judged(&fs::read(pack).unwrap());
        let web1 = "web1".parse().unwrap();
        assert_eq!((entries, job.missing.contains(&web1)), (9, is_missing), "{place}");
        assert_eq!(job.said.deleted.contains_key(&web1), is_missing);
    }
}

#[test]
fn none_of_2000_mutations_of_a_jobs_pack_is_believed_and_the_broken_piece_is_named() {
    let (_stage, pack) = whole();
    refuses_mutations(&fs::read(pack).unwrap(), 2_000);
}

#[test]
fn a_changed_file_of_a_jobs_pack_is_found_even_where_the_manifest_was_made_to_fit() {
    let (_stage, pack) = whole();
    refuses_changes(&fs::read(pack).unwrap());
}

#[test]
fn one_device_of_a_job_is_packed_alone() {
    let (_stage, pack, done) = packed(|_, _| (), &["--device", "web1"]);
    done.unwrap();
    let pack = fs::read(pack).unwrap();
    let (job, entries) = judged(&pack);
    assert_eq!((entries, job.said.runs.len(), job.only), (6, 1, Some("web1".parse().unwrap())));
    refuses_changes(&pack);
    let mut widened = files(&pack);
    let subject = String::from_utf8(widened[1].1.clone()).unwrap();
    widened[1].1 = subject.replace("\"web1\"", "\"db1\"").into_bytes();
    assert!(evidence::judge(made_anew(&widened).as_slice()).unwrap_err().sentence().contains("devices/7/record"));
    let (_stage, _, done) = packed(|_, _| (), &["--device", "mail1"]);
    assert!(done.unwrap_err().sentence().contains("is not for mail1"));
}

#[test]
fn an_output_that_has_not_come_whole_is_said_to_be_missing_and_another_one_is_refused() {
    let (_stage, pack, done) = packed(|_, job| _ = job.output.pop(), &[]);
    done.unwrap();
    let pack = fs::read(pack).unwrap();
    assert_eq!(judged(&pack).0.missing, ["web1".parse().unwrap()]);
    refuses_changes(&pack);
    let (_stage, _, done) = packed(|_, job| job.output[4] ^= 1, &[]);
    assert!(done.unwrap_err().sentence().contains("web1.acme: the gateway has"));
}

#[test]
fn what_does_not_fit_the_order_is_refused() {
    let broken = |change: &dyn Fn(&Stage, &mut ordered::Ordered), wanted: &str| {
        let (_stage, _, done) = packed(change, &[]);
        let failure = done.unwrap_err();
        assert!(failure.sentence().contains(wanted), "{} is not {wanted}", failure.sentence());
    };
    let other = |stage: &Stage| ordered::Ordered::new(stage);
    broken(&|stage, job| job.signature = other(stage).signature, "order/order.toml.sig");
    broken(&|_, job| job.keys.swap(0, 1), "entry 4");
    broken(&|_, job| _ = job.entries.remove(2), "stands before the job was brought");
    broken(&|_, job| job.entries.push(job.entries[7].clone()), "entry 9 does not fit");
    broken(&|_, job| job.entries.push(job.entries[2].clone()), "entry 9 brings the job a second time");
    broken(&|_, job| job.entries[4][9] ^= 1, "entry 4");
    broken(&|_, job| job.text = job.text.replace("cups", "sshd"), "order/order.toml");
}

#[test]
fn a_job_of_too_many_devices_is_refused_with_what_to_do() {
    let stage = Stage::new();
    let job = ordered::Ordered::new(&stage);
    job.on(&stage);
    let names: Vec<String> = (0..=EVIDENCE_DEVICES_MAX).map(|number| format!("pc{number}")).collect();
    let devices: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    stage.answers("job_ID_--json", job.shown(&devices).to_string());
    let refused = stage.belay(&["evidence", &job.order.id.to_string(), "-o", "/tmp/never.tar"]).unwrap_err();
    assert!(refused.sentence().contains("1001 devices") && refused.sentence().contains("--device DEVICE"));
}

#[test]
fn stock_tools_verify_what_the_readme_says() {
    let (stage, pack) = whole();
    stock_tools(
        &stage,
        &pack,
        "check root policy.v1 policies/acme/0.toml; check order order.v1 order/order.toml\n\
         check author runbook.v1 order/runbook; grep -q $(sha256sum < order/runbook | cut -c 1-64) order/order.toml\n\
         for d in devices/*; do\n\
           check approver device.v1 $d/batch; ssh-keygen -L -f $d/certificate | grep -q $(sed -n 's/^device = \"\\(.*\\)\"$/\\1/p' $d/record)\n\
         done\n\
         for s in log/*.statement; do\n\
           check $(sed 's/^{\"v\":1,\"id\":\"[0-9a-f]*\",\"device\":\"\\([^\"]*\\)\".*/\\1/' $s) statement.v1 $s\n\
         done\n\
         python README.md base64 'assert all(check(n) for n in (0, 1, 2, 3, 4, 5, 7, 8))'\n\
         sed -n '/^    import hashlib/,/^        return hash/p' README.md | sed 's/^    //' > root.py\n\
         echo 'print(root(open(\"order/devices\", \"rb\").read().splitlines()).hex())' >> root.py\n\
         grep -q \"devices_root = .*$(python3 root.py)\" order/order.toml\n\
         grep -q $(sha256sum < outputs/web1 | cut -c 1-64) log/7.statement\n\
         test \"$(awk '$2 == \"o\" { print $3 }' outputs/web1 | base64 -d)\" = restarted",
    );
}
