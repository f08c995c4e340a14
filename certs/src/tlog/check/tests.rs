//! Small logs with everything in them, and every way of breaking them.

use super::*;
use crate::device::DeviceRecord;
use crate::statement::{Body, CheckpointSeen, Head, Intent, PolicyUsed, SessionKind, Statement, sign};
use crate::tlog::tile::{encode_bundle, encode_hashes, tiles_of};
use crate::tlog::{NoteSigner, Tiles, root_of};
use crate::{DeviceAddress, Id, PrivateKey, Timestamp};
use serde_json::json;
use std::collections::BTreeMap;

mod broken;
mod independent;

const ORIGIN: &str = "gw.example/acme";
const POLICY: &[u8] = b"the policy's exact bytes";
const RECORDING: &[u8] = b"what the session showed";

/// An export in memory.
type Export = BTreeMap<String, Vec<u8>>;

impl Source for Export {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Invalid> {
        Ok(self.get(path).cloned())
    }
}

/// A device that speaks.
struct Device {
    key: PrivateKey,
    record: DeviceRecord,
    seq: u64,
    previous: Option<Digest>,
}

impl Device {
    fn new(address: &str, serial: u64) -> Self {
        let key = PrivateKey::generate_ed25519("host").unwrap();
        let record = DeviceRecord {
            address: address.parse().unwrap(),
            host_key: key.public().clone(),
            labels: vec![],
            serial,
            replaces: None,
            issued: Timestamp::from_seconds(0),
        };
        Self { key, record, seq: 0, previous: None }
    }

    fn approved(&self) -> Vec<u8> {
        let detail = json!({ "record": self.record.to_text() });
        bytes(&event("device.approved", Some(&self.record.address), detail))
    }

    /// Says what `change` makes of the next statement, in an entry of its own.
    fn says(&mut self, body: Body, change: impl FnOnce(&mut Head)) -> Vec<u8> {
        self.seq += 1;
        let mut head = Head {
            id: Id::random().unwrap(),
            device: self.record.address.clone(),
            serial: self.record.serial,
            seq: self.seq,
            previous: self.previous,
            checkpoint: None,
            issued: Timestamp::from_seconds(self.seq.cast_signed()),
        };
        change(&mut head);
        let statement = Statement { head, body };
        let signed = sign(&statement, &self.key).unwrap();
        self.previous = Some(Digest::of(signed.text.as_bytes()));
        let mut entry = event(statement.type_name(), Some(&self.record.address), json!({}));
        entry.person = statement.person().cloned();
        (entry.detail, entry.statement) = (statement.body.members().unwrap(), Some(signed));
        bytes(&entry)
    }

    fn opens(&mut self) -> Vec<u8> {
        self.says(opened(), |_| {})
    }
}

fn opened() -> Body {
    Body::SessionOpened(Intent {
        session: Id([1; 16]),
        access: Id([2; 16]),
        person: "msp:alice".parse().unwrap(),
        key: "SHA256:abc".to_owned(),
        account: "root".to_owned(),
        kind: SessionKind::Shell,
        command: None,
        target: None,
        tty: true,
        ticket: None,
        grant_line: Some(12),
        policies: vec![PolicyUsed { tenant: "acme".parse().unwrap(), version: 3, digest: Digest::of(POLICY) }],
    })
}

fn ended() -> Body {
    Body::SessionEnded {
        session: Id([1; 16]),
        exit: Some(0),
        signal: None,
        reason: None,
        bytes_in: 10,
        bytes_out: 20,
        recording: Some(Digest::of(RECORDING)),
        files: None,
    }
}

fn event(kind: &str, device: Option<&DeviceAddress>, detail: Value) -> Entry {
    Entry {
        v: crate::entry::FORMAT,
        id: Id::random().unwrap(),
        kind: kind.to_owned(),
        at: Timestamp::from_seconds(1_795_251_600),
        tenant: Some("acme".parse().unwrap()),
        device: device.map(|address| address.device.clone()),
        person: None,
        detail: detail.as_object().unwrap().clone(),
        statement: None,
    }
}

fn bytes(entry: &Entry) -> Vec<u8> {
    entry.to_bytes().unwrap()
}

/// A plain event that refers to nothing.
fn plain(number: u64) -> Vec<u8> {
    bytes(&event("tenant.noted", None, json!({ "number": number })))
}

/// A log as a gateway holds it: it has the key and can sign anything.
struct Log {
    signer: NoteSigner,
    entries: Vec<Vec<u8>>,
}

impl Log {
    fn of(entries: Vec<Vec<u8>>) -> Self {
        Self { signer: NoteSigner::generate(ORIGIN).unwrap(), entries }
    }

    /// One of everything: a policy, a device, a session, and a head that the device saw.
    fn sample() -> Self {
        let mut device = Device::new("web1.acme", 7);
        let policy = json!({ "policy": Digest::of(POLICY) });
        let mut log = Self::of(vec![bytes(&event("policy.adopted", None, policy)), device.approved()]);
        let seen = log.seen(2);
        log.entries.push(device.opens());
        log.entries.push(device.says(ended(), |head| head.checkpoint = Some(seen)));
        log
    }

    fn leaves(&self) -> Vec<Hash> {
        self.entries.iter().map(|entry| leaf_hash(entry)).collect()
    }

    fn checkpoint(&self, size: usize) -> Checkpoint {
        let root = root_of(&self.leaves()[..size]);
        Checkpoint { origin: ORIGIN.to_owned(), size: size as u64, root }
    }

    /// The head of the first `size` entries as a device notes it.
    fn seen(&self, size: usize) -> CheckpointSeen {
        let checkpoint = self.checkpoint(size);
        CheckpointSeen { origin: checkpoint.origin, size: checkpoint.size, root: Digest(checkpoint.root) }
    }

    /// Everything in C2SP layout, signed, with tiles made level by level from the leaves.
    fn export(&self) -> Export {
        let mut export = Export::new();
        let size = self.entries.len() as u64;
        let checkpoint = self.checkpoint(self.entries.len()).sign(&self.signer).unwrap();
        export.insert("checkpoint".to_owned(), checkpoint.into_bytes());
        export.insert("log.vkey".to_owned(), format!("{}\n", self.signer.vkey()).into_bytes());
        for object in [POLICY, RECORDING] {
            export.insert(format!("objects/{}", Digest::of(object).hex()), object.to_vec());
        }
        for (index, chunk) in (0..).zip(self.entries.chunks(256)) {
            export.insert(entries_path(index, chunk.len() as u16), encode_bundle(chunk).unwrap());
        }
        let mut levels = vec![self.leaves()];
        while let Some(next) = levels.last().filter(|level| level.len() >= 256) {
            levels.push(next.chunks_exact(256).map(root_of).collect());
        }
        for tile in tiles_of(size) {
            let start = tile.index as usize * 256;
            let hashes = &levels[usize::from(tile.level)][start..start + usize::from(tile.width)];
            export.insert(tile.path(), encode_hashes(hashes));
        }
        export
    }

    fn check(&self, export: &Export) -> Result<Report, Invalid> {
        self.check_since(export, None)
    }

    fn check_since(&self, export: &Export, since: Option<&Checkpoint>) -> Result<Report, Invalid> {
        check_log(export, ORIGIN, &self.signer.vkey(), since, &mut |_, _| {})
    }

    fn report(&self) -> Result<Report, Invalid> {
        self.check(&self.export())
    }
}

#[test]
fn a_whole_log_passes_and_is_counted() {
    let log = Log::sample();
    let mut kinds = Vec::new();
    let each = &mut |index: u64, entry: &Entry| kinds.push((index, entry.kind.clone()));
    let report = check_log(&log.export(), ORIGIN, &log.signer.vkey(), None, each).unwrap();
    assert_eq!((report.entries, report.tiles, report.statements, report.devices), (4, 1, 2, 1));
    assert_eq!((report.heads, report.objects), (1, 2));
    assert_eq!(report.checkpoint, log.checkpoint(4));
    let names: Vec<&str> = kinds.iter().map(|(_, kind)| kind.as_str()).collect();
    assert_eq!(names, ["policy.adopted", "device.approved", "session.opened", "session.ended"]);
    assert_eq!(kinds[3].0, 3);
}

#[test]
fn an_empty_log_passes() {
    let log = Log::of(vec![]);
    assert_eq!(log.report().unwrap().entries, 0);
    assert_eq!(log.check_since(&log.export(), Some(&log.checkpoint(0))).unwrap().tiles, 0);
}

#[test]
fn a_log_over_many_tiles_passes_and_continues_every_older_head() {
    let log = Log::of((0..600).map(plain).collect());
    let export = log.export();
    assert_eq!(log.check(&export).unwrap().tiles, 4);
    for size in [0, 1, 255, 256, 257, 512, 599, 600] {
        log.check_since(&export, Some(&log.checkpoint(size))).unwrap();
    }
}

#[test]
fn an_object_that_is_not_exported_is_no_fault() {
    let log = Log::sample();
    let mut export = log.export();
    export.retain(|path, _| !path.starts_with("objects/"));
    export.remove("log.vkey");
    assert_eq!(log.check(&export).unwrap().objects, 0);
}

#[test]
fn a_new_record_for_the_same_key_goes_on_and_a_new_key_begins_again() {
    let mut device = Device::new("web1.acme", 7);
    let mut entries = vec![device.approved(), device.opens()];
    device.record.serial = 8;
    entries.extend([device.approved(), device.opens()]);
    let mut reinstalled = Device::new("web1.acme", 9);
    entries.extend([reinstalled.approved(), reinstalled.opens(), device.opens()]);
    let report = Log::of(entries).report().unwrap();
    assert_eq!((report.devices, report.statements), (1, 4));
}

#[test]
fn a_renamed_device_goes_on_with_one_chain_and_may_still_say_what_it_said_under_its_old_name() {
    let mut device = Device::new("web1.acme", 7);
    let mut entries = vec![device.approved(), device.opens()];
    // Said under the old name, delivered after the new record was approved.
    let late = device.opens();
    let old = device.record.address.clone();
    (device.record.address, device.record.serial) = ("web2.acme".parse().unwrap(), 8);
    entries.extend([device.approved(), late, device.opens()]);
    let report = Log::of(entries.clone()).report().unwrap();
    assert_eq!((report.statements, report.devices), (3, 2));
    // The old name with the new serial never was.
    let mixed = device.says(ended(), |head| head.device = old);
    entries.push(mixed);
    assert!(Log::of(entries).report().is_err());
}

#[test]
fn heads_of_another_log_are_left_alone() {
    let mut device = Device::new("web1.acme", 7);
    let other = CheckpointSeen { origin: "gw.example/acme/2".to_owned(), size: 90, root: Digest([9; 32]) };
    let entries = vec![device.approved(), device.says(ended(), |head| head.checkpoint = Some(other))];
    assert_eq!(Log::of(entries).report().unwrap().heads, 0);
}

#[test]
fn the_edge_loads_from_an_export() {
    let log = Log::of((0..300).map(plain).collect());
    let export = log.export();
    let mut tiles = Tiles::new();
    for tile in tiles_of(300) {
        tiles.insert(tile.level, tile.index, &decode_hashes(&export[&tile.path()]).unwrap());
    }
    assert_eq!(Edge::load(300, &tiles).unwrap().root(), log.checkpoint(300).root);
}

#[test]
fn in_a_later_life_of_a_log_a_device_goes_on_where_it_was_and_leaves_nothing_out_from_there() {
    assert_eq!(["gw/acme", "gw/acme/2", "gw/acme/31", "gw/acme/1", "gw/acme/x", "gw/2"].map(life), [1, 2, 31, 1, 1, 1]);
    let mut device = Device::new("web1.acme", 7);
    let carried =
        bytes(&event("device.carried", Some(&device.record.address), json!({ "record": device.record.to_text() })));
    let _lost = [device.opens(), device.says(ended(), |_| {})];
    let (third, fourth, fifth) = (device.opens(), device.says(ended(), |_| {}), device.opens());
    let follow = |origin: &str, entries: &[&Vec<u8>]| {
        let mut chains = Chains::new(origin);
        let followed: Result<Vec<()>, Invalid> =
            (0..).zip(entries).map(|(index, bytes)| chains.follow(index, &Entry::parse(bytes).unwrap())).collect();
        followed.map(|_| chains.statements()).map_err(|refused| refused.sentence)
    };
    let later = "gw.example/acme/2";
    assert_eq!(follow(later, &[&carried, &third, &fourth]), Ok(2));
    assert!(follow(ORIGIN, &[&carried, &third]).unwrap_err().contains("number 1 is missing"));
    assert!(follow(later, &[&carried, &third, &fifth]).unwrap_err().contains("number 4 is missing"));
    assert!(follow(later, &[&carried, &third, &third]).unwrap_err().contains("a second time"));
}

#[test]
fn a_device_that_came_in_a_later_life_of_a_log_leaves_nothing_out() {
    let mut device = Device::new("web1.acme", 7);
    let carried =
        bytes(&event("device.carried", Some(&device.record.address), json!({ "record": device.record.to_text() })));
    let (approved, started) = (device.approved(), bytes(&event("log.started", None, json!({}))));
    let (first, second, third) = (device.opens(), device.says(ended(), |_| {}), device.opens());
    let follow = |entries: &[&Vec<u8>]| {
        let mut chains = Chains::new("gw.example/acme/2");
        let mut each = (0..).zip(entries);
        each.try_for_each(|(index, bytes)| chains.follow(index, &Entry::parse(bytes).unwrap()))
            .map_err(|refused| refused.sentence)
    };
    assert_eq!(follow(&[&started, &approved, &first, &second, &third]), Ok(()));
    assert!(follow(&[&started, &approved, &third]).unwrap_err().contains("number 1 is missing"));
    assert_eq!(follow(&[&started, &carried, &approved, &third]), Ok(()), "carried, then approved again");
    for before in [&plain(1), &approved] {
        assert!(follow(&[&started, before, &carried, &third]).unwrap_err().contains("stands behind other entries"));
    }
}
