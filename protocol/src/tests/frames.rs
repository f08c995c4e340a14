//! Frames out of a stream of bytes, however it is cut, and what is refused by its head alone.

use super::samples;
use crate::limits::{JOIN_ASKED_BODY_BYTES_MAX, UNKNOWN_BODY_BYTES_MAX, UNKNOWN_FRAMES_MAX};
use crate::*;

fn head(length: u32, kind: u16) -> Vec<u8> {
    let mut head = length.to_be_bytes().to_vec();
    head.extend_from_slice(&kind.to_be_bytes());
    head.push(1);
    head
}

/// What a fresh reader says to these bytes, given whole.
fn first<P: Phase>(phase: P, bytes: &[u8]) -> Result<Option<RawFrame>, Misbehaved> {
    FrameReader::new(phase).push(&mut &*bytes)
}

#[test]
fn a_stream_gives_the_same_frames_however_it_is_cut() {
    let spoken: Vec<ToGateway> = vec![
        samples::hello().into(),
        samples::statement_made().into(),
        RecordTaken { serial: 1 }.into(),
        samples::policy_refused().into(),
    ];
    let bytes: Vec<u8> = spoken.iter().flat_map(|message| message.encode().unwrap()).collect();
    for size in 1..=bytes.len() {
        let mut reader = FrameReader::new(GatewayPhase::AwaitingHello);
        let mut heard = Vec::new();
        for mut chunk in bytes.chunks(size) {
            while let Some(frame) = reader.push(&mut chunk).unwrap() {
                heard.push(ToGateway::decode(&frame).unwrap().unwrap());
            }
            assert!(chunk.is_empty());
        }
        assert_eq!(heard, spoken, "in chunks of {size}");
        assert!(!reader.is_within_frame());
    }
}

#[test]
fn what_follows_an_open_is_left_for_the_session() {
    let mut bytes = encode_frame(&samples::open()).unwrap();
    bytes.extend_from_slice(b"SSH-2.0-OpenSSH_9.2\r\n");
    let mut arrived = bytes.as_slice();
    let mut reader = FrameReader::new(AgentPhase::AwaitingOpen);
    let frame = reader.push(&mut arrived).unwrap().unwrap();
    assert_eq!(decode_frame::<Open>(&frame), Ok(samples::open()));
    assert_eq!(arrived, b"SSH-2.0-OpenSSH_9.2\r\n");
    assert_eq!(reader.phase(), AgentPhase::Raw);
}

#[test]
fn a_length_too_small_for_its_head_is_refused() {
    for length in 0..3 {
        let wrong = first(GatewayPhase::AwaitingHello, &head(length, Hello::KIND));
        assert_eq!(wrong, Err(Misbehaved::Undersized { length }));
    }
}

#[test]
fn an_oversized_frame_is_refused_by_its_head() {
    for length in [JOIN_ASKED_BODY_BYTES_MAX as u32 + 4, u32::MAX] {
        let wrong = first(GatewayPhase::AwaitingJoin, &head(length, JoinAsked::KIND));
        let bytes = u64::from(length) - 3;
        let kind = JoinAsked::KIND;
        assert_eq!(wrong, Err(Misbehaved::Oversized { kind, bytes, bytes_max: JOIN_ASKED_BODY_BYTES_MAX }));
    }
    let largest = head(JOIN_ASKED_BODY_BYTES_MAX as u32 + 3, JoinAsked::KIND);
    assert_eq!(first(GatewayPhase::AwaitingJoin, &largest), Ok(None));
    let unknown = first(GatewayPhase::Ready, &head(UNKNOWN_BODY_BYTES_MAX as u32 + 4, 5_000));
    assert_eq!(unknown.unwrap_err().close_code(), CloseCode::OverLimit);
}

#[test]
fn a_message_out_of_phase_is_refused_by_its_head_again_and_again() {
    let mut reader = FrameReader::new(GatewayPhase::AwaitingHello);
    let wrong = Misbehaved::OutOfPhase { kind: StatementMade::KIND, phase: "the gateway awaits a hello" };
    assert_eq!(reader.push(&mut head(1_000, StatementMade::KIND).as_slice()), Err(wrong));
    assert_eq!(reader.push(&mut [0; 50].as_slice()), Err(wrong));
    assert_eq!(reader.buffer_bytes(), 0);
}

#[test]
fn the_buffer_follows_what_arrived_and_not_what_was_claimed() {
    let mut reader = FrameReader::new(AgentPhase::AwaitingAnswer);
    let most = crate::kinds::body_bytes_max(JoinAccepted::KIND);
    reader.push(&mut head(most as u32 + 3, JoinAccepted::KIND).as_slice()).unwrap();
    assert_eq!(reader.buffer_bytes(), 0);
    let mut arrived = 0;
    while arrived < most - 1_200 {
        assert_eq!(reader.push(&mut [0; 1_200].as_slice()), Ok(None));
        arrived += 1_200;
        assert!(reader.buffer_bytes() <= 2 * arrived, "{} for {arrived}", reader.buffer_bytes());
    }
    assert!(reader.is_within_frame());
}

#[test]
fn an_idle_reader_holds_no_buffer() {
    let mut reader = FrameReader::new(GatewayPhase::AwaitingHello);
    let bytes = encode_frame(&samples::hello()).unwrap();
    assert!(reader.push(&mut bytes.as_slice()).unwrap().is_some());
    assert_eq!(reader.buffer_bytes(), 0);
}

#[test]
fn unknown_kinds_are_counted_and_then_too_many() {
    let mut reader = FrameReader::new(GatewayPhase::Ready);
    let mut unknown = head(5, 5_000);
    unknown.extend_from_slice(&[7, 7]);
    for count in 1..=UNKNOWN_FRAMES_MAX {
        let frame = reader.push(&mut unknown.as_slice()).unwrap().unwrap();
        assert_eq!(ToGateway::decode(&frame), Ok(None));
        assert_eq!(reader.unknown(), count);
    }
    let taken = encode_frame(&RecordTaken { serial: 1 }).unwrap();
    assert!(reader.push(&mut taken.as_slice()).unwrap().is_some(), "known kinds are still heard");
    let wrong = reader.push(&mut unknown.as_slice());
    assert_eq!(wrong, Err(Misbehaved::TooManyUnknown { max: UNKNOWN_FRAMES_MAX }));
}
