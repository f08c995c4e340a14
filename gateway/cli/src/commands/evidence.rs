//! `belay evidence`: a pack that proves one session to somebody who believes neither us nor the gateway; and its judge.

use super::{
    desk::{
        case::Case,
        evidence::{self, Judged, Policies},
        taken::Extent,
    },
    recording::tell,
};
use crate::{
    chain,
    failure::{Outcome, While, refused, usage},
    home::Home,
    screen::{note, say},
    trusted::Trusted,
};
use belay_certs::{Digest, Id};
use std::{
    fs::File,
    io::{BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

/// `belay evidence`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    verify: Option<Command>,
    /// The session, as `belay sessions --json` names it
    session: Option<Id>,
    /// Where the pack goes
    #[arg(short, long, value_name = "PACK.tar")]
    output: Option<PathBuf>,
}

/// `belay evidence …`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Check a pack, byte for byte, without any gateway
    Verify(Verify),
}

/// `belay evidence verify`.
#[derive(Debug, clap::Args)]
pub struct Verify {
    /// The pack
    pack: PathBuf,
    /// The hash of the tenant's version 0 [default: what is pinned here]
    #[arg(long, value_name = "HASH")]
    policy0: Option<Digest>,
}

/// Makes or checks a pack.
///
/// # Errors
/// Something does not verify; the sentence names it.
pub fn run(home: &Home, args: &Args) -> Outcome {
    match (&args.verify, &args.session, &args.output) {
        (Some(Command::Verify(args)), ..) => verify(home, args),
        (None, Some(session), Some(output)) => make(home, session, output),
        _ => Err(usage("write `belay evidence SESSION -o PACK.tar` or `belay evidence verify PACK.tar`")),
    }
}

fn make(home: &Home, session: &Id, output: &Path) -> Outcome {
    let case = Case::open(home, &Trusted::refresh(home)?, session)?;
    let mut policies = Policies::new();
    let used = case.said.intent.policies.iter().map(|used| &used.tenant);
    for tenant in used.chain([&case.about.tenant]) {
        policies.insert(tenant.clone(), chain::documents(home, tenant)?);
    }
    let doing = || format!("cannot write {}", output.display());
    let dir = output.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir).during(doing)?;
    let mut writer = BufWriter::new(file.as_file_mut());
    let extent = evidence::write(&case, &policies, &mut writer)?;
    writer.flush().during(doing)?;
    drop(writer);
    // What is handed over is what its judge accepts.
    let judged = evidence::judge(BufReader::new(file.reopen().during(doing)?))?;
    file.as_file().sync_all().during(doing)?;
    file.persist(output).during(doing)?;
    tell(&case, extent);
    show(&judged);
    Ok(())
}

fn verify(home: &Home, args: &Verify) -> Outcome {
    let file = File::open(&args.pack).during(|| format!("cannot read {}", args.pack.display()))?;
    let judged = evidence::judge(BufReader::new(file)).map_err(|failure| failure.of("the pack does not verify"))?;
    let pinned = match args.policy0 {
        Some(given) => Some(given),
        None => home.pins()?.pins.get(&judged.tenant).copied(),
    };
    match pinned {
        Some(pinned) if pinned != judged.policy0 => {
            return Err(refused(format!(
                "the pack does not verify: policies/{}/0.toml is {}, and {pinned} is what you hold it against",
                judged.tenant, judged.policy0
            )));
        }
        Some(_) => {}
        None => note(&format!(
            "belay: {} is not pinned here: all of this is worth as much as version 0 of its policy, {}; compare it, or give --policy0",
            judged.tenant, judged.policy0
        )),
    }
    show(&judged);
    Ok(())
}

fn show(judged: &Judged) {
    let Judged { whose, said, extent, entries, head, .. } = judged;
    let intent = &said.intent;
    say(&format!("session {} on {}: {} as {}", whose.session, whose.device, intent.person, intent.account));
    if let Some(command) = &intent.command {
        say(&format!("command: {}", command.text));
    }
    say(&format!("{entries} entries are in the log {} of {} entries", head.origin, head.size));
    say(&match extent {
        Extent::Whole(chunks) => format!("its recording is whole: {chunks} chunks, signed by the device"),
        Extent::Beginning(0) => "there is no recording of it".to_owned(),
        Extent::Beginning(chunks) => {
            format!("the first {chunks} chunks of its recording are signed by the device; nothing says how it ends")
        }
    });
    say(&format!("all of it follows from version 0 of the policy of {}: {}", judged.tenant, judged.policy0));
}
