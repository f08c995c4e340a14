//! The README's walk, word for word, on machines of their own: a gateway, a laptop, and a device behind a home router. Then the
//! cable is pulled and the device's address changes, under a live session.

#[path = "parts/machines.rs"]
mod machines;

use anyhow::{Context, Result, bail, ensure};
use belay_tests::{
    Terminal,
    call::{Said, run},
    programs::programs,
    wait::{GENEROUS, until},
};
use machines::Machine;
use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

const README: &str = include_str!("../../README.md");
/// Where people and root work in the walk.
const GATEWAY_DIR: &str = "/root/walk";
const LAPTOP_DIR: &str = "/home/ana";
const DEVICE_DIR: &str = "/root/walk";

/// One thing that the README says.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// On which machine what follows is typed.
    On(&'static str),
    /// A line behind a prompt.
    Type(&'static str),
    /// A file goes to another machine.
    Bring(&'static str, &'static str),
}

/// The walk, in order.
fn steps() -> Vec<Step> {
    let walk = README.split("\n## Install for real\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut steps = Vec::new();
    for line in walk.lines() {
        if let Some(rest) = line.strip_prefix("**On ") {
            steps.push(Step::On(rest.split("**").next().unwrap()));
        } else if let Some(rest) = line.strip_prefix("Bring ") {
            let sentence = rest.split(". ").next().unwrap().trim_end_matches('.');
            let (files, to) = sentence.rsplit_once(" to ").unwrap();
            let files = files.split('`').skip(1).step_by(2);
            steps.extend(files.map(|file| Step::Bring(file, to)));
        } else if let Some(command) = line.strip_prefix("# ").or(line.strip_prefix("$ ")) {
            steps.push(Step::Type(command));
        }
    }
    steps
}

/// The machines, and the cables between them.
struct Place {
    gateway: Machine,
    laptop: Machine,
    device: Machine,
    /// Between the device and the rest.
    router: Machine,
    /// Only its bridge.
    _internet: Machine,
    /// Whether the router hides the device's address.
    hides: bool,
    /// What `belay init` printed.
    hash: Option<String>,
}

impl Place {
    fn new(scratch: &Path) -> Result<Self> {
        let boot = |name| Machine::boot(scratch, name);
        let internet = boot("internet")?;
        let (gateway, laptop, router, device) = (boot("gw")?, boot("laptop")?, boot("router")?, boot("web1")?);
        internet.sh("ip link add br0 type bridge && ip link set br0 up")?.succeeded()?;
        for (machine, port, address) in
            [(&gateway, "p1", "10.77.0.1"), (&laptop, "p2", "10.77.0.2"), (&router, "p3", "10.77.0.3")]
        {
            internet.plug(port, machine, "eth0")?;
            internet.sh(&format!("ip link set {port} master br0"))?.succeeded()?;
            machine.sh(&format!("ip addr add {address}/24 dev eth0"))?.succeeded()?;
        }
        router.plug("lan", &device, "eth0")?;
        router.sh("ip addr add 192.168.77.1/24 dev lan && echo 1 > /proc/sys/net/ipv4/ip_forward")?.succeeded()?;
        device.sh("ip addr add 192.168.77.2/24 dev eth0 && ip route add default via 192.168.77.1")?.succeeded()?;
        let nat = "nft add table ip nat && nft 'add chain ip nat out { type nat hook postrouting priority 100; }' && \
                   nft add rule ip nat out oifname eth0 masquerade";
        let hides = router.sh(nat)?.status.success();
        if !hides {
            println!("skipped: no address translation without nft; the device is routed as it is");
            gateway.sh("ip route add 192.168.77.0/24 via 10.77.0.3")?.succeeded()?;
        }
        for machine in [&gateway, &laptop, &device] {
            let hosts = "127.0.0.1 localhost\n10.77.0.1 gw.example\n";
            machine.write("/etc/hosts", hosts)?;
        }
        let place = Self { gateway, laptop, device, router, _internet: internet, hides, hash: None };
        place.furnish()?;
        Ok(place)
    }

    /// What the walk finds there when it begins.
    fn furnish(&self) -> Result<()> {
        let top = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let copy = |machine: &Machine, from: &Path, to: &str| -> Result<()> {
            machine.write(to, fs::read(from).with_context(|| from.display().to_string())?)?;
            machine.sh(&format!("chmod 755 '{to}'"))?.succeeded().map(drop)
        };
        let programs = programs()?;
        self.gateway.sh(&format!("mkdir {GATEWAY_DIR}"))?.succeeded()?;
        self.device.sh(&format!("mkdir {DEVICE_DIR}"))?.succeeded()?;
        self.laptop.sh("useradd --create-home ana && runuser -u ana -- mkdir -m 700 /home/ana/.ssh")?.succeeded()?;
        let program = |command: Command| Path::new(command.get_program()).to_owned();
        copy(&self.gateway, &program(programs.gateway()), &format!("{GATEWAY_DIR}/belay-gateway"))?;
        copy(
            &self.gateway,
            &top.join("gateway/belay-gateway.service"),
            &format!("{GATEWAY_DIR}/belay-gateway.service"),
        )?;
        copy(&self.device, &program(programs.agent()), &format!("{DEVICE_DIR}/belay-agent"))?;
        copy(&self.device, &top.join("agent/belay-agent.service"), &format!("{DEVICE_DIR}/belay-agent.service"))?;
        copy(&self.laptop, &program(programs.belay()), "/usr/local/bin/belay")
    }

    /// A machine by its name in the README, who works there and where.
    fn named(&self, name: &str) -> (&Machine, &'static str, &'static str) {
        match name {
            "gw.example" => (&self.gateway, "root", GATEWAY_DIR),
            "your laptop" => (&self.laptop, "ana", LAPTOP_DIR),
            "web1" => (&self.device, "root", DEVICE_DIR),
            other => panic!("the README walks to {other}"),
        }
    }

    fn bring(&self, from: &str, file: &str, to: &str) -> Result<()> {
        let ((from, _, from_dir), (to, user, to_dir)) = (self.named(from), self.named(to));
        let name = file.rsplit('/').next().unwrap_or(file);
        to.write(&format!("{to_dir}/{name}"), from.read(&format!("{from_dir}/{file}"))?)?;
        to.sh(&format!("chown {user} '{to_dir}/{name}' && chmod 600 '{to_dir}/{name}'"))?.succeeded().map(drop)
    }

    /// Types a line on a machine and sees it succeed. What asks is answered with yes.
    fn type_in(&mut self, on: &str, line: &str) -> Result<()> {
        let (machine, user, directory) = self.named(on);
        let line = match &self.hash {
            Some(hash) => line.replace("sha256:…", hash),
            None => line.to_owned(),
        };
        let mut command = machine.command(user, directory, &line);
        if line.starts_with("belay approve") {
            let mut terminal = Terminal::open(&command, 100, 30)?;
            terminal.see("[y/N]")?;
            terminal.keys("y\n")?;
            ensure!(terminal.ended(GENEROUS)?.success(), "`{line}` failed");
            return Ok(());
        }
        let said = run(&mut command, b"")?.succeeded()?;
        if line.starts_with("belay init") {
            let out = said.out();
            let hash = out.split_whitespace().find(|word| word.starts_with("sha256:"));
            self.hash = Some(hash.with_context(|| said.story())?.to_owned());
        }
        Ok(())
    }

    /// A command on the device, by the laptop's own ssh, over a login of its own.
    fn ssh(&self, command: &str) -> Result<Said> {
        let line = format!("ssh -o BatchMode=yes -o ControlPath=none -o ConnectTimeout=5 root@web1.acme '{command}'");
        run(&mut self.laptop.command("ana", LAPTOP_DIR, &line), b"")
    }

    /// How long until a command runs again.
    fn back(&self) -> Result<Duration> {
        let begun = Instant::now();
        until("a command to run again", GENEROUS, || self.ssh("true")?.succeeded())?;
        Ok(begun.elapsed())
    }
}

#[test]
fn the_readmes_walk_works_as_it_stands_and_sessions_outlive_cables_and_addresses() {
    let scratch = tempfile::tempdir().unwrap();
    if let Err(why) = machines::possible(scratch.path()) {
        return println!("skipped: {why:#}");
    }
    let begun = Instant::now();
    let mut place = Place::new(scratch.path()).unwrap();
    let (mut on, mut typed, mut session) = ("", 0, None);
    for step in steps() {
        println!("{on}: {step:?}");
        let done: Result<()> = match step {
            Step::On(machine) => {
                on = machine;
                Ok(())
            }
            Step::Bring(file, to) => place.bring(on, file, to),
            Step::Type("ssh root@web1.acme") => {
                let command = place.laptop.command("ana", LAPTOP_DIR, "exec ssh root@web1.acme");
                session = Some(Terminal::open(&command, 100, 30).unwrap());
                Ok(())
            }
            Step::Type(line) => place.type_in(on, line),
        };
        done.with_context(|| format!("{on}: {step:?}")).unwrap();
        typed += 1;
    }
    assert!(typed > 20, "the README has lost its walk");
    let mut session = session.expect("the walk ends in a shell");
    let mut answers = |word: &str| -> Result<()> {
        session.keys(&format!("echo {word}-$(hostname)\n"))?;
        session.see(&format!("{word}-web1")).map(drop)
    };
    answers("walked").unwrap();
    println!("measured: the README's walk takes {} s", begun.elapsed().as_secs());

    outlives(&place, &mut answers).unwrap();
}

/// Pulls the cable and changes the address, under the session that `answers`.
fn outlives(place: &Place, answers: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
    // Unplugged on the router's side, as a cable is: the device keeps its address.
    place.router.sh("ip link set lan down")?.succeeded()?;
    let gone = Instant::now();
    if place.ssh("true")?.status.success() {
        bail!("a command ran through a cable that was pulled");
    }
    place.router.sh("ip link set lan up")?.succeeded()?;
    let back = place.back()?;
    answers("replugged")?;
    println!(
        "measured: back {} ms after a cable was out for {} s; the session goes on",
        back.as_millis(),
        (gone.elapsed() - back).as_secs()
    );

    let change =
        "ip addr flush dev eth0 && ip addr add 192.168.77.9/24 dev eth0 && ip route add default via 192.168.77.1";
    place.device.sh(change)?.succeeded()?;
    let moved = Instant::now();
    answers("moved")?;
    println!("measured: the session answers {} ms after the device's address changed", moved.elapsed().as_millis());
    if place.hides {
        // As a home router does that dials in anew: another address outside, and every translation forgotten.
        let dialled = "ip addr flush dev eth0 && ip addr add 10.77.0.33/24 dev eth0";
        place.router.sh(dialled)?.succeeded()?;
        let dialled = Instant::now();
        // The gateway learns of it from the device's next packet: a keep-alive, after at most 20 s.
        answers("translated")?;
        println!("measured: the session answers {} s after its router got a new address", dialled.elapsed().as_secs());
    }
    Ok(())
}
