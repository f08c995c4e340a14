//! A machine that asks to join with whatever a test puts into its request, and reads the gateway's answer.

use super::wire::Frames;
use belay_certs::{
    Digest, Id, PrivateKey, Timestamp,
    join::{self, JoinRequest},
    token::{Token, TokenFile},
    transport::ClientKey,
};
use belay_protocol::{ALPN_JOIN, AgentPhase, CloseCode, JoinAnswer, JoinAsked, encode_frame};
use quinn::{ClientConfig, Endpoint, VarInt, crypto::rustls::QuicClientConfig};
use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::SystemTime,
};

/// A request as `belay-agent join` makes it, for a machine of its own called `name` with this host key.
pub fn request(file: &TokenFile, name: &str, host_key: &PrivateKey) -> JoinAsked {
    let (token, transport) = (Token::parse(&file.token.bytes).unwrap(), ClientKey::generate().unwrap());
    let request = JoinRequest {
        tenant: token.tenant,
        token: Digest::of(&file.token.bytes),
        host_key: host_key.public().clone(),
        transport_key: transport.spki_digest(),
        name: name.parse().unwrap(),
        machine_id: Digest::of(&host_key.public().blob()),
        nonce: Id::random().unwrap(),
        issued: Timestamp::from_system(SystemTime::now()).whole_second(),
    };
    let signed = join::sign(&request, &file.join_key, host_key).unwrap();
    JoinAsked {
        token: file.token.bytes.clone(),
        token_signature: file.token.signatures[0].clone(),
        request: signed.bytes,
        by_join_key: signed.by_join_key,
        by_host_key: signed.by_host_key,
        csr: transport.csr_der().unwrap(),
    }
}

/// Asks the gateway on a loopback port, whoever it is.
pub fn ask(port: u16, asked: &JoinAsked) -> JoinAnswer {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let answer = ask_over(&endpoint, port, asked).await;
        endpoint.wait_idle().await;
        answer
    })
}

/// Asks the gateway on a loopback port over this endpoint.
pub fn ask_over(
    endpoint: &Endpoint,
    port: u16,
    asked: &JoinAsked,
) -> impl Future<Output = JoinAnswer> + Send + 'static {
    let (endpoint, frame) = (endpoint.clone(), encode_frame(asked).unwrap());
    async move {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let connection = endpoint.connect_with(config(), to, "gw.example").unwrap().await.unwrap();
        let (mut send, recv) = connection.open_bi().await.unwrap();
        send.write_all(&frame).await.unwrap();
        let frame = Frames::new(recv, AgentPhase::AwaitingAnswer).next().await.unwrap();
        connection.close(VarInt::from_u32(CloseCode::Finished.code()), b"");
        JoinAnswer::decode(&frame).unwrap().unwrap()
    }
}

/// Asks, and must be refused: the gateway's sentence.
pub fn ask_in_vain(port: u16, asked: &JoinAsked) -> String {
    match ask(port, asked) {
        JoinAnswer::JoinRefused(refused) => refused.sentence,
        JoinAnswer::JoinAccepted(_) => panic!("the gateway accepted it"),
    }
}

fn config() -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN_JOIN.to_vec()];
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}

/// This machine does not care whom it speaks with.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
