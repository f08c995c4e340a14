//! Signed notes of C2SP `signed-note`, with Ed25519: text, a blank line, one signature line per key.
//!
//! Not here: what the text says, see `checkpoint.rs`.

use crate::digest::random;
use crate::invalid::{Fault, Invalid, malformed};
use crate::limits::CHECKPOINT_BYTES_MAX;
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use std::fmt;

/// The signature type of Ed25519 (C2SP signed-note): the first byte of an encoded key.
const TYPE_ED25519: u8 = 1;
/// How a signature line begins: em dash, space.
const SIGNATURE_LINE: &str = "— ";
/// How the secret form of a key begins, as other signed-note tools write it.
const SECRET_FORM: &str = "PRIVATE+KEY+";

/// The key that signs a log's checkpoints, under the log's name.
pub struct NoteSigner {
    /// The key's name: the log's origin.
    name: String,
    /// What [`NoteSigner::to_text`] writes.
    seed: [u8; 32],
    /// Made from the seed.
    pair: Ed25519KeyPair,
}

/// The public half: verifies notes signed under one name by one key.
#[derive(Clone, PartialEq, Eq)]
pub struct NoteVerifier {
    /// The key's name.
    name: String,
    /// The Ed25519 public key.
    key: [u8; 32],
}

impl NoteSigner {
    /// A fresh key.
    ///
    /// # Errors
    /// When `name` is empty or holds a space, a `+` or a control character, or the system gives no randomness.
    pub fn generate(name: &str) -> Result<Self, Invalid> {
        Self::of(name, random()?)
    }

    /// Reads the secret form `PRIVATE+KEY+NAME+ID+BASE64`.
    ///
    /// # Errors
    /// When the text has another form, or its id is not the key's. The text is never repeated in the sentence.
    pub fn from_text(text: &str) -> Result<Self, Invalid> {
        let wrong =
            || malformed("not a log's secret key: it reads PRIVATE+KEY+NAME+ID+BASE64; restore it from a backup");
        let (name, id, key) = text.trim_end().strip_prefix(SECRET_FORM).and_then(key_parts).ok_or_else(wrong)?;
        let signer = Self::of(name, key)?;
        if signer.verifier().id() != id {
            return Err(malformed(format!("the secret key of {name} was changed: its id does not fit; restore it")));
        }
        Ok(signer)
    }

    /// The secret form `PRIVATE+KEY+NAME+ID+BASE64`. Whoever reads it can sign for the log.
    pub fn to_text(&self) -> String {
        format!("{SECRET_FORM}{}", key_text(&self.name, self.verifier().id(), &self.seed))
    }

    /// The public key as text, `NAME+ID+BASE64`: what policies and auditors hold.
    pub fn vkey(&self) -> String {
        self.verifier().to_string()
    }

    /// The key's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public half.
    pub fn verifier(&self) -> NoteVerifier {
        let mut key = [0; 32];
        key.copy_from_slice(self.pair.public_key().as_ref());
        NoteVerifier { name: self.name.clone(), key }
    }

    /// The note: `text`, a blank line and this key's signature.
    ///
    /// # Errors
    /// When `text` does not end with a newline or holds another control character: no reader would accept the note.
    pub fn sign(&self, text: &str) -> Result<String, Invalid> {
        if !text.ends_with('\n') || has_controls(text) {
            return Err(malformed("a note's text ends with a newline and has no other control character"));
        }
        let id = self.verifier().id();
        let signature = STANDARD.encode([&id[..], self.pair.sign(text.as_bytes()).as_ref()].concat());
        Ok(format!("{text}\n{SIGNATURE_LINE}{} {signature}\n", self.name))
    }

    fn of(name: &str, seed: [u8; 32]) -> Result<Self, Invalid> {
        check_name(name)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| malformed("not an Ed25519 key"))?;
        Ok(Self { name: name.to_owned(), seed, pair })
    }
}

impl NoteVerifier {
    /// Reads a public key, `NAME+ID+BASE64`.
    ///
    /// # Errors
    /// When the text has another form, is no Ed25519 key, or its id is not the key's.
    pub fn parse(vkey: &str) -> Result<Self, Invalid> {
        let wrong =
            || malformed(format!("{vkey:?} is not a log's key: it reads NAME+ID+BASE64, as `log.vkey` holds it"));
        let (name, id, key) = key_parts(vkey).ok_or_else(wrong)?;
        check_name(name)?;
        let verifier = Self { name: name.to_owned(), key };
        if verifier.id() != id {
            return Err(malformed(format!("{vkey:?} is not a log's key: the id in it belongs to another key or name")));
        }
        Ok(verifier)
    }

    /// The key's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text of `note`, when this key signed it. Signatures by other keys are ignored.
    ///
    /// # Errors
    /// When the note is malformed, this key's signature is missing, or it does not fit the text.
    pub fn verify(&self, note: &[u8]) -> Result<String, Invalid> {
        let (text, signatures) = split(note)?;
        let mut signed = false;
        for line in signatures.lines() {
            let (name, id, signature) = signature_parts(line)?;
            if name != self.name || id != self.id() {
                continue;
            }
            UnparsedPublicKey::new(&ED25519, &self.key).verify(text.as_bytes(), &signature).map_err(|_| {
                Invalid::new(Fault::BadSignature, format!("the signature of {name} does not fit the note's text"))
            })?;
            signed = true;
        }
        if !signed {
            return Err(Invalid::new(Fault::Unsigned, format!("the note is not signed by the key {self}")));
        }
        Ok(text.to_owned())
    }

    /// The key id: the first four bytes of a hash over name, type and key.
    fn id(&self) -> [u8; 4] {
        let named = [self.name.as_bytes(), &[b'\n', TYPE_ED25519], &self.key].concat();
        let [a, b, c, d, ..] = crate::Digest::of(&named).0;
        [a, b, c, d]
    }
}

impl fmt::Display for NoteVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&key_text(&self.name, self.id(), &self.key))
    }
}

impl fmt::Debug for NoteVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Debug for NoteSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoteSigner({})", self.vkey())
    }
}

/// A note's text with its last newline, and its signature lines. The last blank line divides them.
fn split(note: &[u8]) -> Result<(&str, &str), Invalid> {
    if note.len() > CHECKPOINT_BYTES_MAX {
        let sentence = format!("a note of {} bytes is refused: at most {CHECKPOINT_BYTES_MAX}", note.len());
        return Err(Invalid::new(Fault::TooLarge, sentence));
    }
    let note = std::str::from_utf8(note).map_err(|_| malformed("the note is not UTF-8"))?;
    if has_controls(note) {
        return Err(malformed("the note has a control character: save it with Unix line ends"));
    }
    let wrong = || malformed("not a signed note: text, one blank line, then signature lines, each ended by a newline");
    let blank = note.rfind("\n\n").ok_or_else(wrong)?;
    let (text, signatures) = note.split_at_checked(blank + 1).ok_or_else(wrong)?;
    let signatures = signatures.strip_prefix('\n').filter(|lines| lines.ends_with('\n')).ok_or_else(wrong)?;
    Ok((text, signatures))
}

/// Name, key id and signature of one line.
fn signature_parts(line: &str) -> Result<(&str, [u8; 4], Vec<u8>), Invalid> {
    let wrong = || malformed(format!("{line:?} is not a signature line: it reads `— NAME BASE64`"));
    let (name, signature) =
        line.strip_prefix(SIGNATURE_LINE).and_then(|rest| rest.split_once(' ')).ok_or_else(wrong)?;
    check_name(name)?;
    let bytes = STANDARD.decode(signature).map_err(|_| wrong())?;
    let (id, signature) = bytes.split_first_chunk::<4>().filter(|(_, rest)| !rest.is_empty()).ok_or_else(wrong)?;
    Ok((name, *id, signature.to_vec()))
}

/// `NAME+ID+BASE64`, where the base64 is the type byte and 32 bytes.
fn key_parts(text: &str) -> Option<(&str, [u8; 4], [u8; 32])> {
    let (name, rest) = text.split_once('+')?;
    let (id, key) = rest.split_once('+')?;
    let bytes = STANDARD.decode(key).ok()?;
    let (kind, key) = bytes.split_first()?;
    if *kind != TYPE_ED25519 {
        return None;
    }
    Some((name, crate::digest::unhex(id)?, key.try_into().ok()?))
}

fn key_text(name: &str, id: [u8; 4], key: &[u8; 32]) -> String {
    let bytes = [&[TYPE_ED25519][..], key].concat();
    format!("{name}+{}+{}", crate::digest::hex(&id), STANDARD.encode(bytes))
}

fn check_name(name: &str) -> Result<(), Invalid> {
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+') {
        return Err(malformed(format!("{name:?} is not a key's name: it has no space, no '+' and is not empty")));
    }
    Ok(())
}

/// Any control character but the newline.
fn has_controls(text: &str) -> bool {
    text.bytes().any(|byte| byte < b' ' && byte != b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;
    use signed_note::{Note, StandardSigner, StandardVerifier, VerifierList};

    /// From the signed-note documentation: a key and a note that other implementations publish.
    const VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
                        then you don't know what your problem is.\n\
                        \n\
                        — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn a_published_note_verifies() {
        let verifier = NoteVerifier::parse(VKEY).unwrap();
        assert_eq!(verifier.to_string(), VKEY);
        assert!(verifier.verify(NOTE.as_bytes()).unwrap().ends_with("what your problem is.\n"));
    }

    #[test]
    fn the_oracle_reads_our_keys_and_notes_and_we_read_the_oracles() {
        let signer = NoteSigner::generate("gw.example/acme").unwrap();
        let note = signer.sign("one\n\ntwo\n").unwrap();
        let known = VerifierList::new(vec![Box::new(StandardVerifier::new(&signer.vkey()).unwrap())]);
        let theirs = Note::from_bytes(note.as_bytes()).unwrap();
        assert_eq!(theirs.verify(&known).unwrap().0.len(), 1);
        assert_eq!(theirs.text(), b"one\n\ntwo\n");

        let mut written = Note::new(b"one\n\ntwo\n", &[]).unwrap();
        written.add_sigs(&[&StandardSigner::new(&signer.to_text()).unwrap()]).unwrap();
        assert_eq!(written.to_bytes(), note.as_bytes(), "Ed25519 signatures are deterministic");
    }

    #[test]
    fn a_secret_key_is_written_and_read_back_and_never_shown() {
        let signer = NoteSigner::generate("gw.example/acme").unwrap();
        let text = signer.to_text();
        assert_eq!(NoteSigner::from_text(&format!("{text}\n")).unwrap().vkey(), signer.vkey());
        let secret = text.splitn(5, '+').last().unwrap();
        assert!(!format!("{signer:?}").contains(secret));
        let other = text.replace("gw.example/acme", "gw.example/evil");
        assert!(NoteSigner::from_text(&other).unwrap_err().sentence.contains("id does not fit"));
        for text in ["", "PRIVATE+KEY+", &signer.vkey(), &text[..text.len() - 4]] {
            assert!(NoteSigner::from_text(text).is_err());
        }
    }

    #[test]
    fn signatures_of_others_are_ignored_and_never_enough() {
        let (ours, other) = (NoteSigner::generate("log").unwrap(), NoteSigner::generate("log").unwrap());
        let note = ours.sign("text\n").unwrap();
        let line = other.sign("text\n").unwrap().lines().last().unwrap().to_owned();
        let both = format!("{note}{line}\n");
        assert_eq!(ours.verifier().verify(both.as_bytes()).unwrap(), "text\n");
        assert_eq!(other.verifier().verify(both.as_bytes()).unwrap(), "text\n");
        assert_eq!(other.verifier().verify(note.as_bytes()).unwrap_err().fault, Fault::Unsigned);
        let second_bad = format!("{note}{}", ours.sign("other\n").unwrap().lines().last().unwrap().to_owned() + "\n");
        assert_eq!(ours.verifier().verify(second_bad.as_bytes()).unwrap_err().fault, Fault::BadSignature);
    }

    #[test]
    fn no_flipped_bit_of_a_note_passes() {
        let signer = NoteSigner::generate("gw.example/acme").unwrap();
        let note = signer.sign("gw.example/acme\n7\nroot\n").unwrap().into_bytes();
        for at in 0..note.len() {
            for bit in 0..8 {
                let mut changed = note.clone();
                changed[at] ^= 1 << bit;
                assert!(signer.verifier().verify(&changed).is_err(), "byte {at} bit {bit}");
            }
        }
        for end in 0..note.len() {
            assert!(signer.verifier().verify(&note[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn malformed_keys_notes_and_names_are_refused() {
        for vkey in
            ["", "a+b", "log+00000000+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", &VKEY.replace("ARpc", "Ahpc")]
        {
            assert!(NoteVerifier::parse(vkey).is_err(), "{vkey}");
        }
        for name in ["", "a b", "a+b", "a\u{2003}b", "a\n"] {
            assert!(NoteSigner::generate(name).is_err(), "{name:?}");
        }
        let signer = NoteSigner::generate("log").unwrap();
        for text in ["no newline", "tab\t\n", "cr\r\n", ""] {
            assert!(signer.sign(text).is_err(), "{text:?}");
        }
        let huge = signer.sign(&"x\n".repeat(CHECKPOINT_BYTES_MAX / 2)).unwrap();
        assert_eq!(signer.verifier().verify(huge.as_bytes()).unwrap_err().fault, Fault::TooLarge);
    }
}
