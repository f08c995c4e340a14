//! `run TENANT` and `cancel JOB`: a signed order comes in and becomes a job; a job is called off.

use super::{
    Call, Failure, Input, input, jobs,
    show::{self, Form},
};
use crate::{act::orders, limits::ORDER_INPUT_BYTES_MAX};
use belay_certs::{Id, TenantName, Timestamp, envelope, limits::DOCUMENT_BYTES_MAX, policy::ActionKind};
use serde::Serialize;

/// The job that an order became, as JSON.
#[derive(Serialize)]
struct Submitted {
    job: Id,
    tenant: TenantName,
    devices: u64,
    /// From when on no run starts.
    not_after: Timestamp,
    /// Whether the order was a job before: then nothing happened.
    again: bool,
}

pub(super) async fn run(
    call: &Call<'_>,
    tenant: &TenantName,
    form: Form,
    stdin: &mut Input<'_>,
) -> Result<String, Failure> {
    let place = call.granted(Some(tenant)).await?.pop();
    let Some(place) = place else { return Err(call.turn_away(Some(tenant)).await) };
    let stream = input::read(stdin, ORDER_INPUT_BYTES_MAX).await?;
    let (order, list) = envelope::split_first(&stream, DOCUMENT_BYTES_MAX)?;
    let submitted = orders::submit(call.gateway, tenant, (order, list.to_vec()), place.person).await?;
    let orders::Submitted { order, again } = submitted;
    match form {
        Form::Json => {
            let (job, tenant, devices, not_after) = (order.id, order.tenant, order.devices, order.not_after);
            Ok(show::json(&Submitted { job, tenant, devices, not_after, again })?)
        }
        Form::Table => {
            let devices = if order.devices == 1 { "1 device".to_owned() } else { format!("{} devices", order.devices) };
            let before = if again { " (it was submitted before)" } else { "" };
            Ok(format!("job {}: {devices}, until {}{before}\n", order.id, order.not_after))
        }
    }
}

pub(super) async fn cancel(call: &Call<'_>, id: Id) -> Result<String, Failure> {
    let (place, row) = jobs::find(call, id).await?;
    if ![ActionKind::Run, ActionKind::Operate].into_iter().any(|action| call.holds(&place, action)) {
        return Err(call.lacks(Some(&place.tenant), ActionKind::Run));
    }
    if let Some(over) = row.over {
        return Err(Failure::Refused(format!("job {id} has been over since {over}; nothing was changed")));
    }
    let told = call.gateway.jobs.cancel((place.tenant, id), place.person).await?;
    let runs =
        if told == 1 { "1 run that had started was".to_owned() } else { format!("{told} runs that had started were") };
    Ok(format!("job {id} is cancelled: {runs} told so\n"))
}
