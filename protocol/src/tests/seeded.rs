//! Random bytes from fixed seeds into every decoder and reader: nothing panics, and what is read can be written and read again.

use super::samples::{ForEach, for_each, raw};
use crate::kinds::KINDS;
use crate::*;

const INPUTS: u32 = 10_000;

/// Marsaglia's xorshift64: a few lines, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }

    /// The bytes with a few of them changed, removed, doubled or put in.
    fn spoil(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut spoilt = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(spoilt.len());
            match self.below(6) {
                0 if !spoilt.is_empty() => spoilt[at] = self.next() as u8,
                1 if !spoilt.is_empty() => spoilt[at] ^= 1 << self.below(8),
                2 if !spoilt.is_empty() => _ = spoilt.remove(at),
                3 => spoilt.insert(at, [0, 1, 0x7f, 0xfa, 0xfb, 0xfc, 0xfd, 0xff][self.below(8)]),
                4 => spoilt.truncate(at),
                _ => spoilt.extend_from_within(at..),
            }
        }
        spoilt
    }
}

struct Decode(Random);

impl ForEach for Decode {
    fn message<M: Message + Clone + PartialEq + std::fmt::Debug>(&mut self, sample: M) {
        let honest = raw(&sample);
        let mut read = 0;
        for input in 0..INPUTS {
            let body = if input % 4 == 0 {
                let count = self.0.below(300);
                self.0.bytes(count)
            } else {
                self.0.spoil(&honest.body)
            };
            let Ok(message) = decode_frame::<M>(&RawFrame { body, ..honest }) else { continue };
            read += 1;
            assert!(encode_frame(&message).is_ok(), "what was read can be written: {message:?}");
            assert_eq!(decode_frame::<M>(&raw(&message)), Ok(message));
        }
        assert!(read > 0, "no input reached the inside of {}", M::NAME);
    }
}

#[test]
fn every_decoder_withstands_random_bodies() {
    for_each(&mut Decode(Random(0x5eed_0001)));
}

/// All frames and the error, if any, that come out of `stream` in pieces that `cut` chooses.
fn hear<P: Phase>(phase: P, stream: &[u8], mut cut: impl FnMut() -> usize) -> (Vec<RawFrame>, Option<Misbehaved>) {
    let (mut reader, mut rest, mut arrived, mut frames) = (FrameReader::new(phase), stream, 0, Vec::new());
    while !rest.is_empty() {
        let (mut piece, after) = rest.split_at(cut().clamp(1, rest.len()));
        arrived += piece.len();
        rest = after;
        loop {
            match reader.push(&mut piece) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(wrong) => return (frames, Some(wrong)),
            }
            assert!(reader.buffer_bytes() <= 2 * arrived + 8);
        }
    }
    (frames, None)
}

/// A stream of frames with random kinds, lengths that are mostly true, and noise.
fn stream(random: &mut Random) -> Vec<u8> {
    let mut stream = Vec::new();
    for _ in 0..random.below(6) {
        let count = random.below(80);
        let body = random.bytes(count);
        let length = if random.below(8) == 0 { random.next() as u32 } else { body.len() as u32 + 3 };
        let kind = if random.below(4) == 0 { random.next() as u16 } else { KINDS[random.below(KINDS.len())].number };
        stream.extend_from_slice(&length.to_be_bytes());
        stream.extend_from_slice(&kind.to_be_bytes());
        stream.push(1);
        stream.extend_from_slice(&body);
    }
    stream
}

fn withstand<P: Phase + std::fmt::Debug>(seed: u64) {
    let mut random = Random(seed);
    for _ in 0..INPUTS {
        let phase = P::ALL[random.below(P::ALL.len())];
        let stream = stream(&mut random);
        let whole = hear(phase, &stream, || usize::MAX);
        let cut = hear(phase, &stream, || random.below(20) + 1);
        assert_eq!(whole, cut, "from {phase:?}");
        for frame in &whole.0 {
            _ = (ToGateway::decode(frame), ToAgent::decode(frame), JoinAnswer::decode(frame));
        }
    }
}

#[test]
fn a_gateways_reader_withstands_random_streams() {
    withstand::<GatewayPhase>(0x5eed_0002);
}

#[test]
fn an_agents_reader_withstands_random_streams() {
    withstand::<AgentPhase>(0x5eed_0003);
}
