//! When a statement is sent: in order, a bounded number ahead of the answers, and again from the oldest after a lost
//! connection or a gateway that could not record.
//!
//! The gateway records a device's statements only in sequence, so after one failed all later ones fail too: then the oldest
//! goes alone, as a probe, until it is answered. Not here: bytes, connections, what an answer proves.

use crate::{
    limits::{ASKED_AGAIN_MAX, IN_FLIGHT_MAX, STALL_MS_FIRST, STALL_MS_MAX},
    statement_chain::{Made, StatementChain},
};
use std::collections::BTreeMap;

/// Milliseconds on a clock that never goes back, as given by the caller.
pub type Millis = u64;

/// How sending goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// There is no connection.
    Offline,
    /// Everything goes out; up to this number it has.
    Open { sent: u64 },
    /// The gateway could not record: nothing goes out before `until`.
    Stalled { until: Millis },
    /// The oldest went out alone, to see whether the gateway records again.
    Probing,
}

/// What was sent on this connection and not answered.
#[derive(Debug)]
pub struct Delivery {
    /// How sending goes.
    flow: Flow,
    /// Numbers on their way, and how often each receipt was asked for again.
    in_flight: BTreeMap<u64, u32>,
    /// Stalls since the last answer for good.
    stalls: u32,
}

impl Default for Delivery {
    fn default() -> Self {
        Self { flow: Flow::Offline, in_flight: BTreeMap::new(), stalls: 0 }
    }
}

impl Delivery {
    /// A new connection: everything that waits goes out again, in order.
    pub fn connected(&mut self) {
        self.flow = Flow::Open { sent: 0 };
        self.in_flight.clear();
        self.stalls = 0;
    }

    /// The connection is gone. What was on its way may or may not have arrived.
    pub fn disconnected(&mut self) {
        self.flow = Flow::Offline;
        self.in_flight.clear();
    }

    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        self.flow != Flow::Offline
    }

    /// Whether an answer to this statement is awaited.
    pub fn is_in_flight(&self, seq: u64) -> bool {
        self.in_flight.contains_key(&seq)
    }

    /// The next statement to send, which counts as sent from now on. Ask until it says `None`.
    pub fn next<'a>(&mut self, chain: &'a StatementChain, now: Millis) -> Option<&'a Made> {
        let next = match self.flow {
            Flow::Offline | Flow::Probing => return None,
            Flow::Open { sent } if self.in_flight.len() < IN_FLIGHT_MAX => {
                let next = chain.pending_after(sent)?;
                self.flow = Flow::Open { sent: next.seq };
                next
            }
            Flow::Open { .. } => return None,
            Flow::Stalled { until } if now < until => return None,
            Flow::Stalled { .. } => {
                let oldest = chain.pending_after(0)?;
                self.flow = Flow::Probing;
                oldest
            }
        };
        self.in_flight.insert(next.seq, 0);
        Some(next)
    }

    /// When to ask [`Delivery::next`] again although nothing happened.
    pub fn wake_at(&self) -> Option<Millis> {
        match self.flow {
            Flow::Stalled { until } => Some(until),
            Flow::Offline | Flow::Open { .. } | Flow::Probing => None,
        }
    }

    /// A statement was answered for good. After a probe, or a late answer in a stall, everything goes out again.
    pub fn answered(&mut self, seq: u64) {
        self.in_flight.remove(&seq);
        self.stalls = 0;
        match self.flow {
            Flow::Stalled { .. } | Flow::Probing => self.flow = Flow::Open { sent: 0 },
            Flow::Offline | Flow::Open { .. } => {}
        }
    }

    /// The gateway will not answer this one for good on this connection, and goes on with those behind it.
    pub fn skipped(&mut self, seq: u64) {
        self.in_flight.remove(&seq);
        if self.flow == Flow::Probing {
            self.flow = Flow::Open { sent: seq };
        }
    }

    /// Whether the same statement is to be sent once more at once, because its receipt starts from a log head that others
    /// have overtaken. False when it was asked too often: then nothing explains it.
    pub fn ask_again(&mut self, seq: u64) -> bool {
        match self.in_flight.get_mut(&seq) {
            Some(asked) if *asked < ASKED_AGAIN_MAX => {
                *asked += 1;
                true
            }
            Some(_) | None => false,
        }
    }

    /// The statement was not recorded, or not provably. Later answers to what was sent behind it change nothing more.
    pub fn failed(&mut self, seq: u64, now: Millis) {
        if self.in_flight.remove(&seq).is_some() {
            self.stall(now);
        }
    }

    /// Nothing that was sent counts: begin again with a probe, later.
    pub fn stall(&mut self, now: Millis) {
        if self.flow == Flow::Offline {
            return;
        }
        let wait = STALL_MS_FIRST.saturating_mul(1_u64.checked_shl(self.stalls).unwrap_or(u64::MAX)).min(STALL_MS_MAX);
        self.stalls = self.stalls.saturating_add(1).min(63);
        self.in_flight.clear();
        self.flow = Flow::Stalled { until: now.saturating_add(wait) };
    }

    /// A person waits: do not sit out a stall.
    pub fn hurry(&mut self, now: Millis) {
        if let Flow::Stalled { .. } = self.flow {
            self.flow = Flow::Stalled { until: now };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{journal::Line, statement_chain::tests::chain_of};

    fn send(delivery: &mut Delivery, chain: &StatementChain, now: Millis) -> Vec<u64> {
        std::iter::from_fn(|| delivery.next(chain, now).map(|made| made.seq)).collect()
    }

    fn settle(delivery: &mut Delivery, chain: &mut StatementChain, seq: u64) {
        chain.apply(&Line::Done { seq }).unwrap();
        delivery.answered(seq);
    }

    #[test]
    fn nothing_is_sent_without_a_connection_and_everything_in_order_with_one() {
        let (mut delivery, chain) = (Delivery::default(), chain_of(3));
        assert!(send(&mut delivery, &chain, 0).is_empty());
        delivery.connected();
        assert_eq!(send(&mut delivery, &chain, 0), [1, 2, 3]);
        assert!(send(&mut delivery, &chain, 0).is_empty(), "once each");
    }

    #[test]
    fn a_reconnect_sends_what_was_not_answered_again_in_order() {
        let (mut delivery, mut chain) = (Delivery::default(), chain_of(4));
        delivery.connected();
        send(&mut delivery, &chain, 0);
        settle(&mut delivery, &mut chain, 2);
        delivery.disconnected();
        assert!(!delivery.is_connected());
        delivery.connected();
        assert_eq!(send(&mut delivery, &chain, 0), [1, 3, 4]);
    }

    #[test]
    fn sending_is_never_more_than_a_window_ahead_of_the_answers() {
        let (mut delivery, mut chain) = (Delivery::default(), chain_of(IN_FLIGHT_MAX as u64 + 5));
        delivery.connected();
        assert_eq!(send(&mut delivery, &chain, 0).len(), IN_FLIGHT_MAX);
        settle(&mut delivery, &mut chain, 1);
        assert_eq!(send(&mut delivery, &chain, 0), [IN_FLIGHT_MAX as u64 + 1]);
    }

    #[test]
    fn a_gateway_that_cannot_record_is_probed_with_the_oldest_alone_and_then_gets_everything() {
        let (mut delivery, mut chain) = (Delivery::default(), chain_of(3));
        delivery.connected();
        send(&mut delivery, &chain, 0);
        assert!(delivery.is_in_flight(2));
        delivery.failed(1, 0);
        assert!(!delivery.is_in_flight(2));
        // The gaps that followed from it.
        delivery.failed(2, 0);
        delivery.failed(3, 0);
        assert_eq!(delivery.wake_at(), Some(STALL_MS_FIRST));
        assert!(send(&mut delivery, &chain, STALL_MS_FIRST - 1).is_empty());
        assert_eq!(send(&mut delivery, &chain, STALL_MS_FIRST), [1]);
        settle(&mut delivery, &mut chain, 1);
        assert_eq!(send(&mut delivery, &chain, STALL_MS_FIRST), [2, 3]);
    }

    #[test]
    fn probes_come_ever_more_rarely_unless_a_person_waits() {
        let (mut delivery, chain) = (Delivery::default(), chain_of(1));
        delivery.connected();
        send(&mut delivery, &chain, 0);
        let mut now = 0;
        for _ in 0..20 {
            delivery.failed(1, now);
            let until = delivery.wake_at().unwrap();
            assert!(until - now <= STALL_MS_MAX);
            now = until;
            assert_eq!(send(&mut delivery, &chain, now), [1]);
        }
        delivery.failed(1, now);
        assert_eq!(delivery.wake_at(), Some(now + STALL_MS_MAX));
        delivery.hurry(now + 1);
        assert_eq!(send(&mut delivery, &chain, now + 1), [1]);
    }

    #[test]
    fn a_late_answer_in_a_stall_opens_the_way_again() {
        let (mut delivery, mut chain) = (Delivery::default(), chain_of(2));
        delivery.connected();
        send(&mut delivery, &chain, 0);
        delivery.failed(2, 0);
        settle(&mut delivery, &mut chain, 1);
        assert_eq!(send(&mut delivery, &chain, 0), [2]);
    }

    #[test]
    fn a_refusal_for_good_keeps_the_statement_and_lets_those_behind_it_pass() {
        let (mut delivery, mut chain) = (Delivery::default(), chain_of(3));
        delivery.connected();
        send(&mut delivery, &chain, 0);
        delivery.failed(1, 0);
        assert_eq!(send(&mut delivery, &chain, STALL_MS_FIRST), [1]);
        delivery.skipped(1);
        assert_eq!(send(&mut delivery, &chain, STALL_MS_FIRST), [2, 3]);
        delivery.failed(2, STALL_MS_FIRST);
        assert_eq!(delivery.wake_at(), Some(3 * STALL_MS_FIRST), "no progress was made: the waits grow");
        settle(&mut delivery, &mut chain, 3);
        assert_eq!(send(&mut delivery, &chain, STALL_MS_FIRST), [1, 2]);
    }

    #[test]
    fn a_receipt_that_others_overtook_is_asked_for_again_but_not_for_ever() {
        let (mut delivery, chain) = (Delivery::default(), chain_of(1));
        delivery.connected();
        assert!(!delivery.ask_again(1), "it was not sent");
        send(&mut delivery, &chain, 0);
        assert!((0..ASKED_AGAIN_MAX).all(|_| delivery.ask_again(1)));
        assert!(!delivery.ask_again(1));
    }
}
