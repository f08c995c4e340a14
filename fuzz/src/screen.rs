//! What a machine sends to a terminal: as lines, and as output that can only draw.

use belay_certs::{
    limits::SCREEN_LINE_BYTES_MAX,
    screen::{Harmless, Line, Lines, deceives, harmless},
};

/// Output in one piece and in many; the first byte is the size of the terminal, each 0xFE a second that passes.
pub(crate) fn screen(input: &[u8]) {
    let size = usize::from(input.first().copied().unwrap_or(80));
    let mut lines = Lines::new(size, size / 3);
    let mut found: Vec<Line> = Vec::new();
    for (second, part) in (0_u64..).zip(input.split(|byte| *byte == 0xfe)) {
        found.extend(lines.feed(second * 1_000, part));
        if part.len() == 7 {
            found.extend(lines.resize(second * 1_000, part.len() * 9, size));
        }
    }
    found.extend(lines.finish());
    for line in &found {
        assert!(!line.text.is_empty() && line.text.len() <= SCREEN_LINE_BYTES_MAX, "a line has its limits");
        assert!(!line.text.contains(deceives), "a line hides nothing: {:?}", line.text);
    }
    let whole = harmless(input);
    assert_eq!(harmless(whole.as_bytes()), whole, "what is harmless is left as it is");
    let mut filter = Harmless::new();
    let pieces: String = input.chunks(3).map(|piece| filter.feed(piece)).collect();
    assert_eq!(pieces, whole, "in pieces it is the same");
    for (at, _) in whole.match_indices('\x1b') {
        let next = whole[at + 1..].chars().next();
        assert!(next.is_some_and(|c| "[78DEM".contains(c)), "a sequence that does not draw: {:?}", &whole[at..]);
    }
    assert!(whole.matches('\x07').count() <= 1, "one bell");
}
