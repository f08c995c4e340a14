//! Output that moves the cursor, colours and erases, and nothing else. Not here: what it looked like (`lines`).
//!
//! Nothing is passed through: input is parsed, and what is known to be harmless is written anew. So there is no sequence
//! that this parser and a real terminal could read differently.

use super::{charset::Charset, utf8::Whole, visible};
use crate::limits::{SCREEN_COLS_MAX, SCREEN_ROWS_MAX};
use std::fmt::{self, Write as _};
use vte::{Params, Parser, Perform};

/// The largest number that is written in a sequence: no screen has more rows or columns, and no colour is larger.
const NUMBER_MAX: u16 = if SCREEN_COLS_MAX > SCREEN_ROWS_MAX { SCREEN_COLS_MAX as u16 } else { SCREEN_ROWS_MAX as u16 };

/// Turns any output into output that a terminal can be shown: one filter for one terminal.
///
/// Titles, the clipboard, links, device reports, keys and mouse reports, fonts, graphics, every OSC, DCS, APC, PM and SOS
/// string and every bell but the first are left out; line-drawing letters and deceiving characters become characters
/// that are what they look like.
#[derive(Default)]
pub struct Harmless {
    /// Joins characters that came in two pieces.
    whole: Whole,
    /// Cuts text into characters and sequences.
    parser: Parser,
    /// What is left of them.
    drawn: Drawn,
}

impl fmt::Debug for Harmless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.drawn.fmt(f)
    }
}

impl Harmless {
    /// A filter at the beginning of an output.
    pub fn new() -> Self {
        Self::default()
    }

    /// What may be shown of more output. It ends between two sequences; half of one is kept for the next call.
    pub fn feed(&mut self, bytes: &[u8]) -> String {
        let text = self.whole.feed(bytes);
        self.parser.advance(&mut self.drawn, text.as_bytes());
        std::mem::take(&mut self.drawn.out)
    }

    /// What brings the terminal back: colours, cursor, scroll region, wrapping, and the first screen if this output left it.
    pub fn end(&mut self) -> String {
        let back = if std::mem::take(&mut self.drawn.alternate) { "\x1b[?1049l" } else { "" };
        format!("\x1b7\x1b[?6l\x1b[r\x1b8\x1b[4l\x1b[?7h\x1b[?25h\x1b[0m{back}")
    }
}

/// [`Harmless`] for an output that is there as a whole.
pub fn harmless(bytes: &[u8]) -> String {
    Harmless::new().feed(bytes)
}

/// What may be shown.
#[derive(Debug, Default)]
struct Drawn {
    /// What was not taken yet.
    out: String,
    /// Whether letters are letters.
    charset: Charset,
    /// The one bell was rung.
    rung: bool,
    /// The second screen is in use.
    alternate: bool,
}

impl Drawn {
    fn sequence(&mut self, start: &str, params: &Params, action: char) {
        self.out.push_str(start);
        for (index, param) in params.iter().enumerate() {
            let separator = if index == 0 { "" } else { ";" };
            self.out.push_str(separator);
            for (part, number) in param.iter().enumerate() {
                let colon = if part == 0 { "" } else { ":" };
                let _ = write!(self.out, "{colon}{}", (*number).min(NUMBER_MAX));
            }
        }
        self.out.push(action);
    }
}

impl Perform for Drawn {
    fn print(&mut self, c: char) {
        visible::push(&mut self.out, self.charset.draws(c));
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            0x07 if !self.rung => {
                self.rung = true;
                self.out.push('\x07');
            }
            0x08 | b'\t' | b'\n' | b'\r' => self.out.push(char::from(byte)),
            0x0b | 0x0c => self.out.push('\n'),
            0x0e | 0x0f => self.charset.shift(byte == 0x0e),
            0x84 => self.out.push_str("\x1bD"),
            0x85 => self.out.push_str("\x1bE"),
            0x8d => self.out.push_str("\x1bM"),
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignore: bool, action: char) {
        if ignore {
            return;
        }
        match (intermediates, action) {
            (b"", 'A'..='M' | 'P' | 'S' | 'T' | 'X' | 'Z' | '@' | '`' | 'a' | 'b' | 'd'..='f' | 'm' | 'r') => {
                self.sequence("\x1b[", params, action);
            }
            (b"", 's') => self.out.push_str("\x1b7"),
            (b"", 'u') => self.out.push_str("\x1b8"),
            (b"", 'h' | 'l') if params.iter().eq([[4].as_slice()]) => self.sequence("\x1b[", params, action),
            (b"?", 'h' | 'l') => {
                for mode in params.iter().filter_map(|param| param.first()) {
                    match mode {
                        6 | 7 | 25 => _ = write!(self.out, "\x1b[?{mode}{action}"),
                        47 | 1047 | 1049 if self.alternate != (action == 'h') => {
                            self.alternate = action == 'h';
                            _ = write!(self.out, "\x1b[?1049{action}");
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    fn esc_dispatch(&mut self, intermediates: &[u8], ignore: bool, byte: u8) {
        if ignore {
            return;
        }
        if !intermediates.is_empty() {
            return self.charset.designate(intermediates, byte);
        }
        match byte {
            b'7' | b'8' | b'D' | b'E' | b'M' => {
                self.out.push('\x1b');
                self.out.push(char::from(byte));
            }
            // A full reset also loads fonts, clears the history and rings: what it draws is an empty screen.
            b'c' => {
                let back = self.end_of_screen();
                self.out.push_str(back);
                self.out.push_str("\x1b[?6l\x1b[r\x1b[4l\x1b[?7h\x1b[?25h\x1b[0m\x1b[H\x1b[2J");
                self.charset = Charset::default();
            }
            _ => {}
        }
    }
}

impl Drawn {
    fn end_of_screen(&mut self) -> &'static str {
        if std::mem::take(&mut self.alternate) { "\x1b[?1049l" } else { "" }
    }
}
