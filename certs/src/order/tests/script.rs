//! A robot's order: written and signed by the shell script of the documentation, with nothing of Belay's.

use super::fixture::Case;
use crate::envelope;
use crate::limits::DOCUMENT_BYTES_MAX;
use crate::order::*;
use crate::policy::tests::fixture::private;
use crate::{Digest, Signed};
use std::{fs, os::unix::fs::PermissionsExt, process::Command};

/// The script, in the days of the tests' policy.
const SCRIPT: &str = concat!(
    "date() { command date -u -d \"2026-11-23 10:00:00 UTC $3\" \"$4\"; }\n",
    include_str!("../fixtures/order.sh")
);

/// What the script sends for this list, run with `service` as its argument; `None` when it refuses to.
fn run(case: &Case, devices: &str, service: &str) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    fs::write(&key, private("nightly").to_openssh().unwrap()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(folder.path().join("devices"), devices).unwrap();
    let mut script = Command::new("bash");
    script.args(["-c", SCRIPT, "order.sh", service]).current_dir(folder.path());
    script.env("KEY", &key).env("TENANT", "acme").env("RUNBOOK", "restart-service").env("SUBMIT", "cat");
    script.env("VERSION", Digest::of(case.runbook.as_bytes()).to_string());
    script.env("POLICY", case.chain.digest().to_string()).env("POLICY_VERSION", "0");
    let said = script.output().unwrap();
    assert_eq!(said.status.success(), said.stderr.is_empty(), "{}", String::from_utf8_lossy(&said.stderr));
    said.status.success().then_some(said.stdout)
}

/// The order and the list that the script sent.
fn sent(case: &mut Case, stream: &[u8]) -> (Signed, Order) {
    let (signed, rest) = envelope::split_first(stream, DOCUMENT_BYTES_MAX).unwrap();
    let order = Order::parse(&signed.bytes).unwrap();
    case.list = DeviceList::parse(rest).unwrap();
    (signed, order)
}

#[test]
fn a_shell_script_writes_an_order_that_a_device_permits() {
    let mut case = Case::new();
    let stream = run(&case, "web2 9\nweb1 7\ndb1 3\n", "cups").unwrap();
    let (signed, order) = sent(&mut case, &stream);
    assert_eq!((order.devices, order.devices_root), (3, Case::new().order.devices_root));
    let permit = case.judge_signed(&signed, &case.signed_runbook()).unwrap();
    assert_eq!(permit.environment()[1].1, "cups");
    assert_ne!(permit.order().id, Case::new().order.id);
}

#[test]
fn the_script_finds_the_root_of_every_number_of_devices() {
    let mut case = Case::new();
    for count in [1, 2, 3, 4, 5, 6, 7, 11] {
        let devices: String = (1..=count).map(|n| format!("web{n} {}\n", 100 + n)).collect();
        let stream = run(&case, &devices, "cups").unwrap();
        let (_, order) = sent(&mut case, &stream);
        assert_eq!((order.devices, order.devices_root), (case.list.count(), case.list.root()), "{count} devices");
    }
}

#[test]
fn what_an_alert_says_cannot_add_a_line_to_the_order() {
    for service in ["", "cups\"\ntimeout = \"24h", "cups\"", "$(reboot)", "cups sshd", "größer"] {
        assert!(run(&Case::new(), "web1 7\n", service).is_none(), "{service:?}");
    }
}
