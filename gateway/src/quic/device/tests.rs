//! Devices against the true door, over real QUIC on the loopback.

use super::*;
use crate::{
    quic,
    relay::presence::{Presence, Step},
    scene::{Machine, Scene, acme},
};
use belay_protocol::{
    ALPN, ALPN_JOIN, AgentPhase, Extensions, Facts, PolicyHeld, PolicyRefused, PolicyTaken, encode_frame,
};
use quinn::{ClientConfig, ConnectionError, Endpoint, crypto::rustls::QuicClientConfig};
use rustls::{
    RootCertStore,
    client::Resumption,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use std::{net::Ipv4Addr, time::Duration};
use tokio::time::timeout;

mod pace;
mod silent;

/// Longer than anything here takes.
const GENEROUS: Duration = Duration::from_secs(10);

/// A scene whose door for machines is open.
pub(in crate::quic) struct Bench {
    pub(in crate::quic) scene: Scene,
    door: Endpoint,
    caller: Endpoint,
}

impl Bench {
    pub(in crate::quic) async fn new() -> Self {
        let scene = Scene::new().await;
        let gateway = &scene.gateway;
        let listen = (Ipv4Addr::LOCALHOST, 0).into();
        let (door, _) = quic::open(listen, &gateway.transport, Arc::clone(&gateway.bulk), gateway.now()).unwrap();
        gateway.tracker.spawn(quic::serve(Arc::clone(gateway), door.clone()));
        Self { scene, door, caller: Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap() }
    }

    /// A connection as this machine's, or as a stranger's.
    pub(in crate::quic) async fn dial(&self, machine: Option<&Machine>, alpn: &[u8]) -> Connection {
        self.dial_with(machine, alpn, Resumption::disabled()).await
    }

    /// The same by a caller who would like to resume.
    pub(in crate::quic) async fn dial_with(
        &self,
        machine: Option<&Machine>,
        alpn: &[u8],
        resumption: Resumption,
    ) -> Connection {
        let config = self.config(machine, alpn, resumption);
        let address = self.door.local_addr().unwrap();
        self.caller.connect_with(config, address, "gw.example").unwrap().await.unwrap()
    }

    fn config(&self, machine: Option<&Machine>, alpn: &[u8], resumption: Resumption) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.scene.gateway.transport.ca().certificate_der().to_vec())).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider);
        let tls = tls.with_protocol_versions(&[&rustls::version::TLS13]).unwrap().with_root_certificates(roots);
        let mut tls = match machine {
            None => tls.with_no_client_auth(),
            Some(machine) => {
                let chain = machine.chain.iter().cloned().map(CertificateDer::from).collect();
                let key = PrivatePkcs8KeyDer::from(machine.transport.pkcs8_der());
                tls.with_client_auth_cert(chain, PrivateKeyDer::Pkcs8(key)).unwrap()
            }
        };
        tls.alpn_protocols = vec![alpn.to_vec()];
        tls.resumption = resumption;
        ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
    }

    /// A connection that says hello as this machine.
    pub(in crate::quic) async fn call(&self, machine: &Machine, hello: Hello) -> Line {
        let connection = self.dial(Some(machine), ALPN).await;
        let (send, recv) = connection.open_bi().await.unwrap();
        let mut line = Line { connection, send, frames: Frames::new(recv, AgentPhase::AwaitingWelcome) };
        line.say(&encode_frame(&hello).unwrap()).await;
        line
    }
}

/// A control stream as the device has it.
pub(in crate::quic) struct Line {
    pub(in crate::quic) connection: Connection,
    send: SendStream,
    frames: Frames<AgentPhase>,
}

impl Line {
    /// Says it, or is cut off while it does.
    async fn say(&mut self, frame: &[u8]) {
        let _ = self.send.write_all(frame).await;
    }

    pub(in crate::quic) async fn hear(&mut self) -> ToAgent {
        let frame = timeout(GENEROUS, self.frames.next()).await.unwrap().unwrap();
        ToAgent::decode(&frame).unwrap().unwrap()
    }

    async fn close_code(&self) -> CloseCode {
        match timeout(GENEROUS, self.connection.closed()).await.unwrap() {
            ConnectionError::ApplicationClosed(close) => CloseCode::from_code(close.error_code.into_inner()).unwrap(),
            other => panic!("not closed by the gateway: {other}"),
        }
    }
}

pub(in crate::quic) fn hello() -> Hello {
    Hello {
        minor: belay_protocol::MINOR,
        agent_version: "0.1.0".to_owned(),
        policies: Vec::new(),
        record_serial: 0,
        statement_seq: 0,
        facts: Facts::default(),
        extensions: Extensions::default(),
    }
}

fn held(version: u64) -> Vec<PolicyHeld> {
    vec![PolicyHeld { tenant: "acme".to_owned(), version, digest: [0; 32] }]
}

fn online(connection: u8, turn: u64, quic: &Connection) -> Online {
    let address = "web1.acme".parse().unwrap();
    Online {
        minor: belay_protocol::MINOR,
        to_agent: tokio::sync::mpsc::channel(1).0,
        held: None,
        connection: Id([connection; 16]),
        turn,
        address,
        approved: true,
        step: Step::In,
        news: Arc::default(),
        quic: quic.clone(),
    }
}

#[tokio::test]
async fn of_two_connections_the_one_that_was_recorded_last_wins_whoever_arrives_first() {
    let bench = Bench::new().await;
    let quic = bench.dial(None, ALPN_JOIN).await;
    let (presence, join) = (Presence::default(), Id([9; 16]));
    presence.arrive(join, online(2, 5, &quic)).unwrap();
    assert_eq!(presence.arrive(join, online(1, 4, &quic)), Err(NotPresent::Older));
    presence.leave(join, Id([1; 16]));
    let address = "web1.acme".parse().unwrap();
    assert_eq!(presence.find(&address).unwrap().connection, Id([2; 16]));
    presence.arrive(join, online(3, 6, &quic)).unwrap();
    assert_eq!(presence.find(&address).unwrap().connection, Id([3; 16]));
}

#[tokio::test]
async fn a_device_is_asked_to_acknowledge_what_belongs_together_at_once() {
    let bench = Bench::new().await;
    let machine = bench.scene.machine("web1").await;
    let mut line = bench.call(&machine, Hello { policies: held(0), ..hello() }).await;
    assert!(matches!(line.hear().await, ToAgent::Welcome(_)));
    assert_eq!(line.connection.stats().frame_rx.ack_frequency, 1);
}

#[tokio::test]
async fn a_device_that_comes_again_after_its_log_began_anew_is_the_newer_one() {
    let bench = Bench::new().await;
    let gateway = &bench.scene.gateway;
    let machine = bench.scene.machine("web1").await;
    let mut first = bench.call(&machine, Hello { policies: held(0), ..hello() }).await;
    assert!(matches!(first.hear().await, ToAgent::Welcome(_)));
    gateway.record(Ask::RestartLog { tenant: acme() }).await.unwrap();
    let mut second = bench.call(&machine, Hello { policies: held(0), ..hello() }).await;
    assert!(matches!(second.hear().await, ToAgent::Welcome(_)));
    assert_eq!(first.close_code().await, CloseCode::Replaced);
    assert!(gateway.presence.is_present(machine.join) && second.connection.close_reason().is_none());
}

#[tokio::test]
async fn a_device_that_was_approved_while_it_connected_can_be_reached() {
    // The second holds its record already: it was restored, or the answer to it was lost.
    for record_serial in [0, 7] {
        let bench = Bench::new().await;
        let (scene, gateway) = (&bench.scene, &bench.scene.gateway);
        let machine = scene.machine("web1").await;
        let row = gateway.store.device_by_join(machine.join).await.unwrap().unwrap();
        scene.approve_unheard(&machine, 7).await;
        let quic = bench.dial(None, ALPN_JOIN).await;
        let pending = Online { approved: false, ..online(1, 1, &quic) };
        let (to_agent, mut out) = mpsc::channel(limits::TO_AGENT_QUEUE_MAX);
        let link = Link {
            gateway: Arc::clone(gateway),
            join: machine.join,
            host_key: row.host_key().unwrap(),
            address: row.standing().address,
            news: Arc::clone(&pending.news),
            recordings: Remembered::default(),
            to_agent,
        };
        gateway.presence.arrive(machine.join, pending).unwrap();
        let offering =
            offers::offer(&link, Held::new(row.standing(), Hello { record_serial, policies: held(0), ..hello() }));
        let looking = async {
            assert!(matches!(out.recv().await.as_deref(), Some(ToAgent::Welcome(_))));
            if record_serial == 0 {
                assert!(matches!(out.recv().await.as_deref(), Some(ToAgent::RecordOffered(_))));
            }
            while gateway.presence.find(&"web1.acme".parse().unwrap()).is_none() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            ending = offering => panic!("{}", ending.why),
            looked = timeout(GENEROUS, looking) => looked.unwrap(),
        }
    }
}

#[tokio::test]
async fn only_the_device_with_news_looks_again_and_gets_its_record() {
    let bench = Bench::new().await;
    let machine = bench.scene.machine("web1").await;
    let mut line = bench.call(&machine, Hello { policies: held(0), ..hello() }).await;
    assert!(matches!(line.hear().await, ToAgent::Welcome(_)));
    bench.scene.approve_unheard(&machine, 7).await;
    bench.scene.gateway.presence.wake(machine.join);
    assert!(matches!(line.hear().await, ToAgent::RecordOffered(_)));
    // And every policy that comes.
    let second = bench.scene.keys.policy(Some((0, &bench.scene.first)), &[7]);
    bench.scene.push(second).await;
    assert!(matches!(line.hear().await, ToAgent::PolicyOffered(offered) if offered.version == 1));
    assert_eq!(line.close_code().await, CloseCode::NotAdmitted);
}

#[tokio::test]
async fn only_a_device_that_got_its_certificate_is_woken() {
    let bench = Bench::new().await;
    let (scene, gateway) = (&bench.scene, &bench.scene.gateway);
    let quic = bench.dial(None, ALPN_JOIN).await;
    let (mut sent, mut news) = (Vec::new(), Vec::new());
    for (serial, name) in (1..).zip(["web1", "web2"]) {
        let machine = scene.machine(name).await;
        let approvals = scene.approval(&machine, serial);
        let certificate = scene.certify(&approvals[0].0);
        sent.push(serde_json::json!({"name": format!("{name}.acme"), "serial": serial, "certificate": certificate}));
        scene.approve_unheard(&machine, serial).await;
        let online = Online { address: format!("{name}.acme").parse().unwrap(), ..online(1, 1, &quic) };
        news.push(Arc::clone(&online.news));
        gateway.presence.arrive(machine.join, online).unwrap();
    }
    sent[1]["certificate"] = "none".into();
    let sent = serde_json::json!({ "certificates": sent }).to_string().into_bytes();
    let key = scene.keys.tech.public().clone();
    let settled = crate::act::approve::recertify(gateway, &acme(), sent, key).await.unwrap();
    assert_eq!(settled.iter().map(|one| one.refused.is_none()).collect::<Vec<_>>(), [true, false], "{settled:?}");
    for (news, woken) in news.iter().zip([true, false]) {
        assert_eq!(futures_util::poll!(std::pin::pin!(news.notified())).is_ready(), woken);
    }
}

#[tokio::test]
async fn a_long_chain_is_offered_whole_and_a_strange_claim_gets_nothing() {
    let bench = Bench::new().await;
    let machine = bench.scene.machine("web1").await;
    let (last, mut newest) = (40, bench.scene.first.clone());
    for version in 0..last {
        newest = bench.scene.keys.policy(Some((version, &newest)), &[]);
        bench.scene.push(newest.clone()).await;
    }
    let mut line = bench.call(&machine, hello()).await;
    assert!(matches!(line.hear().await, ToAgent::Welcome(_)));
    for version in 0..=last {
        assert!(matches!(line.hear().await, ToAgent::PolicyOffered(offered) if offered.version == version));
    }
    let mut line = bench.call(&machine, Hello { policies: held(u64::MAX), ..hello() }).await;
    assert!(matches!(line.hear().await, ToAgent::Welcome(_)));
    bench.scene.approve_unheard(&machine, 7).await;
    bench.scene.gateway.presence.wake(machine.join);
    assert!(matches!(line.hear().await, ToAgent::RecordOffered(_)));
}

#[tokio::test]
async fn what_a_device_holds_of_its_policy_is_what_it_said_and_not_what_it_was_sent() {
    let bench = Bench::new().await;
    let (machine, gateway) = (bench.scene.machine("web1").await, Arc::clone(&bench.scene.gateway));
    let join = machine.join;
    let second = bench.scene.keys.policy(Some((0, &bench.scene.first)), &[]);
    bench.scene.push(second).await;
    let mut line = bench.call(&machine, Hello { policies: held(0), ..hello() }).await;
    assert!(matches!(line.hear().await, ToAgent::Welcome(_)));
    assert!(matches!(line.hear().await, ToAgent::PolicyOffered(offered) if offered.version == 1));
    assert_eq!(gateway.presence.held(join), Some(0));
    for (tenant, version) in [("globex", 9), ("acme", u64::MAX), ("acme", 1)] {
        let taken = PolicyTaken { tenant: tenant.to_owned(), version, digest: [0; 32] };
        line.say(&encode_frame(&taken).unwrap()).await;
    }
    let heard = async {
        while gateway.presence.held(join) == Some(0) {
            tokio::task::yield_now().await;
        }
        assert_eq!(gateway.presence.held(join), Some(1));
        line.connection.close(0_u32.into(), b"");
        while gateway.store.device_by_join(join).await.unwrap().unwrap().presence.unwrap().connection.is_some() {
            tokio::task::yield_now().await;
        }
    };
    timeout(GENEROUS, heard).await.unwrap();
    let gone = gateway.store.device_by_join(join).await.unwrap().unwrap().presence.unwrap();
    assert_eq!(gone.held, Some(1));
}

#[tokio::test]
async fn a_device_that_was_replaced_is_not_admitted_and_recorded_once_however_often_it_calls() {
    let bench = Bench::new().await;
    let old = bench.scene.machine("web1").await;
    // The same machine lost its keys and joined again.
    bench.scene.machine("web1").await;
    for _ in 0..3 {
        let line = bench.call(&old, hello()).await;
        assert_eq!(line.close_code().await, CloseCode::NotAdmitted);
    }
    assert_eq!(bench.scene.count(acme().into(), "device.refused").await, 1);
    assert_eq!(bench.scene.count(acme().into(), "device.connected").await, 0);
}

#[tokio::test]
async fn a_device_that_turns_everything_down_is_recorded_a_few_times_and_then_sent_away() {
    let bench = Bench::new().await;
    let machine = bench.scene.machine("web1").await;
    let mut line = bench.call(&machine, hello()).await;
    let refused = PolicyRefused { tenant: "acme".to_owned(), version: 0, digest: [0; 32], sentence: "no".to_owned() };
    let frame = encode_frame(&refused).unwrap();
    for _ in 0..=limits::COMPLAINTS_BURST {
        line.say(&frame).await;
    }
    assert_eq!(line.close_code().await, CloseCode::Busy);
    assert_eq!(bench.call(&machine, hello()).await.close_code().await, CloseCode::Busy);
    assert_eq!(bench.scene.count(acme().into(), "policy.refused").await, limits::COMPLAINTS_BURST as usize);
}

#[tokio::test]
async fn a_statement_that_the_device_did_not_sign_ends_its_connection() {
    let bench = Bench::new().await;
    let machine = bench.scene.machine("web1").await;
    let mut line = bench.call(&machine, hello()).await;
    let made = StatementMade {
        seq: 1,
        text: "{}".to_owned(),
        signature: "none".to_owned(),
        consistency_from: 0,
        origin: String::new(),
    };
    line.say(&encode_frame(&made).unwrap()).await;
    assert_eq!(line.close_code().await, CloseCode::Malformed);
}

#[tokio::test]
async fn a_stop_waits_for_nobody_who_says_nothing() {
    let bench = Bench::new().await;
    let machine = bench.scene.machine("web1").await;
    let silent = [bench.dial(Some(&machine), ALPN).await, bench.dial(None, ALPN_JOIN).await];
    bench.scene.gateway.stop.cancel();
    timeout(limits::STOP_WAIT / 2, bench.scene.settled()).await.unwrap();
    for connection in &silent {
        timeout(GENEROUS, connection.closed()).await.unwrap();
    }
}
