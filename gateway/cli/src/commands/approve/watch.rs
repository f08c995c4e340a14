//! `belay approve --token … --watch 4h`: asks once, then approves the machines of one token as they come, until the time is
//! over or as many have come as the token is for.
//!
//! Cut off (Ctrl-C included) nothing is half done: what was signed is kept and sent by the next `belay approve`.

use super::{
    super::{now, pending, token},
    Args,
    batch::finish_all,
    distinct, prepare, without_replacements,
};
use crate::{
    failure::{Failure, Outcome, usage},
    gateway::{Gateway, Route},
    home::{self, Home},
    limits::{WATCH_MAX, WATCH_PAUSES, WATCH_WAIT_SECONDS},
    screen::{confirm, note, say, table},
    ssh_agent::Signing,
    trusted::Trusted,
};
use belay_certs::{
    Digest, Id, PublicKey, Timestamp, envelope,
    limits::DOCUMENT_BYTES_MAX,
    token::{Token, TokenFile},
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// `90m`, `4h`, at most [`WATCH_MAX`].
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let micros = token::parse_span(text)?;
    let span = Duration::from_micros(micros.unsigned_abs());
    match span <= WATCH_MAX {
        true => Ok(span),
        false => Err(format!("at most {} hours; ask again then", WATCH_MAX.as_secs() / 3600)),
    }
}

/// The token document that an id or a file names, and its digest.
///
/// # Errors
/// There is none, or it does not read.
pub(super) fn find_token(home: &Home, named: &str) -> Outcome<(Token, Digest)> {
    let path = Path::new(named);
    let bytes = match named.parse::<Id>() {
        Ok(id) if home.token(&id).exists() => {
            envelope::split(&home::read(&home.token(&id))?, DOCUMENT_BYTES_MAX)?.bytes
        }
        _ if path.exists() => TokenFile::parse(&home::read(path)?)?.token.bytes,
        Ok(_) => return Err(usage(format!("token {named} was not made here: give its file"))),
        Err(_) => return Err(usage(format!("{named:?} is neither a token's id nor its file"))),
    };
    Ok((Token::parse(&bytes)?, Digest::of(&bytes)))
}

/// A watch under way.
struct Watch<'a> {
    home: &'a Home,
    args: &'a Args,
    identity: &'a Path,
    me: &'a PublicKey,
    token: Token,
    /// Machines must come with these very bytes: the person saw their labels and names.
    digest: Digest,
    signing: Signing,
    /// When it is over.
    ends: Instant,
    /// Log entries up to this one have been seen.
    beyond: u64,
    /// Machines approved so far.
    approved: u64,
}

/// Asks, then watches.
///
/// # Errors
/// The token is not known, the person says no or may not, or a key cannot sign.
pub(super) fn run(home: &Home, args: &Args, identity: &Path, me: &PublicKey) -> Outcome {
    let (Some(named), Some(span)) = (&args.token, args.watch) else { return Err(usage("--watch needs --token")) };
    let (token, digest) = find_token(home, named)?;
    let trusted = Trusted::refresh_only(home, &BTreeSet::from([token.tenant.clone()]))?;
    let ca = args.ca.clone().unwrap_or_else(|| home.keys(&token.tenant).join("device-ca"));
    let until = now().plus(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)).whole_second();
    show(&token, until, &ca, identity);
    confirm(&format!("Approve up to {} machines as they come, until {until}?", token.uses), args.yes)?;
    // Asked for now, not when the first machine comes at night.
    let mut signing = Signing::default();
    signing.add(&ca, span)?;
    signing.add(identity, span)?;
    drop(trusted);
    let ends = Instant::now() + span;
    let mut watch = Watch { home, args, identity, me, token, digest, signing, ends, beyond: 0, approved: 0 };
    watch.go_on()
}

fn show(token: &Token, until: Timestamp, ca: &Path, identity: &Path) {
    let labels = if token.labels.is_empty() { "-".to_owned() } else { token.labels.join(",") };
    let row = vec![
        token.id.to_string(),
        format!("{}.{}", token.name_pattern, token.tenant),
        labels,
        token.uses.to_string(),
        token.expires.to_string(),
        until.to_string(),
    ];
    say(table(&["TOKEN", "NAMES", "LABELS", "MACHINES", "EXPIRES", "UNTIL"], &[row]).trim_end());
    note(&format!("host keys certified by {}, records signed with {}", ca.display(), identity.display()));
}

impl Watch<'_> {
    fn go_on(&mut self) -> Outcome {
        let mut pause = WATCH_PAUSES.0;
        let mut quiet = false;
        while self.approved < self.token.uses {
            let left = self.ends.saturating_duration_since(Instant::now());
            if left.is_zero() {
                note(&format!("the time is over; {} machines were approved", self.approved));
                return Ok(());
            }
            match self.round(left.as_secs().clamp(1, WATCH_WAIT_SECONDS)) {
                Ok(()) => (pause, quiet) = (WATCH_PAUSES.0, false),
                // It may be restarting. Whatever was signed is kept, and sent first when it is back.
                Err(Failure::Gateway(sentence) | Failure::Unreachable(sentence)) => {
                    if !quiet {
                        note(&format!("belay: {sentence}; trying again"));
                    }
                    quiet = true;
                    thread::park_timeout(pause.min(left));
                    pause = (pause * 2).min(WATCH_PAUSES.1);
                }
                Err(failure) => return Err(failure),
            }
        }
        note(&format!("all {} machines of the token were approved", self.approved));
        Ok(())
    }

    /// Waits for machines, and approves those that come.
    fn round(&mut self, wait_seconds: u64) -> Outcome {
        self.approved += u64::try_from(finish_all(self.home)?.done).unwrap_or(u64::MAX);
        let trusted = Trusted::load(self.home)?;
        let gateway = Gateway::new(self.home, Route::of(trusted.tenant(&self.token.tenant)?.policy())?);
        let (id, beyond, wait) = (self.token.id.to_string(), self.beyond.to_string(), wait_seconds.to_string());
        let mut words = vec!["pending", "--json", "--tenant", self.token.tenant.as_str(), "--token", &id];
        words.extend(["--wait", &wait]);
        if self.beyond > 0 {
            words.extend(["--beyond", &beyond]);
        }
        let rows: Vec<Value> = gateway.ask(&words)?;
        let newest = rows.iter().filter_map(|row| row.get("entry")?.as_u64()).max();
        if !rows.is_empty() {
            self.approve(rows)?;
        }
        self.beyond = self.beyond.max(newest.unwrap_or(0));
        Ok(())
    }

    fn approve(&mut self, rows: Vec<Value>) -> Outcome {
        let pending::Found { trusted, rows, .. } = pending::judge_all(self.home, rows, Ok(()))?;
        let (good, bad): (Vec<_>, Vec<_>) = rows.into_iter().partition(Result::is_ok);
        pending::tell_rejected(bad.into_iter().filter_map(Result::err));
        let mine = good.into_iter().flatten().filter(|one| one.token == self.digest);
        let (candidates, _) = without_replacements(distinct(mine.collect())?, self.args.replace);
        let left = usize::try_from(self.token.uses.saturating_sub(self.approved)).unwrap_or(usize::MAX);
        let candidates: Vec<_> = candidates.into_iter().take(left).collect();
        if candidates.is_empty() {
            return Ok(());
        }
        for one in &candidates {
            let labels = one.labels.join(",");
            say(&format!("{}  {}  {labels}  from {}", one.device, one.host_key.fingerprint(), one.seen_from));
        }
        let work = prepare(self.home, &trusted, self.args, self.me, self.token.tenant.clone(), candidates)?;
        let sent = work.approve(self.home, &trusted, &mut self.signing, self.identity)?;
        self.approved += u64::try_from(sent.done).unwrap_or(u64::MAX);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_lasts_a_day_at_most() {
        assert_eq!(span("4h"), Ok(Duration::from_secs(4 * 3600)));
        assert_eq!(span("24h"), Ok(WATCH_MAX));
        for text in ["25h", "2d", "0m", "", "4"] {
            assert!(span(text).is_err(), "{text}");
        }
    }
}
