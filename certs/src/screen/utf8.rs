//! Bytes in pieces as whole characters. What is no UTF-8 is U+FFFD, wherever the pieces are cut.

/// The longest beginning of a character that is kept for the next piece, in bytes.
const BEGUN_BYTES_MAX: usize = 3;

/// Joins characters that were cut.
#[derive(Debug, Default)]
pub(super) struct Whole {
    /// The beginning of a character whose rest has not come.
    begun: Vec<u8>,
}

impl Whole {
    /// The characters that are whole with these bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> String {
        let joined = [std::mem::take(&mut self.begun).as_slice(), bytes].concat();
        let mut text = String::with_capacity(joined.len());
        let mut rest = joined.as_slice();
        loop {
            let error = match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    return text;
                }
                Err(error) => error,
            };
            let (valid, from_error) = rest.split_at(error.valid_up_to());
            text.push_str(&String::from_utf8_lossy(valid));
            match error.error_len() {
                Some(length) => {
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = from_error.get(length..).unwrap_or_default();
                }
                None => {
                    self.begun = from_error.get(..from_error.len().min(BEGUN_BYTES_MAX)).unwrap_or_default().to_vec();
                    return text;
                }
            }
        }
    }
}
