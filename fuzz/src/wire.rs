//! The wire: frames cut out of a stream and the messages in them, and the requests of a file session.

use belay_agent_rules::sftp::{self, Asked};
use belay_protocol::{
    AgentPhase, FrameReader, GatewayPhase, JoinAnswer, JoinQuestion, Message, Misbehaved, Open, Phase, RawFrame,
    RenewalAnswer, ToAgent, ToGateway, decode_frame, encode_frame,
};

/// Frames in the order they came, and what ended the stream.
type Heard = (Vec<RawFrame>, Option<Misbehaved>);

/// A stream in every phase of both sides: where it is cut into pieces changes nothing, and errors come again.
pub(crate) fn frames(input: &[u8]) {
    let Some((piece, stream)) = input.split_first() else { return };
    GatewayPhase::ALL.iter().for_each(|phase| cut(*phase, usize::from(*piece), stream));
    AgentPhase::ALL.iter().for_each(|phase| cut(*phase, usize::from(*piece), stream));
}

fn cut<P: Phase + std::fmt::Debug>(phase: P, piece: usize, stream: &[u8]) {
    let whole = hear(phase, stream, stream.len());
    assert_eq!(whole, hear(phase, stream, piece), "heard in pieces of {piece} bytes in {phase:?}");
    whole.0.iter().for_each(read);
}

fn hear<P: Phase>(phase: P, stream: &[u8], piece: usize) -> Heard {
    let (mut reader, mut frames) = (FrameReader::new(phase), Vec::new());
    for mut arrived in stream.chunks(piece.max(1)) {
        loop {
            match reader.push(&mut arrived) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(wrong) => {
                    assert_eq!(reader.push(&mut &arrived[..]), Err(wrong), "an error comes again");
                    return (frames, Some(wrong));
                }
            }
        }
    }
    (frames, None)
}

/// A frame with any head: two bytes of kind, one of version, then the body.
pub(crate) fn messages(input: &[u8]) {
    let [high, low, version, body @ ..] = input else { return };
    read(&RawFrame { kind: u16::from_be_bytes([*high, *low]), version: *version, body: body.to_vec() });
}

/// Reads a frame as every side would. What one message type accepts is written and read again.
fn read(frame: &RawFrame) {
    if let Ok(Some(message)) = ToGateway::decode(frame) {
        rewritten(message.encode().ok(), |frame| ToGateway::decode(frame) == Ok(Some(message.clone())));
    }
    if let Ok(Some(message)) = ToAgent::decode(frame) {
        rewritten(message.encode().ok(), |frame| ToAgent::decode(frame) == Ok(Some(message.clone())));
    }
    if let Ok(Some(message)) = JoinAnswer::decode(frame) {
        rewritten(message.encode().ok(), |frame| JoinAnswer::decode(frame) == Ok(Some(message.clone())));
    }
    if let Ok(Some(message)) = JoinQuestion::decode(frame) {
        rewritten(message.encode().ok(), |frame| JoinQuestion::decode(frame) == Ok(Some(message.clone())));
    }
    if let Ok(Some(message)) = RenewalAnswer::decode(frame) {
        rewritten(message.encode().ok(), |frame| RenewalAnswer::decode(frame) == Ok(Some(message.clone())));
    }
    one::<Open>(frame);
}

fn one<M: Message + PartialEq>(frame: &RawFrame) {
    if let Ok(message) = decode_frame::<M>(frame) {
        rewritten(encode_frame(&message).ok(), |frame| decode_frame::<M>(frame).as_ref() == Ok(&message));
    }
}

fn rewritten(written: Option<Vec<u8>>, same: impl Fn(&RawFrame) -> bool) {
    let frame = written.as_deref().and_then(|bytes| {
        let [_, _, _, _, high, low, version, body @ ..] = bytes else { return None };
        Some(RawFrame { kind: u16::from_be_bytes([*high, *low]), version: *version, body: body.to_vec() })
    });
    assert!(frame.is_some_and(|frame| same(&frame)), "what was heard can be said");
}

/// What a client writes into a file session: packets come out whole, none larger than allowed, and what stands behind a
/// request's last field changes nothing.
pub(crate) fn sftp(input: &[u8]) {
    let mut waiting = input;
    while let Ok(Some((packet, taken))) = sftp::split(waiting) {
        assert_eq!(taken, packet.len() + 4, "a packet and its length");
        let longer = [packet, &[7; 9]].concat();
        if let Ok(asked) = Asked::read(packet) {
            assert_eq!(Asked::read(&longer).as_ref(), Ok(&asked), "more behind the last field");
        }
        waiting = waiting.get(taken..).unwrap_or_default();
    }
    let whole = sftp::split(waiting).is_ok_and(|rest| rest.is_none());
    assert!(whole || waiting.len() >= 4, "a length is known from four bytes");
}
