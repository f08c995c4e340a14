//! A recording of a gigabyte (with BELAY_LONG=1; else of some MiB): whole, byte for byte what came, in memory that does not grow
//! with it; and a replay begins near its end.

use super::DEVICE;
use anyhow::{Context, Result, ensure};
use belay_tests::{
    Plan, World,
    call::run_within,
    run,
    wait::{BULKY, GENEROUS, end_of, until},
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// How much is shown, in MiB.
const MIB: u64 = 12;
const MIB_LONG: u64 = 1 << 10;
/// What each program may take more than before, in KiB: its queues, windows and a few chunks, however long the recording is.
const GROWTH_KIB_MAX: u64 = 48 << 10;
/// What `belay` may take in all, in KiB.
const BELAY_KIB_MAX: u64 = 64 << 10;
/// Moving a gigabyte, beside other tests.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// A program's largest resident memory since the last [`Peak::begin`], against what it had then.
struct Peak {
    pid: u32,
    before: u64,
}

impl Peak {
    fn begin(pid: u32) -> Self {
        fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
        Self { pid, before: high_water(pid) }
    }

    #[track_caller]
    fn check(&self, what: &str) {
        let peak = high_water(self.pid);
        println!("measured: {what} had {} MiB before and {} MiB at most", self.before >> 10, peak >> 10);
        assert!(peak < self.before + GROWTH_KIB_MAX, "{what} grew from {} to {peak} KiB", self.before);
    }
}

/// In KiB.
fn high_water(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The digest of a command's output, which nobody keeps.
fn digest_of(command: &mut Command) -> Result<String> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut sum = Command::new("sha256sum");
    let sum = sum.stdin(child.stdout.take().context("no output")?).stdout(Stdio::piped()).spawn()?;
    let status = end_of(&mut child, PATIENCE)?.context("it does not end")?;
    ensure!(status.success(), "{status}");
    Ok(String::from_utf8(sum.wait_with_output()?.stdout)?)
}

/// What `asciinema cat` gives of a file.
fn asciinema_cat(file: &Path) -> Command {
    let there = std::env::var_os("BELAY_TOOLS").map(|dir| PathBuf::from(dir).join("asciinema"));
    let mut cat = match there.filter(|program| program.exists()) {
        Some(program) => Command::new(program),
        None => {
            println!("skipped: asciinema is not installed; the same in a few lines of python3");
            let lines = "import json,sys\nf=open(sys.argv[2]); next(f)\nfor l in f:\n e=json.loads(l)\n if e[1]=='o': sys.stdout.write(e[2])";
            let mut python = Command::new("python3");
            python.args(["-c", lines]);
            python
        }
    };
    cat.arg("cat").arg(file).env("LC_ALL", "C.UTF-8").env("PYTHONIOENCODING", "utf-8:surrogateescape");
    cat
}

/// When the last event of a recording was, in seconds.
fn last_moment(file: &Path) -> f64 {
    let tail = run(Command::new("tail").args(["-n", "1"]).arg(file), b"").unwrap().must();
    let event: Value = serde_json::from_slice(&tail.stdout).unwrap();
    event[0].as_f64().unwrap()
}

/// The command under a parent that says what it took at most, in KiB.
fn metered(command: &Command) -> Command {
    let lines = "import resource,subprocess,sys\nsubprocess.run(sys.argv[1:],check=True,stdout=sys.stderr)\n\
                 print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";
    let mut python = Command::new("python3");
    python.args(["-c", lines]).arg(command.get_program()).args(command.get_args());
    python.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    python
}

#[test]
fn a_gigabyte_is_recorded_whole_in_bounded_memory_and_a_replay_begins_near_its_end() {
    let mib = if std::env::var_os("BELAY_LONG").is_some() { MIB_LONG } else { MIB };
    let bytes = mib << 20;
    let world = World::of(Plan::small());
    let tech = world.person("tech");
    let [gateway, agent] = [world.gateway_pid(), world.agent_pid(DEVICE)].map(|pid| Peak::begin(pid.unwrap()));
    let command = format!("seq 1 999999999 | head -c {bytes}; echo; sleep 3; echo behind it all");
    let mut ssh = tech.ssh_command();
    ssh.args(["-o", "ControlPath=none", "--", DEVICE, &command]);
    let begun = Instant::now();
    let came = digest_of(&mut ssh).unwrap();
    let pace = |begun: Instant| mib as f64 / begun.elapsed().as_secs_f64();
    println!("measured: {mib} MiB recorded at {:.1} MiB/s", pace(begun + Duration::from_secs(3)));
    let session = until("the whole recording", GENEROUS, || {
        let rows: Value = serde_json::from_slice(&tech.gw("sessions --json").succeeded()?.stdout)?;
        let row = rows.as_array().and_then(|rows| rows.iter().find(|row| row["command"] == command.as_str()));
        let row = row.with_context(|| rows.to_string())?;
        ensure!(row["recording"]["state"] == "whole", "{row}");
        println!("measured: {} chunks, {} bytes as kept", row["recording"]["chunks"], row["recording"]["bytes"]);
        Ok(row["id"].as_str().context("no id")?.to_owned())
    })
    .unwrap();
    agent.check("the agent");
    gateway.check("the gateway");

    let (file, identity) = (world.dir().join("taken.cast"), world.tenant_dir("acme").join("auditor.age"));
    let mut belay = tech.belay_command().unwrap();
    belay.args(["recording", &session, "--age-identity"]).arg(&identity).arg("-o").arg(&file);
    let begun = Instant::now();
    let said = run_within(&mut metered(&belay), b"", PATIENCE).unwrap().must();
    let peak: u64 = said.out().trim().parse().unwrap();
    println!("measured: `belay recording` at {:.1} MiB/s with {} MiB at most", pace(begun), peak >> 10);
    assert!(peak < BELAY_KIB_MAX, "{peak} KiB");
    gateway.check("the gateway with a reader");
    assert_eq!(digest_of(&mut asciinema_cat(&file)).unwrap(), came, "what is recorded is not what came");
    let seconds = last_moment(&file);
    drop(fs::remove_file(&file));

    // On a terminal at a tenth of the pace: what is before the offset costs no pause.
    let mut belay = tech.belay_command().unwrap();
    let at = format!("{:.1}s", seconds - 0.2);
    belay.args(["replay", &session, "--at", &at, "--speed", "0.1", "--age-identity"]).arg(&identity);
    let words: Vec<_> = std::iter::once(belay.get_program()).chain(belay.get_args()).collect();
    let line = words.iter().map(|word| format!("'{}'", word.to_string_lossy())).collect::<Vec<_>>().join(" ");
    let mut script = Command::new("sh");
    script.args(["-c", "script -qec \"$1\" /dev/null </dev/null | tail -c 300", "sh", &line]);
    script.envs(belay.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let begun = Instant::now();
    let shown = run_within(&mut script, b"", PATIENCE.max(BULKY)).unwrap().must().out();
    assert!(shown.contains("behind it all"), "{shown:?}");
    let took = begun.elapsed().as_secs_f64();
    println!("measured: a replay of {seconds:.1} s, begun at its end, took {took:.1} s");
    assert!(took < seconds * 8.0, "{took} s of {seconds}");
}
