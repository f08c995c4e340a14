//! Everything a gateway is in one file: made while it serves.
//!
//! The file is a tar: `belay-backup.toml` (what it is), `gateway.toml`, `keys/…` and `belay.db`, a copy of the database at
//! one moment, and `sha256` of all that. It holds the gateway's keys, so it is as secret as the gateway's directory. Read back by `restore.rs`.
//!
//! Not in it: what sessions showed (`recordings/`), which can be a thousand times as large and never changes once written: it
//! is copied beside, as files. The notes that prove it are in the database, so a copy is checked by whoever reads it.

use super::{
    acts::Operator,
    beside,
    directory::{TRANSPORT_CERTIFICATE, TRANSPORT_KEY},
};
use crate::{
    archive::{BLOCK_BYTES, END},
    config, store,
};
use anyhow::{Context, bail, ensure};
use belay_certs::{Timestamp, digest::hex, transport::TransportCa};
use belay_rules::LogName;
use ring::digest::{Context as Context256, SHA256};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The format of a backup.
pub(super) const FORMAT: u32 = 1;
/// The file that says what it is, and comes first.
pub(super) const ABOUT: &str = "belay-backup.toml";
/// Where keys are.
pub(super) const KEYS: &str = "keys/";
/// A key's file, in bytes: the largest is a certificate chain.
pub(super) const KEY_BYTES_MAX: u64 = 64 << 10;
/// Files in the keys' directory: a key and its earlier lives for 10,000 tenants.
const KEY_FILES_MAX: usize = 40_000;
/// The last file: SHA-256 of everything before it, in hexadecimal.
pub(super) const DIGEST: &str = "sha256";
/// What that file and the end take: a head, a block, two empty ones.
const TAIL_BYTES: u64 = 4 * BLOCK_BYTES as u64;
/// Bytes read at a time.
const PIECE_BYTES: usize = 64 << 10;

/// What a backup is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct About {
    pub(super) format: u32,
    /// The gateway's name.
    pub(super) gateway: String,
    /// The version of the program that made it.
    pub(super) version: String,
    /// When, in seconds since 1970-01-01 UTC.
    pub(super) made: i64,
}

impl About {
    /// When it was made.
    pub(super) fn made(&self) -> Timestamp {
        Timestamp::from_seconds(self.made)
    }
}

impl Operator {
    /// Writes the backup to `out`. The copy of the database comes first in time: every log in it has its key by then.
    pub(super) async fn back_up<W: AsyncWrite + Unpin + Send>(&self, out: &mut W) -> anyhow::Result<()> {
        let Moment { made, mut database, config, keys } = self.moment().await?;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let about = About { format: FORMAT, gateway: self.config.name.clone(), version, made };
        let mut archive = Archive { out, digest: Context256::new(&SHA256) };
        archive.append(ABOUT, toml::to_string(&about)?.as_bytes()).await?;
        archive.append(config::FILE, &config).await?;
        for (name, bytes) in keys {
            archive.append(&format!("{KEYS}{name}"), &bytes).await?;
        }
        let size = database.seek(SeekFrom::End(0))?;
        database.rewind()?;
        archive.append_file(store::DATABASE_FILE, size, database).await?;
        archive.finish().await
    }

    /// Takes all of it while no key is exchanged and no other copy is made; nobody waits while it is handed over later.
    async fn moment(&self) -> anyhow::Result<Moment> {
        let _keys = self.keys.lock().await;
        self.note(LogName::System, &["backup"]).await?;
        let made = self.gateway.now().seconds();
        let copied = self.gateway.store.snapshot(self.directory.path()).await;
        let database = copied.context("the database cannot be copied; the disk needs room for it once more")?;
        let config = fs::read(self.directory.config()).context("the configuration cannot be read")?;
        // Also puts an exchange in order that was cut off.
        self.directory.transport_ca()?;
        let keys = keys(&self.directory.keys())?;
        check_transport_ca(&keys)?;
        Ok(Moment { made, database, config, keys })
    }
}

/// What a gateway is at one moment.
struct Moment {
    /// When, in seconds since 1970-01-01 UTC.
    made: i64,
    /// The copy of the database; it has no name any more.
    database: File,
    /// The configuration's text.
    config: Vec<u8>,
    /// Every key by its name, all of the copy's logs among them.
    keys: Keys,
}

/// Keys by their names.
type Keys = Vec<(String, Vec<u8>)>;

/// Checks that the transport CA among the keys has its key there: without, nothing that is restored serves.
fn check_transport_ca(keys: &Keys) -> anyhow::Result<()> {
    let text = |wanted: &str| {
        let found =
            keys.iter().find(|(name, _)| name == wanted).with_context(|| format!("{KEYS}{wanted} is missing"))?;
        std::str::from_utf8(&found.1).with_context(|| format!("{KEYS}{wanted} is no text"))
    };
    let fits = TransportCa::from_pem(text(TRANSPORT_CERTIFICATE)?, text(TRANSPORT_KEY)?);
    fits.map(|_| ()).context("the transport CA and its key do not fit together")
}

/// A tar that is being written, with the digest of all that was.
struct Archive<'a, W> {
    out: &'a mut W,
    digest: Context256,
}

impl<W: AsyncWrite + Unpin + Send> Archive<'_, W> {
    async fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.digest.update(bytes);
        Ok(self.out.write_all(bytes).await?)
    }

    async fn append(&mut self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        self.begin(name, bytes.len() as u64).await?;
        self.write(bytes).await?;
        self.end(bytes.len() as u64).await
    }

    async fn append_file(&mut self, name: &str, size: u64, file: File) -> anyhow::Result<()> {
        self.begin(name, size).await?;
        let (mut file, mut piece) = (tokio::fs::File::from_std(file).take(size), vec![0; PIECE_BYTES]);
        let mut copied = 0;
        loop {
            let count = file.read(&mut piece).await?;
            let Some(read) = piece.get(..count).filter(|read| !read.is_empty()) else { break };
            self.write(read).await?;
            copied += count as u64;
        }
        ensure!(copied == size, "the copy of the database ended after {copied} of {size} bytes");
        self.end(size).await
    }

    async fn begin(&mut self, name: &str, size: u64) -> anyhow::Result<()> {
        // The octal digits of ustar end at 8 GiB; this form writes larger sizes in binary.
        let mut header = tar::Header::new_gnu();
        header.set_path(name)?;
        header.set_size(size);
        header.set_mode(0o600);
        header.set_mtime(0);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        self.write(header.as_bytes()).await
    }

    async fn end(&mut self, size: u64) -> anyhow::Result<()> {
        let over = usize::try_from(size % BLOCK_BYTES as u64)?;
        let padding = if over == 0 { 0 } else { BLOCK_BYTES - over };
        self.write(END.get(..padding).unwrap_or_default()).await
    }

    /// The digest of all before it is the last file, so that what was cut off or changed is known from what is whole.
    async fn finish(mut self) -> anyhow::Result<()> {
        let digest = hex(self.digest.clone().finish().as_ref());
        self.append(DIGEST, format!("{digest}\n").as_bytes()).await?;
        self.write(&END).await
    }
}

/// Checks that a backup is as it was written.
pub(super) fn check_whole(file: &mut File) -> anyhow::Result<()> {
    let bad = "it is no backup of a gateway, or it was cut off or changed";
    let before = file.seek(SeekFrom::End(0))?.checked_sub(TAIL_BYTES).context(bad)?;
    file.rewind()?;
    let (mut digest, mut piece) = (Context256::new(&SHA256), vec![0; PIECE_BYTES]);
    let mut hashed = (&mut *file).take(before);
    loop {
        let count = hashed.read(&mut piece)?;
        let Some(read) = piece.get(..count).filter(|read| !read.is_empty()) else { break };
        digest.update(read);
    }
    let mut tail = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut tail)?;
    let kept = tail.get(BLOCK_BYTES..BLOCK_BYTES + 64).unwrap_or_default();
    ensure!(hex(digest.finish().as_ref()).as_bytes() == kept, bad);
    file.rewind()?;
    Ok(())
}

/// Every key with its name. What is being written just now is not one yet.
fn keys(directory: &Path) -> anyhow::Result<Keys> {
    let unread = || format!("{} cannot be read", directory.display());
    let mut keys = Vec::new();
    for entry in fs::read_dir(directory).with_context(unread)? {
        let entry = entry.with_context(unread)?;
        let name = entry.file_name().into_string().ok().with_context(unread)?;
        if name.ends_with(".new") || !entry.file_type().with_context(unread)?.is_file() {
            continue;
        }
        let mut bytes = Vec::new();
        let file = File::open(entry.path()).with_context(|| format!("{} cannot be read", entry.path().display()))?;
        file.take(KEY_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        ensure!(bytes.len() as u64 <= KEY_BYTES_MAX, "{} is no key: it is too large", entry.path().display());
        ensure!(keys.len() < KEY_FILES_MAX, "{} has more than {KEY_FILES_MAX} files", directory.display());
        keys.push((name, bytes));
    }
    keys.sort();
    Ok(keys)
}

/// Has `write` fill a new file and puts it at `path` when it is whole and durable. Until then there is only a draft that
/// nobody else can read, and after a failure nothing; a file that is at `path` is never replaced.
pub(super) async fn whole_and_new(
    path: &Path,
    write: impl AsyncFnOnce(File) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    ensure!(!path.exists(), "{} is there already; a backup never replaces a file", path.display());
    let draft = beside(path, ".new");
    let unwritten = || format!("{} cannot be written", path.display());
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).with_context(unwritten),
        Ok(()) | Err(_) => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).with_context(unwritten)?;
    let written = async {
        write(file.try_clone().with_context(unwritten)?).await?;
        file.sync_all().with_context(unwritten)?;
        put(&draft, path)
    };
    written.await.inspect_err(|_| drop(fs::remove_file(&draft)))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|parent| parent.sync_all()).with_context(unwritten)
}

/// Gives the draft its name, unless somebody else has taken it meanwhile.
fn put(draft: &Path, path: &Path) -> anyhow::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, draft, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::EXIST) => bail!("{} is there already; a backup never replaces a file", path.display()),
        // Network file systems may not know how; whoever makes two backups under one name there gets the later one.
        Err(_) => fs::rename(draft, path).with_context(|| format!("{} cannot be written", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Write, os::unix::fs::PermissionsExt};

    async fn fill(mut file: File) -> anyhow::Result<()> {
        Ok(file.write_all(b"whole")?)
    }

    #[tokio::test]
    async fn a_file_is_private_whole_and_never_in_the_place_of_another() {
        let directory = tempfile::tempdir().unwrap();
        let (path, draft) = (directory.path().join("gw.backup"), directory.path().join("gw.backup.new"));
        // A draft that a crash left, for everybody to read.
        fs::write(&draft, "half of another").unwrap();
        whole_and_new(&path, fill).await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(whole_and_new(&path, fill).await.unwrap_err().to_string().contains("there already"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_or_named_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gw.backup");
        let full = whole_and_new(&path, async |_| bail!("no space left"));
        assert!(full.await.unwrap_err().to_string().contains("no space"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        // Somebody else takes the name while it is written.
        let taken = whole_and_new(&path, async |file| {
            fs::write(directory.path().join("gw.backup"), "theirs")?;
            fill(file).await
        });
        assert!(taken.await.unwrap_err().to_string().contains("there already"));
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
