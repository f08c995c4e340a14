//! Casts: whatever bytes come, in whatever pieces, come back; and every line is as asciicast has it.

use super::*;
use crate::Id;
use crate::limits::{CAST_LINE_BYTES_MAX, CAST_PIECE_BYTES_MAX};

fn about() -> About {
    About {
        session: Id([7; 16]),
        tenant: "acme".parse().unwrap(),
        device: "web1.acme".parse().unwrap(),
        person: "msp:kim".parse().unwrap(),
        account: "root".to_owned(),
        kind: Kind::Exec,
        command: Some("echo \"hi\"".to_owned()),
        ticket: None,
    }
}

fn header() -> String {
    Header::new(about(), 1_795_251_600).with_terminal("xterm", 100, 30).to_line().unwrap()
}

/// The bytes that were shown, as the reader has them.
fn shown(text: &str) -> Vec<u8> {
    let events = Reader::default().read((header() + text).as_bytes()).unwrap();
    let output = events.into_iter().map(|event| match event.kind {
        EventKind::Output(bytes) => bytes,
        other => panic!("{other:?}"),
    });
    output.flatten().collect()
}

#[test]
fn a_header_is_written_as_the_contract_says_and_read_back() {
    let line = header();
    assert_eq!(
        line,
        "{\"version\":2,\"width\":100,\"height\":30,\"timestamp\":1795251600,\"env\":{\"TERM\":\"xterm\"},\"belay\":{\
         \"session\":\"07070707070707070707070707070707\",\"tenant\":\"acme\",\"device\":\"web1.acme\",\"person\":\"msp:kim\",\
         \"account\":\"root\",\"kind\":\"exec\",\"command\":\"echo \\\"hi\\\"\",\"ticket\":null}}\n"
    );
    let mut reader = Reader::default();
    assert!(reader.read(line.as_bytes()).unwrap().is_empty());
    assert_eq!(reader.header().unwrap().about, about());
    let none = Header::new(about(), 0);
    assert_eq!((none.width, none.height, none.env.len()), (80, 24, 0));
    assert_eq!((none.clone().with_terminal("dumb", 0, 9).width, none.with_terminal("dumb", 5, 0).height), (80, 24));
}

#[test]
fn events_are_lines_as_asciicast_has_them() {
    let (mut writer, mut text) = (Writer::default(), String::new());
    writer.output(1_500_000, b"a\"b\\c\x1b[1m\r\n\tx\x7f\0", &mut text);
    writer.input(1_400_000, "é".as_bytes(), &mut text);
    writer.resize(2_000_001, 100, 30, &mut text);
    writer.marker(2_000_001, "get /etc/passwd\n", &mut text);
    writer.output(2_000_002, b"\xff\xfe", &mut text);
    assert_eq!(
        text,
        "[1.500000, \"o\", \"a\\\"b\\\\c\\u001b[1m\\r\\n\\tx\\u007f\\u0000\"]\n\
         [1.500000, \"i\", \"é\"]\n[2.000001, \"r\", \"100x30\"]\n[2.000001, \"m\", \"get /etc/passwd\\n\"]\n\
         [2.000002, \"o\", \"\\udcff\\udcfe\"]\n"
    );
    let mut reader = Reader::default();
    let events = reader.read((header() + &text).as_bytes()).unwrap();
    assert_eq!(events[0].kind, EventKind::Output(b"a\"b\\c\x1b[1m\r\n\tx\x7f\0".to_vec()));
    assert_eq!(events[1], Event { at: 1_500_000, kind: EventKind::Input("é".as_bytes().to_vec()) });
    assert_eq!(events[2].kind, EventKind::Resize { columns: 100, rows: 30 });
    assert_eq!(events[3].kind, EventKind::Marker("get /etc/passwd\n".to_owned()));
    assert_eq!(events[4].kind, EventKind::Output(vec![0xff, 0xfe]));
}

#[test]
fn a_character_that_is_split_is_joined_and_one_without_an_end_is_kept_as_bytes() {
    for text in ["é", "€", "🦀"] {
        for cut in 1..text.len() {
            let (mut writer, mut lines) = (Writer::default(), String::new());
            let (first, second) = text.as_bytes().split_at(cut);
            writer.output(1, first, &mut lines);
            assert_eq!(lines, "", "half a character is held back");
            writer.output(2, second, &mut lines);
            assert_eq!(lines, format!("[0.000002, \"o\", \"{text}\"]\n"));
            let (mut writer, mut lines) = (Writer::default(), String::new());
            writer.output(1, first, &mut lines);
            writer.flush(&mut lines);
            writer.output(2, second, &mut lines);
            writer.flush(&mut lines);
            assert!(!lines.contains(text), "{lines}");
            assert_eq!(shown(&lines), text.as_bytes());
        }
    }
}

#[test]
fn what_is_typed_and_what_is_shown_are_not_joined() {
    let (mut writer, mut lines) = (Writer::default(), String::new());
    writer.output(1, b"\xc3", &mut lines);
    writer.input(2, b"\xa9", &mut lines);
    writer.output(3, b"\xa9", &mut lines);
    assert_eq!(lines, "[0.000002, \"i\", \"\\udca9\"]\n[0.000003, \"o\", \"é\"]\n");
}

/// A generator that is the same at every run.
fn chance(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[test]
fn any_bytes_in_any_pieces_come_back() {
    let mut state = 1;
    for round in 0..300 {
        let length = usize::try_from(chance(&mut state) % 400).unwrap();
        let alphabet: &[u8] = match round % 3 {
            0 => b"abc\"\\\x1b\n",
            1 => "aé€🦀\u{7f}\u{2028}".as_bytes(),
            _ => &[0xc3, 0xa9, 0xe2, 0x82, 0xac, 0xf0, 0x9f, 0xa6, 0x80, 0xed, 0xb2, 0xff, 0xc0, 0x80, 0xf5, b'a', 0],
        };
        let pick = |state: &mut u64| alphabet[usize::try_from(chance(state)).unwrap() % alphabet.len()];
        let bytes: Vec<u8> = (0..length).map(|_| pick(&mut state)).collect();
        let (mut writer, mut lines, mut rest) = (Writer::default(), String::new(), bytes.as_slice());
        while !rest.is_empty() {
            let cut = (1 + usize::try_from(chance(&mut state) % 7).unwrap()).min(rest.len());
            writer.output(chance(&mut state), &rest[..cut], &mut lines);
            rest = &rest[cut..];
            if chance(&mut state).is_multiple_of(5) {
                writer.flush(&mut lines);
            }
        }
        writer.flush(&mut lines);
        assert_eq!(shown(&lines), bytes);
    }
}

#[test]
fn the_longest_line_keeps_its_bound() {
    let (mut writer, mut lines) = (Writer::default(), String::new());
    writer.output(u64::MAX, &[0xf0, 0x9f, 0x92], &mut lines);
    writer.output(u64::MAX, &vec![0xff; 3 * CAST_PIECE_BYTES_MAX], &mut lines);
    assert!(lines.lines().all(|line| line.len() < CAST_LINE_BYTES_MAX), "{:?}", lines.lines().map(str::len).max());
    assert_eq!(lines.lines().count(), 3);
    assert_eq!(shown(&lines).len(), 3 + 3 * CAST_PIECE_BYTES_MAX);
    let mut marker = String::new();
    writer.marker(0, &"\"".repeat(100_000), &mut marker);
    assert!(marker.len() < CAST_LINE_BYTES_MAX);
}

#[test]
fn what_is_no_recording_is_told_with_its_line() {
    let refused = |text: &str| Reader::default().read(text.as_bytes()).unwrap_err().sentence;
    let behind = |line: &str| refused(&(header() + "[1.000000, \"o\", \"x\"]\n" + line));
    for line in [
        "[1.0, \"o\", \"x\"]\n",
        "[1.000000, \"o\", \"x\"\n",
        "[-1.000000, \"o\", \"x\"]\n",
        "[1.000000, \"o\", \"\\u12\"]\n",
        "[1.000000, \"o\", \"\\ud800\"]\n",
        "[1.000000, \"o\", \"\\udc7f\"]\n",
        "[1.000000, \"o\", \"\\ud800\\ud800\"]\n",
        "[1.000000, \"o\", \"\\x\"]\n",
        "[1.000000, \"o\", \"a\"b\"]\n",
        "[1.000000, \"r\", \"80\"]\n",
        "[1.000000, \"m\", \"\\udcff\"]\n",
        "[1.000000, \"q\", \"\"]\n",
        "[0.999999, \"o\", \"x\"]\n",
        "[99999999999999999999.000000, \"o\", \"x\"]\n",
        "[1.000000, \"o\", \"x\"]",
        "\n",
    ] {
        assert!(behind(line).starts_with("line 3 of the recording: "), "{line}: {}", behind(line));
    }
    assert!(
        behind(&format!("[1.000000, \"o\", \"{}\"]\n", "x".repeat(CAST_LINE_BYTES_MAX))).contains("over the limit")
    );
    assert!(refused("{}\n").starts_with("line 1 of the recording: is not the header"));
    assert!(refused(&header().replace("\"version\":2", "\"version\":1")).contains("version 1"));
    let pair = header() + "[0.000000, \"o\", \"\\ud83e\\udd80\\/\\b\\f\"]\n";
    let events = Reader::default().read(pair.as_bytes()).unwrap();
    assert_eq!(events[0].kind, EventKind::Output("🦀/\x08\x0c".as_bytes().to_vec()));
}
