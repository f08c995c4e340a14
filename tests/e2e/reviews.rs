//! The auditors' work list: sessions under grants that ask for it and jobs of high risk wait until somebody else has looked.

#[path = "parts/changed.rs"]
mod changed;
#[path = "parts/jobs.rs"]
mod jobs;
#[path = "parts/policies.rs"]
mod policies;
#[path = "parts/runs.rs"]
mod runs;

use belay_tests::{
    Person, Plan, World,
    wait::{GENEROUS, until},
};
use serde_json::Value;

fn listed(person: &Person, state: &str) -> Vec<Value> {
    let rows = person.belay(["review", "--json", "--state", state]).unwrap().json();
    rows.as_array().unwrap().clone()
}

fn session_of(person: &Person, device: &str, who: &str) -> String {
    let rows = person.gw(&format!("sessions --device {device} --json")).json();
    let row = rows.as_array().unwrap().iter().find(|row| row["person"] == who && row["ended"] != Value::Null);
    row.unwrap_or_else(|| panic!("no session of {who} that is over: {rows:#}"))["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_session_under_a_grant_that_asks_for_it_waits_until_somebody_else_has_looked() {
    let world = World::of(Plan::demo());
    let (tech, auditor) = (world.person("tech"), world.person("auditor"));
    let account = world.account().to_owned();
    // The auditor may log in as well, on the record and never as their own judge; a second pair of eyes is there.
    let second = world.add_person("acme", "second", &["--do", "audit"]).unwrap();
    changed::change(&world, "web1.acme", |text| {
        format!(
            "{text}\n[[grants]]\nwho = [\"auditor\"]\non = [\"web1\"]\ndo = [\"shell\"]\nas = [\"{account}\"]\nreview = true\n"
        )
    });
    auditor.belay(["config"]).unwrap();
    tech.ssh("web1.acme", "true").must();
    auditor.ssh("web1.acme", "echo looked around").must();
    let waiting = || listed(&second, "waiting");
    until("the session to be over", GENEROUS, || {
        anyhow::ensure!(waiting().first().is_some_and(|row| row["over"] == true), "{:#?}", waiting());
        Ok(())
    })
    .unwrap();
    let rows = waiting();
    let id = session_of(&second, "web1.acme", "auditor");
    assert_eq!(rows.len(), 1, "only the grant that asks for it: {rows:#?}");
    assert_eq!((&rows[0]["subject"], &rows[0]["device"]), (&Value::from(id.clone()), &"web1.acme".into()));
    assert!(rows[0]["why"].as_str().unwrap().starts_with("the grant in line "), "{rows:#?}");
    auditor.gw(&format!("review approve {id} --note 'all well'")).must_refuse(1, &["your own", "auditor"]);
    second.gw(&format!("review approve {id}")).must_refuse(2, &["--note"]);
    second.gw(&format!("review approve {} --note x", "0".repeat(32))).must_refuse(1, &["there is no session or job"]);
    second.belay(["review", "flag", &id, "--note", "why was \"this\" done?"]).unwrap().must();
    assert!(waiting().is_empty());
    let flagged = &listed(&auditor, "flagged")[0];
    assert_eq!((&flagged["subject"], &flagged["reviews"][0]["by"]), (&Value::from(id.clone()), &"second".into()));
    // A second opinion is a new event; the newest counts, and both stay, also over a restart.
    tech.belay(["review", "approve", &id, "--note", "INC-7 asked for it"]).unwrap().must();
    world.kill_gateway();
    world.start_gateway().unwrap();
    let approved = &listed(&second, "approved")[0];
    let given: Vec<(&str, &str)> = approved["reviews"].as_array().unwrap().iter().map(given).collect();
    assert_eq!(given, [("second", "flagged"), ("tech", "approved")], "{approved:#}");
    // What nobody asked to be looked at can be flagged too.
    let other = session_of(&second, "web1.acme", "tech");
    second.gw(&format!("review flag {other} --note 'and this one?'")).must();
    assert!(listed(&second, "flagged").iter().any(|row| row["subject"] == other.as_str() && row["why"] == Value::Null));
    let events: Vec<Value> = second.log("acme").into_iter().filter(|entry| entry["type"] == "review.given").collect();
    assert_eq!(events.len(), 3);
    assert_eq!(
        (&events[0]["device"], &events[0]["verdict"], &events[0]["note"]),
        (&"web1".into(), &"flagged".into(), &"why was \"this\" done?".into())
    );
    second.belay(["log", "verify", "acme"]).unwrap().must();
}

fn given(row: &Value) -> (&str, &str) {
    (row["by"].as_str().unwrap(), row["verdict"].as_str().unwrap())
}

#[test]
fn a_job_of_high_risk_waits_and_neither_who_signed_nor_who_brought_it_reviews_it() {
    let world = World::of(Plan::three());
    let author = runs::allow(&world, "web1.acme");
    let tech = world.person("tech");
    runs::push(&world, &author, "wipe", "risk = \"high\"", "echo wiped");
    runs::push(&world, &author, "noop", "", "echo nothing");
    jobs::order(&tech, &["noop", "--on", "acme/*"]).must();
    jobs::order(&tech, &["wipe", "--on", "web1.acme"]).must();
    let id = jobs::newest(&tech);
    assert!(jobs::states(&jobs::job(&tech, &id)).iter().all(|(_, state)| state == "succeeded"));
    let rows = listed(&author, "waiting");
    assert_eq!((rows.len(), &rows[0]["subject"], &rows[0]["kind"]), (1, &Value::from(id.clone()), &"job".into()));
    assert!(rows[0]["why"].as_str().unwrap().contains("wipe is of high risk"), "{rows:#?}");
    tech.gw(&format!("review approve {id} --note mine")).must_refuse(1, &["your own"]);
    author.gw(&format!("review approve {id} --note 'as ordered'")).must();
    assert!(listed(&author, "waiting").is_empty());
    assert_eq!(given(&listed(&author, "approved")[0]["reviews"][0]), ("author", "approved"));
    // Whoever cannot read the log reviews nothing.
    let helper = world.add_person("acme", "helper", &["--do", "shell", "--as", world.account()]).unwrap();
    helper.gw("review").must_refuse(1, &["`audit`"]);
    helper.gw(&format!("review flag {id} --note x")).must_refuse(1, &["`audit`"]);
}
