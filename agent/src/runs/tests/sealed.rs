//! What scripts print where only some may read it: sealed before it is on the disk, over a crash and on a full disk too.

use super::bench::*;
use belay_certs::{
    order::Outcome,
    output::{Line, Read, Stream, open},
    recording::blob::Identities,
    statement::RunEnd,
};
use std::fs;

/// A key of these tests alone.
const AUDITOR: (&str, &str) = (
    "age1j4y94nsa9tzt9lxf5hd7n62gxdjt5yn6csh9mytyzksk6emaherq6ucdjq",
    "AGE-SECRET-KEY-1VS9C0VS6GF76WJQGLG3KSKVY9JAZPCNY2C4V3ZUM3SJJRVYH0UVS2X2JY9",
);
const PERSON: (&str, &str) = (
    "age1z72jrue78ewrvk2s7udrt6v6el6jqv7e77pwy7srml3ma23qfqms5quwjz",
    "AGE-SECRET-KEY-1EZGVVY3LWKEGSXPE6MXPT7JXL0LDWWQV69JWJ4WUUZTVZ40S2Q0SXKY55S",
);

fn identities((_, key): (&str, &str)) -> Identities {
    Identities::parse(key).unwrap()
}

/// A bench whose policy has this behind its grants.
async fn bench(recording: &str) -> Bench {
    Bench::with(&format!("{GRANTS}\n[recording]\n{recording}\n")).await
}

async fn sealing() -> Bench {
    bench(&format!("to = [\"{}\"]", AUDITOR.0)).await
}

fn opened(bench: &Bench, end: &RunEnd, key: (&str, &str)) -> Vec<Line> {
    let read = Read { lines: bench.output(end), whole_bytes: 0 };
    assert!(read.is_sealed() && read.kept() == 0, "nothing stands there for everybody");
    open(read, Some(&identities(key))).unwrap().lines
}

#[tokio::test]
async fn what_a_script_prints_is_on_the_disk_for_the_auditor_and_the_orders_reader_alone() {
    let mut bench = sealing().await;
    let mut draft = bench.draft("echo $((6 * 7))-words\necho $((6 * 7))-trouble >&2");
    draft.order.output_to = vec![PERSON.0.to_owned()];
    let end = bench.run(&draft).await;
    assert_eq!(verdict(&end), (Outcome::Succeeded, ""));
    for key in [AUDITOR, PERSON] {
        let lines = opened(&bench, &end, key);
        assert_eq!(
            (text(&lines, Stream::Out), text(&lines, Stream::Err)),
            ("42-words\n".into(), "42-trouble\n".into())
        );
    }
    for entry in fs::read_dir(bench.directory(end.order)).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        // As it is, and as an open line would have it.
        assert!(!text.contains("42-") && !text.contains("NDItd29yZHM") && !text.contains("NDItdHJvdWJsZ"), "{text}");
    }
}

#[tokio::test]
async fn where_the_gateway_may_read_an_order_changes_nothing() {
    let mut bench = bench(&format!("to = [\"{}\"]\nreadable_by_gateway = true", AUDITOR.0)).await;
    let mut draft = bench.draft("echo words");
    draft.order.output_to = vec![PERSON.0.to_owned()];
    let end = bench.run(&draft).await;
    assert_eq!(text(&bench.output(&end), Stream::Out), "words\n");
}

#[tokio::test]
async fn noise_without_end_fits_the_limit_of_the_file_and_adds_up() {
    let mut bench = sealing().await;
    let script = "echo first\nhead -c 9000000 /dev/urandom\nprintf 'last\\n'";
    let draft = bench.draft_for("#!/bin/sh", "# output = \"4MiB\"\n", script);
    let end = bench.run(&draft).await;
    assert_eq!(verdict(&end), (Outcome::Succeeded, ""));
    let lines = opened(&bench, &end, AUDITOR);
    let kept = |line: &Line| if let Line::Piece { bytes, .. } = line { bytes.len() as u64 } else { 0 };
    let kept: u64 = lines.iter().map(kept).sum();
    assert_eq!(kept + end.output_dropped, 9_000_011);
    assert!(kept > 2_000_000 && end.output_bytes <= 4 << 20, "{kept} in {}", end.output_bytes);
    let bytes = lines.iter().rev().find_map(|line| match line {
        Line::Piece { bytes, .. } => Some(bytes.clone()),
        Line::Cut { .. } | Line::Sealed { .. } => None,
    });
    assert!(bytes.unwrap().ends_with(b"last\n"));
}

#[tokio::test]
async fn a_run_whose_agent_dies_leaves_what_was_sealed() {
    let mut bench = sealing().await;
    let draft = bench.draft("echo words\nexec sleep 1000");
    let order = bench.offer(&draft).await;
    let intent = bench.intent().await;
    bench.answer(&intent).await;
    bench.wrote_something(order).await;
    // Half a sealed line, as a crash leaves it.
    let path = bench.directory(order).join("output");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, [whole.as_slice(), b"2300 s YWdlLWVuY3J5"].concat()).unwrap();
    bench.restart().await;
    let end = bench.end().await;
    assert_eq!((end.outcome, end.output_bytes), (Outcome::Interrupted, whole.len() as u64));
    assert_eq!(text(&opened(&bench, &end, AUDITOR), Stream::Out), "words\n");
    bench.over().await;
}

#[tokio::test]
async fn a_disk_without_room_cuts_it_and_all_is_counted() {
    let mut bench = sealing().await;
    let draft = bench.draft("echo hello");
    let order = bench.offer(&draft).await;
    let intent = bench.intent().await;
    bench.fill_up(order);
    bench.answer(&intent).await;
    let end = bench.end().await;
    let (outcome, reason) = verdict(&end);
    assert!(outcome == Outcome::Succeeded && reason.starts_with("its output is cut"), "{reason}");
    assert_eq!((end.output_bytes, end.output_dropped), (0, 6));
}

#[tokio::test]
async fn pieces_of_two_seconds_become_one_age_file() {
    let mut bench = sealing().await;
    let draft = bench.draft("i=0; while [ $i -lt 3 ]; do echo $i; i=$((i + 1)); sleep 0.1; done");
    let end = bench.run(&draft).await;
    let lines = bench.output(&end);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(text(&opened(&bench, &end, AUDITOR), Stream::Out), "0\n1\n2\n");
}
