//! A small seeded generator: the same seed gives the same inputs on every machine.

/// Marsaglia's xorshift64.
#[derive(Debug, Clone)]
pub struct Seeded(u64);

impl Seeded {
    /// A generator for `seed`; 0 is replaced, xorshift has no way out of it.
    pub fn new(seed: u64) -> Self {
        Self(seed.max(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number below `bound`, or 0 when `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let bound = u64::try_from(bound.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.0 % bound).unwrap_or(0)
    }

    /// `sample` with up to eight edits: flipped, removed, doubled and swapped bytes, and bytes that parsers dislike.
    pub fn mutate(&mut self, sample: &[u8]) -> Vec<u8> {
        const DISLIKED: &[u8] = b"\0\r\n\t\"'\\[]{}=,.:-+#\x1b\x7f\xc3\xff\xfe\xef";
        let mut out = sample.to_vec();
        for _ in 0..=self.below(8) {
            let at = self.below(out.len().max(1));
            match self.below(6) {
                0 if at < out.len() => out[at] ^= 1 << self.below(8),
                1 if at < out.len() => drop(out.remove(at)),
                2 => out.insert(at.min(out.len()), DISLIKED[self.below(DISLIKED.len())]),
                3 => out.truncate(at),
                4 => {
                    let end = (at + 1 + self.below(64)).min(out.len());
                    let piece = out.get(at..end).unwrap_or_default().to_vec();
                    let to = self.below(out.len().max(1)).min(out.len());
                    out.splice(to..to, piece);
                }
                _ if !out.is_empty() => {
                    let other = self.below(out.len());
                    let at = at.min(out.len() - 1);
                    out.swap(at, other);
                }
                _ => {}
            }
        }
        out
    }
}
