//! What `search` gives beside its lines when it is asked with `--sealed`: the recordings that only auditors can read and that
//! changed since a moment. An auditor's own machine keeps by it what it knows of them, and asks for no more than is new.
//!
//! Not here: the lines (`search`), and the recordings themselves (`recording`).

use super::{Call, Failure, Place};
use crate::{
    limits::{INDEX_OVERLAP_MICROS, INDEXED_RUN, SESSIONS_MAX},
    store::{Broken, OutputRow, OutputsFrom, SessionRow, TenantStore},
};
use belay_certs::{Id, PersonRef, TenantName, Timestamp};
use serde::Serialize;

/// The list, as JSON.
#[derive(Serialize)]
pub(super) struct Sealed {
    /// Of which tenants it is: those whose auditor the caller is, of those that were asked for.
    tenants: Vec<TenantName>,
    /// All that changed before this moment is in it, or was before the moment that was asked for: the next one goes on here.
    until: Timestamp,
    /// Whether more of them are to be had from there on.
    more: bool,
    /// In the order in which they changed.
    recordings: Vec<Row>,
}

/// One recording, as JSON: of a session that `recording` gives, or of a run whose output `job` gives.
#[derive(Serialize)]
struct Row {
    /// Of a run the job.
    session: Id,
    /// `web1.acme`.
    device: String,
    person: PersonRef,
    kind: String,
    started: Timestamp,
    /// Of a run the bytes of its output.
    chunks: u64,
    /// Its chunks are gone, and nothing of it is to be found any more.
    deleted: bool,
    /// When its newest chunk came, or when it was deleted: its place in the list.
    #[serde(skip)]
    changed: Timestamp,
}

/// What changed from `since` on in these tenants; at most [`SESSIONS_MAX`] at once.
pub(super) async fn of(call: &Call<'_>, places: &[Place], since: Timestamp) -> Result<Sealed, Failure> {
    // A little before, for a clock that is being set meanwhile, and commits under way.
    let now = call.now().plus(-INDEX_OVERLAP_MICROS);
    // One more than is given tells whether there are more.
    let limit = u32::try_from(SESSIONS_MAX.saturating_add(1)).unwrap_or(u32::MAX);
    let mut recordings = Vec::new();
    for Place { tenant, .. } in places {
        let Some(store) = call.gateway.store.tenant(tenant) else { continue };
        let rows = store.sealed_changed(since, limit).await?;
        recordings.extend(rows.into_iter().filter_map(|session| row(tenant, session)));
        recordings.extend(runs(call, &store, since, limit as usize).await?);
    }
    Ok(cut(places.iter().map(|place| place.tenant.clone()).collect(), recordings, now, SESSIONS_MAX as usize))
}

/// What of one tenant's runs changed, as many as there are or `limit`. One that is sealed and not in the index yet is listed when
/// the count of them shows that it is missing.
async fn runs(call: &Call<'_>, store: &TenantStore, since: Timestamp, limit: usize) -> Result<Vec<Row>, Failure> {
    let mut index = match call.gateway.store.index(store.name()).await {
        Ok(index) => index,
        Err(error) => return Err(Broken::from(error).into()),
    };
    let sealed = index.sealed_runs().await;
    index.close().await;
    let sealed = sealed.map_err(Broken::from)?;
    let (mut from, mut listed, now) = (OutputsFrom::since(since), Vec::new(), call.now());
    loop {
        let rows = store.outputs_changed(&from).await?;
        let Some(last) = rows.last() else { return Ok(listed) };
        from = OutputsFrom::behind(last);
        for row in rows {
            let key = (row.name.device.clone(), row.name.job);
            // What changes from now on is the next list's; whoever asks for all knows of none that was deleted.
            if row.changed >= now {
                return Ok(listed);
            }
            let was_known = since.micros() > 0 && row.deleted.is_some();
            if was_known || row.deleted.is_none() && sealed.contains(&key) {
                listed.push(of_run(row));
            }
            if listed.len() >= limit {
                return Ok(listed);
            }
        }
    }
}

fn of_run(row: OutputRow) -> Row {
    Row {
        session: row.name.job,
        device: format!("{}.{}", row.name.device, row.name.tenant),
        person: row.person,
        kind: INDEXED_RUN.to_owned(),
        started: row.started,
        chunks: row.kept,
        deleted: row.deleted.is_some(),
        changed: row.changed,
    }
}

/// The first `most` of them; what goes beyond is the next list's, from the moment of the last one on.
fn cut(tenants: Vec<TenantName>, mut recordings: Vec<Row>, now: Timestamp, most: usize) -> Sealed {
    recordings.sort_by(|a, b| a.changed.cmp(&b.changed).then_with(|| a.session.cmp(&b.session)));
    let more = recordings.len() > most;
    recordings.truncate(most);
    let until = recordings.last().filter(|_| more).map_or(now, |last| last.changed);
    Sealed { tenants, until, more, recordings }
}

fn row(tenant: &TenantName, session: SessionRow) -> Option<Row> {
    let kept = session.recording?;
    Some(Row {
        session: session.session,
        device: format!("{}.{tenant}", session.device),
        person: session.person,
        kind: session.kind,
        started: session.started,
        chunks: kept.chunks,
        deleted: kept.deleted.is_some(),
        changed: kept.deleted.unwrap_or(kept.kept),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(second: i64) -> Row {
        Row {
            session: Id([u8::try_from(second).unwrap(); 16]),
            device: "web1.acme".to_owned(),
            person: "tech".parse().unwrap(),
            kind: "exec".to_owned(),
            started: Timestamp::from_seconds(0),
            chunks: 1,
            deleted: false,
            changed: Timestamp::from_seconds(second),
        }
    }

    #[test]
    fn a_list_that_is_cut_goes_on_where_it_was_cut() {
        let (now, rows) = (Timestamp::from_seconds(99), || [5, 3, 4].map(changed).into());
        let places = |sealed: &Sealed| sealed.recordings.iter().map(|row| row.changed.seconds()).collect::<Vec<_>>();
        let whole = cut(Vec::new(), rows(), now, 3);
        assert_eq!((places(&whole), whole.until, whole.more), (vec![3, 4, 5], now, false));
        let cut = cut(Vec::new(), rows(), now, 2);
        assert_eq!((places(&cut), cut.until, cut.more), (vec![3, 4], Timestamp::from_seconds(4), true));
    }
}
