//! `belay who` on policies with one of everything, at a fixed moment.

use super::*;
use crate::testing::Customer;
use belay_certs::policy::{Chain, explain};

const MORE: &str = r#"
[[people]]
name = "nina"
keys = []
teams = ["field", "night"]

[[people]]
name = "nightly"
robot = true
keys = []
teams = ["night"]

[[grants]]
who = ["field", "nina"]
on = ["web*"]
except = ["tag:frozen"]
do = ["shell", "forward"]
as = ["root", "deploy"]
forward_to = ["192.168.1.0/24:80,443"]
hours = "Mon-Fri 07:00-19:00 Europe/Berlin"
ticket = "INC-[0-9]+"
review = true

[[grants]]
who = ["night"]
on = ["tag:server"]
do = ["run"]
as = ["root"]
runbooks = ["restart-*"]
devices_max = 50
"#;

/// What is said of web1.acme with these labels at a moment.
fn page<T>(labels: &Labels, at: &str, show: impl Fn(&Page<'_>) -> T) -> T {
    let customer = Customer::new("acme", MORE);
    let chain = Chain::begin(&customer.versions[0]).unwrap();
    let policies = Policies { tenant: &chain, imports: Vec::new() };
    let address = "web1.acme".parse().unwrap();
    let device = DeviceFacts { address, labels: labels.all().to_vec(), serial: 0 };
    let lines = explain(&policies, &device).unwrap();
    show(&Page { policies: &policies, device: &device, labels, now: at.parse().unwrap(), lines })
}

const MONDAY: &str = "2026-11-23T10:00:00Z";
const SUNDAY: &str = "2026-11-22T10:00:00Z";

#[test]
fn every_condition_of_every_line_is_told() {
    let labels = Labels::Given(vec!["server".to_owned()]);
    let text = page(&labels, MONDAY, |page| page.text());
    for line in [
        "web1.acme, labels server, by version 0 of acme, at 2026-11-23T10:00:00Z",
        "PERSON           MAY",
        "counts for web1.acme, which `on` names with web*",
        "  who         field: nina",
        "  who         nina",
        "  do          shell, forward",
        "  as          root, deploy",
        "  except      tag:frozen",
        "  forward_to  192.168.1.0/24:80,443",
        "  hours       Mon-Fri 07:00-19:00 Europe/Berlin: now is inside",
        "  ticket      INC-[0-9]+: sent as BELAY_TICKET, or asked for on the terminal",
        "  review      what is done is marked for review",
        "counts for web1.acme, which `on` names with tag:server",
        "  who         night: nina, nightly (robot)",
        "  runbooks    restart-* of normal risk, at most 50 devices an order",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("nina") || line.starts_with("nightly")).collect();
    assert_eq!(rows.len(), 3, "each once a line: {rows:#?}");
    assert!(rows[0].contains("with a ticket") && rows[1].contains("yes"), "{rows:#?}");
    assert!(page(&labels, SUNDAY, |page| page.text()).contains("no, outside hours"));
}

#[test]
fn a_line_that_does_not_count_says_why() {
    let frozen = page(&Labels::Told(vec!["frozen".to_owned()]), MONDAY, |page| page.text());
    assert!(frozen.contains("labels frozen as the gateway tells"), "{frozen}");
    assert!(frozen.contains("does not count for web1.acme, which `except` names with tag:frozen"), "{frozen}");
    assert!(frozen.contains("does not count for web1.acme: `on` names only tag:server"), "{frozen}");
    assert!(!frozen.lines().any(|line| line.starts_with("nina")), "{frozen}");
}

#[test]
fn what_is_not_known_is_said() {
    assert!(page(&Labels::Unknown, MONDAY, |page| page.warnings())[0].contains("labels are not known"));
    let late = page(&Labels::Given(Vec::new()), "2027-06-01T00:00:00Z", |page| page.warnings());
    assert!(late[0].contains("expired"), "{late:?}");
}

#[test]
fn a_program_reads_the_same() {
    let value = page(&Labels::Given(vec!["server".to_owned()]), SUNDAY, |page| page.json());
    let grants = value["grants"].as_array().unwrap();
    let field = grants.iter().find(|grant| grant["ticket"] == "INC-[0-9]+").unwrap();
    assert_eq!(
        (&field["counts"], &field["inside_hours"], &field["pattern"]),
        (&true.into(), &false.into(), &"web*".into())
    );
    assert_eq!(field["people"], json!([{ "person": "nina", "robot": false }]));
    let night = grants.iter().find(|grant| grant["devices_max"] == 50).unwrap();
    assert_eq!(night["who"], json!([{ "name": "night", "means": "team" }]));
    assert_eq!(night["people"][1], json!({ "person": "nightly", "robot": true }));
    assert_eq!(value["labels_from"], "given");
}
