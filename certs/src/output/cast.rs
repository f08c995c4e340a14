//! What a run printed, as an asciicast: for `asciinema`, and for whoever reads recordings.

use super::{Line, Read};
use crate::invalid::{Fault, Invalid};
use crate::recording::cast::{Header, Writer};

/// Milli- to microseconds.
const MICROS: u64 = 1_000;

/// The asciicast of an output that is open: both streams as they were written, one after the other, and a marker where bytes are
/// not kept. `asciinema cat` of it prints what the script printed.
///
/// # Errors
/// `WrongSigner` when some of it is sealed; when the header is too long.
pub fn to_cast(output: &Read, header: &Header) -> Result<String, Invalid> {
    let (mut text, mut writer) = (header.to_line()?, Writer::default());
    for line in &output.lines {
        let at = line.at().saturating_mul(MICROS);
        match line {
            Line::Piece { bytes, .. } => writer.output(at, bytes, &mut text),
            Line::Cut { dropped, .. } => {
                writer.flush(&mut text);
                writer.marker(at, &format!("{dropped} bytes were not kept"), &mut text);
            }
            Line::Sealed { .. } => return Err(Invalid::new(Fault::WrongSigner, "some of the output is sealed")),
        }
    }
    writer.flush(&mut text);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Id;
    use crate::output::{Stream, read_cut_off};
    use crate::recording::cast::{About, EventKind, Kind, Reader};

    fn header() -> Header {
        let about = About {
            session: Id([7; 16]),
            tenant: "acme".parse().unwrap(),
            device: "web1.acme".parse().unwrap(),
            person: "alice".parse().unwrap(),
            account: "root".to_owned(),
            kind: Kind::Run,
            command: Some("restart-service".to_owned()),
            ticket: None,
        };
        Header::new(about, 1_700_000_000)
    }

    #[test]
    fn all_that_was_printed_is_in_it_byte_for_byte_and_what_is_gone_is_marked() {
        let printed: [(u64, &[u8]); 4] = [(1, b"half \xe2\x82"), (2, b"\xac\n"), (9, b"\xff\x00"), (9, b"end")];
        let lines =
            printed.iter().map(|(at, bytes)| Line::Piece { at: *at, stream: Stream::Out, bytes: bytes.to_vec() });
        let mut lines: Vec<Line> = lines.collect();
        lines.insert(2, Line::Cut { at: 5, dropped: 70 });
        let text = to_cast(&Read { lines, whole_bytes: 0 }, &header()).unwrap();
        let mut reader = Reader::default();
        let events = reader.read(text.as_bytes()).unwrap();
        assert_eq!(reader.header().unwrap(), &header());
        let mut shown = Vec::new();
        for event in &events {
            match &event.kind {
                EventKind::Output(bytes) => shown.extend_from_slice(bytes),
                EventKind::Marker(words) => {
                    assert_eq!((words.as_str(), event.at), ("70 bytes were not kept", 5_000));
                    shown.extend_from_slice(b"|");
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(shown, b"half \xe2\x82\xac\n|\xff\x00end");
        assert!(text.contains("[0.009000, \"o\""), "{text}");
    }

    #[test]
    fn what_is_sealed_is_refused() {
        let blob = b"age-encryption.org/v1\n".to_vec();
        let sealed = Read { lines: vec![Line::Sealed { at: 1, blob }], whole_bytes: 0 };
        assert!(to_cast(&sealed, &header()).unwrap_err().sentence.contains("sealed"));
        assert_eq!(to_cast(&read_cut_off(b"").unwrap(), &header()).unwrap().lines().count(), 1);
    }
}
