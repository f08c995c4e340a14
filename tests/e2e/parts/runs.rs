//! Runbooks as their authors make them: who may, a script to run, and the library.

use super::changed;
use belay_certs::Timestamp;
use belay_tests::{Person, World};
use std::{fs, path::PathBuf, time::SystemTime};

/// Lets `tech` run every runbook of `author`, who is made here, as the account of this test.
pub fn allow(world: &World, device: &str) -> Person {
    let author = world.add_person("acme", "author", &["--do", "audit"]).unwrap();
    let account = world.account().to_owned();
    changed::change(world, device, |text| {
        let grant = format!(
            "\n[[grants]]\nwho = [\"tech\"]\non = [\"*\"]\ndo = [\"run\"]\nas = [\"{account}\"]\nrunbooks = [\"*\"]\nrisk = \"high\"\ndevices_max = 10000\n"
        );
        with_signers(text, "[\"author\"]") + &grant
    });
    // Whoever has another tenant's hash too is told so, and has this one's policy all the same.
    world.person("tech").belay(["config"]).unwrap();
    author.belay(["config"]).unwrap();
    author
}

/// The policy with these as the authors of runbooks.
pub fn with_signers(text: &str, signers: &str) -> String {
    let kept: Vec<&str> = text.lines().collect();
    match kept.iter().position(|line| *line == "[runbooks]") {
        None => format!("{text}\n[runbooks]\nsigners = {signers}\n"),
        Some(at) => {
            let mut lines: Vec<String> = kept.iter().map(|line| (*line).to_owned()).collect();
            let signer = (at + 1..lines.len()).find(|line| lines[*line].starts_with("signers")).unwrap();
            lines[signer] = format!("signers = {signers}");
            lines.join("\n") + "\n"
        }
    }
}

/// A runbook file of this name and body, signed and brought by `author`.
#[track_caller]
pub fn push(world: &World, author: &Person, name: &str, declared: &str, body: &str) -> PathBuf {
    let file = write(world, name, declared, body);
    let path = file.to_str().unwrap();
    author.belay(["runbook", "sign", path]).unwrap().must();
    author.belay(["runbook", "push", path, "--tenant", "acme"]).unwrap().must();
    file
}

/// A runbook file, unsigned. `declared` are further lines of its declaration.
pub fn write(world: &World, name: &str, declared: &str, body: &str) -> PathBuf {
    let issued = Timestamp::from_system(SystemTime::now()).whole_second();
    let mut text =
        format!("#!/bin/sh\n# /// belay\n# name = \"{name}\"\n# description = \"{name}\"\n# issued = {issued}\n");
    text.push_str(&format!("# account = \"{}\"\n", world.account()));
    for line in declared.lines() {
        text.push_str(&format!("# {line}\n"));
    }
    text.push_str("# ///\n");
    text.push_str(body);
    text.push('\n');
    let file = world.dir().join(format!("{name}.sh"));
    fs::write(&file, text).unwrap();
    file
}
