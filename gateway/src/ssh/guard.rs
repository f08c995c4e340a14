//! Reads along until the login: what a stranger may send is bounded before the SSH library makes room for it.
//!
//! The library takes the word of a packet's length, up to 256 KiB, and makes that much room for four bytes. Before keys are
//! agreed on every length is in the clear, and with AES-GCM it still is afterwards (RFC 5647 section 7.3), so a larger one is
//! refused here. With ChaCha20, where it is offered, lengths are hidden and the library's maximum holds.

use crate::limits;
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The message after which packets are encrypted (RFC 4253 section 7.3).
const NEWKEYS: u8 = 21;
/// The tag behind each packet of the ciphers that are offered.
const TAG_BYTES: usize = 16;

/// How far a login is; shared by the connection's stream, its handler and whoever judges its end.
#[derive(Debug, Default)]
pub(super) struct Progress {
    logged_in: AtomicBool,
    /// The client sent more than anybody needs.
    excess: AtomicBool,
    /// A key or a password was refused.
    refused: AtomicBool,
}

impl Progress {
    pub(super) fn log_in(&self) {
        self.logged_in.store(true, Ordering::Release);
    }

    pub(super) fn is_logged_in(&self) -> bool {
        self.logged_in.load(Ordering::Acquire)
    }

    pub(super) fn refuse(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    pub(super) fn was_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    pub(super) fn has_excess(&self) -> bool {
        self.excess.load(Ordering::Relaxed)
    }
}

/// Whether packets' lengths can be read after keys were agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lengths {
    /// Every cipher that is offered leaves them in the clear.
    Clear,
    /// Some hide them.
    Hidden,
}

/// A stream that ends when a client sends more before its login than anybody needs.
pub(super) struct Guard<S> {
    stream: S,
    progress: Arc<Progress>,
    budget: Budget,
}

impl<S> Guard<S> {
    pub(super) fn new(stream: S, progress: Arc<Progress>, lengths: Lengths) -> Self {
        Self { stream, progress, budget: Budget::new(lengths) }
    }
}

/// What is still allowed. Pure.
struct Budget {
    bytes_left: usize,
    expect: Expect,
    /// Bytes behind a packet that its length does not count.
    tag: usize,
    lengths: Lengths,
}

/// What the next byte belongs to.
enum Expect {
    /// The client's version; the library bounds it.
    Version,
    /// A packet's length, of which `have` bytes came.
    Length { have: u8, length: u32 },
    /// The padding's length, the first byte of a packet of `left`.
    Padding { left: usize },
    /// The message's number.
    Kind { left: usize },
    /// The rest of a packet.
    Rest { left: usize },
    /// Lengths cannot be read any more.
    Hidden,
}

impl Budget {
    fn new(lengths: Lengths) -> Self {
        Self { bytes_left: limits::LOGIN_BYTES_MAX, expect: Expect::Version, tag: 0, lengths }
    }

    /// Takes what arrived; false when it is more than allowed.
    fn take(&mut self, mut bytes: &[u8]) -> bool {
        let Some(left) = self.bytes_left.checked_sub(bytes.len()) else { return false };
        self.bytes_left = left;
        while let Some((first, rest)) = bytes.split_first() {
            match self.expect {
                Expect::Hidden => return true,
                Expect::Rest { left } => {
                    let skipped = left.min(bytes.len());
                    bytes = bytes.get(skipped..).unwrap_or_default();
                    self.expect = after(left - skipped);
                    continue;
                }
                Expect::Version if *first == b'\n' => self.expect = after(0),
                Expect::Version => {}
                Expect::Length { have, length } => {
                    let length = length << 8 | u32::from(*first);
                    let bytes = usize::try_from(length).unwrap_or(usize::MAX);
                    self.expect = match have {
                        0..3 => Expect::Length { have: have + 1, length },
                        _ if bytes > limits::LOGIN_PACKET_BYTES_MAX => return false,
                        _ => Expect::Padding { left: bytes + self.tag },
                    };
                }
                Expect::Padding { left } => self.expect = Expect::Kind { left: left.saturating_sub(1) },
                Expect::Kind { left } => self.expect = self.begin(*first, left.saturating_sub(1)),
            }
            bytes = rest;
        }
        true
    }

    /// A message begins, of which `left` bytes follow.
    fn begin(&mut self, kind: u8, left: usize) -> Expect {
        if self.tag == 0 && kind == NEWKEYS {
            match self.lengths {
                Lengths::Clear => self.tag = TAG_BYTES,
                Lengths::Hidden => return Expect::Hidden,
            }
        }
        after(left)
    }
}

fn after(left: usize) -> Expect {
    if left == 0 { Expect::Length { have: 0, length: 0 } } else { Expect::Rest { left } }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if self.progress.is_logged_in() {
            return Poll::Ready(Ok(()));
        }
        let arrived = buffer.filled().get(before..).unwrap_or_default();
        if !self.budget.take(arrived) {
            self.progress.excess.store(true, Ordering::Relaxed);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "too much before a login")));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet in the clear with this message number and as much behind it.
    fn packet(kind: u8, bytes: usize) -> Vec<u8> {
        let length = u32::try_from(bytes + 2).unwrap();
        [&length.to_be_bytes()[..], &[4, kind], &vec![0; bytes]].concat()
    }

    fn takes(lengths: Lengths, bytes: &[u8]) -> bool {
        let mut piecemeal = Budget::new(lengths);
        let by_byte = bytes.iter().all(|byte| piecemeal.take(&[*byte]));
        assert_eq!(Budget::new(lengths).take(bytes), by_byte, "the cut between reads makes no difference");
        by_byte
    }

    fn login(packets: &[Vec<u8>]) -> Vec<u8> {
        [&b"SSH-2.0-test\r\n"[..], &packets.concat()].concat()
    }

    #[test]
    fn a_packet_up_to_the_standards_size_passes_and_one_byte_more_does_not() {
        let largest = limits::LOGIN_PACKET_BYTES_MAX - 2;
        for lengths in [Lengths::Clear, Lengths::Hidden] {
            assert!(takes(lengths, &login(&[packet(20, largest), packet(30, 32)])));
            assert!(!takes(lengths, &login(&[packet(20, largest + 1)])));
            assert!(!takes(lengths, b"SSH-2.0-test\n\xff\xff\xff\xff"), "the length alone is enough");
        }
    }

    #[test]
    fn lengths_are_read_on_behind_the_agreed_keys_where_they_can_be() {
        let agreed = || vec![packet(20, 1_000), packet(30, 32), packet(NEWKEYS, 10)];
        let encrypted = |length: u32| {
            let body = vec![7; usize::try_from(length).unwrap().min(60_000) + TAG_BYTES];
            [&length.to_be_bytes()[..], &body].concat()
        };
        let ordinary = [agreed(), vec![encrypted(64), encrypted(1), encrypted(2_000)]].concat();
        assert!(takes(Lengths::Clear, &login(&ordinary)));
        let huge = [agreed(), vec![encrypted(64), encrypted(200_000)]].concat();
        assert!(!takes(Lengths::Clear, &login(&huge)));
        assert!(takes(Lengths::Hidden, &login(&huge)), "nobody can see it");
    }

    #[test]
    fn all_that_is_sent_before_a_login_is_bounded() {
        let packets = vec![packet(2, 30_000); limits::LOGIN_BYTES_MAX / 30_000 + 1];
        assert!(!takes(Lengths::Clear, &login(&packets)));
        assert!(!takes(Lengths::Clear, &vec![b'x'; limits::LOGIN_BYTES_MAX + 1]), "a version without an end");
    }

    #[tokio::test]
    async fn after_the_login_nothing_is_counted() {
        let progress = Arc::new(Progress::default());
        progress.log_in();
        let bytes = vec![0xff; limits::LOGIN_BYTES_MAX * 2];
        let mut guard = Guard::new(bytes.as_slice(), Arc::clone(&progress), Lengths::Clear);
        let mut read = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut guard, &mut read).await.unwrap();
        assert_eq!(read.len(), bytes.len());
        assert!(!progress.has_excess());
    }
}
