//! What people do while things are killed: commands, tokens, policies, new machines; and what each was told.

use super::{Bench, DEVICE, policies};
use anyhow::Result;
use belay_tests::{Said, call::run_within};
use std::{
    collections::BTreeSet,
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// Tokens made in one round at most: they are there to be lost, not to make the log long.
const TOKENS: usize = 30;
/// Policies pushed in one round at most: each is a version that every device must take.
const POLICIES: usize = 2;
/// How long a command of somebody whose gateway died may hang: QUIC's idle time on both sides and what follows it.
const HANGING: Duration = Duration::from_secs(150);

/// What somebody was told during all rounds.
#[derive(Debug, Default)]
pub struct Told {
    /// Commands that ended with status 0.
    pub done: BTreeSet<String>,
    /// Tokens that the gateway took.
    pub tokens: BTreeSet<String>,
    /// Versions of the policy that the gateway took.
    pub policies: BTreeSet<u64>,
    /// Machines that the gateway took the approval of.
    pub approved: BTreeSet<String>,
}

impl Bench {
    /// A command on a device, over the shared login or one of its own.
    pub fn attempt(&self, device: &str, command: &str, control: &str) -> Result<Said> {
        let mut ssh = self.tech.ssh_command();
        if control == "none" {
            ssh.args(["-o", "ControlPath=none"]);
        }
        run_within(ssh.args(["--", device, command]), b"", HANGING)
    }

    /// One command after the other, until told to stop.
    pub fn work(&self, round: usize, worker: usize, stop: &AtomicBool) {
        let control = if worker == 0 { "none" } else { "shared" };
        for number in 0.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let id = format!("r{round}w{worker}n{number}");
            let said = self.attempt(DEVICE, &self.command(&id), control).unwrap();
            if said.status.success() {
                self.told.change(|told| _ = told.done.insert(id));
            }
        }
    }

    pub fn command(&self, id: &str) -> String {
        format!("echo {id} >> {}", self.file.display())
    }

    /// Somebody whose acts are the gateway's own events.
    pub fn make_tokens(&self, round: usize, stop: &AtomicBool) {
        for number in 0..TOKENS {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let file = self.world.dir().join(format!("r{round}n{number}.token"));
            if self.world.make_token("acme", &file, &[]).is_ok() {
                let id = token_id(&fs::read_to_string(&file).unwrap());
                self.told.change(|told| _ = told.tokens.insert(id));
            }
        }
    }

    /// Somebody who changes what every device must know.
    pub fn push_policies(&self, stop: &AtomicBool) {
        for _ in 0..POLICIES {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let Ok(shown) = self.on_gateway("policy show acme", b"") else { continue };
            let text = policies::next(&shown.out());
            let signed = policies::signed(&text, &self.world.root_key("acme"));
            if self.on_gateway("policy push acme", &signed).is_ok() {
                self.told.change(|told| _ = told.policies.insert(version(&text)));
            }
        }
    }

    fn on_gateway(&self, command: &str, input: &[u8]) -> Result<Said> {
        run_within(self.tech.ssh_command().args(["-o", "ControlPath=none", "--", "gw", command]), input, HANGING)?
            .succeeded()
    }

    /// A machine that joins and is approved in this round, if nothing is in the way.
    pub fn enrol(&self, round: usize) {
        let name = format!("m{round}");
        let (device, token) = (format!("{name}.acme"), self.world.dir().join(format!("{name}.token")));
        let enrolled = || -> Result<()> {
            self.world.make_token("acme", &token, &[])?;
            self.world.join(&device, &token)?.succeeded()?;
            self.world.approve("acme", &name)
        };
        if enrolled().is_ok() {
            self.told.change(|told| _ = told.approved.insert(name));
        }
    }
}

/// The id in a token file.
fn token_id(text: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix("id = \""));
    line.and_then(|rest| rest.strip_suffix('"')).unwrap_or_else(|| panic!("no id in {text}")).to_owned()
}

/// The number of a version.
pub fn version(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("version = "));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or_else(|| panic!("no version in {text}"))
}
