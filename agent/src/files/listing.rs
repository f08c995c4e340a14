//! What a directory holds, and what is known of a file: as attributes, and as the line that `ls -l` shows.

use belay_agent_rules::{
    limits::SFTP_NAMES_MAX,
    sftp::{Attributes, Name},
};
use belay_certs::Timestamp;
use nix::unistd::{Gid, Group, Uid, User};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, Metadata, ReadDir},
    io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

/// Names of users and groups that are kept; a directory with more owners asks again.
const OWNERS_KEPT_MAX: usize = 256;

/// A directory that is being read.
pub(super) struct Listing {
    path: PathBuf,
    entries: ReadDir,
    /// `.` and `..` come first.
    dots: Vec<&'static str>,
    owners: Owners,
}

impl Listing {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let entries = fs::read_dir(path)?;
        Ok(Self { path: path.to_owned(), entries, dots: vec!["..", "."], owners: Owners::default() })
    }

    /// The next names; none at the end. What vanishes meanwhile is left out.
    ///
    /// # Errors
    /// The directory cannot be read any further.
    pub(super) fn next(&mut self) -> io::Result<Vec<Name>> {
        let mut names = Vec::new();
        while names.len() < SFTP_NAMES_MAX {
            let file_name = match self.dots.pop() {
                Some(dots) => OsStr::new(dots).to_owned(),
                None => match self.entries.next() {
                    Some(entry) => entry?.file_name(),
                    None => break,
                },
            };
            let Ok(metadata) = fs::symlink_metadata(self.path.join(&file_name)) else { continue };
            let long = self.owners.line(&metadata, &file_name);
            names.push(Name { name: file_name.as_bytes().to_vec(), long, attributes: attributes(&metadata) });
        }
        Ok(names)
    }
}

/// What is known of a file. Times after 2106 do not fit the protocol.
pub(super) fn attributes(metadata: &Metadata) -> Attributes {
    let seconds = |time: i64| u32::try_from(time.max(0)).unwrap_or(u32::MAX);
    Attributes {
        size: Some(metadata.size()),
        owner: Some((metadata.uid(), metadata.gid())),
        mode: Some(metadata.mode()),
        times: Some((seconds(metadata.atime()), seconds(metadata.mtime()))),
    }
}

/// The name of a user, where there is one.
pub(super) fn user(id: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(id)).ok().flatten().map(|user| user.name)
}

/// The name of a group, where there is one.
pub(super) fn group(id: u32) -> Option<String> {
    Group::from_gid(Gid::from_raw(id)).ok().flatten().map(|group| group.name)
}

/// Names of owners, asked for once.
#[derive(Default)]
struct Owners {
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
}

impl Owners {
    /// As `ls -l` writes it; the time in UTC.
    fn line(&mut self, metadata: &Metadata, name: &OsStr) -> Vec<u8> {
        let owner = kept(&mut self.users, metadata.uid(), user);
        let group = kept(&mut self.groups, metadata.gid(), group);
        let mut line = format!(
            "{} {:>4} {owner:<8} {group:<8} {:>10} {} ",
            mode(metadata.mode()),
            metadata.nlink(),
            metadata.size(),
            time(metadata.mtime())
        )
        .into_bytes();
        line.extend_from_slice(name.as_bytes());
        line
    }
}

fn kept(names: &mut BTreeMap<u32, String>, id: u32, ask: impl Fn(u32) -> Option<String>) -> String {
    if names.len() >= OWNERS_KEPT_MAX {
        names.clear();
    }
    names.entry(id).or_insert_with(|| ask(id).unwrap_or_else(|| id.to_string())).clone()
}

/// `-rwsr-xr-t`.
fn mode(mode: u32) -> String {
    let kind = match mode & 0o170_000 {
        0o040_000 => 'd',
        0o120_000 => 'l',
        0o060_000 => 'b',
        0o020_000 => 'c',
        0o010_000 => 'p',
        0o140_000 => 's',
        _ => '-',
    };
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// `Nov 21 22:10`, or `Nov 21  2024` when that was more than half a year ago.
fn time(seconds: i64) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    const HALF_A_YEAR: u64 = 182 * 86_400;
    // As `2026-11-21T22:10:05Z`.
    let text = Timestamp::from_seconds(seconds).to_string();
    let part = |from, to| text.get(from..to).unwrap_or_default();
    let month = part(5, 7).parse().ok().and_then(|month: usize| MONTHS.get(month.checked_sub(1)?).copied());
    let now = Timestamp::from_system(std::time::SystemTime::now()).seconds();
    let when = if now.abs_diff(seconds) < HALF_A_YEAR { part(11, 16).to_owned() } else { format!(" {}", part(0, 4)) };
    format!("{} {} {when}", month.unwrap_or("???"), part(8, 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_and_times_are_written_as_ls_does() {
        assert_eq!(mode(0o100_644), "-rw-r--r--");
        assert_eq!(mode(0o104_755), "-rwsr-xr-x");
        assert_eq!(mode(0o041_777), "drwxrwxrwt");
        assert_eq!(mode(0o122_000), "l-----S---");
        assert_eq!(time(1_000_000_000), "Sep 09  2001");
        assert_eq!(time(i64::MAX).len(), 12);
    }

    #[test]
    fn a_directory_is_read_to_its_end_in_batches() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..2 * SFTP_NAMES_MAX {
            fs::write(dir.path().join(number.to_string()), b"x").unwrap();
        }
        let mut listing = Listing::open(dir.path()).unwrap();
        let mut batches = Vec::new();
        loop {
            let names = listing.next().unwrap();
            if names.is_empty() {
                break;
            }
            batches.push(names.len());
        }
        assert_eq!(batches, [SFTP_NAMES_MAX, SFTP_NAMES_MAX, 2]);
    }
}
