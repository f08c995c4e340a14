//! Free loopback ports.

use anyhow::{Result, bail};
use std::{
    net::{Ipv4Addr, TcpListener, UdpSocket},
    sync::atomic::{AtomicU16, Ordering},
};

/// Below what the kernel hands out for outgoing connections, so that nobody takes a port between our look and its use.
const FIRST: u16 = 20_000;
/// How many ports there are.
const COUNT: u16 = 12_000;

/// Where the next look starts; processes start at different places.
static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port of the loopback address that is free for TCP and UDP.
///
/// # Errors
/// None is.
pub fn free() -> Result<u16> {
    let offset = u16::try_from(u64::from(std::process::id()).wrapping_mul(2_654_435_761) % u64::from(COUNT))?;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (offset + step % COUNT) % COUNT;
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if free && UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no loopback port from {FIRST} to {} is free", FIRST + COUNT - 1)
}
