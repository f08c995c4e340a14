//! One channel of a person's connection: a shell, a command or a file session, from the request to its signed end.
//!
//! The order is the promise (P1): requests → decide → signed intent → verified receipt → program → signed end.
//! Not here: who the person is (`ssh/`), how the proof is made (`recorder`), becoming another user (`spawn`).

mod files;
mod inbox;
mod line;
mod modes;
mod outflow;
mod program;
mod record;
mod request;
mod standing;
mod terminal;
mod ticket;

pub(crate) use record::refused_forward;
pub(crate) use request::accepts_variable;

use crate::{
    accounts::{self, Account},
    device::Device,
    limits::{FILE_SESSIONS_MAX, START_WAIT},
    recording::{Take, Terminal},
};
use belay_certs::{
    AccountName, Id, PersonRef, PublicKey,
    policy::{Action, Grant},
    receipt::Permission,
    statement::Intent,
};
use belay_protocol::flow::Waiting;
use inbox::{Inbox, Incoming};
use outflow::Outflow;
use program::{Ending, Program, Watch};
use record::Moved;
use request::{Asked, Wish};
use russh::{
    Channel,
    server::{Handle, Msg},
};
use standing::Standing;
use std::{io, sync::Arc};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

/// Exit status of a channel that was refused: not a status any program of ours uses, next to ssh's own 255.
const REFUSED_STATUS: u32 = 254;
/// Why an intent that was signed, or a program that was permitted, was not started after all.
const UNWANTED: &str = "nobody waited for it any more";

/// Who is at the other end of a connection, settled at login.
#[derive(Clone)]
pub(crate) struct Caller {
    /// The key the person proved.
    pub(crate) key: PublicKey,
    /// Whose key it was at login.
    pub(crate) person: PersonRef,
    /// The SSH user name: the account asked for, if it is one.
    pub(crate) account: String,
    /// The gateway's id of the outer connection's access.
    pub(crate) access: Id,
}

/// One channel as its connection hands it over.
pub(crate) struct Opened {
    /// The channel.
    pub(crate) channel: Channel<Msg>,
    /// Its connection.
    pub(crate) connection: Handle,
    /// Its input that waits, counted by the connection as it comes.
    pub(crate) waiting: Arc<Waiting>,
    /// Cancelled when the connection is gone.
    pub(crate) gone: CancellationToken,
}

/// One channel from its opening to its close.
pub(crate) async fn serve(device: Arc<Device>, caller: Caller, opened: Opened) {
    let Opened { channel, connection, waiting, gone } = opened;
    let (reading, writing) = channel.split();
    let mut inbox = Inbox::new(reading, waiting);
    let out = Outflow::new(writing, connection, gone.clone());
    let asked = tokio::select! {
        asked = request::collect(&mut inbox) => asked,
        () = gone.cancelled() => None,
    };
    if let Some(asked) = asked {
        let on_terminal = asked.terminal.is_some();
        let session = Session { device, caller, asked, gone };
        let ending = session.run(&mut inbox, &out).await;
        if let Some(sentence) = &ending.say {
            out.tell(sentence, on_terminal).await;
        }
        ending.send(&out).await;
    }
    out.close().await;
}

/// A request on its way to becoming a program.
struct Session {
    device: Arc<Device>,
    caller: Caller,
    asked: Asked,
    /// The connection is gone.
    gone: CancellationToken,
}

/// Everything that must be right before a program may start.
struct Permit {
    account: Account,
    standing: Standing,
    proof: Permission,
    id: Id,
    /// Of a file session: its place among those that may be open.
    place: Option<OwnedSemaphorePermit>,
    /// Of a session that is recorded.
    take: Option<Take>,
}

/// Why there is no permit.
enum Denied {
    /// Nothing was signed; the refusal is to be recorded and said.
    Refused(String),
    /// The same, for want of a ticket, of somebody who cannot be asked for one.
    NoTicket(String),
    /// The intent was signed and not proved: the recorder itself says in the log that nothing was started.
    Unproved(String),
    /// The intent was proved, and then something changed: its end is to be recorded.
    Late(Id, String),
}

impl Session {
    /// Runs it, and leaves in the outbox what the log must know before the client hears the end.
    async fn run(mut self, inbox: &mut Inbox, out: &Outflow) -> Ending {
        let mut permit = match self.permit(inbox, out).await {
            Ok(permit) => permit,
            Err(denied) => return self.deny(denied).await,
        };
        let (id, standing) = (permit.id, permit.standing.clone());
        let what = match self.asked.wish {
            Wish::Shell | Wish::Exec(_) | Wish::Impossible(_) => permit.account.shell.clone(),
            Wish::Files => "the file session".into(),
        };
        // Given back when the session's end is recorded.
        let _place = permit.place.take();
        let take = permit.take.take();
        take.iter().for_each(|take| out.record(take.recording()));
        self.warn(out).await;
        let started = self.start(permit).await;
        let ending = match started {
            Ok(program) => {
                let recording = take.as_ref().map(Take::recording);
                let watch = Watch { standing: &standing, recording, gone: &self.gone, stop: &self.device.stop };
                program.run(inbox, out, &watch).await
            }
            Err(error) => Ending::refused(format!("{} could not be started: {error}", what.display())),
        };
        if let Some(sentence) = &ending.say {
            out.will_tell(sentence, self.asked.terminal.is_some());
        }
        let moved = Moved { bytes_in: inbox.received_bytes(), bytes_out: out.sent_bytes() };
        let head = match take {
            Some(take) => take.finish().await,
            None => None,
        };
        record::end(&self.device, id, &ending, moved, head).await;
        ending
    }

    /// Tells a person at a terminal that the policies expire soon, before their shell begins. Nothing else hears of it: what
    /// a program prints is its own.
    async fn warn(&self, out: &Outflow) {
        let expiring = match (&self.asked.wish, &self.asked.terminal) {
            (Wish::Shell, Some(_)) => self.device.authority.expiring(),
            (Wish::Shell, None) | (Wish::Exec(_) | Wish::Files | Wish::Impossible(_), _) => return,
        };
        if !expiring.is_empty() {
            let sentence = format!("{}; after that nothing starts here: have it renewed", expiring.join(", "));
            out.tell(&sentence, true).await;
        }
    }

    /// Decide, record, verify the proof.
    async fn permit(&mut self, inbox: &mut Inbox, out: &Outflow) -> Result<Permit, Denied> {
        let action = match &self.asked.wish {
            Wish::Shell => Action::Shell,
            Wish::Exec(_) => Action::Exec,
            Wish::Files => Action::Files,
            Wish::Impossible(sentence) => return Err(Denied::Refused(sentence.clone())),
        };
        let refused = |error: &dyn std::fmt::Display| Denied::Refused(error.to_string());
        let name: AccountName = self.caller.account.parse().map_err(|error| refused(&error))?;
        let mut standing = Standing {
            authority: Arc::clone(&self.device.authority),
            key: self.caller.key.clone(),
            account: name.clone(),
            action,
            ticket: self.asked.ticket.clone(),
        };
        let grant = self.grant(&mut standing, inbox, out).await?;
        self.device.recordings.ready().map_err(Denied::Refused)?;
        let account = account(name).await.map_err(Denied::Refused)?;
        let place = self.place().map_err(Denied::Refused)?;
        let intent = record::intent(&self.caller, &self.asked, Some(&grant)).map_err(Denied::Refused)?;
        let (id, about) = (intent.session, record::about(&self.device, &intent));
        let proof = self.prove(intent, inbox).await.map_err(Denied::Unproved)?;
        // The policy may have changed while the proof was made, the client have gone, the agent have begun to stop.
        standing.ask().map_err(|refusal| Denied::Late(id, refusal.to_string()))?;
        if self.is_unwanted() {
            return Err(Denied::Late(id, UNWANTED.to_owned()));
        }
        let terminal = self.asked.terminal.as_ref().map(|wanted| Terminal {
            term: &wanted.term,
            columns: wanted.size.ws_col.into(),
            rows: wanted.size.ws_row.into(),
        });
        let begun = self.device.recordings.begin(about, terminal.as_ref());
        let take = begun.map_err(|sentence| Denied::Late(id, sentence))?;
        Ok(Permit { account, standing, proof, id, place, take })
    }

    /// A place for a file session, given back when it is over; the other kinds need none.
    fn place(&self) -> Result<Option<OwnedSemaphorePermit>, String> {
        if self.asked.wish != Wish::Files {
            return Ok(None);
        }
        let place = Arc::clone(&self.device.file_sessions).try_acquire_owned();
        place.map(Some).map_err(|_| {
            format!("{FILE_SESSIONS_MAX} file sessions are open on this machine already: end one, or try again later")
        })
    }

    /// The grant, with a ticket asked for where it takes one and there is somebody to ask.
    async fn grant(&mut self, standing: &mut Standing, inbox: &mut Inbox, out: &Outflow) -> Result<Grant, Denied> {
        let refusal = match standing.ask() {
            Ok(grant) => return Ok(grant),
            Err(refusal) => refusal,
        };
        match (ticket::wanted(&refusal), &self.asked.wish, &self.asked.terminal) {
            (Some(_), Wish::Shell, Some(_)) => {}
            (Some(_), _, _) => return Err(Denied::NoTicket(refusal.to_string())),
            (None, _, _) => return Err(Denied::Refused(refusal.to_string())),
        }
        let address = self.device.authority.address();
        let mut console = ticket::OnChannel { inbox, out, asked: &mut self.asked };
        let answered = tokio::select! {
            biased;
            () = self.gone.cancelled() => Err(format!("the connection was lost before a ticket was given: {refusal}")),
            () = self.device.stop.cancelled() => Err(format!("the agent stopped before a ticket was given: {refusal}")),
            answered = ticket::ask(&address, &mut console, standing) => answered,
        };
        if let Some(ticket) = &standing.ticket {
            self.asked.name_ticket(ticket);
        }
        answered.map_err(Denied::Refused)
    }

    /// Waits for the proof and keeps the channel drained meanwhile. Dropped half-way, the recorder says that nothing was
    /// started.
    async fn prove(&mut self, intent: Intent, inbox: &mut Inbox) -> Result<Permission, String> {
        let device = Arc::clone(&self.device);
        let proving = device.recorder.prove(intent);
        tokio::pin!(proving);
        loop {
            tokio::select! {
                biased;
                proof = &mut proving => return proof.map_err(|no| no.to_string()),
                () = self.gone.cancelled() => return Err(UNWANTED.to_owned()),
                () = device.stop.cancelled() => return Err(UNWANTED.to_owned()),
                incoming = inbox.next() => match incoming {
                    Incoming::Closed | Incoming::Overrun => return Err(UNWANTED.to_owned()),
                    Incoming::Resize(size) => self.asked.resize(size),
                    Incoming::Input | Incoming::Signal(_) => {}
                },
            }
        }
    }

    /// Starts the program off the runtime's threads. One that starts too late is ended at once.
    async fn start(&self, permit: Permit) -> io::Result<Program> {
        let (asked, caller) = (self.asked.clone(), self.caller.clone());
        let mut starting = tokio::task::spawn_blocking(move || program::start(&asked, &permit, &caller));
        match tokio::time::timeout(START_WAIT, &mut starting).await {
            Ok(started) => started.unwrap_or_else(|_| Err(io::Error::other("starting it failed"))),
            Err(_) => {
                self.device.tracker.spawn(async move {
                    if let Ok(Ok(late)) = starting.await {
                        late.abandon();
                    }
                });
                let sentence = "it took too long; is the home directory on a file server that does not answer?";
                Err(io::Error::other(sentence))
            }
        }
    }

    /// A no that is recorded like a yes (P6).
    async fn deny(&self, denied: Denied) -> Ending {
        let mut how = None;
        let sentence = match denied {
            Denied::Refused(sentence) => {
                record::refusal(&self.device, &self.caller, &self.asked, &sentence).await;
                sentence
            }
            Denied::NoTicket(sentence) => {
                record::refusal(&self.device, &self.caller, &self.asked, &sentence).await;
                how = Some(format!("{sentence}; {}", ticket::HOW));
                sentence
            }
            Denied::Unproved(sentence) => sentence,
            Denied::Late(id, sentence) => {
                let ending = Ending::refused(format!("not started: {sentence}"));
                record::end(&self.device, id, &ending, Moved::default(), None).await;
                sentence
            }
        };
        tracing::info!(person = %self.caller.person, access = %self.caller.access, "refused: {}", sentence.escape_debug());
        let ending = Ending::refused(sentence);
        Ending { say: how.or(ending.say), ..ending }
    }

    fn is_unwanted(&self) -> bool {
        self.gone.is_cancelled() || self.device.stop.is_cancelled()
    }
}

async fn account(name: AccountName) -> Result<Account, String> {
    match tokio::task::spawn_blocking(move || accounts::find(&name)).await {
        Ok(found) => found.map_err(|problem| problem.to_string()),
        Err(_) => Err("the account could not be looked up".to_owned()),
    }
}
