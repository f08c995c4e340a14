//! A client that opens a session channel on the gateway and pours input into it without ever saying for what: it loses
//! that channel, and the rest of its connection goes on. Stock `ssh` cannot be made to do this.

use belay_tests::World;
use russh::{
    ChannelMsg,
    client::{self, AuthResult},
    keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate, load_secret_key},
};
use std::{sync::Arc, time::Duration};

/// Long enough for a loaded machine; a parked connection never answers.
const GENEROUS: Duration = Duration::from_secs(60);

/// Believes any host key: what the gateway shows is not what is tested here.
struct Anyone;

impl client::Handler for Anyone {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _key: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

#[tokio::test]
async fn input_without_a_command_holds_up_nobody_else() {
    let bring_up = || {
        let world = World::shared();
        let key = load_secret_key(world.person("tech").key(), None).unwrap();
        (world, key)
    };
    let (world, key) = tokio::task::spawn_blocking(bring_up).await.unwrap();
    let address = ("127.0.0.1", world.ssh_port());
    let talking = async {
        let mut ssh = client::connect(Arc::new(client::Config::default()), address, Anyone).await.unwrap();
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
        assert!(matches!(ssh.authenticate_publickey("any", key).await.unwrap(), AuthResult::Success));
        let silent = ssh.channel_open_session().await.unwrap();
        for _ in 0..60 {
            // Small pieces fill the queue of messages long before the window is full.
            let _ = silent.data(&b"for nobody"[..]).await;
        }
        let mut asking = ssh.channel_open_session().await.unwrap();
        asking.exec(true, "help").await.unwrap();
        let mut heard = Vec::new();
        while let Some(message) = asking.wait().await {
            match message {
                ChannelMsg::Data { data } => heard.extend_from_slice(&data),
                ChannelMsg::ExitStatus { exit_status } => assert_eq!(exit_status, 0),
                _ => {}
            }
        }
        String::from_utf8(heard).unwrap()
    };
    let heard = tokio::time::timeout(GENEROUS, talking).await.expect("the connection is parked");
    assert!(heard.contains("devices"), "{heard}");
    tokio::task::spawn_blocking(|| drop(world)).await.unwrap();
}
