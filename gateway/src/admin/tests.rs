//! The operator's commands, done directly and through the socket of a serving gateway.

use super::*;
use crate::serve::Serving;
use belay_certs::{Digest, Namespace, PrivateKey, PublicKey, sshsig, time::DAY};
use belay_rules::LogName;
use serde::Deserialize;
use std::{os::unix::fs::PermissionsExt, time::Duration};
use tempfile::TempDir;
use tokio::net::UnixListener;

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Invite {
    format: u32,
    tenant: TenantName,
    gateway: String,
    ssh: String,
    ssh_host_keys: Vec<PublicKey>,
    addresses: Vec<String>,
    transport_ca: Vec<Digest>,
    origin: String,
    vkey: String,
}

fn gateway() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    init(directory.path(), &Config::local()).unwrap();
    directory
}

fn acme() -> TenantName {
    "acme".parse().unwrap()
}

/// Version 0 made from an invite, with the signatures of two laptops beside it, both of which it needs.
fn policy0(directory: &Path, invite: &Invite) -> PathBuf {
    let [root, bob] = ["root", "bob"].map(|name| PrivateKey::generate_ed25519(name).unwrap());
    let issued = Timestamp::from_system(SystemTime::now()).whole_second();
    let text = format!(
        "format = 1\ntenant = \"{}\"\nversion = 0\nissued = {issued}\nexpires = {}\nmin_agent = \"0.1.0\"\n[root]\n\
         threshold = 2\nkeys = [\"{key}\", \"{other}\"]\n[gateway]\nssh = \"{}\"\nssh_host_keys = [\"{}\"]\naddresses = [\"{}\"]\n\
         transport_ca = [\"{}\"]\nlogs = [{{ origin = \"{}\", vkey = \"{}\" }}]\n[devices]\nca = [\"{key}\"]\n",
        invite.tenant,
        issued.plus(30 * DAY),
        invite.ssh,
        invite.ssh_host_keys[0],
        invite.addresses[0],
        invite.transport_ca[0],
        invite.origin,
        invite.vkey,
        key = root.public(),
        other = bob.public(),
    );
    let file = directory.join("policy-0.toml");
    std::fs::write(&file, &text).unwrap();
    for (suffix, key) in [(".sig", root), (".bob.sig", bob)] {
        let signature = sshsig::sign(Namespace::Policy, text.as_bytes(), &key).unwrap();
        std::fs::write(beside(&file, suffix), signature).unwrap();
    }
    file
}

/// Everything an operator does with one tenant, in whichever way the directory answers.
async fn tour(directory: &Path) {
    let invite: Invite = toml::from_str(&tenant_add(directory, acme()).await.unwrap()).unwrap();
    assert_eq!((invite.format, invite.origin.as_str(), invite.ssh.as_str()), (1, "gw.example/acme", "gw.example:2222"));
    assert!(tenant_add(directory, acme()).await.unwrap_err().to_string().contains("exists already"));
    let again: Invite = toml::from_str(&tenant_invite(directory, acme()).await.unwrap()).unwrap();
    assert_eq!(again, invite);
    assert!(
        tenant_invite(directory, "globex".parse().unwrap()).await.unwrap_err().to_string().contains("no tenant globex")
    );
    assert!(log_verify(directory, "acme", None).await.unwrap_err().to_string().contains("--vkey"));

    let file = policy0(directory, &invite);
    assert!(tenant_list(directory, false).await.unwrap().contains("none yet"));
    assert!(tenant_adopt(directory, acme(), &file).await.unwrap().contains("version 0 adopted"));
    let listed: serde_json::Value = serde_json::from_str(&tenant_list(directory, true).await.unwrap()).unwrap();
    assert_eq!((&listed[0]["tenant"], &listed[0]["version"]), (&"acme".into(), &0.into()));

    let report = log_verify(directory, "acme", None).await.unwrap();
    assert_eq!(report.checkpoint.origin, "gw.example/acme");
    let other = belay_certs::tlog::NoteSigner::generate("gw.example/acme").unwrap().vkey();
    assert!(log_verify(directory, "acme", Some(&other)).await.is_err(), "another key verified the log");
    let archive = directory.join("acme.tar");
    log_export(directory, "acme", &archive).await.unwrap();
    assert_eq!(std::fs::metadata(&archive).unwrap().permissions().mode() & 0o777, 0o600);
    let checked = verify::check(File::open(&archive).unwrap(), &invite.origin, &invite.vkey).unwrap();
    assert_eq!(checked.entries, report.entries + 2, "both exports stand in the log that they took");
}

/// The types of a log's entries.
async fn kinds(directory: &Path, log: &str) -> Vec<String> {
    let (operator, _) = serve::open(&Directory::new(directory), Config::local()).await.unwrap();
    let store = &operator.gateway.store;
    let entries = store.entries(&log.parse::<LogName>().unwrap(), 0, u64::MAX).await.unwrap();
    store.close().await;
    entries.iter().map(|bytes| belay_certs::entry::Entry::parse(bytes).unwrap().kind).collect()
}

#[tokio::test]
async fn without_a_serving_gateway_commands_are_done_directly() {
    let directory = gateway();
    tour(directory.path()).await;
    let kinds = kinds(directory.path(), "acme").await;
    assert_eq!(kinds, ["log.started", "policy.adopted", "command.ran", "command.ran", "command.ran"]);
}

#[tokio::test]
async fn with_a_serving_gateway_they_go_through_its_socket_and_it_stops_in_good_order() {
    let directory = gateway();
    let serving = Serving::start(directory.path(), Config::local()).await.unwrap();
    assert_ne!((serving.ssh().port(), serving.quic().port()), (0, 0));
    let socket = directory.path().join("admin.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(
        Serving::start(directory.path(), Config::local())
            .await
            .is_err_and(|error| error.to_string().contains("another belay-gateway"))
    );
    tour(directory.path()).await;
    serving.stop("the test is over").await.unwrap();
    assert!(!socket.exists());
    let kinds = kinds(directory.path(), "system").await;
    assert_eq!(kinds, ["log.started", "gateway.started", "tenant.added", "gateway.stopped"]);
}

#[tokio::test]
async fn clients_that_go_away_before_their_answer_keep_no_place_of_those_that_come() {
    let directory = gateway();
    let serving = Serving::start(directory.path(), Config::local()).await.unwrap();
    // More than a socket and a pipe hold, so that what is written meets the client's end.
    let config = Directory::new(directory.path()).config();
    std::fs::write(&config, format!("{}#{}", std::fs::read_to_string(&config).unwrap(), "#".repeat(4 << 20))).unwrap();
    let request = serde_json::to_vec(&Request::BackUp).unwrap();
    for _ in 0..9 {
        let mut client = UnixStream::connect(directory.path().join("admin.sock")).await.unwrap();
        client.write_all(&request).await.unwrap();
        client.shutdown().await.unwrap();
        let heard =
            tokio::time::timeout(Duration::from_secs(120), tokio::io::AsyncReadExt::read_u32(&mut client)).await;
        assert_ne!(heard.expect("an operator waits for ever").unwrap(), 0);
    }
    let listed = tokio::time::timeout(Duration::from_secs(120), tenant_list(directory.path(), false)).await;
    assert!(listed.expect("an operator waits for ever").unwrap().contains("TENANT"));
    serving.stop("the test is over").await.unwrap();
}

#[tokio::test]
async fn backups_at_once_and_beside_an_exchange_of_the_ca_can_all_be_restored() {
    let directory = gateway();
    let serving = Serving::start(directory.path(), Config::local()).await.unwrap();
    let exchange = async |request: Request| {
        let mut out = Vec::new();
        carry_out(directory.path(), request, &mut out).await.unwrap();
    };
    for round in 0..3 {
        let files: Vec<_> = (0..4).map(|each| directory.path().join(format!("{round}-{each}.backup"))).collect();
        let request = match serving_ca(directory.path()).previous() {
            None => Request::RotateTransportCa,
            Some(_) => Request::RetireTransportCa { force: true },
        };
        let [one, two, three, four] =
            [&files[0], &files[1], &files[2], &files[3]].map(|file| backup(directory.path(), file));
        let (one, two, three, four, ()) = tokio::join!(one, two, three, four, exchange(request));
        for made in [one, two, three, four] {
            made.unwrap();
        }
        for file in files {
            let now = Timestamp::from_system(SystemTime::now());
            restore::restore(&file, &file.with_extension("restored"), now).await.unwrap();
        }
    }
    serving.stop("the test is over").await.unwrap();
}

fn serving_ca(directory: &Path) -> belay_certs::transport::TransportCa {
    Directory::new(directory).transport_ca().unwrap()
}

#[tokio::test]
async fn a_directory_that_is_none_and_a_policy_without_a_signature_are_refused() {
    let empty = tempfile::tempdir().unwrap();
    assert!(tenant_list(empty.path(), false).await.unwrap_err().to_string().contains("no gateway's directory"));
    let directory = gateway();
    let invite: Invite = toml::from_str(&tenant_add(directory.path(), acme()).await.unwrap()).unwrap();
    let file = policy0(directory.path(), &invite);
    std::fs::remove_file(beside(&file, ".bob.sig")).unwrap();
    let sentence = format!("{:#}", tenant_adopt(directory.path(), acme(), &file).await.unwrap_err());
    assert!(sentence.contains("has 1 of the 2 signatures"), "{sentence}");
    std::fs::remove_file(beside(&file, ".sig")).unwrap();
    let sentence = format!("{:#}", tenant_adopt(directory.path(), acme(), &file).await.unwrap_err());
    assert!(sentence.contains("policy-0.toml.sig cannot be read"), "{sentence}");
}

#[tokio::test]
async fn a_failed_export_leaves_the_file_that_was_there() {
    let directory = gateway();
    let file = directory.path().join("globex.tar");
    std::fs::write(&file, "before").unwrap();
    assert!(log_export(directory.path(), "globex", &file).await.is_err());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "before");
    assert!(!beside(&file, ".new").exists());
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_never_taken_for_a_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let whole = [&4_u32.to_be_bytes()[..], b"abcd", &0_u32.to_be_bytes(), br#"{"outcome":"done"}"#].concat();
    for end in 0..=whole.len() {
        let (client, server) = tokio::join!(UnixStream::connect(&path), listener.accept());
        let (mut out, (mut server, _)) = (Vec::new(), server.unwrap());
        let request = Request::ListTenants { json: false };
        let answering = async {
            let mut heard = Vec::new();
            tokio::io::AsyncReadExt::read_to_end(&mut server, &mut heard).await.unwrap();
            server.write_all(&whole[..end]).await.unwrap();
            server.shutdown().await.unwrap();
            drop(server);
        };
        let (asked, ()) = tokio::join!(socket::ask(client.unwrap(), &request, &mut out), answering);
        assert_eq!(asked.is_ok(), end == whole.len(), "cut at {end}");
    }
}
