//! Policies that expire soon: told at every login and beside every list, never in what a script reads; renewed in one go,
//! also when the renewal is cut off half-way.

#[path = "parts/counted.rs"]
mod counted;
#[path = "parts/policies.rs"]
mod policies;

use belay_certs::{Timestamp, time::DAY};
use belay_tests::{
    Daemon, Person, Plan, Terminal, World,
    log::Log,
    run,
    wait::{GENEROUS, until},
};
use counted::Shims;
use rustix::process::{Pid, Signal, kill_process};
use std::{fs, time::SystemTime};

/// Gives a tenant's policy twelve days, by a version signed and pushed by its owner.
fn shorten(world: &World, tenant: &str, owner: &Person) {
    let text = policies::next(&policies::newest(owner, tenant));
    let soon = Timestamp::from_system(SystemTime::now()).whole_second().plus(12 * DAY + DAY / 2);
    let expires = text.lines().find(|line| line.starts_with("expires = ")).unwrap();
    let text = text.replace(expires, &format!("expires = {soon}"));
    let push = format!("policy push {tenant}");
    owner.gw_with_input(&push, &policies::signed(&text, &world.root_key(tenant))).must();
}

fn row(person: &Person, tenant: &str) -> serde_json::Value {
    let rows = person.belay(["policy", "show", "--json"]).unwrap();
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&rows.stdout).unwrap();
    rows.into_iter().find(|row| row["tenant"] == tenant).unwrap()
}

#[test]
fn an_expiry_that_is_near_is_told_to_people_and_never_to_scripts() {
    let world = World::small();
    let tech = world.person("tech");
    let shell = |words: &[&str]| {
        let mut ssh = tech.ssh_command();
        ssh.arg("-tt").args(words);
        Terminal::open(&ssh, 100, 24).unwrap()
    };
    let quiet = tech.gw("devices").must();
    assert_eq!(quiet.err(), "");
    shorten(&world, "acme", &tech);
    until("the device to hold it", GENEROUS, || {
        let log = world.log("web1.acme").tail();
        if log.contains("version=1") { Ok(()) } else { anyhow::bail!("{log}") }
    })
    .unwrap();
    let mut terminal = shell(&["web1.acme"]);
    let shown = terminal.see("expires in 12 days").unwrap();
    println!("{shown}");
    terminal.keys("exit\n").unwrap();
    terminal.ended(GENEROUS).unwrap();
    let script = tech.ssh("web1.acme", "echo out; echo err >&2").must();
    assert_eq!((script.out().as_str(), script.err().as_str()), ("out\n", "err\n"));
    for words in [&["devices"][..], &["devices", "--json"], &["sessions", "--json"]] {
        for said in [tech.gw(&words.join(" ")).must(), tech.belay(words).unwrap().must()] {
            assert!(said.err().contains("the policy of acme (version 1) expires in 12 days"), "{}", said.story());
            assert!(!said.out().contains("expires in"), "{}", said.story());
        }
    }
    let listed = tech.belay(["devices", "--json"]).unwrap();
    let rows: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert!(rows[0]["policy_expires"].is_string(), "{rows}");
    let shown = tech.belay(["policy", "show"]).unwrap().must();
    assert!(shown.out().contains("(in 12 days)"), "{}", shown.story());
}

/// Two customers of one owner, both due.
fn two_due() -> (World, Person) {
    let mut plan = Plan::provider();
    plan.tenants.remove(0);
    for tenant in &mut plan.tenants {
        (tenant.owner, tenant.people, tenant.devices, tenant.onlookers) = ("ana", &[], &[], &[]);
    }
    let world = World::of(plan);
    let ana = world.person("ana");
    shorten(&world, "acme", &ana);
    shorten(&world, "globex", &ana);
    (world, ana)
}

#[test]
fn everything_that_is_due_and_signed_here_is_renewed_and_the_rest_is_named() {
    let (world, ana) = two_due();
    let renew = |more: &[&std::path::Path]| {
        let mut renew = ana.belay_command().unwrap();
        renew.args(["policy", "renew", "--all", "--yes"]);
        for key in more {
            renew.arg("--root").arg(key);
        }
        run(&mut renew, b"").unwrap()
    };
    renew(&[]).must_refuse(1, &["acme is not renewed: no root key of acme is here", "globex is not renewed"]);
    let one = renew(&[&world.root_key("acme")]);
    println!("{}", one.story());
    let one = one.must_refuse(1, &["globex is not renewed: none of the given keys"]);
    assert!(
        one.out().contains("acme: version 2 adopted") && one.out().contains("renewed: 1 policy"),
        "{}",
        one.story()
    );
    assert_eq!((&row(&ana, "acme")["version"], &row(&ana, "globex")["version"]), (&2.into(), &1.into()));
    assert!(row(&ana, "acme")["days_left"].is_null());
    let rest = renew(&[&world.root_key("acme"), &world.root_key("globex")]).must();
    assert!(rest.out().contains("globex: version 2 adopted") && !rest.out().contains("acme:"), "{}", rest.story());
    assert!(renew(&[]).must().out().contains("nothing is due"));
}

#[test]
fn a_renewal_that_is_cut_off_in_the_middle_is_taken_up_again() {
    let (world, ana) = two_due();
    let shims = Shims::new(&world.dir().join("shims"));
    // The second signature is never made: the person looks at the question of their key, and presses Ctrl-C.
    shims.add(
        "ssh-keygen",
        "case \"$*\" in *sign*) echo x >> \"${0%/*}/signed\"; \
         if [ $(wc -l < \"${0%/*}/signed\") = 2 ]; then echo waiting >&2; exec sleep 1000; fi;; esac; exec \"$REAL\" \"$@\"",
    );
    let mut renew = ana.belay_command().unwrap();
    renew.args(["policy", "renew", "--all", "--yes"]).env("PATH", shims.path());
    for tenant in ["acme", "globex"] {
        renew.arg("--root").arg(world.root_key(tenant));
    }
    let log = Log::default();
    let cut = Daemon::start("renew", renew, log.clone(), &world.dir().join("logs/renew.log")).unwrap();
    log.wait("its second signature", 0, GENEROUS, |line| line.contains("waiting")).unwrap();
    kill_process(Pid::from_raw(i32::try_from(cut.pid()).unwrap()).unwrap(), Signal::INT).unwrap();
    assert!(!cut.ended(GENEROUS).unwrap().success());
    assert_eq!((&row(&ana, "acme")["version"], &row(&ana, "globex")["version"]), (&2.into(), &1.into()));
    let mut again = ana.belay_command().unwrap();
    again.args(["policy", "renew", "--all", "--yes"]);
    for tenant in ["acme", "globex"] {
        again.arg("--root").arg(world.root_key(tenant));
    }
    let said = run(&mut again, b"").unwrap().must();
    assert!(
        said.out().contains("globex: version 2 adopted") && said.out().contains("renewed: 1 policy"),
        "{}",
        said.story()
    );
    assert_eq!(&row(&ana, "globex")["version"], 2);
}

#[test]
fn with_a_threshold_of_two_a_renewal_waits_for_the_other_signature() {
    let world = World::of(Plan::without_devices());
    let tech = world.person("tech");
    let text = policies::next(&policies::newest(&tech, "acme")).replace("threshold = 1", "threshold = 2");
    let mut signed = policies::signed(&text, &world.root_key("acme"));
    let second = world.tenant_dir("acme").join("root-2");
    signed.extend(Person::sign(&second, "policy.v1@belay", text.as_bytes()).unwrap().into_bytes());
    tech.gw_with_input("policy push acme", &signed).must();
    let renew = |key: &std::path::Path| {
        let mut renew = tech.belay_command().unwrap();
        run(renew.args(["policy", "renew", "acme", "--yes", "--root"]).arg(key), b"").unwrap()
    };
    let first = renew(&world.root_key("acme"));
    println!("{}", first.story());
    first.must_refuse(1, &["acme is not renewed: nothing was pushed: more signatures are needed"]);
    let waiting = tech.home().join("drafts/acme-2.toml");
    let bytes = fs::read(&waiting).unwrap();
    renew(&world.root_key("acme")).must_refuse(1, &["more signatures"]);
    assert_eq!(fs::read(&waiting).unwrap(), bytes, "what others may have signed is not replaced");
    assert!(renew(&second).must().out().contains("acme: version 2 adopted"));
    assert!(!waiting.exists());
}

#[test]
fn a_push_that_is_cut_off_happened_or_not_and_the_next_call_knows() {
    let (world, ana) = two_due();
    let shims = Shims::new(&world.dir().join("shims"));
    let renew = || {
        let mut renew = ana.belay_command().unwrap();
        renew.args(["policy", "renew", "acme", "--yes", "--root"]).arg(world.root_key("acme"));
        run(renew.env("PATH", shims.path()), b"").unwrap()
    };
    shims.add("ssh", "case \"$*\" in *push*) exit 255;; esac; exec \"$REAL\" \"$@\"");
    renew().must_refuse(1, &["acme is not renewed: no connection to the gateway"]);
    assert_eq!(row(&ana, "acme")["version"], 1, "it failed");
    shims.add("ssh", "case \"$*\" in *push*) \"$REAL\" \"$@\" > /dev/null; exit 255;; esac; exec \"$REAL\" \"$@\"");
    renew().must_refuse(1, &["acme is not renewed: no connection to the gateway"]);
    assert_eq!(row(&ana, "acme")["version"], 2, "it failed, but it had happened");
    let mut all = ana.belay_command().unwrap();
    all.args(["policy", "renew", "--all", "--yes", "--root"]).arg(world.root_key("acme"));
    let said = run(&mut all, b"").unwrap().must_refuse(1, &["globex is not renewed"]);
    assert!(!said.err().contains("acme is not renewed"), "{}", said.story());
}

#[test]
fn a_change_is_shown_and_asked_for_before_anything_is_signed() {
    let world = World::of(Plan::without_devices());
    let tech = world.person("tech");
    let typed = |words: &[&str], editor: &str| {
        let mut belay = tech.belay_command().unwrap();
        belay.env_remove("VISUAL").env("EDITOR", editor).args(words).arg("--root").arg(world.root_key("acme"));
        Terminal::open(&belay, 120, 40).unwrap()
    };
    let join = ["person", "join", "acme", "tech", "--team", "field"];
    for (answer, version) in [("n", 0), ("y", 1)] {
        let mut terminal = typed(&join, "false");
        terminal.see("+ person tech is in team field").unwrap();
        terminal.see("[y/N]").unwrap();
        terminal.keys(&format!("{answer}\n")).unwrap();
        assert_eq!(terminal.ended(GENEROUS).unwrap().success(), answer == "y");
        assert_eq!(row(&tech, "acme")["version"], version, "{answer}");
    }
    // The first try of this editor writes no policy, and the person tries again.
    let tried = world.dir().join("tried");
    let script = format!(
        "sh -c 'if [ -e {0} ]; then sed -i s/treshold/threshold/ \"$0\"; echo \"# reviewed\" >> \"$0\"; \
         sed -i \"s/^teams = .*/teams = [\\\"night\\\"]/\" \"$0\"; else sed -i s/threshold/treshold/ \"$0\"; touch {0}; fi'",
        tried.display()
    );
    let mut terminal = typed(&["policy", "edit", "acme"], &script);
    terminal.see("treshold").unwrap();
    terminal.see("Edit it again? [y/N]").unwrap();
    terminal.keys("y\n").unwrap();
    terminal.see("+ person tech is in team night").unwrap();
    terminal.see("push it? [y/N]").unwrap();
    terminal.keys("y\n").unwrap();
    assert!(terminal.ended(GENEROUS).unwrap().success());
    assert_eq!(row(&tech, "acme")["version"], 2);
}
