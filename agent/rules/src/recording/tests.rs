//! The recording's rules: cuts, the window, the upload, and all of them together in a random walk.

use super::*;
use crate::file_reports::{Close, Report, Way};
use crate::limits::*;
use belay_certs::limits::{CAST_LINE_BYTES_MAX, RECORDING_CHUNK_TEXT_BYTES};
use belay_certs::recording::cast::{EventKind, Reader};
use belay_certs::statement::Deed;

const HEADER: &str = "{\"version\":2,\"width\":80,\"height\":24,\"timestamp\":0,\"env\":{},\"belay\":{\
    \"session\":\"07070707070707070707070707070707\",\"tenant\":\"acme\",\"device\":\"web1.acme\",\"person\":\"kim\",\
    \"account\":\"root\",\"kind\":\"shell\",\"command\":null,\"ticket\":null}}\n";
const SECOND: u64 = 1_000_000;

fn tape() -> Tape {
    Tape::new(HEADER.to_owned())
}

#[test]
fn a_chunk_is_cut_two_seconds_after_its_first_event() {
    let mut tape = tape();
    assert_eq!((tape.due_at(), tape.due(CHUNK_MICROS - 1)), (Some(CHUNK_MICROS), None));
    assert!(tape.output(SECOND, b"hello").is_empty());
    let first = tape.due(CHUNK_MICROS).unwrap();
    assert_eq!((first.chunk, first.from, first.to, first.last), (0, 0, SECOND, false));
    assert!(first.text.starts_with(HEADER) && first.text.ends_with("[1.000000, \"o\", \"hello\"]\n"));
    assert_eq!((tape.due_at(), tape.waits()), (None, None), "nothing waits, so nothing is due");
    assert_eq!(tape.resize(7 * SECOND, 100, 30), None);
    assert_eq!(tape.due_at(), Some(7 * SECOND + CHUNK_MICROS));
    let last = tape.finish();
    assert_eq!((last.chunk, last.from, last.to, last.last), (1, 7 * SECOND, 7 * SECOND, true));
    let empty = tape.finish();
    assert_eq!((empty.text.as_str(), empty.from, empty.to), ("", 7 * SECOND, 7 * SECOND), "an end without events");
}

#[test]
fn a_full_chunk_is_cut_at_once_and_keeps_its_bound() {
    let mut tape = tape();
    let cuts = tape.output(5, &vec![0xff; 300_000]);
    assert!(cuts.len() >= 15, "{}", cuts.len());
    for cut in &cuts {
        assert!(cut.text.len() >= RECORDING_CHUNK_TEXT_BYTES);
        assert!(cut.text.len() <= RECORDING_CHUNK_TEXT_BYTES + CAST_LINE_BYTES_MAX);
    }
    assert!(cuts.windows(2).all(|pair| pair[0].chunk + 1 == pair[1].chunk));
}

#[test]
fn half_a_character_goes_with_its_chunk() {
    let mut tape = tape();
    tape.due(CHUNK_MICROS).unwrap();
    assert!(tape.output(3 * SECOND, &[0xc3]).is_empty());
    let cut = tape.due(3 * SECOND + CHUNK_MICROS).unwrap();
    assert_eq!(cut.text, "[3.000000, \"o\", \"\\udcc3\"]\n");
}

#[test]
fn output_is_held_by_bytes_and_by_age_and_goes_on_when_they_are_kept() {
    let mut window = Window::default();
    window.cut(0, UNKEPT_TEXT_BYTES_MAX, 0);
    assert_eq!(window.flow(None, 0), Flow::Open, "the limit itself may be shown");
    assert_eq!(window.flow(Some((1, 1)), 1), Flow::Held);
    window.keep(1);
    assert_eq!(window.flow(Some((1, 1)), 2), Flow::Open);
    assert_eq!(window.look_at(Some((1, 1))), Some(UNKEPT_MICROS_MAX + 2));
    assert_eq!(window.flow(Some((1, 1)), UNKEPT_MICROS_MAX + 1), Flow::Open);
    assert_eq!(window.flow(Some((1, 1)), UNKEPT_MICROS_MAX + 2), Flow::Held, "what is not cut yet grows old too");
    window.cut(1, 1, 1);
    assert_eq!(window.flow(None, UNKEPT_MICROS_MAX + 3), Flow::Held);
    window.keep(1);
    assert_eq!(window.flow(None, UNKEPT_MICROS_MAX + 4), Flow::Held, "an old word changes nothing");
    window.keep(2);
    assert_eq!((window.flow(None, UNKEPT_MICROS_MAX + 5), window.look_at(None)), (Flow::Open, None));
}

#[test]
fn a_session_ends_when_its_output_was_held_for_thirty_seconds() {
    let mut window = Window::default();
    window.cut(0, 1, 0);
    let held = UNKEPT_MICROS_MAX + 1;
    assert_eq!(window.flow(None, held), Flow::Held);
    assert_eq!(window.look_at(None), Some(held + HELD_MICROS_MAX));
    assert_eq!(window.flow(None, held + HELD_MICROS_MAX - 1), Flow::Held);
    assert_eq!(window.flow(None, held + HELD_MICROS_MAX), Flow::Over);
    window.keep(1);
    assert_eq!(window.flow(None, held + HELD_MICROS_MAX), Flow::Over, "what is over stays over");
    assert_eq!(window.look_at(None), None);
    let mut window = Window::default();
    window.cut(0, 1, 0);
    assert_eq!(window.flow(None, held), Flow::Held);
    window.keep(1);
    assert_eq!(window.flow(None, held + 1), Flow::Open);
    window.cut(1, 1, held + 1);
    assert_eq!(window.flow(None, held + 40 * SECOND), Flow::Held, "each time of waiting counts anew");
}

#[test]
fn a_stream_sends_what_is_there_and_begins_anew_behind_what_the_gateway_has() {
    let mut upload = Upload::begin(2);
    assert_eq!(upload.next(4, 2), Next::Send(2));
    assert_eq!(upload.next(4, 2), Next::Send(3));
    assert_eq!(upload.next(4, 3), Next::Wait);
    assert_eq!(upload.next(5, 4), Next::Send(4));
    assert_eq!(Upload::begin(1).next(5, 3), Next::Anew);
    assert_eq!((kept(2, 3, 4), kept(3, 2, 4)), (Ok(3), Ok(3)));
    assert_eq!(kept(0, 5, 4), Err(AheadOfChunks { said: 5, chunks: 4 }));
}

#[test]
fn a_recording_is_full_before_its_last_number() {
    let mut tape = tape();
    assert!(!tape.is_full());
    for _ in 0..CHUNKS_BEFORE_END_MAX {
        tape.finish();
    }
    assert!(tape.is_full());
}

#[test]
fn deeds_are_told_in_words_and_names_cannot_break_them() {
    let done = |path: &[u8], to: &[u8]| Report::Done { deed: Deed::Rename, path: path.to_vec(), to: to.to_vec() };
    let told = |report: Report| words(&report).unwrap();
    assert_eq!(told(done(b"/a", b"/b")), "renamed /a to /b");
    assert!(!told(done(b"/a\n\x1b]0;x\x07", b"")).contains(['\n', '\x1b', '\x07']));
    let opened = Report::Opened { handle: 3, way: Way::Down, path: b"/etc/passwd".to_vec() };
    assert_eq!(told(opened), "3: opened to read /etc/passwd");
    assert_eq!(told(Report::Closed { handle: 3, bytes: 9, close: Close::Whole }), "3: closed, 9 bytes");
    assert_eq!(words(&Report::Over), None);
}

fn chance(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// A session, its gateway and a bad line between them: what arrives is what was shown, whole, once and in order, and the
/// person never sees more than the window allows.
#[test]
fn a_random_walk_loses_nothing_and_shows_nothing_too_early() {
    for seed in 0..6 {
        let mut state = seed;
        let (mut tape, mut window, mut now) = (tape(), Window::default(), 0);
        let (mut shown, mut sealed, mut there) = (Vec::new(), Vec::<Cut>::new(), Vec::<Cut>::new());
        let (mut said, mut upload) = (0, Upload::begin(0));
        for _ in 0..200 {
            now += chance(&mut state) % 300_000;
            let mut cuts: Vec<Cut> = tape.due(now).into_iter().collect();
            let unkept: usize = sealed.iter().skip(usize::try_from(said).unwrap()).map(|cut| cut.text.len()).sum();
            match chance(&mut state) % 6 {
                0..=2 => {
                    if window.flow(tape.waits(), now) == Flow::Open {
                        assert!(unkept + tape.waits().map_or(0, |(_, bytes)| bytes) <= UNKEPT_TEXT_BYTES_MAX);
                        let length = usize::try_from(chance(&mut state) % 8_000).unwrap();
                        let word = chance(&mut state).to_le_bytes();
                        let bytes: Vec<u8> = word.into_iter().cycle().take(length).collect();
                        cuts.extend(tape.output(now, &bytes));
                        shown.extend(bytes);
                    }
                }
                3 => {
                    // The line breaks: the next stream begins where the gateway said last.
                    upload = Upload::begin(said);
                }
                4 => {
                    while let Next::Send(chunk) = upload.next(sealed.len() as u64, said) {
                        let chunk = usize::try_from(chunk).unwrap();
                        if chunk == there.len() {
                            there.push(sealed[chunk].clone());
                        }
                    }
                }
                _ => {
                    said = kept(said, there.len() as u64, sealed.len() as u64).unwrap();
                    window.keep(said);
                }
            }
            for cut in cuts {
                window.cut(cut.chunk, cut.text.len(), cut.from);
                sealed.push(cut);
            }
        }
        sealed.push(tape.finish());
        there.extend(sealed[there.len()..].iter().cloned());
        let mut reader = Reader::default();
        let events = there.iter().flat_map(|cut| reader.read(cut.text.as_bytes()).unwrap());
        let arrived: Vec<u8> = events
            .flat_map(|event| match event.kind {
                EventKind::Output(bytes) => bytes,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(arrived == shown, "seed {seed}");
        assert!(there.windows(2).all(|pair| pair[0].chunk + 1 == pair[1].chunk && pair[0].to <= pair[1].from));
        assert!(there.last().unwrap().last);
    }
}
