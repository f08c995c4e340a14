//! How a machine joins, and everything by which it does not: each no is one sentence, and nothing is half done.

#[path = "hacked/false_gateway.rs"]
mod false_gateway;
#[path = "hacked/machine.rs"]
mod machine;
#[path = "hacked/wire.rs"]
mod wire;

use belay_certs::{
    Digest, Id, Namespace, PrivateKey, Signed, Timestamp, envelope,
    join::JoinRequest,
    sshsig::sign,
    time::DAY,
    token::{Token, TokenFile},
    transport::{ClientKey, TransportCa},
};
use belay_protocol::{JoinAccepted, JoinAnswer, JoinAsked, PolicyBytes};
use belay_tests::{Person, Plan, Said, World, plan::Tenant, programs::programs, run, wait::GENEROUS};
use false_gateway::{FalseGateway, Seen};
use machine::{ask, ask_in_vain, request};
use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// A refusal of `belay-agent`.
const REFUSED: i32 = 1;
/// ssh's own, for a connection that did not come about.
const NO_CONNECTION: i32 = 255;

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

/// A token file as `belay token` makes it.
fn token(world: &World, tenant: &str, name: &str, more: &[&str]) -> PathBuf {
    let file = world.dir().join(format!("{name}.token"));
    world.make_token(tenant, &file, more).unwrap();
    file
}

fn read(file: &Path) -> TokenFile {
    TokenFile::parse(&fs::read(file).unwrap()).unwrap()
}

/// The token in `file`, changed and signed again by `signer`; the gateway never saw it.
fn resigned(file: &Path, signer: &Person, change: impl FnOnce(&mut Token)) -> TokenFile {
    let TokenFile { token: signed, join_key } = read(file);
    let mut token = Token::parse(&signed.bytes).unwrap();
    change(&mut token);
    let bytes = token.to_text().into_bytes();
    let signatures = vec![Person::sign(&signer.key(), "token.v1@belay", &bytes).unwrap()];
    TokenFile { token: Signed { bytes, signatures }, join_key }
}

fn write(world: &World, name: &str, token: &TokenFile) -> PathBuf {
    let file = world.dir().join(format!("{name}.token"));
    fs::write(&file, token.to_text().unwrap()).unwrap();
    file
}

/// A machine called `device` does not join, for this reason, and is as it was before.
fn does_not_join(world: &World, device: &str, token: &Path, reason: &str) {
    world.join(device, token).unwrap().must_refuse(REFUSED, &["belay-agent: ", reason]);
    assert!(!world.agent_dir(device).join("pin.json").exists(), "{device} is pinned");
    agent(world, "run", device).must_refuse(REFUSED, &["this machine has not joined"]);
}

fn agent(world: &World, command: &str, device: &str) -> Said {
    run(programs().unwrap().agent().args(command.split(' ')).arg("--state").arg(world.agent_dir(device)), b"").unwrap()
}

/// Entries of one type about one device, oldest first.
fn entries(world: &World, kind: &str, device: &str) -> Vec<serde_json::Value> {
    let about = |entry: &serde_json::Value| entry["device"] == device || entry["name"] == device;
    world.person("tech").log("acme").into_iter().filter(|entry| entry["type"] == kind && about(entry)).collect()
}

#[test]
fn a_token_that_does_not_count_joins_nothing_and_says_why() {
    let world = World::shared();
    let (tech, other) = (world.person("tech"), world.person("other"));
    let good = token(&world, "acme", "good", &["--name", "x*"]);
    let expired = resigned(&good, &tech, |token| {
        (token.issued, token.expires) = (token.issued.plus(-2 * DAY), token.issued.plus(-DAY));
    });
    let unknown = resigned(&good, &tech, |token| token.id = Id::random().unwrap());
    let by_other = resigned(&good, &other, |token| token.id = Id::random().unwrap());
    let for_globex = resigned(&good, &tech, |token| token.tenant = "globex".parse().unwrap());
    let cases = [
        ("expired", &expired, "the token expired at 20"),
        ("unknown", &unknown, "the gateway refused the join: this token is not known here"),
        ("by-other", &by_other, "the gateway refused the join: this token does not count here"),
        ("for-globex", &for_globex, "the gateway refused the join: this token does not count here"),
    ];
    for (name, token, reason) in cases {
        does_not_join(&world, &format!("x-{name}.acme"), &write(&world, name, token), reason);
    }
    does_not_join(&world, "other-name.acme", &good, "the token is for names like x*, not other-name");
    // One word of the signed text is another.
    let altered = world.dir().join("altered.token");
    fs::write(&altered, fs::read_to_string(&good).unwrap().replace("uses = 1\n", "uses = 1000\n")).unwrap();
    does_not_join(&world, "x-altered.acme", &altered, "cannot be used: the token file");
    does_not_join(&world, "x-none.acme", &world.dir().join("none.token"), "there is no such file");
    // The token itself is good.
    world.join("x1.acme", &good).unwrap().must();
    does_not_join(&world, "x2.acme", &good, "the token was for 1 devices and all of them have joined");
}

#[test]
fn the_gateway_checks_what_a_machine_of_ours_would_not_send() {
    let world = World::shared();
    let (tech, port) = (world.person("tech"), world.quic_port());
    let file = token(&world, "acme", "checked", &["--name", "y*", "--uses", "2"]);
    let (good, key) = (read(&file), PrivateKey::generate_ed25519("").unwrap());
    let honest = request(&good, "y1", &key);
    let expired = resigned(&file, &tech, |token| {
        (token.issued, token.expires) = (token.issued.plus(-2 * DAY), token.issued.plus(-DAY));
    });
    let stranger = PrivateKey::generate_ed25519("").unwrap();
    let by_itself = TokenFile { join_key: stranger.clone(), ..good.clone() };
    let cases = [
        ("expired", request(&expired, "y1", &key), "the token: expired at 20"),
        ("another name", request(&good, "z1", &key), "the token is for names like y*"),
        ("no join key", request(&by_itself, "y1", &key), "the first signature is not by the token's join key"),
        ("join key as host key", request(&good, "y1", &good.join_key), "the join key must not serve as the host key"),
        ("another csr", JoinAsked { csr: csr(), ..honest.clone() }, "the certificate request has another key"),
        ("swapped", swapped(honest.clone(), &stranger), "the join request"),
    ];
    for (case, asked, reason) in &cases {
        let sentence = ask_in_vain(port, asked);
        assert!(sentence.contains(reason), "{case}: {sentence}");
    }
    assert_eq!(entries(&world, "device.pending", "y1").len(), 0, "something of it was recorded");
    assert!(matches!(ask(port, &honest), JoinAnswer::JoinAccepted(_)));
    // A second machine may not take the name, and the same key may not take a second name.
    let sentence = ask_in_vain(port, &request(&good, "y1", &stranger));
    assert!(sentence.contains("the name y1 is taken by a device that is pending"), "{sentence}");
    let sentence = ask_in_vain(port, &request(&good, "y2", &key));
    assert!(sentence.contains("this host key belongs to device y1 already"), "{sentence}");
}

fn csr() -> Vec<u8> {
    ClientKey::generate().unwrap().csr_der().unwrap()
}

/// What somebody on the way makes of a request: their own host key in it, signed with that. The join key they have not.
fn swapped(asked: JoinAsked, own: &PrivateKey) -> JoinAsked {
    let honest = JoinRequest::parse(&asked.request).unwrap();
    let text = JoinRequest { host_key: own.public().clone(), ..honest }.to_text();
    let by_host_key = sign(Namespace::Join, text.as_bytes(), own).unwrap();
    JoinAsked { request: text.into_bytes(), by_host_key, ..asked }
}

#[test]
fn whoever_has_no_token_learns_nothing_about_tenants() {
    let world = World::shared();
    let (port, mallory) = (world.quic_port(), world.stranger("mallory").unwrap());
    let file = token(&world, "acme", "template", &[]);
    let key = PrivateKey::generate_ed25519("").unwrap();
    let told = |tenant: &str, change: &dyn Fn(&mut Token)| {
        let token = resigned(&file, &mallory, |token| {
            token.tenant = tenant.parse().unwrap();
            change(token);
        });
        ask_in_vain(port, &request(&token, "web9", &key))
    };
    let nowhere = told("nowhere", &|_| {});
    for tenant in ["acme", "globex"] {
        assert_eq!(told(tenant, &|_| {}), nowhere);
        assert_eq!(told(tenant, &|token| token.policy_version = 1_000), nowhere);
        assert_eq!(told(tenant, &|token| token.policy0 = Digest::of(b"another")), nowhere);
    }
    // Neither by words that nobody signed.
    let altered = |tenant: &str| {
        let TokenFile { mut token, join_key } = read(&file);
        token.bytes = String::from_utf8(token.bytes).unwrap().replace("\"acme\"", &format!("{tenant:?}")).into_bytes();
        ask_in_vain(port, &request(&TokenFile { token, join_key }, "web9", &key))
    };
    assert_eq!(altered("globex"), altered("nowhere"));
    assert_eq!(altered("globex"), nowhere);
}

#[test]
fn nothing_is_said_to_a_gateway_of_another_ca() {
    let world = World::shared();
    let tech = world.person("tech");
    let good = token(&world, "acme", "fingerprint", &["--name", "f*"]);
    let stranger = TransportCa::generate("gw.example", now())
        .unwrap()
        .issue_server("gw.example", now(), belay_certs::time::DAY)
        .unwrap();
    // Everybody can read the true CA's certificate: here it stands behind a leaf that it never signed.
    let true_ca = ca(&world);
    let borrowed = vec![stranger.chain[0].clone(), true_ca.certificate_der().to_vec()];
    for (name, chain) in [("f1", &stranger.chain), ("f2", &borrowed)] {
        let rogue = FalseGateway::start(chain, stranger.key_der.clone(), |_| panic!("it was asked"));
        let led_astray = resigned(&good, &tech, |token| token.addresses = vec![rogue.address()]);
        let why = "no gateway was reached, so nothing was asked: ";
        does_not_join(&world, &format!("{name}.acme"), &write(&world, name, &led_astray), why);
        assert_eq!(rogue.seen(), Seen { left: 1, met: 0, asked: 0 }, "it said more than hello to a stranger");
    }
    // The other way round: the true gateway, and a token with another fingerprint.
    let elsewhere = resigned(&good, &tech, |token| token.transport_ca = vec![Digest::of(b"another")]);
    let file = write(&world, "elsewhere", &elsewhere);
    does_not_join(&world, "f3.acme", &file, "no gateway was reached, so nothing was asked: ");
    world.join("f4.acme", &good).unwrap().must();
}

/// A gateway with the true transport CA, which answers as it likes.
fn hacked(world: &World, answer: impl Fn(JoinAsked) -> JoinAnswer + Send + Sync + 'static) -> FalseGateway {
    let shown = ca(world).issue_server("gw.example", now(), belay_certs::time::DAY).unwrap();
    FalseGateway::start(&shown.chain, shown.key_der, answer)
}

#[test]
fn a_key_swapped_on_the_way_is_refused_and_an_answer_altered_on_the_way_not_believed() {
    let world = World::shared();
    let (tech, port) = (world.person("tech"), world.quic_port());
    let good = token(&world, "acme", "relayed", &["--name", "r*"]);
    // Tokens that lead through somebody else, and that the true gateway knows.
    let leading_to = |gateway: &FalseGateway, name: &str| {
        let led = resigned(&good, &tech, |token| {
            (token.id, token.addresses) = (Id::random().unwrap(), vec![gateway.address()]);
        });
        tech.gw_with_input("token acme", &envelope::join(&led.token)).must();
        (format!("{name}.acme"), write(&world, name, &led))
    };
    let own = PrivateKey::generate_ed25519("").unwrap();
    let swapping = hacked(&world, move |asked| ask(port, &swapped(asked, &own)));
    let (device, file) = leading_to(&swapping, "r1");
    does_not_join(&world, &device, &file, "the gateway refused the join: the join request of r1: ");
    assert_eq!(entries(&world, "device.pending", "r1").len(), 0, "the swapped key was recorded");
    // Whoever only passes on is no harm.
    let honest = hacked(&world, move |asked| ask(port, &asked));
    let (device, file) = leading_to(&honest, "r9");
    world.join(&device, &file).unwrap().must();
    // Answers that the true gateway would never give; the certificate is a real one, for whom it may concern.
    let of = |tenant: &str| chain(&world, tenant);
    let (acme, globex) = (of("acme"), of("globex"));
    let mut forged = acme.clone();
    forged[0].bytes.extend_from_slice(b"# and one more line\n");
    let cases = [
        ("r2", globex, "it holds back the policy of acme"),
        ("r3", forged, "signatures it needs"),
        ("r4", acme[..acme.len() - 1].to_vec(), "it holds back the policy of acme"),
        ("r5", Vec::new(), "it holds back the policy of acme"),
    ];
    for (name, policies, reason) in cases {
        let ca = ca(&world);
        let gateway = hacked(&world, move |asked| {
            let join = Id::random().unwrap();
            let chain = ca.issue_client(&asked.csr, join, now(), belay_certs::time::DAY).unwrap();
            JoinAnswer::JoinAccepted(JoinAccepted { join: join.0, chain, policies: policies.clone() })
        });
        let (device, file) = leading_to(&gateway, name);
        let why = "the gateway's answer is not to be believed, so this machine did not join: ";
        does_not_join(&world, &device, &file, why);
        world.join(&device, &file).unwrap().must_refuse(REFUSED, &[reason]);
        assert_eq!(gateway.seen().asked, 2);
    }
}

fn ca(world: &World) -> TransportCa {
    let [certificate, key] = ["transport-ca.pem", "transport-ca.key"]
        .map(|name| fs::read_to_string(world.gateway_dir().join("keys").join(name)).unwrap());
    TransportCa::from_pem(&certificate, &key).unwrap()
}

/// A tenant's policies as the gateway sends them.
fn chain(world: &World, tenant: &str) -> Vec<PolicyBytes> {
    let dir = world.tenant_dir(tenant);
    let versions = (0..).map_while(|version| {
        let bytes = fs::read(dir.join(format!("policy-{version}.toml"))).ok()?;
        let signatures = vec![fs::read_to_string(dir.join(format!("policy-{version}.toml.sig"))).unwrap()];
        Some(PolicyBytes { tenant: tenant.to_owned(), version, bytes, signatures })
    });
    versions.collect()
}

#[test]
fn joining_twice_is_joining_once_also_when_the_first_was_cut_off() {
    let world = World::shared();
    let good = token(&world, "acme", "twice", &["--name", "t1"]);
    let first = world.join("t1.acme", &good).unwrap().must();
    assert!(first.out().contains("t1.acme is pending"), "{}", first.story());
    let fingerprint = first.out().split_whitespace().last().unwrap().to_owned();
    assert!(fingerprint.starts_with("SHA256:"), "{}", first.story());
    let again = world.join("t1.acme", &good).unwrap().must();
    assert!(again.out().contains("t1.acme has joined before; nothing was changed"), "{}", again.story());
    assert!(again.out().contains(&fingerprint), "{}", again.story());
    // Power was lost before the pin was written: the same command goes on with the same keys, and costs no second use.
    fs::remove_file(world.agent_dir("t1.acme").join("pin.json")).unwrap();
    let resumed = world.join("t1.acme", &good).unwrap().must();
    assert!(resumed.out().contains(&fingerprint), "{}", resumed.story());
    assert_eq!(entries(&world, "device.pending", "t1").len(), 1);
}

#[test]
fn a_machine_of_one_tenant_never_joins_another_unless_it_was_told_to_forget() {
    let world = World::shared();
    let (ours, theirs) = (token(&world, "acme", "ours", &[]), token(&world, "globex", "theirs", &[]));
    world.join("p1.acme", &ours).unwrap().must();
    let pin = fs::read(world.agent_dir("p1.acme").join("pin.json")).unwrap();
    let reason = "this machine belongs to p1.acme, and a machine never leaves its tenant by a token";
    world.join("p1.acme", &theirs).unwrap().must_refuse(REFUSED, &[reason, "belay-agent forget"]);
    // Another chain under the same name is another tenant.
    let impostor = resigned(&ours, &world.person("tech"), |token| token.policy0 = Digest::of(b"another"));
    world.join("p1.acme", &write(&world, "impostor", &impostor)).unwrap().must_refuse(REFUSED, &[reason]);
    assert_eq!(fs::read(world.agent_dir("p1.acme").join("pin.json")).unwrap(), pin);
    agent(&world, "forget --tenant globex", "p1.acme").must_refuse(REFUSED, &["this machine belongs to p1.acme"]);
    agent(&world, "forget --tenant acme", "p1.acme").must();
    let joined = world.join("p1.acme", &theirs).unwrap().must();
    assert!(joined.out().contains("p1.globex is pending"), "{}", joined.story());
}

#[test]
fn a_machine_that_waits_serves_nobody_until_it_is_approved() {
    let plan = Tenant { name: "acme", owner: "tech", people: &[], onlookers: &[], devices: &[] };
    let world = World::of(Plan { tenants: vec![plan] });
    let (tech, good) = (world.person("tech"), token(&world, "acme", "web1", &[]));
    world.join("web1.acme", &good).unwrap().must();
    let marker = world.dir().join("ran");
    let touch = format!("touch {}", marker.display());
    tech.ssh("web1.acme", &touch).must_refuse(NO_CONNECTION, &["web1.acme is pending"]);
    world.start_agent("web1.acme").unwrap();
    let pending = |line: &str| line.contains("pending: someone with `enrol` runs `belay approve web1.acme`");
    world.log("web1.acme").wait("pending", 0, GENEROUS, pending).unwrap();
    tech.ssh("web1.acme", &touch).must_refuse(NO_CONNECTION, &["web1.acme is pending"]);
    assert!(!marker.exists());
    world.approve("acme", "web1").unwrap();
    world.log("web1.acme").wait("approved", 0, GENEROUS, |line| line.contains("this machine is approved")).unwrap();
    tech.ssh("web1.acme", &touch).must();
    assert!(marker.exists());
}

#[test]
fn of_two_agents_with_one_identity_the_newest_wins_and_the_older_is_told() {
    let world = World::small();
    let tech = world.person("tech");
    let copied = run(
        std::process::Command::new("cp").arg("-a").arg(world.agent_dir("web1.acme")).arg(world.agent_dir("copy.acme")),
        b"",
    );
    copied.unwrap().must();
    let mark = world.log("web1.acme").mark();
    world.start_agent("copy.acme").unwrap();
    let connected = |line: &str| line.contains("connected to the gateway");
    world.log("copy.acme").wait("a connection", 0, GENEROUS, connected).unwrap();
    let told = "another agent with this machine's identity took its place: is the machine a clone?";
    world.log("web1.acme").wait(told, mark, GENEROUS, |line| line.contains(told)).unwrap();
    let older = world.agent_pid("web1.acme").unwrap();
    assert!(Path::new(&format!("/proc/{older}")).exists(), "the older agent waits, it does not die");
    let superseded = entries(&world, "device.superseded", "web1");
    assert_eq!(superseded.len(), 1, "{superseded:#?}");
    let connected = entries(&world, "device.connected", "web1");
    assert_ne!(superseded[0]["connection"], connected.last().unwrap()["connection"], "{connected:#?}");
    // The newest serves; whose child the session is shows which one that is.
    let newest = world.agent_pid("copy.acme").unwrap();
    let ancestors = tech.ssh("web1.acme", "p=$$; while [ $p -gt 1 ]; do p=$(ps -o ppid= -p $p); echo $p; done").must();
    let ancestors: Vec<u32> = ancestors.out().split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    assert!(ancestors.contains(&newest) && !ancestors.contains(&older), "{ancestors:?}: {newest}, not {older}");
}
