//! Answers, written one after the other into one buffer that is sent when it is full or nothing more is asked.

use super::{Attributes, EXTENSIONS, Status, VERSION};
use crate::limits::{SFTP_HANDLES_MAX, SFTP_PACKET_BYTES_MAX, SFTP_TRANSFER_BYTES_MAX};

const REPLY_VERSION: u8 = 2;
const REPLY_STATUS: u8 = 101;
const REPLY_HANDLE: u8 = 102;
const REPLY_DATA: u8 = 103;
const REPLY_NAME: u8 = 104;
const REPLY_ATTRIBUTES: u8 = 105;
const REPLY_EXTENDED: u8 = 201;

/// One name of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The name or path.
    pub name: Vec<u8>,
    /// The line that `ls -l` shows; empty where nobody looks at it.
    pub long: Vec<u8>,
    /// What is known of it.
    pub attributes: Attributes,
}

/// How much is free on a file system, as `statvfs` has it: block size, fragment size, blocks, free, free for all, inodes,
/// free, free for all, id, flags, longest name.
pub type Room = [u64; 11];

/// Answers that wait to be sent.
#[derive(Debug, Default)]
pub struct Replies {
    bytes: Vec<u8>,
    /// Where a file is read to first: as long as the longest read so far, and never cleared.
    read: Vec<u8>,
}

impl Replies {
    /// What waits.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// It was sent.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// The answer to INIT.
    pub fn version(&mut self) {
        self.packet(REPLY_VERSION, VERSION, |out| {
            for (name, version) in EXTENSIONS {
                string(out, name.as_bytes());
                string(out, version.as_bytes());
            }
        });
    }

    /// How it went, with words for a person.
    pub fn status(&mut self, id: u32, status: Status, words: &str) {
        self.packet(REPLY_STATUS, id, |out| {
            number(out, status as u32);
            string(out, words.as_bytes());
            string(out, b"en");
        });
    }

    /// What was opened.
    pub fn handle(&mut self, id: u32, handle: u32) {
        self.packet(REPLY_HANDLE, id, |out| string(out, &handle.to_be_bytes()));
    }

    /// What was read: `read` fills a buffer of `bytes` and says how many it filled. Nothing is written when it fails or
    /// fills none.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn data<E>(
        &mut self,
        id: u32,
        bytes: usize,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        if self.read.len() < bytes {
            self.read.resize(bytes, 0);
        }
        let filled = read(self.read.get_mut(..bytes).unwrap_or_default())?;
        let read = self.read.get(..filled.min(bytes)).unwrap_or_default();
        if !read.is_empty() {
            // Type, id and the data's own length are nine bytes.
            number(&mut self.bytes, u32::try_from(read.len() + 9).unwrap_or(u32::MAX));
            self.bytes.push(REPLY_DATA);
            number(&mut self.bytes, id);
            string(&mut self.bytes, read);
        }
        Ok(filled)
    }

    /// Names of a directory, or one path.
    pub fn names(&mut self, id: u32, names: &[Name]) {
        self.packet(REPLY_NAME, id, |out| {
            number(out, u32::try_from(names.len()).unwrap_or(u32::MAX));
            for name in names {
                string(out, &name.name);
                string(out, &name.long);
                name.attributes.write(out);
            }
        });
    }

    /// What is known of a file.
    pub fn attributes(&mut self, id: u32, attributes: &Attributes) {
        self.packet(REPLY_ATTRIBUTES, id, |out| attributes.write(out));
    }

    /// What is free.
    pub fn room(&mut self, id: u32, room: &Room) {
        self.packet(REPLY_EXTENDED, id, |out| room.iter().for_each(|one| out.extend_from_slice(&one.to_be_bytes())));
    }

    /// What this server takes.
    pub fn limits(&mut self, id: u32) {
        let limits = [SFTP_PACKET_BYTES_MAX, SFTP_TRANSFER_BYTES_MAX, SFTP_TRANSFER_BYTES_MAX, SFTP_HANDLES_MAX];
        self.packet(REPLY_EXTENDED, id, |out| {
            limits.iter().for_each(|limit| out.extend_from_slice(&(*limit as u64).to_be_bytes()));
        });
    }

    /// The names of users and groups, each empty where there is none.
    pub fn users_and_groups(&mut self, id: u32, users: &[String], groups: &[String]) {
        self.packet(REPLY_EXTENDED, id, |out| {
            for names in [users, groups] {
                let mut list = Vec::new();
                names.iter().for_each(|name| string(&mut list, name.as_bytes()));
                string(out, &list);
            }
        });
    }

    fn packet(&mut self, kind: u8, id: u32, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        number(&mut self.bytes, 0);
        self.bytes.push(kind);
        number(&mut self.bytes, id);
        fill(&mut self.bytes);
        let length = u32::try_from(self.bytes.len() - start - 4).unwrap_or(u32::MAX);
        if let Some(place) = self.bytes.get_mut(start..start + 4) {
            place.copy_from_slice(&length.to_be_bytes());
        }
    }
}

fn number(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_be_bytes());
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    number(out, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(bytes);
}
