//! Bodies that lie: cut short, too long, of the wrong kind or version, with lengths that are not there.

use super::samples::{ForEach, for_each, raw};
use crate::limits::UNKNOWN_BODY_BYTES_MAX;
use crate::*;

struct Lie;

impl ForEach for Lie {
    fn message<M: Message + Clone + PartialEq + std::fmt::Debug>(&mut self, sample: M) {
        let kind = M::KIND;
        let honest = raw(&sample);
        assert_eq!(decode_frame::<M>(&honest), Ok(sample));

        for end in 0..honest.body.len() {
            let cut = RawFrame { body: honest.body[..end].to_vec(), ..honest };
            assert_eq!(decode_frame::<M>(&cut), Err(Misbehaved::Malformed { kind }), "{} cut at {end}", M::NAME);
        }
        let mut longer = honest.clone();
        longer.body.push(0);
        assert_eq!(decode_frame::<M>(&longer), Err(Misbehaved::Trailing { kind }));

        let newer = RawFrame { version: M::VERSION + 1, ..honest.clone() };
        assert_eq!(decode_frame::<M>(&newer), Err(Misbehaved::UnknownVersion { kind, version: M::VERSION + 1 }));
        let other = RawFrame { kind: kind + 1_000, ..honest.clone() };
        assert_eq!(decode_frame::<M>(&other), Err(Misbehaved::Misdirected { kind: kind + 1_000 }));

        let huge = RawFrame { body: vec![0; M::BYTES_MAX + 1], ..honest };
        let bytes = M::BYTES_MAX as u64 + 1;
        let oversized = Misbehaved::Oversized { kind, bytes, bytes_max: M::BYTES_MAX };
        assert_eq!(decode_frame::<M>(&huge), Err(oversized));

        claim_everywhere::<M>(&honest);
    }
}

/// Puts lengths that are not there at every place of the body, over what was there.
fn claim_everywhere<M: Message + std::fmt::Debug>(honest: &RawFrame) {
    for at in 0..honest.body.len() {
        for claim in [[0xff; 8], [0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0], [0, 0, 0, 4, 0, 0, 0, 0]] {
            let mut body = honest.body[..at].to_vec();
            body.push(0xfd);
            body.extend_from_slice(&claim);
            let lying = RawFrame { body, ..*honest };
            // Whatever it is taken for (a claim, a number, text), nothing aborts and at most a bound is broken.
            if let Err(wrong) = decode_frame::<M>(&lying) {
                assert!(wrong.close_code().blames_peer());
            }
        }
    }
}

#[test]
fn a_body_that_lies_is_the_senders_fault() {
    for_each(&mut Lie);
}

#[test]
fn a_family_skips_unknown_kinds_and_refuses_the_other_sides() {
    let unknown = RawFrame { kind: 5_000, version: 9, body: vec![0; UNKNOWN_BODY_BYTES_MAX] };
    assert_eq!(ToGateway::decode(&unknown), Ok(None));
    assert_eq!(ToAgent::decode(&unknown), Ok(None));
    assert_eq!(JoinAnswer::decode(&unknown), Ok(None));

    let drain = raw(&Drain { within_ms: 1 });
    assert_eq!(ToAgent::decode(&drain), Ok(Some(ToAgent::Drain(Drain { within_ms: 1 }))));
    assert_eq!(ToGateway::decode(&drain), Err(Misbehaved::Misdirected { kind: Drain::KIND }));
    assert_eq!(JoinAnswer::decode(&drain), Err(Misbehaved::Misdirected { kind: Drain::KIND }));
}

#[test]
fn a_family_writes_what_it_reads() {
    let message = ToGateway::from(super::samples::hello());
    let frame = message.encode().unwrap();
    assert_eq!(frame, encode_frame(&super::samples::hello()).unwrap());
    assert_eq!(message.kind(), Hello::KIND);
    let raw = RawFrame { kind: message.kind(), version: 1, body: frame[7..].to_vec() };
    assert_eq!(ToGateway::decode(&raw), Ok(Some(message)));
}

#[test]
fn text_that_is_not_utf8_is_malformed() {
    let mut frame = raw(&JoinRefused { sentence: "No".into() });
    frame.body[1] = 0xff;
    assert_eq!(decode_frame::<JoinRefused>(&frame), Err(Misbehaved::Malformed { kind: JoinRefused::KIND }));
}

#[test]
fn a_refusal_code_from_a_newer_gateway_is_kept_but_not_named() {
    let mut refused = super::samples::statement_refused();
    assert_eq!(refused.reason(), Some(RefusalCode::SequenceGap));
    refused.code = 999;
    assert_eq!(decode_frame::<StatementRefused>(&raw(&refused)).map(|read| read.reason()), Ok(None));
}
