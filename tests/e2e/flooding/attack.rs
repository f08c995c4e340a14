//! Strangers at the door for people: plain sockets from as many loopback addresses as wanted, each with one bad habit.

use russh::{
    client,
    keys::{Algorithm, PrivateKey, PrivateKeyWithHashAlg},
};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};

/// A stranger's habit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// Connects and says nothing.
    Idle,
    /// Says one byte every ten seconds.
    Dribble,
    /// Sends key-exchange lists of 64 KiB.
    LongLists,
    /// Says that a packet of 256 KiB follows, and nothing more.
    LargePromise,
    /// Sends a version line of a megabyte.
    LongVersion,
    /// Offers keys that nobody knows, and passwords.
    Guess,
}

impl Habit {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Idle, Self::Dribble, Self::LongLists, Self::LargePromise, Self::LongVersion, Self::Guess];
}

/// What the strangers did so far.
#[derive(Debug, Default)]
pub struct Count {
    /// Connections that were opened.
    pub opened: AtomicU64,
    /// Connections that the gateway ended.
    pub ended: AtomicU64,
    /// Keys and passwords that were tried.
    pub guesses: AtomicU64,
}

/// A crowd that goes on until it is dropped.
pub struct Crowd {
    /// What it did.
    pub count: Arc<Count>,
    _runtime: tokio::runtime::Runtime,
}

/// `many` strangers of one habit who connect to `port` from `networks` neighbourhoods (/24), and again whenever they are
/// thrown out.
pub fn crowd(port: u16, habit: Habit, many: usize, networks: u8) -> Crowd {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let count = Arc::new(Count::default());
    let mut strangers = JoinSet::new();
    for number in 0..many {
        let (network, host) = (number % usize::from(networks), number / usize::from(networks) % 250);
        let from = Ipv4Addr::new(127, 10 + habit as u8, network as u8, host as u8 + 1);
        strangers.spawn_on(come_back(from, port, habit, Arc::clone(&count)), runtime.handle());
    }
    runtime.spawn(strangers.join_all());
    Crowd { count, _runtime: runtime }
}

async fn come_back(from: Ipv4Addr, port: u16, habit: Habit, count: Arc<Count>) {
    // As fast as one script with a thousand sockets can.
    let mut again = tokio::time::interval(Duration::from_secs(1));
    loop {
        again.tick().await;
        if visit(from, port, habit, &count).await.is_ok() {
            count.ended.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn visit(from: Ipv4Addr, port: u16, habit: Habit, count: &Count) -> std::io::Result<()> {
    let mut socket = connect(from, port).await?;
    count.opened.fetch_add(1, Ordering::Relaxed);
    match habit {
        Habit::Idle => {}
        Habit::Dribble => {
            for byte in b"SSH-2.0-slow".iter().cycle() {
                socket.write_all(&[*byte]).await?;
                let waiting = tokio::time::timeout(Duration::from_secs(10), end(&mut socket)).await;
                if waiting.is_ok() {
                    return Ok(());
                }
            }
        }
        Habit::LongLists => socket.write_all(&[&b"SSH-2.0-lists\r\n"[..], &lists(64 << 10)].concat()).await?,
        Habit::LargePromise => socket.write_all(b"SSH-2.0-promise\r\n\0\x04\0\0").await?,
        Habit::LongVersion => {
            let line = [&b"SSH-2.0-"[..], &vec![b'A'; 1 << 20], b"\r\n"].concat();
            // The gateway may be done before all is sent.
            let _ = socket.write_all(&line).await;
        }
        Habit::Guess => return guess(socket, count).await,
    }
    end(&mut socket).await;
    Ok(())
}

/// A connection from an address of this machine's loopback network.
pub async fn connect(from: Ipv4Addr, port: u16) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await
}

/// Reads until the gateway ends it.
async fn end(socket: &mut TcpStream) {
    let mut said = [0; 4096];
    while matches!(socket.read(&mut said).await, Ok(1..)) {}
}

/// A KEXINIT in the clear with ten lists of this many bytes in all.
fn lists(bytes: usize) -> Vec<u8> {
    let each = bytes / 10;
    let list = [&u32::try_from(each).unwrap().to_be_bytes()[..], &b"a,".repeat(each / 2 + 1)[..each]].concat();
    let payload = [&[20][..], &[7; 16], &list.repeat(10), &[0; 5]].concat();
    let length = u32::try_from(payload.len() + 5).unwrap();
    [&length.to_be_bytes()[..], &[4], &payload, &[0; 4]].concat()
}

async fn guess(socket: TcpStream, count: &Count) -> std::io::Result<()> {
    struct Anybody;
    impl client::Handler for Anybody {
        type Error = russh::Error;
        async fn check_server_key(&mut self, _: &russh::keys::PublicKeyOrCertificate) -> Result<bool, russh::Error> {
            Ok(true)
        }
    }
    let guessing = async {
        let mut session = client::connect_stream(Arc::default(), socket, Anybody).await?;
        for _ in 0..3 {
            let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519)?;
            count.guesses.fetch_add(2, Ordering::Relaxed);
            let _ = session.authenticate_publickey("root", PrivateKeyWithHashAlg::new(Arc::new(key), None)).await?;
            let _ = session.authenticate_password("root", "hunter2").await?;
        }
        Ok::<(), russh::Error>(())
    };
    let _ = guessing.await;
    Ok(())
}
