//! `freeze`, `thaw`, `freezes`: nothing starts for a tenant, on a device or by a person, and what went on is ended.
//!
//! Only recorded here: every live way and the jobs' task go by what is durable, and end what is frozen themselves.

use super::{
    Call, Failure,
    show::{self, Form},
};
use crate::act::{devices, enrol::refused};
use belay_certs::{PersonRef, TenantName, Timestamp, policy::ActionKind};
use belay_rules::{Ask, DeviceState, Freeze, Frozen};
use serde::Serialize;

/// One freeze, as JSON.
#[derive(Serialize)]
struct Row {
    frozen: Frozen,
    tenant: TenantName,
    /// The fingerprint of a frozen device's host key: by it the device is frozen under every name.
    host_key: Option<String>,
    since: Timestamp,
    by: PersonRef,
    reason: Option<String>,
}

pub(super) async fn freeze(call: &Call<'_>, frozen: Frozen, reason: Option<String>) -> Result<String, Failure> {
    let by = call.holding(frozen.tenant(), ActionKind::Operate).await?.person;
    check_known(call, &frozen).await?;
    call.gateway.record(Ask::Freeze { frozen: frozen.clone(), reason, by }).await.map_err(refused)?;
    Ok(format!(
        "{frozen} is frozen: nothing starts there, and what went on is being ended; lift it with `thaw {frozen}`\n"
    ))
}

pub(super) async fn thaw(call: &Call<'_>, frozen: Frozen) -> Result<String, Failure> {
    let by = call.holding(frozen.tenant(), ActionKind::Operate).await?.person;
    let frozen = call.gateway.store.freezes().meant(frozen);
    call.gateway.record(Ask::Thaw { frozen: frozen.clone(), by }).await.map_err(refused)?;
    Ok(format!("{frozen} is thawed: what its policy grants may start again\n"))
}

/// A name that was mistyped in a hurry must not look frozen.
async fn check_known(call: &Call<'_>, frozen: &Frozen) -> Result<(), Failure> {
    let unknown = match frozen {
        Frozen::Tenant(_) => None,
        Frozen::Device(address) => {
            let row = devices::find(call.gateway, address).await?;
            let is_there = row.is_some_and(|row| row.state != DeviceState::Replaced);
            (!is_there)
                .then(|| format!("there is no device {address}, so nothing was frozen; list them with `devices`"))
        }
        Frozen::Person(tenant, person) => {
            let is_known = call.gateway.book.with(tenant, |policies| {
                let home = match &person.tenant {
                    None => Some(policies.tenant),
                    Some(import) => policies.imports.iter().copied().find(|chain| chain.tenant() == import),
                };
                home.is_some_and(|home| home.policy().people.iter().any(|one| one.name == person.name))
            });
            (is_known != Some(true)).then(|| {
                format!("there is no person {person} in the policy of {tenant}, so nothing was frozen; `policy show {tenant}` names them")
            })
        }
    };
    unknown.map_or(Ok(()), |sentence| Err(Failure::Refused(sentence)))
}

pub(super) async fn list(call: &Call<'_>, tenant: Option<&TenantName>, form: Form) -> Result<String, Failure> {
    let places = call.granted(tenant).await?;
    let places: Vec<_> = places.into_iter().filter(|place| call.holds(place, ActionKind::Operate)).collect();
    if places.is_empty() {
        return Err(call.lacks(tenant, ActionKind::Operate));
    }
    let freezes = call.gateway.store.freezes();
    let rows: Vec<Row> = places.iter().flat_map(|place| freezes.of(&place.tenant)).map(row).collect();
    match form {
        Form::Json => Ok(show::json(&rows)?),
        Form::Table => {
            let cells: Vec<_> = rows.into_iter().map(cells).collect();
            Ok(show::table(["FROZEN", "SINCE", "BY", "REASON"], &cells))
        }
    }
}

fn row(freeze: &Freeze) -> Row {
    let Freeze { frozen, host_key, since, by, reason } = freeze.clone();
    Row { tenant: frozen.tenant().clone(), frozen, host_key, since, by, reason }
}

fn cells(row: Row) -> [String; 4] {
    let Row { frozen, since, by, reason, tenant: _, host_key: _ } = row;
    [frozen.to_string(), since.whole_second().to_string(), by.to_string(), reason.unwrap_or_default()]
}
