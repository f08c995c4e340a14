//! A gateway that was killed, and whose disk then lost the end of the database's journal although it had said that it was
//! written. No program can see that alone: what is left is an older log, whole in itself. Whoever saw more refuses it.

use belay_tests::{
    Person, Plan, World,
    call::run,
    wait::{GENEROUS, until},
};
use std::{fs, path::PathBuf, process::Command};

const DEVICE: &str = "web1.acme";
/// SQLite's, of a journal and of each page in it.
const WAL_HEADER: u64 = 32;
const FRAME: u64 = 24 + 4096;

struct Bench {
    world: World,
    tech: Person,
    /// The gateway's directory as the kill left it.
    crashed: PathBuf,
    /// The journal's name in it.
    wal: String,
    /// Every command appends its word here.
    ran: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let world = World::of(Plan::small());
        let (tech, ran, crashed) = (world.person("tech"), world.dir().join("ran"), world.dir().join("crashed"));
        // Everything until now is in the database itself.
        world.stop_gateway().unwrap();
        world.start_gateway().unwrap();
        let mut bench = Self { world, tech, crashed, wal: String::new(), ran };
        for word in ["one", "two", "three"] {
            until("a command to run", GENEROUS, || bench.attempt(word)?.succeeded().map(drop)).unwrap();
        }
        bench.tech.belay(["log", "verify", "acme"]).unwrap().must();
        bench.world.kill_gateway();
        bench.copy(&bench.world.gateway_dir(), &bench.crashed);
        let names = fs::read_dir(&bench.crashed).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        bench.wal = names.into_iter().find(|name| name.ends_with("-wal")).expect("a journal after a kill");
        bench
    }

    fn attempt(&self, word: &str) -> anyhow::Result<belay_tests::Said> {
        let command = format!("echo {word} >> {}", self.ran.display());
        run(self.tech.ssh_command().args(["--", DEVICE, &command]), b"")
    }

    fn copy(&self, from: &PathBuf, to: &PathBuf) {
        let _ = fs::remove_dir_all(to);
        run(Command::new("cp").arg("-a").arg(from).arg(to), b"").unwrap().must();
    }

    /// The crashed gateway again, with a journal that `damage` changed.
    fn lay_out(&self, damage: impl FnOnce(&mut Vec<u8>)) {
        let gateway = self.world.gateway_dir();
        self.copy(&self.crashed, &gateway);
        let path = gateway.join(&self.wal);
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(&path, bytes).unwrap();
        // The index of the journal is memory that no crash of a machine leaves behind.
        let _ = fs::remove_file(gateway.join(self.wal.replace("-wal", "-shm")));
    }

    /// How many entries the log has that lies there, every one verified.
    fn entries(&self) -> u64 {
        let said = self.world.operator(&["log", "verify", "acme"]).unwrap().must().out();
        let number = said.split_whitespace().find_map(|word| word.parse().ok());
        number.unwrap_or_else(|| panic!("no number of entries: {said}"))
    }
}

#[test]
fn a_journal_cut_anywhere_leaves_a_whole_log_and_who_saw_more_refuses_it() {
    let bench = Bench::new();
    let length = fs::metadata(bench.crashed.join(&bench.wal)).unwrap().len();
    let frames = (length - WAL_HEADER) / FRAME;
    assert!(frames > 8, "{length} bytes of journal are too little to cut");
    bench.lay_out(|_| {});
    let whole = bench.entries();
    let at = |frame: u64, more: u64| WAL_HEADER + frame * FRAME + more;
    let mut before = 0;
    let cuts = [0, 7, WAL_HEADER, at(0, 24), at(frames / 3, 0), at(frames / 2, 1_000), at(frames - 1, 23), length - 1];
    for cut in cuts {
        bench.lay_out(|bytes| bytes.truncate(usize::try_from(cut).unwrap()));
        let left = bench.entries();
        assert!((before..=whole).contains(&left), "cut at {cut} of {length}: {left} entries, {before} with less");
        before = left;
    }
    assert!(before < whole, "the last cut is within what was acknowledged");
    // One bit in the middle ends the journal there.
    let middle = usize::try_from(at(frames / 2, 2_000)).unwrap();
    bench.lay_out(|bytes| bytes[middle] ^= 1);
    assert!(bench.entries() < whole);

    // Served, the shorter log starts nothing on a machine that saw more, and no laptop that saw more believes it.
    bench.world.start_gateway().unwrap();
    until("a refusal", GENEROUS, || {
        let said = bench.attempt("four")?;
        anyhow::ensure!(said.err().contains("nothing was started"), "{}", said.story());
        Ok(())
    })
    .unwrap();
    assert_eq!(fs::read_to_string(&bench.ran).unwrap(), "one\ntwo\nthree\n");
    bench.tech.belay(["log", "verify", "acme"]).unwrap().must_refuse(1, &["does not verify"]);

    // What the kill alone left has everything.
    bench.world.kill_gateway();
    bench.lay_out(|_| {});
    bench.world.start_gateway().unwrap();
    until("a command to run", GENEROUS, || bench.attempt("five")?.succeeded().map(drop)).unwrap();
    bench.tech.belay(["log", "verify", "acme"]).unwrap().must();
}
