//! Recordings over the wire: chunks up in a stream of their own, words down, and what a reconnect changes.

use super::*;
use crate::recording::{Take, tests::READABLE};
use belay_certs::{
    Id,
    recording::{
        Chain,
        cast::{About, Kind},
    },
};

const SESSION: Id = Id([5; 16]);

/// A recorded machine, connected, and a session on it.
async fn ready() -> (Bench, Line, Take) {
    let mut bench = Bench::new().await;
    bench.approve();
    let newer = bench.tenant.publish(|draft| draft.grants = READABLE);
    bench.device.authority.take_policy(&bench.tenant.name(), &newer).unwrap();
    bench.run();
    let (line, _) = bench.welcome().await;
    let about = About {
        session: SESSION,
        tenant: "acme".parse().unwrap(),
        device: "web1.acme".parse().unwrap(),
        person: "alice".parse().unwrap(),
        account: "root".to_owned(),
        kind: Kind::Exec,
        command: Some("true".to_owned()),
        ticket: None,
    };
    let take = bench.device.recordings.begin(about, None).unwrap().unwrap();
    (bench, line, take)
}

/// A recording's stream as the gateway has it.
struct Up(Frames<GatewayPhase>);

impl Up {
    async fn next(&mut self) -> RecordingChunk {
        decode_frame(&self.0.next().await.unwrap()).unwrap()
    }
}

impl Line {
    async fn recording(&self) -> (RecordingBegun, Up) {
        let recv = self.connection.accept_uni().await.unwrap();
        let mut frames = Frames::new(recv, GatewayPhase::AwaitingUpload);
        let begun: RecordingBegun = decode_frame(&frames.next().await.unwrap()).unwrap();
        assert_eq!(begun.session, SESSION.0);
        (begun, Up(frames))
    }

    async fn kept(&mut self, chunks: u64) {
        self.say(ToAgent::RecordingKept(RecordingKept { session: SESSION.0, chunks })).await;
    }
}

#[tokio::test]
async fn chunks_go_up_as_they_are_sealed_and_begin_again_where_the_gateway_says() {
    let (bench, mut line, take) = ready().await;
    let mut chain = Chain::new(SESSION);
    let mut text = Vec::new();
    let mut take_in = |chunk: &RecordingChunk| {
        let note = chain.take(&chunk.note, &chunk.blob).unwrap();
        text.extend(belay_certs::recording::blob::open(&chunk.blob, None).unwrap());
        (note.chunk, note.last)
    };
    take.recording().shown(b"hello");
    let (begun, mut up) = line.recording().await;
    assert_eq!(begun.chunk, 0);
    let first = up.next().await;
    assert_eq!(take_in(&first), (0, false));
    line.kept(1).await;
    take.recording().watch().wait_for(|at| at.kept == 1).await.unwrap();
    line.connection.close(VarInt::from_u32(CloseCode::Broken.code()), b"");
    take.recording().shown(b"world");
    let (mut line, _) = bench.welcome().await;
    let (begun, mut up) = line.recording().await;
    assert_eq!(begun.chunk, 1, "after a reconnect it goes on behind what the gateway keeps");
    let second = up.next().await;
    assert_eq!(take_in(&second), (1, false));
    // The gateway lost nothing and says nothing: the same stream goes on to the end.
    let head = take.finish().await.unwrap();
    let last = up.next().await;
    assert_eq!(take_in(&last), (2, true));
    chain.check_end(head).unwrap();
    let shown = String::from_utf8(text).unwrap();
    assert!(shown.contains("\"o\", \"hello\"]") && shown.contains("\"o\", \"world\"]"), "{shown}");
    line.kept(3).await;
    bench.device.recordings.settled().await;
    bench.device.stop.cancel();
}

#[tokio::test]
async fn a_stream_that_the_gateway_stops_is_begun_again_and_a_refusal_ends_the_session() {
    let (bench, mut line, take) = ready().await;
    take.recording().shown(&[b'x'; 200_000]);
    let (_, up) = line.recording().await;
    let (mut recv, _) = up.0.into_parts();
    recv.stop(18_u32.into()).unwrap();
    let (begun, mut up) = line.recording().await;
    assert_eq!(begun.chunk, 0);
    assert!(up.next().await.note.contains("\nchunk 0\n"));
    line.say(ToAgent::RecordingRefused(RecordingRefused { session: SESSION.0, sentence: "no room".into() })).await;
    assert_eq!(take.recording().impossible().await, "the recording could not be kept: no room");
    take.finish().await.unwrap();
    bench.device.recordings.settled().await;
    bench.device.stop.cancel();
}
