//! A signed batch of device records: made with one signature, kept in the home, sent in pieces until the gateway has all.
//!
//! Cut off anywhere after the signature, the next `belay approve` sends what is kept, without a question. Not here: which
//! machines, and whether the person said yes.

use crate::{
    commands::{device::newest::Newest, now},
    failure::{Failure, Outcome, While, refused},
    gateway::{Gateway, Route},
    home::{self, Home},
    limits::{KEPT_BATCH_BYTES_MAX, KEPT_BATCHES_MAX, SENT_AT_ONCE_MAX},
    screen::{escape, note, say},
    ssh_agent::Signing,
    trusted::Trusted,
};
use belay_certs::{
    Digest, Namespace, Signed, TenantName, Timestamp,
    device::{Approval, Batch, DeviceRecord, approvals},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// A batch as it is kept: everything that was signed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    tenant: TenantName,
    batch: String,
    signature: String,
    records: Vec<String>,
    certificates: Vec<String>,
}

/// One device in the gateway's answer.
#[derive(Debug, Deserialize)]
pub struct Answered {
    /// `web1.acme`.
    name: String,
    /// Its record's serial.
    serial: u64,
    /// Why it was not done.
    #[serde(default)]
    refused: Option<String>,
}

/// What became of a batch.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Devices that are done, now or before.
    pub done: usize,
    /// Devices that the gateway refused; each was told.
    pub refused: usize,
}

/// Serials above everything the gateway knows of and the policy revokes: a revoked serial names one machine. The first of
/// `count`.
///
/// # Errors
/// The gateway's next serial leaves no room.
pub fn first_serial(next: u64, revoked: &[u64], count: usize) -> Outcome<u64> {
    let highest = revoked.iter().copied().max().unwrap_or(0);
    let first = next.max(highest.saturating_add(1)).max(1);
    let last = u64::try_from(count).ok().and_then(|count| first.checked_add(count));
    match last.filter(|last| i64::try_from(*last).is_ok()) {
        Some(_) => Ok(first),
        None => Err(refused(format!("the gateway's next serial {first} leaves no room: it is not believed"))),
    }
}

impl Kept {
    /// Certifies every host key, signs one document over all records, and keeps it.
    ///
    /// # Errors
    /// A key cannot sign, or nothing can be kept.
    pub fn sign(
        home: &Home,
        trusted: &Trusted,
        signing: &mut Signing,
        keys: Keys<'_>,
        records: &[DeviceRecord],
    ) -> Outcome<(Self, PathBuf)> {
        let tenant = records.first().map(|record| record.address.tenant.clone());
        let tenant = tenant.ok_or_else(|| refused("there is no device to approve"))?;
        let held = trusted.tenant(&tenant)?;
        let certificates = records
            .iter()
            .map(|record| signing.certify(keys.ca, &record.address, &record.host_key, record.serial))
            .collect::<Outcome<Vec<_>>>()?;
        let batch = Batch::over(records, held.chain.version(), held.chain.digest(), now().whole_second())?.to_text();
        let signature = signing.sign(keys.identity, Namespace::Device, batch.as_bytes())?;
        let records = records.iter().map(DeviceRecord::to_text).collect();
        let kept = Self { tenant, batch, signature, records, certificates };
        let path = kept.keep(home)?;
        Ok((kept, path))
    }

    /// Crash before: nothing was signed as far as anybody knows, and the person is asked again. Crash after: the next run
    /// sends it.
    fn keep(&self, home: &Home) -> Outcome<PathBuf> {
        let digest: String = Digest::of(self.batch.as_bytes()).hex().chars().take(16).collect();
        let path = home.batches().join(format!("{}-{digest}.json", self.tenant));
        let json = serde_json::to_vec(self).during(|| "cannot write the signed batch".to_owned())?;
        home::write_whole(&path, &json, 0o600)?;
        Ok(path)
    }

    /// Sends it in pieces; when the gateway has answered for every device, nothing is kept any more.
    ///
    /// # Errors
    /// The gateway cannot be reached, refuses a piece as a whole, or its answer leaves devices out: the batch stays kept.
    pub fn send(&self, home: &Home, trusted: &Trusted, path: &Path) -> Outcome<Sent> {
        let gateway = Gateway::new(home, Route::of(trusted.tenant(&self.tenant)?.policy())?);
        let sent = self.send_pieces(&gateway).map_err(|failure| stays(failure, path))?;
        // What was refused never came to be: its serial must not make the record that stands look old.
        if sent.refused == 0 {
            Newest::open(home, &self.tenant)?.keep(&self.records()?)?;
        }
        fs::remove_file(path).during(|| format!("cannot remove {}", path.display()))?;
        Ok(sent)
    }

    fn records(&self) -> Outcome<Vec<DeviceRecord>> {
        Ok(self.records.iter().map(|text| DeviceRecord::parse(text.as_bytes())).collect::<Result<_, _>>()?)
    }

    fn send_pieces(&self, gateway: &Gateway<'_>) -> Outcome<Sent> {
        let records = self.records()?;
        let batch = Signed { bytes: self.batch.clone().into_bytes(), signatures: vec![self.signature.clone()] };
        let all = approvals(&records, batch, &self.certificates)?;
        let mut sent = Sent::default();
        for (piece, records) in all.chunks(SENT_AT_ONCE_MAX).zip(records.chunks(SENT_AT_ONCE_MAX)) {
            let answer = gateway.run(&["approve", self.tenant.as_str(), "--json"], self.piece(piece).as_bytes())?;
            let wanted = records.iter().map(|record| (record.address.to_string(), record.serial));
            sent = tell(&answer, wanted, "approved", sent)?;
            if all.len() > SENT_AT_ONCE_MAX {
                note(&format!("{} of {} sent", sent.done + sent.refused, all.len()));
            }
        }
        Ok(sent)
    }

    fn piece(&self, approvals: &[Approval]) -> String {
        let rows: Vec<_> = approvals
            .iter()
            .map(|one| {
                let path: Vec<Digest> = one.path.iter().copied().map(Digest).collect();
                let record = String::from_utf8_lossy(&one.record);
                json!({"record": record, "index": one.index, "path": path, "certificate": one.certificate})
            })
            .collect();
        json!({"batch": self.batch, "signature": self.signature, "approvals": rows}).to_string()
    }

    /// When it was signed.
    fn issued(&self) -> Option<Timestamp> {
        Batch::parse(self.batch.as_bytes()).ok().map(|batch| batch.issued)
    }
}

/// The two keys that approve.
#[derive(Debug, Clone, Copy)]
pub struct Keys<'a> {
    /// The device CA.
    pub ca: &'a Path,
    /// The person's own.
    pub identity: &'a Path,
}

fn stays(failure: Failure, path: &Path) -> Failure {
    let more = format!(
        "; what was signed stays in {}: run the same command again and it goes on without a question, or remove that file to give it up",
        path.display()
    );
    match failure {
        Failure::Gateway(sentence) => Failure::Gateway(sentence + &more),
        Failure::Unreachable(sentence) => Failure::Unreachable(sentence + &more),
        Failure::Refused(sentence) => Failure::Refused(sentence + &more),
        Failure::Usage(sentence) => Failure::Usage(sentence + &more),
        Failure::Job { status, sentence } => Failure::Job { status, sentence: sentence + &more },
    }
}

/// Tells what a gateway answered for each device that was sent. A device that it says nothing about is not done.
///
/// # Errors
/// The answer is not understood, or leaves a device out.
pub fn tell(answer: &[u8], wanted: impl Iterator<Item = (String, u64)>, done: &str, mut sent: Sent) -> Outcome<Sent> {
    let rows: Vec<Answered> =
        serde_json::from_slice(answer).during(|| "the gateway's answer is not understood".to_owned())?;
    let rows: BTreeMap<(String, u64), Option<String>> =
        rows.into_iter().map(|row| ((row.name, row.serial), row.refused)).collect();
    let mut missing = Vec::new();
    for (name, serial) in wanted {
        match rows.get(&(name.clone(), serial)) {
            Some(None) => {
                say(&format!("{name} {done} with serial {serial}"));
                sent.done += 1;
            }
            Some(Some(sentence)) => {
                note(&format!("belay: {name} was not {done}: {}", escape(sentence)));
                sent.refused += 1;
            }
            None => missing.push(name),
        }
    }
    match missing.first() {
        None => Ok(sent),
        Some(first) => Err(Failure::Gateway(format!(
            "the gateway says nothing about {} devices, {first} among them: whether they are {done}, `belay devices` shows",
            missing.len()
        ))),
    }
}

/// Sends what earlier runs signed and did not get through. Everything was asked and signed then.
///
/// # Errors
/// As [`Kept::send`]: what could not be sent stays.
pub fn finish_all(home: &Home) -> Outcome<Sent> {
    let mut total = Sent::default();
    let paths = kept(home)?;
    if paths.is_empty() {
        return Ok(total);
    }
    let trusted = Trusted::load(home)?;
    for path in paths {
        let text = home::read_text_up_to(&path, KEPT_BATCH_BYTES_MAX)?;
        let kept: Kept = serde_json::from_str(&text)
            .during(|| format!("{} is damaged: remove it, and approve again", path.display()))?;
        let when = kept.issued().map_or_else(|| "earlier".to_owned(), |issued| issued.to_string());
        note(&format!("{}: going on with {} machines that were signed {when}", kept.tenant, kept.records.len()));
        let sent = kept.send(home, &trusted, &path)?;
        total = Sent { done: total.done + sent.done, refused: total.refused + sent.refused };
    }
    Ok(total)
}

fn kept(home: &Home) -> Outcome<Vec<PathBuf>> {
    let dir = home.batches();
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let doing = || format!("cannot read {}", dir.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(&dir).during(doing)? {
        let path = entry.during(doing)?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            paths.push(path);
        }
    }
    if paths.len() > KEPT_BATCHES_MAX {
        return Err(refused(format!("{} holds more than {KEPT_BATCHES_MAX} batches: look into it", dir.display())));
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_are_above_the_gateways_and_the_revoked_and_never_run_out() {
        assert_eq!(first_serial(7, &[], 3).unwrap(), 7);
        assert_eq!(first_serial(7, &[3, 8], 3).unwrap(), 9);
        assert_eq!(first_serial(0, &[], 1).unwrap(), 1);
        assert!(first_serial(u64::MAX, &[], 1).is_err());
        assert!(first_serial(i64::MAX as u64, &[], 2).is_err());
    }

    #[test]
    fn a_gateway_that_leaves_devices_out_of_its_answer_is_not_believed() {
        let wanted = || [("web1.acme".to_owned(), 1), ("web2.acme".to_owned(), 2)].into_iter();
        let whole = br#"[{"name":"web1.acme","serial":1},{"name":"web2.acme","serial":2,"refused":"no"}]"#;
        let sent = tell(whole, wanted(), "approved", Sent::default()).unwrap();
        assert_eq!(sent, Sent { done: 1, refused: 1 });
        let half = br#"[{"name":"web1.acme","serial":1}]"#;
        assert!(tell(half, wanted(), "approved", Sent::default()).unwrap_err().sentence().contains("web2.acme"));
        let other = br#"[{"name":"web1.acme","serial":1},{"name":"web2.acme","serial":9}]"#;
        assert!(tell(other, wanted(), "approved", Sent::default()).is_err());
        assert!(tell(b"yes", wanted(), "approved", Sent::default()).is_err());
    }
}
