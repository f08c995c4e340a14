//! Lines in pages, as an index keeps them: the words of a page, which are looked up, and its lines packed, which are read
//! once its words were found. So an index has a row a page, not a row a line.
//!
//! Both ends say here what a word is, so that whoever finds a page by its words finds the line in it. Not here: the index
//! itself, which is a full-text table of whoever searches.

use super::Line;
use crate::invalid::{Fault, Invalid, malformed};
use crate::limits::{PAGE_BYTES, PAGE_BYTES_MAX, SEARCH_WORDS_MAX};
use std::fmt::{self, Write as _};
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// zstd's fastest ordinary level.
const LEVEL: i32 = 1;
/// Stands between the words of two lines, so that no words next to each other are of both. It is no letter, so no word has
/// it; and SQLite's tokenizer `ascii` takes it for one, as all that is not ASCII.
const BETWEEN: &str = " ¶ ";

/// Lines as an index keeps them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Their words in order, for a table that SQLite's tokenizer `ascii` reads.
    pub words: String,
    /// The lines themselves, for [`unpack`].
    pub packed: Vec<u8>,
}

/// Lines on their way into pages of about [`PAGE_BYTES`].
#[derive(Default)]
pub struct Pages {
    words: String,
    /// A line each: the milliseconds, a space, the text.
    lines: String,
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").field("bytes", &self.lines.len()).finish_non_exhaustive()
    }
}

impl Pages {
    /// Takes the next line: the page that is full with it.
    ///
    /// # Errors
    /// It cannot be packed, for want of memory.
    pub fn add(&mut self, line: &Line) -> Result<Option<Page>, Invalid> {
        // The words of what is kept, no more: an index takes them out again by what `words_of` reads from that.
        let text = line.text.get(..line.text.floor_char_boundary(PAGE_BYTES)).unwrap_or_default();
        if !self.words.is_empty() {
            self.words.push_str(BETWEEN);
        }
        words(text, &mut self.words);
        // Nothing that is written to a `String` fails.
        let _ = write!(self.lines, "{} ", line.at_ms);
        let from = self.lines.len();
        self.lines.push_str(text);
        if self.lines.get(from..).is_some_and(|text| text.contains('\n')) {
            let flat = self.lines.split_off(from).replace('\n', " ");
            self.lines.push_str(&flat);
        }
        self.lines.push('\n');
        if self.lines.len() < PAGE_BYTES { Ok(None) } else { self.finish() }
    }

    /// What is left when there are no more lines; none without one.
    ///
    /// # Errors
    /// As [`Pages::add`].
    pub fn finish(&mut self) -> Result<Option<Page>, Invalid> {
        if self.lines.is_empty() {
            return Ok(None);
        }
        let packed = zstd::bulk::compress(self.lines.as_bytes(), LEVEL);
        let packed = packed.map_err(|error| malformed(format!("lines were not packed: {error}")))?;
        self.lines.clear();
        Ok(Some(Page { words: std::mem::take(&mut self.words), packed }))
    }
}

/// The lines of a page.
///
/// # Errors
/// It is none.
pub fn unpack(packed: &[u8]) -> Result<Vec<Line>, Invalid> {
    let broken = || malformed("a page of the index is broken");
    let lines = zstd::bulk::decompress(packed, PAGE_BYTES_MAX).map_err(|_| broken())?;
    let lines = String::from_utf8(lines).map_err(|_| broken())?;
    let line = |line: &str| {
        let (at_ms, text) = line.split_once(' ')?;
        Some(Line { at_ms: at_ms.parse().ok()?, text: text.to_owned() })
    };
    lines.lines().map(line).collect::<Option<_>>().ok_or_else(broken)
}

/// The words of a page, exactly as they were when it was made.
///
/// # Errors
/// It is none.
pub fn words_of(packed: &[u8]) -> Result<String, Invalid> {
    let mut all = String::new();
    for line in unpack(packed)? {
        if !all.is_empty() {
            all.push_str(BETWEEN);
        }
        words(&line.text, &mut all);
    }
    Ok(all)
}

/// Words that are looked for next to each other, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phrase {
    /// The words, a space around each.
    words: String,
}

impl Phrase {
    /// The words of `text`; none when it has none.
    ///
    /// # Errors
    /// It has more than [`SEARCH_WORDS_MAX`].
    pub fn new(text: &str) -> Result<Option<Self>, Invalid> {
        let mut all = " ".to_owned();
        words(text, &mut all);
        let all = format!(" {} ", all.trim());
        let count = all.split_whitespace().count();
        if count > SEARCH_WORDS_MAX {
            let sentence = format!("{count} words are looked for: give at most {SEARCH_WORDS_MAX} of them");
            return Err(Invalid::new(Fault::TooLarge, sentence));
        }
        Ok((count > 0).then_some(Self { words: all }))
    }

    /// As FTS5 wants it after `MATCH`.
    pub fn query(&self) -> String {
        format!("\"{}\"", self.words.trim())
    }

    /// The lines of a page that hold it.
    ///
    /// # Errors
    /// It is no page.
    pub fn lines(&self, packed: &[u8]) -> Result<Vec<Line>, Invalid> {
        let mut line_words = String::new();
        let mut lines = unpack(packed)?;
        lines.retain(|line| {
            line_words.clear();
            line_words.push(' ');
            words(&line.text, &mut line_words);
            line_words.push(' ');
            line_words.contains(&self.words)
        });
        Ok(lines)
    }
}

/// Appends the words of `text`, a space between two: letters and digits in a row, small, without accents.
fn words(text: &str, to: &mut String) {
    let mut apart = false;
    let mut rest = text;
    // Whether a word goes on depends on `to` having ended with a letter of this text.
    let start = to.len();
    let take = |c: char, apart: &mut bool, to: &mut String| {
        if !c.is_alphanumeric() {
            *apart = true;
            return;
        }
        if std::mem::take(apart) && to.len() > start {
            to.push(' ');
        }
        to.extend(c.to_lowercase().filter(|c| !is_combining_mark(*c)));
    };
    while let Some(c) = rest.chars().next() {
        let ascii = rest.bytes().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let (word, other) = rest.split_at(ascii);
        if word.is_empty() {
            if c.is_ascii() {
                apart = true;
            } else {
                // An accent is part of its letter, as if it had come with it.
                c.nfkd().filter(|c| !is_combining_mark(*c)).for_each(|c| take(c, &mut apart, to));
            }
            rest = other.get(c.len_utf8()..).unwrap_or_default();
            continue;
        }
        if std::mem::take(&mut apart) && to.len() > start {
            to.push(' ');
        }
        let from = to.len();
        to.push_str(word);
        if let Some(added) = to.get_mut(from..) {
            added.make_ascii_lowercase();
        }
        rest = other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at_ms: u64, text: &str) -> Line {
        Line { at_ms, text: text.to_owned() }
    }

    fn page(lines: &[Line]) -> Page {
        let mut pages = Pages::default();
        for line in lines {
            assert_eq!(pages.add(line).unwrap(), None);
        }
        pages.finish().unwrap().unwrap()
    }

    fn found(text: &str, lines: &[Line]) -> Vec<u64> {
        let sought = Phrase::new(text).unwrap().unwrap();
        sought.lines(&page(lines).packed).unwrap().iter().map(|line| line.at_ms).collect()
    }

    #[test]
    fn a_word_is_letters_and_digits_whatever_their_size_and_accents() {
        for (text, expected) in [
            ("rm -rf /var/cache", "rm rf var cache"),
            ("Zürich ZU\u{308}RICH, ﬁne", "zurich zurich fine"),
            ("10.3.4.5:80", "10 3 4 5 80"),
            ("ÅB東京x", "ab東京x"),
            ("a\u{301}b \u{301}c ½ İ", "ab c 1 2 i"),
            ("¶ -- \"'*", ""),
        ] {
            let mut all = String::new();
            words(text, &mut all);
            assert_eq!(all, expected, "{text}");
        }
    }

    #[test]
    fn words_next_to_each_other_are_found_in_one_line_and_never_across_two() {
        let lines = [line(1, "the disk is full"), line(2, "stop: Disk IS"), line(3, "full throttle")];
        assert_eq!(found("disk is", &lines), [1, 2]);
        assert_eq!(found("/disk/is/", &lines), [1, 2]);
        assert_eq!(found("is full", &lines), [1]);
        assert_eq!(found("dis", &lines), [] as [u64; 0]);
        assert_eq!(page(&lines).words, "the disk is full ¶ stop disk is ¶ full throttle");
        assert_eq!(Phrase::new("is \"full").unwrap().unwrap().query(), "\"is full\"");
        assert_eq!(Phrase::new(" -- ¶").unwrap(), None);
        let many = "word ".repeat(SEARCH_WORDS_MAX);
        assert!(Phrase::new(&many).unwrap().is_some());
        assert!(Phrase::new(&format!("{many} more")).unwrap_err().sentence.contains("at most"));
    }

    #[test]
    fn pages_come_out_as_they_went_in_and_none_is_larger_than_it_may_be() {
        let long = "Long – ".repeat(PAGE_BYTES);
        let lines: Vec<Line> = (0..5_000)
            .map(|number| line(number * 7, &format!("--- line {number} of ☃ many")))
            .chain([line(u64::MAX, &long), line(9, "two\nlines"), line(10, "")])
            .collect();
        let (mut pages, mut made) = (Pages::default(), Vec::new());
        for line in &lines {
            made.extend(pages.add(line).unwrap());
        }
        made.extend(pages.finish().unwrap());
        let again: Vec<Line> = made.iter().flat_map(|page| unpack(&page.packed).unwrap()).collect();
        assert_eq!(again.len(), lines.len());
        assert_eq!(again[..5_000], lines[..5_000]);
        assert!(long.starts_with(&again[5_000].text) && again[5_000].text.len() > PAGE_BYTES - 4);
        assert_eq!((again[5_001].text.as_str(), again[5_002].text.as_str()), ("two lines", ""));
        for page in &made {
            assert_eq!(words_of(&page.packed).unwrap(), page.words);
        }
        assert!(unpack(b"nothing").is_err() && unpack(&zstd::bulk::compress(b"x y\n", 1).unwrap()).is_err());
        assert_eq!(pages.finish().unwrap(), None);
    }
}
