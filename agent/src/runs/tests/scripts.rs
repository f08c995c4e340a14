//! What scripts do to their machine, and what is left of it.

use super::bench::*;
use crate::limits::RUN_NICE;
use belay_certs::{
    order::Outcome,
    output::{Line, Stream},
};
use std::{fs, path::Path};

#[tokio::test]
async fn a_run_goes_from_its_offer_to_its_proved_end_and_is_forgotten() {
    let mut bench = Bench::new().await;
    let draft = bench.draft("echo \"hello from $BELAY_DEVICE as $USER by $BELAY_PERSON: $BELAY_RUNBOOK\"\necho no >&2");
    let order = bench.offer(&draft).await;
    let intent = bench.intent().await;
    assert!(bench.directory(order).join("order.sig").exists());
    bench.answer(&intent).await;
    let end = bench.end().await;
    assert_eq!((verdict(&end), end.exit), ((Outcome::Succeeded, ""), Some(0)));
    let lines = bench.output(&end);
    let expected = format!("hello from web1.acme as {} by alice: try\n", account());
    assert_eq!((text(&lines, Stream::Out), text(&lines, Stream::Err)), (expected, "no\n".to_owned()));
    bench.life.recorder.settled().await;
    assert!(bench.directory(order).exists(), "held until the output is acknowledged");
    bench.life.runs.kept(order, end.output_bytes + 1);
    assert!(bench.directory(order).exists(), "nobody keeps what there is not");
    bench.life.runs.kept(order, end.output_bytes);
    bench.forgotten(order).await;
    // Spent, and remembered over a restart.
    bench.offer(&draft).await;
    assert!(bench.declined().await.sentence.contains("carried out or refused here before"));
    bench.restart().await;
    bench.offer(&draft).await;
    assert!(bench.declined().await.sentence.contains("carried out or refused here before"));
    assert!(bench.is_silent());
}

#[tokio::test]
async fn a_script_is_read_by_whatever_its_first_line_names() {
    let mut bench = Bench::new().await;
    let shell = "echo \"$BELAY_RUN\"";
    let mut tried = 0;
    for (interpreter, script) in [
        ("#!/bin/sh", shell),
        ("#!/bin/sh -eu", shell),
        ("#!/bin/bash", shell),
        ("#!/usr/bin/env sh", shell),
        ("#!/usr/bin/env python3", "import os\nprint(os.environ['BELAY_RUN'])"),
        ("#!/usr/bin/perl", "print \"$ENV{BELAY_RUN}\\n\";"),
        ("#!/usr/bin/awk -f", "BEGIN { print ENVIRON[\"BELAY_RUN\"] }"),
    ] {
        let program = interpreter[2..].split(' ').next().unwrap();
        if !Path::new(program).exists() {
            continue;
        }
        let draft = bench.draft_for(interpreter, "", script);
        let end = bench.run(&draft).await;
        let said = text(&bench.output(&end), Stream::Out);
        assert_eq!((verdict(&end), said), ((Outcome::Succeeded, ""), format!("{}\n", end.order)), "{interpreter}");
        tried += 1;
    }
    assert!(tried >= 4);
}

#[tokio::test]
async fn a_script_gets_nothing_but_what_a_run_has() {
    let mut bench = Bench::new().await;
    let declared = "# [parameters.service]\n# type = \"string\"\n# description = \"Which.\"\n";
    let script = "tr '\\0' '\\n' < /proc/$$/environ | sort\nread x || echo nothing to read\nulimit -c\n\
        ls /proc/$$/fd | wc -l\ncut -d' ' -f5,6 /proc/$$/stat | sed s/$$/own/g\ntouch /proc/$$/fd/0/x 2>/dev/null\n\
        (echo x >> \"$0\") 2>/dev/null || echo sealed\necho nice $(cut -d' ' -f19 /proc/$$/stat)";
    let mut draft = bench.draft_for("#!/bin/sh", declared, script);
    draft.order.arguments.insert("service".parse().unwrap(), "a b; $(c)".to_owned());
    let end = bench.run(&draft).await;
    let said = text(&bench.output(&end), Stream::Out);
    let (order, name) = (end.order, account());
    let home = nix::unistd::User::from_name(&name).unwrap().unwrap().dir;
    for line in [
        "BELAY_ARG_SERVICE=a b; $(c)",
        &format!("BELAY_RUN={order}"),
        "BELAY_DEVICE=web1.acme",
        "BELAY_PERSON=alice",
        "BELAY_RUNBOOK=try",
        &format!("HOME={}", home.display()),
        &format!("LOGNAME={name}"),
        &format!("USER={name}"),
        "LANG=C.UTF-8",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "nothing to read",
        "own own",
        "sealed",
        &format!("nice {}", (niceness() + RUN_NICE).min(19)),
    ] {
        assert!(said.lines().any(|said| said == line), "{line}: {said}");
    }
    let variables = said.lines().take_while(|line| line.contains('=')).count();
    assert_eq!(variables, 11, "and no other: {said}");
    assert!(said.contains("nothing to read\n0\n"), "no core files: {said}");
}

#[tokio::test]
async fn a_script_runs_as_the_account_and_reads_only_itself() {
    if !nix::unistd::Uid::effective().is_root() {
        // Only root becomes somebody else; the own account is what the other tests use.
        return;
    }
    let mut bench = Bench::new().await;
    let nobody = bench.tenant.publish(|draft| draft.grants = grants(&GRANTS.replace("ACCOUNT", "nobody")));
    bench.life.authority.take_policy(&bench.tenant.name(), &nobody).unwrap();
    let script = format!(
        "id -un\npwd\nls {} || echo private\n(echo x >> \"$0\") || echo sealed",
        bench.machine.path().display()
    );
    let mut draft = bench.draft(&script);
    draft.order.account = "nobody".parse().unwrap();
    let end = bench.run(&draft).await;
    let said = text(&bench.output(&end), Stream::Out);
    assert_eq!(said, "nobody\n/\nprivate\nsealed\n");
}

/// How little of the processor this test gets.
fn niceness() -> i32 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16).unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_a_script_ends_with_is_what_the_log_says() {
    let mut bench = Bench::new().await;
    for (script, exit, signal) in [("exit 3", Some(3), None), ("kill -KILL $$", None, Some("KILL"))] {
        let draft = bench.draft(script);
        let end = bench.run(&draft).await;
        assert_eq!((end.outcome, end.exit, end.signal.as_deref()), (Outcome::Failed, exit, signal));
    }
}

#[tokio::test]
async fn a_script_that_ignores_the_word_to_end_is_killed_with_all_its_children() {
    let mut bench = Bench::new().await;
    let mut draft = bench.draft("trap '' TERM\nsleep 1000 & echo $!\nwait\nwait\nsleep 1000");
    draft.order.timeout = Some("1s".parse().unwrap());
    let order = bench.offer(&draft).await;
    let intent = bench.intent().await;
    bench.answer(&intent).await;
    bench.wrote_something(order).await;
    // From here on only waiting moves the clock.
    tokio::time::pause();
    let end = bench.end().await;
    assert_eq!(end.outcome, Outcome::TimedOut);
    assert!(end.duration_ms >= 11_000, "it had its time and ten seconds more: {}", end.duration_ms);
    let child = text(&bench.output(&end), Stream::Out);
    must_be_gone(child.trim());
}

#[tokio::test]
async fn a_child_that_stays_does_not_keep_the_run() {
    let mut bench = Bench::new().await;
    let draft = bench.draft("sleep 1000 & echo $!\nsetsid sleep 1000 & echo $!");
    let end = bench.run(&draft).await;
    assert_eq!((verdict(&end), end.exit), ((Outcome::Succeeded, ""), Some(0)));
    let said = text(&bench.output(&end), Stream::Out);
    let mut children = said.lines();
    // What stays in the session is ended.
    must_be_gone(children.next().unwrap());
    let left = children.next().unwrap();
    let pid = nix::unistd::Pid::from_raw(left.parse().unwrap());
    assert!(is_alive(left), "what left the session is not found");
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[tokio::test]
async fn output_without_end_costs_no_more_than_the_limit() {
    let mut bench = Bench::new().await;
    let script = "echo first\nhead -c 100000000 /dev/zero\necho last";
    let draft = bench.draft_for("#!/bin/sh", "# output = \"64KiB\"\n", script);
    let end = bench.run(&draft).await;
    assert_eq!(verdict(&end), (Outcome::Succeeded, ""));
    assert!(end.output_bytes <= 64 << 10 && end.output_bytes > 48 << 10, "{}", end.output_bytes);
    let lines = bench.output(&end);
    let said = text(&lines, Stream::Out);
    assert!(said.starts_with("first\n") && said.ends_with("last\n"));
    let cut = lines.iter().find_map(|line| match line {
        Line::Cut { dropped, .. } => Some(*dropped),
        Line::Piece { .. } | Line::Sealed { .. } => None,
    });
    assert_eq!(cut, Some(end.output_dropped));
    assert_eq!(said.len() as u64 + end.output_dropped, 100_000_011);
}

#[tokio::test]
async fn output_is_kept_byte_for_byte_whatever_it_is() {
    let mut bench = Bench::new().await;
    let file = bench.file("random");
    let draft = bench.draft(&format!("head -c 50000 /dev/urandom | tee {}", file.display()));
    let end = bench.run(&draft).await;
    let lines = bench.output(&end);
    let bytes: Vec<u8> = lines
        .iter()
        .flat_map(|line| match line {
            Line::Piece { bytes, .. } => bytes.clone(),
            Line::Cut { .. } | Line::Sealed { .. } => panic!("nothing is dropped, and anybody may read it"),
        })
        .collect();
    assert_eq!(bytes, fs::read(file).unwrap());
}

#[tokio::test]
async fn a_disk_without_room_cuts_the_output_and_not_the_run() {
    let mut bench = Bench::new().await;
    let file = bench.file("done");
    let draft = bench.draft(&format!("echo hello\ntouch {}", file.display()));
    let order = bench.offer(&draft).await;
    let intent = bench.intent().await;
    bench.fill_up(order);
    bench.answer(&intent).await;
    let end = bench.end().await;
    let (outcome, reason) = verdict(&end);
    assert!(outcome == Outcome::Succeeded && reason.starts_with("its output is cut"), "{reason}");
    assert_eq!((end.output_bytes, end.output_dropped, file.exists()), (0, 6, true));
}

#[tokio::test]
async fn an_agent_that_is_told_to_stop_ends_what_runs_and_says_so() {
    let mut bench = Bench::new().await;
    let draft = bench.draft("echo $$\nexec sleep 1000");
    let order = bench.offer(&draft).await;
    let intent = bench.intent().await;
    bench.answer(&intent).await;
    bench.wrote_something(order).await;
    bench.stop().await;
    bench.restart().await;
    let made = bench.hear().await;
    let end = end_of(&made);
    assert_eq!(verdict(&end), (Outcome::Cancelled, "the agent was told to stop"));
    assert_eq!(end.signal.as_deref(), Some("TERM"));
    must_be_gone(text(&bench.output(&end), Stream::Out).trim());
    bench.answer(&made).await;
    bench.life.runs.kept(order, end.output_bytes);
    bench.forgotten(order).await;
}
