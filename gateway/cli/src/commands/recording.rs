//! `belay recording`: what a session showed or a run printed as an asciicast file, when all of it is what the device recorded.

mod about;

use super::desk::{
    case::Case,
    ran::{Ran, What},
    stream,
    taken::{Extent, Taken},
};
use crate::{
    failure::{Outcome, While, refused, usage},
    home::Home,
    screen::note,
    trusted::Trusted,
};
use belay_certs::{Id, output::to_cast};
use std::{
    io::{BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
};

/// `belay recording`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The session, as `belay sessions` names it, or JOB/DEVICE for what a run printed
    #[arg(value_name = "SESSION|JOB/DEVICE")]
    what: What,
    /// Where to write it: FILE.cast for `asciinema`, or - for standard output
    #[arg(short, long, value_name = "FILE", required_unless_present = "json")]
    output: Option<PathBuf>,
    /// Print what there is of it as JSON, once every chunk of it is checked
    #[arg(long, conflicts_with_all = ["output", "age_identity"])]
    json: bool,
    /// The auditor's age identity [default: auditor.age among the tenant's keys of the home]
    #[arg(long, value_name = "FILE")]
    age_identity: Option<PathBuf>,
}

/// Writes it.
///
/// # Errors
/// The recording cannot be had, is cut off or altered, or cannot be opened: then no file is there.
pub fn run(home: &Home, args: &Args) -> Outcome {
    let Some(output) = &args.output else {
        return match &args.what {
            What::Session(session) => about::tell(&Case::open(home, &Trusted::load(home)?, session)?),
            What::Run(..) => Err(usage("--json tells of a session's recording: `belay job JOB --json` tells of a run")),
        };
    };
    let to_stdout = output == Path::new("-");
    if to_stdout && std::io::stdout().is_terminal() {
        return Err(usage("what a device recorded is not written to a terminal: see `belay replay`, or give -o FILE"));
    }
    let trusted = Trusted::load(home)?;
    match &args.what {
        What::Session(session) => of_session(home, &trusted, (args, output), session),
        What::Run(job, device) => {
            let ran = Ran::fetch(home, &trusted, (job, device), args.age_identity.as_deref())?;
            if let Err(why) = ran.proof {
                return Err(refused(format!("{why}; nothing was written (`belay replay` shows what there is)")));
            }
            let text = to_cast(&ran.output, &ran.header)?;
            write(output, |take| take(text.as_bytes()))
        }
    }
}

fn of_session(home: &Home, trusted: &Trusted, (args, output): (&Args, &Path), session: &Id) -> Outcome {
    let case = Case::open(home, trusted, session)?;
    let identities = stream::identities(home, &case.about.tenant, args.age_identity.as_deref())?;
    let taken = Taken::fetch(&case)?;
    let extent = write(output, |take| taken.text(identities.as_ref(), &mut |_, text| take(text)))?;
    tell(&case, extent);
    Ok(())
}

/// Writes what `of` hands over, whole or not at all.
fn write<T>(output: &Path, of: impl FnOnce(&mut dyn FnMut(&[u8]) -> Outcome) -> Outcome<T>) -> Outcome<T> {
    let to_stdout = output == Path::new("-");
    let doing = || format!("cannot write {}", output.display());
    let dir = output.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(if to_stdout { Path::new("/tmp") } else { dir }).during(doing)?;
    let mut writer = BufWriter::new(file.as_file_mut());
    let mut raw = false;
    let written = of(&mut |text| {
        raw = raw || holds_raw(text);
        writer.write_all(text).during(doing)
    })?;
    writer.flush().during(doing)?;
    drop(writer);
    if to_stdout {
        let mut whole = file.reopen().during(doing)?;
        std::io::copy(&mut whole, &mut std::io::stdout()).during(doing)?;
    } else {
        file.as_file().sync_all().during(doing)?;
        file.persist(output).during(doing)?;
    }
    if raw {
        note(
            "belay: some of it is no text: asciinema shows it as it was with PYTHONIOENCODING=utf-8:surrogateescape in its environment",
        );
    }
    Ok(written)
}

/// Whether a string of this JSON has a byte that is no UTF-8: a lone surrogate `\udcXX`, not a backslash and its letters.
fn holds_raw(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        rest = rest.get(at + 1..).unwrap_or_default();
        if rest.starts_with(b"udc") {
            return true;
        }
        // What is escaped is no beginning.
        rest = rest.get(1..).unwrap_or_default();
    }
    false
}

/// Says how far a recording goes that was checked.
pub fn tell(case: &Case<'_>, extent: Extent) {
    match extent {
        Extent::Whole(chunks) => {
            note(&format!("belay: the recording is whole: {chunks} chunks, each signed by {}", case.whose.device));
        }
        Extent::Beginning(chunks) => {
            let why =
                if case.said.is_over { "its end names no recording" } else { "nobody has said that the session ended" };
            note(&format!("belay: these {chunks} chunks are the recording's proved beginning: {why}"));
        }
    }
}

#[cfg(test)]
mod tests;
