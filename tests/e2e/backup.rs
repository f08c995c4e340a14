//! A backup made under load, and the gateway that is restored from it.

use belay_tests::{
    Plan, World,
    call::run,
    programs::programs,
    wait::{GENEROUS, until},
};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

const WEB1: &str = "web1.acme";

fn restore(from: &Path, to: &Path) -> belay_tests::Said {
    run(programs().unwrap().gateway().arg("restore").arg(from).arg(to), b"").unwrap()
}

/// Tells the worker to stop, also when the test fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Waits until so many commands have run.
fn until_done(done: &AtomicUsize, count: usize) {
    let enough = || {
        anyhow::ensure!(done.load(Ordering::Relaxed) >= count, "not yet");
        Ok(())
    };
    until("commands to run", GENEROUS, enough).unwrap();
}

/// Puts the restored directory in the place of the gateway's and starts it.
fn exchange(world: &World, restored: &Path) {
    world.kill_gateway();
    fs::rename(world.gateway_dir(), world.dir().join("lost")).unwrap();
    fs::rename(restored, world.gateway_dir()).unwrap();
    world.start_gateway().unwrap();
}

#[test]
fn a_backup_under_load_is_one_moment_and_a_device_that_saw_more_refuses_what_is_restored_from_it() {
    let world = World::of(Plan::small());
    let (tech, file) = (world.person("tech"), world.dir().join("gw.backup"));
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let stopping = StopAtEnd(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                tech.ssh(WEB1, "true").must();
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
        until_done(&done, 3);
        let taken = world.operator(&["backup", file.to_str().unwrap()]);
        until_done(&done, done.load(Ordering::Relaxed) + 3);
        drop(stopping);
        taken.unwrap().must();
    });
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let again = world.operator(&["backup", file.to_str().unwrap()]).unwrap();
    again.must_refuse(1, &["there already"]);

    let restored = world.dir().join("restored");
    let said = restore(&file, &restored).must();
    let told = said.out();
    assert!(told.contains("gw.example/acme: ") && told.contains(" entries, whole") && told.contains("ago"), "{told}");
    restore(&file, &restored).must_refuse(1, &["is not empty"]);
    exchange(&world, &restored);
    world.operator(&["log", "verify", "acme"]).unwrap().must();
    // The device was given receipts after the backup: it starts nothing on a log that has lost them, and says why.
    let refused = until("the device's word", GENEROUS, || {
        let said = tech.ssh(WEB1, "true");
        anyhow::ensure!(!said.status.success(), "a command ran on a shorter log: {}", said.story());
        anyhow::ensure!(
            world.log(WEB1).tail().contains("receipt") || said.err().contains("recorded"),
            "{}",
            said.story()
        );
        Ok(said)
    })
    .unwrap();
    println!("after the restore: {}", refused.err().trim());
}

#[test]
fn a_gateway_restored_before_anything_new_was_recorded_goes_on_as_if_nothing_had_been() {
    let world = World::of(Plan::small());
    let (tech, file) = (world.person("tech"), world.dir().join("gw.backup"));
    tech.ssh(WEB1, "true").must();
    tech.hang_up();
    world.stop_agent(WEB1).unwrap();
    world.operator(&["backup", file.to_str().unwrap()]).unwrap().must();
    let restored = world.dir().join("restored");
    restore(&file, &restored).must();
    exchange(&world, &restored);
    world.start_agent(WEB1).unwrap();
    world.until_online(WEB1).unwrap();
    tech.ssh(WEB1, "true").must();
    tech.belay(["log", "verify", "acme"]).unwrap().must();
    // Also where no gateway serves.
    world.stop_gateway().unwrap();
    world.operator(&["backup", world.dir().join("cold.backup").to_str().unwrap()]).unwrap().must();
    restore(&world.dir().join("cold.backup"), &world.dir().join("cold")).must();
}

#[test]
fn a_backup_that_was_cut_off_or_changed_restores_nothing() {
    let world = World::of(Plan::without_devices());
    let file = world.dir().join("gw.backup");
    world.operator(&["backup", file.to_str().unwrap()]).unwrap().must();
    let whole = fs::read(&file).unwrap();
    let (bad, to) = (world.dir().join("bad.backup"), world.dir().join("to"));
    let page = whole.len() - 8_192;
    let mut changed = whole.clone();
    changed[page..page + 4_096].fill(0xff);
    let renamed = {
        let mut bytes = whole.clone();
        let at = bytes.windows(12).position(|window| window == b"gateway.toml").unwrap();
        bytes[at..at + 12].copy_from_slice(b"../gateway.t");
        bytes
    };
    for (what, bytes) in [
        ("cut off", &whole[..whole.len() / 2]),
        ("its end is missing", &whole[..600]),
        ("nothing", &[][..]),
        ("no tar", &b"a text"[..]),
        ("a page is destroyed", &changed),
        ("a name that leads elsewhere", &renamed),
    ] {
        fs::write(&bad, bytes).unwrap();
        let said = restore(&bad, &to);
        assert!(!said.status.success(), "{what}: {}", said.story());
        println!("{what}: {}", said.err().trim());
        let left = fs::read_dir(&to).unwrap().map(|left| left.unwrap().file_name());
        assert!(left.into_iter().all(|name| name == "lock"), "{what} left something");
    }
    restore(&file, &to).must();
}

#[test]
fn a_backup_to_a_full_disk_leaves_nothing() {
    let world = World::of(Plan::without_devices());
    let small = world.dir().join("small");
    fs::create_dir(&small).unwrap();
    let mount = run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "none"]).arg(&small), b"").unwrap();
    if !mount.status.success() {
        return println!("skipped: only root mounts a small disk");
    }
    let said = world.operator(&["backup", small.join("gw.backup").to_str().unwrap()]).unwrap();
    let left = fs::read_dir(&small).unwrap().count();
    run(Command::new("umount").arg(&small), b"").unwrap().must();
    said.must_refuse(1, &["cannot be written"]);
    assert_eq!(left, 0);
    assert!(!world.gateway_dir().join("belay.db.copy").exists());
}
