//! Who may run what, and that it stands in the log before anything is answered.

use super::world::{Answer, World};
use crate::{act::strangers, limits::STRANGER_DELAY};
use belay_certs::{PrivateKey, entry::Entry};
use std::time::Instant;

/// Every command that concerns tenants, and for `tech` in which of them it is recorded.
const COMMANDS: [(&str, &[&str]); 32] = [
    ("devices", &["acme", "globex"]),
    ("devices web --tenant acme", &["acme"]),
    ("pending --json", &["acme", "globex"]),
    ("pending --tenant globex", &["globex"]),
    ("token acme", &["acme"]),
    ("approve acme", &["acme"]),
    ("records acme", &["acme"]),
    ("recertify acme", &["acme"]),
    ("policy show acme", &["acme"]),
    ("policy show acme --from 0 --json", &["acme"]),
    ("policy push acme", &["acme"]),
    ("sessions", &["acme", "globex"]),
    ("sessions --device web1.acme", &["acme"]),
    ("sessions --person tech --since 24h --kind exec", &["acme", "globex"]),
    ("search passwd --tenant acme", &["acme"]),
    ("search passwd --json", &["acme", "globex"]),
    ("recording 00000000000000000000000000000001", &["acme", "globex"]),
    ("hold 00000000000000000000000000000001 --reason case", &["acme", "globex"]),
    ("hold 00000000000000000000000000000001/web1 --reason case", &["acme", "globex"]),
    ("release 00000000000000000000000000000001 --reason case", &["acme", "globex"]),
    ("freeze acme/guest", &["acme"]),
    ("freeze web1.acme --reason stolen", &["acme"]),
    ("thaw acme", &["acme"]),
    ("freezes --tenant acme", &["acme"]),
    ("review --tenant acme --state flagged", &["acme"]),
    ("log tail acme", &["acme"]),
    ("log tail acme --json", &["acme"]),
    ("log tail acme --from 0 --json", &["acme"]),
    ("log export acme", &["acme"]),
    ("log checkpoint acme", &["acme"]),
    ("log proof acme 0", &["acme"]),
    ("log proof 00000000000000000000000000000001", &["acme", "globex"]),
];

/// The words of the `command.ran` entries, with who ran them.
fn ran(entries: &[Entry]) -> Vec<(String, String)> {
    let ran = entries.iter().filter(|entry| entry.kind == "command.ran");
    ran.map(|entry| {
        let words = entry.detail["words"].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
        (entry.person.as_ref().unwrap().to_string(), words.collect::<Vec<_>>().join(" "))
    })
    .collect()
}

#[tokio::test]
async fn every_command_is_recorded_in_each_tenant_it_concerns_and_in_no_other() {
    let world = World::new().await;
    for (line, tenants) in COMMANDS {
        let before = [world.size("acme"), world.size("globex")];
        world.run(&world.tech, line).await;
        for (name, before, person) in [("acme", before[0], "tech"), ("globex", before[1], "techie")] {
            let expected: Vec<_> =
                tenants.contains(&name).then(|| (person.to_owned(), line.to_owned())).into_iter().collect();
            assert_eq!(ran(&world.entries(name, before).await), expected, "{line} in {name}");
        }
    }
    let before = world.size("acme");
    assert!(world.run(&world.tech, "help").await.out.contains("devices"));
    assert_eq!(world.run(&world.tech, "log tail acme --jsn").await.status, 2);
    assert_eq!(world.size("acme"), before);
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_answered() {
    let world = World::new().await;
    world.gateway.store.close().await;
    for (line, _) in COMMANDS {
        let answer = world.run(&world.tech, line).await;
        assert_eq!((answer.status, answer.out.as_str()), (1, ""), "{line}");
        assert!(
            answer.err.contains("nothing was done; try again later") && !answer.err.contains("closed"),
            "{line}: {}",
            answer.err
        );
    }
}

#[tokio::test]
async fn a_stranger_gets_one_text_after_one_delay_whatever_there_is() {
    let world = World::new().await;
    world.devices(&["web1"], &[]).await;
    let before = world.size("acme");
    let lines: Vec<String> = COMMANDS
        .iter()
        .filter(|(line, _)| line.contains("acme"))
        .flat_map(|(line, _)| [(*line).to_owned(), line.replace("acme", "nowhere")])
        .collect();
    let begun = Instant::now();
    let answers = futures_util::future::join_all(lines.iter().map(|line| world.run(&world.other, line))).await;
    assert!(begun.elapsed() >= STRANGER_DELAY);
    for (line, answer) in lines.iter().zip(answers) {
        let expected =
            Answer { status: 1, bytes: Vec::new(), out: String::new(), err: format!("{}\n", strangers::TEXT) };
        assert_eq!(answer, expected, "{line}");
    }
    assert_eq!(world.size("acme"), before, "nothing of a stranger stands in a tenant's log");
}

#[tokio::test]
async fn each_command_wants_the_grant_that_it_is_for() {
    let world = World::new().await;
    let refused = |who: &'static str, line: &'static str, needed: &'static str| (who, line, needed);
    let table = [
        refused("audit", "pending --tenant acme", "`enrol`"),
        refused("audit", "pending", "`enrol`"),
        refused("audit", "token acme", "`enrol`"),
        refused("audit", "approve acme", "`enrol`"),
        refused("guest", "records acme", "`enrol`"),
        refused("audit", "recertify acme", "`enrol`"),
        refused("audit", "kill 00000000000000000000000000000000", "`operate`"),
        refused("audit", "freeze acme", "`operate`"),
        refused("audit", "thaw acme/tech", "`operate`"),
        refused("audit", "freezes", "`operate`"),
        refused("guest", "review", "`audit`"),
        refused("guest", "review flag 00000000000000000000000000000000 --note x", "`audit`"),
        refused("guest", "log tail acme", "`audit`"),
        refused("guest", "log tail acme --follow", "`audit`"),
        refused("guest", "log export acme", "`audit`"),
    ];
    let key = |who: &str| -> &PrivateKey { if who == "audit" { &world.audit } else { &world.guest } };
    for (who, line, needed) in table {
        let answer = world.run(key(who), line).await;
        assert_eq!((answer.status, answer.out.as_str()), (1, ""), "{who}: {line}");
        assert!(answer.err.contains(needed), "{who}: {line}: {}", answer.err);
    }
    for (who, line) in [
        ("audit", "log tail acme"),
        ("audit", "records acme"),
        ("audit", "sessions"),
        ("guest", "devices"),
        ("guest", "log checkpoint acme"),
    ] {
        assert_eq!(world.run(key(who), line).await.status, 0, "{who}: {line}");
    }
}

#[tokio::test]
async fn somebody_without_a_grant_reads_their_own_policy_and_nothing_else() {
    let world = World::new().await;
    assert_eq!(world.run(&world.idle, "policy show acme").await.out, world.policy_text("acme"));
    assert_eq!(world.run(&world.idle, "log checkpoint acme").await.status, 0);
    for line in ["devices", "sessions", "log tail acme", "policy show globex"] {
        assert_eq!(world.run(&world.idle, line).await.err.trim_end(), strangers::TEXT, "{line}");
    }
}

#[tokio::test]
async fn the_policy_of_an_imported_tenant_is_read_by_those_whose_devices_hold_it() {
    let world = World::new().await;
    let policy0 = world.chain("globex").policy0();
    assert_eq!(world.run(&world.audit, "policy show globex --json").await.err.trim_end(), strangers::TEXT);
    // globex's `techie` would be acme's `tech` under a second name, so that version leaves them out.
    let text = world.policy("acme", 1, &format!("[import.globex]\npolicy0 = \"{policy0}\"\n"));
    world.adopt_anyway("acme", text);
    let before = (world.size("acme"), world.size("globex"));
    let shown = world.run(&world.audit, "policy show globex --json").await.json();
    assert_eq!((&shown["tenant"], &shown["versions"][0]["version"]), (&"globex".into(), &0.into()));
    assert_eq!(
        (world.size("acme"), world.size("globex")),
        (before.0 + 1, before.1),
        "recorded where the reader is somebody"
    );
    assert_eq!(world.run(&world.idle, "policy show globex --json").await.err.trim_end(), strangers::TEXT);
}

#[tokio::test]
async fn whoever_may_run_gets_full_pages_of_the_records_that_a_grant_reaches() {
    let world = World::new().await;
    world.devices(&["app1", "db1", "web1", "web2", "web3"], &[]).await;
    let run = "[[grants]]\nwho = [\"idle\"]\non = [\"web*\"]\ndo = [\"run\"]\nas = [\"root\"]\nrunbooks = [\"*\"]\n";
    world.adopt_anyway("acme", world.policy("acme", 1, run));
    for (line, expected) in [
        ("records acme", ["web1.acme", "web2.acme", "web3.acme"].as_slice()),
        ("records acme --limit 1", &["web1.acme"]),
        ("records acme --limit 2 --after web1.acme", &["web2.acme", "web3.acme"]),
        ("records acme --limit 2 --after web3.acme", &[]),
        ("records acme --device db1.acme", &[]),
        ("records acme --device web2.acme", &["web2.acme"]),
    ] {
        let shown = world.run(&world.idle, line).await.json();
        let names: Vec<&str> = shown.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
        assert_eq!(names, expected, "{line}");
    }
}

#[tokio::test]
async fn under_an_expired_policy_nothing_is_listed_and_it_says_why() {
    let world = World::new().await;
    world.devices(&["web1"], &[]).await;
    let text = world.policy("acme", 1, "").lines().map(expired).collect::<Vec<_>>().join("\n");
    world.adopt_anyway("acme", text);
    for line in ["devices --tenant acme", "pending --tenant acme", "log tail acme"] {
        let answer = world.run(&world.tech, line).await;
        assert!(answer.status == 1 && answer.err.contains("expired"), "{line}: {answer:?}");
    }
    assert_eq!(world.run(&world.tech, "policy show acme").await.status, 0, "the way out of it stays open");
}

/// The line of a policy that ends as it begins.
fn expired(line: &str) -> String {
    let now = belay_certs::Timestamp::from_system(std::time::SystemTime::now()).whole_second();
    match line.starts_with("expires = ") {
        true => format!("expires = {}", now.plus(-belay_certs::time::SECOND)),
        false => line.to_owned(),
    }
}
