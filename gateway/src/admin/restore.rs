//! A gateway's directory from a backup: into an empty place only, and only when everything in it fits together.
//!
//! The configuration is written last, so what was cut off half-way is no gateway's directory.

use super::{
    backup::{ABOUT, About, DIGEST, FORMAT, KEY_BYTES_MAX, KEYS, check_whole},
    create,
    directory::{Directory, LOCK, write_whole},
    verify,
};
use crate::{
    config::{self, Config},
    serve,
    store::{self, DATABASE_FILE},
};
use anyhow::{Context, ensure};
use belay_certs::{Timestamp, time::SECOND};
use belay_rules::LogName;
use std::{
    collections::BTreeSet,
    fmt::Write,
    fs::{self, DirBuilder, File, OpenOptions},
    io::Read,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};
use tokio::io::{AsyncWriteExt, BufWriter};

/// Text files of a backup, in bytes: a configuration has at most 64 KiB.
const TEXT_BYTES_MAX: u64 = 64 << 10;
/// The longest name of a key's file, in bytes: `log-` and a tenant's name and the number of a life.
const NAME_BYTES_MAX: usize = 100;

/// Restores the backup in `file` into `path`, which is empty or not there, and says what that means. After a failure nothing
/// is in it but the lock's file, which counts as nothing.
pub(super) async fn restore(file: &Path, path: &Path, now: Timestamp) -> anyhow::Result<String> {
    if !path.exists() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.with_context(|| format!("{} cannot be made", path.display()))?;
    }
    // First without the lock: nothing is put into a directory that is somebody's.
    check_empty(path)?;
    let directory = Directory::new(path);
    let lock = directory.try_lock()?.with_context(|| format!("another belay-gateway works in {}", path.display()))?;
    // Another restore may have begun and ended meanwhile.
    check_empty(path)?;
    let restored = unpack_and_check(file, &directory, now).await;
    if restored.is_err() {
        clear(path);
    }
    drop(lock);
    restored
}

fn check_empty(path: &Path) -> anyhow::Result<()> {
    let inside = fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let inside = inside.with_context(|| format!("{} cannot be read", path.display()))?;
    let empty = inside.iter().all(|entry| entry.file_name() == LOCK);
    ensure!(empty, "{} is not empty; a backup is restored into an empty directory only", path.display());
    Ok(())
}

/// Removes what this call wrote while it holds the lock: nothing else was there. The lock's file stays: were it removed,
/// two could each hold a lock of that name.
fn clear(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten().filter(|entry| entry.file_name() != LOCK) {
        let path = entry.path();
        let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
    }
}

async fn unpack_and_check(file: &Path, directory: &Directory, now: Timestamp) -> anyhow::Result<String> {
    let path = directory.path();
    let Unpacked { about, config: text } =
        unpack(file, directory).with_context(|| format!("{} cannot be restored", file.display()))?;
    let config = Config::parse(&text).context("the configuration in the backup")?;
    ensure!(
        config.name == about.gateway,
        "the backup is of {}, and its configuration of {}",
        about.gateway,
        config.name
    );
    let name = config.name.clone();
    let (operator, _) = serve::open(directory, config).await.context("what is in the backup does not fit together")?;
    let checked = check_logs(&operator.gateway, path).await;
    operator.gateway.store.close().await;
    let logs = checked?;
    write_whole(&directory.config(), text.as_bytes(), 0o644)?;
    Ok(report(&name, &about, &logs, path, now))
}

/// What of a backup is not a file in the directory yet.
struct Unpacked {
    about: About,
    config: String,
}

fn unpack(file: &Path, directory: &Directory) -> anyhow::Result<Unpacked> {
    let made = DirBuilder::new().mode(0o700).create(directory.keys());
    made.with_context(|| format!("{} cannot be made", directory.keys().display()))?;
    let mut file = File::open(file)?;
    check_whole(&mut file)?;
    let mut archive = tar::Archive::new(file);
    let (mut about, mut config, mut seen) = (None, None, BTreeSet::new());
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = String::from_utf8(entry.path_bytes().into_owned()).context("a name in it is no text")?;
        ensure!(entry.header().entry_type().is_file(), "{name} in it is no plain file");
        ensure!(about.is_some() || name == ABOUT, "it is no backup of a gateway: it does not begin with {ABOUT}");
        ensure!(seen.insert(name.clone()), "{name} is in it twice");
        match name.as_str() {
            ABOUT => about = Some(read_about(&text(&mut entry)?)?),
            config::FILE => config = Some(text(&mut entry)?),
            DIGEST => {}
            DATABASE_FILE => write(&mut entry, &directory.path().join(DATABASE_FILE))?,
            other => {
                let key = other.strip_prefix(KEYS).filter(|key| is_key(key));
                let key = key.with_context(|| format!("{other} does not belong into a backup"))?;
                ensure!(entry.size() <= KEY_BYTES_MAX, "{other} in it is too large for a key");
                write(&mut entry, &directory.keys().join(key))?;
            }
        }
    }
    ensure!(seen.contains(DATABASE_FILE), "it has no {DATABASE_FILE}: it was cut off");
    for made in [directory.keys(), directory.path().to_owned()] {
        File::open(made)?.sync_all()?;
    }
    let about = about.with_context(|| format!("it has no {ABOUT}"))?;
    Ok(Unpacked { about, config: config.with_context(|| format!("it has no {}", config::FILE))? })
}

fn read_about(text: &str) -> anyhow::Result<About> {
    let about: About = toml::from_str(text).with_context(|| format!("{ABOUT} in it cannot be read"))?;
    ensure!(
        about.format == FORMAT,
        "it has format {}, and this belay-gateway reads format {FORMAT}; version {} made it",
        about.format,
        about.version
    );
    Ok(about)
}

fn text(entry: &mut impl Read) -> anyhow::Result<String> {
    let mut text = String::new();
    entry.take(TEXT_BYTES_MAX + 1).read_to_string(&mut text)?;
    ensure!(text.len() as u64 <= TEXT_BYTES_MAX, "a text in it is larger than {TEXT_BYTES_MAX} bytes");
    Ok(text)
}

fn is_key(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.starts_with('.') && (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain)
}

fn write(from: &mut impl Read, path: &Path) -> anyhow::Result<()> {
    let unwritten = || format!("{} cannot be written", path.display());
    let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(unwritten)?;
    std::io::copy(from, &mut to).with_context(unwritten)?;
    to.sync_all().with_context(unwritten)
}

/// Checks every log from its first entry to its head; each origin with its size.
async fn check_logs(gateway: &crate::Gateway, path: &Path) -> anyhow::Result<Vec<(String, u64)>> {
    let tenants = gateway.store.tenants().await?.into_iter().map(|row| LogName::Tenant(row.name));
    let mut checked = Vec::new();
    for log in std::iter::once(LogName::System).chain(tenants) {
        let identity = gateway.store.log_identity(&log).with_context(|| format!("log {log} is missing"))?;
        let archive = path.join("checked.tar");
        let file = create(&archive)?;
        fs::remove_file(&archive)?;
        let mut to = BufWriter::new(tokio::fs::File::from_std(file.try_clone()?));
        gateway.store.export(&log, &mut to).await.with_context(|| format!("log {log}"))?;
        to.flush().await?;
        let report = verify::check(file, &identity.origin, &identity.vkey).with_context(|| format!("log {log}"))?;
        checked.push((identity.origin, report.entries));
    }
    Ok(checked)
}

fn report(name: &str, about: &About, logs: &[(String, u64)], path: &Path, now: Timestamp) -> String {
    let seconds = (now.micros() - about.made().micros()) / SECOND;
    let mut text = format!("{name} is restored from a backup made at {}, {} ago\n", about.made(), age(seconds));
    for (origin, entries) in logs {
        let _ = writeln!(text, "  {origin}: {entries} entries, whole");
    }
    let _ = write!(
        text,
        "What was recorded after the backup is not here. A device that was given a receipt since then has seen a longer log,\n\
         refuses this one and starts nothing until its tenant's policy names a new log; devices that were quiet go on.\n\
         If one refuses: belay-gateway log restart TENANT, which prints the line for that policy.\n\
         From its first start on this gateway signs new entries under the old keys and in the numbers of what was lost: a second\n\
         history of each log, to whoever saw the first. A tenant's log has none if it begins anew before that, and then its\n\
         devices, the quiet ones too, wait for the policy that names it: belay-gateway log restart TENANT --dir {}\n\
         What sessions showed is not in a backup, only the notes that prove it: copy the old gateway's {}, or its copy, to {};\n\
         chunks without their files are named when somebody reads them, and those of later sessions stay where they are.\n\
         Two gateways from one backup make two histories: serve this one only if the other never serves again.\n\
         next: belay-gateway serve {}\n",
        path.display(),
        store::RECORDINGS,
        path.join(store::RECORDINGS).display(),
        path.display()
    );
    text
}

/// A time that has passed, in its largest unit.
fn age(seconds: i64) -> String {
    let (count, unit) = match seconds {
        ..120 => (seconds.max(0), "seconds"),
        120..7_200 => (seconds / 60, "minutes"),
        7_200..172_800 => (seconds / 3_600, "hours"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{count} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_does_not_hold_the_lock_clears_nothing_and_a_lock_that_nobody_holds_is_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let (path, now) = (parent.path().join("to"), Timestamp::from_seconds(0));
        fs::create_dir(&path).unwrap();
        let directory = Directory::new(&path);
        let lock = directory.try_lock().unwrap().unwrap();
        let refused = restore(Path::new("none"), &path, now).await.unwrap_err();
        assert!(refused.to_string().contains("another belay-gateway works in"), "{refused}");
        assert!(path.join(LOCK).exists(), "the other's lock was removed");
        drop(lock);
        for _ in 0..2 {
            let refused = format!("{:#}", restore(Path::new("none"), &path, now).await.unwrap_err());
            assert!(refused.contains("none cannot be restored"), "{refused}");
        }
        fs::write(path.join("theirs"), "").unwrap();
        let refused = restore(Path::new("none"), &path, now).await.unwrap_err();
        assert!(refused.to_string().contains("is not empty"), "{refused}");
        assert!(path.join("theirs").exists());
    }

    #[test]
    fn only_plain_names_are_keys() {
        assert!(is_key("log-acme.key") && is_key("log-acme.key.1") && is_key("ssh_host_ed25519_key.pub"));
        for name in ["", ".", "..", "../x", "a/b", ".hidden", "a b", &"x".repeat(NAME_BYTES_MAX + 1)] {
            assert!(!is_key(name), "{name:?}");
        }
    }

    #[test]
    fn an_age_is_told_in_its_largest_unit() {
        let said = [-5, 119, 120, 7_200, 172_800].map(age);
        assert_eq!(said, ["0 seconds", "119 seconds", "2 minutes", "2 hours", "2 days"]);
    }
}
