//! One question and one answer on a join connection.

use super::{
    endpoint::Dialled,
    frames::{self, Ended, Frames},
};
use belay_protocol::{AgentPhase, JoinAnswer, JoinAsked, Misbehaved, encode_frame};

/// Asks and waits for the answer. Cut off half-way: the gateway may have recorded the join; asking again with the same keys
/// is the same join.
pub(crate) async fn ask(dialled: &Dialled, asked: &JoinAsked) -> Result<JoinAnswer, Ended> {
    let (mut send, recv) = dialled.connection.open_bi().await.map_err(Ended::lost)?;
    let frame = encode_frame(asked).map_err(|unsendable| Ended::Broken(unsendable.to_string()))?;
    frames::write(&mut send, &frame).await?;
    let answer = Frames::new(recv, AgentPhase::AwaitingAnswer).next().await?;
    JoinAnswer::decode(&answer)?.ok_or_else(|| Misbehaved::Misdirected { kind: answer.kind }.into())
}
