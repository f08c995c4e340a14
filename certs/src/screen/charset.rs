//! The line-drawing letters of a VT100 as the characters they draw, so that nobody has to switch a real terminal.

/// Which of the two character sets draws lines, and which one is in use.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Charset {
    /// G0 and G1: true draws lines.
    drawing: [bool; 2],
    /// G1 is in use (SO), otherwise G0 (SI).
    shifted: bool,
}

impl Charset {
    /// `ESC ( X` and `ESC ) X`: designates G0 or G1. Anything else is not ours.
    pub(super) fn designate(&mut self, intermediates: &[u8], set: u8) {
        let [g0, g1] = &mut self.drawing;
        match intermediates {
            b"(" => *g0 = set == b'0',
            b")" => *g1 = set == b'0',
            _ => {}
        }
    }

    /// SO (true) and SI (false).
    pub(super) fn shift(&mut self, shifted: bool) {
        self.shifted = shifted;
    }

    /// Whether letters are lines now.
    pub(super) fn draws_any(self) -> bool {
        let [g0, g1] = self.drawing;
        if self.shifted { g1 } else { g0 }
    }

    /// What this character draws.
    pub(super) fn draws(self, c: char) -> char {
        if !self.draws_any() {
            return c;
        }
        match c {
            '`' => '◆',
            'a' => '▒',
            'f' => '°',
            'g' => '±',
            'j' => '┘',
            'k' => '┐',
            'l' => '┌',
            'm' => '└',
            'n' => '┼',
            'o' => '⎺',
            'p' => '⎻',
            'q' => '─',
            'r' => '⎼',
            's' => '⎽',
            't' => '├',
            'u' => '┤',
            'v' => '┴',
            'w' => '┬',
            'x' => '│',
            'y' => '≤',
            'z' => '≥',
            '{' => 'π',
            '|' => '≠',
            '}' => '£',
            '~' => '·',
            other => other,
        }
    }
}
