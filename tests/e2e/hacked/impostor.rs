//! A machine that is none: an SSH server that lets everybody in and keeps every command it is given.

use belay_tests::wait::Watched;
use russh::{
    Channel, ChannelId, Preferred,
    keys::{Certificate, PrivateKey},
    server::{Auth, ChannelOpenHandle, Config, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey, run_stream},
};
use std::{net::Ipv4Addr, sync::Arc};
use tokio::{
    net::TcpListener,
    runtime::{Handle, Runtime},
};

/// The server. Ends with this value.
pub struct Impostor {
    runtime: Option<Runtime>,
    heard: Arc<Watched<Vec<String>>>,
    /// Where it listens.
    pub port: u16,
}

impl Impostor {
    /// Serves with a host key, and a certificate where there is one.
    pub fn start(host_key: &str, certificate: Option<&str>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let config = Config {
            keys: vec![PrivateKey::from_openssh(host_key).unwrap()],
            certificates: certificate.map(|line| Certificate::from_openssh(line.trim()).unwrap()).into_iter().collect(),
            preferred: Preferred::DEFAULT,
            ..Config::default()
        };
        let door = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        door.set_nonblocking(true).unwrap();
        let port = door.local_addr().unwrap().port();
        let heard = Arc::<Watched<Vec<String>>>::default();
        let words = Words(Arc::clone(&heard));
        runtime.spawn(async move { serve(TcpListener::from_std(door).unwrap(), Arc::new(config), words).await });
        Self { runtime: Some(runtime), heard, port }
    }

    /// Every command that somebody gave it.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().clone()
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

async fn serve(door: TcpListener, config: Arc<Config>, words: Words) {
    while let Ok((stream, _)) = door.accept().await {
        let (config, words) = (Arc::clone(&config), words.clone());
        Handle::current().spawn(async move {
            if let Ok(running) = run_stream(config, stream, words).await {
                let _ = running.await;
            }
        });
    }
}

#[derive(Clone)]
struct Words(Arc<Watched<Vec<String>>>);

impl Handler for Words {
    type Error = russh::Error;

    async fn auth_publickey_offered(&mut self, _: &str, _: PublicKeyOffer<'_>) -> Result<Auth, russh::Error> {
        Ok(Auth::Accept)
    }

    async fn auth_publickey(&mut self, _: &str, _: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(&mut self, id: ChannelId, command: &[u8], session: &mut Session) -> Result<(), russh::Error> {
        self.0.change(|heard| heard.push(String::from_utf8_lossy(command).into_owned()));
        session.channel_success(id)?;
        session.exit_status_request(id, 0)?;
        session.close(id)
    }
}
