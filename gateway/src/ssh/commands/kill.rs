//! `kill SESSION`: ends the access that carries a session, with everything else that it carries.
//!
//! The gateway sees no channels inside an access, and devices are told nothing of single ones: the access is what it can close.

use super::{Call, Failure, Place};
use crate::{Gateway, act::enrol::refused, limits::KILL_WAIT, store::SessionNamed};
use belay_certs::{DeviceAddress, Id, Invalid, policy::ActionKind};
use belay_rules::{Ask, Draft, LogName, What, event::SessionKilled, freeze};
use futures_util::future::join_all;
use std::sync::Arc;

pub(super) async fn run(call: &Call<'_>, id: Id) -> Result<String, Failure> {
    let (place, named) = find(call, id).await?;
    let freezes = call.gateway.store.freezes();
    freeze::check_operator(&freezes, &place.tenant, &place.person).map_err(|no| Failure::Refused(no.to_string()))?;
    let accesses = &call.gateway.accesses;
    let address = |one: &SessionNamed| DeviceAddress { device: one.device.clone(), tenant: place.tenant.clone() };
    let (live, over): (Vec<_>, Vec<_>) =
        named.into_iter().partition(|one| one.ended.is_none() && accesses.is_open(one.access, &address(one)));
    if live.is_empty() {
        return Err(Failure::Refused(over_since(id, &over)));
    }
    let killing = Killing { place: place.clone(), id, live };
    Ok(call.gateway.carry_through(|gateway| killing.carry_out(gateway)).await?)
}

/// The sessions of that id in the tenant where the caller may end them; recorded there before this returns. One that is not
/// there and one that is none of the caller's business are answered alike (P3).
async fn find(call: &Call<'_>, id: Id) -> Result<(Place, Vec<SessionNamed>), Failure> {
    let now = call.now();
    let mut operates = false;
    for (tenant, _) in call.gateway.book.tenants_of(&call.caller.key) {
        let Some(person) = call.gateway.book.in_tenant(&tenant, &call.caller.key, now) else { continue };
        let place = Place { tenant, person };
        if !call.holds(&place, ActionKind::Operate) {
            continue;
        }
        operates = true;
        let Some(store) = call.gateway.store.tenant(&place.tenant) else { continue };
        let named = store.sessions_called(id).await?;
        if !named.is_empty() {
            call.record(std::slice::from_ref(&place)).await?;
            return Ok((place, named));
        }
    }
    // Recorded in every tenant of the caller's: it was looked for in all of them.
    call.granted(None).await?;
    if !operates {
        return Err(call.lacks(None, ActionKind::Operate));
    }
    Err(Failure::Refused(format!("there is no session {id} that you may end; list them with `sessions --json`")))
}

fn over_since(id: Id, over: &[SessionNamed]) -> String {
    let ended = over.iter().find_map(|one| one.ended);
    let gone = over.iter().find_map(|one| one.access_ended);
    match (ended, gone) {
        (Some(at), _) => format!("session {id} has been over since {}; nothing was changed", at.whole_second()),
        (None, Some(at)) => format!(
            "the connection of session {id} ended {}, and its device has not said yet how the session did; nothing was changed",
            at.whole_second()
        ),
        (None, None) => format!("the connection of session {id} is ending; nothing was changed"),
    }
}

/// Sessions to end.
struct Killing {
    place: Place,
    id: Id,
    live: Vec<SessionNamed>,
}

impl Killing {
    /// Each is recorded, then its access is closed. Cut off half-way, it is done to the end.
    async fn carry_out(self, gateway: Arc<Gateway>) -> Result<String, Invalid> {
        let Self { place, id, live } = self;
        let (mut said, mut ends) = (String::new(), Vec::new());
        for SessionNamed { device, access, person, .. } in live {
            let address = DeviceAddress { device: device.clone(), tenant: place.tenant.clone() };
            let others = match gateway.store.tenant(&place.tenant) {
                Some(store) => store.sessions_carried(&device, access).await.map_err(|why| crate::broken(&why))?,
                None => 0,
            };
            let what = What::SessionKilled(SessionKilled { session: id, access, of: person.clone() });
            let draft = Draft::new(LogName::Tenant(place.tenant.clone()), what).on(device).by(place.person.clone());
            gateway.record(Ask::Note(draft)).await.map_err(refused)?;
            ends.extend(gateway.accesses.end(access, format!("{} ended session {id}", place.person)));
            said.push_str(&sentence(id, &address, &person.to_string(), others.saturating_sub(1)));
        }
        let _ = tokio::time::timeout(KILL_WAIT, join_all(ends)).await;
        Ok(said)
    }
}

fn sentence(id: Id, device: &DeviceAddress, person: &str, others: u64) -> String {
    let others = match others {
        0 => "which carried nothing else".to_owned(),
        1 => "and 1 other session that it carried".to_owned(),
        more => format!("and {more} other sessions that it carried"),
    };
    let tenant = &device.tenant;
    format!(
        "session {id} of {person} on {device} is ended with its connection, {others}; to keep {person} out, `freeze {tenant}/{person}`\n"
    )
}
