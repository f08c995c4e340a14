//! `log tail TENANT --from N --follow`: every entry from one on, in order, for as long as somebody reads.
//!
//! Nothing is remembered between two readers: whoever reads says where they are, and gets the same again. What a reader does not
//! take yet is not read yet, so that a slow one costs one page.

use super::{
    super::{Call, Failure, Output, Place, show::Form},
    line, ocsf,
};
use crate::{limits::FOLLOW_EVERY, store::Broken};
use belay_certs::{TenantName, policy::ActionKind};
use belay_rules::LogName;
use tokio::io::AsyncWriteExt;

/// Entries read at once: 2 MiB at the most, and some 5 MiB as lines.
const PAGE_ENTRIES: u64 = 32;

/// Where a stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Begin {
    /// At this entry.
    At(u64),
    /// So many entries before the newest.
    Newest(u64),
}

/// Whether a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Until {
    /// With the newest entry.
    Now,
    /// Never by itself.
    Forever,
}

/// Writes entries as lines: JSON as OCSF names it, or for people.
pub(in super::super) async fn stream(
    call: &Call<'_>,
    tenant: &TenantName,
    (begin, until): (Begin, Until),
    form: Form,
    stdout: &mut Output<'_>,
) -> Result<(), Failure> {
    let place = call.holding(tenant, ActionKind::Audit).await?;
    let log = LogName::Tenant(place.tenant.clone());
    let store = &call.gateway.store;
    // Before the first look: what comes in between rings.
    let (mut grown, mut policies) = (store.grown(), call.gateway.book.changes());
    let (origin, size) = head(call, &log)?;
    let mut next = match begin {
        Begin::Newest(count) => size.saturating_sub(count),
        Begin::At(index) if index <= size => index,
        Begin::At(index) => {
            let sentence =
                format!("the log {origin} has {size} entries and none at {index}; one that was restarted begins at 0");
            return Err(Failure::Refused(sentence));
        }
    };
    loop {
        while next < head(call, &log)?.1 {
            let entries = store.entries(&log, next, PAGE_ENTRIES).await?;
            // Asked for each page.
            check(call, &place, &origin)?;
            if entries.is_empty() {
                return Err(Broken::new(format!("entry {next} of the log {log} is not here")).into());
            }
            let mut page = String::new();
            for entry in entries {
                page.push_str(&match form {
                    Form::Json => ocsf::line(next, &origin, &entry)?,
                    Form::Table => line(next, &entry)?,
                });
                next += 1;
            }
            stdout.write_all(page.as_bytes()).await?;
        }
        stdout.flush().await?;
        if until == Until::Now {
            return Ok(());
        }
        tokio::select! {
            () = call.gateway.stop.cancelled() => return Ok(()),
            _ = policies.changed() => {}
            _ = grown.changed() => {}
        }
        check(call, &place, &origin)?;
        // What comes together is one page.
        tokio::time::sleep(FOLLOW_EVERY).await;
    }
}

/// Whether the reader may still read, and it is still the same log: a grant ends, and a log that lost entries begins anew.
fn check(call: &Call<'_>, place: &Place, origin: &str) -> Result<(), Failure> {
    if head(call, &LogName::Tenant(place.tenant.clone()))?.0 != origin {
        return Err(Failure::Refused(format!("the log {origin} was restarted; begin again with --from 0")));
    }
    match call.holds(place, ActionKind::Audit) {
        true => Ok(()),
        false => Err(call.lacks(Some(&place.tenant), ActionKind::Audit)),
    }
}

/// The log's origin, and how many entries are durable.
fn head(call: &Call<'_>, log: &LogName) -> Result<(String, u64), Broken> {
    let missing = || Broken::new(format!("there is no log {log}"));
    let origin = call.gateway.store.log_identity(log).ok_or_else(missing)?.origin;
    let (size, _) = call.gateway.store.checkpoint(log).ok_or_else(missing)?;
    Ok((origin, size))
}
