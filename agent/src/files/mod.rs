//! A file session: the SFTP server that a person's `sftp` and `scp` talk to, in a process of its own, as the account.
//!
//! The agent starts its own program again for each session (`spawn`), so that the kernel judges every path by the account's
//! rights and a fault here harms one session. What is done is reported to the agent as it is done. Not here: the bytes of
//! the protocol (`belay_agent_rules::sftp`), the sum of the reports (`belay_agent_rules::file_reports`).

mod changes;
mod copying;
mod handles;
mod listing;
mod paths;
mod reports;
mod server;

use belay_agent_rules::{limits::SFTP_PACKET_BYTES_MAX, sftp};
use reports::Reports;
use server::Server;
use std::{
    fs::File,
    io::{self, Read, Write},
    path::PathBuf,
};

/// Answers are sent when so many bytes of them wait, or when nothing more is asked: what a client that asks ahead gets in
/// one piece.
const ANSWERS_BYTES_HIGH: usize = 256 << 10;
/// What waits at the most: one whole packet, and a pipe's worth of the next.
const READ_BYTES: usize = SFTP_PACKET_BYTES_MAX + (64 << 10);

/// Serves one file session on standard input and output until the client ends it.
///
/// Cut off half-way: what was done was reported before it was answered.
///
/// # Errors
/// Input, output or the agent is gone, or the client speaks no SFTP.
pub fn serve(report: File, home: PathBuf) -> io::Result<()> {
    let mut server = Server::new(Reports::new(report), home);
    let outcome = converse(&mut server, &mut io::stdin().lock(), &mut io::stdout().lock());
    server.end();
    outcome
}

/// Requests in, answers out, in the order in which they came.
fn converse(server: &mut Server, input: &mut impl Read, output: &mut impl Write) -> io::Result<()> {
    let mut inflow = Inflow { bytes: vec![0; READ_BYTES], taken: 0, filled: 0 };
    loop {
        while let Some((packet, length)) = sftp::split(inflow.waiting()).map_err(invalid)? {
            server.answer(packet).map_err(invalid)?;
            // Told before the next is done: what ends this process in between takes no more than one deed from the list.
            server.flush_reports()?;
            inflow.taken += length;
            if server.replies().bytes().len() >= ANSWERS_BYTES_HIGH {
                send(server, output)?;
            }
        }
        send(server, output)?;
        if !inflow.read(input)? {
            return Ok(());
        }
    }
}

/// What was read and not yet taken, in one place that is filled again and again.
struct Inflow {
    bytes: Vec<u8>,
    taken: usize,
    filled: usize,
}

impl Inflow {
    fn waiting(&self) -> &[u8] {
        self.bytes.get(self.taken..self.filled).unwrap_or_default()
    }

    /// Reads what there is, at least a byte; `false` at the end. What waits is less than a packet, so there is room.
    fn read(&mut self, input: &mut impl Read) -> io::Result<bool> {
        self.bytes.copy_within(self.taken..self.filled, 0);
        self.filled -= std::mem::take(&mut self.taken);
        let count = input.read(self.bytes.get_mut(self.filled..).unwrap_or_default())?;
        self.filled += count;
        Ok(count > 0)
    }
}

fn send(server: &mut Server, output: &mut impl Write) -> io::Result<()> {
    output.write_all(server.replies().bytes())?;
    output.flush()?;
    server.replies().clear();
    Ok(())
}

fn invalid(malformed: sftp::Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, malformed)
}
