//! `token TENANT`: a signed token document comes in and becomes valid. The gateway never sees its secret half.

use super::{Call, Failure, Input, input};
use crate::act::enrol;
use belay_certs::{TenantName, limits::DOCUMENT_BYTES_MAX, policy::ActionKind};

pub(super) async fn run(call: &Call<'_>, tenant: &TenantName, stdin: &mut Input<'_>) -> Result<String, Failure> {
    call.holding(tenant, ActionKind::Enrol).await?;
    let signed = input::read_signed(stdin, DOCUMENT_BYTES_MAX).await?;
    let token = enrol::issue_token(call.gateway, tenant, signed).await?;
    let devices = if token.uses == 1 { "1 use".to_owned() } else { format!("{} uses", token.uses) };
    Ok(format!("token {} recorded: {devices} until {}\n", token.id, token.expires))
}
