//! What a client asks for before its program starts: terminal, environment, then one shell, command or subsystem.

use super::inbox::{Inbox, window_size};
use crate::limits::{COMMAND_BYTES_MAX, ENVIRONMENT_VALUE_BYTES_MAX, ENVIRONMENT_VARIABLES_MAX, TERM_BYTES_MAX};
use belay_certs::{limits::TICKET_BYTES_MAX, statement::SessionKind};
use russh::{ChannelMsg, Pty};
use rustix::termios::Winsize;

/// The variable that carries a ticket.
const TICKET: &str = "BELAY_TICKET";

/// What the client wants started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wish {
    /// A login shell.
    Shell,
    /// A command line for the account's shell.
    Exec(Vec<u8>),
    /// A file session.
    Files,
    /// Something that no grant can allow, with the sentence that says so.
    Impossible(String),
}

/// A terminal the client asked for.
#[derive(Debug, Clone)]
pub(crate) struct WantedTerminal {
    /// Its `TERM`.
    pub(crate) term: String,
    /// Its size.
    pub(crate) size: Winsize,
    /// Its modes (RFC 4254 section 8).
    pub(crate) modes: Vec<(Pty, u32)>,
}

/// One complete request.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// What to start.
    pub(crate) wish: Wish,
    /// What kind of session the record calls it.
    pub(crate) kind: SessionKind,
    /// On a terminal, if any.
    pub(crate) terminal: Option<WantedTerminal>,
    /// Variables the client sent that a session may have.
    pub(crate) environment: Vec<(String, String)>,
    /// The ticket, where one was sent or typed: at most `TICKET_BYTES_MAX` of its bytes and one more character, so that a
    /// longer one fits no pattern.
    pub(crate) ticket: Option<String>,
}

impl Asked {
    /// The command line, where there is one.
    pub(crate) fn command(&self) -> Option<&[u8]> {
        match &self.wish {
            Wish::Exec(command) => Some(command),
            Wish::Shell | Wish::Files | Wish::Impossible(_) => None,
        }
    }

    /// The person typed a ticket: it counts, is recorded and goes into the session's environment, as if it had been sent.
    pub(crate) fn name_ticket(&mut self, ticket: &str) {
        self.ticket = Some(ticket.to_owned());
        self.environment.retain(|(name, _)| name != TICKET);
        self.environment.push((TICKET.to_owned(), ticket.to_owned()));
    }

    /// The client's window changed before the program started.
    pub(crate) fn resize(&mut self, size: Winsize) {
        if let Some(terminal) = &mut self.terminal {
            terminal.size = size;
        }
    }
}

/// Collects requests until one starts something; `None` when the client leaves first.
pub(crate) async fn collect(inbox: &mut Inbox) -> Option<Asked> {
    let (mut terminal, mut ticket) = (None, None);
    let mut environment: Vec<(String, String)> = Vec::new();
    let (wish, kind) = loop {
        match inbox.request().await? {
            ChannelMsg::RequestPty { term, col_width, row_height, pix_width, pix_height, terminal_modes, .. } => {
                let size = window_size(col_width, row_height, pix_width, pix_height);
                let term = if is_plain(&term) && term.len() <= TERM_BYTES_MAX { term } else { "dumb".to_owned() };
                terminal = Some(WantedTerminal { term, size, modes: terminal_modes });
            }
            ChannelMsg::WindowChange { col_width, row_height, pix_width, pix_height } => {
                if let Some(wanted) = &mut terminal {
                    wanted.size = window_size(col_width, row_height, pix_width, pix_height);
                }
            }
            // A ticket that no session may have in its environment is judged and recorded all the same: as a wrong one.
            ChannelMsg::SetEnv { variable_name, variable_value, .. }
                if variable_name == TICKET && !accepts_variable(TICKET, &variable_value) =>
            {
                environment.retain(|(name, _)| name != TICKET);
                ticket = Some(start_of(&variable_value));
            }
            ChannelMsg::SetEnv { variable_name, variable_value, .. }
                if accepts_variable(&variable_name, &variable_value)
                    && environment.len() < ENVIRONMENT_VARIABLES_MAX =>
            {
                environment.retain(|(name, _)| *name != variable_name);
                if variable_name == TICKET {
                    ticket = Some(start_of(&variable_value));
                }
                environment.push((variable_name, variable_value));
            }
            ChannelMsg::RequestShell { .. } => break (Wish::Shell, SessionKind::Shell),
            ChannelMsg::Exec { command, .. } => break (exec(command), SessionKind::Exec),
            ChannelMsg::RequestSubsystem { name, .. } => {
                // No subsystem talks to a terminal, whatever the client asked for before.
                terminal = None;
                break (subsystem(&name), SessionKind::Sftp);
            }
            _ => {}
        }
    };
    Some(Asked { wish, kind, terminal, environment, ticket })
}

/// The part of a ticket that is kept: too long for every pattern if the whole was.
fn start_of(ticket: &str) -> String {
    let end = ticket.char_indices().map(|(at, _)| at).find(|at| *at > TICKET_BYTES_MAX).unwrap_or(ticket.len());
    ticket.get(..end).unwrap_or_default().to_owned()
}

fn exec(command: Vec<u8>) -> Wish {
    if command.len() > COMMAND_BYTES_MAX {
        return Wish::Impossible(format!(
            "the command line is longer than {COMMAND_BYTES_MAX} bytes; send a script on standard input"
        ));
    }
    if command.contains(&0) {
        return Wish::Impossible("the command line has a NUL byte".to_owned());
    }
    Wish::Exec(command)
}

fn subsystem(name: &str) -> Wish {
    match name {
        "sftp" => Wish::Files,
        other => Wish::Impossible(format!("there is no subsystem {}, only sftp", other.escape_debug())),
    }
}

/// Which variables a client may set, and with what: language and ticket, nothing that changes what a program loads.
pub(crate) fn accepts_variable(name: &str, value: &str) -> bool {
    let known = matches!(name, "LANG" | "TERM" | "COLORTERM" | TICKET)
        || name.strip_prefix("LC_").is_some_and(|rest| {
            !rest.is_empty() && rest.len() <= 32 && rest.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
        });
    known && value.len() <= ENVIRONMENT_VALUE_BYTES_MAX && is_plain(value)
}

/// No control characters: such a value can reach a log or a terminal as it is.
fn is_plain(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_cut_only_where_no_pattern_could_fit_it_any_more() {
        let fits: belay_certs::policy::TicketPattern = "[!-~]+".parse().unwrap();
        for length in [TICKET_BYTES_MAX, TICKET_BYTES_MAX + 1, 10_000] {
            let ticket = "7".repeat(length);
            assert!(start_of(&ticket).len() <= TICKET_BYTES_MAX + 1);
            assert_eq!(fits.matches(&start_of(&ticket)), length == TICKET_BYTES_MAX, "{length}");
        }
        let wide = "\u{1f9d7}".repeat(10_000);
        assert!(start_of(&wide).len() <= TICKET_BYTES_MAX + 4 && wide.starts_with(&start_of(&wide)));
    }

    #[test]
    fn only_language_terminal_and_ticket_pass_into_a_session() {
        for (name, value) in [("LANG", "de_DE.UTF-8"), ("LC_ALL", "C"), ("TERM", "xterm"), ("BELAY_TICKET", "INC-1")] {
            assert!(accepts_variable(name, value), "{name}");
        }
        for name in ["LD_PRELOAD", "PATH", "BASH_ENV", "LC_", "LC_lower", "BELAY_PERSON", "BELAY_SESSION", "ENV"] {
            assert!(!accepts_variable(name, "x"), "{name}");
        }
        assert!(!accepts_variable("LANG", "C\u{1b}]0;title\u{7}"));
        assert!(!accepts_variable("LANG", &"x".repeat(ENVIRONMENT_VALUE_BYTES_MAX + 1)));
    }
}
