//! Devices that do what they may, without end.

use super::*;
use std::net::IpAddr;

#[tokio::test]
async fn a_device_that_comes_and_goes_without_end_is_recorded_so_often_and_then_sent_away() {
    let bench = Bench::new().await;
    let machine = bench.scene.machine("web1").await;
    let other = bench.scene.machine("web2").await;
    for _ in 0..limits::VISITS_BURST {
        let mut line = bench.call(&machine, Hello { policies: held(0), ..hello() }).await;
        assert!(matches!(line.hear().await, ToAgent::Welcome(_)));
        line.connection.close(0_u8.into(), b"");
    }
    let line = bench.call(&machine, hello()).await;
    assert_eq!(line.close_code().await, CloseCode::Busy);
    let mut line = bench.call(&other, Hello { policies: held(0), ..hello() }).await;
    assert!(matches!(line.hear().await, ToAgent::Welcome(_)), "its neighbour pays nothing");
    let came = bench.scene.count(LogName::Tenant(acme()), "device.connected").await;
    assert_eq!(came, limits::VISITS_BURST as usize + 1);
}

#[tokio::test]
async fn a_device_gets_no_certificate_on_the_connection_that_its_transport_key_opened() {
    let bench = Bench::new().await;
    let machine = bench.scene.machine("web1").await;
    let mut line = bench.call(&machine, Hello { policies: held(0), ..hello() }).await;
    assert!(matches!(line.hear().await, ToAgent::Welcome(_)));
    // Kind 7 was this request until every renewal had to be signed by the host key; now it is a kind like any unknown one.
    let csr = machine.transport.csr_der().unwrap();
    let body = [&[251][..], &u16::try_from(csr.len()).unwrap().to_le_bytes(), &csr].concat();
    let length = u32::try_from(body.len() + 3).unwrap().to_be_bytes();
    line.say(&[&length[..], &[0, 7, 1], &body].concat()).await;
    // What it says next is heard and what it lacks is offered, so the request was passed over.
    bench.scene.approve_unheard(&machine, 7).await;
    bench.scene.gateway.presence.wake(machine.join);
    assert!(matches!(line.hear().await, ToAgent::RecordOffered(_)));
}

#[tokio::test]
async fn a_caller_proves_its_address_first_when_too_many_have_not() {
    let bench = Bench::new().await;
    let unproved = Arc::clone(&bench.scene.gateway.unproved);
    let _held = unproved.try_acquire_many_owned(u32::try_from(limits::UNPROVED_MAX).unwrap()).unwrap();
    let machine = bench.scene.machine("web1").await;
    let mut line = bench.call(&machine, Hello { policies: held(0), ..hello() }).await;
    assert!(matches!(line.hear().await, ToAgent::Welcome(_)));
}

#[tokio::test]
async fn whoever_does_not_say_hello_makes_room_for_others_and_a_device_that_did_stays() {
    let bench = Bench::new().await;
    let machine = bench.scene.machine("web1").await;
    let mut line = bench.call(&machine, Hello { policies: held(0), ..hello() }).await;
    assert!(matches!(line.hear().await, ToAgent::Welcome(_)));
    let silent = [bench.dial(None, ALPN).await, bench.dial(None, ALPN_JOIN).await];
    let flood: IpAddr = Ipv4Addr::LOCALHOST.into();
    let crowd: Vec<Place> =
        (0..limits::MACHINE_PLACES_PER_NETWORK * 20).map(|_| bench.scene.gateway.threshold.admit(flood)).collect();
    let still = crowd.iter().filter(|place| !place.displaced().is_cancelled()).count();
    assert!(still <= limits::MACHINE_PLACES_PER_NETWORK);
    for connection in silent {
        let closed = timeout(GENEROUS, connection.closed()).await.unwrap();
        // Before the last packet of the handshake was read, the reason may not be told (RFC 9000 section 10.2.3).
        let told = matches!(closed, ConnectionError::ApplicationClosed(_) | ConnectionError::ConnectionClosed(_));
        assert!(told, "{closed}");
    }
    assert!(line.connection.close_reason().is_none());
}
