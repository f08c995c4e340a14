//! A ticket that a grant wants and nobody named: a person with an interactive shell is asked for it on the terminal.
//!
//! Nothing runs yet (P1): the answer goes into the question that is decided and into the intent that is recorded. Whoever
//! has no terminal to be asked on is told how to name one instead ([`HOW`]).

use super::{
    inbox::{Inbox, Incoming},
    line::{Key, Line},
    outflow::Outflow,
    request::Asked,
    standing::Standing,
};
use crate::limits::{TICKET_TRIES_MAX, TICKET_WAIT};
use belay_certs::{
    DeviceAddress,
    limits::TICKET_BYTES_MAX,
    policy::{Grant, Refusal},
};
use russh::Sig;
use tokio::sync::watch;

/// What a client without a terminal is told behind the refusal.
pub(super) const HOW: &str = "run `BELAY_TICKET=… ssh -o SendEnv=BELAY_TICKET …`, of which the file of `belay config` sends \
    it already, or set the variable on the channel (in paramiko `channel.set_environment_variable`)";

/// Why there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// Ctrl-C, the end of input, or an interrupt.
    Interrupted,
    /// The client closed the channel.
    Closed,
}

/// A person at a terminal.
pub(super) trait Console {
    /// Shows text, at the pace at which the client reads.
    async fn show(&mut self, text: &str) -> Result<(), Left>;

    /// Waits for the next typed byte. Cancel-safe.
    async fn typed(&mut self) -> Result<u8, Left>;
}

/// Whether a refusal is for want of the right ticket, and so the pattern that it must fit.
pub(super) fn wanted(refusal: &Refusal) -> Option<&str> {
    match refusal {
        Refusal::TicketMissing { pattern, .. } | Refusal::TicketWrong { pattern, .. } => Some(pattern),
        _ => None,
    }
}

/// Asks until the answer is granted, at most [`TICKET_TRIES_MAX`] times and for at most [`TICKET_WAIT`], and leaves it in
/// `standing`. A policy that changes meanwhile counts at once.
///
/// # Errors
/// Why not, for the person and the record. Nothing was started.
pub(super) async fn ask(
    device: &DeviceAddress,
    console: &mut impl Console,
    standing: &mut Standing,
) -> Result<Grant, String> {
    let answered = tokio::time::timeout(TICKET_WAIT, ask_on(device, console, standing)).await;
    match answered {
        Ok(answered) => answered,
        Err(_) => match standing.ask() {
            Ok(grant) => Ok(grant),
            Err(refusal) => Err(format!("no ticket was given in time: {refusal}")),
        },
    }
}

async fn ask_on(device: &DeviceAddress, console: &mut impl Console, standing: &mut Standing) -> Result<Grant, String> {
    let mut changes = standing.authority.changes();
    let mut tries = 0;
    let mut line = Line::new(TICKET_BYTES_MAX);
    loop {
        let refusal = match standing.ask() {
            Ok(grant) => return Ok(grant),
            Err(refusal) => refusal,
        };
        let Some(pattern) = wanted(&refusal).filter(|_| tries < TICKET_TRIES_MAX) else {
            return Err(refusal.to_string());
        };
        if tries > 0 {
            console.show(&format!("that is no ticket like {pattern}\r\n")).await.map_err(|left| why(left, &refusal))?;
        }
        let prompt = format!("ticket for {device} ({pattern}): ");
        match answer(console, &mut line, &prompt, &mut changes).await.map_err(|left| why(left, &refusal))? {
            Some(ticket) => (standing.ticket, tries) = (Some(ticket), tries + 1),
            None => line = Line::new(TICKET_BYTES_MAX),
        }
    }
}

/// One answer; none when a policy or record changed first.
async fn answer(
    console: &mut impl Console,
    line: &mut Line,
    prompt: &str,
    changes: &mut watch::Receiver<u64>,
) -> Result<Option<String>, Left> {
    console.show(prompt).await?;
    loop {
        let byte = tokio::select! {
            biased;
            Ok(()) = changes.changed() => {
                console.show("\r\n").await?;
                return Ok(None);
            }
            byte = console.typed() => byte?,
        };
        match line.key(byte) {
            Key::Show("") => {}
            Key::Show(text) => console.show(text).await?,
            Key::Echo(character) => console.show(character.encode_utf8(&mut [0; 4])).await?,
            Key::Line(text) => {
                console.show("\r\n").await?;
                return Ok(Some(text));
            }
            Key::Leave => return Err(Left::Interrupted),
        }
    }
}

/// The sentence for somebody who left, with what they left without.
fn why(left: Left, refusal: &Refusal) -> String {
    let how = match left {
        Left::Interrupted => "no ticket was given",
        Left::Closed => "the client left without giving a ticket",
    };
    format!("{how}: {refusal}")
}

/// The person at the other end of a channel.
pub(super) struct OnChannel<'a> {
    pub(super) inbox: &'a mut Inbox,
    pub(super) out: &'a Outflow,
    pub(super) asked: &'a mut Asked,
}

impl OnChannel<'_> {
    /// What the client does besides typing.
    fn hear(asked: &mut Asked, incoming: Incoming) -> Result<(), Left> {
        match incoming {
            Incoming::Closed | Incoming::Overrun => Err(Left::Closed),
            Incoming::Signal(Sig::INT | Sig::QUIT | Sig::TERM | Sig::HUP | Sig::KILL) => Err(Left::Interrupted),
            Incoming::Resize(size) => {
                asked.resize(size);
                Ok(())
            }
            Incoming::Input | Incoming::Signal(_) => Ok(()),
        }
    }
}

impl Console for OnChannel<'_> {
    async fn show(&mut self, text: &str) -> Result<(), Left> {
        let showing = self.out.show(text.to_owned());
        tokio::pin!(showing);
        // The channel is drained meanwhile: a client that does not read must not stall its other channels.
        loop {
            tokio::select! {
                biased;
                shown = &mut showing => return if shown { Ok(()) } else { Err(Left::Closed) },
                incoming = self.inbox.next() => Self::hear(self.asked, incoming)?,
            }
        }
    }

    async fn typed(&mut self) -> Result<u8, Left> {
        loop {
            if let Some(byte) = self.inbox.front().and_then(|bytes| bytes.first()).copied() {
                self.inbox.taken(1);
                return Ok(byte);
            }
            if self.inbox.is_finished() {
                return Err(Left::Interrupted);
            }
            Self::hear(self.asked, self.inbox.next().await)?;
        }
    }
}

#[cfg(test)]
#[path = "ticket/tests.rs"]
mod tests;
