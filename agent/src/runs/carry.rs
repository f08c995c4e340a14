//! One run from its note to the moment it is forgotten. Every step says what the next start finds when the agent dies here.
//!
//! Not here: the offer (`offered`), the running script (`process`).

use super::{Run, Shared, output::Keeper, process::Process, start};
use crate::{
    limits::{ENDS_RETRY, START_WAIT, WINDOW_EVERY},
    recorder::runs::Word,
    spawn::{self, Running},
    state::{
        Broken,
        runs::{Kept, OutputFile},
    },
};
use belay_certs::{
    Digest, Id, Timestamp,
    order::{Order, Outcome, Permit},
    output::read_cut_off,
    receipt::Permission,
    recording::blob::Readers,
    secrets::Secrets,
    statement::{RunEnd, word},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// What becomes of a noted run.
enum Next {
    /// The agent stops: the next one goes on with it.
    Later,
    /// It never begins.
    Never(Outcome, Option<String>),
    /// It may begin.
    Start(Box<Permission>),
}

/// A noted run: waits for the proof of its intent, then runs; or it is called off, withheld, or its window closes.
///
/// The agent dies here: the next one finds it noted and waits on.
pub(super) async fn noted(
    shared: Arc<Shared>,
    run: Arc<Run>,
    kept: Result<Kept, Broken>,
    word: oneshot::Receiver<Word>,
) {
    let end = match kept {
        Err(error) => {
            let reason = format!("what was kept of the order cannot be used: {error}");
            never(run.order, Outcome::NotStarted, Some(&reason))
        }
        Ok(kept) => match next(&shared, &run, &kept, word).await {
            Next::Later => return,
            Next::Never(outcome, reason) => never(run.order, outcome, reason.as_deref()),
            Next::Start(proof) => perform(&shared, &run, kept, proof).await,
        },
    };
    conclude(shared, run, end).await;
}

/// A run that had started when the agent died: nobody saw its end, and it is never run again. What is left of
/// its session is ended.
pub(super) async fn interrupted(shared: Arc<Shared>, run: Arc<Run>) {
    let (files, order) = (shared.files.clone(), run.order);
    let found = tokio::task::spawn_blocking(move || {
        if let Some(leader) = files.leader(order) {
            spawn::kill_left_behind(leader, &format!("{}={order}", start::RUN));
        }
        what_is_there(files.output(order)?)
    });
    let found = found.await;
    let mut end = RunEnd {
        order,
        outcome: Outcome::Interrupted,
        exit: None,
        signal: None,
        reason: Some("the agent stopped while it ran, and what it did since is not known".to_owned()),
        duration_ms: 0,
        output: None,
        output_bytes: 0,
        output_dropped: 0,
    };
    match found {
        Ok(Ok((file, bytes, dropped))) => {
            end.output = Some(Digest::of(&bytes));
            (end.output_bytes, end.output_dropped) = (bytes.len() as u64, dropped);
            run.progress.grown(&Arc::new(file), end.output_bytes);
        }
        Ok(Err(error)) => tracing::error!(%order, "the output of an interrupted run is lost: {error}"),
        Err(error) => tracing::error!(%order, "the output of an interrupted run is lost: {error}"),
    }
    run.progress.whole();
    conclude(shared, run, end).await;
}

/// Finds the output of a run whose end was said before the agent was started. To be done before the gateway can say how much of
/// it it keeps.
pub(super) async fn reopen(shared: &Shared, run: &Run) {
    let (files, order) = (shared.files.clone(), run.order);
    let opened = tokio::task::spawn_blocking(move || {
        let file = files.output(order)?;
        let bytes = file.read()?.len() as u64;
        Ok::<_, Broken>((file, bytes))
    });
    match opened.await {
        Ok(Ok((file, bytes))) => run.progress.grown(&Arc::new(file), bytes),
        Ok(Err(error)) => tracing::error!(%order, "the output of a run is lost: {error}"),
        Err(error) => tracing::error!(%order, "the output of a run is lost: {error}"),
    }
    run.progress.whole();
}

/// The output as far as it is whole, and the bytes that it says were dropped.
fn what_is_there(file: OutputFile) -> Result<(OutputFile, Vec<u8>, u64), Broken> {
    let mut bytes = file.read()?;
    // Our own file: what cannot be read of it was never written whole.
    let (whole, dropped) = read_cut_off(&bytes).map_or((0, 0), |read| (read.whole_bytes, read.dropped()));
    bytes.truncate(whole);
    file.trim(whole as u64)?;
    Ok((file, bytes, dropped))
}

async fn next(shared: &Shared, run: &Run, kept: &Kept, word: oneshot::Receiver<Word>) -> Next {
    let not_after = match Order::parse(&kept.order.bytes) {
        Ok(order) => order.not_after,
        Err(invalid) => return Next::Never(Outcome::NotStarted, Some(invalid.to_string())),
    };
    tokio::select! {
        biased;
        () = shared.stop.cancelled() => Next::Later,
        sentence = run.is_called_off() => Next::Never(Outcome::NotStarted, Some(sentence)),
        word = word => match word {
            Ok(Word::Proved(proof)) => Next::Start(proof),
            Ok(Word::Withheld(reason)) => Next::Never(Outcome::NotStarted, Some(reason)),
            // The recorder is gone: the agent stops.
            Err(_) => Next::Later,
        },
        () = is_over(shared, not_after) => Next::Never(Outcome::Expired, None),
    }
}

/// Waits until the clock here says that the window is over. Cancel-safe.
async fn is_over(shared: &Shared, not_after: Timestamp) {
    loop {
        let left = not_after.micros().saturating_sub(shared.authority.clock().now().micros());
        match u64::try_from(left) {
            Ok(left) if left > 0 => tokio::time::sleep(Duration::from_micros(left).min(WINDOW_EVERY)).await,
            _ => return,
        }
    }
}

/// Runs the script, unless something has changed since it was noted.
async fn perform(shared: &Arc<Shared>, run: &Arc<Run>, kept: Kept, proof: Box<Permission>) -> RunEnd {
    let order = run.order;
    let judged = {
        let (shared, kept) = (shared.clone(), kept.clone());
        tokio::task::spawn_blocking(move || judge_anew(&shared, &kept)).await
    };
    let Ready { permit, secrets, readers, file } = match judged {
        Ok(Ok(ready)) => ready,
        Ok(Err((outcome, reason))) => return never(order, outcome, reason.as_deref()),
        Err(error) => return never(order, Outcome::NotStarted, Some(&error.to_string())),
    };
    let called_off = run.called_off.borrow().clone();
    if let Some(sentence) = called_off {
        return never(order, Outcome::NotStarted, Some(&sentence));
    }
    // The agent dies before this returns: noted, and the same receipt comes again. After: interrupted.
    if let Err(error) = shared.recorder.begin_run(order, shared.authority.clock().now(), &proof).await {
        return never(order, Outcome::NotStarted, Some(&error.to_string()));
    }
    tracing::info!(%order, runbook = %permit.order().runbook, account = %permit.account(), "a run starts");
    let keeper = Keeper::new(permit.runbook().output, &secrets, readers, file, run.clone());
    let (permit, kept) = (Arc::new(permit), Arc::new(kept));
    match launch(shared, permit.clone(), (kept.clone(), secrets), proof).await {
        Ok(running) => {
            let process = Process { shared, run, permit: &permit, kept: &kept };
            process.follow(running, keeper).await
        }
        Err(why) => {
            run.progress.whole();
            let reason = format!("{} could not be started: {why}", permit.runbook().interpreter.program);
            never(order, Outcome::Failed, Some(&reason))
        }
    }
}

/// What a script is started with.
struct Ready {
    permit: Permit,
    /// In memory alone.
    secrets: Secrets,
    /// Who may read what it writes: settled now, as for a session.
    readers: Readers,
    /// For what it writes.
    file: Arc<OutputFile>,
}

/// The policy may have changed while the proof was made, the window have closed, a program be gone.
fn judge_anew(shared: &Shared, kept: &Kept) -> Result<Ready, (Outcome, Option<String>)> {
    let order = Order::parse(&kept.order.bytes).map_err(|no| (Outcome::Refused, Some(no.to_string())))?;
    if shared.authority.clock().now() >= order.not_after {
        return Err((Outcome::Expired, None));
    }
    let permit = shared.judge(kept).map_err(|sentence| (Outcome::Refused, Some(sentence)))?;
    start::check(&permit).map_err(|sentence| (Outcome::Refused, Some(sentence)))?;
    let secrets = shared.secrets(&permit).map_err(|sentence| (Outcome::Refused, Some(sentence)))?;
    let readers = Readers::of_run(&shared.authority.recording(), &order.output_to)
        .map_err(|invalid| (Outcome::Refused, Some(invalid.to_string())))?;
    let file = shared.files.output(order.id).map_err(|error| (Outcome::NotStarted, Some(error.to_string())))?;
    Ok(Ready { permit, secrets, readers, file: Arc::new(file) })
}

/// Starts the script off the runtime's threads. One that starts too late is ended at once.
async fn launch(
    shared: &Shared,
    permit: Arc<Permit>,
    (kept, secrets): (Arc<Kept>, Secrets),
    proof: Box<Permission>,
) -> Result<Running, String> {
    let device = shared.authority.address();
    let files = shared.files.clone();
    let starting = move || {
        let running = start::start(&permit, (&kept.runbook.bytes, &secrets), &device, &proof)?;
        files.started(permit.order().id, running.child.id().unwrap_or_default());
        Ok::<_, std::io::Error>(running)
    };
    let mut starting = tokio::task::spawn_blocking(starting);
    match tokio::time::timeout(START_WAIT, &mut starting).await {
        Ok(Ok(started)) => started.map_err(|error| error.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => {
            shared.tracker.spawn(async move {
                if let Ok(Ok(mut late)) = starting.await {
                    let _ = late.child.start_kill();
                }
            });
            Err("it took too long; is the home directory on a file server that does not answer?".to_owned())
        }
    }
}

/// Says that the run is over, however often it takes: an end that could not be written is written when there is room again.
///
/// The agent dies before it is durable: the run is found as it was, noted or interrupted.
async fn conclude(shared: Arc<Shared>, run: Arc<Run>, end: RunEnd) {
    tracing::info!(order = %run.order, outcome = %end.outcome, "a run is over");
    run.progress.whole();
    let proved = loop {
        match shared.recorder.end_run(end.clone()).await {
            Ok(proved) => break proved,
            Err(error) => {
                tracing::error!(order = %run.order, "the end of a run is not recorded yet: {error}");
                if !again(&shared).await {
                    return;
                }
            }
        }
    };
    deliver(shared, run, proved).await;
}

/// Waits until the end is proved and the output acknowledged, then forgets the run.
///
/// The agent dies before the run is forgotten: the next one delivers both again. After: the next one removes the files.
pub(super) async fn deliver(shared: Arc<Shared>, run: Arc<Run>, proved: oneshot::Receiver<()>) {
    let delivered = async {
        let proved = proved.await.is_ok();
        (proved, run.progress.is_kept().await)
    };
    let (bytes, kept) = tokio::select! {
        biased;
        () = shared.stop.cancelled() => return,
        (proved, all) = delivered => if proved { all } else { return },
    };
    while let Err(error) = shared.recorder.forget_run(run.order, bytes, kept).await {
        tracing::warn!(order = %run.order, "a run is not forgotten yet: {error}");
        if !again(&shared).await {
            return;
        }
    }
    shared.remove(run.order);
}

/// Waits for the next try; whether there is one.
async fn again(shared: &Shared) -> bool {
    tokio::select! {
        biased;
        () = shared.stop.cancelled() => false,
        () = tokio::time::sleep(ENDS_RETRY) => true,
    }
}

/// The end of a run whose script did nothing.
fn never(order: Id, outcome: Outcome, reason: Option<&str>) -> RunEnd {
    let reason = reason.map(|reason| if reason.is_empty() { "it was called off" } else { reason });
    RunEnd {
        order,
        outcome,
        exit: None,
        signal: None,
        reason: reason.map(word),
        duration_ms: 0,
        output: None,
        output_bytes: 0,
        output_dropped: 0,
    }
}
