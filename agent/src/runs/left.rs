//! A way out for the output of a run that the gateway does not know: it was restored from before the job, and will not hear of it
//! again once the order's window is over. What the machine said of the run is in the log all the same.
//!
//! Nothing is lost silently: the output stays on the machine, under the digest that the signed end names, and a line says where.

use super::{Run, Shared};
use crate::limits::{OUTPUT_UNKNOWN_SECONDS, WINDOW_EVERY};
use belay_certs::{Timestamp, order::Order, time::SECOND};

/// Returns once the output of this run was moved to where it is no run's any more. Until then the gateway may still ask for it.
///
/// Cut off half-way: it is the run's, or was moved whole.
pub(super) async fn leave(shared: &Shared, run: &Run) {
    let mut standing = run.progress.watch();
    let mut said = false;
    loop {
        if standing.wait_for(|at| at.unknown).await.is_err() {
            return std::future::pending().await;
        }
        let (files, order) = (shared.files.clone(), run.order);
        let now = believed(shared);
        let leaving = move || {
            let kept = files.load(order).map_err(|error| error.to_string())?;
            let order = Order::parse(&kept.order.bytes).map_err(|invalid| invalid.to_string())?;
            let due = order.not_after.plus(OUTPUT_UNKNOWN_SECONDS * SECOND);
            match now.is_some_and(|now| now >= due) {
                true => files.leave(order.id).map(Some).map_err(|error| error.to_string()),
                false => Ok(None),
            }
        };
        let left = tokio::task::spawn_blocking(leaving).await.unwrap_or_else(|error| Err(error.to_string()));
        match left {
            Ok(Some(path)) => {
                tracing::warn!(
                    order = %run.order,
                    "the gateway does not know this run (was it restored from before it?), so its output stays here, in {}: what it \
                     is worth says the end of the run in the log, which names its digest; move it where it is wanted",
                    path.display()
                );
                return;
            }
            Ok(None) => {}
            // Once, for it is tried again twice a minute.
            Err(error) if !said => {
                said = true;
                tracing::error!(order = %run.order, "an output that the gateway does not know cannot be left here: {error}");
            }
            Err(_) => {}
        }
        tokio::select! {
            _ = standing.changed() => {}
            () = tokio::time::sleep(WINDOW_EVERY) => {}
        }
    }
}

/// A moment that was certainly reached: by the clock here and by the gateway's.
fn believed(shared: &Shared) -> Option<Timestamp> {
    let clock = shared.authority.clock();
    Some(clock.check().ok()?.min(clock.gateway()?))
}
