//! Turns with jobs of any size and no network: every device is there, answers when the test says so, and nothing is sent.

use super::*;
use belay_certs::{
    Digest, Id, Signed,
    order::{DeviceLine, DeviceList, Order, Outcome, Waves},
    time::SECOND,
};
use belay_rules::job::{Job, Owed};

/// Seconds into the window of every order here.
fn at(seconds: i64) -> Timestamp {
    "2026-11-23T10:00:00Z".parse::<Timestamp>().unwrap().plus(seconds * SECOND)
}

/// An order for so many devices of a runbook that is at least so long.
fn prepared(tenant: &str, number: u8, devices: usize, runbook_bytes: usize) -> Prepared {
    let head =
        "#!/bin/sh\n# /// belay\n# name = \"x\"\n# description = \"y\"\n# issued = 2026-11-21T09:00:00Z\n# ///\n";
    let mut runbook = head.to_owned();
    runbook.push_str(&"# as long as it is wished\n".repeat(runbook_bytes / 26));
    let lines =
        (0..devices).map(|place| DeviceLine { name: format!("d{place:05}").parse().unwrap(), serial: 1, sealed: None });
    let list = DeviceList::of(lines.collect()).unwrap();
    let order = Order {
        tenant: tenant.parse().unwrap(),
        id: Id([number; 16]),
        runbook: "x".parse().unwrap(),
        version: Digest::of(runbook.as_bytes()),
        account: "root".parse().unwrap(),
        ticket: None,
        issued: at(0),
        not_before: at(0),
        not_after: at(900),
        policy_version: 0,
        policy: Digest::of(b""),
        devices: list.count(),
        devices_root: list.root(),
        waves: Waves::default(),
        stop_above: None,
        timeout: None,
        secrets: Vec::new(),
        output_to: Vec::new(),
        arguments: Default::default(),
    };
    let signed = |bytes: Vec<u8>| Signed { bytes, signatures: vec!["signature".to_owned()] };
    Prepared::of(signed(order.to_text().into_bytes()), signed(runbook.into_bytes()), &list).unwrap()
}

/// Jobs under way, by the order in which they came.
#[derive(Default)]
struct Table {
    jobs: BTreeMap<u64, UnderWay>,
    rota: Rota<u64>,
    pace: Pace,
}

impl Table {
    /// Of a gateway that has time for as much as it may do at once.
    fn of_an_idle_gateway() -> Self {
        let mut table = Self::default();
        (0..1_000).for_each(|_| table.pace.looked(std::time::Duration::ZERO, false));
        table
    }

    /// One more job, with all of its devices there.
    fn begin(&mut self, tenant: &str, devices: usize, runbook_bytes: usize) -> u64 {
        let number = self.jobs.len() as u64;
        let prepared = prepared(tenant, number as u8, devices, runbook_bytes);
        let mut job = Job::new(prepared.plan.clone());
        (0..devices).for_each(|place| assert_eq!(job.online(place, at(0)), Owed::Nothing));
        let key = (tenant.parse().unwrap(), Id([number as u8; 16]));
        self.rota.add(&key.0, number);
        self.jobs.insert(number, UnderWay::new(key, "ann".parse().unwrap(), job, prepared));
        number
    }

    /// One turn: how many of each job are offered theirs.
    fn turn(&mut self) -> Vec<usize> {
        let mut taken = BTreeMap::new();
        take(&mut self.jobs, &mut self.rota, (at(1), self.pace), &mut taken);
        self.jobs.keys().map(|number| taken.get(number).map_or(0, Vec::len)).collect()
    }

    /// So many of a job's offers are answered, and run.
    fn answer(&mut self, number: u64, places: std::ops::Range<usize>) {
        let job = &mut self.jobs.get_mut(&number).unwrap().job;
        places.for_each(|place| job.started(place, at(2)));
    }

    fn bytes(&self, tenant: &str) -> usize {
        let of_tenant = self.jobs.values().filter(|under_way| under_way.key.0.as_str() == tenant);
        of_tenant.map(|under_way| under_way.job.unanswered() * under_way.prepared.offer_bytes()).sum()
    }
}

#[test]
fn a_small_job_is_offered_whole_in_its_first_turn_beside_large_ones_of_another_tenant() {
    let mut table = Table::of_an_idle_gateway();
    for _ in 0..8 {
        table.begin("acme", 2_000, 0);
    }
    let first = table.turn();
    assert_eq!(first.iter().sum::<usize>(), limits::OFFERS_PER_TURN_MAX, "no turn is longer");
    assert!(first.iter().all(|offers| *offers == limits::OFFERS_PER_TURN_MAX / 8), "{first:?}");
    let small = table.begin("globex", 100, 0);
    let second = table.turn();
    assert_eq!(second[small as usize], 100);
    assert_eq!(second.iter().sum::<usize>(), limits::OFFERS_PER_TURN_MAX);
}

#[test]
fn tenants_share_a_turn_evenly_whatever_the_number_of_their_jobs() {
    let mut table = Table::of_an_idle_gateway();
    for _ in 0..6 {
        table.begin("acme", 400, 0);
    }
    let others: Vec<u64> = (0..2).map(|_| table.begin("globex", 400, 0)).collect();
    let turn = table.turn();
    let globex: usize = others.iter().map(|number| turn[*number as usize]).sum();
    assert_eq!(globex, limits::OFFERS_PER_TURN_MAX / 2);
    assert_eq!(turn.iter().sum::<usize>(), limits::OFFERS_PER_TURN_MAX);
}

#[test]
fn a_job_waits_for_answers_and_then_offers_some_together() {
    let mut table = Table::default();
    let job = table.begin("acme", 1_000, 0);
    let (at_once, together) = (table.pace.at_once(), table.pace.together());
    assert_eq!(table.turn(), [at_once]);
    assert_eq!(table.turn(), [0]);
    table.answer(job, 0..together - 1);
    assert_eq!(table.turn(), [0], "a few more make one record");
    table.answer(job, together - 1..together);
    assert_eq!(table.turn(), [together]);
}

#[test]
fn the_unanswered_offers_of_a_tenant_have_room_in_memory_and_another_tenants_have_their_own() {
    let mut table = Table::of_an_idle_gateway();
    for _ in 0..3 {
        table.begin("acme", 200, 250 << 10);
    }
    let turn = table.turn();
    let (one, all) = (table.jobs[&0].prepared.offer_bytes(), table.bytes("acme"));
    assert_eq!(turn.iter().sum::<usize>(), limits::OFFERS_BYTES_PER_TENANT_MAX / one);
    assert!(all <= limits::OFFERS_BYTES_PER_TENANT_MAX && all + one > limits::OFFERS_BYTES_PER_TENANT_MAX, "{all}");
    assert!(turn.iter().max().unwrap() - turn.iter().min().unwrap() <= 1, "its jobs share it: {turn:?}");
    let other = table.begin("globex", 100, 250 << 10) as usize;
    let turn = table.turn();
    assert_eq!((turn[other], turn.iter().sum::<usize>()), (100, 100));
    // What is answered makes room again.
    table.answer(0, 0..10);
    assert_eq!(table.turn().iter().sum::<usize>(), 10);
}

#[test]
fn what_is_stopped_or_over_takes_nobodys_turn() {
    let mut table = Table::default();
    let (cancelled, other) = (table.begin("acme", 100, 0), table.begin("acme", 100, 0));
    table.jobs.get_mut(&cancelled).unwrap().job.cancel();
    let at_once = table.pace.at_once();
    assert_eq!(table.turn(), [0, at_once]);
    let job = &mut table.jobs.get_mut(&other).unwrap().job;
    for place in 0..at_once {
        job.started(place, at(2));
        job.ended(place, Outcome::Succeeded).unwrap();
    }
    assert_eq!(table.turn(), [0, 100 - at_once]);
    job_is_taken_out(&mut table, other);
    assert_eq!(table.turn(), [0]);
}

fn job_is_taken_out(table: &mut Table, number: u64) {
    table.rota.remove(number);
    table.jobs.remove(&number);
}

#[test]
fn the_devices_of_the_jobs_under_way_are_counted_for_each_tenant_and_for_all() {
    use belay_rules::limits::PLACES_OPEN_PER_TENANT_MAX;
    let mut table = Table::of_an_idle_gateway();
    let acme: TenantName = "acme".parse().unwrap();
    let largest = PLACES_OPEN_PER_TENANT_MAX / 20;
    (0..19).for_each(|_| _ = table.begin("acme", largest, 0));
    let check = |table: &Table, tenant: &TenantName, devices| {
        check_places(&table.jobs, tenant, &prepared(tenant.as_str(), 99, devices, 0))
    };
    assert_eq!(check(&table, &acme, largest), Ok(()));
    table.begin("acme", 1, 0);
    assert_eq!(check(&table, &acme, largest), Err(Full::TenantDevices(acme.clone())));
    assert_eq!(check(&table, &"globex".parse().unwrap(), largest), Ok(()));
}

#[test]
fn a_busy_gateway_offers_less_and_never_more_than_its_pace() {
    let mut table = Table::of_an_idle_gateway();
    let job = table.begin("acme", 5_000, 0);
    let many = table.turn()[0];
    (0..100).for_each(|_| table.pace.looked(belay_rules::job::LATE * 2, false));
    assert_eq!(table.turn(), [0], "it waits until fewer are unanswered");
    table.answer(job, 0..many - 1);
    let few = table.turn()[0];
    assert!(few < many && few == table.pace.at_once() - 1, "{few} of {many}");
}
