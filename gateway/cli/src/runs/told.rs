//! What a runbook is told: arguments as they stand on the command line, and secrets, which never stand there.
//!
//! A command line is read by everybody on this machine and kept by shells. So a secret comes from a file, from standard input or
//! from the person at the terminal, who does not see it. Not here: encrypting it (`plan`).

use crate::{
    failure::{Outcome, While, refused, usage},
    home,
    screen::note,
};
use belay_certs::{
    limits::SECRET_BYTES_MAX,
    runbook::{Arguments, ParameterName, Runbook},
    secrets::Secrets,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr},
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{IsTerminal, Read, Write},
    path::Path,
};

/// Longest secret that is typed, in bytes, before somebody leans on the keyboard.
const TYPED_BYTES_MAX: usize = SECRET_BYTES_MAX + 1;

/// How soon the second line of what is pasted follows the first: nobody types so fast.
const PASTED_WITHIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// What was given on the command line, and the secrets that were read or asked for: each once, for all tenants.
pub struct Told {
    given: Arguments,
    /// Values by parameter; no `Debug` shows them.
    known: BTreeMap<ParameterName, String>,
    /// Whether one came from standard input.
    input_is_read: bool,
}

impl Told {
    /// Takes NAME=VALUE words.
    ///
    /// # Errors
    /// A parameter is given twice.
    pub fn of(words: impl IntoIterator<Item = (ParameterName, String)>) -> Outcome<Self> {
        let mut given = Arguments::new();
        for (name, value) in words {
            if given.contains_key(&name) {
                return Err(usage(format!("the parameter {name} is given twice: keep one")));
            }
            given.insert(name, value);
        }
        Ok(Self { given, known: BTreeMap::new(), input_is_read: false })
    }

    /// What this runbook is told: its arguments, and its secrets. Those that it requires and nobody gave are asked for.
    ///
    /// # Errors
    /// A secret stands on the command line, cannot be read, or nobody is there to ask.
    pub fn to(&mut self, runbook: &Runbook) -> Outcome<(Arguments, Secrets)> {
        let wanted: Vec<(ParameterName, bool)> =
            runbook.secrets().map(|(name, one)| (name.clone(), one.required)).collect();
        let mut secrets = Secrets::default();
        for (name, required) in &wanted {
            if self.given.contains_key(name) || *required {
                secrets.add(name.clone(), self.value(name)?)?;
            }
        }
        let mut arguments = self.given.clone();
        arguments.retain(|name, _| !wanted.iter().any(|(secret, _)| secret == name));
        Ok((arguments, secrets))
    }

    /// The secrets of these names and nothing else: those of an order that is given again.
    ///
    /// # Errors
    /// Something else was given; or as [`Told::to`].
    pub fn again(mut self, names: &[ParameterName]) -> Outcome<Secrets> {
        if let Some(other) = self.given.keys().find(|name| !names.contains(name)) {
            return Err(usage(format!("{other} is no secret of that order, and the rest is as it was: take it out")));
        }
        let mut secrets = Secrets::default();
        for name in names {
            secrets.add(name.clone(), self.value(name)?)?;
        }
        Ok(secrets)
    }

    /// The value of a secret.
    fn value(&mut self, name: &ParameterName) -> Outcome<String> {
        if let Some(known) = self.known.get(name) {
            return Ok(known.clone());
        }
        let value = match self.given.get(name).map(String::as_str) {
            None => asked(name)?,
            Some("@-") => self.standard_input(name)?,
            Some(word) => match word.strip_prefix('@') {
                Some(file) => text(name, home::read(Path::new(file))?)?,
                None => {
                    return Err(usage(format!(
                        "{name} is secret, and a command line is read by everybody on this machine: write {name}=@FILE, or \
                         leave it out to be asked; treat the value as known"
                    )));
                }
            },
        };
        self.known.insert(name.clone(), value.clone());
        Ok(value)
    }

    fn standard_input(&mut self, name: &ParameterName) -> Outcome<String> {
        if std::mem::replace(&mut self.input_is_read, true) {
            return Err(usage(format!("{name}=@-: standard input is another secret already: use @FILE")));
        }
        let input = std::io::stdin();
        if input.is_terminal() {
            return Err(usage(format!("{name}=@-: standard input is a terminal: leave {name} out to be asked")));
        }
        let mut bytes = Vec::new();
        let read = input.lock().take(home::FILE_BYTES_MAX).read_to_end(&mut bytes);
        read.during(|| "cannot read standard input".to_owned())?;
        text(name, bytes)
    }
}

/// The bytes as they are: nothing is cut off, for some secrets end in a line end.
fn text(name: &ParameterName, bytes: Vec<u8>) -> Outcome<String> {
    let text = String::from_utf8(bytes).map_err(|_| refused(format!("the secret {name} is not UTF-8: encode it")))?;
    if text.ends_with('\n') {
        note(&format!("belay: the secret {name} ends with a line end, and the script gets it so"));
    }
    Ok(text)
}

/// Asks the person, who does not see what they type.
fn asked(name: &ParameterName) -> Outcome<String> {
    let nobody =
        || usage(format!("the secret {name} is missing, and there is no terminal to ask on: give {name}=@FILE"));
    if !std::io::stdin().is_terminal() {
        return Err(nobody());
    }
    let terminal = File::options().read(true).write(true).open("/dev/tty").map_err(|_| nobody())?;
    let silent = Silent::on(&terminal)?;
    let _ = (&terminal).write_all(format!("{name} (secret, not shown): ").as_bytes());
    let typed = typed(&mut &terminal);
    let more = typed.is_some() && silent.more_comes();
    drop(silent);
    let _ = (&terminal).write_all(b"\n");
    match typed {
        // The rest of it would answer the next question, or be a command of the shell.
        Some(_) if more => Err(refused(format!(
            "more than one line was given for the secret {name}, so nothing was signed: write it to a file and give {name}=@FILE"
        ))),
        Some(bytes) if !bytes.is_empty() => text(name, bytes),
        _ => Err(refused("nothing was signed and nothing was sent")),
    }
}

/// What is typed up to the line's end; `None` when the person gave up.
fn typed(terminal: &mut impl Read) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut one = [0];
    loop {
        terminal.read_exact(&mut one).ok()?;
        let [key] = one;
        match key {
            b'\r' | b'\n' => return Some(bytes),
            // Ctrl-C, Ctrl-D, Ctrl-\: signals are off, so that the terminal is never left silent.
            0x03 | 0x04 | 0x1c => return None,
            // Ctrl-U.
            0x15 => bytes.clear(),
            0x08 | 0x7f => {
                // A whole character.
                while bytes.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            _ if bytes.len() < TYPED_BYTES_MAX => bytes.push(key),
            _ => {}
        }
    }
}

/// A terminal that shows nothing of what is typed; as it was before, once this is dropped.
struct Silent<'t> {
    terminal: &'t File,
    before: Termios,
}

impl<'t> Silent<'t> {
    fn on(terminal: &'t File) -> Outcome<Self> {
        let doing = || "the terminal cannot be made silent, so nothing is asked".to_owned();
        let before = tcgetattr(terminal).during(doing)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(terminal, OptionalActions::Flush, &silent).during(doing)?;
        Ok(Self { terminal, before })
    }

    /// Whether something follows the line that was read: of what is pasted, the next line is there or comes at once.
    fn more_comes(&self) -> bool {
        let mut waiting = [PollFd::new(self.terminal, PollFlags::IN)];
        poll(&mut waiting, Some(&PASTED_WITHIN)).is_ok_and(|ready| ready > 0)
    }
}

impl Drop for Silent<'_> {
    /// What was not read is thrown away: it may be the rest of a secret.
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNBOOK: &str = "#!/bin/sh\n# /// belay\n# name = \"x\"\n# description = \"x\"\n# issued = 2026-11-21T09:00:00Z\n\
        # [parameters.token]\n# type = \"string\"\n# secret = true\n# required = true\n# [parameters.other]\n# type = \"string\"\n\
        # secret = true\n# [parameters.word]\n# type = \"string\"\n# ///\n";

    fn told(words: &[&str]) -> Outcome<(Arguments, Secrets)> {
        let word = |word: &&str| {
            let (name, value) = word.split_once('=').unwrap();
            (name.parse().unwrap(), value.to_owned())
        };
        Told::of(words.iter().map(word))?.to(&Runbook::parse(RUNBOOK.as_bytes()).unwrap())
    }

    #[test]
    fn a_secret_comes_from_a_file_as_it_is_and_an_argument_from_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "hunter2-hunter2\n").unwrap();
        let (arguments, secrets) = told(&[&format!("token=@{}", file.display()), "word=@plain"]).unwrap();
        assert_eq!(arguments.into_values().collect::<Vec<_>>(), ["@plain"]);
        let token = "token".parse().unwrap();
        assert_eq!((secrets.get(&token), secrets.names()), (Some("hunter2-hunter2\n"), vec![token]));
    }

    #[test]
    fn a_secret_on_the_line_is_refused_and_not_repeated() {
        for words in [["token=hunter2-hunter2"], ["token="]] {
            let refused = told(&words).unwrap_err();
            assert!(
                refused.sentence().contains("token=@FILE") && !refused.sentence().contains("hunter2"),
                "{refused:?}"
            );
            assert_eq!(refused.status(), 2);
        }
        assert!(told(&["word=a", "word=b"]).unwrap_err().sentence().contains("word is given twice"));
        assert!(told(&["token=@/nowhere"]).unwrap_err().sentence().contains("/nowhere"));
        let folder = tempfile::tempdir().unwrap();
        for (bytes, hint) in [(b"short".as_slice(), "shorter than 8 bytes"), (b"hunter2-\xff", "not UTF-8")] {
            let file = folder.path().join("token");
            std::fs::write(&file, bytes).unwrap();
            let refused = told(&[&format!("token=@{}", file.display())]).unwrap_err();
            assert!(refused.sentence().contains(hint) && !refused.sentence().contains("hunter2"), "{refused:?}");
        }
    }

    #[test]
    fn an_order_that_is_given_again_is_told_its_secrets_and_nothing_else() {
        let told = Told::of([("word".parse().unwrap(), "x".to_owned())]).unwrap();
        assert!(told.again(&["token".parse().unwrap()]).unwrap_err().sentence().contains("word is no secret"));
        assert!(Told::of([]).unwrap().again(&[]).unwrap().is_empty());
    }

    #[test]
    fn what_is_typed_can_be_taken_back() {
        let line = |mut keys: &[u8]| typed(&mut keys);
        assert_eq!(line(b"hunter2\r").unwrap(), b"hunter2");
        assert_eq!(line("no\u{15}h\u{fc}\x7funter3\x082\n".as_bytes()).unwrap(), b"hunter2");
        assert_eq!((line(b"hunter2\x03\n"), line(b"hunter2"), line(b"\x04")), (None, None, None));
        let many = [vec![b'x'; 2 * TYPED_BYTES_MAX], vec![b'\n']].concat();
        assert_eq!(line(&many).unwrap().len(), TYPED_BYTES_MAX);
    }
}
