//! `belay replay`: a session or a run as it went, in this terminal, with nothing in it that could act on this terminal.

use super::{
    desk::{
        case::Case,
        play,
        ran::{Ran, What},
        stream,
        taken::Taken,
    },
    recording::tell,
};
use crate::{
    failure::{Outcome, usage},
    home::Home,
    interrupt,
    trusted::Trusted,
};
use belay_certs::{
    DeviceName, Id,
    output::Line,
    recording::cast::{EventKind, Reader},
};
use play::{Player, Shown};
use std::{io::IsTerminal, path::PathBuf, sync::mpsc, time::Duration};

/// `belay replay`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A session, or JOB/DEVICE for what a run printed
    #[arg(value_name = "SESSION|JOB/DEVICE")]
    what: What,
    /// Begin there: 3m20s
    #[arg(long, value_name = "OFFSET", default_value = "0s", value_parser = play::offset)]
    at: Duration,
    /// So many times as fast, 0.1 to 100
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    speed: f64,
    /// No pause is longer: 1s
    #[arg(long, value_name = "PAUSE", value_parser = play::offset)]
    idle: Option<Duration>,
    /// The auditor's age identity [default: auditor.age among the tenant's keys of the home]
    #[arg(long, value_name = "FILE")]
    age_identity: Option<PathBuf>,
}

/// Replays it.
///
/// # Errors
/// It cannot be had, is cut off or altered, or cannot be opened: then nothing of it was shown.
pub fn run(home: &Home, args: &Args) -> Outcome {
    if !(0.1..=100.0).contains(&args.speed) {
        return Err(usage("--speed is 0.1 to 100"));
    }
    let trusted = Trusted::load(home)?;
    match &args.what {
        What::Session(session) => replay_session(home, &trusted, args, session),
        What::Run(job, device) => replay_run(home, &trusted, args, job, device),
    }
}

fn replay_session(home: &Home, trusted: &Trusted, args: &Args, session: &Id) -> Outcome {
    let case = Case::open(home, trusted, session)?;
    let identities = stream::identities(home, &case.about.tenant, args.age_identity.as_deref())?;
    let taken = Taken::fetch(&case)?;
    // All of it is checked before the first of it is shown.
    let extent = taken.text(identities.as_ref(), &mut |_, _| Ok(()))?;
    tell(&case, extent);
    let mut player = player(args)?;
    let mut reader = Reader::default();
    taken
        .text(identities.as_ref(), &mut |_, text| {
            let is_first = reader.header().is_none();
            let events = reader.read(text)?;
            if let Some(header) = reader.header().filter(|_| is_first) {
                play::compare_size(header.width, header.height);
            }
            for event in events {
                let shown = match &event.kind {
                    EventKind::Output(bytes) => Shown::Output(bytes),
                    EventKind::Marker(words) => Shown::Words(words),
                    EventKind::Resize { columns, rows } => {
                        play::compare_size(*columns, *rows);
                        continue;
                    }
                    EventKind::Input(_) => continue,
                };
                player.show(Duration::from_micros(event.at), shown)?;
            }
            Ok(())
        })
        .map(drop)
        .or_else(|failure| if player.was_stopped() { Ok(()) } else { Err(failure) })
}

fn replay_run(home: &Home, trusted: &Trusted, args: &Args, job: &Id, device: &DeviceName) -> Outcome {
    let ran = Ran::fetch(home, trusted, (job, device), args.age_identity.as_deref())?;
    let mut player = player(args)?;
    for line in ran.output.lines {
        let at = Duration::from_millis(line.at());
        let shown = match line {
            Line::Piece { bytes, .. } => player.show(at, Shown::Output(&bytes)),
            Line::Cut { dropped, .. } => player.show(at, Shown::Words(&format!("{dropped} bytes were not kept"))),
            // It was opened.
            Line::Sealed { .. } => continue,
        };
        match shown {
            Err(_) if player.was_stopped() => return Ok(()),
            other => other?,
        }
    }
    Ok(())
}

/// A player that a Ctrl-C stops. Where nobody looks there are no pauses.
fn player(args: &Args) -> Outcome<Player<std::io::Stdout>> {
    let (stop, stopped) = mpsc::sync_channel(1);
    interrupt::listen(move || _ = stop.try_send(()))?;
    let pace = std::io::stdout().is_terminal().then_some(args.speed);
    Ok(Player::new(std::io::stdout(), stopped, play::Pace { at: args.at, speed: pace, idle: args.idle }))
}

#[cfg(test)]
mod tests {
    use crate::testing::{ordered::Ordered, stage::Stage};

    /// Replays what `web1` printed, where the gateway has these bytes; the words behind are `more`.
    fn replayed(printed: &[u8], more: &[&str]) -> Result<(), String> {
        let stage = Stage::new();
        let job = Ordered::new(&stage);
        job.on(&stage);
        stage.answers("job_ID_--device_web1_--output", printed);
        let device = more.first().copied().unwrap_or("web1");
        let what = format!("{}/{device}", job.order.id);
        let words = [&["replay", &what], more.get(1..).unwrap_or_default()].concat();
        stage.belay(&words).map_err(|failure| failure.sentence().to_owned())
    }

    #[test]
    fn a_run_is_replayed_when_its_output_is_what_was_stated() {
        let output = b"1 o cmVzdGFydGVkCg==\n";
        replayed(output, &[]).unwrap();
        replayed(output, &["web1.acme", "--at", "1s", "--speed", "2", "--idle", "1s"]).unwrap();
        // Not all of it has come: what is there is shown, and said to be unproved.
        replayed(b"", &[]).unwrap();
        for altered in [&b"1 o cmVzdGFydGVkCw==\n"[..], b"1 o cmVzdGFydGVkCg==\n2 o Yg==\n"] {
            let other = replayed(altered, &[]).unwrap_err();
            assert!(
                other.contains("web1.acme: the gateway has an output of") && other.contains("(entry 7)"),
                "{other}"
            );
        }
        assert!(replayed(output, &["mail1"]).unwrap_err().contains("is not for mail1"));
        assert!(replayed(output, &["web2"]).unwrap_err().contains("web2.acme has signed nothing"));
        assert!(replayed(output, &["db1"]).unwrap_err().contains("refused the run: it has no services"));
        assert!(replayed(output, &["web1", "--speed", "0"]).unwrap_err().contains("--speed"));
    }
}
