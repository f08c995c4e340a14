//! However a stream is cut, it is masked as if it had come whole, and a simple search finds the same.

use super::*;

fn secrets(pairs: &[(&str, &str)]) -> Secrets {
    let mut secrets = Secrets::default();
    for (name, value) in pairs {
        secrets.add(name.parse().unwrap(), (*value).to_owned()).unwrap();
    }
    secrets
}

/// Takes the pieces one after the other.
fn masked<'p>(secrets: &Secrets, pieces: impl IntoIterator<Item = &'p [u8]>) -> String {
    let longest = secrets.iter().map(|(_, value)| value.len()).max().unwrap_or(1);
    let (mask, mut stream, mut shown) = (Mask::of(secrets), Masked::default(), Vec::new());
    for piece in pieces {
        shown.extend(stream.take(&mask, piece));
        assert!(stream.held() < longest, "{} bytes are held back", stream.held());
    }
    shown.extend(stream.finish(&mask));
    String::from_utf8(shown).unwrap()
}

/// Marks every byte of every occurrence, and puts one word for those that overlap.
fn naive(secrets: &Secrets, text: &[u8]) -> String {
    let mut found: Vec<(usize, usize, &str)> = Vec::new();
    for (name, value) in secrets.iter() {
        let lines = value.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
        for part in lines.filter(|line| line.len() >= SECRET_BYTES_MIN).chain([value]) {
            let part = part.as_bytes();
            let places = (0..text.len()).filter(|at| text[*at..].starts_with(part));
            found.extend(places.map(|at| (at, at + part.len(), name.as_str())));
        }
    }
    // The leftmost first, of those the longest, of those the first by name.
    found.sort_by(|a, b| (a.0, b.1, a.2).cmp(&(b.0, a.1, b.2)));
    let (mut out, mut at) = (Vec::new(), 0);
    for (start, end, name) in found {
        if start >= at {
            out.extend_from_slice(&text[at..start]);
            out.extend_from_slice(format!("[secret {name}]").as_bytes());
        }
        at = at.max(end);
    }
    out.extend_from_slice(&text[at..]);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_secret_is_hidden_wherever_the_stream_is_cut() {
    let one = secrets(&[("token", "hunter2-hunter2")]);
    let text = b"a hunter2-hunter2 b hunter2-hunter2hunter2-hunter2\nhunter2-hunter hunter2-hunter2-hunter2";
    let want = "a [secret token] b [secret token][secret token]\nhunter2-hunter [secret token]";
    assert_eq!(masked(&one, [text.as_slice()]), want);
    assert_eq!(masked(&one, text.chunks(1)), want);
    for first in 0..=text.len() {
        for second in first..=text.len() {
            let pieces = [&text[..first], &text[first..second], &text[second..]];
            assert_eq!(masked(&one, pieces), want, "{first} {second}");
        }
    }
}

#[test]
fn what_cannot_become_a_secret_is_shown_at_once() {
    let one = secrets(&[("token", "hunter2-hunter2")]);
    let (mask, mut stream) = (Mask::of(&one), Masked::default());
    assert_eq!(stream.take(&mask, b"Password: "), b"Password: ");
    assert_eq!(stream.take(&mask, b"hunter2-hunter2"), b"[secret token]", "a whole one needs no byte more");
    assert_eq!(stream.take(&mask, b"the hunt"), b"the ");
    assert_eq!(stream.held(), 4);
    assert_eq!(stream.take(&mask, b" is over"), b"hunt is over");
    assert_eq!(stream.take(&mask, b"hunter2"), b"");
    assert_eq!(stream.finish(&mask), b"hunter2", "the end shows that it was none");
}

#[test]
fn each_long_line_of_a_secret_is_hidden_and_a_short_one_is_not() {
    let key = secrets(&[("key", "-----BEGIN KEY-----\nabcdefgh\r\nshort\nijklmnopq\n")]);
    let text = b"> abcdefgh\nshort\n-----BEGIN KEY-----\nabcdefgh\r\nshort\nijklmnopq\n<";
    assert_eq!(masked(&key, [text.as_slice()]), "> [secret key]\nshort\n[secret key]<");
    assert_eq!(masked(&key, text.chunks(1)), "> [secret key]\nshort\n[secret key]<");
}

#[test]
fn secrets_within_and_across_each_other_leave_no_byte() {
    let all = secrets(&[("a", "abcdefgh"), ("b", "efghijklm"), ("c", "xxabcdefghxx"), ("d", "aaaaaaaa")]);
    for (text, want) in [
        ("abcdefghijklm", "[secret a]"),
        ("xxabcdefghxx", "[secret c]"),
        ("xxabcdefghxy", "xx[secret a]xy"),
        ("abcdefghefghijklm", "[secret a][secret b]"),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaab", "[secret d]b"),
        ("aaaaaaa", "aaaaaaa"),
    ] {
        assert_eq!(masked(&all, [text.as_bytes()]), want, "{text}");
        assert_eq!(masked(&all, text.as_bytes().chunks(1)), want, "{text}");
        assert_eq!(naive(&all, text.as_bytes()), want, "{text}");
    }
    let twins = secrets(&[("first", "the same value"), ("second", "the same value")]);
    assert_eq!(masked(&twins, [b"the same value".as_slice()]), "[secret first]");
}

#[test]
fn no_secrets_change_nothing() {
    assert_eq!(masked(&Secrets::default(), [b"[secret token]\n".as_slice()]), "[secret token]\n");
}

/// A seeded generator (xorshift64*), so that a failure comes again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }

    fn text(&mut self, letters: &[u8], length: usize) -> Vec<u8> {
        (0..length).map(|_| letters[self.below(letters.len())]).collect()
    }
}

#[test]
fn twenty_thousand_random_streams_are_masked_as_a_simple_search_does() {
    let mut dice = Dice(0x5eed);
    let mut hidden = 0;
    for round in 0..20_000 {
        let mut all = Secrets::default();
        for name in ["a", "b", "c"].iter().take(1 + dice.below(3)) {
            let length = 8 + dice.below(12);
            let letters: &[u8] = if dice.below(2) == 0 { b"ab" } else { b"ab\n" };
            let mut value = String::from_utf8(dice.text(letters, length)).unwrap();
            if value.lines().all(|line| line.len() < 8) {
                // None such is a secret.
                value.extend(dice.text(b"ab", 8).into_iter().map(char::from));
            }
            all.add(name.parse().unwrap(), value).unwrap();
        }
        let mut text = Vec::new();
        while text.len() < 60 {
            if dice.below(2) == 0 {
                let which = dice.below(all.names().len());
                text.extend(all.iter().nth(which).unwrap().1.bytes());
            } else {
                let length = dice.below(8);
                text.extend(dice.text(b"ab\nx", length));
            }
        }
        let (mut pieces, mut rest) = (Vec::new(), text.as_slice());
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at((1 + dice.below(9)).min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        let want = naive(&all, &text);
        hidden += usize::from(want.contains("[secret"));
        assert_eq!(masked(&all, pieces), want, "round {round}: {:?} in {text:?}", all.iter().collect::<Vec<_>>());
    }
    assert!(hidden > 15_000, "{hidden} of them had a secret");
}
