//! Which characters deceive a reader, and how they are shown instead. Not here: escape sequences (`harmless`).

use std::borrow::Cow;

/// Characters that can move the cursor, reorder, hide or imitate other text on a terminal.
pub fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// One line of text in which nothing can deceive: control, bidi and invisible characters as `\u{…}`.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(deceives) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().fold(String::with_capacity(text.len() + 8), |mut out, c| {
        push(&mut out, c);
        out
    }))
}

/// Appends one character as [`visible`] shows it.
pub(super) fn push(out: &mut String, c: char) {
    if matches!(c, ' '..='~') {
        out.push(c);
    } else if deceives(c) {
        out.extend(c.escape_unicode());
    } else {
        out.push(c);
    }
}
