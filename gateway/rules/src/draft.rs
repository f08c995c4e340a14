//! An event as it is written: what happened, to which device, by whom, in which log.
//!
//! Not here: the kinds of event (`event.rs`).

use crate::event::What;
use crate::log_name::LogName;
use belay_certs::entry::{self, Entry};
use belay_certs::statement::SignedStatement;
use belay_certs::{DeviceName, Fault, Id, Invalid, PersonRef, Timestamp};
use serde_json::Value;
use std::fmt;

/// Something that happened, ready to be written to its log.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Random, made by whoever noticed it.
    pub id: Id,
    /// When the gateway recorded it, by its own clock.
    pub at: Timestamp,
    /// The rest.
    pub draft: Draft,
}

/// An event before it has an id and a moment: what a judge writes.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// Where it is recorded.
    pub log: LogName,
    /// The device it is about; never in the system log.
    pub device: Option<DeviceName>,
    /// Who did it, as the log's tenant's policy names them.
    pub person: Option<PersonRef>,
    /// What happened.
    pub what: What,
    /// What the device said about it, verbatim.
    pub statement: Option<SignedStatement>,
}

impl Draft {
    /// Something that happened to nobody in particular.
    pub fn new(log: LogName, what: What) -> Self {
        Self { log, device: None, person: None, what, statement: None }
    }

    /// The same about a device.
    pub fn on(self, device: DeviceName) -> Self {
        Self { device: Some(device), ..self }
    }

    /// The same done by a person.
    pub fn by(self, person: PersonRef) -> Self {
        Self { person: Some(person), ..self }
    }

    /// The event, recorded `at` under `id`.
    pub fn event(self, id: Id, at: Timestamp) -> Event {
        Event { id, at, draft: self }
    }
}

impl Event {
    /// The log entry that says this.
    ///
    /// # Errors
    /// Never for the events of this crate: JSON can say all of them.
    pub fn entry(&self) -> Result<Entry, Invalid> {
        let Draft { log, device, person, what, statement } = &self.draft;
        let broken =
            |error: &dyn fmt::Display| Invalid::new(Fault::Malformed, format!("event was not written: {error}"));
        let mut detail = match serde_json::to_value(what) {
            Ok(Value::Object(members)) => members,
            Ok(_) => return Err(broken(&"its detail is no object")),
            Err(error) => return Err(broken(&error)),
        };
        detail.remove("type");
        Ok(Entry {
            v: entry::FORMAT,
            id: self.id,
            kind: what.type_name().to_owned(),
            at: self.at,
            tenant: log.tenant().cloned(),
            device: device.clone(),
            person: person.clone(),
            detail,
            statement: statement.clone(),
        })
    }
}
