//! The tunnel against a gateway of this test, over real QUIC on the loopback.

mod recordings;
mod runs;

use super::*;
use crate::{
    quic::{
        endpoint::tests::{connection_without_streams, gateway_on},
        frames::{self, Frames},
    },
    recorder::NoProof,
    recording::Recordings,
    runs::Runs,
    state::identity::{self, Identity},
    testbed::{Machine, Tenant, ended, intent, now},
};
use belay_certs::{Signed, Timestamp, device::Approval, transport::TransportCa};
use belay_protocol::*;
use quinn::{Endpoint, SendStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A gateway and an agent that knows no other.
struct Bench {
    tenant: Tenant,
    machine: Machine,
    endpoint: Endpoint,
    /// The gateway's socket once more.
    socket: std::net::UdpSocket,
    device: Arc<Device>,
    identity: Arc<Identity>,
    tasks: TaskTracker,
}

/// One control stream as the gateway has it.
struct Line {
    connection: Connection,
    frames: Frames<GatewayPhase>,
    send: SendStream,
}

impl Bench {
    async fn new() -> Self {
        let today = Timestamp::from_system(std::time::SystemTime::now());
        let ca = TransportCa::generate("gw", today).unwrap();
        let issued = ca.issue_server("gw.example", today, 30 * belay_certs::time::DAY).unwrap();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let endpoint = gateway_on(socket.try_clone().unwrap(), &issued.chain, &issued.key_der, ALPN, Some(&ca));
        let mut tenant = Tenant::new("acme");
        tenant.found(|draft| {
            draft.addresses = vec![endpoint.local_addr().unwrap().to_string()];
            draft.transport_ca = vec![ca.digest()];
        });
        let machine = Machine::joined(&tenant);
        let key = identity::transport_key(&machine.dir).unwrap();
        let chain =
            ca.issue_client(&key.csr_der().unwrap(), machine.pin.join, today, 30 * belay_certs::time::DAY).unwrap();
        Identity::keep_first(&machine.dir, &key, chain).unwrap();
        let identity = Arc::new(Identity::open(&machine.dir, machine.pin.join).unwrap());
        let authority = machine.authority();
        let (recorder, _) = machine.recorder(&authority);
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let file_sessions = Arc::new(tokio::sync::Semaphore::new(1));
        let host_key = machine.host_key.clone();
        let (runs, stop_too) = (tracker.clone(), stop.clone());
        let runs = Runs::start(&machine.dir, authority.clone(), recorder.clone(), runs, stop_too).await.unwrap();
        let recordings = Recordings::new(authority.clone(), host_key.clone());
        let device = Arc::new(Device { authority, recorder, recordings, runs, host_key, tracker, file_sessions, stop });
        Self { tenant, machine, endpoint, socket, device, identity, tasks: TaskTracker::new() }
    }

    fn approve(&self) {
        self.device.authority.take_record(&self.approval()).unwrap();
    }

    fn approval(&self) -> Approval {
        self.tenant.approve(self.machine.host_key.public(), 7)
    }

    fn run(&self) -> tokio::task::JoinHandle<()> {
        self.tasks.spawn(run(self.device.clone(), self.identity.clone()))
    }

    /// The next connection, after its hello was answered.
    async fn welcome(&self) -> (Line, Hello) {
        let connection = self.endpoint.accept().await.unwrap().await.unwrap();
        let (send, recv) = connection.accept_bi().await.unwrap();
        let mut line = Line { connection, frames: Frames::new(recv, GatewayPhase::AwaitingHello), send };
        let ToGateway::Hello(hello) = line.hear().await else { panic!("no hello") };
        line.say(ToAgent::Welcome(Welcome {
            minor: MINOR,
            gateway_version: "0.1.0".to_owned(),
            state: Welcome::PENDING,
            now_micros: now().micros(),
            extensions: Extensions::default(),
        }))
        .await;
        (line, hello)
    }
}

impl Line {
    async fn hear(&mut self) -> ToGateway {
        ToGateway::decode(&self.frames.next().await.unwrap()).unwrap().unwrap()
    }

    async fn say(&mut self, message: ToAgent) {
        frames::write(&mut self.send, &message.encode().unwrap()).await.unwrap();
    }

    async fn offer(&mut self, version: u64, signed: &Signed) -> ToGateway {
        let (bytes, signatures) = (signed.bytes.clone(), signed.signatures.clone());
        self.say(ToAgent::PolicyOffered(PolicyOffered { tenant: "acme".into(), version, bytes, signatures })).await;
        self.hear().await
    }

    async fn statement(&mut self) -> StatementMade {
        match self.hear().await {
            ToGateway::StatementMade(made) => made,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn offers_are_taken_or_refused_and_said_so() {
    let mut bench = Bench::new().await;
    let running = bench.run();
    let (mut line, hello) = bench.welcome().await;
    assert_eq!((hello.record_serial, hello.statement_seq, hello.policies[0].version), (0, 0, 0));
    let second = bench.tenant.publish(|_| {});
    assert!(matches!(line.offer(1, &second).await, ToGateway::PolicyTaken(PolicyTaken { version: 1, .. })));
    assert!(matches!(line.offer(1, &second).await, ToGateway::PolicyTaken(_)), "the same again is held");
    let ToGateway::PolicyRefused(refused) = line.offer(0, &bench.tenant.versions[0].clone()).await else { panic!() };
    assert!(refused.sentence.contains("is older than version 1"), "{}", refused.sentence);
    let mut fork = bench.tenant.draft.clone();
    fork.revoked = vec![9];
    assert!(matches!(line.offer(1, &fork.signed()).await, ToGateway::PolicyRefused(_)));
    assert_eq!(bench.device.authority.policies()[0].1, 1);

    let approval = bench.approval();
    let offered = RecordOffered {
        record: approval.record,
        index: approval.index,
        path: approval.path,
        batch: approval.batch.bytes,
        batch_signature: approval.batch.signatures[0].clone(),
        certificate: approval.certificate,
    };
    line.say(ToAgent::RecordOffered(RecordOffered { index: 0, ..offered.clone() })).await;
    assert!(matches!(line.hear().await, ToGateway::RecordRefused(RecordRefused { serial: 7, .. })));
    line.say(ToAgent::RecordOffered(offered)).await;
    assert_eq!(line.hear().await, ToGateway::RecordTaken(RecordTaken { serial: 7 }));
    assert!(bench.device.authority.approved());
    bench.device.stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn statements_wait_through_a_lost_connection_and_are_proved_on_the_next() {
    let mut bench = Bench::new().await;
    bench.approve();
    let running = bench.run();
    let (mut line, _) = bench.welcome().await;
    let recorder = bench.device.recorder.clone();
    recorder.report(ended(1)).await.unwrap();
    let first = line.statement().await;
    line.connection.close(VarInt::from_u32(CloseCode::Broken.code()), b"");
    let (mut line, hello) = bench.welcome().await;
    assert_eq!((hello.statement_seq, hello.record_serial), (1, 7));
    let again = line.statement().await;
    assert_eq!(again.text, first.text);
    let proving = bench.tasks.spawn(async move { recorder.prove(intent(2)).await });
    let made = line.statement().await;
    let places = [bench.tenant.log.record(&again), bench.tenant.log.record(&made)];
    for at in places {
        line.say(ToAgent::ReceiptGiven(bench.tenant.log.receipt(at, 0))).await;
    }
    proving.await.unwrap().unwrap();
    bench.device.stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_session_stream_is_handed_over_with_the_bytes_behind_its_open() {
    let bench = Bench::new().await;
    let _running = bench.run();
    let (line, _) = bench.welcome().await;
    let (mut send, mut recv) = line.connection.open_bi().await.unwrap();
    let key = bench.tenant.alice.public().to_string();
    let mut bytes = encode_frame(&Open { access: [1; 16], person: "alice".to_owned(), key }).unwrap();
    bytes.extend_from_slice(b"SSH-2.0-test\r\n");
    send.write_all(&bytes).await.unwrap();
    send.finish().unwrap();
    let heard = recv.read_to_end(4_096).await.unwrap();
    assert!(String::from_utf8_lossy(&heard).contains("not approved yet"), "the machine is pending");
    bench.device.stop.cancel();
}

#[tokio::test]
async fn a_gateway_that_breaks_the_protocol_is_told_which_rule() {
    let bench = Bench::new().await;
    let _running = bench.run();
    let (mut line, _) = bench.welcome().await;
    let (minor, state) = (MINOR, Welcome::PENDING);
    let gateway_version = String::new();
    line.say(ToAgent::Welcome(Welcome {
        minor,
        gateway_version,
        state,
        now_micros: 0,
        extensions: Extensions::default(),
    }))
    .await;
    let ConnectionError::ApplicationClosed(close) = line.connection.closed().await else { panic!("not closed by us") };
    assert_eq!(CloseCode::from_code(close.error_code.into_inner()), Some(CloseCode::OutOfPhase));

    let (line, _) = bench.welcome().await;
    let (mut send, _recv) = line.connection.open_bi().await.unwrap();
    send.write_all(&[0, 0, 0, 3, 0, 9, 1]).await.unwrap();
    let ConnectionError::ApplicationClosed(close) = line.connection.closed().await else { panic!("not closed by us") };
    assert_eq!(CloseCode::from_code(close.error_code.into_inner()), Some(CloseCode::OutOfPhase));
    bench.device.stop.cancel();
}

#[tokio::test]
async fn a_draining_gateway_is_left_and_found_again() {
    let bench = Bench::new().await;
    let _running = bench.run();
    let (mut line, _) = bench.welcome().await;
    line.say(ToAgent::Drain(Drain { within_ms: 1 })).await;
    let ConnectionError::ApplicationClosed(close) = line.connection.closed().await else { panic!("not closed by us") };
    assert_eq!(CloseCode::from_code(close.error_code.into_inner()), Some(CloseCode::Finished));
    bench.welcome().await;
    bench.device.stop.cancel();
}

#[tokio::test]
async fn a_second_agent_with_our_identity_makes_us_wait_long() {
    let bench = Bench::new().await;
    let (outcome, ()) = tokio::join!(once(&bench.device, &bench.identity, 0), async {
        let (line, _) = bench.welcome().await;
        line.connection.close(VarInt::from_u32(CloseCode::Replaced.code()), b"");
    });
    assert!(matches!(outcome, Outcome::Replaced), "{outcome:?}");
}

#[tokio::test]
async fn as_many_sessions_as_the_limit_says_can_be_open_at_once() {
    let bench = Bench::new().await;
    let _running = bench.run();
    let (line, _) = bench.welcome().await;
    let mut streams = Vec::new();
    for _ in 0..SESSIONS_MAX {
        let (mut send, recv) = line.connection.open_bi().await.unwrap();
        // The head of an `Open` opens the stream and keeps it open.
        send.write_all(&[0]).await.unwrap();
        streams.push((send, recv));
    }
    bench.device.stop.cancel();
}

#[tokio::test]
async fn who_waits_for_a_proof_hears_at_once_that_the_connection_is_gone() {
    for drains in [true, false] {
        let bench = Bench::new().await;
        bench.approve();
        let _running = bench.run();
        let recorder = bench.device.recorder.clone();
        let (mut line, _) = bench.welcome().await;
        recorder.report(ended(9)).await.unwrap();
        line.statement().await;
        let proving = bench.tasks.spawn(async move { recorder.prove(intent(1)).await });
        line.statement().await;
        match drains {
            true => line.say(ToAgent::Drain(Drain { within_ms: 1 })).await,
            false => line.connection.close(VarInt::from_u32(CloseCode::Broken.code()), b""),
        }
        assert_eq!(proving.await.unwrap().unwrap_err(), NoProof::Offline, "drains: {drains}");
        bench.device.stop.cancel();
    }
}

#[tokio::test]
async fn a_gateway_that_goes_on_offering_what_is_not_taken_is_left() {
    let bench = Bench::new().await;
    let _running = bench.run();
    let (mut line, _) = bench.welcome().await;
    let foreign = Tenant::new("acme").versions[0].clone();
    for _ in 1..OFFERS_REFUSED_MAX {
        assert!(matches!(line.offer(0, &foreign).await, ToGateway::PolicyRefused(_)));
    }
    let (bytes, signatures) = (foreign.bytes, foreign.signatures);
    line.say(ToAgent::PolicyOffered(PolicyOffered { tenant: "acme".into(), version: 0, bytes, signatures })).await;
    let ConnectionError::ApplicationClosed(close) = line.connection.closed().await else { panic!("not closed by us") };
    assert_eq!(CloseCode::from_code(close.error_code.into_inner()), Some(CloseCode::Broken));
    bench.device.stop.cancel();
}

#[tokio::test]
async fn a_gateway_that_gives_no_welcome_makes_the_next_address_the_first() {
    let mut bench = Bench::new().await;
    let own = bench.endpoint.local_addr().unwrap();
    let more =
        bench.tenant.publish(|draft| draft.addresses = vec![own.to_string(), format!("localhost:{}", own.port())]);
    bench.device.authority.take_policy(&bench.tenant.name(), &more).unwrap();
    let (outcome, ()) = tokio::join!(once(&bench.device, &bench.identity, 2), async {
        let connection = bench.endpoint.accept().await.unwrap().await.unwrap();
        connection.close(VarInt::from_u32(CloseCode::Busy.code()), b"");
    });
    assert!(matches!(outcome, Outcome::Unwelcome(0)), "after the last comes the first again: {outcome:?}");
    let mut course = Course::new();
    course.after(outcome, 0).unwrap();
    assert_eq!(course.first, 1);
    course.after(Outcome::Lost(Duration::ZERO), 0).unwrap();
    assert_eq!(course.first, 0, "one that gave a welcome is called again");
}

#[tokio::test]
async fn a_gateway_has_one_limited_time_for_all_of_the_greeting() {
    let bench = Bench::new().await;
    let (dialled, _endpoint, _accepted) = connection_without_streams().await;
    // From here on only waiting moves the clock.
    tokio::time::pause();
    let began = Instant::now();
    let ended = control::greet(&dialled.connection, &bench.device).await.err().unwrap();
    assert!(matches!(ended, Ended::Misbehaved(Misbehaved::Silent)), "{ended}");
    assert_eq!(began.elapsed().as_secs(), WELCOME_WAIT.as_secs());
}

#[test]
fn a_gateway_that_drains_too_soon_is_called_again_ever_more_rarely() {
    let mut course = Course::new();
    let drained = |lasted| Outcome::Drained { lasted, within: Duration::ZERO };
    let waits: Vec<_> = (0..10).map(|_| course.after(drained(Duration::ZERO), u64::MAX).unwrap()).collect();
    assert!(waits[0] <= BACKOFF_FIRST && waits[9] > BACKOFF_MAX / 2, "{waits:?}");
    assert_eq!(course.after(drained(BACKOFF_RESET), u64::MAX).unwrap(), Duration::ZERO);
    assert!(course.after(Outcome::Lost(Duration::ZERO), u64::MAX).unwrap() <= BACKOFF_FIRST);
    let waits: Vec<_> = (0..10).map(|_| course.after(Outcome::Restarted, u64::MAX).unwrap()).collect();
    assert!(waits.iter().all(|wait| *wait <= BACKOFF_FIRST), "{waits:?}: each start of a gateway is a new one");
    assert!(course.after(Outcome::Stopped, 0).is_none());
}

#[tokio::test]
async fn the_words_a_connection_is_closed_with_are_made_plain() {
    let bench = Bench::new().await;
    let connection = async {
        let connection = bench.endpoint.accept().await.unwrap().await.unwrap();
        connection.close(VarInt::from_u32(CloseCode::Busy.code()), "\u{1b}[2Jbusy\n\u{202e}".as_bytes());
    };
    let (reached, ()) = tokio::join!(reach(&bench.device, &bench.identity, 0), connection);
    let (dialled, _) = reached.unwrap();
    let said = Ended::lost(dialled.connection.closed().await).to_string();
    assert!(said.contains("[2Jbusy \u{fffd}") && !said.contains(char::is_control), "{said:?}");
}

#[tokio::test]
async fn a_nudge_makes_the_agent_say_again_what_it_holds() {
    let bench = Bench::new().await;
    let running = bench.run();
    let (mut line, hello) = bench.welcome().await;
    bench.socket.send_to(&nudge::NUDGE, line.connection.remote_address()).unwrap();
    let ToGateway::PolicyTaken(taken) = line.hear().await else { panic!("something else was said") };
    assert_eq!((taken.version, taken.digest), (hello.policies[0].version, hello.policies[0].digest));
    bench.device.stop.cancel();
    running.await.unwrap();
}
