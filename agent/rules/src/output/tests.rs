//! What is kept of every kind of output, and that the file always reads back, fits its limit and adds up.

use super::*;
use crate::limits::OUTPUT_SLICE_BYTES_MAX;
use belay_certs::output::{self, Read};

fn limit(text: &str) -> OutputLimit {
    text.parse().unwrap()
}

/// A run's whole file.
fn file(limit: OutputLimit, written: &[(u64, Stream, &[u8])]) -> String {
    let mut output = Output::new(limit);
    let mut file = String::new();
    for (at, stream, data) in written {
        file.push_str(&output.take(*at, *stream, data));
    }
    file.push_str(&output.finish());
    file
}

fn read(file: &str) -> Read {
    let read = output::read_cut_off(file.as_bytes()).unwrap();
    assert_eq!(read.whole_bytes, file.len());
    read
}

/// What one stream, or both, show.
fn shown(read: &Read, of: &[Stream]) -> Vec<u8> {
    let piece = |line: &Line| match line {
        Line::Piece { stream, bytes, .. } if of.contains(stream) => bytes.clone(),
        Line::Piece { .. } | Line::Cut { .. } | Line::Sealed { .. } => Vec::new(),
    };
    read.lines.iter().flat_map(piece).collect()
}

const BOTH: [Stream; 2] = [Stream::Out, Stream::Err];

/// Bytes of every value in no order, the same for the same seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn little_output_is_kept_whole_with_its_times_and_streams_apart() {
    let file = file(limit("4KiB"), &[(3, Stream::Out, b"one\n"), (7, Stream::Err, b"two\n"), (7, Stream::Out, b"3")]);
    assert_eq!(file, "3 o b25lCg==\n7 e dHdvCg==\n7 o Mw==\n");
    let read = read(&file);
    assert_eq!((shown(&read, &[Stream::Out]), shown(&read, &[Stream::Err])), (b"one\n3".to_vec(), b"two\n".to_vec()));
    let mut empty = Output::new(limit("4KiB"));
    assert_eq!((empty.take(0, Stream::Out, b""), empty.finish(), empty.seen()), (String::new(), String::new(), 0));
}

#[test]
fn of_much_output_head_and_tail_are_kept_and_the_cut_is_marked_between_them() {
    let data = noise(1, 100_000);
    let mut output = Output::new(limit("4KiB"));
    let mut file = String::new();
    for (at, piece) in (0..).zip(data.chunks(100)) {
        file.push_str(&output.take(at, Stream::Out, piece));
    }
    assert!(file.len() > 2_030 && file.len() <= 2_048, "the head is full before the end: {}", file.len());
    let head = read(&file);
    file.push_str(&output.finish());
    let whole = read(&file);
    assert!(file.len() <= 4_096 && file.len() > 3_600, "{}", file.len());
    let kept = shown(&whole, &BOTH);
    let head = shown(&head, &BOTH);
    assert!(data.starts_with(&head) && head.len() > 1_000);
    assert!(data.ends_with(&kept[head.len()..]) && kept.len() > head.len() + 1_000);
    assert_eq!((whole.kept() + whole.dropped(), output.seen(), output.dropped()), (100_000, 100_000, whole.dropped()));
    let cut = whole.lines.iter().position(|line| matches!(line, Line::Cut { .. })).unwrap();
    assert_eq!(
        whole.lines[cut].at(),
        (head.len() / 100) as u64,
        "the cut begins when the first dropped byte was written"
    );
}

#[test]
fn noise_of_every_size_in_every_split_reads_back_fits_and_adds_up() {
    for (seed, size) in [4usize, 100, 1_500, 2_100, 3_000, 5_000, 50_000, 400_000].into_iter().enumerate() {
        for split in [1, 2, 7, 1_000, 16_384, 70_000] {
            if size / split > 20_000 {
                continue;
            }
            for text in ["4KiB", "64KiB"] {
                let data = noise(seed as u64 + 11, size);
                let mut output = Output::new(limit(text));
                let mut file = String::new();
                for (number, piece) in data.chunks(split).enumerate() {
                    let stream = if number % 3 == 0 { Stream::Err } else { Stream::Out };
                    file.push_str(&output.take(number as u64 / 5, stream, piece));
                    assert!(output.tail.len() as u64 <= limit(text).bytes() / 2, "in memory there is half of it");
                }
                file.push_str(&output.finish());
                assert!(file.len() as u64 <= limit(text).bytes(), "{size} by {split} in {text}: {}", file.len());
                let whole = read(&file);
                assert_eq!(whole.kept() + whole.dropped(), size as u64, "{size} by {split} in {text}");
                let kept = shown(&whole, &BOTH);
                if whole.dropped() == 0 {
                    assert_eq!(kept, data, "{size} by {split} in {text}");
                }
                let cut = whole.lines.iter().position(|line| matches!(line, Line::Cut { .. }));
                let (head, tail) = whole.lines.split_at(cut.unwrap_or(whole.lines.len()));
                let part = |lines: &[Line]| shown(&Read { lines: lines.to_vec(), whole_bytes: 0 }, &BOTH);
                assert!(data.starts_with(&part(head)) && data.ends_with(&part(tail)));
            }
        }
    }
}

#[test]
fn ten_gigabytes_are_counted_and_not_kept() {
    let mebibyte = noise(5, 1 << 20);
    for (text, mebibytes) in [("4KiB", 10_240), ("256KiB", 20)] {
        let mut output = Output::new(limit(text));
        let mut file = String::new();
        for at in 0..mebibytes {
            file.push_str(&output.take(at, Stream::Out, &mebibyte));
        }
        file.push_str(&output.finish());
        let whole = read(&file);
        assert_eq!(output.seen(), mebibytes << 20);
        assert_eq!(whole.kept() + whole.dropped(), mebibytes << 20);
        assert!(file.len() as u64 <= limit(text).bytes());
        assert!(mebibyte.ends_with(&shown(&whole, &BOTH)[whole.kept() as usize - 1_000..]));
    }
}

#[test]
fn a_clock_that_goes_back_and_the_largest_times_make_no_bad_file() {
    let mut output = Output::new(limit("4KiB"));
    let mut file = output.take(u64::MAX, Stream::Out, b"late");
    for number in 0..2_000 {
        file.push_str(&output.take(number, Stream::Err, &noise(number, 40)));
    }
    file.push_str(&output.finish());
    let whole = read(&file);
    assert!(file.len() <= 4_096 && whole.lines.iter().all(|line| line.at() == u64::MAX));
    assert_eq!(whole.kept() + whole.dropped(), 80_004);
}

#[test]
fn lines_that_the_disk_did_not_take_are_dropped_and_marked() {
    let mut output = Output::new(limit("4KiB"));
    let mut file = output.take(1, Stream::Out, b"written");
    let lost = output.take(5, Stream::Out, &[b'x'; 20_000]);
    output.not_written(&lost);
    assert_eq!(output.take(9, Stream::Out, b"and on"), "", "nothing follows a gap but the cut");
    file.push_str(&output.finish());
    let whole = read(&file);
    assert_eq!(whole.kept() + whole.dropped(), 20_013);
    assert_eq!(whole.lines[1], Line::Cut { at: 5, dropped: whole.dropped() });
    assert!(shown(&whole, &BOTH).ends_with(b"xxand on"));
}

#[test]
fn a_file_cut_off_by_a_crash_is_whole_up_to_its_last_line() {
    let file = file(limit("4KiB"), &[(3, Stream::Out, &noise(3, 500)), (4, Stream::Err, &noise(4, 9_000))]);
    for cut in 0..file.len() {
        let read = output::read_cut_off(&file.as_bytes()[..cut]).unwrap();
        let again: String = read.lines.iter().map(Line::to_text).collect();
        assert_eq!(again, file[..read.whole_bytes]);
    }
}

#[test]
fn an_upload_goes_on_where_the_gateway_keeps_it() {
    let mut upload = Upload::default();
    assert_eq!((upload.begin(), upload.next(0)), (0, None));
    assert_eq!((upload.next(10), upload.next(10), upload.next(15)), (Some(0..10), None, Some(10..15)));
    upload.keep(12, 15).unwrap();
    upload.keep(7, 15).unwrap();
    assert_eq!(upload.kept(), 12, "what is late changes nothing");
    assert_eq!((upload.begin(), upload.next(15)), (12, Some(12..15)), "a new connection");
    // After a restart nothing is known here; the gateway says what it has.
    let mut upload = Upload::default();
    assert_eq!((upload.begin(), upload.next(15)), (0, Some(0..15)));
    let mut upload = Upload::default();
    upload.keep(15, 15).unwrap();
    assert_eq!((upload.next(15), upload.kept()), (None, 15));
    assert_eq!(upload.keep(16, 15), Err(Ahead { said: 16, bytes: 15 }));
    assert_eq!(upload.kept(), 15);
    let mut large = Upload::default();
    assert_eq!(large.next(u64::MAX), Some(0..OUTPUT_SLICE_BYTES_MAX));
    assert_eq!(large.next(u64::MAX), Some(OUTPUT_SLICE_BYTES_MAX..2 * OUTPUT_SLICE_BYTES_MAX));
}

#[test]
fn a_head_that_is_closed_leaves_the_rest_to_the_tail_and_loses_nothing_that_fits() {
    let mut output = Output::new(limit("4KiB"));
    let first = output.take(1, Stream::Out, b"one\n");
    output.close_head();
    assert_eq!(output.take(2, Stream::Out, b"two\n"), "");
    assert_eq!(first + &output.finish(), "1 o b25lCg==\n2 o dHdvCg==\n");
    assert_eq!(output.dropped(), 0);
}

#[test]
fn a_tail_that_could_not_be_written_is_dropped_and_its_cut_is_not_counted_twice() {
    let mut output = Output::new(limit("4KiB"));
    let head = output.take(1, Stream::Out, &noise(3, 20_000));
    let tail = output.finish();
    assert!(tail.contains(" x "), "{tail}");
    output.not_written(&tail);
    let kept = output::read(head.as_bytes()).unwrap();
    let kept: usize = kept.iter().map(|line| if let Line::Piece { bytes, .. } = line { bytes.len() } else { 0 }).sum();
    assert_eq!(kept as u64 + output.dropped(), 20_000);
}
