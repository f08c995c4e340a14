//! How a signed document travels in one stream: its exact bytes, then its armoured signatures.
//!
//! What the bytes mean is not here: each document's own module says that.

use crate::{
    invalid::{Fault, Invalid, malformed},
    limits::{POLICY_SIGNATURES_MAX, SIGNATURE_BYTES_MAX},
    sshsig::Signed,
};

const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";

/// The document followed by its signatures, each starting on a line of its own.
pub fn join(signed: &Signed) -> Vec<u8> {
    let mut out = signed.bytes.clone();
    if out.last() != Some(&b'\n') {
        out.push(b'\n');
    }
    out.extend_from_slice(armor(signed).as_bytes());
    out
}

/// All signatures of a document, as one `.sig` file holds them.
pub fn armor(signed: &Signed) -> String {
    signed.signatures.iter().map(|signature| format!("{}\n", signature.trim())).collect()
}

/// The document and the signatures of one stream, at most `bytes_max` bytes of document.
///
/// # Errors
/// When there is no signature, too many, one of them is cut off, or the document is too large.
pub fn split(stream: &[u8], bytes_max: usize) -> Result<Signed, Invalid> {
    let start = find_line(stream, BEGIN.as_bytes())
        .ok_or_else(|| Invalid::new(Fault::Unsigned, "no signature follows the document: append its .sig file"))?;
    let (bytes, armored) = stream.split_at_checked(start).unwrap_or((stream, &[]));
    if bytes.len() > bytes_max {
        return Err(Invalid::new(Fault::TooLarge, format!("the document is larger than {bytes_max} bytes")));
    }
    let armored = std::str::from_utf8(armored).map_err(|_| malformed("the signatures are not text"))?;
    Ok(Signed { bytes: bytes.to_vec(), signatures: signatures(armored)? })
}

/// The document with its one signature at the start of a stream, and what follows: the list behind an order.
///
/// # Errors
/// As [`split`].
pub fn split_first(stream: &[u8], bytes_max: usize) -> Result<(Signed, &[u8]), Invalid> {
    let Some(end) = find_line(stream, END.as_bytes()) else {
        return split(stream, bytes_max).map(|signed| (signed, &[][..]));
    };
    let rest = stream.get(end..).unwrap_or_default();
    let line = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
    let (first, rest) = stream.split_at_checked(end + line).unwrap_or((stream, &[]));
    Ok((split(first, bytes_max)?, rest))
}

/// The armoured signatures of a `.sig` file, in order.
///
/// # Errors
/// When one is cut off or too large, when there is none, or when there are more than [`POLICY_SIGNATURES_MAX`].
pub fn signatures(armored: &str) -> Result<Vec<String>, Invalid> {
    let mut rest = armored.trim();
    let mut out = Vec::new();
    while !rest.is_empty() {
        let end = rest
            .find(END)
            .filter(|_| rest.starts_with(BEGIN))
            .map(|at| at + END.len())
            .ok_or_else(|| malformed(format!("signature {} is cut off or is no SSH signature", out.len() + 1)))?;
        let (one, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if one.len() > SIGNATURE_BYTES_MAX || out.len() == POLICY_SIGNATURES_MAX {
            return Err(Invalid::new(Fault::TooLarge, "too many or too large signatures"));
        }
        out.push(one.to_owned());
        rest = after.trim_start();
    }
    if out.is_empty() {
        return Err(Invalid::new(Fault::Unsigned, "there is no signature"));
    }
    Ok(out)
}

/// Where a line that equals `wanted` starts.
fn find_line(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let mut at = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if line.trim_ascii_end() == wanted {
            return Some(at);
        }
        at += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(body: &str) -> String {
        format!("{BEGIN}\n{body}\n{END}")
    }

    #[test]
    fn a_document_and_its_signatures_come_apart_as_they_were_joined() {
        let signed = Signed { bytes: b"a = 1\n".to_vec(), signatures: vec![signature("AAAA"), signature("BBBB")] };
        let back = split(&join(&signed), 100).unwrap();
        assert_eq!(back.bytes, signed.bytes);
        assert_eq!(back.signatures, signed.signatures);
    }

    #[test]
    fn what_follows_the_first_signature_is_left_as_it_is() {
        let signed = Signed { bytes: b"a = 1\n".to_vec(), signatures: vec![signature("AAAA")] };
        for rest in ["", "web1 7\n", "web1 7\nweb2 8", "\n", &signature("BBBB")] {
            let stream = [join(&signed), rest.as_bytes().to_vec()].concat();
            let (first, behind) = split_first(&stream, 100).unwrap();
            assert_eq!((first, behind), (signed.clone(), rest.as_bytes()));
        }
        assert_eq!(split_first(b"a = 1\n", 100).unwrap_err().fault, Fault::Unsigned);
        assert!(split_first(format!("a\n{BEGIN}\nAAAA").as_bytes(), 100).is_err());
        assert!(split_first(format!("{END}\n{BEGIN}\nAAAA\n{END}\n").as_bytes(), 100).is_err());
    }

    #[test]
    fn missing_cut_off_and_oversized_parts_are_refused() {
        assert_eq!(split(b"a = 1\n", 100).unwrap_err().fault, Fault::Unsigned);
        assert_eq!(split(format!("a\n{BEGIN}\nAAAA").as_bytes(), 100).unwrap_err().fault, Fault::Malformed);
        assert_eq!(split(format!("aaaa\n{}", signature("A")).as_bytes(), 3).unwrap_err().fault, Fault::TooLarge);
        let many = |count: usize| (signature("A") + "\n").repeat(count);
        assert_eq!(signatures(&many(POLICY_SIGNATURES_MAX)).unwrap().len(), POLICY_SIGNATURES_MAX);
        assert_eq!(signatures(&many(POLICY_SIGNATURES_MAX + 1)).unwrap_err().fault, Fault::TooLarge);
    }
}
