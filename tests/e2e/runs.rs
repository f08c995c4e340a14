//! A signed runbook on machines: from the person's signature to the proved result, and nothing else starts it.

#[path = "parts/changed.rs"]
mod changed;
#[path = "parts/granted.rs"]
mod granted;
#[path = "parts/jobs.rs"]
mod jobs;
#[path = "parts/policies.rs"]
mod policies;
#[path = "parts/runs.rs"]
mod runs;

use belay_tests::{
    Person, Plan, World, run,
    wait::{GENEROUS, until},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// The recipient in the README of age.
const AGE: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
/// The script of the README, in which a robot writes, signs and submits an order with `ssh` and `ssh-keygen` alone.
const ROBOT: &str = include_str!("../../certs/src/order/fixtures/order.sh");

#[test]
fn a_signed_runbook_runs_on_every_device_once_and_the_log_says_so() {
    let world = World::of(Plan::three());
    let author = runs::allow(&world, "web1.acme");
    let tech = world.person("tech");
    let mark = world.dir().join("ran");
    let body = format!(
        "echo \"$BELAY_DEVICE $BELAY_ARG_WORD\" >> {}; echo \"out $BELAY_ARG_WORD\"; echo err >&2",
        mark.display()
    );
    runs::push(
        &world,
        &author,
        "mark",
        "[parameters.word]\ntype = \"string\"\ndescription = \"a word\"\npattern = \"[a-z]+\"\nrequired = true",
        &body,
    );
    let said = jobs::order(&tech, &["mark", "word=hello", "--on", "acme/*"]);
    let said = said.must();
    let mut lines: Vec<String> = fs::read_to_string(&mark).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["web1.acme hello", "web2.acme hello", "web3.acme hello"], "{}", said.story());
    let id = jobs::newest(&tech);
    let job = jobs::job(&tech, &id);
    assert_eq!(job["over"], true, "{job:#}");
    assert!(jobs::states(&job).iter().all(|(_, state)| state == "succeeded"), "{job:#}");
    let output = tech.belay(["job", &id, "--device", "web1", "--output"]).unwrap().must().out();
    assert!(output.contains("out hello") && output.contains("err"), "{output}");
    let types: Vec<String> = tech.log("acme").iter().map(|entry| entry["type"].as_str().unwrap().to_owned()).collect();
    let count = |kind: &str| types.iter().filter(|found| *found == kind).count();
    assert_eq!(
        ["runbook.pushed", "job.submitted", "run.started", "run.ended", "job.ended"].map(count),
        [1, 1, 3, 3, 1],
        "{types:?}"
    );
    tech.belay(["log", "verify", "acme"]).unwrap().must();
}

/// The lines of a file that scripts append to, sorted.
fn lines(mark: &Path) -> Vec<String> {
    let text = fs::read_to_string(mark).unwrap_or_default();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn mark(world: &World) -> (PathBuf, String) {
    let mark = world.dir().join("ran");
    let body = format!("echo \"$BELAY_DEVICE\" >> {}", mark.display());
    (mark, body)
}

/// `belay run` in the background.
fn begin(person: &Person, words: &[&str]) -> Child {
    let mut belay = person.belay_command().unwrap();
    belay.arg("run").args(words).arg("--yes").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    belay.spawn().unwrap()
}

#[test]
fn who_is_offline_runs_it_when_it_comes_back_within_the_window() {
    let world = World::of(Plan::three());
    let author = runs::allow(&world, "web1.acme");
    let tech = world.person("tech");
    let (mark, body) = mark(&world);
    runs::push(&world, &author, "mark", "", &body);
    world.stop_agent("web3.acme").unwrap();
    let said = jobs::order(&tech, &["mark", "--on", "acme/*", "--detach"]);
    assert_eq!(said.code(), Some(4), "{}", said.story());
    let id = jobs::newest(&tech);
    until("the two that are there", GENEROUS, || {
        anyhow::ensure!(lines(&mark) == ["web1.acme", "web2.acme"]);
        Ok(())
    })
    .unwrap();
    assert_eq!(jobs::states(&jobs::job(&tech, &id))[2], ("web3".to_owned(), "waiting".to_owned()));
    // A gateway that was killed meanwhile carries on.
    world.kill_gateway();
    world.start_gateway().unwrap();
    world.start_agent("web3.acme").unwrap();
    tech.belay(["job", &id, "--follow"]).unwrap().must();
    assert_eq!(lines(&mark), ["web1.acme", "web2.acme", "web3.acme"]);
}

#[test]
fn what_a_run_prints_while_its_gateway_is_away_comes_when_it_is_back() {
    let world = World::of(Plan::three());
    let author = runs::allow(&world, "web1.acme");
    let tech = world.person("tech");
    let (mark, body) = mark(&world);
    let go = world.dir().join("go");
    let printed =
        format!("{body}\nuntil [ -e {} ]; do sleep 0.05; done\necho printed while nobody heard it", go.display());
    runs::push(&world, &author, "late", "", &printed);
    jobs::order(&tech, &["late", "--on", "web1.acme", "--detach"]);
    until("the run to begin", GENEROUS, || {
        anyhow::ensure!(lines(&mark) == ["web1.acme"]);
        Ok(())
    })
    .unwrap();
    let id = jobs::newest(&tech);
    world.kill_gateway();
    let logged = world.log("web1.acme").mark();
    fs::write(&go, "").unwrap();
    world.log("web1.acme").wait("the run's end", logged, GENEROUS, |line| line.contains("a run is over")).unwrap();
    // This gateway never offers the run: all it hears of it is what the device still has.
    world.start_gateway().unwrap();
    until("the whole output", GENEROUS, || {
        let run = jobs::job(&tech, &id)["runs"][0].clone();
        anyhow::ensure!(run["state"] == "succeeded" && run["output_kept"] == run["output_bytes"], "{run:#}");
        Ok(())
    })
    .unwrap();
    let output = tech.belay(["job", &id, "--device", "web1", "--output"]).unwrap().must().out();
    assert!(output.contains("printed while nobody heard it"), "{output}");
}

#[test]
fn a_cancelled_job_starts_nobody_more_and_ends_who_started() {
    let world = World::of(Plan::three());
    let author = runs::allow(&world, "web1.acme");
    let tech = world.person("tech");
    let (mark, body) = mark(&world);
    runs::push(&world, &author, "slow", "", &format!("{body}\nsleep 300"));
    let mut running = begin(&tech, &["slow", "--on", "acme/*", "--wave", "1,100%"]);
    until("the first", GENEROUS, || {
        anyhow::ensure!(lines(&mark).len() == 1);
        Ok(())
    })
    .unwrap();
    let id = jobs::newest(&tech);
    tech.belay(["cancel", &id]).unwrap().must();
    assert_eq!(running.wait().unwrap().code(), Some(130));
    let job = jobs::job(&tech, &id);
    let states: Vec<String> = jobs::states(&job).into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, ["cancelled", "not started", "not started"], "{job:#}");
    assert_eq!(lines(&mark).len(), 1);
    // Once is enough, and a retry is for who never began.
    tech.gw(&format!("cancel {id}")).must_refuse(1, &["over"]);
    let retried = tech.belay(["retry", &id, "--dry-run"]).unwrap().must();
    assert!(retried.out().contains("web2") && !retried.out().contains("web1.acme "), "{}", retried.story());
}

#[test]
fn the_stop_rule_ends_a_job_after_the_first_wave_and_retry_takes_the_rest() {
    let world = World::of(Plan::three());
    let author = runs::allow(&world, "web1.acme");
    let tech = world.person("tech");
    let (mark, body) = mark(&world);
    let fixed = world.dir().join("fixed");
    runs::push(&world, &author, "picky", "", &format!("{body}\ntest -e {} || exit 3", fixed.display()));
    let said = jobs::order(&tech, &["picky", "--on", "acme/*", "--wave", "1,100%", "--stop-above", "0"]);
    assert_eq!(said.code(), Some(3), "{}", said.story());
    let id = jobs::newest(&tech);
    let job = jobs::job(&tech, &id);
    let states: Vec<String> = jobs::states(&job).into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, ["failed", "not started", "not started"], "{job:#}");
    assert_eq!((&job["phase"], &job["runs"][0]["exit"]), (&"stopped".into(), &3.into()));
    fs::write(&fixed, "").unwrap();
    tech.belay(["retry", &id, "--yes"]).unwrap().must();
    assert_eq!(lines(&mark), ["web1.acme", "web1.acme", "web2.acme", "web3.acme"]);
}

#[test]
fn a_robot_needs_ssh_and_ssh_keygen_and_does_no_more_than_its_grant() {
    let world = World::of(Plan::three());
    let author = runs::allow(&world, "web1.acme");
    let account = world.account().to_owned();
    let robot = world.add_person("acme", "robot", &["--do", "run", "--as", &account]).unwrap();
    changed::change(&world, "web1.acme", |text| {
        granted::add_to_grant(text, "robot", "runbooks = [\"restart-*\"]\ndevices_max = 2")
    });
    let (mark, _) = mark(&world);
    let body = format!("echo \"$BELAY_DEVICE $BELAY_ARG_SERVICE\" >> {}", mark.display());
    let service = "[parameters.service]\ntype = \"string\"\ndescription = \"a unit\"\npattern = \"[a-z0-9@._-]+\"\nrequired = true";
    let file = runs::push(&world, &author, "restart-service", service, &body);
    let other = runs::push(&world, &author, "wipe", service, &body);
    let records = robot.gw("records acme").must().json();
    let line = |record: &serde_json::Value| {
        let text = record["record"].as_str().unwrap();
        let serial = text.lines().find_map(|line| line.strip_prefix("serial = ")).unwrap();
        format!("{} {serial}\n", record["name"].as_str().unwrap().split('.').next().unwrap())
    };
    let devices: Vec<String> = records.as_array().unwrap().iter().map(line).collect();
    let policy = robot.gw("policy show acme").must().stdout;
    let version = String::from_utf8_lossy(&policy)
        .lines()
        .find_map(|line| Some(line.strip_prefix("version = ")?.to_owned()))
        .unwrap();
    let order = |service: &str, runbook: &str, file: &Path, devices: &[String]| {
        fs::write(robot.dir.join("devices"), devices.concat()).unwrap();
        let submit = format!("ssh -F {} -o BatchMode=yes gw run acme --json", robot.ssh_config().display());
        let mut script = Command::new("bash");
        script.args([
            "-c",
            &ROBOT.replace("account = \"root\"", &format!("account = \"{account}\"")),
            "order",
            service,
        ]);
        script.current_dir(&robot.dir).env("SUBMIT", submit).env("TENANT", "acme").env("RUNBOOK", runbook);
        script.env("VERSION", belay_certs::Digest::of(&fs::read(file).unwrap()).to_string());
        script.env("POLICY", belay_certs::Digest::of(&policy).to_string()).env("POLICY_VERSION", &version);
        script.env("KEY", robot.key()).env("READER", AGE).env_remove("SSH_AUTH_SOCK");
        run(&mut script, b"").unwrap()
    };
    let submitted = order("cups", "restart-service", &file, &devices[..2]).must().json();
    let id = submitted["job"].as_str().unwrap().to_owned();
    until("the end of the job", GENEROUS, || {
        anyhow::ensure!(jobs::job(&robot, &id)["over"] == true);
        Ok(())
    })
    .unwrap();
    assert_eq!(lines(&mark), ["web1.acme cups", "web2.acme cups"]);
    let signed = jobs::job(&robot, &id)["order"].as_str().unwrap().to_owned();
    assert!(signed.contains(&format!("\noutput_to = [\"{AGE}\"]\n")), "{signed}");
    // Beyond its grant: another runbook, more devices, another account; and an argument that the pattern forbids.
    order("cups", "wipe", &other, &devices[..1]).must_refuse(1, &["nothing was started", "wipe"]);
    order("cups", "restart-service", &file, &devices).must_refuse(1, &["nothing was started", "devices"]);
    order("Cups!", "restart-service", &file, &devices[..1]).must_refuse(2, &["not a service"]);
    assert!(include_str!("../../README.md").contains(ROBOT), "the README shows another script");
    // The same order again is the same job.
    order("cups", "restart-service", &file, &devices[2..]).must();
    let again = ["order", "order.sig", "devices"].map(|file| fs::read(robot.dir.join(file)).unwrap()).concat();
    let again = robot.gw_with_input("run acme --json", &again).must().json();
    assert_eq!(again["again"], true, "{again:#}");
    let third = again["job"].as_str().unwrap();
    until("the end of the third", GENEROUS, || {
        anyhow::ensure!(jobs::job(&robot, third)["over"] == true);
        Ok(())
    })
    .unwrap();
    assert_eq!(lines(&mark), ["web1.acme cups", "web2.acme cups", "web3.acme cups"]);
}
