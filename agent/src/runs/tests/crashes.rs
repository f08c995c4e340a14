//! Every mark, and an agent that dies behind it: nothing starts twice, nothing is lost (P5).

use super::bench::*;
use belay_certs::{order::Outcome, output::Stream};
use std::fs;

#[tokio::test]
async fn a_noted_run_waits_for_its_proof_over_a_crash_and_runs_once() {
    let mut bench = Bench::new().await;
    let file = bench.file("ran");
    let draft = bench.draft(&format!("echo x >> {}", file.display()));
    let order = bench.offer(&draft).await;
    let intent = bench.intent().await;
    bench.restart().await;
    let again = bench.intent().await;
    assert_eq!(again.text, intent.text, "the very same statement");
    bench.offer(&draft).await;
    bench.answer(&again).await;
    let end = bench.end().await;
    assert_eq!((end.order, end.outcome), (order, Outcome::Succeeded));
    assert_eq!(fs::read_to_string(&file).unwrap(), "x\n");
    bench.life.runs.kept(order, end.output_bytes);
    bench.forgotten(order).await;
    bench.over().await;
    assert_eq!(fs::read_to_string(&file).unwrap(), "x\n");
}

#[tokio::test]
async fn an_agent_that_is_told_to_stop_leaves_a_noted_run_to_the_next_one() {
    let mut bench = Bench::new().await;
    let order = bench.offer(&bench.draft("true")).await;
    let intent = bench.intent().await;
    bench.stop().await;
    bench.restart().await;
    let again = bench.intent().await;
    assert_eq!(again.text, intent.text);
    bench.answer(&again).await;
    let end = bench.end().await;
    assert_eq!((end.order, end.outcome), (order, Outcome::Succeeded));
}

#[tokio::test]
async fn a_started_run_without_an_end_is_interrupted_and_never_run_again() {
    let mut bench = Bench::new().await;
    let file = bench.file("ran");
    let draft = bench.draft(&format!("echo x >> {}\necho $$\nexec sleep 1000", file.display()));
    let order = bench.offer(&draft).await;
    let intent = bench.intent().await;
    bench.answer(&intent).await;
    bench.wrote_something(order).await;
    // Half a line that was never synced.
    let output = bench.directory(order).join("output");
    let mut bytes = fs::read(&output).unwrap();
    bytes.extend_from_slice(b"77 o Zm9");
    fs::write(&output, bytes).unwrap();
    bench.restart().await;
    let end = bench.end().await;
    let (outcome, reason) = verdict(&end);
    assert!(outcome == Outcome::Interrupted && reason.contains("is not known"), "{reason}");
    let script = text(&bench.output(&end), Stream::Out);
    // What was left of it is ended.
    must_be_gone(script.trim());
    bench.offer(&draft).await;
    bench.life.runs.kept(order, end.output_bytes);
    bench.forgotten(order).await;
    bench.offer(&draft).await;
    assert!(bench.declined().await.sentence.contains("carried out or refused"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "x\n");
    bench.over().await;
}

#[tokio::test]
async fn an_end_that_was_made_is_delivered_with_its_output_after_a_crash() {
    let mut bench = Bench::new().await;
    let draft = bench.draft("echo hello");
    let order = bench.offer(&draft).await;
    let intent = bench.intent().await;
    bench.answer(&intent).await;
    let made = bench.hear().await;
    bench.restart().await;
    let again = bench.hear().await;
    assert_eq!(again.text, made.text);
    let end = end_of(&again);
    bench.answer(&again).await;
    bench.life.recorder.settled().await;
    // Proved and not acknowledged: held over one more.
    bench.restart().await;
    assert_eq!(text(&bench.output(&end), Stream::Out), "hello\n");
    bench.life.runs.kept(order, end.output_bytes);
    bench.forgotten(order).await;
    assert!(!bench.directory(order).exists());
    assert!(bench.is_silent());
}

#[tokio::test]
async fn a_noted_run_whose_window_closes_expires_with_or_without_a_crash() {
    for crash in [false, true] {
        let mut bench = Bench::new().await;
        let file = bench.file("ran");
        let draft = bench.draft(&format!("touch {}", file.display()));
        let order = bench.offer(&draft).await;
        let intent = bench.intent().await;
        if crash {
            bench.machine.set_clock("2026-12-01T12:15:00Z");
            bench.restart().await;
            let again = bench.hear().await;
            assert_eq!(again.text, intent.text);
        } else {
            // From here on only waiting moves the timers.
            tokio::time::pause();
            bench.machine.set_clock("2026-12-01T12:15:00Z");
        }
        let end = bench.end().await;
        assert_eq!((end.order, verdict(&end)), (order, (Outcome::Expired, "")), "crash: {crash}");
        // The receipt comes too late.
        bench.answer(&intent).await;
        bench.life.recorder.settled().await;
        bench.forgotten(order).await;
        assert!(!file.exists());
    }
}

#[tokio::test]
async fn a_proof_that_comes_after_the_window_starts_nothing() {
    let mut bench = Bench::new().await;
    let file = bench.file("ran");
    let draft = bench.draft(&format!("touch {}", file.display()));
    bench.offer(&draft).await;
    let intent = bench.intent().await;
    bench.machine.set_clock("2026-12-01T12:15:00Z");
    bench.answer(&intent).await;
    assert_eq!(bench.end().await.outcome, Outcome::Expired);
    assert!(!file.exists());
}

#[tokio::test]
async fn a_noted_run_without_its_files_is_not_started_and_says_why() {
    let mut bench = Bench::new().await;
    let draft = bench.draft("true");
    let order = bench.offer(&draft).await;
    let intent = bench.intent().await;
    fs::remove_file(bench.directory(order).join("runbook")).unwrap();
    bench.restart().await;
    bench.hear().await;
    let end = bench.end().await;
    let (outcome, reason) = verdict(&end);
    assert!(outcome == Outcome::NotStarted && reason.contains("cannot be used"), "{reason}");
    bench.answer(&intent).await;
    bench.life.recorder.settled().await;
}

#[tokio::test]
async fn what_a_crash_left_before_a_note_is_removed() {
    let mut bench = Bench::new().await;
    let left = bench.machine.dir.at("runs").join("00000000000000000000000000000009");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("order"), b"half of an or").unwrap();
    bench.restart().await;
    assert!(!left.exists());
}
