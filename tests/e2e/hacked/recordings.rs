//! Held output: a gateway that leads sessions as ever and takes every chunk of their recordings, and never says that it keeps one.
//! The person is shown what may be shown without its word, and then nothing until the session ends.

use super::{DEVICE, Scene, wire::Frames};
use belay_protocol::{GatewayPhase, RecordingBegun, RecordingChunk, RecordingKept, ToAgent, decode_frame};
use quinn::{Connection, RecvStream};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::{runtime::Handle, sync::mpsc};

/// Text of a recording that may be shown while the gateway is not known to keep it (issue 5).
const UNKEPT_BYTES_MAX: usize = 256 << 10;
/// What was read before it was known that this is reached: one packet, which is shown. The recording's text of it is no shorter
/// than the bytes themselves, so nothing is added here for that.
const PACKET_BYTES: usize = 32 << 10;
/// How long output is held before the session ends (issue 5).
const HELD: Duration = Duration::from_secs(30);
const SENTENCE: &str = "the recording could not be kept: the gateway has not taken it for 30 seconds";
/// Much more than is shown unkept, and what the honest gateway lets through.
const MUCH: usize = 2 << 20;

/// What it does with recordings.
#[derive(Default)]
struct Desk {
    /// Whether it says that it keeps what it takes.
    keeps: AtomicBool,
    /// Chunks that it took.
    chunks: AtomicUsize,
}

/// Takes all streams of recordings of this connection.
async fn take_all(desk: Arc<Desk>, connection: Connection, out: mpsc::Sender<Vec<u8>>) {
    while let Ok(stream) = connection.accept_uni().await {
        let (desk, out) = (Arc::clone(&desk), out.clone());
        Handle::current().spawn(async move { take(&desk, stream, out).await });
    }
}

async fn take(desk: &Desk, stream: RecvStream, out: mpsc::Sender<Vec<u8>>) -> Option<()> {
    let mut frames = Frames::new(stream, GatewayPhase::AwaitingUpload);
    let RecordingBegun { session, chunk } = decode_frame(&frames.next().await?).unwrap();
    for chunks in chunk + 1.. {
        let _: RecordingChunk = decode_frame(&frames.next().await?).unwrap();
        desk.chunks.fetch_add(1, Ordering::SeqCst);
        if desk.keeps.load(Ordering::SeqCst) {
            let kept = ToAgent::from(RecordingKept { session, chunks });
            out.send(kept.encode().unwrap()).await.ok()?;
        }
    }
    None
}

#[test]
fn what_a_gateway_takes_and_never_keeps_is_held_and_ends_the_session() {
    let scene = Scene::new();
    let desk = Arc::<Desk>::default();
    scene.rogue.beside(|connection, out| take_all(Arc::clone(&desk), connection, out));
    let ran = |command: &str| {
        let begun = Instant::now();
        (scene.rogue.ssh(&scene.tech, DEVICE, command), begun.elapsed())
    };
    let (much, late) = thread::scope(|scope| {
        let much = scope.spawn(|| ran(&format!("yes 'a line of output' | head -c {MUCH}")));
        // The second word comes when the first has been unknown to the gateway for longer than five seconds.
        let late = scope.spawn(|| ran("echo first; sleep 8; echo second"));
        (much.join().unwrap(), late.join().unwrap())
    });
    for (said, took) in [&much, &late] {
        assert!(!said.status.success() && said.err().contains(SENTENCE), "{}", said.story());
        assert!(*took >= HELD, "it ended after {took:?}: {}", said.story());
    }
    let (shown, chunks) = (much.0.stdout.len(), desk.chunks.load(Ordering::SeqCst));
    println!("measured: {shown} B shown of {MUCH} B, {chunks} chunks taken and none kept, ended after {:?}", much.1);
    assert!(shown <= UNKEPT_BYTES_MAX + PACKET_BYTES, "{shown} bytes were shown that no gateway has");
    // It was a session like any other until then, and its chunks did come.
    assert!(shown >= UNKEPT_BYTES_MAX / 2 && chunks >= 4, "{shown} bytes, {chunks} chunks");
    assert_eq!(late.0.out(), "first\n", "what came later than five seconds was shown");
    // The same commands with a gateway that says what it keeps.
    desk.keeps.store(true, Ordering::SeqCst);
    let (said, _) = ran(&format!("yes 'a line of output' | head -c {MUCH}"));
    assert_eq!(said.must().stdout.len(), MUCH);
    assert_eq!(ran("echo first; sleep 8; echo second").0.must().out(), "first\nsecond\n");
}
