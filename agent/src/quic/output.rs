//! The output of runs on its way to the gateway: a stream for each run, from the offset that the gateway keeps.
//!
//! A gateway that grants no stream, reads nothing or stops one keeps its own run waiting and nothing else. Not here: what is in
//! the file (`runs`), who asks for it.

use super::frames::{self, Ended};
use crate::{
    device::Device,
    limits::OUTPUT_RETRY,
    runs::{Run, upload::Standing},
    state::runs::OutputFile,
};
use belay_agent_rules::output::Upload;
use belay_certs::Id;
use belay_protocol::{OutputBegun, encode_frame};
use quinn::{Connection, SendStream};
use std::{collections::BTreeSet, sync::Arc};
use tokio::sync::watch;

/// Starts the upload of every run, and of those that come later, for as long as the connection lasts.
pub(super) async fn upload(connection: &Connection, device: &Arc<Device>) -> Ended {
    let mut added = device.runs.added();
    let mut begun: BTreeSet<Id> = BTreeSet::new();
    loop {
        added.mark_unchanged();
        let runs = device.runs.all();
        begun.retain(|order| runs.iter().any(|run| run.order == *order));
        for run in runs {
            if begun.insert(run.order) {
                let (connection, stop) = (connection.clone(), device.stop.clone());
                device.tracker.spawn(async move {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => {}
                        _ = connection.closed() => {}
                        ended = carry(&connection, &run) => tracing::debug!(order = %run.order, "{ended}"),
                    }
                });
            }
        }
        if added.changed().await.is_err() {
            return Ended::Broken("runs are taken no more".to_owned());
        }
    }
}

/// Carries one run's output until it is forgotten, in as many streams as it takes.
async fn carry(connection: &Connection, run: &Run) -> Ended {
    let mut watch = run.progress.watch();
    loop {
        if watch.wait_for(|at| at.durable > at.kept || at.forgotten).await.is_err() || watch.borrow().forgotten {
            return Ended::lost("the run is forgotten");
        }
        let mut stream = match connection.open_uni().await {
            Ok(stream) => stream,
            Err(error) => return Ended::lost(error),
        };
        let mut heard = watch.borrow().said;
        match send(&mut stream, run, &mut watch, &mut heard).await {
            Ok(()) => return Ended::lost("the run is forgotten"),
            Err(ended) => {
                tracing::debug!(order = %run.order, "an output stream ended, and is begun again: {ended}");
                let _ = stream.reset(0_u32.into());
                // The gateway says where it is when it wants more.
                let word = watch.wait_for(|at| at.said != heard || at.forgotten);
                if let Ok(Err(_)) = tokio::time::timeout(OUTPUT_RETRY, word).await {
                    return Ended::lost("the run is forgotten");
                }
            }
        }
    }
}

/// One stream from what the gateway keeps to the end of the file. Comes back when the run is forgotten; `heard` is how many of the
/// gateway's words it went by.
async fn send(
    stream: &mut SendStream,
    run: &Run,
    watch: &mut watch::Receiver<Standing>,
    heard: &mut u64,
) -> Result<(), Ended> {
    let at = watch.borrow_and_update().clone();
    let mut upload = Upload::default();
    upload.keep(at.kept, at.durable).map_err(|ahead| Ended::Broken(ahead.to_string()))?;
    let begun = OutputBegun { order: run.order.0, offset: upload.begin() };
    run.progress.begins(begun.offset);
    let frame = encode_frame(&begun).map_err(|unsendable| Ended::Broken(unsendable.to_string()))?;
    frames::write(stream, &frame).await?;
    let (mut finished, mut arrived) = (false, false);
    loop {
        let at = watch.borrow_and_update().clone();
        if at.forgotten {
            return Ok(());
        }
        if at.kept < begun.offset {
            return Err(Ended::lost("the gateway has less than it had"));
        }
        *heard = at.said;
        upload.keep(at.kept, at.durable).map_err(|ahead| Ended::Broken(ahead.to_string()))?;
        match (&at.file, upload.next(at.durable)) {
            (Some(file), Some(slice)) => {
                let bytes = read(file.clone(), slice.start, slice.end.saturating_sub(slice.start)).await?;
                frames::write(stream, &bytes).await?;
                continue;
            }
            (_, _) if at.whole && !finished => {
                finished = true;
                stream.finish().map_err(Ended::lost)?;
            }
            (_, _) => {}
        }
        tokio::select! {
            biased;
            stopped = stream.stopped(), if !arrived => match stopped {
                Ok(None) => arrived = true,
                stopped => return Err(Ended::lost(format_args!("the gateway stopped it: {stopped:?}"))),
            },
            changed = watch.changed() => changed.map_err(Ended::lost)?,
        }
    }
}

async fn read(file: Arc<OutputFile>, from: u64, bytes: u64) -> Result<Vec<u8>, Ended> {
    match tokio::task::spawn_blocking(move || file.slice(from, bytes)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(Ended::Broken(error.to_string())),
        Err(error) => Err(Ended::Broken(error.to_string())),
    }
}
