//! `belay ssh`: finds the only device that matches a text and becomes `ssh` to it.

use super::devices;
use crate::{
    failure::{Outcome, refused},
    home::Home,
    trusted::Trusted,
};
use belay_certs::{AccountName, DeviceAddress};
use serde_json::Value;
use std::{os::unix::process::CommandExt, process::Command};

/// Matches named in the refusal of an ambiguous text: a screenful.
const SHOWN_MAX: usize = 20;

/// `belay ssh`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Part of a device's name, or ACCOUNT@ and that
    text: String,
    /// The command, as ssh takes it
    #[arg(last = true)]
    command: Vec<String>,
}

/// Becomes ssh.
///
/// # Errors
/// No device or more than one matches, or there is no ssh configuration yet.
pub fn run(home: &Home, args: &Args) -> Outcome {
    let (account, text) = match args.text.rsplit_once('@') {
        Some((account, text)) => (Some(account.parse::<AccountName>()?), text),
        None => (None, args.text.as_str()),
    };
    let config = home.ssh_config();
    if !config.exists() {
        return Err(refused("ssh is not configured yet: run `belay config` first"));
    }
    let trusted = Trusted::load(home)?;
    let (rows, outcome) = devices::find(home, &trusted, Some(text), None)?;
    let named: Vec<DeviceAddress> =
        rows.iter().filter_map(|row| row.get("name").and_then(Value::as_str)?.parse().ok()).collect();
    let device = match choose(text, &named) {
        Ok(device) => device,
        // A text that matches nothing may match on the gateway that did not answer.
        Err(failure) => return Err(outcome.err().unwrap_or(failure)),
    };
    trusted.tenant(&device.tenant)?;
    let target = account.map_or_else(|| device.to_string(), |account| format!("{account}@{device}"));
    let error = Command::new("ssh").arg("-F").arg(config).arg("--").arg(target).args(&args.command).exec();
    Err(refused(format!("cannot start ssh: {error}")))
}

/// The device of exactly that name, or else the only one there is.
fn choose<'a>(text: &str, named: &'a [DeviceAddress]) -> Outcome<&'a DeviceAddress> {
    if let Some(exact) = named.iter().find(|device| device.to_string() == text) {
        return Ok(exact);
    }
    match named {
        [only] => Ok(only),
        [] => Err(refused(format!("no device matches {text:?}, or nothing there is granted to you"))),
        several => {
            let shown: Vec<String> = several.iter().take(SHOWN_MAX).map(DeviceAddress::to_string).collect();
            let more = if several.len() > SHOWN_MAX {
                format!("\n  … and {} more", several.len() - SHOWN_MAX)
            } else {
                String::new()
            };
            Err(refused(format!(
                "{} devices match {text:?}; which one?\n  {}{more}",
                several.len(),
                shown.join("\n  ")
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(names: &[&str]) -> Vec<DeviceAddress> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn the_only_match_or_the_exact_name_is_taken() {
        let one = devices(&["web1.acme"]);
        assert_eq!(choose("web", &one).unwrap(), &one[0]);
        let two = devices(&["web1.acme", "web10.acme"]);
        assert_eq!(choose("web1.acme", &two).unwrap(), &two[0]);
    }

    #[test]
    fn several_matches_are_listed_and_none_is_guessed() {
        let failure = choose("web", &devices(&["web1.acme", "web2.acme"])).unwrap_err();
        assert!(failure.sentence().contains("web1.acme\n  web2.acme"), "{}", failure.sentence());
        assert_eq!(choose("web", &[]).unwrap_err().status(), 1);
        let many: Vec<String> = (0..30).map(|n| format!("web{n}.acme")).collect();
        let many = devices(&many.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(choose("web", &many).unwrap_err().sentence().ends_with("… and 10 more"));
    }
}
