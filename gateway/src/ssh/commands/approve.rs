//! `approve TENANT`: a batch that a person signed on their own machine makes pending machines devices.

use super::{
    Call, Failure, Input, input,
    show::{self, Form},
};
use crate::{
    act::enrol::{self, Approved, SignedBatch},
    limits::COMMAND_INPUT_BYTES_MAX,
};
use belay_certs::{TenantName, policy::ActionKind};
use serde::Serialize;
use std::fmt::Write;

/// One approved device, as JSON.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    serial: u64,
}

pub(super) async fn run(
    call: &Call<'_>,
    tenant: &TenantName,
    form: Form,
    stdin: &mut Input<'_>,
) -> Result<String, Failure> {
    call.holding(tenant, ActionKind::Enrol).await?;
    let bytes = input::read(stdin, COMMAND_INPUT_BYTES_MAX).await?;
    let sent: SignedBatch = serde_json::from_slice(&bytes)
        .map_err(|error| Failure::Refused(format!("this is not an approval as `belay approve` sends it: {error}")))?;
    drop(bytes);
    let approved = enrol::approve(call.gateway, tenant, sent).await?;
    match form {
        Form::Json => Ok(show::json(&approved.iter().map(row).collect::<Vec<_>>())?),
        Form::Table => Ok(approved.iter().fold(String::new(), |mut out, Approved { name, serial }| {
            let _ = writeln!(out, "{name} approved with serial {serial}");
            out
        })),
    }
}

fn row(Approved { name, serial }: &Approved) -> Row<'_> {
    Row { name, serial: *serial }
}
