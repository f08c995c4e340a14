//! A small disk of its own at some place, to be filled.

use belay_tests::run;
use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::Command,
};

/// Mounted until dropped.
pub struct Disk {
    at: PathBuf,
}

impl Disk {
    /// None, with the reason told, where this test cannot be run.
    pub fn mount(at: &Path, size: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root can mount a small disk to fill");
            return None;
        }
        fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "tmpfs"]).arg(at);
        let said = run(&mut mount, b"").unwrap();
        if !said.status.success() {
            println!("skipped: no small disk can be mounted here: {}", said.err().trim());
            return None;
        }
        Some(Self { at: at.to_owned() })
    }

    /// Fills it to the last page.
    pub fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.ballast()).unwrap();
        let page = [0; 4096];
        loop {
            match file.write_all(&page) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return,
                Err(error) => panic!("the disk is not full but broken: {error}"),
            }
        }
    }

    /// Frees what fills it.
    pub fn free(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.at.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg("-l").arg(&self.at), b"");
    }
}
