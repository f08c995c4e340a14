//! A real log for `log.rs` to damage: made by people and a machine, exported, and put before both verifiers.

use belay_certs::tlog::{
    Checkpoint, Hash, NoteSigner, check_log, encode_bundle, encode_hashes, entries_path, leaf_hash, root_of, tiles_of,
};
use belay_tests::{
    Plan, Said, World,
    export::{self, Files},
    run,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError, Weak},
    thread,
};

/// Commands run on the device, with four entries each: the log has a full tile, a partial one and a second level.
pub const COMMANDS: usize = 90;
/// Hashes and entries below one tile (C2SP tlog-tiles).
pub const WIDTH: usize = 256;
/// The log's name.
pub const ORIGIN: &str = "gw.example/acme";

/// A log with sessions in it, exported while it was short and once more when all was done.
pub struct Exported {
    pub world: World,
    pub early: Files,
    pub whole: Files,
    /// The log's key as the tenant's signed policy has it.
    pub vkey: String,
}

impl Exported {
    /// One for all tests that run at the same time; it goes with the last of them.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Exported>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(exported) = shared.upgrade() {
            return exported;
        }
        let exported = Arc::new(Self::make());
        *shared = Arc::downgrade(&exported);
        exported
    }

    fn make() -> Self {
        let world = World::of(Plan::small());
        let tech = world.person("tech");
        assert_eq!(tech.ssh("web1.acme", "exit 7").code(), Some(7));
        tech.ssh("nobody-granted@web1.acme", "true").must_refuse(254, &["not granted"]);
        tech.ssh("web2.acme", "true").must_refuse(255, &["there is no device web2.acme"]);
        let early = export::fetch(&tech, "acme").unwrap();
        let saved = world.dir().join("early.checkpoint");
        let saved = saved.to_str().unwrap();
        tech.belay(["log", "verify", "acme", "--save", saved]).unwrap().must();
        let some = |worker: usize| {
            (0..COMMANDS / 3).for_each(|n| drop(tech.ssh("web1.acme", &format!("echo {worker} {n}")).must()))
        };
        thread::scope(|scope| (0..3).for_each(|worker| drop(scope.spawn(move || some(worker)))));
        // The last entries are the gateway's own: nobody else vouches for them.
        tech.hang_up();
        let said = tech.belay(["log", "verify", "acme", "--since", saved]).unwrap().must();
        assert!(said.out().contains("it continues the checkpoint of"), "{}", said.story());
        let whole = export::fetch(&tech, "acme").unwrap();
        world.stop().unwrap();
        let vkey = export::vkey_of_policy(&world.tenant_dir("acme").join("policy-0.toml")).unwrap();
        Self { world, early, whole, vkey }
    }

    /// A place of one test's own for `files`, `name.tar`.
    pub fn write(&self, name: &str, files: &Files) -> PathBuf {
        let path = self.world.dir().join(format!("{name}.tar"));
        fs::write(&path, export::pack(files)).unwrap();
        path
    }

    pub fn write_checkpoint(&self, name: &str, files: &Files) -> PathBuf {
        let path = self.world.dir().join(format!("{name}.checkpoint"));
        fs::write(&path, &files["checkpoint"]).unwrap();
        path
    }

    /// `belay log verify acme --export FILE …` on a laptop that trusts the tenant and has verified nothing before.
    pub fn belay(&self, name: &str, tar: &Path, more: &[&str]) -> Said {
        let home = self.world.dir().join(format!("{name}.home"));
        if !home.exists() {
            let mut copy = Command::new("cp");
            run(copy.arg("-a").arg(self.world.person("tech").home()).arg(&home), b"").unwrap().must();
            fs::remove_file(kept(&home)).unwrap();
        }
        let mut belay = belay_tests::programs::programs().unwrap().belay();
        belay.arg("--home").arg(home).args(["log", "verify", "acme", "--export"]).arg(tar).args(more);
        run(&mut belay, b"").unwrap()
    }

    pub fn independent(&self, tar: &Path, since: Option<&Path>) -> Said {
        export::independent(tar, &self.vkey, since).unwrap()
    }

    /// The library's verdict.
    pub fn check(&self, files: &Files) -> Result<(), String> {
        let report = check_log(&Held(files), ORIGIN, &self.vkey, None, &mut |_, _| {});
        report.map(drop).map_err(|invalid| invalid.sentence)
    }

    /// Both programs refuse the export, and each names one of the `pieces`.
    #[track_caller]
    pub fn both_name(&self, name: &str, files: &Files, since: Option<&Path>, pieces: &[&str]) {
        let tar = self.write(name, files);
        let more: Vec<&str> = since.iter().flat_map(|since| ["--since", since.to_str().unwrap()]).collect();
        for said in [self.belay(name, &tar, &more), self.independent(&tar, since)] {
            let said = said.must_refuse(1, &[]);
            assert_eq!(
                said.err().lines().filter(|line| !line.contains("no older checkpoint is kept")).count(),
                1,
                "{}",
                said.story()
            );
            assert!(
                pieces.iter().any(|piece| said.err().contains(piece)),
                "{name}: none of {pieces:?}: {}",
                said.story()
            );
        }
    }

    /// The log's secret key, as somebody with root on the gateway reads it.
    fn signer(&self) -> NoteSigner {
        let key = find(&self.world.gateway_dir(), "log-acme.key").expect("the key of the log is on the gateway");
        NoteSigner::from_text(&fs::read_to_string(key).unwrap()).unwrap()
    }

    /// The same objects under a new tree over `entries`, all tiles made anew, signed by the log's own key.
    pub fn resigned(&self, entries: &[Vec<u8>]) -> Files {
        let signer = self.signer();
        let mut files: Files = self.whole.clone();
        files.retain(|path, _| path.starts_with("objects/"));
        let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        let size = u64::try_from(entries.len()).unwrap();
        let head = Checkpoint { origin: ORIGIN.to_owned(), size, root: root_of(&leaves) };
        files.insert("checkpoint".to_owned(), head.sign(&signer).unwrap().into_bytes());
        files.insert("log.vkey".to_owned(), format!("{}\n", signer.vkey()).into_bytes());
        let mut levels = vec![leaves];
        while let Some(level) = levels.last().filter(|level| level.len() >= WIDTH) {
            levels.push(level.chunks_exact(WIDTH).map(root_of).collect());
        }
        for tile in tiles_of(size) {
            let first = usize::try_from(tile.index).unwrap() * WIDTH;
            let below = first..first + usize::from(tile.width);
            if tile.level == 0 {
                let bundle = encode_bundle(&entries[below.clone()]).unwrap();
                files.insert(entries_path(tile.index, tile.width), bundle);
            }
            files.insert(tile.path(), encode_hashes(&levels[usize::from(tile.level)][below]));
        }
        files
    }
}

/// Files in memory as the library reads them.
struct Held<'a>(&'a Files);

impl belay_certs::tlog::Source for Held<'_> {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, belay_certs::Invalid> {
        Ok(self.0.get(path).cloned())
    }
}

/// Where a laptop keeps the last checkpoint it verified.
fn kept(home: &Path) -> PathBuf {
    home.join("checkpoints/acme")
}

fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    let mut paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.find_map(|path| match path.is_dir() {
        true => find(&path, name),
        false => path.file_name().is_some_and(|found| found == name).then_some(path),
    })
}

/// The path that begins with `start` and has no longer width than full, or the partial one.
pub fn path(files: &Files, start: &str) -> String {
    files.keys().find(|path| path.starts_with(start)).unwrap_or_else(|| panic!("no {start} in the export")).clone()
}

pub fn flipped(files: &Files, path: &str, at: usize) -> Files {
    let mut files = files.clone();
    files.get_mut(path).unwrap()[at] ^= 1;
    files
}

/// A bundle and its tile of leaf hashes disagree, and neither says which of the two was changed.
fn pieces(path: &str) -> Vec<String> {
    let twin = match path.strip_prefix("tile/entries/") {
        Some(place) => format!("tile/0/{place}"),
        None => path.to_owned(),
    };
    vec![path.to_owned(), twin]
}

#[track_caller]
pub fn both_name_path(exported: &Exported, name: &str, files: &Files, path: &str) {
    let pieces = pieces(path);
    exported.both_name(name, files, None, &pieces.iter().map(String::as_str).collect::<Vec<_>>());
}
