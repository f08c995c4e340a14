//! What the runs of a job print, handed over to one who follows it as soon as it is durable here.
//!
//! Each device's file from its first byte on, in order and without a gap. Not here: how the runs stand (`view`).

use crate::{
    Gateway,
    act::jobs::Listener,
    limits::{OUTPUT_LAST_WAIT, OUTPUT_PART_BYTES},
    ssh::commands::{Failure, Output, show},
    store::{RunRow, TenantStore},
};
use belay_certs::{DeviceName, Id, TenantName};
use serde::Serialize;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};
use tokio::{io::AsyncWriteExt, time::Instant};

/// How it is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Of every device, in lines of JSON between those about the job.
    Lines,
    /// Of one device, the file's own bytes and nothing else.
    Raw,
}

/// A part of a device's file, as JSON.
#[derive(Serialize)]
struct Part<'a> {
    job: Id,
    device: &'a DeviceName,
    /// Where in the file it begins, in bytes.
    at: u64,
    output: &'a str,
}

/// One follower, and how far it is.
pub(super) struct Outputs<'a> {
    store: &'a TenantStore,
    job: Id,
    pub(super) shape: Shape,
    listener: Arc<Listener>,
    /// Bytes of each device's file that were handed over.
    handed: HashMap<DeviceName, u64>,
    /// When something last was.
    last: Instant,
    /// Since when nothing more is printed.
    since: Option<Instant>,
}

impl<'a> Outputs<'a> {
    /// Listens from now on: what is there already is found by whoever reads the runs after this.
    pub(super) fn of(
        gateway: &Gateway,
        store: &'a TenantStore,
        (tenant, job): (&TenantName, Id),
        shape: Shape,
    ) -> Self {
        let listener = gateway.jobs.listen((tenant.clone(), job));
        Self { store, job, shape, listener, handed: HashMap::new(), last: Instant::now(), since: None }
    }

    /// Returns once a device has printed.
    pub(super) async fn heard(&self) {
        self.listener.heard().await;
    }

    /// The devices that printed since it was asked last.
    pub(super) fn take(&self) -> BTreeSet<DeviceName> {
        self.listener.take()
    }

    /// Hands over the next page of what is here of a device's file and was not handed over; whether there may be more.
    pub(super) async fn hand_over(&mut self, device: &DeviceName, stdout: &mut Output<'_>) -> Result<bool, Failure> {
        let mut at = self.handed.get(device).copied().unwrap_or(0);
        let page = self.store.output(self.job, device, at).await?;
        for part in page.chunks(OUTPUT_PART_BYTES) {
            match self.shape {
                Shape::Raw => stdout.write_all(part).await?,
                Shape::Lines => {
                    // A device's file is ASCII; of one that is not, the digest will not fit either.
                    let output = &String::from_utf8_lossy(part);
                    stdout.write_all(show::json(&Part { job: self.job, device, at, output })?.as_bytes()).await?;
                }
            }
            at = at.saturating_add(u64::try_from(part.len()).unwrap_or(u64::MAX));
            self.handed.insert(device.clone(), at);
            self.last = Instant::now();
        }
        Ok(!page.is_empty())
    }

    /// How many bytes of what the run printed were not handed over, once it is over; of one that was deleted nothing is missing.
    pub(super) fn lacks(&self, run: &RunRow) -> u64 {
        let all = run.ended.as_ref().filter(|_| run.output_deleted.is_none()).map_or(0, |ended| ended.output_bytes);
        all.saturating_sub(self.handed.get(&run.device).copied().unwrap_or(0))
    }

    /// Nothing more is printed: from now on only what devices still have is waited for.
    pub(super) fn all_printed(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    /// Whether nothing came for so long since then that a device that has the rest is not waited for any more.
    pub(super) fn is_overdue(&self) -> bool {
        self.since.is_some_and(|since| since.max(self.last).elapsed() >= OUTPUT_LAST_WAIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ssh::commands::tests::world::{World, tenant},
        store::RunEnded,
    };
    use belay_certs::{Timestamp, order};
    use belay_rules::submission::RunState;

    fn ended(bytes: u64) -> RunRow {
        let now = Timestamp::from_micros(1);
        RunRow {
            device: "web1".parse().unwrap(),
            place: 0,
            serial: 1,
            state: RunState::Ended(order::Outcome::Succeeded),
            offered: now,
            started: Some(now),
            ended: Some(RunEnded {
                at: now,
                exit: Some(0),
                signal: None,
                reason: None,
                duration_ms: 1,
                output: None,
                output_bytes: bytes,
                output_dropped: 0,
            }),
            output_kept: 0,
            output_changed: None,
            output_hold: None,
            output_deleted: None,
            changed: 1,
        }
    }

    #[tokio::test]
    async fn what_a_device_still_has_is_waited_for_a_while_and_what_was_deleted_is_not() {
        let world = World::new().await;
        let (acme, job) = (tenant("acme"), Id([1; 16]));
        let store = world.gateway.store.tenant(&acme).unwrap();
        tokio::time::pause();
        let mut outputs = Outputs::of(&world.gateway, &store, (&acme, job), Shape::Lines);
        let run = ended(3);
        assert_eq!((outputs.lacks(&run), outputs.lacks(&ended(0))), (3, 0));
        assert_eq!(outputs.lacks(&RunRow { output_deleted: Some(Timestamp::from_micros(2)), ..run.clone() }), 0);
        assert_eq!(outputs.lacks(&RunRow { ended: None, ..run.clone() }), 0, "who knows how much it prints");
        outputs.handed.insert(run.device.clone(), 2);
        assert_eq!(outputs.lacks(&run), 1);
        // It ran in silence for longer than anything is waited for after its end.
        tokio::time::advance(OUTPUT_LAST_WAIT * 2).await;
        assert!(!outputs.is_overdue(), "it may print");
        outputs.all_printed();
        tokio::time::advance(OUTPUT_LAST_WAIT / 2).await;
        outputs.all_printed();
        assert!(!outputs.is_overdue());
        tokio::time::advance(OUTPUT_LAST_WAIT / 2).await;
        assert!(outputs.is_overdue());
    }
}
