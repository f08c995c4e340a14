//! One line that a person types on a terminal nobody else reads yet: characters, corrections, Enter, Ctrl-C and Ctrl-D.
//!
//! The client's terminal is raw, so what is typed is shown from here. Not here: what the line is for (`ticket`).

/// What one typed byte did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// The line changed or not; this is to be shown.
    Show(&'static str),
    /// This character was added and is to be shown.
    Echo(char),
    /// Enter.
    Line(String),
    /// Ctrl-C, or Ctrl-D on an empty line.
    Leave,
}

/// Takes one character off the screen.
const ERASE: &str = "\u{8} \u{8}";
/// What cannot be typed here rings.
const BELL: &str = "\u{7}";
/// Nothing is shown.
const NOTHING: Key = Key::Show("");

/// A line being typed. It holds visible ASCII only: nothing typed here can steer a screen or a log.
#[derive(Debug, Default)]
pub(super) struct Line {
    text: String,
    bytes_max: usize,
    state: State,
}

/// What the next byte belongs to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The line.
    #[default]
    Text,
    /// An Enter just before: the newline of a pasted CR LF is part of it.
    Returned,
    /// An escape sequence: only its ESC came.
    Escape,
    /// An escape sequence with parameters, to its final byte: an arrow key, a bracketed paste.
    Sequence,
}

impl Line {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    /// One byte as the client sent it.
    pub(super) fn key(&mut self, byte: u8) -> Key {
        let state = std::mem::take(&mut self.state);
        match (state, byte) {
            (State::Escape, b'[' | b'O') => self.go_on(State::Sequence),
            (State::Sequence, 0x20..=0x3f) => self.go_on(State::Sequence),
            (State::Escape | State::Sequence, 0x20..=0x7e) => NOTHING,
            (State::Returned, b'\n') => NOTHING,
            (_, 0x1b) => self.go_on(State::Escape),
            (_, b'\r') => {
                self.state = State::Returned;
                Key::Line(std::mem::take(&mut self.text))
            }
            (_, b'\n') => Key::Line(std::mem::take(&mut self.text)),
            (_, 3) => Key::Leave,
            (_, 4) if self.text.is_empty() => Key::Leave,
            (_, 8 | 0x7f) => Key::Show(if self.text.pop().is_some() { ERASE } else { BELL }),
            (_, 0x21..=0x7e) if self.text.len() < self.bytes_max => {
                self.text.push(char::from(byte));
                Key::Echo(char::from(byte))
            }
            (_, _) => Key::Show(BELL),
        }
    }

    fn go_on(&mut self, state: State) -> Key {
        self.state = state;
        NOTHING
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that these bytes make, and what is shown meanwhile.
    fn typed(bytes: &[u8]) -> (Vec<String>, String) {
        let (mut line, mut lines, mut shown) = (Line::new(8), Vec::new(), String::new());
        for byte in bytes {
            match line.key(*byte) {
                Key::Show(text) => shown += text,
                Key::Echo(character) => shown.push(character),
                Key::Line(text) => lines.push(text),
                Key::Leave => lines.push("<leave>".to_owned()),
            }
        }
        (lines, shown)
    }

    #[test]
    fn what_is_typed_is_shown_and_enter_ends_it() {
        assert_eq!(typed(b"INC-7\r"), (vec!["INC-7".to_owned()], "INC-7".to_owned()));
        assert_eq!(typed(b"A\nB\r\nC\r\r").0, ["A", "B", "C", ""], "a pasted CR LF is one Enter, two Enters are two");
    }

    #[test]
    fn a_correction_takes_the_last_character_back() {
        assert_eq!(typed(b"AX\x7fB\x08\x08\x08C\r").0, ["C"]);
        assert_eq!(typed(b"\x7f").1, BELL);
    }

    #[test]
    fn ctrl_c_leaves_always_and_ctrl_d_on_an_empty_line() {
        assert_eq!(typed(b"AB\x03").0, ["<leave>"]);
        assert_eq!(typed(b"\x04").0, ["<leave>"]);
        assert_eq!(typed(b"A\x04\r").0, ["A"]);
    }

    #[test]
    fn arrow_keys_and_a_bracketed_paste_leave_no_trace() {
        assert_eq!(typed(b"\x1b[A\x1bOP\x1b[200~INC\x1b[201~\x1b[1;5C\r"), (vec!["INC".to_owned()], "INC".to_owned()));
        assert_eq!(typed(b"\x1bxA\x1b\x1b[BB\r").0, ["AB"]);
    }

    #[test]
    fn nothing_else_gets_into_a_line_or_onto_the_screen() {
        let (lines, shown) = typed("A\u{202e}B\u{9b}31m \t\u{0}\u{1b}]0;x\u{7}é\r".as_bytes());
        assert!(shown.chars().all(|c| c.is_ascii_graphic() || c == '\u{7}'), "{shown:?}");
        assert!(lines.concat().bytes().all(|b| b.is_ascii_graphic()), "{lines:?}");
        assert!(lines.concat().starts_with("AB31m"), "{lines:?}");
    }

    #[test]
    fn a_line_is_never_longer_than_its_limit() {
        assert_eq!(typed(b"0123456789\r"), (vec!["01234567".to_owned()], format!("01234567{BELL}{BELL}")));
    }
}
