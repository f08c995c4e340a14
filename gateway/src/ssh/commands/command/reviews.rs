//! `review`, read from its words.

use super::{Command, said::Rest, stops::session};
use crate::limits::REVIEWS_SHOWN_MAX;
use belay_rules::review::{Opinion, State};

pub(super) fn review(mut rest: Rest<'_>) -> Result<Command, String> {
    let opinion = match rest.words.peek().map(|word| word.as_str()) {
        Some("approve") => Opinion::Approved,
        Some("flag") => Opinion::Flagged,
        Some(_) | None => return list(rest),
    };
    rest.words.next();
    let usage = "review approve|flag SESSION|JOB --note TEXT [--device D]";
    let mut said = rest.read(usage, 1, &["--note", "--device"])?;
    let id = session(said.plain.pop(), usage)?;
    let note = said.note.ok_or_else(|| format!("say what you found with --note; write `{usage}`"))?;
    Ok(Command::ReviewGive { id, device: said.device, opinion, note })
}

fn list(rest: Rest<'_>) -> Result<Command, String> {
    let usage = "review [--tenant T] [--state waiting|approved|flagged] [--limit N] [--json]";
    let said = rest.read(usage, 0, &["--tenant", "--state", "--limit", "--json"])?;
    let limit = said.limit.unwrap_or(REVIEWS_SHOWN_MAX).min(REVIEWS_SHOWN_MAX);
    let state = said.state.unwrap_or(State::Waiting);
    Ok(Command::Reviews { tenant: said.tenant, state, limit, form: said.form })
}
