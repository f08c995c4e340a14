//! A small terminal that keeps no picture but says which lines it showed. Not here: the rows themselves (`grid`).

use super::{
    charset::Charset,
    grid::Grid,
    leaving::{Leaving, Line},
    utf8::Whole,
    visible::deceives,
};
use crate::limits::{SCREEN_COLS_MAX, SCREEN_ROWS_MAX};
use std::fmt;
use unicode_width::UnicodeWidthChar;
use vte::{Params, Parser, Perform};

/// Begins a sequence.
const ESC: char = '\x1b';
/// Columns from one tab stop to the next.
const TAB: usize = 8;
/// Least size: a wide character fits, and there is a row to scroll to.
const LEAST: usize = 2;

/// Turns what a terminal received into the lines a person saw.
///
/// A line is finished when it scrolls away, is cleared with its screen, or stood for a second and is then written over;
/// what was wrapped at the edge is joined. So a progress bar is its last state, and each state that could be read. Lines
/// come in the order in which they finish, which is not always the order of their times. What it keeps is bounded by the
/// size of two screens; what one call returns, by what was fed: feed it an event at a time.
pub struct Lines {
    /// Joins characters that came in two pieces.
    whole: Whole,
    /// Cuts text into characters and sequences.
    parser: Parser,
    /// What they do.
    terminal: Terminal,
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.terminal.fmt(f)
    }
}

impl Lines {
    /// A terminal of that size, in characters; what is absurd is brought to what is not.
    pub fn new(cols: usize, rows: usize) -> Self {
        let (cols, rows) = (cols.clamp(LEAST, SCREEN_COLS_MAX), rows.clamp(LEAST, SCREEN_ROWS_MAX));
        let terminal = Terminal {
            main: Grid::new(cols, rows),
            alternate: None,
            size: (cols, rows),
            charset: Charset::default(),
            wraps: true,
            inserts: false,
            returns: false,
            last: ' ',
            between: true,
            now_ms: 0,
            out: Leaving::default(),
        };
        Self { whole: Whole::default(), parser: Parser::new(), terminal }
    }

    /// What a program without a terminal writes: a line feed begins a new line, as the terminal of whoever reads it does it.
    pub fn returning(mut self) -> Self {
        self.terminal.returns = true;
        self
    }

    /// Output at a moment, in milliseconds since the session's start: the lines that finished with it.
    pub fn feed(&mut self, at_ms: u64, bytes: &[u8]) -> Vec<Line> {
        self.terminal.now_ms = at_ms;
        let text = self.whole.feed(bytes);
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let read = if self.terminal.between {
                let plain = rest.find(ESC).unwrap_or(rest.len());
                self.terminal.write(rest.get(..plain).unwrap_or_default());
                self.terminal.between = plain == rest.len();
                plain
            } else {
                // Ends behind a sequence, or with the text.
                self.parser.advance_until_terminated(&mut self.terminal, rest.as_bytes())
            };
            rest = rest.get(read..).unwrap_or_default();
        }
        self.terminal.out.take()
    }

    /// The terminal has another size: the lines that no longer fit.
    pub fn resize(&mut self, at_ms: u64, cols: usize, rows: usize) -> Vec<Line> {
        let (cols, rows) = (cols.clamp(LEAST, SCREEN_COLS_MAX), rows.clamp(LEAST, SCREEN_ROWS_MAX));
        let terminal = &mut self.terminal;
        terminal.now_ms = at_ms;
        terminal.size = (cols, rows);
        if let Some(alternate) = &mut terminal.alternate {
            terminal.out.end();
            alternate.resize(cols, rows, &mut terminal.out);
            terminal.out.end();
        }
        terminal.main.resize(cols, rows, &mut terminal.out);
        terminal.out.take()
    }

    /// The session is over: what still stands on the screen.
    pub fn finish(mut self) -> Vec<Line> {
        let terminal = &mut self.terminal;
        terminal.leave_alternate();
        terminal.main.clear_all(&mut terminal.out);
        terminal.out.take()
    }
}

/// What characters and sequences act on.
#[derive(Debug)]
struct Terminal {
    /// The screen that scrolls.
    main: Grid,
    /// The second screen, while a program uses it.
    alternate: Option<Grid>,
    /// Columns and rows of both.
    size: (usize, usize),
    /// Whether letters are letters.
    charset: Charset,
    /// Text goes on in the next row (DECAWM).
    wraps: bool,
    /// Text moves what stands there (IRM).
    inserts: bool,
    /// A line feed goes to the first column as well (LNM).
    returns: bool,
    /// The last character written, for REP.
    last: char,
    /// The parser is between two sequences for certain: what comes next is text, which need not go through it.
    between: bool,
    /// The moment of what is being fed, in milliseconds since the session's start.
    now_ms: u64,
    /// Where finished rows go.
    out: Leaving,
}

impl Terminal {
    /// The screen in use, and where its rows go.
    fn screen(&mut self) -> (&mut Grid, &mut Leaving) {
        (self.alternate.as_mut().unwrap_or(&mut self.main), &mut self.out)
    }

    /// Text without [`ESC`] between two sequences, as the parser would cut it.
    fn write(&mut self, text: &str) {
        let mut rest = text;
        while !rest.is_empty() {
            let plain = rest.bytes().position(|byte| !matches!(byte, b' '..=b'~')).unwrap_or(rest.len());
            let (run, other) = rest.split_at(plain);
            if self.inserts || self.charset.draws_any() {
                run.chars().for_each(|c| self.print(c));
            } else if let Some(last) = run.chars().next_back() {
                let (wraps, now_ms) = (self.wraps, self.now_ms);
                let (grid, out) = self.screen();
                grid.put_plain(run, wraps, now_ms, out);
                self.last = last;
            }
            let mut characters = other.chars();
            match characters.next() {
                Some(c @ ('\0'..='\x1f' | '\u{80}'..='\u{9f}')) => self.execute(c as u8),
                Some(c) => self.print(c),
                None => {}
            }
            rest = characters.as_str();
        }
    }

    fn enter_alternate(&mut self) {
        if self.alternate.is_none() {
            self.main.save();
            let mut grid = Grid::new(self.size.0, self.size.1);
            grid.go(self.main.x, self.main.y);
            self.alternate = Some(grid);
        }
    }

    fn leave_alternate(&mut self) {
        if let Some(mut grid) = self.alternate.take() {
            self.out.end();
            grid.clear_all(&mut self.out);
            self.main.restore();
        }
    }

    /// SM and RM, and DECSET and DECRST.
    fn mode(&mut self, private: bool, mode: u16, on: bool) {
        match (private, mode) {
            (false, 4) => self.inserts = on,
            (false, 20) => self.returns = on,
            (true, 6) => {
                let (grid, _) = self.screen();
                grid.origin = on;
                grid.go_row(0, 0);
            }
            (true, 7) => self.wraps = on,
            (true, 47 | 1047 | 1049) if on => self.enter_alternate(),
            (true, 47 | 1047 | 1049) => self.leave_alternate(),
            _ => {}
        }
    }

    fn erase_screen(&mut self, which: u16) {
        let now_ms = self.now_ms;
        let (grid, out) = self.screen();
        let (x, y, height) = (grid.x, grid.y, grid.height());
        match which {
            0 => {
                // From the first column on it is the whole row: what stood there is a line.
                grid.clear(if x == 0 { y } else { y + 1 }..height, out);
                grid.erase(x..usize::MAX, now_ms, out);
            }
            1 => {
                grid.clear(0..y, out);
                grid.erase(0..x + 1, now_ms, out);
            }
            2 | 3 => grid.clear_all(out),
            _ => {}
        }
    }

    fn reset(&mut self) {
        self.leave_alternate();
        self.main.clear_all(&mut self.out);
        self.main = Grid::new(self.size.0, self.size.1);
        (self.charset, self.wraps, self.inserts) = (Charset::default(), true, false);
    }

    /// Sequences that move the cursor.
    fn moves(&mut self, action: char, n: usize, second: usize) {
        let (grid, _) = self.screen();
        let (x, y) = (grid.x, grid.y);
        match action {
            'A' => grid.climb(n, false),
            'B' | 'e' => grid.climb(n, true),
            'C' | 'a' => grid.go(x.saturating_add(n), y),
            'D' => grid.go(x.saturating_sub(n), y),
            'E' | 'F' => {
                grid.climb(n, action == 'E');
                grid.go(0, grid.y);
            }
            'G' | '`' => grid.go(n - 1, y),
            'd' => grid.go_row(x, n - 1),
            'H' | 'f' => grid.go_row(second - 1, n - 1),
            'I' => grid.go((x / TAB).saturating_add(n).saturating_mul(TAB), y),
            'Z' => grid.go((x.div_ceil(TAB)).saturating_sub(n) * TAB, y),
            's' => grid.save(),
            'u' => grid.restore(),
            _ => {}
        }
    }

    /// Sequences that change what stands there.
    fn changes(&mut self, action: char, first: u16, n: usize, second: usize) {
        let (now_ms, repeated) = (self.now_ms, self.last);
        let cols = self.size.0;
        let (grid, out) = self.screen();
        let (x, y, height) = (grid.x, grid.y, grid.height());
        match (action, first) {
            ('J', which) => self.erase_screen(which),
            ('K', 0) => grid.erase(x..usize::MAX, now_ms, out),
            ('K', 1) => grid.erase(0..x + 1, now_ms, out),
            ('K', 2) => grid.erase(0..usize::MAX, now_ms, out),
            ('X', _) => grid.erase(x..x.saturating_add(n), now_ms, out),
            ('@', _) => grid.shift(n, true, now_ms, out),
            ('P', _) => grid.shift(n, false, now_ms, out),
            ('L', _) => grid.scroll_down(y, n, out),
            ('M', _) => grid.scroll_up(y, n, out),
            ('S', _) => grid.scroll(n, true, out),
            ('T', _) => grid.scroll(n, false, out),
            ('r', _) => grid.confine(n - 1..if second < LEAST { height } else { second }),
            ('b', _) => (0..n.min(cols)).for_each(|_| self.print(repeated)),
            _ => {}
        }
    }
}

impl Perform for Terminal {
    fn print(&mut self, c: char) {
        let c = self.charset.draws(c);
        let width = if deceives(c) { 0 } else { c.width().unwrap_or(0).min(2) };
        let (wraps, inserts, now_ms) = (self.wraps, self.inserts, self.now_ms);
        let (grid, out) = self.screen();
        if inserts && width > 0 {
            grid.shift(width, true, now_ms, out);
        }
        grid.put(c, width, wraps, now_ms, out);
        if width > 0 {
            self.last = c;
        }
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            0x0e => return self.charset.shift(true),
            0x0f => return self.charset.shift(false),
            _ => {}
        }
        let returns = self.returns;
        let (grid, out) = self.screen();
        let (x, y) = (grid.x, grid.y);
        match byte {
            0x08 => grid.go(x.saturating_sub(1), y),
            b'\t' => grid.go((x / TAB + 1) * TAB, y),
            b'\n' if returns => {
                grid.line_feed(out);
                grid.go(0, grid.y);
            }
            b'\n' | 0x0b | 0x0c | 0x84 => grid.line_feed(out),
            b'\r' => grid.go(0, y),
            0x85 => {
                grid.line_feed(out);
                grid.go(0, grid.y);
            }
            0x8d => grid.reverse_feed(out),
            _ => {}
        }
    }

    fn terminated(&self) -> bool {
        self.between
    }

    // Behind this sequence, the next one and an OSC's bell there is text again. What else ends a sequence may have text or
    // the beginning of another behind it when it is told: the parser goes on until one of these three.
    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignore: bool, action: char) {
        self.between = true;
        if ignore {
            return;
        }
        let at = |index: usize| params.iter().nth(index).and_then(|param| param.first()).copied().unwrap_or(0);
        match (intermediates, action) {
            (b"" | b"?", 'h' | 'l') => {
                for mode in params.iter().filter_map(|param| param.first()) {
                    self.mode(intermediates == b"?", *mode, action == 'h');
                }
            }
            (b"", _) => {
                let (n, second) = (usize::from(at(0)).max(1), usize::from(at(1)).max(1));
                self.moves(action, n, second);
                self.changes(action, at(0), n, second);
            }
            _ => {}
        }
    }

    fn osc_dispatch(&mut self, _params: &[&[u8]], bell: bool) {
        self.between = bell;
    }

    fn esc_dispatch(&mut self, intermediates: &[u8], ignore: bool, byte: u8) {
        self.between = true;
        if ignore {
            return;
        }
        if !intermediates.is_empty() {
            return self.charset.designate(intermediates, byte);
        }
        let (grid, out) = self.screen();
        match byte {
            b'7' => grid.save(),
            b'8' => grid.restore(),
            b'D' => grid.line_feed(out),
            b'E' => {
                grid.line_feed(out);
                grid.go(0, grid.y);
            }
            b'M' => grid.reverse_feed(out),
            b'c' => self.reset(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECES: &[&str] = &[
        "plain text, some of it, which is longer than a row of this terminal",
        "x",
        "\r\n",
        "\n",
        "\r",
        "\t",
        "\x08",
        "\x08 \x08",
        "東京",
        "u\u{308}",
        "\u{200b}",
        "\u{85}",
        "\x7f",
        "\x18",
        "\0",
        "\x1b[2J",
        "\x1b[H",
        "\x1b[5;3H",
        "\x1b[31m",
        "\x1b[K",
        "\x1b[?7l",
        "\x1b[?7h",
        "\x1b[4h",
        "\x1b[4l",
        "\x1b[?1049h",
        "\x1b[?1049l",
        "\x1b[2;5r",
        "\x1b[3@",
        "\x1b[2P",
        "\x1b[9b",
        "\x1bM",
        "\x1bc",
        "\x1b(0",
        "\x1b(B",
        "\x0e",
        "\x0f",
        "\x1b]0;a title\x07",
        "\x1b]0;a title\x1b\\",
        "\x1b]0;cut\x18",
        "\x1bPq\x1b\\",
        "\x1bPq\u{9c}",
        "\x1b_x\x1b\\",
        "\x1b[1;2;",
        "\x1b[<1x",
        "\x1b[\x1b[m",
        "\x1b",
        "\x1b\x18",
        "\x1b[:1?x",
    ];

    /// SplitMix64.
    fn next(state: &mut u64) -> usize {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (z ^ (z >> 27)) as usize
    }

    #[test]
    fn text_between_sequences_is_what_the_parser_would_have_made_of_it() {
        for seed in 0..2_000 {
            let mut state = seed;
            let (mut ours, mut parsed) = (Lines::new(20, 6), Lines::new(20, 6));
            for at_ms in 0..30 {
                let piece = PIECES[next(&mut state) % PIECES.len()];
                let found = ours.feed(at_ms * 400, piece.as_bytes());
                parsed.terminal.now_ms = at_ms * 400;
                parsed.parser.advance(&mut parsed.terminal, piece.as_bytes());
                assert_eq!(found, parsed.terminal.out.take(), "seed {seed}, {piece:?}");
            }
            assert_eq!(ours.finish(), parsed.finish(), "seed {seed}");
        }
    }
}
