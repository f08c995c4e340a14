//! One recording as `ssh gw recording SESSION` hands it over, opened and checked with stock tools alone.

use anyhow::{Context, Result, ensure};
use belay_tests::{Person, World, call::run, export::unpack};
use serde_json::Value;
use std::{fs, path::PathBuf, process::Command};

/// A recording, unpacked in a directory of its own.
pub struct Recorded {
    dir: PathBuf,
    facts: Value,
}

/// The id of the newest session in a tenant's log.
#[track_caller]
pub fn newest(person: &Person, tenant: &str) -> String {
    let log = person.log(tenant);
    let opened = log.iter().rev().find(|event| event["type"] == "session.opened").expect("a session");
    opened["session"].as_str().unwrap().to_owned()
}

impl Recorded {
    /// Fetches a whole recording and checks all of it.
    #[track_caller]
    pub fn of(world: &World, person: &str, session: &str) -> Self {
        let whole = belay_tests::wait::until("a whole recording", belay_tests::wait::GENEROUS, || {
            let recorded = Self::fetch(world, person, session)?;
            ensure!(recorded.state() == "whole", "{}", recorded.facts);
            Ok(recorded)
        });
        whole.unwrap()
    }

    /// Fetches what there is of a recording and checks it.
    ///
    /// # Errors
    /// When the gateway does not hand it over, or it does not verify.
    pub fn fetch(world: &World, person: &str, session: &str) -> Result<Self> {
        let said = world.person(person).gw(&format!("recording {session}")).succeeded()?;
        let dir = world.dir().join(format!("recording-{session}"));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir)?;
        for (name, bytes) in unpack(&said.stdout)? {
            fs::write(dir.join(name), bytes)?;
        }
        let facts: Value = serde_json::from_slice(&fs::read(dir.join("recording.json"))?)?;
        let recorded = Self { dir, facts };
        recorded.open(world)?;
        recorded.check(world)?;
        Ok(recorded)
    }

    /// `live`, `whole`, `cut off` …, by the gateway's word.
    pub fn state(&self) -> &str {
        self.facts["state"].as_str().unwrap_or_default()
    }

    /// The asciicast text.
    pub fn text(&self) -> String {
        fs::read_to_string(self.dir.join("all.cast")).unwrap()
    }

    /// Its first line.
    pub fn header(&self) -> Value {
        serde_json::from_str(self.text().lines().next().unwrap()).unwrap()
    }

    /// What `asciinema cat` gives of it; without an asciinema here what the same Python would.
    #[track_caller]
    pub fn asciinema_cat(&self) -> Vec<u8> {
        let there = std::env::var_os("BELAY_TOOLS").map(|dir| PathBuf::from(dir).join("asciinema"));
        let mut cat = match there.filter(|program| program.exists()) {
            Some(program) => {
                let mut cat = Command::new(program);
                cat.arg("cat");
                cat
            }
            None => {
                println!("skipped: asciinema is not installed; the same in four lines of python3");
                let lines = "import json,sys\nf=open(sys.argv[1]); next(f)\nfor l in f:\n e=json.loads(l)\n if e[1]=='o': sys.stdout.write(e[2])";
                let mut python = Command::new("python3");
                python.args(["-c", lines]);
                python
            }
        };
        cat.env("LC_ALL", "C.UTF-8").env("PYTHONIOENCODING", "utf-8:surrogateescape");
        run(cat.arg(self.dir.join("all.cast")), b"").unwrap().must().stdout
    }

    fn chunks(&self) -> u64 {
        self.facts["chunks"].as_u64().unwrap()
    }

    /// Decrypts what is encrypted, and makes one text of all chunks.
    fn open(&self, world: &World) -> Result<()> {
        let tenant = self.facts["tenant"].as_str().context("no tenant")?;
        let script = "set -e; for f in *.age; do [ -e \"$f\" ] || continue; age -d -i \"$1\" -o \"${f%.age}\" \"$f\"; done; \
                      cat *.cast.zst | zstd -dq > all.cast";
        let identity = world.tenant_dir(tenant).join("auditor.age");
        let mut shell = Command::new("sh");
        shell.current_dir(&self.dir).args(["-c", script, "sh"]).arg(identity);
        run(&mut shell, b"")?.succeeded().map(drop)
    }

    /// Every note by the device's key, every blob and every note before by its digest, the end by the log.
    fn check(&self, world: &World) -> Result<()> {
        let note = fs::read_to_string(self.dir.join("00000000.note"))?;
        let device = note.lines().find_map(|line| line.strip_prefix("device ")).context("a note without a device")?;
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-y", "-f"]).arg(world.agent_dir(device).join("host_key"));
        fs::write(self.dir.join("signers"), format!("device {}", run(&mut keygen, b"")?.succeeded()?.out()))?;
        let script = "set -e; previous=none; n=0; while [ $n -lt $1 ]; do i=$(printf %08d $n); \
            ssh-keygen -q -Y verify -f signers -I device -n recording.v1@belay -s $i.note.sig < $i.note >/dev/null; \
            grep -qx \"chunk $n\" $i.note; grep -qx \"previous $previous\" $i.note; grep -qx \"session $2\" $i.note; \
            blob=$i.cast.zst; [ -e $blob.age ] && blob=$blob.age; \
            grep -qx \"blob sha256:$(sha256sum $blob | cut -d' ' -f1)\" $i.note; \
            previous=sha256:$(sha256sum $i.note | cut -d' ' -f1); n=$((n+1)); done; echo $previous";
        let mut shell = Command::new("sh");
        let chunks = self.chunks().to_string();
        shell.current_dir(&self.dir).args(["-c", script, "sh", &chunks]).arg(self.facts["session"].as_str().unwrap());
        let head = run(&mut shell, b"")?.succeeded()?.out();
        if self.state() == "whole" {
            ensure!(self.facts["head"] == head.trim(), "the end names {}, the last note is {head}", self.facts["head"]);
        }
        Ok(())
    }
}
