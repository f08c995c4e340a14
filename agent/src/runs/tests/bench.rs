//! A machine, its runs, and a gateway that is this test.

use crate::{
    authority::Authority,
    recorder::Recorder,
    runs::Runs,
    testbed::{Machine, Tenant, key, now, sign},
};
use belay_agent_rules::limits::IN_FLIGHT_MAX;
use belay_certs::{
    Id, Namespace, PrivateKey, Signed, Timestamp,
    order::{DeviceLine, DeviceList, Order, Outcome, Waves},
    statement::{Body, RunEnd, Statement},
    time::SECOND,
};
use belay_protocol::{
    RefusalCode, RunDeclined, RunOffered, RunOfferedSealed, StatementMade, StatementRefused, ToGateway,
};
use std::{path::PathBuf, sync::Arc};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Alice may run everything as every account; her runbooks count.
pub(crate) const GRANTS: &str = "\n[[grants]]\nwho = [\"alice\"]\non = [\"*\"]\ndo = [\"shell\", \"files\", \"enrol\", \"run\"]\n\
    as = [\"ACCOUNT\"]\nrunbooks = [\"*\"]\n\n[runbooks]\nsigners = [\"alice\"]\n";

/// The policy text with the account that this test runs as.
pub(crate) fn grants(text: &str) -> &'static str {
    Box::leak(text.replace("ACCOUNT", &account()).into_boxed_str())
}

pub(crate) fn account() -> String {
    nix::unistd::User::from_uid(nix::unistd::Uid::effective()).unwrap().unwrap().name
}

/// What a test offers, to be changed before it is signed.
pub(crate) struct Draft {
    pub(crate) order: Order,
    pub(crate) runbook: String,
    pub(crate) author: PrivateKey,
    pub(crate) signer: PrivateKey,
}

/// One life of the agent.
pub(crate) struct Life {
    pub(crate) runs: Runs,
    pub(crate) authority: Arc<Authority>,
    pub(crate) recorder: Recorder,
    pub(crate) tracker: TaskTracker,
    pub(crate) stop: CancellationToken,
    heard: mpsc::Receiver<ToGateway>,
    answers: mpsc::Sender<ToGateway>,
    answered: mpsc::Receiver<ToGateway>,
}

pub(crate) struct Bench {
    pub(crate) tenant: Tenant,
    pub(crate) machine: Machine,
    pub(crate) life: Life,
    /// The size of the log in the last receipt given.
    given: u64,
    /// Lives that ended as by `kill -9`, whose scripts may go on.
    past: Vec<Life>,
    /// For files that scripts leave.
    pub(crate) scratch: tempfile::TempDir,
}

impl Life {
    async fn begin(tenant: &Tenant, machine: &Machine) -> Self {
        let authority = machine.approved(tenant);
        let (recorder, _) = machine.recorder(&authority);
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let (with, until) = (tracker.clone(), stop.clone());
        let runs = Runs::start(&machine.dir, authority.clone(), recorder.clone(), with, until).await.unwrap();
        let (link, heard) = mpsc::channel(IN_FLIGHT_MAX);
        recorder.connected(link).await;
        let (answers, answered) = mpsc::channel(128);
        Self { runs, authority, recorder, tracker, stop, heard, answers, answered }
    }
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(GRANTS).await
    }

    /// With these grants, and what else a policy has behind them.
    pub(crate) async fn with(text: &str) -> Self {
        let mut tenant = Tenant::new("acme");
        tenant.found(|draft| draft.grants = grants(text));
        let machine = Machine::joined(&tenant);
        // It remembers since long before any order.
        std::fs::write(machine.dir.at("since"), "2026-11-21T09:00:00Z\n").unwrap();
        let life = Life::begin(&tenant, &machine).await;
        Self { tenant, machine, life, given: 0, past: Vec::new(), scratch: tempfile::tempdir().unwrap() }
    }

    /// As after `kill -9`: what the old life still does reaches no file that counts.
    pub(crate) async fn restart(&mut self) {
        let outbox = self.machine.dir.at("outbox");
        std::fs::copy(&outbox, outbox.with_extension("copy")).unwrap();
        std::fs::rename(outbox.with_extension("copy"), &outbox).unwrap();
        let next = Life::begin(&self.tenant, &self.machine).await;
        self.past.push(std::mem::replace(&mut self.life, next));
    }

    /// The agent is told to stop, and has.
    pub(crate) async fn stop(&self) {
        self.life.stop.cancel();
        self.life.tracker.close();
        self.life.tracker.wait().await;
        self.life.recorder.close().await;
    }

    /// Ends what earlier lives left running.
    pub(crate) async fn over(&mut self) {
        for life in self.past.drain(..) {
            life.stop.cancel();
            life.tracker.close();
            life.tracker.wait().await;
        }
    }

    /// Waits until something that the script wrote is durable.
    pub(crate) async fn wrote_something(&self, order: Id) {
        let run = self.life.runs.all().into_iter().find(|run| run.order == order).unwrap();
        run.progress.watch().wait_for(|at| at.durable > 0).await.unwrap();
    }

    /// An order for this machine alone, to run these lines with `sh`.
    pub(crate) fn draft(&self, lines: &str) -> Draft {
        self.draft_for("#!/bin/sh", "", lines)
    }

    pub(crate) fn draft_for(&self, interpreter: &str, declared: &str, lines: &str) -> Draft {
        Draft::new(&self.tenant, &self.life.authority, interpreter, declared, lines)
    }

    /// Offers it. Returns the order's id.
    pub(crate) async fn offer(&self, draft: &Draft) -> Id {
        self.offer_signed(draft.signed()).await;
        draft.order.id
    }

    pub(crate) async fn offer_sealed(&self, offer: RunOfferedSealed) {
        self.life.runs.offered(offer, self.life.answers.clone()).await;
    }

    pub(crate) async fn offer_signed(&self, offer: RunOffered) {
        self.life.runs.offered(offer, self.life.answers.clone()).await;
    }

    /// The next statement.
    pub(crate) async fn hear(&mut self) -> StatementMade {
        match self.life.heard.recv().await.expect("the link is open") {
            ToGateway::StatementMade(made) => made,
            other => panic!("{other:?}"),
        }
    }

    /// The next word that is no statement.
    pub(crate) async fn declined(&mut self) -> RunDeclined {
        match self.life.answered.recv().await.unwrap() {
            ToGateway::RunDeclined(declined) => declined,
            other => panic!("{other:?}"),
        }
    }

    /// Nothing was said that was not heard, neither as a statement nor otherwise.
    pub(crate) fn is_silent(&mut self) -> bool {
        self.life.heard.try_recv().is_err() && self.life.answered.try_recv().is_err()
    }

    /// Records what came, as its own type unless another is given, and gives the receipt.
    pub(crate) async fn answer_as(&mut self, made: &StatementMade, kind: Option<&str>) {
        let index = match kind {
            None => self.tenant.log.record(made),
            Some(kind) => self.tenant.log.withhold(made, kind),
        };
        self.receipt(index, made).await;
    }

    pub(crate) async fn receipt(&mut self, index: u64, made: &StatementMade) {
        let receipt = self.tenant.log.receipt(index, made.consistency_from.max(self.given));
        self.given = self.tenant.log.size();
        self.life.recorder.receipt(receipt).await;
    }

    pub(crate) async fn answer(&mut self, made: &StatementMade) {
        self.answer_as(made, None).await;
    }

    pub(crate) async fn refuse(&self, made: &StatementMade, code: RefusalCode) {
        let (statement, code) = (said(made).head.id.0, code.code());
        self.life.recorder.refused(StatementRefused { statement, code, sentence: "because".into() }).await;
    }

    /// The intent of a run, heard.
    pub(crate) async fn intent(&mut self) -> StatementMade {
        let made = self.hear().await;
        assert!(matches!(said(&made).body, Body::RunStarted(_)), "{}", made.text);
        made
    }

    /// The end of a run, heard and recorded.
    pub(crate) async fn end(&mut self) -> RunEnd {
        let made = self.hear().await;
        let end = end_of(&made);
        self.answer(&made).await;
        end
    }

    /// Offers, lets it run, and hears and records its end.
    pub(crate) async fn run(&mut self, draft: &Draft) -> RunEnd {
        self.offer(draft).await;
        let intent = self.intent().await;
        self.answer(&intent).await;
        self.end().await
    }

    /// The output file as text of one stream: what the script wrote there.
    pub(crate) fn output(&self, end: &RunEnd) -> Vec<belay_certs::output::Line> {
        let bytes = std::fs::read(self.directory(end.order).join("output")).unwrap();
        assert_eq!(end.output, Some(belay_certs::Digest::of(&bytes)));
        assert_eq!(end.output_bytes, bytes.len() as u64);
        belay_certs::output::read(&bytes).unwrap()
    }

    /// From now on nothing can be written of its output, as on a full disk.
    pub(crate) fn fill_up(&self, order: Id) {
        let output = self.directory(order).join("output");
        std::fs::remove_file(&output).unwrap();
        std::os::unix::fs::symlink("/dev/full", output).unwrap();
    }

    pub(crate) fn directory(&self, order: Id) -> PathBuf {
        self.machine.dir.at("runs").join(order.to_string())
    }

    /// Waits until nothing is kept of the run any more.
    pub(crate) async fn forgotten(&self, order: Id) {
        if let Some(run) = self.life.runs.all().into_iter().find(|run| run.order == order) {
            run.progress.watch().wait_for(|at| at.forgotten).await.unwrap();
        }
    }

    /// A path for a file that scripts of this test make.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }
}

impl Draft {
    /// An order of alice for `web1` alone, in force for a quarter of an hour.
    pub(crate) fn new(tenant: &Tenant, authority: &Authority, interpreter: &str, declared: &str, lines: &str) -> Self {
        let runbook = format!(
            "{interpreter}\n# /// belay\n# name = \"try\"\n# description = \"Try.\"\n\
             # issued = 2026-11-21T09:00:00Z\n{declared}# ///\n{lines}\n"
        );
        let list = DeviceList::of(vec![DeviceLine { name: "web1".parse().unwrap(), serial: 7, sealed: None }]).unwrap();
        let chain = authority.policies().remove(0);
        let order = Order {
            tenant: "acme".parse().unwrap(),
            id: Id::random().unwrap(),
            runbook: "try".parse().unwrap(),
            version: belay_certs::Digest::of(runbook.as_bytes()),
            account: account().parse().unwrap(),
            ticket: None,
            issued: now(),
            not_before: now(),
            not_after: now().plus(900 * SECOND),
            policy_version: chain.1,
            policy: chain.2,
            devices: list.count(),
            devices_root: list.root(),
            waves: Waves::default(),
            stop_above: None,
            timeout: None,
            secrets: Vec::new(),
            output_to: Vec::new(),
            arguments: Default::default(),
        };
        Draft { order, runbook, author: tenant.alice.clone(), signer: tenant.alice.clone() }
    }

    pub(crate) fn signed(&self) -> RunOffered {
        let order = sign(Namespace::Order, &self.order.to_text(), &self.signer);
        let runbook = sign(Namespace::Runbook, &self.runbook, &self.author);
        offered(order, runbook)
    }
}

pub(crate) fn offered(order: Signed, runbook: Signed) -> RunOffered {
    RunOffered {
        order: order.bytes,
        order_signature: order.signatures[0].clone(),
        runbook: runbook.bytes,
        runbook_signature: runbook.signatures[0].clone(),
        index: 0,
        path: Vec::new(),
    }
}

pub(crate) fn said(made: &StatementMade) -> Statement {
    Statement::parse(made.text.as_bytes()).unwrap()
}

pub(crate) fn end_of(made: &StatementMade) -> RunEnd {
    match said(made).body {
        Body::RunEnded(end) => end,
        other => panic!("{other:?}"),
    }
}

/// How a run ended and why.
pub(crate) fn verdict(end: &RunEnd) -> (Outcome, &str) {
    (end.outcome, end.reason.as_deref().unwrap_or_default())
}

/// What the lines hold, stream by stream.
pub(crate) fn text(lines: &[belay_certs::output::Line], of: belay_certs::output::Stream) -> String {
    let bytes = lines.iter().flat_map(|line| match line {
        belay_certs::output::Line::Piece { stream, bytes, .. } if *stream == of => bytes.clone(),
        _ => Vec::new(),
    });
    String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
}

pub(crate) fn stranger() -> PrivateKey {
    key("stranger")
}

pub(crate) fn moment(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Waits until a process that was killed is gone: the kill is a word to the kernel, and its end comes a moment later.
#[track_caller]
pub(crate) fn must_be_gone(pid: &str) {
    use rustix::{
        event::{PollFd, PollFlags, Timespec, poll},
        process::{Pid, PidfdFlags, pidfd_open},
    };
    let process = Pid::from_raw(pid.parse().unwrap()).unwrap();
    if let Ok(held) = pidfd_open(process, PidfdFlags::empty()) {
        let generous = Timespec { tv_sec: 30, tv_nsec: 0 };
        let ended = poll(&mut [PollFd::new(&held, PollFlags::IN)], Some(&generous)).unwrap();
        assert_eq!(ended, 1, "{pid} goes on");
    }
}

/// Whether the process is there and has not ended.
pub(crate) fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}
