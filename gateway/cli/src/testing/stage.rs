//! A person with a key and a pinned tenant, and a script that stands in for `ssh` and the gateway behind it.
//!
//! The script answers a command with the file of its name, and keeps what it was given. A 32-digit id in a command is `ID` in the
//! name of the file, and `<ID>` in the file is that id.

use super::{Customer, record};
use crate::{Cli, failure::Failure, home::Home, keygen, screen};
use base64::{Engine, engine::general_purpose::STANDARD};
use belay_certs::{
    Digest, Namespace, PrivateKey, Signed, Timestamp,
    device::{Batch, DeviceRecord},
    envelope,
    limits::DOCUMENT_BYTES_MAX,
    order::{DeviceList, Order},
    policy::Chain,
    sshsig,
    time::{DAY, SECOND},
};
use clap::Parser;
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

const SSH: &str = r#"#!/bin/sh
dir=$(dirname "$0")
while [ "$1" != "--" ]; do shift; done
shift 2
echo "$*" >>"$dir/asked"
id=$(echo "$*" | grep -oE '[0-9a-f]{32}' | grep -vE 'sha256' | head -n 1)
case "$*" in *sha256:*) id= ;; esac
name=$(echo "$*" | sed "s/${id:-nothing}/ID/" | tr ' /:' '___')
cat >"$dir/said/$name"
[ "$1" = run ] && id=$(sed -n 's/^id = "\(.*\)"$/\1/p' "$dir/said/$name")
if [ -f "$dir/answers/$name.first" ]; then
  sed "s/<ID>/$id/g" "$dir/answers/$name.first"; rm "$dir/answers/$name.first"; echo "Connection reset" >&2; exit 255
fi
if [ -f "$dir/answers/$name.usage" ]; then cat "$dir/answers/$name.usage" >&2; exit 2; fi
[ -f "$dir/answers/$name" ] || { echo "no answer to $*" >&2; exit 1; }
sed "s/<ID>/$id/g" "$dir/answers/$name"
"#;

/// What the policy says beyond the first grant: who runs what where.
const RUNS: &str = r#"
[[people]]
name = "thief"
keys = ["KEY"]

[[grants]]
who = ["alice"]
on = ["tag:server"]
do = ["run"]
as = ["root"]
runbooks = ["restart-*"]

[runbooks]
signers = ["alice"]
"#;

/// The person, her home and her gateway.
pub struct Stage {
    pub home: Home,
    pub acme: Customer,
    pub chain: Chain,
    /// A person who signs no runbooks that count.
    pub thief: PrivateKey,
    dir: tempfile::TempDir,
}

impl Stage {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (root, thief) = (private("root"), private("thief"));
        let acme = Customer::begun("acme", &RUNS.replace("KEY", &thief.public().line()), root, earlier(DAY));
        let chain = Chain::begin(&acme.versions[0]).unwrap();
        let identity = dir.path().join("alice");
        write_key(&identity, &acme.person);
        let home = Home::open(Some(dir.path().join("home")), Some(identity)).unwrap();
        home.pin(&acme.name, acme.pin(), crate::home::PinnedAs::Tenant).unwrap();
        acme.cache(&home);
        for folder in ["said", "answers"] {
            fs::create_dir(home.dir().join(folder)).unwrap();
        }
        let ssh = home.dir().join("ssh");
        fs::write(&ssh, SSH).unwrap();
        fs::set_permissions(&ssh, fs::Permissions::from_mode(0o700)).unwrap();
        let stage = Self { home, acme, chain, thief, dir };
        let held = json!({"tenant": "acme", "newest": 0, "digest": stage.acme.pin(), "versions": []});
        stage.answers("policy_fetch", json!({"tenants": [held], "more": false}).to_string());
        stage
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A second tenant at the same gateway with the same runbooks and one device, `web1.globex`: the person is `ada` there.
    pub fn serves_globex(&self) {
        let ada = RUNS.replace("alice", "ada").replace("thief", "ada").replace("KEY", &self.acme.person_key().line());
        let globex = Customer::begun("globex", &ada, private("root"), earlier(DAY));
        let chain = Chain::begin(&globex.versions[0]).unwrap();
        self.home.pin(&globex.name, globex.pin(), crate::home::PinnedAs::Tenant).unwrap();
        globex.cache(&self.home);
        let mut record = record("web1.globex", &["server"], 3, private("web1").public());
        record.issued = earlier(DAY);
        let rows = json!([row(&globex, &chain, &record, &globex.person)]);
        self.answers("records_globex_--json_--limit_500", rows.to_string());
        let answers = self.home.dir().join("answers");
        for entry in fs::read_dir(&answers).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let other = name.replace("acme", "globex");
            if !answers.join(&other).exists() {
                fs::copy(answers.join(&name), answers.join(other)).unwrap();
            }
        }
        self.answers("policy_fetch", json!({"tenants": [], "more": false}).to_string());
    }

    /// What the gateway answers to a command.
    pub fn answers(&self, command: &str, text: impl AsRef<[u8]>) {
        fs::write(self.home.dir().join("answers").join(command), text).unwrap();
    }

    /// The devices, each with labels and a serial, approved by the person.
    pub fn has_devices(&self, devices: &[(&str, &[&str], u64)]) {
        let rows: Vec<Value> = devices
            .iter()
            .map(|(name, labels, serial)| {
                let mut record = record(name, labels, *serial, private(name).public());
                record.issued = earlier(DAY);
                row(&self.acme, &self.chain, &record, &self.acme.person)
            })
            .collect();
        self.answers("records_acme_--json_--limit_500", json!(rows).to_string());
    }

    /// The library: each script with its signer. The gateway tells the newest first.
    pub fn has_runbooks(&self, scripts: &[(&str, &PrivateKey)]) -> Vec<Digest> {
        let mut rows = Vec::new();
        let mut versions = Vec::new();
        for (script, signer) in scripts {
            let version = Digest::of(script.as_bytes());
            let issued = script.split_once("issued = ").unwrap().1.lines().next().unwrap();
            rows.push(json!({
                "name": "restart-service", "version": version, "issued": issued, "risk": "normal",
                "signed_by": signer.public().fingerprint(), "pushed": issued, "entry": 1,
            }));
            let signature = sshsig::sign(Namespace::Runbook, script.as_bytes(), signer).unwrap();
            let shown = json!({"runbook": STANDARD.encode(script), "signatures": [signature]});
            self.answers(&format!("runbook_show_acme_{}", version.to_string().replace(':', "_")), shown.to_string());
            versions.push(version);
        }
        self.answers("runbooks_acme_--json", json!(rows).to_string());
        self.answers("runbooks_acme_--json_--name_restart-service", json!(rows).to_string());
        versions
    }

    /// The gateway takes every order, and tells these lines of its job; `<ID>` is the job.
    pub fn takes_orders(&self, lines: &[Value]) {
        self.answers("run_acme_--json", r#"{"job": "<ID>", "tenant": "acme", "devices": 1, "again": false}"#);
        self.answers("job_ID_--follow_--json", text(lines));
    }

    /// Runs a command as the person types it.
    pub fn belay(&self, words: &[&str]) -> Result<(), Failure> {
        let words = ["belay"].iter().chain(words);
        let cli = Cli::try_parse_from(words).map_err(|error| Failure::Usage(error.to_string()))?;
        cli.command.run(&self.home, true).inspect_err(|failure| screen::note(failure.sentence()))
    }

    /// How it ended.
    pub fn status(&self, words: &[&str]) -> u8 {
        self.belay(words).map_or_else(|failure| failure.status(), |()| 0)
    }

    /// What the gateway was asked, one line each.
    pub fn asked(&self) -> String {
        fs::read_to_string(self.home.dir().join("asked")).unwrap_or_default()
    }

    /// The order that was sent, its text and its list.
    pub fn sent(&self) -> (Order, Signed, DeviceList) {
        let stream = fs::read(self.home.dir().join("said/run_acme_--json")).unwrap();
        let (signed, list) = envelope::split_first(&stream, DOCUMENT_BYTES_MAX).unwrap();
        (Order::parse(&signed.bytes).unwrap(), signed, DeviceList::parse(list).unwrap())
    }
}

/// Lines of JSON.
pub fn text(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// A moment so long ago, in whole seconds.
pub fn earlier(micros: i64) -> Timestamp {
    Timestamp::from_system(std::time::SystemTime::now()).plus(-micros).whole_second()
}

/// The example's script, issued so many seconds ago.
pub fn script(seconds_ago: i64) -> String {
    let example = include_str!("../../../../certs/src/runbook/fixtures/restart-service.sh");
    example.replacen("2026-11-21T09:00:00Z", &earlier(seconds_ago * SECOND).to_string(), 1)
}

fn private(what: &str) -> PrivateKey {
    PrivateKey::generate_ed25519(what).unwrap()
}

/// A key file as ssh-keygen wants it.
pub fn write_key(path: &Path, key: &PrivateKey) -> PathBuf {
    fs::write(path, key.to_openssh().unwrap()).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_owned()
}

/// What a gateway says of a device: certified by the tenant's device CA, approved by `approver`.
pub fn row(acme: &Customer, chain: &Chain, record: &DeviceRecord, approver: &PrivateKey) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let ca = write_key(&folder.path().join("ca"), &acme.device_ca);
    let certificate = keygen::certify(&ca, &record.address, &record.host_key, record.serial).unwrap();
    let batch = Batch::over(std::slice::from_ref(record), chain.version(), chain.digest(), record.issued).unwrap();
    let signature = sshsig::sign(Namespace::Device, batch.to_text().as_bytes(), approver).unwrap();
    json!({
        "name": record.address, "record": record.to_text(), "index": 0, "path": Vec::<Digest>::new(),
        "batch": batch.to_text(), "signature": signature, "certificate": certificate, "serial_next": 9,
    })
}
