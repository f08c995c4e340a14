//! Lines there and back, and what a hostile device may not call output.

use super::*;

fn piece(at: u64, stream: Stream, bytes: &[u8]) -> Line {
    Line::Piece { at, stream, bytes: bytes.to_vec() }
}

fn sample() -> Vec<Line> {
    vec![
        piece(0, Stream::Out, b"starting\n"),
        piece(12, Stream::Err, b"\x1b[2J\x00\xff\xfe"),
        Line::Cut { at: 12, dropped: 10_000_000_000 },
        piece(u64::MAX, Stream::Out, &[0; OUTPUT_PIECE_BYTES_MAX]),
    ]
}

fn text(lines: &[Line]) -> String {
    lines.iter().map(Line::to_text).collect()
}

#[test]
fn lines_are_written_as_stock_tools_read_them_and_read_back() {
    let file = text(&sample());
    assert!(file.starts_with("0 o c3RhcnRpbmcK\n12 e G1sySgD//g==\n12 x 10000000000\n18446744073709551615 o AAAA"));
    assert_eq!(read(file.as_bytes()).unwrap(), sample());
    assert_eq!(read(b"").unwrap(), []);
    for line in sample() {
        if let Line::Piece { at, bytes, .. } = &line {
            assert_eq!(line_bytes(*at, bytes.len()), line.to_text().len());
        }
    }
    for at in [0, 9, 10, 99, 100, u64::MAX] {
        assert_eq!(line_bytes(at, 5), piece(at, Stream::Err, b"12345").to_text().len(), "{at}");
    }
}

#[test]
fn every_byte_and_every_length_comes_back() {
    for length in 1..=256 {
        let bytes: Vec<u8> = (0..=255).cycle().skip(length).take(length).collect();
        let line = piece(length as u64, Stream::Err, &bytes);
        assert_eq!(read(line.to_text().as_bytes()).unwrap(), [line]);
    }
}

#[test]
fn a_file_cut_off_anywhere_says_how_far_it_is_whole() {
    let file = text(&sample());
    for cut in (0..100).chain(file.len() - 5..file.len()) {
        let cut_off = read_cut_off(&file.as_bytes()[..cut]).unwrap();
        let ends = file.as_bytes()[..cut].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        assert_eq!(cut_off.whole_bytes, ends, "{cut}");
        assert_eq!(text(&cut_off.lines), file[..ends]);
        assert_eq!(read(&file.as_bytes()[..cut]).is_ok(), ends == cut, "{cut}");
    }
    assert_eq!(read_cut_off(file.as_bytes()).unwrap().dropped(), 10_000_000_000);
}

#[test]
fn what_is_not_exactly_a_line_is_named_by_its_number() {
    for (bad, hint) in [
        ("", "is not MILLISECONDS"),
        ("1", "is not MILLISECONDS"),
        ("1 o", "is not MILLISECONDS"),
        ("1 o ", "1 to 16384 bytes"),
        ("1 O QQ==", "neither o, e, x nor s"),
        ("1  o QQ==", "neither"),
        (" 1 o QQ==", "whole number"),
        ("01 o QQ==", "whole number"),
        ("+1 o QQ==", "whole number"),
        ("-1 o QQ==", "whole number"),
        ("1.5 o QQ==", "whole number"),
        ("18446744073709551616 o QQ==", "whole number"),
        ("1 o QQ", "base64"),
        ("1 o QR==", "base64"),
        ("1 o QQ==\r", "base64"),
        ("1 o QQ== ", "base64"),
        ("1 o QQ==QQ==", "base64"),
        ("1 o ++__", "base64"),
        ("1 x 0", "nothing was dropped"),
        ("1 x 07", "whole number"),
        ("1 x QQ==", "whole number"),
    ] {
        let file = format!("0 o QQ==\n{bad}\n2 o QQ==\n");
        let refused = read(file.as_bytes()).unwrap_err();
        assert_eq!(refused.fault, Fault::Malformed);
        assert!(refused.sentence.starts_with("line 2 of the output: "), "{bad:?}: {refused}");
        assert!(refused.sentence.contains(hint), "{bad:?}: {refused}");
        assert!(refused.sentence.chars().all(|c| !c.is_control()), "no byte of a stranger is shown");
    }
    assert!(read(b"1 o \xff\xff\n").unwrap_err().sentence.contains("is not text"));
    assert!(read(b"5 o QQ==\n4 e QQ==\n").unwrap_err().sentence.contains("line 2 of the output: is earlier"));
    assert!(read(b"5 x 1\n5 x 1\n").unwrap_err().sentence.contains("second cut"));
}

#[test]
fn what_is_too_long_is_refused_and_the_longest_is_read() {
    let long = piece(1, Stream::Out, &[7; OUTPUT_PIECE_BYTES_MAX + 1]).to_text();
    assert!(read(long.as_bytes()).is_err());
    let endless = vec![b'1'; LINE_BYTES_MAX];
    assert!(read_cut_off(&endless).unwrap_err().sentence.contains("longer than"));
    assert!(read_cut_off(&endless[1..]).is_ok());
    let file = vec![b'\n'; OUTPUT_BYTES_MAX as usize + 1];
    assert_eq!(read(&file).unwrap_err().fault, Fault::TooLarge);
    let line = piece(1, Stream::Out, b"x").to_text();
    let many = line.repeat(OUTPUT_BYTES_MAX as usize / line.len());
    assert_eq!(read(many.as_bytes()).unwrap().len(), OUTPUT_BYTES_MAX as usize / line.len());
}
