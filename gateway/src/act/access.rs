//! A person's way to a device: filtered, recorded, then opened. What is done there, the device decides and says.

use super::{devices, shares::Counted, strangers};
use crate::{Gateway, limits, relay::presence::Online, store::DeviceRow};
use belay_certs::{DeviceAddress, Id, PersonRef, PublicKey, TenantName, policy::DeviceFacts};
use belay_protocol::Open;
use belay_rules::{Ask, DeviceState, Draft, LogName, Outer, What};
use quinn::{RecvStream, SendStream};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// The port a jump may name: devices have no others.
const SSH_PORT: u32 = 22;
/// Names offered to somebody who mistyped one.
const NEAREST_MAX: usize = 3;

/// Who asks, settled at login.
#[derive(Clone)]
pub(crate) struct Caller {
    /// The key they proved.
    pub(crate) key: PublicKey,
    /// Where from.
    pub(crate) address: String,
}

/// Where somebody wants to go, as their client says it.
pub(crate) struct Target {
    /// A name; anything a stranger can type.
    pub(crate) host: String,
    /// A port.
    pub(crate) port: u32,
}

/// Open ways, so that a device's intent can be held against the outer person.
#[derive(Default)]
pub(crate) struct Accesses {
    open: Mutex<HashMap<Id, (DeviceAddress, PersonRef)>>,
}

impl Accesses {
    /// Whose access it is, if it is open and leads to that device.
    pub(crate) fn outer(&self, access: Id, device: &DeviceAddress) -> Option<Outer> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, person) = open.get(&access).filter(|(leads_to, _)| leads_to == device)?;
        Some(Outer { access, person: person.clone(), device: device.device.clone() })
    }

    fn insert(&self, access: Id, device: DeviceAddress, person: PersonRef) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(access, (device, person));
    }

    /// The way is closed; intents that name it are withheld from now on.
    fn remove(&self, access: Id) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&access);
    }
}

/// An open way: recorded, with its stream to the device.
pub(crate) struct Access {
    pub(crate) id: Id,
    pub(crate) facts: DeviceFacts,
    pub(crate) person: PersonRef,
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
    /// Its share of the tenant's ways.
    pub(crate) way: Counted<TenantName>,
}

/// Opens a way to `target`, or says why not. P1: the record is durable before the device hears of it.
///
/// Cut off half-way: never; whoever asked may be gone, what was recorded gets its end.
pub(crate) async fn open(gateway: &Gateway, caller: &Caller, target: &Target) -> Result<Access, String> {
    let asked = Instant::now();
    let stranger = || {
        let who = format!("{} {} {}", caller.address, caller.key.fingerprint(), target.host.escape_debug());
        strangers::turn_away(gateway, asked, who)
    };
    let Ok(address) = target.host.parse::<DeviceAddress>() else { return Err(stranger().await.to_owned()) };
    let now = gateway.now();
    let Some(person) = gateway.book.in_tenant(&address.tenant, &caller.key, now) else {
        let text = stranger().await.to_owned();
        let why = gateway.book.why_nobody(Some(&address.tenant), &caller.key, now);
        return Err(why.map_or(text, |refusal| refusal.to_string()));
    };
    let found = match target.port {
        SSH_PORT => find(gateway, caller, &address).await,
        port => Err(format!("port {port} of {address} cannot be reached: only its shell can, by `ssh {address}`")),
    };
    let (facts, online) = match found {
        Ok(found) => found,
        Err(sentence) => {
            note_refused(gateway, caller, &address, &person, &sentence).await;
            return Err(sentence);
        }
    };
    if let Err(sentence) = room(gateway, &address.tenant) {
        note_refused(gateway, caller, &address, &person, &sentence).await;
        return Err(sentence);
    }
    let Some(way) = gateway.shares.way(&address.tenant) else {
        let sentence = format!(
            "{} ways to devices of {} are open, as many as one tenant may have; end some, or try again later",
            limits::TENANT_WAYS_MAX,
            address.tenant
        );
        note_refused(gateway, caller, &address, &person, &sentence).await;
        return Err(sentence);
    };
    let id = Id::random().map_err(|error| error.to_string())?;
    let what = What::AccessOpened { access: id, key: caller.key.fingerprint(), address: caller.address.clone() };
    let draft = Draft::new(LogName::Tenant(address.tenant.clone()), what).on(address.device.clone()).by(person.clone());
    if let Err(error) = gateway.record(Ask::Note(draft)).await {
        tracing::error!("an access was not recorded: {error}");
        return Err("the gateway cannot record just now, so nothing was started; try again later".to_owned());
    }
    gateway.accesses.insert(id, address.clone(), person.clone());
    let opening = tokio::time::timeout(limits::STREAM_WAIT, stream(&online, id, &person, caller)).await;
    let why = match opening {
        Ok(Ok((send, recv))) => return Ok(Access { id, facts, person, send, recv, way }),
        Ok(Err(why)) => format!("{address} was connected a moment ago and is not any more: {why}"),
        Err(_) => format!("{address} takes no more sessions just now; end some, or try again later"),
    };
    close(gateway, &facts, person, Closing { access: id, bytes_up: 0, bytes_down: 0, reason: why.clone() }).await;
    Err(why)
}

/// How a way ended.
pub(crate) struct Closing {
    pub(crate) access: Id,
    pub(crate) bytes_up: u64,
    pub(crate) bytes_down: u64,
    pub(crate) reason: String,
}

/// Records the end of a way that was opened.
pub(crate) async fn close(gateway: &Gateway, facts: &DeviceFacts, person: PersonRef, closing: Closing) {
    let Closing { access, bytes_up, bytes_down, reason } = closing;
    gateway.accesses.remove(access);
    let what = What::AccessEnded { access, bytes_up, bytes_down, reason };
    let log = LogName::Tenant(facts.address.tenant.clone());
    gateway.note(Draft::new(log, what).on(facts.address.device.clone()).by(person)).await;
}

/// Something that is no way to a device was asked for on the outer connection and refused: recorded for every tenant that
/// knows the person (P6).
pub(crate) async fn note_refused_here(gateway: &Gateway, caller: &Caller, target: &str, sentence: &str) {
    for (tenant, person) in gateway.book.tenants_of(&caller.key) {
        let what = refused(caller, target.chars().take(limits::STRANGER_CHARACTERS_MAX).collect(), sentence);
        gateway.note(Draft::new(LogName::Tenant(tenant), what).by(person)).await;
    }
}

/// A tenant that records needs room for it: said here, early, rather than when a session must end.
fn room(gateway: &Gateway, tenant: &TenantName) -> Result<(), String> {
    match gateway.book.chain(tenant).is_some_and(|chain| chain.policy().recording.is_on()) {
        true => gateway.room.begin(),
        false => Ok(()),
    }
}

/// The device with what its labels grant, connected and approved; or exactly why not.
async fn find(gateway: &Gateway, caller: &Caller, address: &DeviceAddress) -> Result<(DeviceFacts, Online), String> {
    let row = match devices::find(gateway, address).await {
        Ok(Some(row)) if row.state != DeviceState::Replaced => row,
        Ok(_) => return Err(no_such_device(gateway, caller, address).await),
        Err(error) => {
            tracing::error!("a device could not be looked up: {error}");
            return Err("the gateway cannot look this up just now; try again later".to_owned());
        }
    };
    let Some(facts) = devices::facts(&row) else {
        return Err(format!("{address} is pending: someone with `enrol` runs `belay approve {address}`"));
    };
    let granted = gateway.book.any_grant(&caller.key, &facts, gateway.now());
    granted.map_err(|refusal| refusal.to_string())?;
    match gateway.presence.find(address) {
        Some(online) => Ok((facts, online)),
        None => Err(offline(&row, address)),
    }
}

fn offline(row: &DeviceRow, address: &DeviceAddress) -> String {
    match &row.presence {
        Some(presence) => format!("{address} is offline since {}", presence.since.whole_second()),
        None => format!("{address} has never been online"),
    }
}

/// Names near the one asked for, among those that the person has a grant on.
async fn no_such_device(gateway: &Gateway, caller: &Caller, address: &DeviceAddress) -> String {
    let now = gateway.now();
    if let Some(sentence) = renamed(gateway, caller, address).await {
        return sentence;
    }
    let rows = devices::listed(gateway, &address.tenant).await.unwrap_or_default();
    let mut near: Vec<(usize, String)> = rows
        .into_iter()
        .map(|row| row.facts)
        .filter(|facts| gateway.book.any_grant(&caller.key, facts, now).is_ok())
        .map(|facts| (distance(facts.address.device.as_str(), address.device.as_str()), facts.address.to_string()))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .collect();
    near.sort();
    near.truncate(NEAREST_MAX);
    let names: Vec<String> = near.into_iter().map(|(_, name)| name).collect();
    if names.is_empty() {
        format!("there is no device {address}; list yours with `belay devices`")
    } else {
        format!("there is no device {address}; did you mean {}?", names.join(" or "))
    }
}

/// What a device is called now that had this name, for somebody with a grant on it.
async fn renamed(gateway: &Gateway, caller: &Caller, address: &DeviceAddress) -> Option<String> {
    let row = gateway.store.tenant(&address.tenant)?.once_called(&address.device).await.ok().flatten()?;
    let facts = devices::facts(&row)?;
    gateway.book.any_grant(&caller.key, &facts, gateway.now()).ok()?;
    Some(format!("{address} is called {} now: `ssh {}`", facts.address, facts.address))
}

async fn note_refused(gateway: &Gateway, caller: &Caller, address: &DeviceAddress, person: &PersonRef, sentence: &str) {
    let what = refused(caller, address.to_string(), sentence);
    gateway.note(Draft::new(LogName::Tenant(address.tenant.clone()), what).by(person.clone())).await;
}

fn refused(caller: &Caller, target: String, sentence: &str) -> What {
    let (key, address) = (caller.key.fingerprint(), caller.address.clone());
    What::AccessRefused { target, key, address, sentence: sentence.to_owned() }
}

async fn stream(
    online: &Online,
    id: Id,
    person: &PersonRef,
    caller: &Caller,
) -> Result<(SendStream, RecvStream), String> {
    let open = Open { access: id.0, person: person.to_string(), key: caller.key.fingerprint() };
    let frame = belay_protocol::encode_frame(&open).map_err(|error| error.to_string())?;
    // Sessions through it are recorded.
    online.quic.set_max_concurrent_uni_streams(limits::UPLOADS_PER_DEVICE_MAX.into());
    let (mut send, recv) = online.quic.open_bi().await.map_err(|error| error.to_string())?;
    send.write_all(&frame).await.map_err(|error| error.to_string())?;
    Ok((send, recv))
}

/// How many letters apart two names are (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or(usize::MAX);
            let cost = (diagonal + usize::from(x != y)).min(above + 1).min(left + 1);
            diagonal = above;
            if let Some(cell) = row.get_mut(j) {
                *cell = left;
            }
            left = cost;
        }
        if let Some(cell) = row.last_mut() {
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn names_are_as_far_apart_as_letters_must_change() {
        for (a, b, apart) in [
            ("web1", "web1", 0),
            ("web1", "web2", 1),
            ("wbe1", "web1", 2),
            ("", "abc", 3),
            ("abc", "", 3),
            ("db1", "web1", 2),
        ] {
            assert_eq!(distance(a, b), apart, "{a} {b}");
        }
    }
}
