//! Whether chunks are one recording: every number there, every blob the one its note names, every note the one the next names.
//!
//! Not here: signatures. Whoever has verified the last note's has verified all of them through the chain.

use super::Note;
use crate::invalid::{Fault, Invalid};
use crate::{Digest, Id};

/// What is known after the chunks so far, of which there may be none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Whose recording it is.
    session: Id,
    /// The last note and the digest of its text.
    last: Option<(Note, Digest)>,
}

impl Chain {
    /// Before the first chunk.
    pub fn new(session: Id) -> Self {
        Self { session, last: None }
    }

    /// Behind a chunk that was checked before, by its note and the digest of the note's text.
    pub fn behind(note: Note, digest: Digest) -> Self {
        Self { session: note.session, last: Some((note, digest)) }
    }

    /// How many chunks there are: the number of the next one.
    pub fn chunks(&self) -> u64 {
        self.last.as_ref().map_or(0, |(note, _)| note.chunk.saturating_add(1))
    }

    /// The digest of the last note's text, which a session's end names; `None` before the first chunk.
    pub fn head(&self) -> Option<Digest> {
        self.last.as_ref().map(|(_, digest)| *digest)
    }

    /// Whether the last chunk says that nothing follows.
    pub fn is_whole(&self) -> bool {
        self.last.as_ref().is_some_and(|(note, _)| note.last)
    }

    /// Takes the next chunk: the exact text of its note, and its blob. Answers with what the note says.
    ///
    /// # Errors
    /// When the note does not read, is not the next of this recording, or is not of this blob; with the chunk's number.
    pub fn take(&mut self, text: &str, blob: &[u8]) -> Result<Note, Invalid> {
        self.take_digest(text, blob.len() as u64, Digest::of(blob))
    }

    /// Likewise for a blob of which length and digest are known.
    ///
    /// # Errors
    /// As [`Chain::take`].
    pub fn take_digest(&mut self, text: &str, blob_bytes: u64, blob: Digest) -> Result<Note, Invalid> {
        let wrong = |invalid: Invalid| invalid.of(format!("chunk {} of the recording", self.chunks()));
        let note = Note::parse(text).map_err(wrong)?;
        self.check(&note).map_err(wrong)?;
        if (note.blob_bytes, note.blob) != (blob_bytes, blob) {
            return Err(wrong(broken("its bytes are not the ones that its note names: they were changed or cut off")));
        }
        self.last = Some((note.clone(), Digest::of(text.as_bytes())));
        Ok(note)
    }

    /// Checks that all was taken that the session's signed end names.
    ///
    /// # Errors
    /// When the last chunk is not there, or is another.
    pub fn check_end(&self, recording: Digest) -> Result<(), Invalid> {
        if self.is_whole() && self.head() == Some(recording) {
            return Ok(());
        }
        let sentence =
            format!("the recording has {} chunks, and the session's end names another last one", self.chunks());
        Err(broken(sentence))
    }

    fn check(&self, note: &Note) -> Result<(), Invalid> {
        if note.session != self.session {
            return Err(broken(format!("it is of session {}, not of {}", note.session, self.session)));
        }
        if note.chunk != self.chunks() {
            return Err(broken(format!("chunk {} stands in its place", note.chunk)));
        }
        let Some((before, digest)) = &self.last else { return Ok(()) };
        if before.last {
            return Err(broken("the chunk before says that it is the last"));
        }
        if note.previous != Some(*digest) {
            return Err(broken("it does not follow the chunk before: one of both was changed"));
        }
        if (&note.device, note.serial) != (&before.device, before.serial) {
            return Err(broken("it is of another device than the chunk before"));
        }
        if note.from_ms < before.to_ms {
            return Err(broken("it begins before the end of the chunk before"));
        }
        Ok(())
    }
}

fn broken(sentence: impl Into<String>) -> Invalid {
    Invalid::new(Fault::BadProof, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: Id = Id([7; 16]);

    /// Three chunks: the text of each note, and its blob.
    fn recording() -> Vec<(String, Vec<u8>)> {
        let mut previous = None;
        let chunk = |number: u64| {
            let blob = format!("blob {number}").into_bytes();
            let note = Note {
                device: "web1.acme".parse().unwrap(),
                serial: 3,
                session: SESSION,
                chunk: number,
                from_ms: number * 10,
                to_ms: number * 10 + 10,
                blob_bytes: blob.len() as u64,
                blob: Digest::of(&blob),
                previous,
                last: number == 2,
            };
            previous = Some(Digest::of(note.to_text().as_bytes()));
            (note.to_text(), blob)
        };
        (0..3).map(chunk).collect()
    }

    fn taken(chunks: &[(String, Vec<u8>)]) -> Result<Chain, Invalid> {
        let mut chain = Chain::new(SESSION);
        chunks.iter().try_for_each(|(text, blob)| chain.take(text, blob).map(drop))?;
        Ok(chain)
    }

    #[test]
    fn a_whole_recording_is_what_its_end_names() {
        let chunks = recording();
        let whole = taken(&chunks).unwrap();
        assert_eq!((whole.chunks(), whole.is_whole()), (3, true));
        whole.check_end(Digest::of(chunks[2].0.as_bytes())).unwrap();
        assert!(whole.check_end(Digest([0; 32])).is_err());
        let prefix = taken(&chunks[..2]).unwrap();
        assert_eq!((prefix.chunks(), prefix.is_whole()), (2, false));
        assert!(prefix.check_end(prefix.head().unwrap()).is_err(), "a prefix is not the whole");
        assert_eq!((Chain::new(SESSION).chunks(), Chain::new(SESSION).head()), (0, None));
    }

    #[test]
    fn a_chain_goes_on_behind_a_chunk_that_is_known() {
        let chunks = recording();
        let (text, _) = &chunks[0];
        let mut chain = Chain::behind(Note::parse(text).unwrap(), Digest::of(text.as_bytes()));
        chunks[1..].iter().for_each(|(text, blob)| drop(chain.take(text, blob).unwrap()));
        assert_eq!(chain, taken(&chunks).unwrap());
    }

    #[test]
    fn a_chunk_that_is_missing_twice_exchanged_or_changed_is_named() {
        let all = recording();
        let named = |chunks: &[(String, Vec<u8>)], number: u64, why: &str| {
            let invalid = taken(chunks).unwrap_err();
            assert!(invalid.sentence.starts_with(&format!("chunk {number} of the recording: ")), "{invalid}");
            assert!(invalid.sentence.contains(why), "{invalid}");
        };
        named(&all[1..], 0, "chunk 1 stands in its place");
        named(&[all[0].clone(), all[2].clone()], 1, "chunk 2 stands");
        named(&[all[0].clone(), all[0].clone()], 1, "chunk 0 stands");
        named(&[all.as_slice(), &[all[2].clone()]].concat(), 3, "stands in its place");
        let changed = |at: usize, from: &str, to: &str| {
            let mut chunks = all.clone();
            assert!(chunks[at].0.contains(from));
            chunks[at].0 = chunks[at].0.replace(from, to);
            chunks
        };
        named(&changed(0, "to_ms 10", "to_ms 9"), 1, "does not follow");
        named(&changed(1, "session 07", "session 08"), 1, "of session");
        named(&changed(1, "serial 3", "serial 4"), 1, "another device");
        named(&changed(1, "from_ms 10", "from_ms 9"), 1, "begins before");
        let mut cut = all.clone();
        cut[1].1.pop();
        named(&cut, 1, "changed or cut off");
    }
}
