//! What scripts printed, made harmless for a terminal: each line behind the name of its device.
//!
//! `web1.acme | ` is standard output, `web1.acme ! ` standard error. Not here: the format of the file (`certs`).

use crate::{
    failure::{Outcome, refused},
    gateway::Gateway,
    runs::{job::Run, readers::Keys},
    screen::escape_lines,
};
use belay_certs::{
    DeviceAddress, Digest, Id,
    output::{Line, Read, Stream},
};

/// What a device printed, as far as the gateway has it.
#[derive(Debug, PartialEq, Eq)]
pub struct Printed {
    /// The lines, harmless.
    pub lines: Vec<String>,
    /// Bytes of the file that have not come yet: until all have, nothing proves that the lines are the device's.
    pub missing: u64,
}

/// Fetches a device's output, opens it with `keys` where it is sealed, and holds it against the digest and the length that the device stated, if it did.
///
/// # Errors
/// The gateway has none, it does not read, no key opens it, or it is whole and not what the device stated.
pub fn fetch(
    gateway: &Gateway<'_>,
    job: &Id,
    (device, run): (&DeviceAddress, &Run),
    keys: &Keys<'_>,
) -> Outcome<Printed> {
    let name = device.device.as_str();
    let file = gateway.run(&["job", &job.to_string(), "--device", name, "--output"], &[])?;
    let missing = run.output_bytes.unwrap_or(0).saturating_sub(file.len() as u64);
    if let Some(stated) = run.output.filter(|stated| missing == 0 && *stated != Digest::of(&file)) {
        return Err(refused(format!(
            "{device}: what the gateway has of its output is {}, but the device stated {stated}: it is not shown",
            Digest::of(&file)
        )));
    }
    Ok(Printed { lines: lines(device, &file, keys)?, missing })
}

impl Printed {
    /// What is to be said beside the lines.
    pub fn warning(&self, device: &DeviceAddress) -> Option<String> {
        let missing = self.missing;
        (missing > 0)
            .then(|| format!("{device}: this is not all, and not proved: {missing} bytes are still with the device"))
    }
}

/// The lines of an output file, as far as it is there.
///
/// # Errors
/// It is no output file, or sealed, and no key opens it.
pub fn lines(device: &DeviceAddress, file: &[u8], keys: &Keys<'_>) -> Outcome<Vec<String>> {
    Ok(shown(device, keys.read(device, file)?))
}

/// The lines of what is open.
fn shown(device: &DeviceAddress, read: Read) -> Vec<String> {
    let mut lines = Lines::of(device.clone());
    let mut shown = lines.take(read);
    shown.extend(lines.end());
    shown
}

/// Pieces on their way to lines.
pub struct Lines {
    /// Whose.
    pub device: DeviceAddress,
    whole: Vec<String>,
    /// What has come of a line of standard output.
    out: Vec<u8>,
    /// What has come of a line of standard error.
    err: Vec<u8>,
}

impl Lines {
    /// Nothing yet.
    pub fn of(device: DeviceAddress) -> Self {
        Self { device, whole: Vec::new(), out: Vec::new(), err: Vec::new() }
    }

    /// Takes what comes next: the lines that are whole now.
    pub fn take(&mut self, read: Read) -> Vec<String> {
        for line in read.lines {
            match line {
                Line::Piece { stream, bytes, .. } => self.add(stream, &bytes),
                Line::Cut { dropped, .. } => {
                    self.cut_off();
                    self.whole.push(format!("{} … {dropped} bytes were not kept", self.device));
                }
                // It was opened.
                Line::Sealed { .. } => {}
            }
        }
        std::mem::take(&mut self.whole)
    }

    /// Bytes of lines that nothing has ended yet.
    pub fn waiting(&self) -> usize {
        self.out.len().saturating_add(self.err.len())
    }

    /// What is left: lines that nothing ended.
    pub fn end(&mut self) -> Vec<String> {
        self.cut_off();
        std::mem::take(&mut self.whole)
    }

    fn add(&mut self, stream: Stream, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let pending = match stream {
                Stream::Out => &mut self.out,
                Stream::Err => &mut self.err,
            };
            pending.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let whole = std::mem::take(pending);
                self.push(stream, &whole);
            }
        }
    }

    fn cut_off(&mut self) {
        for (stream, rest) in
            [(Stream::Out, std::mem::take(&mut self.out)), (Stream::Err, std::mem::take(&mut self.err))]
        {
            if !rest.is_empty() {
                self.push(stream, &rest);
            }
        }
    }

    fn push(&mut self, stream: Stream, line: &[u8]) {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mark = match stream {
            Stream::Out => '|',
            Stream::Err => '!',
        };
        let text = String::from_utf8_lossy(line);
        // Only tabs stay: a line end inside is none of the script's.
        self.whole.push(format!("{} {mark} {}", self.device, escape_lines(&text)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use belay_certs::output::read_cut_off;

    fn of(file: &[u8]) -> Vec<String> {
        super::shown(&"web1.acme".parse().unwrap(), read_cut_off(file).unwrap())
    }

    fn shown(pieces: &[(Stream, &[u8])]) -> Vec<String> {
        let file: String = pieces
            .iter()
            .map(|(stream, bytes)| Line::Piece { at: 1, stream: *stream, bytes: bytes.to_vec() }.to_text())
            .collect();
        of(file.as_bytes())
    }

    #[test]
    fn pieces_become_lines_behind_the_devices_name() {
        let pieces: [(Stream, &[u8]); 4] =
            [(Stream::Out, b"one\ntw"), (Stream::Err, b"oh\r\n"), (Stream::Out, b"o\n\n"), (Stream::Out, b"three")];
        let expected = ["web1.acme | one", "web1.acme ! oh", "web1.acme | two", "web1.acme | ", "web1.acme | three"];
        assert_eq!(shown(&pieces), expected);
    }

    #[test]
    fn what_a_script_prints_cannot_move_the_cursor_or_forge_a_device() {
        let hostile: &[u8] = b"\x1b[2J\rweb2.acme | fine\xff\n";
        assert_eq!(shown(&[(Stream::Out, hostile)]), ["web1.acme | \\u{1b}[2J\\u{d}web2.acme | fine\u{fffd}"]);
    }

    #[test]
    fn what_was_not_kept_is_said() {
        let cut = of(b"1 o YQ==\n2 x 700\n3 o Yg==\n4 o Yw");
        assert_eq!(cut, ["web1.acme | a", "web1.acme … 700 bytes were not kept", "web1.acme | b"]);
    }
}
