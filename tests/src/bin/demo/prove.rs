//! The tour's proofs: one event, a whole session, and all events for somebody else's machine; what is held for a court, and
//! what waits until somebody has looked at it.

use super::{
    desk::session,
    tour::{ssh, typed},
};
use anyhow::{Context, Result, ensure};
use belay_tests::{Person, World, call::is_there, wait::GENEROUS};
use serde_json::Value;
use std::{fs, path::Path, process::Command};

/// What the auditor does on the machine of step 13.
const EMERGENCY: &str = "echo looked around";

/// Walks it: `session` is one on web1 of acme.
///
/// # Errors
/// The first step that did not do what it says.
pub fn walk(world: &World, auditor: &Person, session: &str) -> Result<()> {
    println!("\n11. The auditor proves it to somebody who knows none of us: one event, then the whole session.");
    event(world, auditor, session)?;
    let pack = world.dir().join("pack.tar");
    let said = typed(auditor.belay_command()?.args(["evidence", session, "-o"]).arg(&pack))?;
    ensure!(said.status.success(), "{}", said.story());
    let said = typed(auditor.belay_command()?.args(["evidence", "verify"]).arg(&pack))?;
    ensure!(said.status.success(), "{}", said.story());

    println!(
        "\n12. A court asks for it: it is held whatever the policy says about how long, until somebody lets it go."
    );
    for (word, reason, held) in [("hold", "case 7", true), ("release", "case 7 is closed", false)] {
        let said = typed(auditor.belay_command()?.args([word, session, "--reason", reason]))?;
        ensure!(said.status.success(), "{}", said.story());
        let about = auditor.gw(&format!("recording {session} --json")).must().json();
        ensure!(about["held"] == held, "after `belay {word}`: {about:#}");
    }
    review(world, auditor)?;
    report(world, auditor)
}

/// That a session began is one event, with the proof that it is in the log.
fn event(world: &World, auditor: &Person, session: &str) -> Result<()> {
    let log = auditor.log("acme");
    let opened = log.iter().find(|entry| entry["type"] == "session.opened" && entry["session"] == session);
    let event = opened.and_then(|entry| entry["id"].as_str()).context("no event says that the session began")?;
    let folder = world.dir().join("proofs");
    let said = typed(auditor.belay_command()?.args(["log", "proof", event, "-o"]).arg(&folder))?;
    let index = said.out().strip_prefix("entry ").and_then(|rest| rest.split(' ').next().map(str::to_owned));
    let index = index.with_context(|| said.story())?;
    ensure!(said.status.success() && said.out().contains(event), "{}", said.story());
    let (entry, proof) = (folder.join(format!("{index}.json")), folder.join(format!("{index}.proof")));
    ensure!(fs::read_to_string(&entry)?.contains(event), "{} is of another event", entry.display());
    if !is_there("python3") {
        println!("     (with python3 here: tests/independent/verify_proof.py follows it, with nothing of ours)");
        return Ok(());
    }
    let reader = Path::new(env!("CARGO_MANIFEST_DIR")).join("independent/verify_proof.py");
    let followed = |show: fn(&mut Command) -> Result<belay_tests::Said>| {
        show(Command::new("python3").arg(&reader).args([&entry, &proof]))
    };
    ensure!(followed(typed)?.status.success(), "another reader does not find entry {index} in the log");
    // A proof of anything proves nothing: the same reader refuses it when one byte of the entry is another.
    let mut changed = fs::read(&entry)?;
    changed.iter_mut().skip(20).take(1).for_each(|byte| *byte ^= 1);
    fs::write(&entry, changed)?;
    ensure!(!followed(|reader| belay_tests::run(reader, b""))?.status.success(), "the reader takes anything");
    Ok(())
}

/// A session under a grant that asks for a look waits for it, and not for its own person's.
fn review(world: &World, auditor: &Person) -> Result<()> {
    println!("\n13. In an emergency acme's auditor may log in: that waits until somebody else has looked at it.");
    let grant =
        "\n[[grants]]\nwho = [\"auditor\"]\non = [\"db1\"]\ndo = [\"shell\"]\nas = [\"ACCOUNT\"]\nreview = true\n";
    let mark = world.log("db1.acme").mark();
    world.append("acme", &grant.replace("ACCOUNT", world.account()))?;
    world
        .log("db1.acme")
        .wait("the new policy", mark, GENEROUS, |line| line.contains("policy") && line.contains("version="))?;
    auditor.belay(["config"])?.succeeded()?;
    let said = typed(&mut ssh(world, "ssh_config.auditor", &["db1.acme", EMERGENCY]))?;
    ensure!(said.out() == "looked around\n", "{}", said.story());
    let owner = world.person("ana");
    let id = session(&owner, "db1.acme", EMERGENCY)?;
    let said = typed(owner.belay_command()?.arg("review"))?;
    ensure!(said.status.success() && said.out().contains(&id), "it is not on the list: {}", said.story());
    let mut own = auditor.belay_command()?;
    let said = typed(own.args(["review", "approve", &id, "--note", "all well"]))?;
    ensure!(said.code() == Some(1) && said.err().contains("your own"), "not refused: {}", said.story());
    let mut given = owner.belay_command()?;
    let said = typed(given.args(["review", "approve", &id, "--note", "I asked for it"]))?;
    ensure!(said.status.success(), "{}", said.story());
    let left = owner.belay(["review"])?.succeeded()?;
    ensure!(!left.out().contains(&id), "it still waits: {}", left.story());
    let log = owner.log("acme");
    let event = log.iter().find(|entry| entry["type"] == "review.given" && entry.to_string().contains(&id));
    let of = event.map(|event| (event["person"].as_str(), event["verdict"].as_str(), event["note"].as_str()));
    ensure!(of == Some((Some("ana"), Some("approved"), Some("I asked for it"))), "the log does not say it: {event:?}");
    Ok(())
}

/// All events of a customer go out to a file, which goes on where it ended.
fn report(world: &World, auditor: &Person) -> Result<()> {
    println!("\n14. acme's events go out to whatever gathers events; a second run goes on where the first one ended.");
    let (file, cursor) = (world.dir().join("acme.jsonl"), world.dir().join("acme.cursor"));
    let mut ends = Vec::new();
    for _ in 0..2 {
        let mut tail = auditor.belay_command()?;
        let said = typed(tail.args(["log", "tail", "acme", "--to"]).arg(&file).arg("--cursor").arg(&cursor))?;
        ensure!(said.status.success(), "{}", said.story());
        let text = fs::read_to_string(&file)?;
        for (number, line) in (0_u64..).zip(text.lines()) {
            let event: Value = serde_json::from_str(line)?;
            ensure!(event["metadata"]["sequence"] == number, "{number} events are there, and then {line}");
        }
        ends.push(text.lines().count());
        println!("     events in the file: {}", text.lines().count());
    }
    let [first, second] = ends[..] else { anyhow::bail!("two runs, {} ends", ends.len()) };
    // That the first run asked is an event itself.
    ensure!(0 < first && first < second, "the second run brought nothing: {first} and {second} events");
    let said = typed(&mut ssh(world, "ssh_config.auditor", &["gw", &format!("log tail acme --from {first} --json")]))?;
    let begins = said.out().lines().next().map(serde_json::from_str::<Value>).transpose()?;
    ensure!(begins.is_some_and(|event| event["metadata"]["sequence"] == first), "{}", said.story());
    let kept = fs::read_to_string(&file)?;
    ensure!(kept.lines().skip(first).zip(said.out().lines()).all(|(kept, shown)| kept == shown), "they differ");
    Ok(())
}
