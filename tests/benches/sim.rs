//! Simulated agents: the real join, hello and frames over QUIC connections of a few sockets, without a process, a disk or a
//! session behind them.

use anyhow::{Context, Result, bail};
use belay_certs::{
    Digest, Id, PrivateKey, Timestamp,
    device::DeviceRecord,
    join::{self, JoinRequest},
    policy::DeviceFacts,
    token::{Token, TokenFile},
    transport::ClientKey,
};
use belay_protocol::{
    ALPN, ALPN_JOIN, AgentPhase, Extensions, Facts, FrameReader, Hello, JoinAnswer, JoinAsked, MINOR, Message,
    PolicyHeld, PolicyTaken, RawFrame, RecordTaken, ToAgent, encode_frame,
};
use quinn::{
    AckFrequencyConfig, ClientConfig, Connection, Endpoint, EndpointConfig, RecvStream, SendStream, TokioRuntime,
    TransportConfig, VarInt, congestion::NewRenoConfig, crypto::rustls::QuicClientConfig,
};
use rustix::net::sockopt;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject},
};
use std::{
    collections::BTreeMap,
    net::{SocketAddr, UdpSocket},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::runtime::{Builder, Runtime};

/// How often a gateway that is busy is dialled again, and after which time.
const TRIES_MAX: u32 = 50;
const BACKOFF: Duration = Duration::from_millis(200);
/// Ten thousand machines have ten thousand sockets, each with a buffer of its own; these have so many.
const SOCKETS: usize = 32;
const SOCKET_BYTES: usize = 4 << 20;
/// From dialling to the welcome; the real agent waits 10 s for the one and 5 s for the other.
const CONNECT_WAIT: Duration = Duration::from_secs(15);

/// As the real agent's.
const UNACKNOWLEDGED_MAX: u32 = 5;

/// Of simulated machines, as nice(2) counts.
const LOW_PRIORITY: i32 = 10;

/// Where and how simulated agents dial.
pub struct Dialler {
    /// A socket for a few hundred agents each.
    endpoints: Vec<Endpoint>,
    next: AtomicUsize,
    gateway: SocketAddr,
    roots: Arc<RootCertStore>,
    keep_alive: Duration,
}

/// One simulated agent's identity, and what it holds.
#[derive(Debug, Clone)]
pub struct Agent {
    key: Vec<u8>,
    chain: Vec<Vec<u8>>,
    /// The newest version of each policy, with its digest.
    policies: BTreeMap<String, (u64, [u8; 32])>,
    /// Its record, once a person has approved it.
    record: Option<DeviceRecord>,
    /// What its statements are signed with.
    pub host_key: PrivateKey,
}

impl Agent {
    /// What its record says of it.
    ///
    /// # Errors
    /// It has none yet.
    pub fn facts(&self) -> Result<DeviceFacts> {
        let record = self.record.as_ref().context("not approved yet")?;
        Ok(DeviceFacts { address: record.address.clone(), labels: record.labels.clone(), serial: record.serial })
    }
}

/// A connected agent.
pub struct Connected {
    /// Its connection.
    pub quic: Connection,
    send: SendStream,
    frames: Frames,
}

/// Threads for machines that work while something else is measured: of a low priority, for they stand for machines elsewhere,
/// which take nothing from the gateway's.
///
/// # Errors
/// The threads cannot be had.
pub fn runtime() -> Result<Runtime> {
    let yield_to_all = || {
        // Only this thread's: Linux has a priority for each.
        if let Err(error) = rustix::process::setpriority_process(None, LOW_PRIORITY) {
            eprintln!("simulated machines at the priority of all: {error}");
        }
    };
    let threads = Builder::new_multi_thread().worker_threads(2).on_thread_start(yield_to_all).enable_all().build()?;
    Ok(threads)
}

fn endpoint() -> Result<Endpoint> {
    let socket = UdpSocket::bind(("127.0.0.1", 0))?;
    sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BYTES)?;
    sockopt::set_socket_send_buffer_size(&socket, SOCKET_BYTES)?;
    Ok(Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))?)
}

impl Dialler {
    /// Agents that trust the CA in the file, dial the gateway from a few sockets, and send a sign of life every `keep_alive`.
    ///
    /// # Errors
    /// No socket, or no CA.
    pub fn new(ca: &Path, gateway: SocketAddr, keep_alive: Duration) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca)?)?;
        let endpoints = (0..SOCKETS).map(|_| endpoint()).collect::<Result<_>>()?;
        Ok(Self { endpoints, next: AtomicUsize::new(0), gateway, roots: Arc::new(roots), keep_alive })
    }

    async fn dial(&self, protocol: &[u8], shown: Option<&Agent>) -> Result<Connection> {
        let builder = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(Arc::clone(&self.roots));
        let mut tls = match shown {
            None => builder.with_no_client_auth(),
            Some(agent) => {
                let chain = agent.chain.iter().cloned().map(CertificateDer::from).collect();
                builder.with_client_auth_cert(chain, PrivatePkcs8KeyDer::from(agent.key.clone()).into())?
            }
        };
        tls.alpn_protocols = vec![protocol.to_vec()];
        tls.resumption = rustls::client::Resumption::disabled();
        let (mut transport, mut acknowledged) = (TransportConfig::default(), AckFrequencyConfig::default());
        acknowledged.ack_eliciting_threshold(VarInt::from_u32(UNACKNOWLEDGED_MAX));
        // As the real agent's, with the keep-alive faster.
        transport
            .ack_frequency_config(Some(acknowledged))
            .keep_alive_interval(Some(self.keep_alive))
            .max_idle_timeout(Some(VarInt::from_u32(60_000).into()))
            .max_concurrent_bidi_streams(VarInt::from_u32(8))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .datagram_receive_buffer_size(None)
            .congestion_controller_factory(Arc::new(NewRenoConfig::default()));
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        config.transport_config(Arc::new(transport));
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.endpoints.len();
        let endpoint = self.endpoints.get(next).context("no socket")?;
        Ok(endpoint.connect_with(config, self.gateway, "gw.example")?.await?)
    }

    /// Joins a device called `name`, which then waits for approval.
    ///
    /// # Errors
    /// It is refused.
    pub async fn join(&self, file: &TokenFile, name: &str) -> Result<Agent> {
        let mut tries = 0;
        loop {
            match self.join_once(file, name).await {
                Err(_) if tries < TRIES_MAX => tries += 1,
                joined => return joined,
            }
            tokio::time::sleep(BACKOFF).await;
        }
    }

    async fn join_once(&self, file: &TokenFile, name: &str) -> Result<Agent> {
        let token = Token::parse(&file.token.bytes)?;
        let (host, transport) = (PrivateKey::generate_ed25519(name)?, ClientKey::generate()?);
        let request = JoinRequest {
            tenant: token.tenant.clone(),
            token: Digest::of(&file.token.bytes),
            host_key: host.public().clone(),
            transport_key: transport.spki_digest(),
            name: name.parse()?,
            machine_id: Digest::of(name.as_bytes()),
            nonce: Id::random()?,
            issued: Timestamp::from_system(SystemTime::now()).whole_second(),
        };
        let signed = join::sign(&request, &file.join_key, &host)?;
        let asked = JoinAsked {
            token: file.token.bytes.clone(),
            token_signature: file.token.signatures.first().cloned().unwrap_or_default(),
            request: signed.bytes,
            by_join_key: signed.by_join_key,
            by_host_key: signed.by_host_key,
            csr: transport.csr_der()?,
        };
        let quic = self.dial(ALPN_JOIN, None).await?;
        let (mut send, recv) = quic.open_bi().await?;
        send.write_all(&encode_frame(&asked)?).await?;
        let frame = Frames::new(recv, AgentPhase::AwaitingAnswer).next().await?;
        quic.close(VarInt::from_u32(0), b"");
        match JoinAnswer::decode(&frame)? {
            Some(JoinAnswer::JoinAccepted(accepted)) => {
                let key = transport.pkcs8_der();
                Ok(Agent { key, chain: accepted.chain, policies: BTreeMap::new(), record: None, host_key: host })
            }
            other => bail!("{name} did not join: {other:?}"),
        }
    }

    /// Connects and says hello; returns when the gateway has answered, that is when its record of it is durable.
    ///
    /// # Errors
    /// The gateway is not there or does not want it.
    pub async fn connect(&self, agent: &Agent) -> Result<Connected> {
        let mut tries = 0;
        loop {
            match tokio::time::timeout(CONNECT_WAIT, self.connect_once(agent)).await {
                Ok(Err(_)) | Err(_) if tries < TRIES_MAX => tries += 1,
                Ok(connected) => return connected,
                Err(_) => bail!("the gateway did not answer {TRIES_MAX} times"),
            }
            // As the real agent backs off from a gateway that is busy.
            tokio::time::sleep(BACKOFF).await;
        }
    }

    async fn connect_once(&self, agent: &Agent) -> Result<Connected> {
        let quic = self.dial(ALPN, Some(agent)).await?;
        let (mut send, recv) = quic.open_bi().await?;
        let held = agent.policies.iter();
        let hello = Hello {
            minor: MINOR,
            agent_version: "0.1.0".to_owned(),
            policies: held
                .map(|(tenant, (version, digest))| PolicyHeld {
                    tenant: tenant.clone(),
                    version: *version,
                    digest: *digest,
                })
                .collect(),
            record_serial: agent.record.as_ref().map_or(0, |record| record.serial),
            statement_seq: 0,
            facts: Facts {
                hostname: "simulated".into(),
                os: "Debian GNU/Linux 12 (bookworm)".into(),
                kernel: "6.1.0-28-amd64".into(),
                arch: "x86_64".into(),
            },
            extensions: Extensions::default(),
        };
        send.write_all(&encode_frame(&hello)?).await?;
        let mut frames = Frames::new(recv, AgentPhase::AwaitingWelcome);
        match ToAgent::decode(&frames.next().await?)? {
            Some(ToAgent::Welcome(_)) => Ok(Connected { quic, send, frames }),
            other => bail!("no welcome: {other:?}"),
        }
    }
}

impl Connected {
    /// Takes what the gateway offers until `agent` holds its record.
    ///
    /// # Errors
    /// The connection ends, or a record cannot be read.
    pub async fn learn(&mut self, agent: &mut Agent) -> Result<()> {
        while agent.record.is_none() {
            match ToAgent::decode(&self.frames.next().await?)? {
                Some(ToAgent::PolicyOffered(offered)) => {
                    let digest = Digest::of(&offered.bytes).0;
                    agent.policies.insert(offered.tenant.clone(), (offered.version, digest));
                    self.say(&PolicyTaken { tenant: offered.tenant, version: offered.version, digest }).await?;
                }
                Some(ToAgent::RecordOffered(offered)) => {
                    let record = DeviceRecord::parse(&offered.record)?;
                    self.say(&RecordTaken { serial: record.serial }).await?;
                    agent.record = Some(record);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What the gateway says next.
    ///
    /// # Errors
    /// The connection ends, or it says what nobody understands.
    pub async fn hear(&mut self) -> Result<ToAgent> {
        loop {
            if let Some(message) = ToAgent::decode(&self.frames.next().await?)? {
                return Ok(message);
            }
        }
    }

    /// Says one message.
    ///
    /// # Errors
    /// The connection ended.
    pub async fn say<M: Message>(&mut self, message: &M) -> Result<()> {
        Ok(self.send.write_all(&encode_frame(message)?).await?)
    }
}

/// The frames of one stream.
struct Frames {
    stream: RecvStream,
    reader: FrameReader<AgentPhase>,
    arrived: Vec<u8>,
}

impl Frames {
    fn new(stream: RecvStream, phase: AgentPhase) -> Self {
        Self { stream, reader: FrameReader::new(phase), arrived: Vec::new() }
    }

    async fn next(&mut self) -> Result<RawFrame> {
        loop {
            let mut rest = self.arrived.as_slice();
            let frame = self.reader.push(&mut rest)?;
            self.arrived = rest.to_vec();
            if let Some(frame) = frame {
                return Ok(frame);
            }
            let chunk = self.stream.read_chunk(usize::MAX, true).await?.context("the stream ended")?;
            self.arrived.extend_from_slice(&chunk.bytes);
        }
    }
}
