//! `approve TENANT`: devices of a batch that a person signed on their own machine. `recertify TENANT`: new host certificates.

use super::{
    Call, Failure, Input, Output, input,
    show::{self, Form},
};
use crate::{
    act::approve::{self, Settled},
    limits::COMMAND_INPUT_BYTES_MAX,
};
use belay_certs::{TenantName, policy::ActionKind};
use serde::Serialize;
use std::fmt::Write;
use tokio::io::AsyncWriteExt;

/// One device, as JSON.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    serial: u64,
    /// Why it was not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<&'a str>,
}

pub(super) async fn run(
    call: &Call<'_>,
    tenant: &TenantName,
    form: Form,
    stdin: &mut Input<'_>,
    stdout: &mut Output<'_>,
) -> Result<String, Failure> {
    call.holding(tenant, ActionKind::Enrol).await?;
    let sent = input::read(stdin, COMMAND_INPUT_BYTES_MAX).await?;
    let settled = approve::approve(call.gateway, tenant, sent).await?;
    report(&settled, "approved", form, stdout).await
}

pub(super) async fn recertify(
    call: &Call<'_>,
    tenant: &TenantName,
    form: Form,
    stdin: &mut Input<'_>,
    stdout: &mut Output<'_>,
) -> Result<String, Failure> {
    call.holding(tenant, ActionKind::Enrol).await?;
    let sent = input::read(stdin, COMMAND_INPUT_BYTES_MAX).await?;
    let settled = approve::recertify(call.gateway, tenant, sent, call.caller.key.clone()).await?;
    report(&settled, "recertified", form, stdout).await
}

/// A line for each device. For people the status says whether all was done; a program reads it from the rows.
async fn report(settled: &[Settled], done: &str, form: Form, stdout: &mut Output<'_>) -> Result<String, Failure> {
    if form == Form::Json {
        return Ok(show::json(&settled.iter().map(row).collect::<Vec<_>>())?);
    }
    let lines = settled.iter().fold(String::new(), |mut out, Settled { name, serial, refused }| {
        let _ = match refused {
            None => writeln!(out, "{name} {done} with serial {serial}"),
            Some(sentence) => writeln!(out, "{name} not {done}: {}", show::escape(sentence)),
        };
        out
    });
    stdout.write_all(lines.as_bytes()).await?;
    match settled.iter().filter(|one| one.refused.is_some()).count() {
        0 => Ok(String::new()),
        count => Err(Failure::Refused(format!("{count} of {} were not {done}; each line says why", settled.len()))),
    }
}

fn row(Settled { name, serial, refused }: &Settled) -> Row<'_> {
    Row { name, serial: *serial, refused: refused.as_deref() }
}
