//! Events out of the gateway as they are recorded: JSON Lines over stock ssh, and a file with a cursor that survives every crash.

use belay_tests::{
    Person, Plan, World,
    wait::{GENEROUS, end_of, until},
};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A command whose lines are read while it runs.
fn begin(command: &mut Command) -> (Child, impl Iterator<Item = Value>) {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()))
}

fn sequence(event: &Value) -> u64 {
    event["metadata"]["sequence"].as_u64().unwrap()
}

/// Something that is recorded.
fn make_noise(person: &Person, count: usize) {
    for _ in 0..count {
        person.gw("devices --tenant acme").must();
    }
}

#[test]
fn every_event_comes_in_order_over_stock_ssh_old_ones_first() {
    let world = World::of(Plan::demo());
    let (tech, auditor) = (world.person("tech"), world.person("auditor"));
    tech.ssh("web1.acme", "true").must();
    let mut ssh = auditor.ssh_command();
    ssh.args(["-o", "ControlPath=none", "gw", "log tail acme --follow --from 0 --json"]);
    let (mut child, mut events) = begin(&mut ssh);
    let until_now = auditor.log("acme");
    let seen: Vec<Value> = events.by_ref().take(until_now.len()).collect();
    for (index, (event, entry)) in seen.iter().zip(&until_now).enumerate() {
        let mut own = entry.clone();
        own.as_object_mut().unwrap().remove("index");
        assert_eq!((sequence(event), &event["unmapped"]["belay"]), (index as u64, &own));
        assert_eq!(event["metadata"]["uid"], own["id"]);
        let [class, category] = ["class_uid", "category_uid"].map(|field| event[field].as_u64().unwrap());
        assert_eq!((category, event["type_uid"].as_u64().unwrap() / 100), (class / 1_000, class));
        assert!(event["time"].as_u64().unwrap() > 1_600_000_000_000, "{event:#}");
    }
    let opened = seen.iter().find(|event| event["message"] == "access.opened").unwrap();
    assert_eq!((&opened["class_uid"], &opened["activity_id"]), (&4_007.into(), &1.into()));
    assert_eq!(
        (&opened["actor"]["user"]["name"], &opened["device"]["hostname"]),
        (&"tech".into(), &"web1.acme".into())
    );
    // What happens from here on comes at once, without a gap.
    let begun = Instant::now();
    tech.gw("devices --tenant acme").must();
    let ran = events.by_ref().find(|event| event["unmapped"]["belay"]["words"][0] == "devices").unwrap();
    assert!(sequence(&ran) >= until_now.len() as u64);
    println!("measured: an event was here {} ms after its command began", begun.elapsed().as_millis());
    // A grant that ends, ends the stream.
    world.remove_person("acme", "auditor").unwrap();
    events.for_each(drop);
    assert!(!end_of(&mut child, GENEROUS).unwrap().unwrap().success());
    tech.gw("log tail acme --from 1000000 --json").must_refuse(1, &["entries and none at 1000000"]);
    tech.gw("log tail acme --from 1 --limit 2 --json").must_refuse(2, &["--limit"]);
    let rest = tech.gw("log tail acme --from 3 --json").must().out();
    assert_eq!(sequence(&serde_json::from_str(rest.lines().next().unwrap()).unwrap()), 3);
}

fn tail(person: &Person, to: &Path, cursor: &Path) -> Child {
    let mut belay = person.belay_command().unwrap();
    belay.args(["log", "tail", "acme", "--follow", "--to"]).arg(to).arg("--cursor").arg(cursor);
    belay.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// The numbers of the whole lines of the file, as they stand in it.
fn numbers(to: &Path) -> Vec<u64> {
    let text = fs::read_to_string(to).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| sequence(&serde_json::from_str(line).unwrap())).collect()
}

/// As if the writer had died between the file and its cursor, in the middle of a line.
fn die_between(to: &Path, cursor: &Path) {
    let text = fs::read(to).unwrap();
    fs::write(to, &text[..text.len() - 7]).unwrap();
    let text = fs::read_to_string(cursor).unwrap();
    let (head, next) = text.trim_end().rsplit_once("next ").unwrap();
    fs::write(cursor, format!("{head}next {}\n", next.parse::<u64>().unwrap() - 2)).unwrap();
}

#[test]
fn a_file_with_a_cursor_misses_nothing_when_either_side_is_killed() {
    let world = World::of(Plan::demo());
    let tech = world.person("tech");
    let (to, cursor) = (world.dir().join("events.jsonl"), world.dir().join("events.cursor"));
    let size = || tech.log("acme").len() as u64;
    let rounds = if std::env::var_os("BELAY_LONG").is_some() { 40 } else { 6 };
    for round in 0..rounds {
        let mut reader = tail(&tech, &to, &cursor);
        let before = numbers(&to).len();
        make_noise(&tech, 3);
        until("something new", GENEROUS, || {
            anyhow::ensure!(numbers(&to).len() > before, "{} lines", before);
            Ok(())
        })
        .unwrap();
        if round % 3 == 2 {
            world.kill_gateway();
            world.start_gateway().unwrap();
            make_noise(&tech, 2);
            let newest = size() - 1;
            // It comes back by itself and goes on.
            until("what came after the restart", GENEROUS, || {
                anyhow::ensure!(numbers(&to).last() >= Some(&newest), "{:?} of {newest}", numbers(&to).last());
                Ok(())
            })
            .unwrap();
        }
        reader.kill().unwrap();
        reader.wait().unwrap();
        if round % 2 == 1 {
            die_between(&to, &cursor);
        }
    }
    let mut reader = tail(&tech, &to, &cursor);
    let newest = size() - 1;
    until("the rest", GENEROUS, || {
        anyhow::ensure!(numbers(&to).last() >= Some(&newest));
        Ok(())
    })
    .unwrap();
    reader.kill().unwrap();
    reader.wait().unwrap();
    let numbers = numbers(&to);
    let repeated = numbers.windows(2).filter(|pair| pair[1] <= pair[0]).count();
    assert!(numbers.windows(2).all(|pair| pair[1] <= pair[0] + 1), "a gap: {numbers:?}");
    assert_eq!(numbers.first(), Some(&0));
    assert!(repeated >= 1 && repeated <= rounds, "repeated {repeated} times in {rounds} rounds: {numbers:?}");
    // Nobody else may write the file meanwhile; and the person is told.
    let mut first = tail(&tech, &to, &cursor);
    let lines = numbers.len();
    until("the first one to hold it", Duration::from_secs(30), || {
        make_noise(&tech, 1);
        anyhow::ensure!(self::numbers(&to).len() > lines);
        Ok(())
    })
    .unwrap();
    let mut second = tech.belay_command().unwrap();
    second.args(["log", "tail", "acme", "--follow", "--to"]).arg(&to).arg("--cursor").arg(&cursor);
    belay_tests::run(&mut second, b"").unwrap().must_refuse(1, &["another `belay log tail`"]);
    first.kill().unwrap();
    first.wait().unwrap();
}
