//! Words of a gateway, made fit for a log and a terminal: they may be written to deceive whoever reads them.
//!
//! Not here: words of clients that become part of a statement (`belay_certs::statement::word`).

/// `text` as one line that shows what it is: what breaks lines or commands a terminal becomes a space, what hides or turns
/// other characters U+FFFD.
pub fn heard(text: &str) -> String {
    let shown = |c: char| match c {
        c if c.is_control() => ' ',
        '\u{2028}' | '\u{2029}' => ' ',
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' => {
            char::REPLACEMENT_CHARACTER
        }
        '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}' => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_cannot_forge_lines_colours_or_the_order_of_letters() {
        assert_eq!(heard("the gateway is full: try später"), "the gateway is full: try später");
        assert_eq!(heard("no\r\nERROR forged\u{1b}[2J\u{9b}1m\u{2028}x"), "no  ERROR forged [2J 1m x");
        assert_eq!(heard("a\u{202e}b\u{2066}c\u{200f}d\u{200b}e"), "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}e");
    }
}
