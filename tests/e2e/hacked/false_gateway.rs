//! Somebody on the way of a join: another gateway, or one that answers what it likes.

use super::wire::{Frames, listen};
use belay_protocol::{ALPN_JOIN, GatewayPhase, JoinAnswer, JoinAsked, decode_frame};
use belay_tests::wait::Watched;
use quinn::{Endpoint, Incoming};
use std::sync::Arc;
use tokio::runtime::{Handle, Runtime};

/// How it answers a request.
type Answer = Arc<dyn Fn(JoinAsked) -> JoinAnswer + Send + Sync>;

/// The false gateway. Ends with this value.
pub struct FalseGateway {
    runtime: Option<Runtime>,
    endpoint: Endpoint,
    seen: Arc<Watched<Seen>>,
}

/// What came to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Callers that began a handshake and left before its end.
    pub left: usize,
    /// Callers that finished the handshake.
    pub met: usize,
    /// Requests.
    pub asked: usize,
}

impl FalseGateway {
    /// Shows `chain` and answers with `answer`.
    pub fn start(
        chain: &[Vec<u8>],
        key: Vec<u8>,
        answer: impl Fn(JoinAsked) -> JoinAnswer + Send + Sync + 'static,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let inside = runtime.enter();
        let endpoint = listen(0, chain, key, &[ALPN_JOIN]);
        drop(inside);
        let seen = Arc::<Watched<Seen>>::default();
        runtime.spawn(serve(endpoint.clone(), Arc::clone(&seen), Arc::new(answer)));
        Self { runtime: Some(runtime), endpoint, seen }
    }

    /// Where it listens, as tokens write it.
    pub fn address(&self) -> String {
        self.endpoint.local_addr().unwrap().to_string()
    }

    /// What came to it, once a first caller has come to an end.
    pub fn seen(&self) -> Seen {
        let seen = self.seen.wait(belay_tests::wait::GENEROUS, |seen| (seen.left + seen.met > 0).then_some(*seen));
        seen.expect("nobody came")
    }
}

impl Drop for FalseGateway {
    fn drop(&mut self) {
        self.endpoint.close(0_u32.into(), b"");
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

async fn serve(endpoint: Endpoint, seen: Arc<Watched<Seen>>, answer: Answer) {
    while let Some(incoming) = endpoint.accept().await {
        let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
        Handle::current().spawn(async move { serve_one(incoming, &seen, answer).await });
    }
}

async fn serve_one(incoming: Incoming, seen: &Watched<Seen>, answer: Answer) -> Option<()> {
    let Ok(connection) = incoming.await else {
        seen.change(|seen| seen.left += 1);
        return None;
    };
    seen.change(|seen| seen.met += 1);
    let (mut send, recv) = connection.accept_bi().await.ok()?;
    let frame = Frames::new(recv, GatewayPhase::AwaitingJoin).next().await?;
    let asked: JoinAsked = decode_frame(&frame).unwrap();
    seen.change(|seen| seen.asked += 1);
    // It may ask somebody else meanwhile.
    let answer = tokio::task::spawn_blocking(move || answer(asked).encode().unwrap()).await.unwrap();
    send.write_all(&answer).await.ok()?;
    send.finish().ok()?;
    connection.closed().await;
    Some(())
}
