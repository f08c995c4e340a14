//! One entry of a log: an event as JSON, with the device's signed statement inside where there is one.
//!
//! Not here: where an entry stands in the tree (`tlog`), and the proof of it (`receipt`).
//!
//! Members are written in one order: `v id type at tenant device person`, the event's own by name, `statement`. Only
//! whole numbers, and no member twice, at any depth: two readers must never see two things. The bytes are what is hashed.

use crate::digest::Id;
use crate::invalid::{Fault, Invalid, malformed};
use crate::keys::PublicKey;
use crate::limits::ENTRY_BYTES_MAX;
use crate::limits::ENTRY_TYPE_BYTES_MAX;
use crate::names::{DeviceName, PersonRef, TenantName};
use crate::statement::{self, Body, SignedStatement, Statement, readable};
use crate::time::Timestamp;
use serde::de::{DeserializeOwned, DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use std::fmt;

/// The format number written as `v`.
pub const FORMAT: u32 = 1;
/// An intent that the gateway recorded without permitting it: a device starts only on `session.opened`.
const WITHHELD: &str = "session.withheld";
/// The type of the same about a run.
const RUN_WITHHELD: &str = "run.withheld";
/// The part of a member's name that a sentence shows, in bytes: ours are shorter.
const NAME_SHOWN_BYTES: usize = 32;
/// The envelope's members, which an event's own can never be named.
const ENVELOPE: [&str; 8] = ["v", "id", "type", "at", "tenant", "device", "person", "statement"];

/// One event in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The format, [`FORMAT`].
    pub v: u32,
    /// The event's id.
    pub id: Id,
    /// What happened, as `session.opened`; `type` in JSON.
    pub kind: String,
    /// When the gateway recorded it, by its clock.
    pub at: Timestamp,
    /// Whose log it belongs to; none in the system log.
    pub tenant: Option<TenantName>,
    /// The device it is about; only with a tenant.
    pub device: Option<DeviceName>,
    /// Who did it, as that tenant's policy names them.
    pub person: Option<PersonRef>,
    /// The event's own members, beside those above in JSON.
    pub detail: Map<String, Value>,
    /// What the device said, verbatim.
    pub statement: Option<SignedStatement>,
}

impl Entry {
    /// The JSON bytes to store and hash.
    ///
    /// # Errors
    /// When a member has a name of the envelope, a number is not whole, the type is no type, a device stands without
    /// its tenant, or the whole is longer than [`ENTRY_BYTES_MAX`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, Invalid> {
        self.check()?;
        if let Some(name) = ENVELOPE.iter().find(|name| self.detail.contains_key(**name)) {
            return Err(malformed(format!(
                "entry has a member of its own named `{name}`: that name is the envelope's"
            )));
        }
        if let Some(name) = self.detail.iter().find(|(_, value)| has_fraction(value)).map(|(name, _)| name) {
            return Err(malformed(format!(
                "entry has a number in `{name}` that is not whole; write whole numbers only"
            )));
        }
        let bytes = serde_json::to_vec(self).map_err(|error| malformed(format!("entry was not written: {error}")))?;
        check_length(&bytes)?;
        Ok(bytes)
    }

    /// Reads the JSON bytes of an entry.
    ///
    /// # Errors
    /// When they are too long, not JSON, have a member twice or a number that is not whole, or break the envelope.
    pub fn parse(bytes: &[u8]) -> Result<Self, Invalid> {
        check_length(bytes)?;
        let mut members = strict_object(bytes)?;
        let v = required(&mut members, "v")?;
        if v != FORMAT {
            return Err(malformed(format!("entry has format {v}, this Belay reads {FORMAT}: use a newer one")));
        }
        let entry = Self {
            v,
            id: required(&mut members, "id")?,
            kind: required(&mut members, "type")?,
            at: required(&mut members, "at")?,
            tenant: optional(&mut members, "tenant")?,
            device: optional(&mut members, "device")?,
            person: optional(&mut members, "person")?,
            statement: optional(&mut members, "statement")?,
            detail: members,
        };
        entry.check()?;
        Ok(entry)
    }

    /// Checks that the envelope says what the statement inside says: type (a withheld session or run holds the intent to
    /// start it), tenant, device, and person where it names one, and that the entry's own members are the statement's, all of them
    /// and no others: most readers look at nothing else. Of a withheld one they are which one, and the gateway's reason.
    /// A member more in these entries is a new format. With the device's host key its signature is checked too; without, only
    /// what it says. Right when there is no statement.
    ///
    /// # Errors
    /// When the statement is unreadable, not signed by `host_key`, or does not agree.
    pub fn check_envelope(&self, host_key: Option<&PublicKey>) -> Result<(), Invalid> {
        let Some(signed) = &self.statement else { return Ok(()) };
        let said = match host_key {
            Some(host_key) => statement::verify(signed, host_key)?,
            None => Statement::parse(signed.text.as_bytes())?,
        };
        let device = &said.head.device;
        if self.withholds(&said.body).is_none() {
            agree("type", Some(&self.kind.as_str()), Some(&said.type_name()))?;
        }
        agree("tenant", self.tenant.as_ref(), Some(&device.tenant))?;
        agree("device", self.device.as_ref(), Some(&device.device))?;
        if let Some(person) = said.person() {
            agree("person", self.person.as_ref(), Some(person))?;
        }
        self.check_members(&said.body)
    }

    /// The member that says what this entry withholds; none when it withholds nothing of what `body` says.
    fn withholds(&self, body: &Body) -> Option<&'static str> {
        match body {
            Body::SessionOpened(_) if self.kind == WITHHELD => Some("session"),
            Body::RunStarted(_) if self.kind == RUN_WITHHELD => Some("order"),
            Body::SessionOpened(_) | Body::SessionRefused { .. } | Body::SessionEnded { .. } => None,
            Body::RunStarted(_) | Body::RunRefused { .. } | Body::RunEnded(_) => None,
        }
    }

    fn check_members(&self, body: &Body) -> Result<(), Invalid> {
        let mut said = body.members()?;
        if let Some(which) = self.withholds(body) {
            said.retain(|name, _| name == which);
            said.extend(self.detail.get_key_value("reason").map(|(name, reason)| (name.clone(), reason.clone())));
        }
        let mut names = said.keys().chain(self.detail.keys());
        let Some(other) = names.find(|name| said.get(*name) != self.detail.get(*name)) else { return Ok(()) };
        let shown = readable(other.as_bytes(), NAME_SHOWN_BYTES);
        Err(Invalid::new(Fault::Mismatch, format!("entry and the device's statement in it differ in `{shown}`")))
    }

    fn check(&self) -> Result<(), Invalid> {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
        if self.kind.is_empty() || self.kind.len() > ENTRY_TYPE_BYTES_MAX || !self.kind.bytes().all(legal) {
            return Err(malformed(format!(
                "entry has type {:?}: use 1 to {ENTRY_TYPE_BYTES_MAX} of a-z, 0-9, '.', '_', '-'",
                self.kind
            )));
        }
        if self.v != FORMAT {
            return Err(malformed(format!("entry has format {}: write {FORMAT}", self.v)));
        }
        if let (None, Some(device)) = (&self.tenant, &self.device) {
            return Err(malformed(format!("entry names device {device} without its tenant; name both")));
        }
        Ok(())
    }
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("v", &self.v)?;
        object.serialize_entry("id", &self.id)?;
        object.serialize_entry("type", &self.kind)?;
        object.serialize_entry("at", &self.at)?;
        if let Some(tenant) = &self.tenant {
            object.serialize_entry("tenant", tenant)?;
        }
        if let Some(device) = &self.device {
            object.serialize_entry("device", device)?;
        }
        if let Some(person) = &self.person {
            object.serialize_entry("person", person)?;
        }
        for (name, value) in &self.detail {
            object.serialize_entry(name, value)?;
        }
        if let Some(statement) = &self.statement {
            object.serialize_entry("statement", statement)?;
        }
        object.end()
    }
}

fn agree<T: PartialEq + fmt::Display>(what: &str, entry: Option<&T>, statement: Option<&T>) -> Result<(), Invalid> {
    if entry == statement {
        return Ok(());
    }
    let shown = |value: Option<&T>| value.map_or_else(|| "nothing".to_owned(), ToString::to_string);
    Err(Invalid::new(
        Fault::Mismatch,
        format!("entry says {what} {}, the device's statement in it says {}", shown(entry), shown(statement)),
    ))
}

fn check_length(bytes: &[u8]) -> Result<(), Invalid> {
    if bytes.len() > ENTRY_BYTES_MAX {
        let sentence = format!("entry has {} bytes, at most {ENTRY_BYTES_MAX} are allowed", bytes.len());
        return Err(Invalid::new(Fault::TooLarge, sentence));
    }
    Ok(())
}

fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(items) => items.iter().any(has_fraction),
        Value::Object(members) => members.values().any(has_fraction),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

fn required<T: DeserializeOwned>(members: &mut Map<String, Value>, name: &str) -> Result<T, Invalid> {
    optional(members, name)?.ok_or_else(|| malformed(format!("entry has no `{name}`")))
}

fn optional<T: DeserializeOwned>(members: &mut Map<String, Value>, name: &str) -> Result<Option<T>, Invalid> {
    let Some(value) = members.remove(name) else { return Ok(None) };
    serde_json::from_value(value).map(Some).map_err(|error| malformed(format!("entry has a wrong `{name}`: {error}")))
}

/// A JSON object without a member twice and without a number that is not whole, at any depth.
fn strict_object(bytes: &[u8]) -> Result<Map<String, Value>, Invalid> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    match value {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(malformed("entry is not a JSON object")),
        Err(error) => Err(malformed(format!("entry is not the JSON of an entry: {error}"))),
    }
}

struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON with whole numbers only")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element_seed(Strict)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = object.next_key::<String>()? {
            let value = object.next_value_seed(Strict)?;
            if members.contains_key(&name) {
                return Err(A::Error::custom(format!("`{name}` is there twice")));
            }
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests;
