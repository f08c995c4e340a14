//! `belay policy draft` and `belay policy edit`: the next version's text with its head filled in, for a person to change.

use super::now;
use crate::{
    chain::Held,
    failure::{Outcome, While, refused},
    home::{self, Home},
    next_version::{Draft, Signing},
    screen::{confirm, document, note, say},
    trusted::Trusted,
};
use belay_certs::TenantName;
use std::{
    collections::BTreeSet,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

/// `belay policy draft`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The tenant
    tenant: TenantName,
    /// The file to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// `belay policy edit`.
#[derive(Debug, clap::Args)]
pub struct Edit {
    /// The tenant
    tenant: TenantName,
    #[command(flatten)]
    signing: Signing,
}

/// Writes the next version's text: version, previous, issued and expires are right, the rest is as it was.
///
/// # Errors
/// The tenant is not trusted here, or the file is there already.
pub fn run(home: &Home, args: &Args) -> Outcome {
    let draft = Draft::renewed(&newest(home, &args.tenant)?, now())?;
    let Some(path) = &args.output else {
        document(&draft.text);
        return Ok(());
    };
    home::write_new(path, draft.text.as_bytes(), 0o644)?;
    say(&format!("version {} of {}: edit {}, then", draft.policy.version, args.tenant, path.display()));
    say(&format!("  belay policy sign {0} --key ROOT-KEY && belay policy push {0}", path.display()));
    Ok(())
}

/// Opens the next version's text in the person's editor, then shows what changed, asks, signs and pushes.
///
/// # Errors
/// The editor fails, nothing was changed, or what was written is no policy and the person gives up.
pub fn edit(home: &Home, args: &Edit) -> Outcome {
    let held = newest(home, &args.tenant)?;
    let text = Draft::renewed(&held, now())?.text;
    let dir = tempfile::tempdir().during(|| "cannot make a temporary directory".to_owned())?;
    let path = dir.path().join(format!("{}.toml", args.tenant));
    home::write_new(&path, text.as_bytes(), 0o600)?;
    loop {
        open(&path)?;
        match Draft::of_text(&held, home::read_text(&path)?) {
            Ok(draft) if draft.changes().is_empty() => {
                return Err(refused("nothing was changed, so nothing is signed; `belay policy renew` only renews"));
            }
            Ok(draft) => return draft.carry_out(home, &args.signing),
            Err(failure) => {
                note(&format!("belay: {}", failure.sentence()));
                confirm("Edit it again?", args.signing.yes).map_err(|_| failure)?;
                if args.signing.yes {
                    return Err(refused("what was written is no policy; see above"));
                }
            }
        }
    }
}

fn newest(home: &Home, tenant: &TenantName) -> Outcome<Held> {
    let trusted = Trusted::refresh_only(home, &BTreeSet::from([tenant.clone()]))?;
    trusted.tenant(tenant).cloned()
}

/// `$VISUAL`, `$EDITOR` or vi, as a shell reads it: an editor may come with options.
fn open(path: &Path) -> Outcome {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let editor = named("VISUAL").or_else(|| named("EDITOR")).unwrap_or_else(|| OsString::from("vi"));
    let mut script = editor.clone();
    script.push(" \"$1\"");
    let status = Command::new("sh").arg("-c").arg(script).arg("sh").arg(path).status();
    let status = status.during(|| "cannot start a shell".to_owned())?;
    match status.success() {
        true => Ok(()),
        false => Err(refused(format!("the editor {} did not end well: nothing is signed", editor.display()))),
    }
}
