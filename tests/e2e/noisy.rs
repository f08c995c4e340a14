//! A technician of one tenant, or whoever has the key, who does what is allowed without end: another tenant works on, and the
//! gateway stays as small.

#[path = "flooding/meanwhile.rs"]
mod meanwhile;
#[path = "flooding/measure.rs"]
mod measure;

use belay_tests::{World, world::Held};
use meanwhile::{meanwhile, times};
use russh::{
    ChannelMsg, client,
    keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate, load_secret_key},
};
use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

struct Anybody;

impl client::Handler for Anybody {
    type Error = russh::Error;
    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

type Session = client::Handle<Anybody>;

/// A login at the gateway with the technician's key.
async fn log_in(world: &World) -> Session {
    let key = Arc::new(load_secret_key(world.person("tech").key(), None).unwrap());
    let address = (Ipv4Addr::LOCALHOST, world.ssh_port());
    let mut session = client::connect(Arc::default(), address, Anybody).await.unwrap();
    let done = session.authenticate_publickey("x", PrivateKeyWithHashAlg::new(key, None)).await.unwrap();
    assert!(done.success());
    session
}

/// Runs a command to its end; whether it was let in and ended well.
async fn command(session: &Session, line: &str) -> bool {
    let Ok(mut channel) = session.channel_open_session().await else { return false };
    if channel.exec(true, line).await.is_err() {
        return false;
    }
    let mut good = false;
    while let Some(message) = channel.wait().await {
        good |= matches!(message, ChannelMsg::ExitStatus { exit_status: 0 });
    }
    good
}

/// `workers` tasks that do something `each` times.
async fn in_parallel<W>(workers: usize, each: usize, work: impl Fn() -> W + Clone + Send + 'static)
where
    W: Future<Output = ()> + Send,
{
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..workers {
        let work = work.clone();
        tasks.spawn(async move {
            for _ in 0..each {
                work().await;
            }
        });
    }
    tasks.join_all().await;
}

#[test]
fn whatever_a_technician_does_without_end_another_tenant_works_on() {
    let world = Arc::new(World::new());
    meanwhile(&world, "commands of the gateway", |world, done| async move {
        let session = Arc::new(log_in(&world).await);
        in_parallel(32, times(50, 500), move || {
            let (session, done) = (Arc::clone(&session), Arc::clone(&done));
            async move {
                done.fetch_add(u64::from(command(&session, "devices").await), Ordering::Relaxed);
            }
        })
        .await;
    });
    meanwhile(&world, "jumps opened and closed", |world, done| async move {
        let session = Arc::new(log_in(&world).await);
        in_parallel(16, times(50, 500), move || jump(Arc::clone(&session), "web1.acme", Arc::clone(&done))).await;
    });
    meanwhile(&world, "jumps to what is not there", |world, done| async move {
        let session = Arc::new(log_in(&world).await);
        in_parallel(16, times(50, 500), move || jump(Arc::clone(&session), "web7.acme", Arc::clone(&done))).await;
    });
    meanwhile(&world, "logins", |world, done| async move {
        for _ in 0..times(100, 1_000) {
            drop(log_in(&world).await);
            done.fetch_add(1, Ordering::Relaxed);
        }
    });
    world.hold_agent("db1.acme", Held::Still);
    meanwhile(&world, "megabytes for a device that does not read", |world, done| async move {
        let session = log_in(&world).await;
        let mut ways = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let way = session.channel_open_direct_tcpip("db1.acme", 22, "127.0.0.1", 1).await.unwrap();
            let (_reading, writing) = way.split();
            let done = Arc::clone(&done);
            ways.spawn(async move {
                let chunk = vec![b'x'; 1 << 20];
                // Parked after a while: more never leaves.
                let sending = async {
                    while writing.data_bytes(chunk.clone()).await.is_ok() {
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                };
                let _ = tokio::time::timeout(std::time::Duration::from_secs(5), sending).await;
            });
        }
        ways.join_all().await;
    });
    world.hold_agent("db1.acme", Held::Running);
}

async fn jump(session: Arc<Session>, to: &'static str, done: Arc<AtomicU64>) {
    if let Ok(mut way) = session.channel_open_direct_tcpip(to, 22, "127.0.0.1", 1).await {
        let _ = way.wait().await;
        let _ = way.close().await;
        done.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn channels_opened_and_closed_without_end_cost_little_and_come_to_an_end() {
    let world = Arc::new(World::new());
    meanwhile(&world, "channels opened and closed", |world, done| async move {
        let session = Arc::new(log_in(&world).await);
        in_parallel(64, times(40, 200), move || {
            let (session, done) = (Arc::clone(&session), Arc::clone(&done));
            async move {
                if let Ok(channel) = session.channel_open_session().await {
                    done.fetch_add(1, Ordering::Relaxed);
                    let _ = channel.close().await;
                }
            }
        })
        .await;
    });
    meanwhile(&world, "requests on one channel", |world, done| async move {
        let session = log_in(&world).await;
        let channel = session.channel_open_session().await.unwrap();
        for number in 0..times(5_000, 100_000) {
            let sent = match number % 3 {
                0 => channel.set_env(true, "LANG", "C").await,
                1 => channel.window_change(80, 24, 0, 0).await,
                _ => channel.request_subsystem(true, "sftp").await,
            };
            if sent.is_err() {
                break;
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
    });
}
