//! Programs on a person's PATH that do what the real ones do and leave a mark, or wait to be cut off.

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// A directory that comes first on the PATH.
pub struct Shims {
    dir: PathBuf,
}

impl Shims {
    pub fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir).unwrap();
        Self { dir: dir.to_owned() }
    }

    /// `name` runs this shell script; `$REAL` is the real program.
    pub fn add(&self, name: &str, script: &str) {
        let file = self.dir.join(name);
        fs::write(&file, format!("#!/bin/sh\nREAL=/usr/bin/{name}\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The PATH with them in front.
    pub fn path(&self) -> OsString {
        let mut path = self.dir.clone().into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        path
    }
}
