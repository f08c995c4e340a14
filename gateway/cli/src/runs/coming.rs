//! What a device prints, shown line by line as it comes, and held against what the device stated once all of it is here.
//!
//! Until then nothing proves that the lines are the device's: they are the gateway's word, as all that is told of a job under way.

use super::{job::Run, output::Lines, readers::Keys};
use crate::{
    failure::{Outcome, refused},
    limits::LINE_HELD_MAX,
};
use belay_certs::{
    DeviceAddress, DeviceName, Digest, Digester, Id,
    limits::OUTPUT_BYTES_MAX,
    output::{LINE_BYTES_MAX, Line, Read},
};
use serde::Deserialize;

/// A part of a device's file, as `job --follow --output --json` tells it.
#[derive(Debug, Deserialize)]
pub struct Part {
    /// Of which job.
    pub job: Id,
    /// Whose.
    pub device: DeviceName,
    /// Where in the file it begins, in bytes.
    at: u64,
    output: String,
}

/// A device's file, as far as it has come.
pub struct Coming {
    lines: Lines,
    /// Bytes that have come.
    have: u64,
    digest: Digester,
    /// The beginning of a line.
    half: Vec<u8>,
    /// Whether no more of it is shown, for something was wrong with it.
    is_lost: bool,
    /// Bytes that the script wrote, as far as they were opened.
    inside: u64,
    /// The moment of the newest line, and whether one was a cut.
    at: u64,
    was_cut: bool,
}

impl Coming {
    /// Nothing yet.
    pub fn from(device: DeviceAddress) -> Self {
        let (lines, digest, half) = (Lines::of(device), Digester::default(), Vec::new());
        Self { lines, have: 0, digest, half, is_lost: false, inside: 0, at: 0, was_cut: false }
    }

    /// Takes the next part, or one again after a lost connection: the lines that are whole now.
    ///
    /// # Errors
    /// Something before it is missing, it is too much, no output, or no key here opens it; once, for no more is shown then.
    pub fn take(&mut self, part: &Part, keys: &Keys<'_>) -> Outcome<Vec<String>> {
        let bytes = part.output.as_bytes();
        let known = usize::try_from(self.have.saturating_sub(part.at)).unwrap_or(usize::MAX).min(bytes.len());
        let fresh = bytes.get(known..).unwrap_or_default();
        if self.is_lost || fresh.is_empty() {
            return Ok(Vec::new());
        }
        let shown = self.add(part.at, fresh, keys);
        self.is_lost = shown.is_err();
        shown
    }

    fn add(&mut self, at: u64, fresh: &[u8], keys: &Keys<'_>) -> Outcome<Vec<String>> {
        let device = &self.lines.device;
        if at > self.have {
            return Err(refused(format!("{device}: the gateway left out what it printed before byte {at}")));
        }
        let have = self.have.saturating_add(u64::try_from(fresh.len()).unwrap_or(u64::MAX));
        let end = fresh.iter().rposition(|byte| *byte == b'\n').map(|end| end.saturating_add(1));
        let (whole, rest) = fresh.split_at_checked(end.unwrap_or(0)).unwrap_or((&[], fresh));
        let half = if end.is_some() { rest.len() } else { self.half.len().saturating_add(rest.len()) };
        if have > OUTPUT_BYTES_MAX || half > LINE_BYTES_MAX {
            return Err(refused(format!("{device}: what the gateway tells of its output is longer than any output")));
        }
        self.have = have;
        self.digest.add(fresh);
        self.half.extend_from_slice(whole);
        let whole = if end.is_some() { std::mem::take(&mut self.half) } else { Vec::new() };
        self.half.extend_from_slice(rest);
        let read = keys.read(device, &whole)?;
        self.follows(&read)?;
        let mut shown = self.lines.take(read);
        if self.lines.waiting() > LINE_HELD_MAX {
            shown.extend(self.lines.end());
        }
        Ok(shown)
    }

    /// What holds for the whole of a file holds across its parts: no more inside than any output has, one cut, and never earlier
    /// than before.
    fn follows(&mut self, read: &Read) -> Outcome {
        let device = &self.lines.device;
        self.inside = self.inside.saturating_add(read.kept());
        if self.inside > OUTPUT_BYTES_MAX {
            return Err(refused(format!("{device}: there is more inside its output than {OUTPUT_BYTES_MAX} bytes")));
        }
        for line in &read.lines {
            let is_cut = matches!(line, Line::Cut { .. });
            if line.at() < self.at || is_cut && self.was_cut {
                return Err(refused(format!("{device}: its output goes back in time, or was cut twice")));
            }
            (self.at, self.was_cut) = (line.at(), self.was_cut || is_cut);
        }
        Ok(())
    }

    /// Whether all has come that the device stated.
    pub fn is_whole(&self, run: &Run) -> bool {
        run.output_bytes.is_some_and(|stated| stated <= self.have)
    }

    /// The end of the device's part: the last line, if its end is missing, and what is to be said about all of them unless they
    /// are what the device stated.
    pub fn end(mut self, run: &Run) -> (Vec<String>, Option<String>) {
        let device = self.lines.device.clone();
        let missing = run.output_bytes.unwrap_or(0).saturating_sub(self.have);
        let digest = self.digest.finish();
        let warning = match (run.output, run.output_deleted) {
            _ if self.is_lost => Some(format!("{device}: what was shown of it is not all, and not proved")),
            (_, Some(at)) => {
                Some(format!("{device}: what it printed was deleted at {at}: what was shown is not proved"))
            }
            _ if missing > 0 => {
                Some(format!("{device}: this is not all, and not proved: {missing} bytes have not come"))
            }
            (Some(stated), None) if stated != digest => Some(disproved(&device, &digest, &stated)),
            (Some(_), None) => None,
            (None, None) => Some(format!("{device}: what was shown is not proved: it has not stated what it printed")),
        };
        (self.lines.end(), warning)
    }
}

fn disproved(device: &DeviceAddress, came: &Digest, stated: &Digest) -> String {
    format!("{device}: do not believe what was shown: what the gateway gave is {came}, but the device stated {stated}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::stage::Stage;
    use belay_certs::output::Stream;
    use serde_json::json;

    const FILE: &str = "1 o b25lCnR3\n2 e b2gK\n3 o bwplbmQ=\n";

    fn part(at: usize, text: &str) -> Part {
        let job = "0f".repeat(16);
        serde_json::from_value(json!({"job": job, "device": "web1", "at": at, "output": text})).unwrap()
    }

    fn run(digest: Digest, bytes: usize) -> Run {
        let run = json!({"device": "web1", "serial": 7, "state": "succeeded", "output": digest, "output_bytes": bytes});
        serde_json::from_value(run).unwrap()
    }

    fn coming() -> Coming {
        Coming::from("web1.acme".parse().unwrap())
    }

    #[test]
    fn lines_are_shown_as_they_become_whole_and_once_however_often_their_bytes_come() {
        let stage = Stage::new();
        let keys = Keys::of(&stage.home, None);
        for cut in 0..FILE.len() {
            let mut coming = coming();
            let mut lines = coming.take(&part(0, &FILE[..cut]), &keys).unwrap();
            // The connection was lost: all of it comes again.
            lines.extend(coming.take(&part(0, FILE), &keys).unwrap());
            assert_eq!(lines, ["web1.acme | one", "web1.acme ! oh", "web1.acme | two"], "{cut}");
            let run = run(Digest::of(FILE.as_bytes()), FILE.len());
            assert!(coming.is_whole(&run));
            assert_eq!(coming.end(&run), (vec!["web1.acme | end".to_owned()], None), "{cut}");
        }
    }

    #[test]
    fn what_is_not_what_the_device_stated_is_called_so_and_what_is_missing_too() {
        let stage = Stage::new();
        let keys = Keys::of(&stage.home, None);
        let come = |text: &str| {
            let mut coming = coming();
            coming.take(&part(0, text), &keys).unwrap();
            coming
        };
        let stated = run(Digest::of(FILE.as_bytes()), FILE.len());
        let other = FILE.replace("b2gK", "b2hL");
        assert!(come(&other).end(&stated).1.unwrap().contains("do not believe"));
        let short = come(&FILE[..20]);
        let left = format!("{} bytes have not come", FILE.len() - 20);
        assert!(!short.is_whole(&stated) && short.end(&stated).1.unwrap().contains(&left));
    }

    #[test]
    fn a_gap_and_what_is_no_output_are_refused_once() {
        let stage = Stage::new();
        let keys = Keys::of(&stage.home, None);
        for (at, text, said) in [(5, "x", "left out"), (0, "what\n", "line 1 of the output")] {
            let mut coming = coming();
            let refused = coming.take(&part(at, text), &keys).unwrap_err();
            assert!(refused.sentence().contains(said), "{refused:?}");
            assert!(coming.take(&part(0, FILE), &keys).unwrap().is_empty());
            assert!(coming.end(&run(Digest::of(b""), 0)).1.unwrap().contains("not proved"));
        }
    }

    #[test]
    fn what_holds_for_a_whole_file_holds_across_its_parts() {
        let stage = Stage::new();
        let keys = Keys::of(&stage.home, None);
        for second in ["1 o YQ==\n", "3 x 4\n"] {
            let mut coming = coming();
            coming.take(&part(0, "2 x 7\n"), &keys).unwrap();
            assert!(
                coming.take(&part(6, second), &keys).unwrap_err().sentence().contains("back in time, or was cut twice")
            );
        }
        let mut coming = coming();
        let long = "x".repeat(LINE_BYTES_MAX + 1);
        assert!(coming.take(&part(0, &long), &keys).unwrap_err().sentence().contains("longer than any output"));
    }

    #[test]
    fn a_line_without_an_end_is_not_held_for_ever() {
        let stage = Stage::new();
        let keys = Keys::of(&stage.home, None);
        let mut coming = coming();
        let piece = Line::Piece { at: 1, stream: Stream::Out, bytes: vec![b'.'; 4_096] }.to_text();
        let mut shown = Vec::new();
        for place in 0..=LINE_HELD_MAX / 4_096 {
            shown.extend(coming.take(&part(place * piece.len(), &piece), &keys).unwrap());
        }
        assert_eq!(shown.len(), 1);
    }

    #[test]
    fn what_nobody_stated_or_was_deleted_is_called_so() {
        let stage = Stage::new();
        let keys = Keys::of(&stage.home, None);
        for (more, said) in [
            (json!({"output": null}), "has not stated"),
            (json!({"output_deleted": "2026-11-22T10:00:00Z"}), "was deleted at 2026-11-22"),
        ] {
            let mut run = json!({"device": "web1", "serial": 7, "state": "succeeded", "output": Digest::of(b"")});
            run.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let mut coming = coming();
            coming.take(&part(0, FILE), &keys).unwrap();
            let warning = coming.end(&serde_json::from_value(run).unwrap()).1.unwrap();
            assert!(warning.contains(said), "{warning}");
        }
    }
}
