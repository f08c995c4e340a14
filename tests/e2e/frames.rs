//! Frames that no honest agent sends, at both doors for machines: each ends its own connection with the code that says why,
//! and nothing else.

#[path = "parts/dial.rs"]
mod dial;

use belay_protocol::{
    ALPN, ALPN_JOIN, CloseCode, Extensions, JoinAsked, MINOR, Message, StatementMade, Welcome, encode_frame,
    limits::{HEAD_BYTES_COUNTED, UNKNOWN_FRAMES_MAX},
};
use belay_tests::{World, wait::GENEROUS};
use dial::{dial, hello};
use quinn::ConnectionError;

/// A kind that no version knows.
const UNKNOWN_KIND: u16 = 60_000;

/// What is sent, and how it ends.
struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    /// Whether the sender then says that there is no more.
    then: Then,
    code: Option<CloseCode>,
}

#[derive(PartialEq, Eq)]
enum Then {
    Waits,
    Finishes,
}

impl Case {
    fn new(name: &'static str, bytes: Vec<u8>, code: CloseCode) -> Self {
        Self { name, bytes, then: Then::Waits, code: Some(code) }
    }
}

/// A frame whose head says `claimed` bytes of body, with what body there is.
fn frame(kind: u16, version: u8, claimed: usize, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(claimed.saturating_add(HEAD_BYTES_COUNTED)).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &kind.to_be_bytes(), &[version], body].concat()
}

/// Plays a case; says what was wrong about how the gateway ended the connection.
async fn play(world: &World, protocol: &[u8], device: Option<&str>, case: Case) -> Option<String> {
    let (_endpoint, connection) = dial(world, protocol, device).await;
    let ended = async {
        if let Ok((mut send, mut recv)) = connection.open_bi().await {
            // The gateway may be done with us before all is sent.
            let _ = send.write_all(&case.bytes).await;
            if case.then == Then::Finishes {
                let _ = send.finish();
            }
            let mut answer = [0; 512];
            while let Ok(Some(_)) = recv.read(&mut answer).await {}
        }
        connection.closed().await
    };
    let ended = tokio::time::timeout(GENEROUS, ended).await;
    let Ok(ended) = ended else { return Some(format!("{}: the gateway keeps the connection", case.name)) };
    let code = match &ended {
        ConnectionError::ApplicationClosed(close) => CloseCode::from_code(close.error_code.into_inner()),
        other => return Some(format!("{}: {other}", case.name)),
    };
    println!("{}: {}", case.name, code.map_or("an unknown code", CloseCode::name));
    let wrong = case.code.is_some() && code != case.code;
    wrong.then(|| format!("{}: ended with {code:?}, not {:?}", case.name, case.code))
}

fn statement() -> StatementMade {
    StatementMade { seq: 1, text: "{}".into(), signature: String::new(), consistency_from: 0, origin: String::new() }
}

fn welcome() -> Welcome {
    Welcome {
        minor: MINOR,
        gateway_version: "0.1.0".to_owned(),
        state: Welcome::APPROVED,
        now_micros: 0,
        extensions: Extensions::default(),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn the_door_for_joining_ends_whatever_is_no_join() {
    let world = World::shared();
    let hello = encode_frame(&hello()).unwrap();
    let cases = vec![
        Case::new("four gigabytes", frame(JoinAsked::KIND, JoinAsked::VERSION, usize::MAX, &[]), CloseCode::OverLimit),
        Case::new(
            "one byte over the limit",
            frame(JoinAsked::KIND, JoinAsked::VERSION, JoinAsked::BYTES_MAX + 1, &[]),
            CloseCode::OverLimit,
        ),
        Case::new("a length of nothing", vec![0; 64], CloseCode::Malformed),
        Case::new("a body of noise", frame(JoinAsked::KIND, JoinAsked::VERSION, 64, &[0xff; 64]), CloseCode::Malformed),
        Case::new("a hello", hello.clone(), CloseCode::OutOfPhase),
        Case::new("what only a gateway says", encode_frame(&welcome()).unwrap(), CloseCode::OutOfPhase),
        Case::new(
            "a version of tomorrow",
            frame(JoinAsked::KIND, JoinAsked::VERSION + 1, 4, &[0; 4]),
            CloseCode::Incompatible,
        ),
        Case::new("an unknown kind", frame(UNKNOWN_KIND, 1, 0, &[]), CloseCode::OutOfPhase),
        Case {
            name: "a frame cut off",
            bytes: frame(JoinAsked::KIND, JoinAsked::VERSION, 1000, &[1; 10]),
            then: Then::Finishes,
            code: None,
        },
    ];
    let mut wrong = Vec::new();
    runtime().block_on(async {
        for case in cases {
            wrong.extend(play(&world, ALPN_JOIN, None, case).await);
        }
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
    world.person("tech").gw("devices").must();
}

#[test]
fn the_door_for_devices_ends_whatever_breaks_the_order() {
    let world = World::new();
    let tech = world.person("tech");
    world.stop_agent("web1.acme").unwrap();
    let (hello, said) = (encode_frame(&hello()).unwrap(), encode_frame(&statement()).unwrap());
    // Kinds of tomorrow are skipped and counted, up to a limit.
    let unknown = frame(UNKNOWN_KIND, 1, 0, &[]).repeat(UNKNOWN_FRAMES_MAX as usize + 1);
    let cases = vec![
        Case::new("a statement before hello", said.clone(), CloseCode::OutOfPhase),
        Case::new("what only a gateway says", encode_frame(&welcome()).unwrap(), CloseCode::OutOfPhase),
        Case::new("hello twice", [hello.clone(), hello.clone()].concat(), CloseCode::OutOfPhase),
        Case::new(
            "too large after hello",
            [hello.clone(), frame(StatementMade::KIND, StatementMade::VERSION, StatementMade::BYTES_MAX + 1, &[])]
                .concat(),
            CloseCode::OverLimit,
        ),
        Case::new("a thousand unknown kinds", [hello.clone(), unknown].concat(), CloseCode::TooManyUnknown),
        Case { name: "a statement of nothing", bytes: [hello.clone(), said].concat(), then: Then::Waits, code: None },
        Case {
            name: "a frame cut off",
            bytes: [hello.clone(), frame(StatementMade::KIND, StatementMade::VERSION, 1000, &[1; 10])].concat(),
            then: Then::Finishes,
            code: None,
        },
    ];
    let mut wrong = Vec::new();
    runtime().block_on(async {
        for case in cases {
            wrong.extend(play(&world, ALPN, Some("web1.acme"), case).await);
        }
        let nobody = Case::new("a device without a certificate", hello, CloseCode::NotAdmitted);
        wrong.extend(play(&world, ALPN, None, nobody).await);
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Nobody else noticed, nothing was recorded as said by the device, and the true one comes back.
    assert_eq!(tech.ssh("db1.acme", "echo untouched").must().out(), "untouched\n");
    world.start_agent("web1.acme").unwrap();
    world.until_online("web1.acme").unwrap();
    tech.belay(["log", "verify", "acme"]).unwrap().must();
}
