//! A provider's laptop with eighty customers: one connection, one fragment, one known-hosts file; what does not chain is named
//! and the others are written; and the same as a folder for a colleague.

#[path = "parts/counted.rs"]
mod counted;

use belay_tests::{Person, Plan, Said, World, run};
use counted::Shims;
use std::{fs, path::Path, process::Command, sync::OnceLock, time::Instant};

const CUSTOMERS: usize = 80;

struct Provider {
    world: World,
    tech: Person,
    shims: Shims,
}

/// A provider with a list and nothing on it; its technician pins one hash.
fn provider() -> Provider {
    let mut plan = Plan::provider();
    plan.tenants.truncate(1);
    let world = World::of(plan);
    world.provide("msp", &[]).unwrap();
    let tech = world.hire("msp", "tech", "field").unwrap();
    let shims = Shims::new(&world.dir().join("shims"));
    shims.add("ssh", "echo called >> \"${0%/*}/calls\"; exec \"$REAL\" \"$@\"");
    Provider { world, tech, shims }
}

impl Provider {
    /// A customer whose keys are the provider's, as small ones are; `change` is made to its invite. Its entry for the list.
    fn customer(&self, name: &str, change: impl FnOnce(String) -> String) -> String {
        let boss = self.world.person("boss");
        let (dir, keys) = (self.world.tenant_dir(name), self.world.tenant_dir("msp"));
        fs::create_dir_all(&dir).unwrap();
        let invite = self.world.operator(&["tenant", "add", name]).unwrap().must();
        fs::write(dir.join("invite.toml"), change(invite.out())).unwrap();
        let mut init = boss.belay_command().unwrap();
        init.args(["init", name, "--age", AGE, "--invite"]).arg(dir.join("invite.toml")).arg("--dir").arg(&dir);
        init.arg("--root-key").arg(keys.join("root-1")).arg("--device-ca").arg(keys.join("device-ca"));
        init.args(["--import", &format!("msp={}", self.world.policy0("msp").unwrap())]);
        init.args(["--grant", "msp:field", "--do", "shell"]);
        let said = run(&mut init, b"").unwrap().must();
        let out = said.out();
        let hash = out.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap().to_owned();
        let policy = dir.join("policy-0.toml");
        self.world.operator(&["tenant", "adopt", name, policy.to_str().unwrap()]).unwrap().must();
        entry(name, &hash)
    }

    /// Puts entries on the list, all at once.
    fn list(&self, entries: &str) {
        let boss = self.world.person("boss");
        let more = self.world.dir().join("more.toml");
        fs::write(&more, entries).unwrap();
        let mut edit = boss.belay_command().unwrap();
        edit.env_remove("VISUAL").env("EDITOR", format!("cat '{}' >>", more.display()));
        edit.args(["policy", "edit", "msp-customers", "--yes", "--root"]).arg(self.world.root_key("msp"));
        run(&mut edit, b"").unwrap().must();
    }

    /// `belay …` as the technician, and how many connections it took.
    fn belay(&self, words: &[&str]) -> (Said, usize) {
        let calls = self.world.dir().join("shims/calls");
        fs::write(&calls, "").unwrap();
        let said = run(self.tech.belay_command().unwrap().env("PATH", self.shims.path()).args(words), b"").unwrap();
        (said, fs::read_to_string(calls).unwrap().lines().count())
    }

    fn written(&self) -> (String, String) {
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        (read(&self.tech.ssh_config()), read(&self.tech.home().join("known_hosts")))
    }
}

const AGE: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

fn entry(name: &str, hash: &str) -> String {
    format!("\n[[serves]]\ntenant = \"{name}\"\npolicy0 = \"{hash}\"\n")
}

fn unchanged(invite: String) -> String {
    invite
}

#[test]
fn eighty_customers_come_in_one_connection_and_stand_in_two_files() {
    let provider = provider();
    let names: Vec<String> = (1..=CUSTOMERS).map(|number| format!("customer-{number:02}")).collect();
    let entries: String = names.iter().map(|name| provider.customer(name, unchanged)).collect();
    provider.list(&entries);
    for way in ["first", "again"] {
        let begun = Instant::now();
        let (said, connections) = provider.belay(&["config"]);
        let took = begun.elapsed();
        println!(
            "measured: belay config for {CUSTOMERS} tenants, {way}: {} ms, {connections} connection(s)",
            took.as_millis()
        );
        said.must();
        assert_eq!(connections, 1);
    }
    let (fragment, known_hosts) = provider.written();
    for name in &names {
        assert!(fragment.contains(&format!("*.{name}")) && known_hosts.contains(&format!("@cert-authority *.{name} ")));
    }
    let (devices, connections) = provider.belay(&["devices", "--json"]);
    assert_eq!((devices.json(), connections), (serde_json::json!([]), 1));
    let (whole, connections) = provider.belay(&["policy", "show", "--json"]);
    assert_eq!((whole.json().as_array().unwrap().len(), connections), (CUSTOMERS + 2, 1));
    let logs = provider.world.operator(&["tenant", "list"]).unwrap().must();
    assert!(logs.out().contains("customer-80"), "{}", logs.story());
}

#[test]
fn what_does_not_chain_or_answer_is_named_and_the_others_are_written() {
    let provider = provider();
    let closed = belay_tests::ports::free().unwrap();
    let ssh = format!("127.0.0.1:{}", provider.world.ssh_port());
    let elsewhere = |invite: String| invite.replace(&ssh, &format!("127.0.0.1:{closed}"));
    let mut entries: String = ["good-1", "good-2"].iter().map(|name| provider.customer(name, unchanged)).collect();
    let another = format!("sha256:{}", "0".repeat(64));
    provider.customer("wrong", unchanged);
    entries.push_str(&entry("wrong", &another));
    entries.push_str(&entry("nowhere", &another));
    entries.extend(["away-1", "away-2", "away-3"].map(|name| provider.customer(name, elsewhere)));
    // It takes a device's name for its gateway: a key planted in everybody's known hosts.
    entries.push_str(&provider.customer("planter", |invite| invite.replace(&ssh, "web1.good-1:22")));
    provider.list(&entries);
    let (said, _) = provider.belay(&["config"]);
    println!("{}", said.story());
    let said = said.must_refuse(
        1,
        &[
            "belay: wrong: ",
            "away-1: no connection to the gateway",
            "away-2: ",
            "away-3: ",
            "planter: ",
            "nothing is granted to you in nowhere",
        ],
    );
    assert!(!said.err().contains("belay: good-"), "{}", said.story());
    let (fragment, known_hosts) = provider.written();
    for name in ["msp", "good-1", "good-2", "away-1", "away-3"] {
        assert!(
            fragment.contains(&format!("*.{name}")) && known_hosts.contains(&format!("*.{name} ")),
            "{name}: {fragment}"
        );
    }
    for name in ["*.wrong", "*.nowhere", "*.planter"] {
        assert!(!fragment.contains(name) && !known_hosts.contains(name), "{name}: {fragment}");
    }
    assert!(fragment.contains("Host gw\n") && fragment.contains("Host gw2\n"), "{fragment}");
    provider.tech.gw("help").must();
    let (devices, _) = provider.belay(&["devices", "--json"]);
    devices.must_refuse(1, &["no connection to the gateway"]);
}

/// A colleague is another account with a home of its own, in a mount namespace where the password file says so.
fn as_colleague(home: &Path, command: &str) -> Option<Said> {
    static ROOT: OnceLock<bool> = OnceLock::new();
    let root = *ROOT.get_or_init(|| run(Command::new("id").arg("-u"), b"").unwrap().out().trim() == "0");
    let passwd = home.join("passwd");
    let mine = run(Command::new("id").args(["-un"]), b"").unwrap().out();
    let line = format!("{}:x:0:0::{}:/bin/sh\n", mine.trim(), home.display());
    fs::write(&passwd, line).unwrap();
    let mut unshare = Command::new("unshare");
    unshare.args(if root { &["-m"][..] } else { &["-r", "-m"][..] });
    unshare.env_remove("SSH_AUTH_SOCK").env("HOME", home).current_dir("/");
    unshare.args(["sh", "-c", &format!("mount --bind '{}' /etc/passwd && {command}", passwd.display())]);
    let said = run(&mut unshare, b"").unwrap();
    if said.err().contains("unshare") && said.err().contains("not permitted") {
        println!("skipped: this machine allows no mount namespace: {}", said.err());
        return None;
    }
    Some(said)
}

#[test]
fn a_colleague_without_belay_gets_a_folder_that_stock_ssh_uses() {
    let world = World::of(Plan::provider());
    world.provide("msp", &["acme", "globex"]).unwrap();
    let (tech, colleague) =
        (world.hire("msp", "tech", "field").unwrap(), world.hire("msp", "colleague", "field").unwrap());
    let home = world.dir().join("colleague-home");
    fs::create_dir_all(home.join(".ssh")).unwrap();
    let folder = home.join(".ssh/belay");
    let said = tech.belay(["config", "--for", "windows", "-o", folder.to_str().unwrap()]).unwrap().must();
    assert!(said.out().contains("README.txt"), "{}", said.story());
    let mut files: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    assert_eq!(files, ["README.txt", "known_hosts", "ssh_config"]);
    for file in &files {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        for word in ["PRIVATE", "people/tech", "ControlMaster auto", &world.dir().display().to_string()] {
            assert!(!text.contains(word), "{file} holds {word}: {text}");
        }
    }
    let readme = fs::read_to_string(folder.join("README.txt")).unwrap();
    assert_eq!(readme.lines().filter(|line| line.starts_with(['1', '2', '3'])).count(), 3, "{readme}");
    // What the three lines say, done by hand.
    fs::copy(colleague.key(), home.join(".ssh/id_ed25519")).unwrap();
    fs::write(home.join(".ssh/config"), "Include belay/ssh_config\n").unwrap();
    for device in ["web1.acme", "till1.globex"] {
        for command in [
            format!("exec ssh -o BatchMode=yes {device} 'echo $BELAY_PERSON'"),
            format!(
                "exec ssh -F '{}' -o BatchMode=yes {device} 'echo $BELAY_PERSON'",
                folder.join("ssh_config").display()
            ),
        ] {
            let Some(said) = as_colleague(&home, &command) else { return };
            assert_eq!(said.must().out(), "msp:colleague\n");
        }
    }
    assert!(tech.belay(["config", "--for", "windows"]).unwrap().code() == Some(2));
}
