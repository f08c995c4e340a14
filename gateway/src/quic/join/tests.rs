//! Devices whose certificate has ended, and callers who would like to be one; over real QUIC on the loopback.

use super::{super::device::tests::*, *};
use crate::scene::{Machine, acme, key};
use belay_certs::{
    Id, PrivateKey,
    renewal::{RenewalRequest, sign},
    transport::{ClientKey, client_id},
};
use belay_protocol::{ALPN, ALPN_JOIN, AgentPhase, RenewalAsked, ToAgent, encode_frame};
use rustls::{
    NamedGroup,
    client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue},
    pki_types::ServerName,
};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the holder of `host_key` is answered who asks for a certificate of `join` on `connection`, naming `channel`.
async fn asked(
    connection: &Connection,
    join: Id,
    host_key: &PrivateKey,
    transport: &ClientKey,
    named: Digest,
) -> RenewalAnswer {
    let request =
        RenewalRequest { join, transport_key: transport.spki_digest(), channel: named, issued: crate::scene::now() };
    let (request, by_host_key) = sign(&request, host_key).unwrap();
    let asked = RenewalAsked { request, by_host_key, csr: transport.csr_der().unwrap() };
    let (mut send, recv) = connection.open_bi().await.unwrap();
    frames::write(&mut send, &encode_frame(&asked).unwrap()).await.unwrap();
    let frame = Frames::new(recv, AgentPhase::AwaitingAnswer).next().await.unwrap();
    RenewalAnswer::decode(&frame).unwrap().unwrap()
}

#[track_caller]
fn sentence(answer: RenewalAnswer) -> String {
    match answer {
        RenewalAnswer::JoinRefused(refused) => refused.sentence,
        RenewalAnswer::CertificateIssued(_) => panic!("a certificate was issued"),
    }
}

#[tokio::test]
async fn a_device_gets_a_certificate_for_a_new_key_by_its_host_key() {
    let bench = Bench::new().await;
    let machine = bench.scene.machine("web1").await;
    let connection = bench.dial(None, ALPN_JOIN).await;
    let (new, named) = (ClientKey::generate().unwrap(), channel(&connection).unwrap());
    let answer = asked(&connection, machine.join, &machine.host_key, &new, named).await;
    let RenewalAnswer::CertificateIssued(CertificateIssued { chain }) = answer else { panic!("{answer:?}") };
    assert_eq!(client_id(&chain[0]).unwrap(), machine.join);
    let back = Machine { chain, transport: new, ..machine };
    let mut line = bench.call(&back, hello()).await;
    assert!(matches!(line.hear().await, ToAgent::Welcome(_)));
}

#[tokio::test]
async fn whoever_does_not_prove_the_host_key_on_this_very_connection_hears_one_text() {
    let bench = Bench::new().await;
    let machine = bench.scene.machine("web1").await;
    let (first, new) = (bench.dial(None, ALPN_JOIN).await, ClientKey::generate().unwrap());
    let elsewhere = channel(&first).unwrap();
    let mut told = Vec::new();
    // The second has stolen the transport key, and shows the device's own certificate.
    for (shown, join, host_key, here) in [
        (None, machine.join, key(), true),
        (Some(&machine), machine.join, key(), true),
        (None, machine.join, machine.host_key.clone(), false),
        (None, Id([9; 16]), machine.host_key.clone(), true),
    ] {
        let connection = bench.dial(shown, ALPN_JOIN).await;
        let named = if here { channel(&connection).unwrap() } else { elsewhere };
        told.push(sentence(asked(&connection, join, &host_key, &new, named).await));
    }
    assert!(told[0].contains("not signed by the host key"), "{told:?}");
    assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{told:?}");
}

#[tokio::test]
async fn a_device_that_asks_for_certificates_without_end_gets_a_few_and_its_neighbour_pays_nothing() {
    let bench = Bench::new().await;
    let (machine, other) = (bench.scene.machine("web1").await, bench.scene.machine("web2").await);
    let new = ClientKey::generate().unwrap();
    let ask = async |machine: &Machine| {
        let connection = bench.dial(None, ALPN_JOIN).await;
        let named = channel(&connection).unwrap();
        asked(&connection, machine.join, &machine.host_key, &new, named).await
    };
    for _ in 0..limits::CERTIFICATES_BURST {
        assert!(matches!(ask(&machine).await, RenewalAnswer::CertificateIssued(_)));
    }
    let told = sentence(ask(&machine).await);
    assert!(told.contains("gets the next one later"), "{told}");
    assert!(matches!(ask(&other).await, RenewalAnswer::CertificateIssued(_)));
}

#[tokio::test]
async fn a_revoked_device_is_told_so_and_gets_nothing() {
    let bench = Bench::new().await;
    let machine = bench.scene.machine("web1").await;
    bench.scene.approve_unheard(&machine, 7).await;
    let second = bench.scene.keys.policy(Some((0, &bench.scene.first)), &[7]);
    bench.scene.push(second).await;
    let connection = bench.dial(None, ALPN_JOIN).await;
    let (new, named) = (ClientKey::generate().unwrap(), channel(&connection).unwrap());
    let told = sentence(asked(&connection, machine.join, &machine.host_key, &new, named).await);
    assert!(told.contains("is revoked by policy version 1"), "{told}");
    assert_eq!(bench.scene.count(acme().into(), "device.connected").await, 0);
}

/// Keeps nothing and counts what it is given.
#[derive(Debug, Default)]
struct Tickets(AtomicUsize);

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}

#[tokio::test]
async fn a_caller_who_would_resume_gets_no_ticket_from_the_gateway() {
    let bench = Bench::new().await;
    let machine = bench.scene.machine("web1").await;
    let tickets = Arc::new(Tickets::default());
    let connection = bench.dial_with(Some(&machine), ALPN, Resumption::store(tickets.clone())).await;
    let (mut send, recv) = connection.open_bi().await.unwrap();
    frames::write(&mut send, &encode_frame(&hello()).unwrap()).await.unwrap();
    // A ticket would have come before the welcome: it follows the handshake at once.
    let welcome = Frames::new(recv, AgentPhase::AwaitingWelcome).next().await.unwrap();
    assert!(matches!(ToAgent::decode(&welcome).unwrap(), Some(ToAgent::Welcome(_))));
    assert_eq!(tickets.0.load(Ordering::Relaxed), 0);
}
