//! A session that a device of the stage recorded: its statements in a log, and its chunks as a gateway hands them over.

use super::{
    log::{approved, noise, proofs, spoken, told},
    record,
    stage::{Stage, earlier, row},
};
use belay_certs::{
    Digest, Id, PrivateKey,
    recording::{
        Note, SignedNote,
        blob::{Readers, file_name},
        cast,
    },
    statement::{self, Body, Command, Head, Intent, PolicyUsed, SessionKind, Statement},
    time::DAY,
};
use serde_json::{Value, json};

/// What was recorded on `web1.acme`.
pub struct Recorded {
    pub session: Id,
    pub host_key: PrivateKey,
    pub readers: Readers,
    /// The text of each chunk.
    pub texts: Vec<String>,
    pub chunks: Vec<(SignedNote, Vec<u8>)>,
    /// The entries of the log; in the place of the first the device's approval is put.
    pub entries: Vec<Vec<u8>>,
    /// Whether only the notes are left.
    pub is_deleted: bool,
}

impl Recorded {
    /// A command that printed these outputs, one chunk and one second each; the last chunk says that it is the last.
    pub fn new(stage: &Stage, readers: Readers, outputs: &[&[u8]]) -> Self {
        let host_key = PrivateKey::generate_ed25519("web1").unwrap();
        let session = Id::random().unwrap();
        let about = cast::About {
            session,
            tenant: "acme".parse().unwrap(),
            device: "web1.acme".parse().unwrap(),
            person: "alice".parse().unwrap(),
            account: "root".to_owned(),
            kind: cast::Kind::Exec,
            command: Some("uptime".to_owned()),
            ticket: None,
        };
        let mut texts = vec![cast::Header::new(about, 1_800_000_000).to_line().unwrap()];
        let mut writer = cast::Writer::default();
        for (second, output) in outputs.iter().enumerate() {
            if second > 0 {
                texts.push(String::new());
            }
            writer.output(second as u64 * 1_000_000, output, texts.last_mut().unwrap());
            writer.flush(texts.last_mut().unwrap());
        }
        let mut recorded = Self {
            session,
            host_key,
            readers,
            texts,
            chunks: Vec::new(),
            entries: vec![noise("log.started")],
            is_deleted: false,
        };
        recorded.seal();
        recorded.open(stage);
        recorded
    }

    /// The chunks of the texts.
    fn seal(&mut self) {
        let mut previous = None;
        for (number, text) in self.texts.iter().enumerate() {
            let blob = self.readers.seal(text.as_bytes()).unwrap();
            let number = number as u64;
            let note = Note {
                device: "web1.acme".parse().unwrap(),
                serial: 7,
                session: self.session,
                chunk: number,
                from_ms: number * 1_000,
                to_ms: number * 1_000,
                blob_bytes: blob.len() as u64,
                blob: Digest::of(&blob),
                previous,
                last: number as usize + 1 == self.texts.len(),
            };
            let signed = note.sign(&self.host_key).unwrap();
            previous = Some(signed.digest());
            self.chunks.push((signed, blob));
        }
    }

    fn open(&mut self, stage: &Stage) {
        self.say(1, Body::SessionOpened(self.intent(stage)));
    }

    /// Nothing was recorded: the device refused the session, or ended it without a word of a recording.
    pub fn unrecorded(&mut self, stage: &Stage, refused: Option<&str>) -> &mut Self {
        self.chunks.clear();
        let (session, intent) = (self.session, Intent { grant_line: None, ..self.intent(stage) });
        match refused {
            Some(reason) => {
                self.entries.truncate(1);
                self.say(1, Body::SessionRefused { intent, reason: reason.to_owned() });
            }
            None => {
                let (exit, signal, reason, recording, files) = (Some(0), None, None, None, None);
                let (bytes_in, bytes_out) = (0, 9);
                self.say(
                    2,
                    Body::SessionEnded { session, exit, signal, reason, bytes_in, bytes_out, recording, files },
                );
            }
        }
        self
    }

    /// The gateway of the stage has the entries, and no recording.
    pub fn on_without(&self, stage: &Stage) {
        self.on(stage);
        for answer in ["recording_ID_--json", "recording_ID"] {
            std::fs::remove_file(stage.home.dir().join("answers").join(answer)).unwrap();
        }
    }

    fn intent(&self, stage: &Stage) -> Intent {
        Intent {
            session: self.session,
            access: Id::random().unwrap(),
            person: "alice".parse().unwrap(),
            key: stage.acme.person_key().fingerprint(),
            account: "root".to_owned(),
            kind: SessionKind::Exec,
            command: Some(Command::of(b"uptime")),
            target: None,
            tty: false,
            ticket: None,
            grant_line: Some(1),
            policies: vec![PolicyUsed { tenant: "acme".parse().unwrap(), version: 0, digest: stage.acme.pin() }],
        }
    }

    /// The device says that the session is over, and names its recording.
    pub fn end(&mut self) -> &mut Self {
        self.entries.push(noise("device.connected"));
        let recording = Some(self.chunks.last().unwrap().0.digest());
        let (exit, signal, reason, files) = (Some(0), None, None, None);
        self.say(
            2,
            Body::SessionEnded {
                session: self.session,
                exit,
                signal,
                reason,
                bytes_in: 0,
                bytes_out: 9,
                recording,
                files,
            },
        );
        self
    }

    fn say(&mut self, seq: u64, body: Body) {
        let head = Head {
            id: Id::random().unwrap(),
            device: "web1.acme".parse().unwrap(),
            serial: 7,
            seq,
            previous: (seq > 1).then(|| Digest::of(b"before")),
            checkpoint: None,
            issued: earlier(DAY / 24),
        };
        let statement = Statement { head, body };
        let signed = statement::sign(&statement, &self.host_key).unwrap();
        self.entries.push(spoken(&statement, signed));
    }

    /// The gateway of the stage hands out everything.
    pub fn on(&self, stage: &Stage) {
        let bytes: usize = self.chunks.iter().map(|(_, blob)| blob.len()).sum();
        let head = self.chunks.last().filter(|_| self.entries.len() > 2).map(|(note, _)| note.digest());
        let about = json!({
            "session": self.session, "tenant": "acme", "device": "web1.acme", "serial": 7, "person": "alice",
            "account": "root", "kind": "exec", "command": "uptime", "ticket": null, "started": earlier(DAY / 24),
            "ended": null, "state": if self.is_deleted { "deleted" } else { "whole" }, "chunks": self.chunks.len(), "bytes": bytes, "head": head, "readable": false,
            "held": false,
        });
        stage.answers("recording_ID_--json", about.to_string());
        stage.answers("recording_ID", self.tar(&about.to_string()));
        let mut device = record("web1.acme", &["server"], 7, self.host_key.public());
        device.issued = earlier(DAY);
        let (first, objects) = approved(&row(&stage.acme, &stage.chain, &device, &stage.acme.person));
        let entries = [vec![first], self.entries[1..].to_vec()].concat();
        let mut proofs = proofs(stage, &entries, &objects, &self.session);
        stage.answers("log_proof_acme_ID_--records", proofs.to_string());
        let names = |proof: &Value| proof["entry"].as_str().unwrap().contains(&self.session.to_string());
        proofs["proofs"].as_array_mut().unwrap().retain(names);
        stage.answers("log_proof_acme_ID", proofs.to_string());
        stage.answers("log_proof_ID", proofs.to_string());
    }

    /// The log says that the recording was deleted; of its chunks the notes are left.
    pub fn delete(&mut self) -> &mut Self {
        let bytes: usize = self.chunks.iter().map(|(_, blob)| blob.len()).sum();
        let head = self.chunks.last().unwrap().0.digest();
        let (session, chunks, why) = (self.session, self.chunks.len(), "the policy says `keep = \"30d\"`");
        let detail = json!({"session": session, "chunks": chunks, "bytes": bytes, "head": head, "why": why});
        self.entries.push(told("recording.deleted", None, detail));
        self.is_deleted = true;
        self
    }

    /// The tar of a gateway.
    pub fn tar(&self, about: &str) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |path: String, bytes: &[u8]| {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, bytes).unwrap();
        };
        add("recording.json".to_owned(), about.as_bytes());
        for (number, (signed, blob)) in (0..).zip(&self.chunks) {
            add(format!("{number:08}.note"), signed.text.as_bytes());
            add(format!("{number:08}.note.sig"), signed.signature.as_bytes());
            if !self.is_deleted {
                add(file_name(number, matches!(self.readers, Readers::Anybody)), blob);
            }
        }
        tar.into_inner().unwrap()
    }
}
