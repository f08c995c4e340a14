//! Versions of a runbook: writing the moment of a new one into its declaration, and choosing the newest of a name.
//!
//! Not here: signing it, and who counts as its author (`runbook`).

use super::{Runbook, block};
use crate::invalid::{Fault, Invalid, malformed};
use crate::limits::RUNBOOK_BYTES_MAX;
use crate::reader::Reader;
use crate::{RunbookName, Timestamp, sshsig};
use serde::Deserialize;
use toml::{Spanned, value::Datetime};

/// The one member that is looked at; the rest is judged when all of it is read.
#[derive(Deserialize)]
struct Issued {
    issued: Option<Spanned<Datetime>>,
}

/// The script with `now`, in whole seconds, as the `issued` of its declaration, in the place of the one that is there or else in
/// a line of its own below the block's first. No other byte changes.
///
/// # Errors
/// When the script is no runbook apart from that, or has an `issued` later than `now`: then a clock is wrong, and the new version
/// would not be the newest.
pub fn issue(script: &[u8], now: Timestamp) -> Result<Vec<u8>, Invalid> {
    let text = sshsig::text(script, RUNBOOK_BYTES_MAX).map_err(|invalid| invalid.of("the runbook"))?;
    let issued = with_issued(text, now.whole_second()).map_err(|invalid| invalid.of("the runbook"))?.into_bytes();
    let runbook = Runbook::parse(&issued)?;
    if runbook.issued != now.whole_second() {
        return Err(malformed("the runbook: its `issued` could not be written: write it by hand"));
    }
    Ok(issued)
}

fn with_issued(text: &str, now: Timestamp) -> Result<String, Invalid> {
    let unplaced = || malformed("its declaration has no place for `issued`: write it by hand");
    let declared = block::declaration(text)?;
    let reader = Reader::new(&declared);
    let Issued { issued } = reader.document()?;
    let (place, written) = match issued {
        Some(issued) => {
            let before = reader.moment(&issued)?;
            if before > now {
                let sentence =
                    format!("was issued at {before}, and the clock here says {now}: set the clock that is wrong");
                return Err(reader.at(issued.span(), Invalid::new(Fault::Clock, sentence)));
            }
            let start = block::in_script(text, &declared, issued.span().start).ok_or_else(unplaced)?;
            (start..start.saturating_add(issued.span().len()), now.to_string())
        }
        None => {
            let (comment, start) = block::behind_opening(text).ok_or_else(unplaced)?;
            (start..start, format!("{comment} issued = {now}\n"))
        }
    };
    let (Some(before), Some(behind)) = (text.get(..place.start), text.get(place.end..)) else { return Err(unplaced()) };
    Ok([before, &written, behind].concat())
}

/// The version that a name means: the one with the newest `issued`. Give only runbooks whose signatures count. The same version
/// twice, by two authors, is one.
///
/// # Errors
/// `Malformed` when none has this name; `Mismatch` when two different versions are equally new.
pub fn newest<'r>(runbooks: impl IntoIterator<Item = &'r Runbook>, name: &RunbookName) -> Result<&'r Runbook, Invalid> {
    let mut named: Vec<&Runbook> = runbooks.into_iter().filter(|runbook| runbook.name == *name).collect();
    named.sort_by_key(|runbook| (runbook.issued, runbook.version));
    named.dedup_by_key(|runbook| runbook.version);
    let Some(newest) = named.pop() else {
        return Err(malformed(format!("there is no runbook {name}: look at `belay runbook list`")));
    };
    match named.pop().filter(|other| other.issued == newest.issued) {
        None => Ok(newest),
        Some(other) => {
            let sentence = format!(
                "two versions of the runbook {name} were issued at {}, {} and {}: say which by its hash",
                newest.issued, other.version, newest.version
            );
            Err(Invalid::new(Fault::Mismatch, sentence))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runbook::tests::EXAMPLE;

    fn now() -> Timestamp {
        "2026-11-22T10:00:00.75Z".parse().unwrap()
    }

    fn issued(script: &str) -> String {
        String::from_utf8(issue(script.as_bytes(), now()).unwrap()).unwrap()
    }

    #[test]
    fn the_moment_is_written_in_the_place_of_the_old_one_and_no_other_byte_changes() {
        assert_eq!(issued(EXAMPLE), EXAMPLE.replacen("2026-11-21T09:00:00Z", "2026-11-22T10:00:00Z", 1));
        for (comment, line) in [
            ("#", "#issued=2026-11-21T09:00:00.123456Z# why"),
            ("#", "#  issued  =  2026-11-21 09:00:00Z\t# 2026-11-21T09:00:00Z"),
            ("//", "// \"issued\" = 2026-11-21T09:00:00Z"),
            ("--", "-- issued = 1970-01-01T00:00:00Z"),
            (";", "; issued = 2026-11-22T10:00:00Z"),
        ] {
            let head = format!(
                "#!/bin/x\n\u{fc}\u{1f980} issued = 2026-11-21T09:00:00Z\n{comment} /// belay\n{comment} name = \"\u{78}\"\n{comment} description = \"\u{fc} issued = 2026-11-21T09:00:00Z\"\n"
            );
            let rest = format!("\n{comment} ///\nissued = 2026-11-21T09:00:00Z\n\n  no line end");
            let is = issued(&format!("{head}{line}{rest}"));
            let middle = is.strip_prefix(&head).and_then(|is| is.strip_suffix(&rest)).unwrap();
            let (before, behind) = middle.split_once("2026-11-22T10:00:00Z").unwrap();
            assert!(
                line.starts_with(before) && line.ends_with(behind) && !behind.starts_with(['0', '.', 'Z']),
                "{middle}"
            );
        }
    }

    #[test]
    fn a_declaration_without_a_moment_gets_it_below_its_first_line() {
        let line = "# issued = 2026-11-21T09:00:00Z\n";
        let without = EXAMPLE.replacen(line, "", 1);
        assert!(without.len() < EXAMPLE.len());
        let is = issued(&without);
        let place = is.find("# issued = 2026-11-22T10:00:00Z\n").unwrap();
        assert!(is[..place].ends_with("# /// belay\n"));
        assert_eq!(is.replacen("# issued = 2026-11-22T10:00:00Z\n", "", 1), without);
    }

    #[test]
    fn what_is_no_runbook_or_was_issued_later_is_refused() {
        let refused = |script: &str| issue(script.as_bytes(), now()).unwrap_err();
        let later = refused(&EXAMPLE.replacen("2026-11-21T09:00:00Z", "2026-11-22T10:00:01Z", 1));
        assert_eq!(later.fault, Fault::Clock);
        assert!(later.sentence.contains("line ") && later.sentence.contains("set the clock"), "{later}");
        for script in [
            EXAMPLE.replacen("2026-11-21T09:00:00Z", "\"yesterday\"", 1),
            EXAMPLE.replacen("2026-11-21T09:00:00Z", "2026-11-21", 1),
            EXAMPLE.replacen("name = ", "nome = ", 1),
            EXAMPLE.replace('\n', "\r\n"),
            "#!/bin/sh\ntrue\n".to_owned(),
            String::new(),
        ] {
            assert_eq!(refused(&script).fault, Fault::Malformed, "{script}");
        }
    }

    #[test]
    fn a_name_means_its_newest_version_and_never_one_of_two() {
        let version = |issued: &str, tail: &str| {
            let text = EXAMPLE.replacen("2026-11-21T09:00:00Z", issued, 1) + tail;
            Runbook::parse(text.as_bytes()).unwrap()
        };
        let (old, new) = (version("2026-11-21T09:00:00Z", ""), version("2026-11-22T09:00:00Z", ""));
        let name = &old.name;
        assert_eq!(newest([&new, &old, &new], name).unwrap().version, new.version);
        let twin = version("2026-11-22T09:00:00Z", "# another\n");
        let refused = newest([&twin, &old, &new], name).unwrap_err();
        assert_eq!(refused.fault, Fault::Mismatch);
        assert!([&twin, &new].iter().all(|one| refused.sentence.contains(&one.version.to_string())), "{refused}");
        let newer = version("2026-11-23T09:00:00Z", "");
        assert_eq!(newest([&twin, &newer, &new], name).unwrap().version, newer.version, "the twins are old");
        assert!(newest([&old], &"other".parse().unwrap()).unwrap_err().sentence.contains("no runbook other"));
    }
}
