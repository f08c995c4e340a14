//! The log as the hacked gateway has it: every real entry, the real key, and all the false proofs that can be made of them.

use belay_certs::{
    Id, Timestamp,
    entry::{Entry, FORMAT},
    statement::{Body, SignedStatement, Statement},
    tlog::{
        Checkpoint, Edge, Hash, NoteSigner, Tiles, consistency_path, decode_bundle, entries_path, inclusion_path,
        leaf_hash,
    },
};
use belay_protocol::{ReceiptGiven, RefusalCode, StatementMade, StatementRefused, ToAgent};
use belay_tests::{World, run};
use std::{collections::HashMap, fs, process::Command, time::SystemTime};

/// Entries of a full bundle (C2SP tlog-tiles).
const BUNDLE: u64 = 256;

/// What the hacked gateway answers to an intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lie {
    /// The truth.
    None,
    /// Everything is right, and another key than the policy's signs the checkpoint.
    OtherLogKey,
    /// The right key signs the checkpoint of a log with another name.
    OtherLog,
    /// The proof of another intent: an earlier session's entry, with everything that proves it.
    EntryOfAnother,
    /// An entry about the session that does not hold the device's words.
    EntryWithoutStatement,
    /// The device's words with another signature.
    OtherSignature,
    /// The device's words in an entry that names somebody else.
    OtherPerson,
    /// The right entry with the path of its neighbour.
    OtherPlace,
    /// A tree that lost its newest entries.
    SmallerTree,
    /// The same, as if the device had never seen more.
    SmallerTreeFromItself,
    /// A tree whose first entry was rewritten.
    RewrittenHistory,
    /// The truth: it is in the log, as withheld.
    Withheld,
    /// A no.
    Refused,
    /// The truth, kept back until it is asked for.
    Late,
    /// These bytes.
    Bytes(Vec<u8>),
}

/// A tenant's log in the hands of whoever has its key.
pub struct Ledger {
    signer: NoteSigner,
    entries: Vec<Vec<u8>>,
    /// Where each statement is.
    places: HashMap<Id, usize>,
    /// The size of the last tree that the device was honestly given on this connection.
    given: u64,
}

impl Ledger {
    /// Everything that the running gateway has of a tenant's log, and its key.
    pub fn stolen(world: &World, tenant: &str) -> Self {
        let dir = world.dir().join(format!("stolen-{tenant}"));
        let archive = world.dir().join(format!("stolen-{tenant}.tar"));
        fs::create_dir_all(&dir).unwrap();
        world.operator(&["log", "export", tenant, "-o", archive.to_str().unwrap()]).unwrap().must();
        run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&dir), b"").unwrap().must();
        let key = fs::read_to_string(world.gateway_dir().join(format!("keys/log-{tenant}.key"))).unwrap();
        let signer = NoteSigner::from_text(&key).unwrap();
        let head = fs::read(dir.join("checkpoint")).unwrap();
        let head = Checkpoint::open(&head, signer.name(), &signer.vkey()).unwrap();
        let bundles = (0..head.size.div_ceil(BUNDLE)).map(|bundle| {
            let width = (head.size - bundle * BUNDLE).min(BUNDLE);
            fs::read(dir.join(entries_path(bundle, u16::try_from(width).unwrap()))).unwrap()
        });
        let entries = bundles
            .flat_map(|bytes| decode_bundle(&bytes).unwrap().into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>());
        Self { signer, entries: entries.collect(), places: HashMap::new(), given: 0 }
    }

    /// A new connection: the device keeps what it says it keeps.
    pub fn begin(&mut self) {
        self.given = 0;
    }

    /// What is said to a statement.
    pub fn answer(&mut self, made: &StatementMade, lie: &Lie) -> Vec<u8> {
        let said = Statement::parse(made.text.as_bytes()).unwrap();
        let from = made.consistency_from.max(self.given);
        let message = match lie {
            Lie::None | Lie::Late => self.truth(made, &said, from, said.type_name()).into(),
            Lie::Withheld => self.truth(made, &said, from, withheld(&said)).into(),
            Lie::Refused => refused(&said).into(),
            Lie::Bytes(bytes) => return bytes.clone(),
            lie => self.falsehood(made, &said, from, lie).into(),
        };
        ToAgent::encode(&message).unwrap()
    }

    /// Records it, once, as something of `kind`, and proves it.
    fn truth(&mut self, made: &StatementMade, said: &Statement, from: u64, kind: &str) -> ReceiptGiven {
        let index = match self.places.get(&said.head.id) {
            Some(index) => *index,
            None => {
                let mut entry = Entry { kind: kind.to_owned(), ..entry(made, said) };
                if kind == withheld(said) {
                    entry.detail.retain(|name, _| name == "session" || name == "order");
                    entry.detail.insert("reason".to_owned(), "its person is another".into());
                }
                self.entries.push(entry.to_bytes().unwrap());
                self.places.insert(said.head.id, self.entries.len() - 1);
                self.entries.len() - 1
            }
        };
        self.given = self.entries.len() as u64;
        Tree::of(&self.entries).receipt(said, index, from, &self.signer)
    }

    /// The false receipt. The log itself stays as it is.
    fn falsehood(&self, made: &StatementMade, said: &Statement, from: u64, lie: &Lie) -> ReceiptGiven {
        let mut entries = self.entries.clone();
        let mut false_entry = entry(made, said);
        let mut signer = NoteSigner::from_text(&self.signer.to_text()).unwrap();
        match lie {
            Lie::OtherLogKey => signer = NoteSigner::generate(self.signer.name()).unwrap(),
            Lie::EntryWithoutStatement => false_entry.statement = None,
            Lie::OtherSignature => {
                let other = self.another_intent();
                false_entry.statement.as_mut().unwrap().signature = other.statement.unwrap().signature;
            }
            Lie::OtherPerson => false_entry.person = Some("mallory".parse().unwrap()),
            Lie::SmallerTree | Lie::SmallerTreeFromItself => entries.truncate(usize::try_from(from).unwrap() - 2),
            Lie::RewrittenHistory => entries[0] = b"{}".to_vec(),
            _ => {}
        }
        if *lie == Lie::EntryOfAnother {
            let index = self.entries.iter().rposition(|bytes| is_intent(bytes)).unwrap();
            return Tree::of(&self.entries).receipt(said, index, from, &signer);
        }
        entries.push(false_entry.to_bytes().unwrap());
        let (tree, index) = (Tree::of(&entries), entries.len() - 1);
        match lie {
            Lie::SmallerTree => {
                let small = tree.receipt(said, index, 0, &signer);
                ReceiptGiven { consistency: Vec::new(), consistency_from: from, ..small }
            }
            Lie::SmallerTreeFromItself => tree.receipt(said, index, from - 3, &signer),
            Lie::OtherPlace => {
                let (mut right, wrong) = (tree.receipt(said, index, from, &signer), tree.inclusion(index - 1));
                right.inclusion = wrong;
                right
            }
            Lie::OtherLog => {
                let checkpoint = tree.checkpoint("gw.example/another", &signer);
                ReceiptGiven { checkpoint, ..tree.receipt(said, index, from, &signer) }
            }
            _ => tree.receipt(said, index, from, &signer),
        }
    }

    /// The newest recorded intent.
    fn another_intent(&self) -> Entry {
        let bytes = self.entries.iter().rev().find(|bytes| is_intent(bytes)).unwrap();
        Entry::parse(bytes).unwrap()
    }
}

fn is_intent(bytes: &[u8]) -> bool {
    Entry::parse(bytes).is_ok_and(|entry| entry.kind == "session.opened")
}

/// The entry that an honest gateway makes of a statement.
fn entry(made: &StatementMade, said: &Statement) -> Entry {
    Entry {
        v: FORMAT,
        id: Id::random().unwrap(),
        kind: said.type_name().to_owned(),
        at: Timestamp::from_system(SystemTime::now()),
        tenant: Some(said.head.device.tenant.clone()),
        device: Some(said.head.device.device.clone()),
        person: said.person().cloned(),
        detail: said.body.members().unwrap(),
        statement: Some(SignedStatement { text: made.text.clone(), signature: made.signature.clone() }),
    }
}

fn refused(said: &Statement) -> StatementRefused {
    let code = RefusalCode::NotRecorded.code();
    StatementRefused { statement: said.head.id.0, code, sentence: "the dog ate the log".to_owned() }
}

/// What an intent is recorded as that permits nothing.
fn withheld(said: &Statement) -> &'static str {
    match said.body {
        Body::RunStarted(_) => "run.withheld",
        _ => "session.withheld",
    }
}

/// Whether a statement is the intent to start something.
pub fn opens(made: &StatementMade) -> bool {
    matches!(Statement::parse(made.text.as_bytes()).unwrap().body, Body::SessionOpened(_) | Body::RunStarted(_))
}

/// A Merkle tree over entries, all of it in memory.
struct Tree {
    entries: Vec<Vec<u8>>,
    edge: Edge,
    tiles: Tiles,
}

impl Tree {
    fn of(entries: &[Vec<u8>]) -> Self {
        let (mut edge, mut tiles) = (Edge::empty(), Tiles::new());
        for entry in entries {
            for tile in edge.append(leaf_hash(entry)) {
                tiles.insert(tile.level, tile.index, &tile.hashes);
            }
        }
        Self { entries: entries.to_vec(), edge, tiles }
    }

    fn inclusion(&self, index: usize) -> Vec<Hash> {
        inclusion_path(index as u64, self.edge.size(), &(&self.edge, &self.tiles)).unwrap()
    }

    fn checkpoint(&self, origin: &str, signer: &NoteSigner) -> Vec<u8> {
        let head = Checkpoint { origin: origin.to_owned(), size: self.edge.size(), root: self.edge.root() };
        head.sign(signer).unwrap().into_bytes()
    }

    fn receipt(&self, said: &Statement, index: usize, from: u64, signer: &NoteSigner) -> ReceiptGiven {
        ReceiptGiven {
            statement: said.head.id.0,
            entry: self.entries[index].clone(),
            index: index as u64,
            inclusion: self.inclusion(index),
            checkpoint: self.checkpoint(signer.name(), signer),
            consistency: consistency_path(from, self.edge.size(), &(&self.edge, &self.tiles)).unwrap(),
            consistency_from: from,
        }
    }
}
