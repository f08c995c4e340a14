//! Checkpoints of C2SP `tlog-checkpoint`: a log's name, size and root, signed as a note.
//!
//! Not here: whether one checkpoint continues another, see `proof.rs`.

use super::hash::Hash;
use super::note::{NoteSigner, NoteVerifier};
use crate::invalid::{Fault, Invalid, malformed};
use crate::limits::TREE_SIZE_MAX;
use base64::{Engine, engine::general_purpose::STANDARD};

/// A log's head: all of its history is in these three values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name, `gw.example/acme`.
    pub origin: String,
    /// Entries in the log.
    pub size: u64,
    /// The RFC 6962 root over them.
    pub root: Hash,
}

impl Checkpoint {
    /// The text that is signed: origin, size and base64 root, a line each.
    pub fn to_text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }

    /// Reads the text of a checkpoint. Extension lines, which our logs never write, are accepted and ignored.
    ///
    /// # Errors
    /// When a line is missing, empty, or not spelled in its one canonical way.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let wrong = |what: &str| malformed(format!("not a checkpoint: {what}"));
        let body = text.strip_suffix('\n').ok_or_else(|| wrong("the last line has no newline"))?;
        let mut lines = body.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(wrong("it has at least three lines: origin, size, root"));
        };
        if origin.is_empty() || lines.any(str::is_empty) {
            return Err(wrong("it has an empty line"));
        }
        let number: u64 = size.parse().map_err(|_| wrong("the second line is not the number of entries"))?;
        if number.to_string() != size || number > TREE_SIZE_MAX {
            return Err(wrong("the number of entries is not written as plain digits, or too large"));
        }
        let root = STANDARD.decode(root).ok().and_then(|bytes| Hash::try_from(bytes).ok());
        let root = root.ok_or_else(|| wrong("the third line is not a root hash in base64"))?;
        Ok(Self { origin: origin.to_owned(), size: number, root })
    }

    /// The signed note.
    ///
    /// # Errors
    /// When the origin holds a control character.
    pub fn sign(&self, signer: &NoteSigner) -> Result<String, Invalid> {
        signer.sign(&self.to_text())
    }

    /// The checkpoint in a signed note of the log `origin`, whose key is `vkey`.
    ///
    /// # Errors
    /// When the key did not sign it, the text is malformed, or it is another log's ([`Fault::BadProof`]).
    pub fn open(note: &[u8], origin: &str, vkey: &str) -> Result<Self, Invalid> {
        let checkpoint = Self::parse(&NoteVerifier::parse(vkey)?.verify(note)?)?;
        if checkpoint.origin != origin {
            let sentence = format!("the checkpoint is of the log {:?}, not of {origin:?}", checkpoint.origin);
            return Err(Invalid::new(Fault::BadProof, sentence));
        }
        Ok(checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: "gw.example/acme".to_owned(), size: 923_748, root: [7; 32] }
    }

    #[test]
    fn a_checkpoint_is_written_as_the_oracle_writes_it_and_read_back() {
        let ours = checkpoint();
        let theirs =
            tlog_tiles::Checkpoint::new(&ours.origin, ours.size, tlog_tiles::Hash(ours.root), "").unwrap().to_bytes();
        assert_eq!(ours.to_text().as_bytes(), theirs);
        assert_eq!(Checkpoint::parse(&ours.to_text()).unwrap(), ours);
        assert_eq!(Checkpoint::parse(&format!("{}extension\n", ours.to_text())).unwrap(), ours);
    }

    #[test]
    fn what_the_oracle_refuses_we_refuse() {
        let root = STANDARD.encode([7; 32]);
        for text in [
            format!("log\n1\n{root}"),
            format!("\n1\n{root}\n"),
            format!("log\n01\n{root}\n"),
            format!("log\n+1\n{root}\n"),
            format!("log\n-1\n{root}\n"),
            format!("log\n\n{root}\n"),
            format!("log\n18446744073709551616\n{root}\n"),
            format!("log\n1\n{root}\n\n"),
            format!("log\n1\n{root}\n\nextension\n"),
            format!("log\n1\n{}\n", &root[4..]),
            format!("log\n1\n {root}\n"),
            "log\n1\n".to_owned(),
            String::new(),
        ] {
            assert!(Checkpoint::parse(&text).is_err(), "{text:?}");
            assert!(tlog_tiles::Checkpoint::from_bytes(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(Checkpoint::parse(&format!("log\n{}\n{root}\n", 1u64 << 63)).is_err());
    }

    #[test]
    fn only_the_named_log_under_its_own_key_is_opened() {
        let signer = NoteSigner::generate("gw.example/acme").unwrap();
        let note = checkpoint().sign(&signer).unwrap();
        let open = |origin: &str, vkey: &str| Checkpoint::open(note.as_bytes(), origin, vkey);
        assert_eq!(open("gw.example/acme", &signer.vkey()).unwrap(), checkpoint());
        assert_eq!(open("gw.example/other", &signer.vkey()).unwrap_err().fault, Fault::BadProof);
        let stranger = NoteSigner::generate("gw.example/acme").unwrap().vkey();
        assert_eq!(open("gw.example/acme", &stranger).unwrap_err().fault, Fault::Unsigned);
    }
}
