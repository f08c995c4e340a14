//! Orders as somebody writes them by hand, every member free.

use belay_certs::{
    Digest, Id, Timestamp,
    order::{DeviceLine, DeviceList, Order, Waves},
    time::SECOND,
};
use belay_tests::{Person, World};
use std::{fs, path::Path, time::SystemTime};

/// The namespace of orders.
pub const ORDER: &str = "order.v1@belay";

/// An order before it is signed.
#[derive(Debug, Clone)]
pub struct Draft {
    pub order: Order,
    pub list: DeviceList,
}

impl Draft {
    /// An order of the runbook in `file` for these devices of acme, that counts from now on for a quarter of an hour.
    #[track_caller]
    pub fn of(world: &World, person: &Person, (name, file): (&str, &Path), devices: &[&str]) -> Self {
        let list = list(person, devices);
        let policy = person.gw("policy show acme").must().stdout;
        let text = String::from_utf8_lossy(&policy).into_owned();
        let version = text.lines().find_map(|line| line.strip_prefix("version = ")).unwrap();
        let now = Timestamp::from_system(SystemTime::now()).whole_second();
        let order = Order {
            tenant: "acme".parse().unwrap(),
            id: Id::random().unwrap(),
            runbook: name.parse().unwrap(),
            version: Digest::of(&fs::read(file).unwrap()),
            account: world.account().parse().unwrap(),
            ticket: None,
            issued: now,
            not_before: now,
            not_after: now.plus(900 * SECOND),
            policy_version: version.parse().unwrap(),
            policy: Digest::of(&policy),
            devices: list.count(),
            devices_root: list.root(),
            waves: Waves::default(),
            stop_above: None,
            timeout: None,
            secrets: Vec::new(),
            output_to: Vec::new(),
            arguments: Default::default(),
        };
        Self { order, list }
    }

    /// The same with another id, and a change.
    pub fn changed(&self, change: impl FnOnce(&mut Order)) -> Self {
        let mut draft = self.clone();
        draft.order.id = Id::random().unwrap();
        change(&mut draft.order);
        draft
    }

    /// The same with another id and these arguments.
    pub fn told(&self, arguments: &[(&str, &str)]) -> Self {
        let told = arguments.iter().map(|(name, value)| (name.parse().unwrap(), (*value).to_owned())).collect();
        self.changed(|order| order.arguments = told)
    }

    /// The same with another id, counting from so many seconds from now on for so many more.
    pub fn counting(&self, from: i64, seconds: i64) -> Self {
        let from = Timestamp::from_system(SystemTime::now()).whole_second().plus(from * SECOND);
        self.changed(|order| (order.not_before, order.not_after) = (from, from.plus(seconds * SECOND)))
    }

    pub fn id(&self) -> String {
        self.order.id.to_string()
    }
}

/// The list of these devices with the serials of their records.
#[track_caller]
pub fn list(person: &Person, devices: &[&str]) -> DeviceList {
    let records = person.gw("records acme").must().json();
    let line = |device: &&str| {
        let address = format!("{device}.acme");
        let record = records.as_array().unwrap().iter().find(|record| record["name"] == address.as_str());
        let text = record.unwrap_or_else(|| panic!("no {address}: {records}"))["record"].as_str().unwrap();
        let serial = text.lines().find_map(|line| line.strip_prefix("serial = ")).unwrap();
        DeviceLine { name: device.parse().unwrap(), serial: serial.parse().unwrap(), sealed: None }
    };
    DeviceList::of(devices.iter().map(line).collect()).unwrap()
}
