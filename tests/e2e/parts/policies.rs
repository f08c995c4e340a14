//! Policies as a person edits, signs and pushes them by hand, with nothing of `belay` in between.

use belay_certs::{Digest, Timestamp, time::DAY};
use belay_tests::Person;
use std::{path::Path, time::SystemTime};

/// The newest text that the gateway has of a tenant's policy.
pub fn newest(person: &Person, tenant: &str) -> String {
    person.gw(&format!("policy show {tenant}")).must().out()
}

/// The version after `text`, valid but for what the caller changes and the signature.
pub fn next(text: &str) -> String {
    let now = Timestamp::from_system(SystemTime::now()).whole_second();
    let expires = now.plus(60 * DAY);
    let mut out = String::new();
    for line in text.lines() {
        let line = match line.split(" = ").next() {
            Some("version") => {
                let version: u64 = line.trim_start_matches("version = ").trim().parse().unwrap();
                format!("version = {}\nprevious = \"{}\"", version + 1, Digest::of(text.as_bytes()))
            }
            Some("previous") => continue,
            Some("issued") => format!("issued = {now}"),
            Some("expires") => format!("expires = {expires}"),
            _ => line.to_owned(),
        };
        out.push_str(&line);
        out.push('\n');
    }
    out
}

/// The text with its signature, as `policy push` takes it.
pub fn signed(text: &str, key: &Path) -> Vec<u8> {
    let mut out = text.as_bytes().to_vec();
    out.extend(Person::sign(key, "policy.v1@belay", text.as_bytes()).unwrap().into_bytes());
    out
}
