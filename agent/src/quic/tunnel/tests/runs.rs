//! Runs over the wire: offers and words in, statements out, and the output in a stream of its own.

use super::*;
use crate::runs::tests::bench::{Draft, GRANTS, end_of, grants, said};
use belay_certs::{Id, statement::Body, time::SECOND};

/// A machine that may run what alice orders, connected, with an order for it.
async fn ready(lines: &str) -> (Bench, Line, Draft) {
    let mut bench = Bench::new().await;
    bench.approve();
    let newer = bench.tenant.publish(|draft| draft.grants = grants(GRANTS));
    bench.device.authority.take_policy(&bench.tenant.name(), &newer).unwrap();
    let mut draft = Draft::new(&bench.tenant, &bench.device.authority, "#!/bin/sh", "", lines);
    // The machine remembers since it was opened.
    draft.order.not_before = now().plus(60 * SECOND);
    bench.run();
    let (line, _) = bench.welcome().await;
    (bench, line, draft)
}

impl Bench {
    /// Records a statement and gives its receipt.
    async fn prove(&mut self, line: &mut Line, made: &StatementMade) {
        let at = self.tenant.log.record(made);
        line.say(ToAgent::ReceiptGiven(self.tenant.log.receipt(at, made.consistency_from))).await;
    }
}

impl Line {
    /// The next output stream: its head, and the rest of it.
    async fn output(&self) -> (OutputBegun, quinn::RecvStream, Vec<u8>) {
        let recv = self.connection.accept_uni().await.unwrap();
        let mut frames = Frames::new(recv, GatewayPhase::AwaitingUpload);
        let begun = decode_frame(&frames.next().await.unwrap()).unwrap();
        let (recv, early) = frames.into_parts();
        (begun, recv, early)
    }
}

#[tokio::test]
async fn the_output_of_a_run_goes_up_and_begins_anew_where_the_gateway_says() {
    let scratch = tempfile::tempdir().unwrap();
    let go_on = scratch.path().join("go-on");
    let lines = format!("echo hello\nuntil [ -e {} ]; do sleep 0.1; done\necho world >&2", go_on.display());
    let (mut bench, mut line, draft) = ready(&lines).await;
    line.say(ToAgent::RunOffered(draft.signed())).await;
    let made = line.statement().await;
    assert!(matches!(said(&made).body, Body::RunStarted(_)), "{}", made.text);
    bench.prove(&mut line, &made).await;
    let (begun, mut recv, _) = line.output().await;
    assert_eq!((Id(begun.order), begun.offset), (draft.order.id, 0));
    // Nothing is lost that the gateway did not take, and nothing else waits for it.
    recv.stop(18_u32.into()).unwrap();
    std::fs::write(go_on, b"").unwrap();
    let made = line.statement().await;
    let end = end_of(&made);
    bench.prove(&mut line, &made).await;
    line.say(ToAgent::OutputKept(OutputKept { order: begun.order, offset: 5 })).await;
    let (begun, mut recv, mut bytes) = line.output().await;
    assert_eq!((Id(begun.order), begun.offset), (draft.order.id, 5));
    bytes.extend(recv.read_to_end(4_096).await.unwrap());
    let file = std::fs::read(bench.machine.dir.at("runs").join(draft.order.id.to_string()).join("output")).unwrap();
    assert_eq!((bytes.as_slice(), end.output), (&file[5..], Some(belay_certs::Digest::of(&file))));
    let run = bench.device.runs.all().remove(0);
    line.say(ToAgent::OutputKept(OutputKept { order: begun.order, offset: end.output_bytes })).await;
    run.progress.watch().wait_for(|at| at.forgotten).await.unwrap();
    bench.device.stop.cancel();
}

#[tokio::test]
async fn after_a_lost_connection_the_output_begins_where_the_gateway_had_it() {
    let (mut bench, mut line, draft) = ready("echo hello").await;
    line.say(ToAgent::RunOffered(draft.signed())).await;
    let made = line.statement().await;
    bench.prove(&mut line, &made).await;
    let made = line.statement().await;
    let (begun, mut recv, mut bytes) = line.output().await;
    bytes.extend(recv.read_to_end(4_096).await.unwrap());
    let mut kept = bench.device.runs.all().remove(0).progress.watch();
    line.say(ToAgent::OutputKept(OutputKept { order: begun.order, offset: 3 })).await;
    kept.wait_for(|at| at.kept == 3).await.unwrap();
    line.connection.close(VarInt::from_u32(CloseCode::Broken.code()), b"");
    let (mut line, _) = bench.welcome().await;
    let again = line.statement().await;
    assert_eq!(again.text, made.text);
    let (begun, mut recv, mut rest) = line.output().await;
    rest.extend(recv.read_to_end(4_096).await.unwrap());
    assert_eq!((begun.offset, rest.as_slice()), (3, &bytes[3..]));
    // It was restored from a backup: it is sent what it lacks now.
    line.say(ToAgent::OutputKept(OutputKept { order: begun.order, offset: 0 })).await;
    let (begun, mut recv, mut rest) = line.output().await;
    rest.extend(recv.read_to_end(4_096).await.unwrap());
    assert_eq!((begun.offset, rest.as_slice()), (0, bytes.as_slice()));
    bench.prove(&mut line, &again).await;
    line.say(ToAgent::OutputKept(OutputKept { order: begun.order, offset: bytes.len() as u64 })).await;
    kept.wait_for(|at| at.forgotten).await.unwrap();
    bench.device.stop.cancel();
}

#[tokio::test]
async fn what_is_not_taken_is_declined_and_a_run_is_called_off_by_a_word() {
    let (mut bench, mut line, draft) = ready("exec sleep 1000").await;
    line.say(ToAgent::RunOffered(RunOffered { order: b"rubbish".to_vec(), ..draft.signed() })).await;
    let ToGateway::RunDeclined(declined) = line.hear().await else { panic!("something else was said") };
    assert_eq!(declined.order, [0; 16]);
    line.say(ToAgent::RunOffered(draft.signed())).await;
    let made = line.statement().await;
    bench.prove(&mut line, &made).await;
    let order = draft.order.id.0;
    line.say(ToAgent::RunCancelled(RunCancelled { order, sentence: "enough".into() })).await;
    let end = end_of(&line.statement().await);
    assert_eq!(end.reason.as_deref(), Some("enough"));
    bench.device.stop.cancel();
}

#[tokio::test]
async fn a_gateway_that_takes_no_output_keeps_only_that_run_waiting() {
    let (mut bench, mut line, small) = ready("echo hello").await;
    let declared = "# output = \"4MiB\"\n";
    let authority = &bench.device.authority;
    let mut large = Draft::new(&bench.tenant, authority, "#!/bin/sh", declared, "head -c 3000000 /dev/zero");
    large.order.not_before = small.order.not_before;
    line.say(ToAgent::RunOffered(large.signed())).await;
    let made = line.statement().await;
    bench.prove(&mut line, &made).await;
    // More than a stream may hold that nobody reads.
    let (_, _unread, _) = line.output().await;
    let made = line.statement().await;
    assert!(end_of(&made).output_bytes > 2 << 20);
    bench.prove(&mut line, &made).await;
    line.say(ToAgent::RunOffered(small.signed())).await;
    let made = line.statement().await;
    bench.prove(&mut line, &made).await;
    let run = bench.device.runs.all().into_iter().find(|run| run.order == small.order.id).unwrap();
    let end = end_of(&line.statement().await);
    let (begun, mut recv, mut bytes) = line.output().await;
    bytes.extend(recv.read_to_end(4_096).await.unwrap());
    assert_eq!((Id(begun.order), bytes.len() as u64), (small.order.id, end.output_bytes));
    let order = small.order.id.0;
    line.say(ToAgent::OutputKept(OutputKept { order, offset: end.output_bytes })).await;
    run.progress.watch().wait_for(|at| at.kept == at.durable).await.unwrap();
    bench.device.stop.cancel();
}
