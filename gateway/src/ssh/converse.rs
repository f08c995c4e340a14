//! One connection of a person from its first byte to its end, and what its end says about where it came from.
//!
//! Not here: what is said on it (`connection`).

use super::{
    connection::Connection,
    cut::Cut,
    guard::{Guard, Progress},
    lengths,
};
use crate::{
    Gateway, limits,
    threshold::{penalties::Outcome, places::Place},
};
use russh::server::{Config, run_stream};
use std::{net::SocketAddr, sync::Arc, time::Instant};
use tokio::{net::TcpStream, time::timeout};

/// Serves one connection until it ends.
pub(super) async fn converse(
    gateway: Arc<Gateway>,
    config: Arc<Config>,
    (stream, from): (TcpStream, SocketAddr),
    place: Place,
) {
    let _ = stream.set_nodelay(true);
    let progress = Arc::new(Progress::default());
    let outcome = run(&gateway, config, (stream, from), place, &progress).await;
    let Some(outcome) = outcome.filter(|_| !progress.is_logged_in()) else { return };
    tracing::debug!(%from, ?outcome, "a connection ended without a login");
    gateway.threshold.farewell(from.ip(), outcome, Instant::now());
    let told = match outcome {
        // Health checks would fill the log; people who are told that their keys are unknown are counted there.
        Outcome::NothingTried => return,
        Outcome::Crashed => {
            tracing::error!(%from, "a connection crashed before its login; its address has to wait");
            "crashed"
        }
        Outcome::Refused => "unknown keys",
        Outcome::TooSlow => "no login in time",
        Outcome::Misbehaved => "broke the protocol",
        Outcome::Displaced => "made room for another",
    };
    gateway.strangers.count(gateway.now(), &format!("{} {told}", from.ip()));
}

/// Runs it; what its end says if nobody logged in. None when the gateway stopped.
async fn run(
    gateway: &Arc<Gateway>,
    config: Arc<Config>,
    (stream, from): (TcpStream, SocketAddr),
    place: Place,
    progress: &Arc<Progress>,
) -> Option<Outcome> {
    let displaced = place.displaced();
    let (connection, login) = Connection::new(Arc::clone(gateway), from, (place, Arc::clone(progress)));
    // Whatever ends this function ends the connection: a client that was told to go may not want to.
    let gone = connection.gone();
    let stream = Guard::new(Cut::new(stream, gone.clone()), Arc::clone(progress), lengths());
    let _ended = gone.drop_guard();
    let deadline = tokio::time::Instant::now() + limits::LOGIN_DEADLINE;
    let beginning = tokio::select! {
        biased;
        () = displaced.cancelled() => return Some(Outcome::Displaced),
        () = gateway.stop.cancelled() => return None,
        beginning = tokio::time::timeout_at(deadline, run_stream(config, stream, connection)) => beginning,
    };
    let running = match beginning {
        Ok(Ok(running)) => running,
        Ok(Err(error)) => return Some(outcome(&error, progress)),
        Err(_) => return Some(Outcome::TooSlow),
    };
    let handle = running.handle();
    let say = |sentence: &str| handle.disconnect(russh::Disconnect::ByApplication, sentence.to_owned(), String::new());
    tokio::pin!(running);
    let (farewell, outcome) = tokio::select! {
        biased;
        ended = &mut running => return Some(ended.map_or_else(|error| outcome(&error, progress), |()| quiet(progress))),
        () = login.displaced(displaced) => return Some(Outcome::Displaced),
        () = gateway.stop.cancelled() => ("belay: the gateway is stopping; come back in a moment", None),
        () = login.missed(deadline) => ("belay: no login in time", Some(Outcome::TooSlow)),
    };
    let saying = async {
        let _ = say(farewell).await;
        let _ = (&mut running).await;
    };
    let _ = timeout(limits::FAREWELL_WAIT, saying).await;
    outcome
}

/// The client went without breaking anything.
fn quiet(progress: &Progress) -> Outcome {
    if progress.was_refused() { Outcome::Refused } else { Outcome::NothingTried }
}

fn outcome(error: &russh::Error, progress: &Progress) -> Outcome {
    use russh::Error as E;
    match error {
        E::Join(_) => Outcome::Crashed,
        _ if progress.has_excess() => Outcome::Misbehaved,
        // It hung up, or it cannot speak what we do: an old client, an audit.
        E::IO(_) | E::Disconnect | E::HUP | E::ConnectionTimeout | E::SendError | E::NoCommonAlgo { .. } => {
            quiet(progress)
        }
        _ => Outcome::Misbehaved,
    }
}
