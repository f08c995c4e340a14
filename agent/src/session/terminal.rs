//! Our side of a terminal, for tokio.

use bytes::{BufMut, BytesMut};
use rustix::{
    fd::OwnedFd,
    io::Errno,
    termios::{LocalModes, Winsize, tcgetattr, tcgetpgrp, tcsetwinsize},
};
use std::io;
use tokio::io::unix::AsyncFd;

/// Most bytes one read takes: what the kernel's terminal buffer holds.
const READ_BYTES: usize = 4096;

/// The master of a pseudo-terminal, non-blocking.
pub(crate) struct Master {
    fd: AsyncFd<OwnedFd>,
}

impl Master {
    /// `fd` must be in non-blocking mode.
    #[expect(deprecated, reason = "an OwnedFd keeps its descriptor, which is all that the unsafe successor asks for")]
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { fd: AsyncFd::new(fd)? })
    }

    /// Reads into `buffer`; 0 when no process holds the terminal any more. Cancel-safe.
    pub(crate) async fn read_buf(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        loop {
            let mut ready = self.fd.readable().await?;
            match ready.try_io(|fd| read_once(fd.get_ref(), buffer)) {
                Ok(read) => return read,
                Err(_would_block) => {}
            }
        }
    }

    /// Writes a part of `bytes`, as much as the terminal takes. Cancel-safe.
    pub(crate) async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.fd.writable().await?;
            match ready.try_io(|fd| rustix::io::write(fd.get_ref(), bytes).map_err(io::Error::from)) {
                Ok(written) => return written,
                Err(_would_block) => {}
            }
        }
    }

    /// Another size; the kernel tells the programs (SIGWINCH).
    pub(crate) fn resize(&self, size: Winsize) -> io::Result<()> {
        Ok(tcsetwinsize(self.fd.get_ref(), size)?)
    }

    /// Whether the terminal shows what is typed; not while a password is asked for.
    pub(crate) fn echoes(&self) -> bool {
        tcgetattr(self.fd.get_ref()).is_ok_and(|modes| modes.local_modes.contains(LocalModes::ECHO))
    }

    /// The process group that has the terminal now.
    pub(crate) fn foreground(&self) -> Option<rustix::process::Pid> {
        tcgetpgrp(self.fd.get_ref()).ok()
    }
}

/// One read; the error Linux gives when the last holder is gone is the end.
fn read_once(fd: &OwnedFd, buffer: &mut BytesMut) -> io::Result<usize> {
    let mut chunk = [0; READ_BYTES];
    match rustix::io::read(fd, &mut chunk) {
        Ok(count) => {
            buffer.put_slice(chunk.get(..count).unwrap_or_default());
            Ok(count)
        }
        Err(Errno::IO) => Ok(0),
        Err(error) => Err(error.into()),
    }
}
