//! A file session: the SFTP server that a person's `sftp` and `scp` talk to, in a process of its own, as the account.
//!
//! The agent starts its own program again for each session (`spawn`), so that the kernel judges every path by the account's
//! rights and a fault here harms one session. What is done is reported to the agent as it is done. Not here: the bytes of
//! the protocol (`belay_agent_rules::sftp`), the sum of the reports (`belay_agent_rules::file_reports`).

mod changes;
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
/// Read at a time: one whole packet and the start of the next.
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
    let mut waiting = Vec::new();
    loop {
        let mut taken = 0;
        while let Some((packet, length)) = sftp::split(waiting.get(taken..).unwrap_or_default()).map_err(invalid)? {
            server.answer(packet).map_err(invalid)?;
            taken += length;
            if server.replies().bytes().len() >= ANSWERS_BYTES_HIGH {
                send(server, output)?;
            }
        }
        waiting.drain(..taken);
        send(server, output)?;
        if !read_more(input, &mut waiting)? {
            return Ok(());
        }
    }
}

fn send(server: &mut Server, output: &mut impl Write) -> io::Result<()> {
    // Told before it is answered: what the client believes to be done is in the list.
    server.flush_reports()?;
    output.write_all(server.replies().bytes())?;
    output.flush()?;
    server.replies().clear();
    Ok(())
}

/// Reads what there is, at least a byte; `false` at the end.
fn read_more(input: &mut impl Read, waiting: &mut Vec<u8>) -> io::Result<bool> {
    let start = waiting.len();
    waiting.resize(start + READ_BYTES, 0);
    let read = input.read(waiting.get_mut(start..).unwrap_or_default());
    waiting.truncate(start + read.as_ref().copied().unwrap_or(0));
    Ok(read? > 0)
}

fn invalid(malformed: sftp::Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, malformed)
}
