//! Strangers at the door for people by the thousand: a good login gets in meanwhile, and the flood costs the gateway neither
//! memory, nor log lines, nor events.

#[path = "flooding/attack.rs"]
mod attack;
#[path = "flooding/measure.rs"]
mod measure;

use attack::{Crowd, Habit, crowd};
use belay_tests::{World, wait::GENEROUS, wait::until};
use measure::{State, logins, median, status_kib};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use std::{
    net::{Ipv4Addr, TcpStream},
    sync::atomic::Ordering,
};

/// Neighbourhoods that a crowd comes from.
const NETWORKS: u8 = 20;
/// More than a gateway's memory may grow in a flood, in KiB: 1,024 places with the buffers of one packet each, and what the
/// allocator keeps.
const MEMORY_KIB_MAX: u64 = 160 << 10;
/// More lines than a flood of any size may cause: a few a minute.
const LINES_MAX: usize = 20;
/// More entries of the system log than a flood of any size may cause: one a minute.
const EVENTS_MAX: u64 = 10;

struct Scale {
    idle: usize,
    others: usize,
    logins: usize,
    guessing: usize,
}

fn scale() -> Scale {
    match std::env::var_os("BELAY_LONG") {
        Some(_) => Scale { idle: 5_000, others: 1_000, logins: 20, guessing: 100 },
        None => Scale { idle: 1_500, others: 200, logins: 4, guessing: 8 },
    }
}

/// Whether this process may have that many sockets.
fn may_open(files: u64) -> bool {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    maximum.is_none_or(|most| most > files)
}

#[test]
fn a_good_login_gets_through_every_flood_and_the_gateway_stays_as_small() {
    let scale = scale();
    if !may_open(scale.idle as u64 * 2 + 1_000) {
        return println!("skipped: the flood needs more open files than this machine allows");
    }
    let world = World::small();
    let tech = world.person("tech");
    let quiet = median(&logins(&tech, "web1.acme", scale.logins));
    let before = State::of(&world);
    println!("measured: a good login without a flood: {} ms median, {} ms most", quiet.0, quiet.1);
    let mut good = scale.logins as u64;
    for habit in Habit::ALL {
        let (many, count) = match habit {
            Habit::Idle => (scale.idle, scale.logins),
            Habit::Guess => (scale.others, scale.guessing),
            Habit::Dribble | Habit::LongLists | Habit::LargePromise | Habit::LongVersion => {
                (scale.others, scale.logins)
            }
        };
        good += under(&world, crowd(world.ssh_port(), habit, many, NETWORKS), (&format!("{habit:?}"), many, count));
    }
    let after = State::of(&world);
    println!(
        "measured: gateway RSS {} KiB before, {} KiB after, {} KiB at its highest",
        before.rss,
        after.rss,
        status_kib(world.gateway_pid().unwrap(), "VmHWM")
    );
    let (lines, events) = (after.lines - before.lines, after.system - before.system);
    println!("measured: {lines} log lines and {events} system events for {good} good logins in floods");
    assert!(status_kib(world.gateway_pid().unwrap(), "VmHWM") < before.rss + MEMORY_KIB_MAX);
    // A login and its way are recorded and told; strangers are not.
    assert!(lines < LINES_MAX + 4 * good as usize, "{lines} lines");
    assert!(events < EVENTS_MAX, "{events} events in the system log");
    assert!(after.acme - before.acme < 6 * good, "strangers leave nothing in a tenant's log");
    // They were counted all the same, together, at the stop at the latest.
    world.stop_gateway().unwrap();
    let events = measure::events(&world, "system");
    let counted = |event: &serde_json::Value| event["count"].as_u64().filter(|_| event["type"] == "strangers.refused");
    let counted: u64 = events.iter().filter_map(counted).sum();
    println!("measured: {counted} strangers' connections were counted, in {} events", events.len());
    assert!(counted > 1_000, "{events:#?}");
}

/// Good logins while a crowd is at the door; how many there were.
fn under(world: &World, crowd: Crowd, (name, many, count): (&str, usize, usize)) -> u64 {
    let opened = || crowd.count.opened.load(Ordering::Relaxed);
    until("the crowd to be there", GENEROUS, || {
        if opened() >= many as u64 { Ok(()) } else { anyhow::bail!("{} of {many} are", opened()) }
    })
    .unwrap();
    let took = logins(&world.person("tech"), "web1.acme", count);
    let (half, most) = median(&took);
    println!(
        "measured: a good login among {many} strangers, {name}: {half} ms median, {most} ms most; {} came, {} were ended, {} \
         guesses",
        opened(),
        crowd.count.ended.load(Ordering::Relaxed),
        crowd.count.guesses.load(Ordering::Relaxed),
    );
    count as u64
}

#[test]
fn a_gateway_that_may_not_open_enough_files_does_not_start() {
    let world = World::of(belay_tests::Plan::without_devices());
    world.stop_gateway().unwrap();
    let serve = world.serve_command().unwrap();
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "ulimit -n 600 && exec \"$@\"", "sh"]).arg(serve.get_program()).args(serve.get_args());
    let said = belay_tests::run(&mut limited, b"").unwrap();
    said.must_refuse(1, &["may have 600 files open and needs", "LimitNOFILE", "[limits]"]);
}

#[test]
fn a_gateway_that_runs_out_of_files_says_so_once_and_goes_on_when_there_are_some() {
    let world = World::small();
    let (tech, log) = (world.person("tech"), world.log("gateway"));
    tech.hang_up();
    let pid = Pid::from_raw(i32::try_from(world.gateway_pid().unwrap()).unwrap()).unwrap();
    let limit = getrlimit(Resource::Nofile);
    let open = std::fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).unwrap().count() as u64;
    let mark = log.mark();
    prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(open + 3), maximum: limit.maximum }).unwrap();
    let sockets: Vec<TcpStream> =
        (0..20).map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, world.ssh_port())).unwrap()).collect();
    log.wait("accepted", mark, GENEROUS, |line| line.contains("could not be accepted")).unwrap();
    drop(sockets);
    prlimit(Some(pid), Resource::Nofile, limit).unwrap();
    tech.ssh("web1.acme", "true").must();
    let said = log.since(mark).iter().filter(|line| line.contains("could not be accepted")).count();
    assert_eq!(said, 1, "{}", log.tail());
}
