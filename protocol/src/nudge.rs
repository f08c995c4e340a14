//! The nudge: the one datagram outside QUIC, by which a gateway that was killed and started again wakes devices that sleep.
//!
//! Not here: when it is sent (the gateway) and what it makes the agent send (PROTOCOL.md).

/// The nudge's bytes. The first has neither of QUIC's two highest bits, so no QUIC endpoint takes it for a packet, and lies in
/// the range that RFC 9443 leaves to nobody (4 to 15); then the name, and a version. No longer than this: it can hold nothing.
pub const NUDGE: [u8; 8] = *b"\x0bbelay\x00\x01";

/// Whether one of the datagrams in `received`, each of `stride` bytes but the last, is a nudge.
pub fn is_nudged(received: &[u8], stride: usize) -> bool {
    received.chunks(stride.max(1)).any(|datagram| datagram == NUDGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nudge_is_found_among_datagrams_that_came_together_and_nothing_else_is_one() {
        assert!(is_nudged(&NUDGE, 8) && is_nudged(&NUDGE, 1200));
        let mut several = vec![0_u8; 1200];
        several.extend(NUDGE);
        assert!(is_nudged(&several, 1200), "the last may be shorter");
        assert!(!is_nudged(&several, 2000), "one datagram that only ends like it");
        assert!(!is_nudged(&NUDGE[..7], 8) && !is_nudged(b"\x0bbelay\x00\x02", 8) && !is_nudged(b"", 0));
    }

    #[test]
    fn no_quic_endpoint_takes_a_nudge_for_a_packet() {
        assert_eq!(NUDGE[0] & 0xc0, 0);
        assert!((4..16).contains(&NUDGE[0]));
    }
}
