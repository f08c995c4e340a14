//! The open end of hello and welcome: numbered byte strings that a peer may not know and then ignores.

use crate::codec::{Decode, Encode};
use crate::limits::{EXTENSION_BYTES_MAX, EXTENSIONS_MAX, OverBound, at_most};

/// In `Hello`: the SHA-256 of the host certificate that the agent holds, as the line it was offered; 32 bytes, absent for
/// none. A certificate may be made anew for the record that is held.
pub const CERTIFICATE_HELD: u16 = 1;

/// What a newer minor version adds to a hello or a welcome: pairs of number and value, in rising order of numbers.
///
/// At most [`EXTENSIONS_MAX`], each value at most [`EXTENSION_BYTES_MAX`] bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Extensions(pub Vec<(u16, Vec<u8>)>);

impl Extensions {
    /// The value of extension `number`: the first one, should a peer repeat it.
    pub fn get(&self, number: u16) -> Option<&[u8]> {
        self.0.iter().find(|(found, _)| *found == number).map(|(_, value)| value.as_slice())
    }

    pub(crate) fn check(&self) -> Result<(), OverBound> {
        at_most("extensions", self.0.len(), EXTENSIONS_MAX)?;
        self.0.iter().try_for_each(|(_, value)| at_most("extension", value.len(), EXTENSION_BYTES_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_repeated_extension_counts() {
        let extensions = Extensions(vec![(7, vec![1]), (7, vec![2])]);
        assert_eq!(extensions.get(7), Some([1].as_slice()));
        assert_eq!(extensions.get(8), None);
    }
}
