//! Keys that people log in with: every kind that Belay takes, through the gateway and on the device; certificates and weak
//! keys nowhere.

#[path = "parts/policies.rs"]
mod policies;

use belay_tests::{Person, World, run};
use std::{fs, path::Path, process::Command};

const NO_CONNECTION: i32 = 255;
const KINDS: [(&str, &str, &str); 5] = [
    ("rsa3072", "rsa", "3072"),
    ("ecdsa256", "ecdsa", "256"),
    ("ecdsa384", "ecdsa", "384"),
    ("ecdsa521", "ecdsa", "521"),
    ("ed25519", "ed25519", "256"),
];

fn keygen(words: &[&str], last: &Path) {
    run(Command::new("ssh-keygen").arg("-q").args(words).arg(last), b"").unwrap().must();
}

/// A laptop whose key is of this kind; no policy knows it yet.
fn laptop(world: &World, name: &str, kind: &str, bits: &str) -> Person {
    let laptop = world.stranger(name).unwrap();
    fs::remove_file(laptop.key()).unwrap();
    fs::remove_file(laptop.public_key()).unwrap();
    keygen(&["-t", kind, "-b", bits, "-N", "", "-C", name, "-f"], &laptop.key());
    laptop
}

/// `belay person add` of one person with all of these keys.
fn add(world: &World, name: &str, laptops: &[&Person]) -> belay_tests::Said {
    let mut add = world.person("tech").belay_command().unwrap();
    add.args(["person", "add", "acme", name, "--yes", "--do", "shell", "--as", world.account(), "--root"]);
    add.arg(world.root_key("acme"));
    for laptop in laptops {
        add.arg("--key").arg(laptop.public_key());
    }
    run(&mut add, b"").unwrap()
}

#[test]
fn every_kind_of_key_logs_in_at_the_gateway_and_on_the_device() {
    let world = World::small();
    let laptops = KINDS.map(|(name, kind, bits)| laptop(&world, name, kind, bits));
    add(&world, "guest", &laptops.each_ref()).must();
    for laptop in &laptops {
        laptop.gw("devices").must();
        let said = laptop.ssh("web1.acme", "echo \"$BELAY_PERSON\"");
        assert_eq!(said.must().out(), "guest\n", "{}", laptop.name);
    }
    let entries = world.person("tech").log("acme");
    let opened = entries.iter().filter(|entry| entry["type"] == "session.opened" && entry["person"] == "guest");
    let keys: Vec<&str> = opened.map(|entry| entry["key"].as_str().unwrap()).collect();
    assert_eq!(keys.len(), laptops.len());
    for laptop in &laptops {
        let listed = run(Command::new("ssh-keygen").arg("-lf").arg(laptop.public_key()), b"").unwrap().must().out();
        assert!(keys.contains(&listed.split(' ').nth(1).unwrap()), "{listed} is not in {keys:?}");
    }
}

#[test]
fn a_short_rsa_key_gets_into_no_policy() {
    let world = World::small();
    let (tech, short) = (world.person("tech"), laptop(&world, "short", "rsa", "2048"));
    add(&world, "guest", &[&short]).must_refuse(1, &["an RSA key of 2048 bits is refused", "3072"]);
    let text = policies::next(&policies::newest(&tech, "acme"));
    let line = fs::read_to_string(short.public_key()).unwrap();
    let file = world.dir().join("short.toml");
    let with_short = format!("{text}\n[[people]]\nname = \"guest\"\nkeys = [{:?}]\n", line.trim());
    fs::write(&file, &with_short).unwrap();
    // The gateway says so too, whoever signed it.
    let envelope = policies::signed(&with_short, &world.root_key("acme"));
    tech.gw_with_input("policy push acme", &envelope).must_refuse(1, &["an RSA key of 2048 bits is refused"]);
    let line = format!("line {}", text.lines().count() + 4);
    let said = tech.belay(["policy", "check", file.to_str().unwrap()]).unwrap();
    said.must_refuse(1, &["an RSA key of 2048 bits is refused", &line]);
    short.ssh("web1.acme", "true").must_refuse(NO_CONNECTION, &["Permission denied"]);
}

#[test]
fn a_certificate_is_no_login_at_the_gateway_nor_on_the_device() {
    let world = World::small();
    let account = world.account().to_owned();
    let guest = world.add_person("acme", "guest", &["--do", "shell", "--as", &account]).unwrap();
    guest.ssh("web1.acme", "true").must();
    guest.hang_up();
    // Certificates of the guest's own key, by their own key, the device CA and a root key, with names as people try them.
    let authorities = [guest.key(), world.tenant_dir("acme").join("device-ca"), world.root_key("acme")];
    let names = ["root,admin", "guest", "root@web1.acme,*", ""];
    for authority in &authorities {
        for name in names {
            let mut words = vec!["-s", authority.to_str().unwrap(), "-I", "guest"];
            if !name.is_empty() {
                words.extend(["-n", name]);
            }
            keygen(&words, &guest.public_key());
            let only = "PubkeyAcceptedAlgorithms=ssh-ed25519-cert-v01@openssh.com";
            let both = guest.dir.join("certificate_only");
            let config = fs::read_to_string(guest.ssh_config()).unwrap();
            fs::write(&both, format!("{}\n{config}", only.replace('=', " "))).unwrap();
            let mut at_gateway = Person::plain_ssh();
            at_gateway.arg("-F").arg(&both).args(["-o", "BatchMode=yes", "-o", "ControlPath=none", "gw", "devices"]);
            run(&mut at_gateway, b"").unwrap().must_refuse(NO_CONNECTION, &["Permission denied"]);
            // What is said on the command line counts for the last hop alone.
            let mut on_device = guest.ssh_command();
            on_device.args(["-o", only, "web1.acme", "true"]);
            run(&mut on_device, b"").unwrap().must_refuse(NO_CONNECTION, &["Permission denied"]);
        }
    }
    // Beside its certificate the key itself still counts.
    guest.ssh("web1.acme", "true").must();
}

#[test]
fn a_certificate_in_a_policy_or_a_command_is_refused_with_a_sentence() {
    let world = World::small();
    let tech = world.person("tech");
    keygen(&["-s", tech.key().to_str().unwrap(), "-I", "x", "-n", "root"], &tech.public_key());
    let certificate = fs::read_to_string(tech.dir.join("id_ed25519-cert.pub")).unwrap();
    let text = policies::next(&policies::newest(&tech, "acme"));
    let file = world.dir().join("certificate.toml");
    let own = fs::read_to_string(tech.public_key()).unwrap();
    let quoted = |line: &str| format!("{:?}", line.trim());
    let root = fs::read_to_string(world.root_key("acme").with_extension("pub")).unwrap();
    let ca = fs::read_to_string(world.tenant_dir("acme").join("device-ca.pub")).unwrap();
    for key in [&own, &root, &ca] {
        let changed = text.replacen(key.trim(), certificate.trim(), 1);
        assert_ne!(changed, text, "{key} is not in\n{text}");
        fs::write(&file, changed).unwrap();
        tech.belay(["policy", "check", file.to_str().unwrap()]).unwrap().must_refuse(1, &["certificate", "line "]);
    }
    fs::write(&file, format!("{text}\n[[people]]\nname = \"guest\"\nkeys = [{}]\n", quoted(&certificate))).unwrap();
    tech.belay(["policy", "check", file.to_str().unwrap()]).unwrap().must_refuse(1, &["certificate", "line "]);
    let mut add = tech.belay_command().unwrap();
    add.args(["person", "add", "acme", "guest", "--yes", "--root"]).arg(world.root_key("acme"));
    add.arg("--key").arg(tech.dir.join("id_ed25519-cert.pub"));
    run(&mut add, b"").unwrap().must_refuse(1, &["this is a certificate, but a plain public key is wanted"]);
}
