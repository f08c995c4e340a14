//! What of an order a job is paced by: how many devices, waves, tolerance, window, and how long a run may take.

use crate::limits::{OFFER_SECONDS_MAX, RESULT_GRACE_SECONDS};
use belay_certs::Timestamp;
use belay_certs::order::{Order, Share};
use belay_certs::runbook::Runbook;
use belay_certs::time::SECOND;

/// An order's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// How many may have begun in each wave; rising, the last one all of them, never empty.
    gates: Vec<usize>,
    /// How many of them may miss.
    stop_above: Option<Share>,
    /// From when on runs may start.
    not_before: Timestamp,
    /// From when on none may start.
    not_after: Timestamp,
    /// How long a run may take, in seconds.
    run_seconds: i64,
}

impl Plan {
    /// The plan of an order and the runbook that it names.
    pub fn of(order: &Order, runbook: &Runbook) -> Self {
        let gates = order.waves.gates(order.devices).into_iter();
        Self {
            gates: gates.map(|gate| usize::try_from(gate).unwrap_or(usize::MAX)).collect(),
            stop_above: order.stop_above,
            not_before: order.not_before,
            not_after: order.not_after,
            run_seconds: i64::try_from(order.timeout.unwrap_or(runbook.timeout).seconds()).unwrap_or(i64::MAX),
        }
    }

    /// When an offer made at this moment is overdue.
    pub fn offer_due(offered: Timestamp) -> Timestamp {
        offered.plus(OFFER_SECONDS_MAX * SECOND)
    }

    /// When a run that started at this moment is overdue.
    pub fn run_due(&self, started: Timestamp) -> Timestamp {
        started.plus(self.run_seconds.saturating_add(RESULT_GRACE_SECONDS).saturating_mul(SECOND))
    }

    /// How many devices there are.
    pub(super) fn devices(&self) -> usize {
        self.gates.last().copied().unwrap_or(0)
    }

    /// How many runs may have begun in this wave.
    pub(super) fn places(&self, wave: usize) -> usize {
        self.gates.get(wave).copied().unwrap_or_else(|| self.devices())
    }

    pub(super) fn has_wave(&self, wave: usize) -> bool {
        wave < self.gates.len()
    }

    /// The first wave that reaches so many runs.
    pub(super) fn wave_of(&self, taken: usize) -> usize {
        self.gates.partition_point(|gate| *gate < taken).min(self.gates.len().saturating_sub(1))
    }

    /// How many of so many places may miss; `None`: any number.
    pub(super) fn tolerated(&self, places: u64) -> Option<u64> {
        self.stop_above.map(|share| share.rounded_down(places))
    }

    pub(super) fn is_open(&self, now: Timestamp) -> bool {
        (self.not_before..self.not_after).contains(&now)
    }

    pub(super) fn is_past(&self, now: Timestamp) -> bool {
        now >= self.not_after
    }

    /// When the window next opens or closes.
    pub(super) fn next_edge(&self, now: Timestamp) -> Option<Timestamp> {
        [self.not_before, self.not_after].into_iter().find(|edge| *edge > now)
    }
}
