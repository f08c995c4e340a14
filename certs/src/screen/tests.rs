//! What a terminal showed, line by line, and what of it may be shown again; hostile output included.

use super::*;
use crate::limits::SCREEN_LINE_BYTES_MAX;

/// The lines of an output that comes at once on 80 columns and 24 rows.
fn lines(output: &[u8]) -> Vec<String> {
    timed(&[(0, output)]).into_iter().map(|line| line.text).collect()
}

fn timed(output: &[(u64, &[u8])]) -> Vec<Line> {
    let mut terminal = Lines::new(80, 24);
    let mut found: Vec<Line> = output.iter().flat_map(|(at_ms, bytes)| terminal.feed(*at_ms, bytes)).collect();
    found.extend(terminal.finish());
    found
}

fn line(at_ms: u64, text: &str) -> Line {
    Line { at_ms, text: text.to_owned() }
}

#[test]
fn lines_come_in_order_with_the_moment_of_their_last_character() {
    let found = timed(&[(5, b"one\r\ntw"), (9, b"o\r\n\r\n"), (20, b"  three  ")]);
    assert_eq!(found, [line(5, "one"), line(9, "two"), line(20, "  three")]);
}

#[test]
fn without_a_terminal_a_line_feed_begins_a_new_line() {
    let mut terminal = Lines::new(80, 24).returning();
    let mut found = terminal.feed(0, b"one\ntwo\r\nthree");
    found.extend(terminal.finish());
    assert_eq!(found.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["one", "two", "three"]);
    assert_eq!(lines(b"one\ntwo"), ["one", "   two"], "a terminal does what it is told");
    assert_eq!(lines(b"\x1b[20hone\ntwo"), ["one", "two"]);
}

#[test]
fn a_long_output_scrolls_and_nothing_of_it_is_lost() {
    let output: String = (0..10_000).map(|n| format!("{n}\r\n")).collect();
    assert_eq!(lines(output.as_bytes()), (0..10_000).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_line_of_ten_megabytes_is_cut_into_lines_and_none_of_it_is_lost() {
    let output = b"0123456789".repeat(1_000_000);
    let mut terminal = Lines::new(80, 24);
    let mut found: Vec<Line> = output.chunks(64 << 10).flat_map(|part| terminal.feed(7, part)).collect();
    found.extend(terminal.finish());
    assert!(found.iter().all(|line| line.text.len() <= SCREEN_LINE_BYTES_MAX && line.at_ms == 7));
    assert_eq!(found.concat_texts().as_bytes(), output);
}

trait Texts {
    fn concat_texts(&self) -> String;
}

impl Texts for Vec<Line> {
    fn concat_texts(&self) -> String {
        self.iter().map(|line| line.text.as_str()).collect()
    }
}

#[test]
fn what_is_wrapped_at_the_edge_is_one_line() {
    let long = "x".repeat(79) + "password" + &"y".repeat(100);
    assert_eq!(lines(format!("{long}\r\nnext").as_bytes()), [long.as_str(), "next"]);
    assert_eq!(lines(format!("{}\r\nnext", "z".repeat(80)).as_bytes()), [&"z".repeat(80), "next"]);
}

#[test]
fn a_progress_bar_is_its_last_state_and_what_stood_long_enough_to_read() {
    let bar: String = (0..=100).map(|percent| format!("\r\x1b[K{percent}%")).collect();
    assert_eq!(lines(bar.as_bytes()), ["100%"]);
    let slow = timed(&[(0, b"\r10%"), (400, b"\r20%"), (1_500, b"\r30%"), (1_600, b"\r40%\r\n")]);
    assert_eq!(slow, [line(400, "20%"), line(1_600, "40%")]);
}

#[test]
fn what_was_shown_and_wiped_is_found() {
    assert_eq!(lines(b"secret\x1b[2J\x1b[Hpublic"), ["secret", "public"]);
    assert_eq!(lines(b"a\r\nsecret\r\x1b[Jb"), ["secret", "a", "b"]);
    assert_eq!(timed(&[(0, b"secret"), (1_000, b"\r      \rplain")]), [line(0, "secret"), line(1_000, "plain")]);
    assert_eq!(timed(&[(0, b"secret"), (1_000, b"\x1b[2K")]), [line(0, "secret")]);
    assert_eq!(lines(b"secret\x1bcafter"), ["secret", "after"]);
}

#[test]
fn typing_and_erasing_a_letter_is_one_line() {
    assert_eq!(lines(b"$ lx\x08 \x08s -l\r\n"), ["$ ls -l"]);
    assert_eq!(lines(b"abcdef\x1b[4D\x1b[2P\x1b[@X"), ["abXef"]);
    assert_eq!(lines(b"abc\r\x1b[4hZ\x1b[4l"), ["Zabc"]);
}

#[test]
fn the_alternate_screen_is_lines_of_its_own_and_the_first_one_is_still_there() {
    let output = b"$ vi notes\r\n\x1b[?1049h\x1b[H\x1b[2Jin the editor\x1b[24;1H-- INSERT --\x1b[?1049l$ exit\r\n";
    assert_eq!(lines(output), ["in the editor", "-- INSERT --", "$ vi notes", "$ exit"]);
}

#[test]
fn a_pager_that_scrolls_a_region_loses_no_line() {
    let mut output = b"\x1b[?1049h\x1b[1;23r\x1b[24;1Hstatus\x1b[1;1H".to_vec();
    (0..100).for_each(|n| output.extend(format!("line {n}\r\n").as_bytes()));
    output.extend(b"\x1b[1;1H\x1bMtop\x1b[?1049l");
    let found = lines(&output);
    for n in 0..100 {
        assert_eq!(found.iter().filter(|text| **text == format!("line {n}")).count(), 1, "{n}: {found:?}");
    }
    assert!(found.contains(&"top".to_owned()) && found.contains(&"status".to_owned()), "{found:?}");
}

#[test]
fn lines_are_inserted_and_deleted() {
    assert_eq!(lines(b"one\r\ntwo\r\nthree\x1b[2;1H\x1b[Lnew"), ["one", "new", "two", "three"]);
    assert_eq!(lines(b"one\r\ntwo\r\nthree\x1b[2;1H\x1b[M"), ["two", "one", "three"]);
    assert_eq!(lines(b"one\r\n\x1b[23S"), ["one"]);
    assert_eq!(lines(b"one\x1b[T"), ["one"]);
}

#[test]
fn another_size_loses_nothing() {
    let mut terminal = Lines::new(80, 24);
    let mut found = terminal.feed(0, &[b"wide ".repeat(12), b"\r\nb\r\nc\r\nd".to_vec()].concat());
    found.extend(terminal.resize(1, 20, 2));
    assert_eq!(found, [line(0, "wide ".repeat(12).trim_end()), line(0, "b")]);
    found = terminal.feed(2, b"\r\ne");
    found.extend(terminal.resize(3, 100, 50));
    found.extend(terminal.finish());
    assert_eq!(found, [line(0, "c"), line(0, "d"), line(2, "e")]);
    let mut tiny = Lines::new(0, 0);
    tiny.feed(0, "東京\r\n\tx".as_bytes());
    tiny.resize(0, usize::MAX, usize::MAX);
    assert!(!tiny.finish().is_empty());
}

#[test]
fn wide_and_combining_characters_keep_their_places() {
    assert_eq!(lines("東京\r\n".as_bytes()), ["東京"]);
    assert_eq!(lines("Zu\u{308}rich".as_bytes()), ["Zu\u{308}rich"]);
    assert_eq!(lines("東京\rx".as_bytes()), ["x 京"]);
    assert_eq!(lines("a東\x08x".as_bytes()), ["a x"]);
    let edge = "x".repeat(79) + "東";
    assert_eq!(lines(edge.as_bytes()), [edge]);
    let stacked = lines(format!("a{}", "\u{301}".repeat(10_000)).as_bytes());
    assert!(stacked.concat().len() < 64, "{stacked:?}");
}

#[test]
fn bidi_and_zero_width_characters_are_made_visible() {
    assert_eq!(lines("pass\u{200b}word \u{202e}gpj".as_bytes()), ["pass\\u{200b}word \\u{202e}gpj"]);
    assert_eq!(lines("x\r\u{feff}".as_bytes()), ["x\\u{feff}"]);
    assert_eq!(harmless("a\u{202e}b\u{200b}".as_bytes()), "a\\u{202e}b\\u{200b}");
    assert_eq!(visible("a\u{2066}b\x1b"), "a\\u{2066}b\\u{1b}");
}

#[test]
fn bytes_that_are_no_text_and_characters_in_two_pieces_are_read() {
    assert_eq!(lines(b"a\xff\xfeb"), ["a\u{fffd}\u{fffd}b"]);
    assert_eq!(timed(&[(0, b"Z\xc3"), (1, b"\xbcrich")]), [line(1, "Zürich")]);
    assert_eq!(lines(b"\x00\x01 \x7f\x90\x9b"), [" \\u{7f}\u{fffd}\u{fffd}"]);
}

#[test]
fn line_drawing_letters_are_lines() {
    assert_eq!(lines(b"\x1b(0lqk\x1b(B lqk \x1b)0\x0ex\x0fx"), ["┌─┐ lqk │x"]);
    assert_eq!(harmless(b"\x1b(0lqk\x1b(Bl"), "┌─┐l");
}

#[test]
fn what_a_hostile_output_says_to_a_terminal_is_left_out() {
    for hostile in [
        &b"\x1b]0;title\x07"[..],
        b"\x1b]52;c;aGVsbG8=\x1b\\",
        b"\x1b]8;;http://evil\x1b\\",
        b"\x1bP$qm\x1b\\",
        b"\x1bP+q544e\x1b\\",
        b"\x1b[c\x1b[>c\x1b[=c",
        b"\x1b[6n\x1b[5n\x1b[?6n\x1b[?15n",
        b"\x1b[21t\x1b[8;1;1t",
        b"\x1b[?1000h\x1b[?1006h\x1b[?2004h\x1b[?1004h\x1b[?9h",
        b"\x1b[>4;2m\x1b[?5h\x1b[5i\x1b[?5i\x1b[!p\x1b[\"q\x1b[1$}",
        b"\x1b_Gapc\x1b\\\x1b^pm\x1b\\\x1bXsos\x1b\\",
        b"\x1b%@\x1b#8\x1b=\x1b>\x1bn\x1bo\x1b|\x1bZ\x1bN\x1bO",
        b"\x1b[20h\x1b[2l\x1b[4;20h\x1b[q\x1b[1 q",
        b"\x05\x04\x00",
    ] {
        assert_eq!(harmless(hostile), "", "{:?}", String::from_utf8_lossy(hostile));
        assert_eq!(lines(&[b"a", hostile, b"b"].concat()), ["ab"], "{:?}", String::from_utf8_lossy(hostile));
    }
    assert_eq!(harmless(b"\x07\x07\x07"), "\x07");
    assert_eq!(harmless(b"\x1b]0;never ended \r\n and more"), "");
}

#[test]
fn what_draws_is_left_as_it_is() {
    for drawn in
        ["\x1b[31;1mred\x1b[0m\r\n", "\x1b[38:2:1:2:3mx", "\x1b[2J\x1b[10;20H\x1b[3A\x1b[0K", "\x1b7\x1b8\x1bM"]
    {
        assert_eq!(harmless(drawn.as_bytes()), drawn);
    }
    assert_eq!(harmless(b"\x1b[65535b\x1b[m"), "\x1b[500b\x1b[0m");
}

#[test]
fn a_filter_gives_the_terminal_back_as_it_was() {
    let mut filter = Harmless::new();
    assert_eq!(filter.feed(b"\x1b[?1049h\x1b[?1049h\x1b[?25;1000l"), "\x1b[?1049h\x1b[?25l");
    assert!(filter.end().ends_with("\x1b[?1049l"), "it was on the second screen");
    assert!(!filter.end().contains("1049"), "and is on the first one now");
}
