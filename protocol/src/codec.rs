//! Message bodies as bytes: the only file that names `bincode`, so that its traps are closed in one place.
//! Frames, and the limits of each message, are elsewhere.
//!
//! The traps: without a limit nine hostile bytes abort the process; trailing bytes pass in silence; encoding ignores the limit.

pub(crate) use bincode::{Decode, Encode};

/// What can be a message body: a plain struct of strings, bytes, integers, arrays, options and lists.
pub trait Wire: Encode + Decode<()> {}
impl<T: Encode + Decode<()>> Wire for T {}

/// What lists of small items may take in memory beyond their bytes on the wire: 256 policies of 80 bytes, with room.
const LIST_BYTES_SLACK: usize = 32 << 10;

/// Why a body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// A length inside claims more than [`claim_bytes_max`] allows for a body of this size; nothing was allocated for it.
    Claim,
    /// The bytes end early, or are not what the fields say.
    Malformed,
    /// The fields end before the bytes do.
    Trailing,
}

/// The steps of the claim limit: `bincode` takes its limit as a constant, so the bound cannot follow the body's size exactly.
macro_rules! steps {
    ($($step:expr),+; last $last:expr) => {
        /// The most memory that lengths inside a body of `body_bytes` can claim before they are refused: never more than twice
        /// the body and the slack.
        pub(crate) const fn claim_bytes_max(body_bytes: usize) -> usize {
            let needed = body_bytes.saturating_add(LIST_BYTES_SLACK);
            $(if needed <= $step {
                return $step;
            })+
            $last
        }

        /// Reads one value that is the whole of `body`.
        pub(crate) fn decode<T: Wire>(body: &[u8]) -> Result<T, Unreadable> {
            match claim_bytes_max(body.len()) {
                $(step if step == $step => within::<T, { $step }>(body),)+
                _ => within::<T, { $last }>(body),
            }
        }
    };
}
steps!(40 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20, 2 << 20, 4 << 20, 8 << 20; last 16 << 20);

// The largest body there is can be read.
const _: () = assert!(
    claim_bytes_max(crate::limits::JOIN_ACCEPTED_BODY_BYTES_MAX)
        >= crate::limits::JOIN_ACCEPTED_BODY_BYTES_MAX + LIST_BYTES_SLACK
);

fn within<T: Wire, const CLAIM_BYTES_MAX: usize>(body: &[u8]) -> Result<T, Unreadable> {
    let config = bincode::config::standard().with_limit::<CLAIM_BYTES_MAX>();
    match bincode::decode_from_slice::<T, _>(body, config) {
        Ok((value, consumed)) if consumed == body.len() => Ok(value),
        Ok(_) => Err(Unreadable::Trailing),
        Err(bincode::error::DecodeError::LimitExceeded) => Err(Unreadable::Claim),
        Err(_) => Err(Unreadable::Malformed),
    }
}

/// Appends `value` to `out`; false when it cannot be written, which a message of plain fields never causes.
/// `bincode` applies no limit here: the caller compares the size.
#[must_use]
pub(crate) fn append<T: Wire>(value: &T, out: &mut Vec<u8>) -> bool {
    bincode::encode_into_std_write(value, out, bincode::config::standard()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::JOIN_ACCEPTED_BODY_BYTES_MAX;

    /// A body of `body_bytes` that says it is a byte string of `length`.
    fn claiming(length: u64, body_bytes: usize) -> Vec<u8> {
        let mut body = vec![0xfd];
        body.extend_from_slice(&length.to_le_bytes());
        body.resize(body_bytes, 0);
        body
    }

    #[test]
    fn a_length_is_refused_before_it_is_allocated() {
        for body_bytes in [9, 1_000, 100_000, 1 << 20, JOIN_ACCEPTED_BODY_BYTES_MAX] {
            let most = claim_bytes_max(body_bytes) as u64;
            for length in [most, most + 1, u64::from(u32::MAX), u64::MAX / 2, u64::MAX] {
                assert_eq!(decode::<Vec<u8>>(&claiming(length, body_bytes)), Err(Unreadable::Claim), "{length}");
                assert_eq!(decode::<String>(&claiming(length, body_bytes)), Err(Unreadable::Claim), "{length}");
                assert_eq!(decode::<Vec<[u8; 32]>>(&claiming(length, body_bytes)), Err(Unreadable::Claim), "{length}");
            }
            assert_eq!(decode::<Vec<u8>>(&claiming(most - 64, body_bytes)), Err(Unreadable::Malformed));
        }
    }

    #[test]
    fn a_list_counts_the_memory_of_its_items() {
        let fits = claim_bytes_max(9) as u64 / size_of::<String>() as u64;
        assert_eq!(decode::<Vec<String>>(&claiming(fits + 1, 9)), Err(Unreadable::Claim));
        assert_eq!(decode::<Vec<String>>(&claiming(fits - 8, 9)), Err(Unreadable::Malformed));
    }

    #[test]
    fn what_can_be_claimed_stays_near_what_arrived() {
        for body_bytes in (0..=JOIN_ACCEPTED_BODY_BYTES_MAX).step_by(1_021) {
            let needed = body_bytes + LIST_BYTES_SLACK;
            let claim = claim_bytes_max(body_bytes);
            assert!(claim >= needed && claim <= 2 * needed, "{body_bytes} {claim}");
        }
    }

    #[test]
    fn a_value_is_the_whole_of_its_body() {
        assert_eq!(decode::<u64>(&[5]), Ok(5));
        assert_eq!(decode::<u64>(&[5, 0]), Err(Unreadable::Trailing));
        assert_eq!(decode::<u64>(&[]), Err(Unreadable::Malformed));
    }
}
