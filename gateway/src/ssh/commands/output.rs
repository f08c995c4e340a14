//! `job JOB --device DEVICE --output`, and `hold` and `release` of a run: what one run wrote, handed over as it is kept, and kept
//! from being deleted.
//!
//! Not here: which job is shown, and how (`jobs`).

use super::{
    Call, Failure, Output, Place,
    recording::{Hold, recorded},
};
use crate::store::{RunRow, TenantStore};
use belay_certs::{DeviceName, Id, policy::ActionKind};
use belay_rules::{Ask, OutputName};
use tokio::io::AsyncWriteExt;

/// What one run wrote, as far as it is here: the file's own bytes.
pub(super) async fn output(
    store: &TenantStore,
    id: Id,
    device: Option<&DeviceName>,
    stdout: &mut Output<'_>,
) -> Result<String, Failure> {
    let Some(device) = device else {
        return Err(Failure::Usage("say whose: write `job JOB --device DEVICE --output`".to_owned()));
    };
    let Some(run) = store.run(id, device).await? else {
        return Err(Failure::Refused(format!("{device} was not offered job {id}, so there is no output")));
    };
    still_there(id, &run)?;
    let mut at = 0_u64;
    loop {
        let bytes = store.output(id, device, at).await?;
        if bytes.is_empty() {
            return Ok(String::new());
        }
        stdout.write_all(&bytes).await?;
        at = at.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    }
}

/// Refuses what was deleted: why there is nothing to show, and what there is instead.
pub(super) fn still_there(id: Id, run: &RunRow) -> Result<(), Failure> {
    let (Some(at), device) = (run.output_deleted, &run.device) else { return Ok(()) };
    let left = match run.ended.as_ref().and_then(|ended| Some((ended.output?, ended.output_bytes))) {
        Some((digest, bytes)) => {
            format!(
                "its digest {digest} and its length of {bytes} bytes stay, for they prove whatever copy somebody kept"
            )
        }
        None => "its device signed no digest of it".to_owned(),
    };
    Err(Failure::Refused(format!(
        "the output of {id} on {device} was deleted at {at}, as the log says (`output.deleted`); {left}"
    )))
}

pub(super) async fn hold(
    call: &Call<'_>,
    (id, device): (Id, DeviceName),
    reason: String,
    wanted: Hold,
) -> Result<String, Failure> {
    let place = find(call, id, &device).await?;
    let (name, by) = (OutputName { tenant: place.tenant, job: id, device }, place.person);
    let said = match wanted {
        Hold::Lay => format!("the output of {name} is held: nothing deletes it\n"),
        Hold::Lift => format!("the output of {name} is held no more: the policy's `keep` counts\n"),
    };
    let ask = match wanted {
        Hold::Lay => Ask::HoldOutput { name, by, reason },
        Hold::Lift => Ask::ReleaseOutput { name, by, reason },
    };
    recorded(call.gateway.record(ask).await.map(|_| ()))?;
    Ok(said)
}

/// Where that run is, of the tenants in which the caller may audit; the command is recorded there before this returns. One that
/// is not there and one of a tenant that is none of the caller's business are answered alike (P3).
async fn find(call: &Call<'_>, id: Id, device: &DeviceName) -> Result<Place, Failure> {
    let places = call.auditing();
    let is_auditor = !places.is_empty();
    for place in places {
        let Some(store) = call.gateway.store.tenant(&place.tenant) else { continue };
        if store.run(id, device).await?.is_some() {
            call.record(std::slice::from_ref(&place)).await?;
            return Ok(place);
        }
    }
    // Recorded in every tenant of the caller's: it was looked for in all of them.
    call.granted(None).await?;
    if !is_auditor {
        return Err(call.lacks(None, ActionKind::Audit));
    }
    Err(Failure::Refused(format!(
        "there is no job {id} with a run on {device} that you may see; list jobs with `jobs`"
    )))
}
