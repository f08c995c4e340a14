//! Recordings that devices send to the true door, over real QUIC on the loopback.

use super::{super::device::tests::*, *};
use crate::scene::{Machine, acme, now};
use belay_certs::{
    Digest,
    statement::{self, Body, Head, Intent, SessionKind, Statement},
};
use belay_protocol::encode_frame;
use belay_rules::{Ask, Outer};
use quinn::SendStream;

const SESSION: Id = Id([7; 16]);
const ACCESS: Id = Id([8; 16]);

/// A device with one session under way.
struct Device {
    bench: Bench,
    machine: Machine,
    line: Line,
    /// The statements so far: the number of the last, and its digest.
    said: (u64, Option<Digest>),
}

impl Device {
    async fn new() -> Self {
        let bench = Bench::new().await;
        let machine = bench.scene.machine("web1").await;
        bench.scene.approve_unheard(&machine, 1).await;
        let line = bench.call(&machine, hello()).await;
        let mut device = Self { bench, machine, line, said: (0, None) };
        device.say(Body::SessionOpened(intent())).await;
        device
    }

    /// Records a statement of the device, as the control stream does.
    async fn say(&mut self, body: Body) {
        let head = Head {
            id: Id::random().unwrap(),
            device: "web1.acme".parse().unwrap(),
            serial: 1,
            seq: self.said.0 + 1,
            previous: self.said.1,
            checkpoint: None,
            issued: now(),
        };
        let said = Statement { head, body };
        let signed = statement::sign(&said, &self.machine.host_key).unwrap();
        self.said = (said.head.seq, Some(Digest::of(signed.text.as_bytes())));
        let outer = Outer { access: ACCESS, person: "tech".parse().unwrap(), device: "web1".parse().unwrap() };
        let ask = Ask::Statement { join: self.machine.join, signed, statement: Box::new(said), outer: Some(outer) };
        let recorded = self.bench.scene.gateway.record(ask).await.unwrap();
        assert_eq!(recorded.outcome, belay_rules::Outcome::Recorded);
    }

    async fn begin(&mut self, session: Id, chunk: u64) -> SendStream {
        let mut stream = self.line.connection.open_uni().await.unwrap();
        stream.write_all(&encode_frame(&RecordingBegun { session: session.0, chunk }).unwrap()).await.unwrap();
        stream
    }

    /// What is said next about the recording: so many chunks, or a refusal.
    async fn answer(&mut self) -> Result<u64, String> {
        loop {
            match self.line.hear().await {
                ToAgent::RecordingKept(kept) => return Ok(kept.chunks),
                ToAgent::RecordingRefused(refused) => return Err(refused.sentence),
                _ => {}
            }
        }
    }

    fn note(&self, chunk: u64, blob: &[u8], previous: Option<Digest>) -> Note {
        Note {
            device: "web1.acme".parse().unwrap(),
            serial: 1,
            session: SESSION,
            chunk,
            from_ms: chunk,
            to_ms: chunk,
            blob_bytes: blob.len() as u64,
            blob: Digest::of(blob),
            previous,
            last: false,
        }
    }

    /// The chunk's frame, and the digest of its note.
    fn sign(&self, note: &Note, blob: &[u8]) -> (Vec<u8>, Digest) {
        let signed = note.sign(&self.machine.host_key).unwrap();
        let digest = signed.digest();
        let chunk = RecordingChunk { note: signed.text, signature: signed.signature, blob: blob.to_vec() };
        (encode_frame(&chunk).unwrap(), digest)
    }
}

fn intent() -> Intent {
    Intent {
        session: SESSION,
        access: ACCESS,
        person: "tech".parse().unwrap(),
        key: "SHA256:tech".to_owned(),
        account: "root".to_owned(),
        kind: SessionKind::Shell,
        command: None,
        target: None,
        tty: true,
        ticket: None,
        grant_line: Some(30),
        policies: Vec::new(),
    }
}

#[tokio::test]
async fn chunks_are_acknowledged_when_they_are_durable_and_a_new_stream_goes_on_behind_them() {
    let mut device = Device::new().await;
    let mut stream = device.begin(SESSION, 0).await;
    assert_eq!(device.answer().await, Ok(0));
    let (first, head) = device.sign(&device.note(0, b"one", None), b"one");
    let (second, _) = device.sign(&device.note(1, b"two", Some(head)), b"two");
    stream.write_all(&first).await.unwrap();
    assert_eq!(device.answer().await, Ok(1));
    drop(stream);
    // What it never heard of being kept, it sends again.
    let mut stream = device.begin(SESSION, 0).await;
    assert_eq!(device.answer().await, Ok(1));
    stream.write_all(&[first, second].concat()).await.unwrap();
    assert_eq!((device.answer().await, device.answer().await), (Ok(1), Ok(2)));
    let name = RecordingName { tenant: acme(), device: "web1".parse().unwrap(), session: SESSION };
    let store = &device.bench.scene.gateway.store;
    assert_eq!(store.blob(&name, 1, false).await.unwrap().unwrap(), b"two".as_slice());
    // A gap: it begins again at what it just heard.
    let stream = device.begin(SESSION, 5).await;
    assert_eq!(device.answer().await, Ok(2));
    assert!(stream.stopped().await.unwrap().is_some());
}

#[tokio::test]
async fn whatever_is_not_the_next_signed_chunk_of_a_session_of_this_device_is_refused_in_words() {
    let mut device = Device::new().await;
    let (good, blob) = (device.note(0, b"one", None), b"one".as_slice());
    let foreign = Note { device: "db1.acme".parse().unwrap(), ..good.clone() };
    let other = Note { session: Id([9; 16]), ..good.clone() };
    let later = Note { chunk: 1, previous: Some(Digest::of(b"x")), ..good.clone() };
    for (note, blob, words) in [
        (&good, b"two".as_slice(), "chunk 0 of the recording"),
        (&foreign, blob, "came from web1.acme"),
        (&other, blob, "chunk 0 of the recording"),
    ] {
        let mut stream = device.begin(SESSION, 0).await;
        assert_eq!(device.answer().await, Ok(0));
        let (frame, _) = device.sign(note, blob);
        stream.write_all(&frame).await.unwrap();
        let refused = device.answer().await.unwrap_err();
        assert!(refused.contains(words), "{refused}");
    }
    let mut stream = device.begin(SESSION, 0).await;
    assert_eq!(device.answer().await, Ok(0));
    let (frame, _) = device.sign(&later, blob);
    stream.write_all(&frame).await.unwrap();
    assert_eq!(device.answer().await, Ok(0), "a gap is no fault");
    // Signed by somebody else.
    let mut stream = device.begin(SESSION, 0).await;
    assert_eq!(device.answer().await, Ok(0));
    let signed = good.sign(&crate::scene::key()).unwrap();
    let chunk = RecordingChunk { note: signed.text, signature: signed.signature, blob: blob.to_vec() };
    stream.write_all(&encode_frame(&chunk).unwrap()).await.unwrap();
    assert!(device.answer().await.unwrap_err().contains("host key"));
    let _unknown = device.begin(Id([1; 16]), 0).await;
    assert!(device.answer().await.unwrap_err().contains("was never opened here"));
    let tenant = device.bench.scene.gateway.store.tenant(&acme()).unwrap();
    assert_eq!(tenant.session(SESSION).await.unwrap().unwrap().recording, None);
}

#[tokio::test]
async fn nothing_more_is_kept_of_a_session_whose_end_named_no_recording() {
    let mut device = Device::new().await;
    let (exit, signal, reason, recording, files) = (Some(0), None, None, None, None);
    let ended =
        Body::SessionEnded { session: SESSION, exit, signal, reason, bytes_in: 0, bytes_out: 0, recording, files };
    device.say(ended).await;
    let _stream = device.begin(SESSION, 0).await;
    assert!(device.answer().await.unwrap_err().contains("named no recording"));
}
