//! Golden files of what ssh is told, and what the real ssh makes of them. BELAY_BLESS=1 writes the golden files anew.

use super::*;
use std::process::Command;

const KEYS: [&str; 4] = [
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH2+cmjnfuD/db9mh+JhJr5hGTbr00jcpmir2AVX4d5q a comment",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIiFAtaGep6Rbt6PuxAUQa9t2kIacJPQ3+4CqIt05m8c gw2",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN+4e0O+SQppD+o+WFr45rANhzo5ddyJMwxQ5tTezu7c ca1",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDmsKS78mp4+HFPwjcyOommfdc1RBpi/BYQrP78SnVdI ca2",
];

fn tenant(name: &str, address: &str, gateway_key: usize, ca: &[usize]) -> Tenant {
    Tenant {
        name: name.parse().unwrap(),
        route: Route::new(address, &[KEYS[gateway_key].parse().unwrap()]).unwrap(),
        device_ca: ca.iter().map(|at| KEYS[*at].parse().unwrap()).collect(),
        device_ca_gone: Vec::new(),
        revoked: Vec::new(),
    }
}

fn paths() -> Paths<'static> {
    Paths {
        folder: "/home/tech/.config/belay",
        reader: Reader::Own {
            identity: Some(Path::new("/home/tech/my keys/50%/id_ed25519")),
            control_dir: Path::new("/run/user/1000/belay/0a1b2c3d"),
        },
    }
}

fn compare(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ssh_config/golden").join(name);
    if std::env::var_os("BELAY_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "{name}");
}

/// What ssh itself understands for a host: `ssh -G`.
fn understood(fragment: &str, host: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ssh_config");
    std::fs::write(&file, fragment).unwrap();
    let output = Command::new("ssh").arg("-G").arg("-F").arg(&file).arg(host).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn one_gateway_with_two_tenants() {
    let tenants = [tenant("acme", "gw.example:2222", 0, &[2]), tenant("globex", "gw.example:2222", 0, &[3, 2])];
    let written = write(&tenants, &paths()).unwrap();
    compare("one_gateway.ssh_config", &written.fragment);
    compare("one_gateway.known_hosts", &written.known_hosts);
}

#[test]
fn two_gateways_and_one_address_under_two_keys() {
    let tenants = [
        tenant("acme", "gw.example:22", 0, &[2]),
        tenant("globex", "[2001:db8::1]:2222", 0, &[3]),
        tenant("umbra", "gw.example:22", 1, &[3]),
    ];
    let reader = Reader::Own { identity: None, control_dir: Path::new("/run/user/1000/belay/0a1b2c3d") };
    let written = write(&tenants, &Paths { reader, ..paths() }).unwrap();
    compare("three_routes.ssh_config", &written.fragment);
    compare("three_routes.known_hosts", &written.known_hosts);
}

#[test]
fn ssh_understands_every_line_as_it_is_meant() {
    let fragment = write(&[tenant("acme", "gw.example:2222", 0, &[2])], &paths()).unwrap().fragment;
    let device = understood(&fragment, "web1.acme");
    for line in [
        "proxyjump gw",
        "hostkeyalgorithms ssh-ed25519-cert-v01@openssh.com",
        "stricthostkeychecking true",
        "globalknownhostsfile /dev/null",
        "userknownhostsfile /home/tech/.config/belay/known_hosts",
        "passwordauthentication no",
        "forwardagent no",
        "sendenv BELAY_TICKET",
        "identitiesonly yes",
        "controlmaster false",
    ] {
        assert!(device.iter().any(|found| found == line), "{line} is not in {device:#?}");
    }
    let gateway = understood(&fragment, "gw");
    for line in
        ["hostname gw.example", "port 2222", "user belay", "hostkeyalgorithms ssh-ed25519", "controlmaster auto"]
    {
        assert!(gateway.iter().any(|found| found == line), "{line} is not in {gateway:#?}");
    }
    assert!(gateway.iter().any(|line| line.starts_with("controlpath /run/user/1000/belay/0a1b2c3d/gw.")));
    let stranger = understood(&fragment, "web1.example.com");
    assert!(!stranger.iter().any(|line| line.starts_with("proxyjump")));
}

#[test]
fn a_tenant_cannot_plant_a_key_for_another_tenants_device() {
    for address in ["web1.globex:22", "WEB1.Globex.:22", "web1.acme:22"] {
        let tenants = [tenant("acme", address, 1, &[2]), tenant("globex", "gw.example:22", 0, &[3])];
        let written = write(&tenants, &paths()).unwrap();
        assert!(!written.known_hosts.contains(KEYS[1].split(' ').nth(1).unwrap()), "{}", written.known_hosts);
        assert!(!written.fragment.contains("*.acme") && written.fragment.contains("*.globex"));
        assert_eq!(written.left_out.len(), 1);
    }
}

#[test]
fn no_comment_of_a_key_reaches_known_hosts() {
    let written = write(&[tenant("acme", "gw.example:2222", 0, &[2])], &paths()).unwrap();
    assert!(!written.known_hosts.contains("comment"));
    assert!(written.known_hosts.contains("[gw.example]:2222 ssh-ed25519 AAAA"));
}

#[test]
fn a_path_that_ssh_would_read_otherwise_is_refused() {
    for path in ["/a\"b", "/a\nProxyCommand x", "/a${HOME}", "/a\\b"] {
        assert!(quoted(path).is_err(), "{path:?}");
    }
    assert_eq!(quoted("/a b/50%").unwrap(), "\"/a b/50%%\"");
}

#[test]
fn a_colleagues_folder_names_nothing_of_this_laptop() {
    let paths = Paths { folder: "~/.ssh/belay", reader: Reader::Colleague };
    let tenants = [tenant("acme", "gw.example:2222", 0, &[2]), tenant("globex", "gw2.example:2222", 1, &[3])];
    let written = write(&tenants, &paths).unwrap();
    compare("colleague.ssh_config", &written.fragment);
    for word in ["IdentityFile", "ControlMaster auto", "/home", "IdentitiesOnly"] {
        assert!(!written.fragment.contains(word), "{word}");
    }
    let device = understood(&written.fragment, "web1.globex");
    assert!(device.iter().any(|line| line == "proxyjump gw2"), "{device:#?}");
    assert!(
        device.iter().any(|line| line.starts_with("userknownhostsfile /") && line.ends_with("/.ssh/belay/known_hosts"))
    );
}

#[test]
fn revoked_serials_and_old_device_cas_are_told_of_their_own_tenant_only() {
    let mut acme = tenant("acme", "gw.example:2222", 0, &[1]);
    acme.revoked = vec![7];
    acme.device_ca_gone = vec![KEYS[2].parse().unwrap()];
    // Globex names the same device CA, and revokes nothing.
    let globex = tenant("globex", "gw.example:2222", 0, &[1]);
    let written = write(&[acme, globex], &paths()).unwrap();
    let names: Vec<&str> = written.revoked.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["acme"]);
    let block = written.fragment.split("\nHost ").find(|block| block.contains("RevokedHostKeys")).unwrap();
    assert!(block.starts_with("*.acme\n") && block.contains("/revoked/acme\""), "{block}");
    let revoked: Vec<&str> = written.known_hosts.lines().filter(|line| line.starts_with("@revoked")).collect();
    assert_eq!(revoked.len(), 1, "{revoked:?}");
    assert!(revoked[0].starts_with("@revoked *.acme ssh-ed25519 "), "{revoked:?}");
}

#[test]
fn a_list_of_revoked_keys_is_named_only_where_every_ssh_finds_it() {
    let mut acme = tenant("acme", "gw.example:2222", 0, &[2]);
    acme.revoked = vec![7];
    let of = |folder| write(&[acme.clone()], &Paths { folder, reader: Reader::Colleague });
    for folder in ["~/.ssh/belay", ".ssh/belay", "C:belay", "1:/belay", "/home/50%/belay", "C:/Users/50%/belay"] {
        let refused = of(folder).unwrap_err();
        assert!(refused.sentence().contains("--path"), "{folder}: {}", refused.sentence());
    }
    for folder in ["/home/a b/belay", "C:/Users/ann/.ssh/belay"] {
        let line = format!("RevokedHostKeys \"{folder}/revoked/acme\"\n");
        assert!(of(folder).unwrap().fragment.contains(&line), "{folder}");
    }
    // Without a revoked serial any path will do.
    let nothing = tenant("acme", "gw.example:2222", 0, &[2]);
    assert!(write(&[nothing], &Paths { folder: "~/.ssh/belay", reader: Reader::Colleague }).is_ok());
}
