//! A job that three devices of the stage were ordered to run: its documents, and what they said in a log.

use super::{
    log::{approved, noise, proofs, spoken, told},
    record,
    stage::{Stage, earlier, row, script},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use belay_certs::{
    Digest, Id, Namespace, PrivateKey,
    order::{DeviceLine, DeviceList, Order, Outcome, Waves},
    output::{Line, Stream},
    sshsig,
    statement::{self, Body, Head, PolicyUsed, RunEnd, RunIntent, Statement},
    time::{DAY, SECOND},
};
use serde_json::{Value, json};

/// The job: `web1` succeeds, `db1` refuses, `web2` says nothing.
pub struct Ordered {
    pub order: Order,
    pub list: DeviceList,
    pub text: String,
    pub signature: String,
    pub runbook: String,
    /// Of `web1`, the file that it stated.
    pub output: Vec<u8>,
    /// The host keys of `db1` and `web1`.
    pub keys: [PrivateKey; 2],
    /// The entries of the log; in the place of the first two the approvals of `db1` and `web1` are put.
    pub entries: Vec<Vec<u8>>,
}

const DEVICES: [(&str, u64); 3] = [("db1", 8), ("web1", 7), ("web2", 9)];

impl Ordered {
    pub fn new(stage: &Stage) -> Self {
        let runbook = script(3_600);
        let line = |(name, serial): (&str, u64)| DeviceLine { name: name.parse().unwrap(), serial, sealed: None };
        let list = DeviceList::of(DEVICES.into_iter().map(line).collect()).unwrap();
        let issued = earlier(DAY / 24);
        let order = Order {
            tenant: "acme".parse().unwrap(),
            id: Id::random().unwrap(),
            runbook: "restart-service".parse().unwrap(),
            version: Digest::of(runbook.as_bytes()),
            account: "root".parse().unwrap(),
            ticket: None,
            issued,
            not_before: issued,
            not_after: issued.plus(DAY / 12),
            policy_version: 0,
            policy: stage.acme.pin(),
            devices: list.count(),
            devices_root: list.root(),
            waves: Waves::default(),
            stop_above: None,
            timeout: None,
            secrets: Vec::new(),
            output_to: Vec::new(),
            arguments: [("service".parse().unwrap(), "cups".to_owned())].into(),
        };
        let text = order.to_text();
        let signature = sshsig::sign(Namespace::Order, text.as_bytes(), &stage.acme.person).unwrap().trim().to_owned();
        let piece = Line::Piece { at: 1, stream: Stream::Out, bytes: b"restarted\n".to_vec() };
        let key = |name: &str| PrivateKey::generate_ed25519(name).unwrap();
        let (output, keys) = (piece.to_text().into_bytes(), [key("db1"), key("web1")]);
        let entries = vec![noise("log.started"), noise("log.started")];
        let mut ordered = Self { order, list, text, signature, runbook, output, keys, entries };
        ordered.happen(stage);
        ordered
    }

    fn happen(&mut self, stage: &Stage) {
        let job = self.order.id;
        self.entries.push(told(
            "job.submitted",
            Some("alice"),
            json!({
                "job": job, "order": Digest::of(self.text.as_bytes()), "signature": Digest::of(self.signature.as_bytes()),
                "list": Digest::of(self.list.to_text().as_bytes()), "runbook": "restart-service",
                "version": self.order.version, "key": stage.acme.person_key().fingerprint(), "account": "root",
                "devices": 3, "not_before": self.order.not_before, "not_after": self.order.not_after,
            }),
        ));
        self.entries.push(told("job.offered", None, json!({"job": job, "devices": ["db1", "web1", "web2"]})));
        let intent = RunIntent {
            order: job,
            order_digest: Digest::of(self.text.as_bytes()),
            runbook: self.order.runbook.clone(),
            version: self.order.version,
            author: Some("alice".parse().unwrap()),
            person: "alice".parse().unwrap(),
            key: stage.acme.person_key().fingerprint(),
            account: self.order.account.clone(),
            ticket: None,
            grant_line: Some(1),
            review: false,
            policies: vec![PolicyUsed { tenant: "acme".parse().unwrap(), version: 0, digest: stage.acme.pin() }],
        };
        self.say(1, 1, Body::RunStarted(intent.clone()));
        let refused = RunIntent { author: None, grant_line: None, ..intent };
        self.say(0, 1, Body::RunRefused { intent: refused, reason: "it has no services".to_owned() });
        self.entries.push(noise("device.connected"));
        let end = RunEnd {
            order: job,
            outcome: Outcome::Succeeded,
            exit: Some(0),
            signal: None,
            reason: None,
            duration_ms: 12,
            output: Some(Digest::of(&self.output)),
            output_bytes: self.output.len() as u64,
            output_dropped: 0,
        };
        self.say(1, 2, Body::RunEnded(end));
        let runs = json!({"succeeded": 1, "refused": 1});
        self.entries.push(told("job.ended", None, json!({"job": job, "runs": runs, "unanswered": 1})));
    }

    fn say(&mut self, place: usize, seq: u64, body: Body) {
        let (name, serial) = DEVICES[place];
        let head = Head {
            id: Id::random().unwrap(),
            device: format!("{name}.acme").parse().unwrap(),
            serial,
            seq,
            previous: (seq > 1).then(|| Digest::of(b"before")),
            checkpoint: None,
            issued: earlier(DAY / 25),
        };
        let statement = Statement { head, body };
        let signed = statement::sign(&statement, &self.keys[place]).unwrap();
        self.entries.push(spoken(&statement, signed));
    }

    /// Puts another output in the place of the one that `web1` stated.
    pub fn printing(mut self, stage: &Stage, output: Vec<u8>) -> Self {
        self.output = output;
        self.entries = vec![noise("log.started"), noise("log.started")];
        self.happen(stage);
        self
    }

    /// The gateway of the stage hands out everything.
    pub fn on(&self, stage: &Stage) {
        stage.answers("job_ID_--json", self.shown(&DEVICES).to_string());
        stage.answers("job_ID_--device_web1_--output", &self.output);
        let mut entries = self.entries.clone();
        let mut objects = Vec::new();
        for (place, ((name, serial), key)) in DEVICES.into_iter().zip(&self.keys).enumerate() {
            let mut device = record(&format!("{name}.acme"), &["server"], serial, key.public());
            device.issued = earlier(DAY);
            let (entry, named) = approved(&row(&stage.acme, &stage.chain, &device, &stage.acme.person));
            entries[place] = entry;
            objects.extend(named);
        }
        let all = proofs(stage, &entries, &objects, &self.order.id);
        stage.answers("log_proof_acme_ID_--records", all.to_string());
        for (name, _) in DEVICES {
            let mut of_one = all.clone();
            let of_another = |(other, _): (&str, u64), entry: &str| {
                other != name && entry.contains(&format!("\"device\":\"{other}\""))
            };
            of_one["proofs"].as_array_mut().unwrap().retain(|proof| {
                let entry = proof["entry"].as_str().unwrap();
                !DEVICES.into_iter().any(|other| of_another(other, entry))
            });
            stage.answers(&format!("log_proof_acme_ID_--device_{name}.acme_--records"), of_one.to_string());
        }
        let version = self.order.version.to_string().replace(':', "_");
        let signature = sshsig::sign(Namespace::Runbook, self.runbook.as_bytes(), &stage.acme.person).unwrap();
        let shown = json!({"runbook": STANDARD.encode(&self.runbook), "signatures": [signature]});
        stage.answers(&format!("runbook_show_acme_{version}"), shown.to_string());
    }

    /// What the gateway says of the job with these devices.
    pub fn shown(&self, devices: &[(&str, u64)]) -> Value {
        let run = |(name, serial): &(&str, u64)| json!({"device": name, "serial": serial, "state": "waiting"});
        json!({
            "job": self.order.id, "tenant": "acme", "runbook": "restart-service", "person": "alice",
            "not_before": self.order.not_before, "not_after": self.order.not_before.plus(SECOND), "phase": "over",
            "reason": null, "over": true, "order": self.text, "signature": self.signature,
            "runs": devices.iter().map(run).collect::<Vec<_>>(),
        })
    }
}
