//! One question and one answer on a join connection.

use super::{
    endpoint::Dialled,
    frames::{self, Ended, Frames},
};
use belay_certs::{
    Digest,
    renewal::{CHANNEL_BYTES, CHANNEL_LABEL},
};
use belay_protocol::{
    AgentPhase, JoinAnswer, JoinAsked, Misbehaved, RawFrame, RenewalAnswer, RenewalAsked, encode_frame,
};

/// Asks to join and waits for the answer. Cut off half-way: the gateway may have recorded the join; asking again with the same
/// keys is the same join.
pub(crate) async fn ask(dialled: &Dialled, asked: &JoinAsked) -> Result<JoinAnswer, Ended> {
    let answer = answer(dialled, encode_frame(asked)).await?;
    JoinAnswer::decode(&answer)?.ok_or_else(|| Misbehaved::Misdirected { kind: answer.kind }.into())
}

/// Asks for a transport certificate and waits for the answer. Cut off half-way: nothing was changed on either side.
pub(super) async fn ask_renewal(dialled: &Dialled, asked: &RenewalAsked) -> Result<RenewalAnswer, Ended> {
    let answer = answer(dialled, encode_frame(asked)).await?;
    RenewalAnswer::decode(&answer)?.ok_or_else(|| Misbehaved::Misdirected { kind: answer.kind }.into())
}

async fn answer(dialled: &Dialled, asked: Result<Vec<u8>, belay_protocol::Unsendable>) -> Result<RawFrame, Ended> {
    let frame = asked.map_err(|unsendable| Ended::Broken(unsendable.to_string()))?;
    let (mut send, recv) = dialled.connection.open_bi().await.map_err(Ended::lost)?;
    frames::write(&mut send, &frame).await?;
    Frames::new(recv, AgentPhase::AwaitingAnswer).next().await
}

/// What names this TLS connection to both of its ends and to nobody else.
pub(super) fn channel(dialled: &Dialled) -> Result<Digest, Ended> {
    let mut material = [0; CHANNEL_BYTES];
    let exported = dialled.connection.export_keying_material(&mut material, CHANNEL_LABEL, b"");
    exported.map_err(|_| Ended::Broken("TLS gives no keying material".to_owned()))?;
    Ok(Digest::of(&material))
}
