//! Many machines that ask to join at once.

use super::machine::ask_over;
use belay_protocol::{JoinAnswer, JoinAsked};
use quinn::Endpoint;
use std::net::Ipv4Addr;

/// Asks for many machines, some at a time, over one endpoint.
pub fn ask_all(port: u16, asked: &[JoinAsked]) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let mut accepted = 0;
        for some in asked.chunks(16) {
            let answers = some.iter().map(|one| ask_over(&endpoint, port, one));
            let mut tasks = tokio::task::JoinSet::new();
            answers.for_each(|answer| drop(tasks.spawn(answer)));
            while let Some(answer) = tasks.join_next().await {
                accepted += usize::from(matches!(answer.unwrap(), JoinAnswer::JoinAccepted(_)));
            }
        }
        endpoint.wait_idle().await;
        accepted
    })
}
