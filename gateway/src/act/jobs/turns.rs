//! Whose turn it is: which devices of which jobs are offered their order next, as many as fit one turn and their tenant's share of
//! memory, and whether one more job has room.
//!
//! Only counting: nothing is recorded or sent here. The circle itself is `belay_rules::job::Rota`.

use super::{offered::Prepared, under_way::UnderWay};
use crate::limits;
use belay_certs::{TenantName, Timestamp};
use belay_rules::job::{Full, Pace, Rota};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Takes who is next, as long as their offers have room in memory and the pace allows them, into `taken`.
pub(super) fn take(
    jobs: &mut BTreeMap<u64, UnderWay>,
    rota: &mut Rota<u64>,
    (now, pace): (Timestamp, Pace),
    taken: &mut BTreeMap<u64, Vec<usize>>,
) {
    let mut used: HashMap<TenantName, usize> = HashMap::new();
    for under_way in jobs.values() {
        let bytes = under_way.job.unanswered() * under_way.prepared.offer_bytes();
        *used.entry(under_way.key.0.clone()).or_default() += bytes;
    }
    // A job that waits for many answers waits for a few more, so that its next offers share a record.
    let patient = |under_way: &UnderWay| under_way.job.unanswered() > pace.at_once() - pace.together();
    let resting: HashSet<u64> =
        jobs.iter().filter(|(_, under_way)| patient(under_way)).map(|(number, _)| *number).collect();
    for _ in 0..limits::OFFERS_PER_TURN_MAX {
        let (jobs, used) = (&mut *jobs, &mut used);
        let next = rota.next(|number| {
            let under_way = jobs.get_mut(&number).filter(|_| !resting.contains(&number))?;
            if under_way.job.unanswered() >= pace.at_once() {
                return None;
            }
            let (used, bytes) = (used.get_mut(&under_way.key.0)?, under_way.prepared.offer_bytes());
            if used.saturating_add(bytes) > limits::OFFERS_BYTES_PER_TENANT_MAX {
                return None;
            }
            let place = under_way.job.take(now)?;
            *used += bytes;
            Some(place)
        });
        let Some((number, place)) = next else { break };
        taken.entry(number).or_default().push(place);
    }
}

/// Whether the devices of one more job have room.
///
/// # Errors
/// Who is full.
pub(super) fn check_places(
    jobs: &BTreeMap<u64, UnderWay>,
    tenant: &TenantName,
    prepared: &Prepared,
) -> Result<(), Full> {
    let places = |under_way: &UnderWay| under_way.prepared.weight();
    let of_all = jobs.values().map(places).sum();
    let of_tenant = jobs.values().filter(|under_way| under_way.key.0 == *tenant).map(places).sum();
    Rota::<u64>::check_places(tenant, prepared.weight(), of_tenant, of_all)
}

#[cfg(test)]
mod tests;
