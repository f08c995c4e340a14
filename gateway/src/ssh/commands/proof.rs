//! `log proof`: entries of a tenant's log with the proof that they are in it, for whoever takes them away.
//!
//! Not here: how proofs are made (`store`), and checking them (`belay`, or any C2SP reader).

mod approvals;

use super::{Call, Failure, Place, show};
use crate::{
    limits::{PROOF_SCAN_MAX, PROOFS_MAX},
    store::{Broken, limits::ENTRIES_READ_MAX},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use belay_certs::{DeviceAddress, DeviceName, Id, TenantName, entry::Entry, policy::ActionKind, receipt::Receipt};
use belay_rules::LogName;
use serde::Serialize;
use std::collections::BTreeSet;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proved {
    /// Which entries.
    pub(super) which: Which,
    /// Of a job only what this device says.
    pub(super) device: Option<DeviceAddress>,
    /// Whether the devices that speak in them are proved too.
    pub(super) approvals: Approvals,
}

/// Whether entries are given that approved the devices that speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Approvals {
    /// They are, with the documents that they name.
    Shown,
    /// They are not.
    Left,
}

/// Which entries are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// The one at this place.
    Index(u64),
    /// The event of this id; or all that name this session or job, from its beginning on.
    Id(Id),
}

impl std::str::FromStr for Which {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let id = || word.parse().map(Self::Id).map_err(|_| format!("{word:?} is neither an entry's number nor an id"));
        // An id has 32 digits, of which all may be decimal: no log is so long.
        if word.len() < 20 { word.parse().map(Self::Index).or_else(|_| id()) } else { id() }
    }
}

/// The entries that begin a session or a job: nothing before them names it.
const BEGINNINGS: [&str; 4] = ["session.opened", "session.refused", "session.withheld", "job.submitted"];

/// What is answered, as JSON.
#[derive(Serialize)]
struct Answer<'a> {
    tenant: &'a TenantName,
    /// The signed head that all proofs lead to.
    checkpoint: String,
    proofs: Vec<Proof>,
    /// What the approvals among them name by digest, in base64.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    objects: Vec<String>,
}

/// One entry.
#[derive(Serialize)]
struct Proof {
    index: u64,
    /// Its exact bytes.
    entry: String,
    /// The hashes from the entry up to the head's root (RFC 6962), in base64.
    inclusion: Vec<String>,
}

/// Of the named tenant, or of the first whose log has it among all whose auditor the caller is.
pub(super) async fn run(call: &Call<'_>, tenant: Option<&TenantName>, wanted: &Proved) -> Result<String, Failure> {
    let places = match tenant {
        Some(tenant) => vec![call.holding(tenant, ActionKind::Audit).await?],
        None => {
            let places = call.granted(None).await?;
            places.into_iter().filter(|place| call.holds(place, ActionKind::Audit)).collect()
        }
    };
    if places.is_empty() {
        return Err(call.lacks(None, ActionKind::Audit));
    }
    let (mut left, tenant_is_named) = (PROOF_SCAN_MAX, tenant.is_some());
    for Place { tenant, .. } in &places {
        let log = LogName::Tenant(tenant.clone());
        let size = call.gateway.store.checkpoint(&log).map_or(0, |(size, _)| size);
        let device = wanted.device.as_ref().map(|device| &device.device);
        let found = match wanted.which {
            Which::Index(index) if index < size => vec![Found { index, serial: None, is_look: false, is_exact: true }],
            Which::Index(index) => {
                let sentence = format!("the log of {tenant} has {size} entries: there is no entry {index}");
                return Err(Failure::Refused(sentence));
            }
            Which::Id(id) => find(call, &log, size, id, device, &mut left).await?,
        };
        // Somebody else's command may hold the id in its words: that is not what was asked for, unless this log was.
        let is_there = found.iter().any(|found| found.is_exact) || tenant_is_named && !found.is_empty();
        if is_there {
            return prove(call, tenant, &log, wanted, &found).await;
        }
    }
    let logs = tenant.map_or("any log that you may audit".to_owned(), |tenant| format!("the log of {tenant}"));
    Err(Failure::Refused(format!(
        "nothing among the newest {PROOF_SCAN_MAX} entries of {logs} has this id: give the tenant and the entry's number"
    )))
}

async fn prove(
    call: &Call<'_>,
    tenant: &TenantName,
    log: &LogName,
    wanted: &Proved,
    found: &[Found],
) -> Result<String, Failure> {
    let mut indices: BTreeSet<u64> = found.iter().map(|found| found.index).collect();
    if wanted.approvals == Approvals::Shown {
        let serials = found.iter().filter_map(|found| found.serial).collect();
        indices.extend(approvals::entries(call, log, tenant, serials).await?);
    }
    let indices: Vec<u64> = indices.into_iter().collect();
    let receipts = call.gateway.store.receipts(log, &indices).await?;
    let objects = match wanted.approvals {
        Approvals::Shown => approvals::objects(call, log, &receipts).await?,
        Approvals::Left => Vec::new(),
    };
    let checkpoint = receipts.first().map(|receipt| receipt.checkpoint.clone()).unwrap_or_default();
    let checkpoint = String::from_utf8(checkpoint).map_err(|_| Broken::new(format!("the head of {log} is no text")))?;
    let proofs = receipts.into_iter().map(proof).collect::<Result<_, _>>()?;
    let json = serde_json::to_string(&Answer { tenant, checkpoint, proofs, objects })?;
    Ok(format!("{}\n", show::harmless(&json)))
}

fn proof(receipt: Receipt) -> Result<Proof, Broken> {
    let index = receipt.index;
    let entry = String::from_utf8(receipt.entry).map_err(|_| Broken::new(format!("entry {index} is not UTF-8")))?;
    Ok(Proof { index, entry, inclusion: receipt.inclusion.iter().map(|hash| STANDARD.encode(hash)).collect() })
}

/// An entry that was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    index: u64,
    /// Of the device record under which a device speaks in it.
    serial: Option<u64>,
    /// It says only that somebody looked.
    is_look: bool,
    /// The id is its own, or its session's or job's: not a word in it.
    is_exact: bool,
}

/// The entries with this id, oldest first: from the newest back to the one that is it, or that begins what it is of. Of a job
/// those of other devices are left out where one is named.
async fn find(
    call: &Call<'_>,
    log: &LogName,
    size: u64,
    id: Id,
    device: Option<&DeviceName>,
    left: &mut u64,
) -> Result<Vec<Found>, Failure> {
    let text = id.to_string();
    let mut found = Vec::new();
    let mut end = size;
    while end > 0 && *left > 0 {
        let from = end.saturating_sub(ENTRIES_READ_MAX);
        *left = left.saturating_sub(end - from);
        let page = call.gateway.store.entries(log, from, end - from).await?;
        for (place, bytes) in page.into_iter().enumerate().rev() {
            if !names(&bytes, &text) {
                continue;
            }
            let entry = Entry::parse(&bytes).map_err(Broken::from)?;
            let one = Found {
                index: from + place as u64,
                serial: approvals::serial(&entry),
                is_look: matches!(entry.kind.as_str(), "recording.read" | "output.read"),
                is_exact: is_about(&entry, id, &text),
            };
            if entry.id == id {
                return Ok(vec![one]);
            }
            // Who asked about it is in the log too, and is not what happened.
            let is_of = entry.device.as_ref().is_none_or(|of| device.is_none_or(|device| of == device));
            if entry.kind != "command.ran" && is_of {
                found.push(one);
            }
            if BEGINNINGS.contains(&entry.kind.as_str()) {
                return Ok(oldest(found));
            }
        }
        end = from;
    }
    Ok(oldest(found))
}

/// Whether the id is the entry's own, or that of its session or job.
fn is_about(entry: &Entry, id: Id, text: &str) -> bool {
    let member = |name: &str| entry.detail.get(name).and_then(|value| value.as_str()) == Some(text);
    entry.id == id || member("session") || member("job") || member("order")
}

/// Whether the id stands anywhere in an entry.
fn names(entry: &[u8], id: &str) -> bool {
    entry.windows(id.len()).any(|window| window == id.as_bytes())
}

/// In the log's order, the first [`PROOFS_MAX`] of them; where they are more, who looked is left out before what happened.
fn oldest(mut found: Vec<Found>) -> Vec<Found> {
    found.reverse();
    if found.len() > PROOFS_MAX {
        found.retain(|one| !one.is_look);
    }
    found.truncate(PROOFS_MAX);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_an_entrys_place_and_32_digits_are_an_id() {
        assert_eq!("12".parse(), Ok(Which::Index(12)));
        let id = "12345678901234567890123456789012";
        assert_eq!(id.parse(), Ok(Which::Id(id.parse().unwrap())));
        assert!("-1".parse::<Which>().is_err() && "web1".parse::<Which>().unwrap_err().contains("web1"));
    }

    #[test]
    fn of_too_many_the_first_are_taken_and_who_looked_is_left_out() {
        let found = |is_look: bool| move |index| Found { index, serial: None, is_look, is_exact: true };
        let places = |found: Vec<Found>| found.into_iter().map(|one| one.index).collect::<Vec<_>>();
        assert_eq!(places(oldest([9, 7, 3].map(found(true)).to_vec())), [3, 7, 9]);
        let many = |from: u64| (from..from + PROOFS_MAX as u64).rev();
        assert_eq!(places(oldest(many(0).map(found(false)).collect())), (0..PROOFS_MAX as u64).collect::<Vec<_>>());
        let with_looks =
            [vec![found(false)(9_999)], many(1).map(found(true)).collect(), vec![found(false)(0)]].concat();
        assert_eq!(places(oldest(with_looks)), [0, 9_999]);
        assert_eq!(oldest(many(0).chain([5, 6]).map(found(false)).collect()).len(), PROOFS_MAX);
    }
}
