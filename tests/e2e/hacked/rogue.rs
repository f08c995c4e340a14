//! A gateway whose programs, keys and replies were replaced by root: it holds the transport CA and the log's key of the
//! real one, has its address, and says to the real agent whatever a test wants.
//!
//! People's real `ssh` reaches the machine through a door of its own: every connection there becomes a session stream.

use super::{
    ledger::{Ledger, Lie, opens},
    wire::{Frames, listen},
};
use belay_certs::{Timestamp, transport::TransportCa};
use belay_protocol::{
    ALPN, CloseCode, Extensions, GatewayPhase, Hello, MINOR, Open, PolicyOffered, StatementMade, ToAgent, ToGateway,
    Welcome, encode_frame,
};
use belay_tests::{
    Person, Said, World, run,
    wait::{GENEROUS, Watched},
};
use quinn::{Connection, ConnectionError, Endpoint, SendStream};
use std::{
    collections::HashSet,
    fs,
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{Handle, Runtime},
    sync::{mpsc, watch},
};

/// What waits to be said to the agent; a test says one thing after the other.
const OUT_MAX: usize = 64;
/// Days of the certificate: longer than any test.
const DAYS: i64 = 1;

/// The hacked gateway. Ends with this value.
pub struct Rogue {
    runtime: Option<Runtime>,
    stage: Arc<Stage>,
    endpoint: Endpoint,
    /// The TCP port that people's ssh comes in by.
    door: u16,
}

/// What its tasks share.
struct Stage {
    ledger: Mutex<Ledger>,
    script: Mutex<Script>,
    seen: Watched<Seen>,
}

/// What it says when.
struct Script {
    /// Instead of a welcome.
    greeting: Option<Vec<u8>>,
    /// The answer to the first sending of each new intent; what is sent again gets the truth.
    lie: Lie,
    /// Whether what is sent again gets the lie again.
    insists: bool,
    /// Instead of `Open` on a session stream.
    opening: Option<Vec<u8>>,
    /// Intents that had their answer.
    answered: HashSet<u64>,
    /// Whether what agents say is left unread.
    deaf: watch::Sender<bool>,
    /// Whom everybody is announced as: the technician, with name and key.
    announced: Open,
}

/// What it saw.
#[derive(Default)]
struct Seen {
    hellos: Vec<Hello>,
    heard: Vec<ToGateway>,
    /// The agent's connection.
    line: Option<(Connection, mpsc::Sender<Vec<u8>>)>,
    /// Truths kept back.
    held: Vec<Vec<u8>>,
    /// The codes that agents closed connections with.
    closed: Vec<u64>,
}

impl Rogue {
    /// Takes the real gateway's place: its address, its keys, its log. Ends the agent and the gateway that run; start the
    /// agent when the script is ready.
    pub fn instead_of_the_gateway(world: &World, tenant: &str) -> Self {
        for device in world.running_devices() {
            world.stop_agent(&device).unwrap();
        }
        let ledger = Ledger::stolen(world, tenant);
        world.stop_gateway().unwrap();
        let keys = world.gateway_dir().join("keys");
        let [certificate, key] =
            ["transport-ca.pem", "transport-ca.key"].map(|name| fs::read_to_string(keys.join(name)).unwrap());
        let ca = TransportCa::from_pem(&certificate, &key).unwrap();
        let shown = ca.issue_server("gw.example", now(), DAYS * belay_certs::time::DAY).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let key = fs::read_to_string(world.person("tech").public_key()).unwrap().trim().to_owned();
        let announced = Open { access: [7; 16], person: "tech".to_owned(), key };
        let script = Script {
            greeting: None,
            lie: Lie::None,
            insists: false,
            opening: None,
            answered: HashSet::new(),
            deaf: watch::channel(false).0,
            announced,
        };
        let stage = Stage { ledger: Mutex::new(ledger), script: Mutex::new(script), seen: Watched::default() };
        let stage = Arc::new(stage);
        let inside = runtime.enter();
        let endpoint = listen(world.quic_port(), &shown.chain, shown.key_der, &[ALPN]);
        let door = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        door.set_nonblocking(true).unwrap();
        let (port, people) = (door.local_addr().unwrap().port(), TcpListener::from_std(door).unwrap());
        runtime.spawn(serve_agents(Arc::clone(&stage), endpoint.clone()));
        runtime.spawn(serve_people(Arc::clone(&stage), people));
        drop(inside);
        Self { runtime: Some(runtime), stage, endpoint, door: port }
    }

    /// What the next intents are answered with, each once.
    pub fn will_say(&self, lie: Lie) {
        let mut script = self.script();
        (script.lie, script.insists) = (lie, false);
    }

    /// What the next intents are answered with, however often they are sent.
    pub fn will_insist_on(&self, lie: Lie) {
        let mut script = self.script();
        (script.lie, script.insists) = (lie, true);
    }

    /// What is said instead of a welcome.
    pub fn will_greet_with(&self, bytes: Option<Vec<u8>>) {
        self.script().greeting = bytes;
    }

    /// What session streams begin with instead of `Open`.
    pub fn will_open_with(&self, bytes: Option<Vec<u8>>) {
        self.script().opening = bytes;
    }

    /// Reads nothing more of what agents say after a hello.
    pub fn goes_deaf(&self) {
        self.script().deaf.send_replace(true);
    }

    /// Reads again, also what lies there.
    pub fn hears_again(&self) {
        self.script().deaf.send_replace(false);
    }

    /// Says something to the agent now.
    pub fn say(&self, message: impl Into<ToAgent>) {
        self.say_bytes(message.into().encode().unwrap());
    }

    /// Offers a policy to the agent.
    pub fn offer(&self, tenant: &str, version: u64, bytes: &[u8], signatures: &[String]) {
        let (tenant, bytes, signatures) = (tenant.to_owned(), bytes.to_vec(), signatures.to_vec());
        self.say(PolicyOffered { tenant, version, bytes, signatures });
    }

    /// Says at last, in order, what was kept back; how much that was. From now on it tells the truth.
    pub fn say_what_was_kept_back(&self) -> usize {
        let (mut script, mut held) = (self.script(), Vec::new());
        (script.lie, script.insists) = (Lie::None, false);
        self.stage.seen.change(|seen| held = std::mem::take(&mut seen.held));
        let count = held.len();
        // Within the script's lock: nothing that is answered later overtakes them.
        held.into_iter().for_each(|bytes| self.say_bytes(bytes));
        count
    }

    fn say_bytes(&self, bytes: Vec<u8>) {
        let (_, out) = self.line();
        out.blocking_send(bytes).unwrap();
    }

    /// Does something to the agent's connection, beside the script.
    pub fn abuse<A: Future>(&self, abuse: impl FnOnce(Connection) -> A) -> A::Output {
        let (connection, _) = self.line();
        self.runtime.as_ref().expect("it is dropped with the value").block_on(abuse(connection))
    }

    /// Does something with the agent's connection, and says something there, for as long as it lasts and beside the script.
    pub fn beside<A: Future<Output = ()> + Send + 'static>(
        &self,
        act: impl FnOnce(Connection, mpsc::Sender<Vec<u8>>) -> A,
    ) {
        let (connection, out) = self.line();
        self.runtime.as_ref().expect("it is dropped with the value").spawn(act(connection, out));
    }

    fn line(&self) -> (Connection, mpsc::Sender<Vec<u8>>) {
        self.stage.seen.wait(GENEROUS, |seen| seen.line.clone()).expect("no agent is connected")
    }

    /// Waits for the next hello after `before` ones.
    pub fn hello(&self, before: usize) -> Hello {
        self.stage.seen.wait(GENEROUS, |seen| seen.hellos.get(before).cloned()).expect("the agent says no hello")
    }

    /// How many hellos there were.
    pub fn hellos(&self) -> usize {
        self.stage.seen.lock().hellos.len()
    }

    /// How much was heard so far: a place to wait from.
    pub fn mark(&self) -> usize {
        self.stage.seen.lock().heard.len()
    }

    /// Waits until the agent says something after `mark` in which `find` finds something.
    pub fn heard<R>(&self, what: &str, mark: usize, find: impl Fn(&ToGateway) -> Option<R>) -> R {
        let found = self.stage.seen.wait(GENEROUS, |seen| seen.heard.iter().skip(mark).find_map(&find));
        found.unwrap_or_else(|| panic!("the agent does not say {what}: {:?}", self.stage.seen.lock().heard))
    }

    /// Everything after `mark` in which `find` finds something.
    pub fn all_heard<R>(&self, mark: usize, find: impl Fn(&ToGateway) -> Option<R>) -> Vec<R> {
        self.stage.seen.lock().heard.iter().skip(mark).filter_map(find).collect()
    }

    /// Everything that was stated.
    pub fn statements(&self) -> Vec<StatementMade> {
        let seen = self.stage.seen.lock();
        let made = seen.heard.iter().filter_map(|message| match message {
            ToGateway::StatementMade(made) => Some(made.clone()),
            _ => None,
        });
        made.collect()
    }

    /// How many connections ended so far.
    pub fn ends(&self) -> usize {
        self.stage.seen.lock().closed.len()
    }

    /// Waits until the agent, after `before` ends, closes a connection with this code.
    pub fn is_left_with(&self, before: usize, code: CloseCode) {
        let wanted = u64::from(code.code());
        let closed = self
            .stage
            .seen
            .wait(GENEROUS, |seen| seen.closed.iter().skip(before).any(|closed| *closed == wanted).then_some(()));
        assert!(closed.is_some(), "not closed with {}: {:?}", code.name(), self.stage.seen.lock().closed);
    }

    /// The real `ssh` of a person, let in by the hacked gateway and led to the machine.
    pub fn ssh(&self, person: &Person, target: &str, command: &str) -> Said {
        self.line();
        ssh_through(self.door, person, target, command)
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.stage.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Rogue {
    fn drop(&mut self) {
        self.endpoint.close(0_u32.into(), b"");
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// `ssh TARGET COMMAND` where somebody else than the gateway leads the way: to a loopback port.
pub fn ssh_through(port: u16, person: &Person, target: &str, command: &str) -> Said {
    let mut ssh = person.ssh_command();
    ssh.args(["-o", "ProxyJump=none", "-o", "HostName=127.0.0.1", "-o", &format!("Port={port}")]);
    ssh.args(["-o", &format!("HostKeyAlias={target}"), "--", target, command]);
    run(&mut ssh, b"").unwrap()
}

pub fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

async fn serve_agents(stage: Arc<Stage>, endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        let stage = Arc::clone(&stage);
        Handle::current().spawn(async move {
            if let Ok(connection) = incoming.await {
                let closed = tokio::select! {
                    _ = converse(&stage, &connection) => connection.closed().await,
                    closed = connection.closed() => closed,
                };
                stage.seen.change(|seen| {
                    seen.line.take_if(|(line, _)| line.stable_id() == connection.stable_id());
                    seen.closed.extend(code(&closed));
                });
            }
        });
    }
}

/// What the agent closed with; none when it just vanished.
fn code(closed: &ConnectionError) -> Option<u64> {
    match closed {
        ConnectionError::ApplicationClosed(close) => Some(close.error_code.into_inner()),
        _ => None,
    }
}

/// One agent: hello, then whatever the script says.
async fn converse(stage: &Stage, connection: &Connection) -> Option<()> {
    let (mut send, recv) = connection.accept_bi().await.ok()?;
    let mut frames = Frames::new(recv, GatewayPhase::AwaitingHello);
    let Ok(Some(ToGateway::Hello(hello))) = ToGateway::decode(&frames.next().await?) else { return None };
    let greeting = stage.script.lock().unwrap_or_else(PoisonError::into_inner).greeting.clone();
    send.write_all(&greeting.unwrap_or_else(welcome)).await.ok()?;
    stage.ledger.lock().unwrap_or_else(PoisonError::into_inner).begin();
    let (out, to_say) = mpsc::channel(OUT_MAX);
    stage.seen.change(|seen| {
        seen.line = Some((connection.clone(), out.clone()));
        seen.hellos.push(hello);
    });
    tokio::join!(speak(send, to_say), hear(stage, frames, out));
    Some(())
}

/// Whoever it is: approved, says the hacked gateway.
fn welcome() -> Vec<u8> {
    let welcome = Welcome {
        minor: MINOR,
        gateway_version: "0.1.0".to_owned(),
        state: Welcome::APPROVED,
        now_micros: now().micros(),
        extensions: Extensions::default(),
    };
    encode_frame(&welcome).unwrap()
}

async fn speak(mut send: SendStream, mut to_say: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = to_say.recv().await {
        if send.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn hear(stage: &Stage, mut frames: Frames<GatewayPhase>, out: mpsc::Sender<Vec<u8>>) {
    let mut deaf = stage.script.lock().unwrap_or_else(PoisonError::into_inner).deaf.subscribe();
    while deaf.wait_for(|deaf| !deaf).await.is_ok() {
        let frame = tokio::select! {
            biased;
            _ = deaf.changed() => continue,
            frame = frames.next() => frame,
        };
        let Some(frame) = frame else { return };
        let Ok(Some(message)) = ToGateway::decode(&frame) else { continue };
        if let ToGateway::StatementMade(made) = &message
            && let Some(bytes) = stage.answer(made)
        {
            let _ = out.send(bytes).await;
        }
        stage.seen.change(|seen| seen.heard.push(message));
    }
}

impl Stage {
    /// What a session stream begins with.
    fn opening(&self) -> Vec<u8> {
        let script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        script.opening.clone().unwrap_or_else(|| encode_frame(&script.announced).unwrap())
    }

    /// What is said now to a statement.
    fn answer(&self, made: &StatementMade) -> Option<Vec<u8>> {
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        let first = script.answered.insert(made.seq);
        let lie = if (first || script.insists) && opens(made) { script.lie.clone() } else { Lie::None };
        let bytes = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).answer(made, &lie);
        // A gateway that is slow with one answer is slow with all that follow it.
        if lie != Lie::Late && self.seen.lock().held.is_empty() {
            return Some(bytes);
        }
        self.seen.change(|seen| seen.held.push(bytes));
        None
    }
}

async fn serve_people(stage: Arc<Stage>, door: TcpListener) {
    while let Ok((person, _)) = door.accept().await {
        let stage = Arc::clone(&stage);
        Handle::current().spawn(async move { lead(&stage, person).await });
    }
}

/// Leads one ssh connection to the machine, whoever it is, as the technician whom the policy knows.
async fn lead(stage: &Stage, mut person: TcpStream) -> Option<()> {
    let (line, _) = stage.seen.lock().line.clone()?;
    let (mut send, recv) = line.open_bi().await.ok()?;
    let opening = stage.opening();
    send.write_all(&opening).await.ok()?;
    let mut machine = tokio::io::join(recv, send);
    tokio::io::copy_bidirectional(&mut person, &mut machine).await.ok()?;
    Some(())
}
