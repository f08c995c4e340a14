//! Small texts: names, the patterns in grants, the words of a command over ssh, and a device's own journal.

use crate::read_again;
use belay_agent_rules::journal as lines;
use belay_certs::{
    AccountName, DeviceAddress, DeviceName, Digest, Id, PersonName, PersonRef, RunbookName, TenantName, Timestamp,
    order::Share,
    pattern::Pattern,
    policy::{DevicePattern, ForwardRule, Glob, Hours, TicketPattern},
    runbook::{OutputLimit, Timeout},
};
use belay_rules::{LogName, words as cut};
use std::{fmt, str::FromStr};

/// What is accepted prints as itself.
fn same<T: FromStr + fmt::Display + PartialEq + fmt::Debug>(text: &str) -> Option<T> {
    let value = text.parse::<T>().ok()?;
    read_again(&value, value.to_string().parse::<T>());
    Some(value)
}

/// Host names, tenants, persons, accounts, digests, ids and moments.
pub(crate) fn names(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Some(address) = same::<DeviceAddress>(&text) {
        assert_eq!(address.to_string(), text, "a device has one spelling");
    }
    same::<TenantName>(&text);
    same::<DeviceName>(&text);
    same::<AccountName>(&text);
    same::<PersonName>(&text);
    same::<RunbookName>(&text);
    same::<PersonRef>(&text);
    same::<LogName>(&text);
    same::<Digest>(&text);
    same::<Id>(&text);
    same::<Timestamp>(&text);
}

/// A pattern of a grant in the first line, what it is held against in the second.
pub(crate) fn rules(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (pattern, against) = text.split_once('\n').unwrap_or((&text, "web1.acme"));
    if let Some(glob) = same::<Glob>(pattern) {
        assert!(!glob.is_any() || glob.matches(against), "the glob for everything");
        assert!(pattern.contains('*') || glob.matches(against) == (pattern == against), "a glob without a star");
    }
    if let (Some(pattern), Ok(device)) = (same::<DevicePattern>(pattern), against.parse::<DeviceAddress>()) {
        let _ = pattern.matches(&device, &[against.to_owned()]);
    }
    if let Some(hours) = same::<Hours>(pattern) {
        let seconds = against.bytes().fold(0_i64, |all, byte| (all << 5) ^ i64::from(byte));
        let _ = hours.contains(Timestamp::from_seconds(seconds % 250_000_000_000));
    }
    if let Some(ticket) = same::<TicketPattern>(pattern) {
        let plain = pattern.bytes().all(|byte| byte.is_ascii_alphanumeric());
        assert!(!plain || ticket.matches(against) == (pattern == against), "a ticket without a class");
    }
    if let Some(wanted) = same::<Pattern>(pattern) {
        let plain = pattern.bytes().all(|byte| byte.is_ascii_alphanumeric());
        assert!(!plain || wanted.matches(against) == (pattern == against), "a pattern without a class");
    }
    same::<Share>(pattern);
    same::<Timeout>(pattern);
    same::<OutputLimit>(pattern);
    if let Some(rule) = same::<ForwardRule>(pattern) {
        let (host, port) = against.rsplit_once(':').unwrap_or((against, "22"));
        let _ = rule.allows(host, port.parse().unwrap_or(22));
    }
}

/// A command line that came over ssh: words that are quoted again are the same words.
pub(crate) fn words(input: &[u8]) {
    let Ok(words) = cut::split(input) else { return };
    let quoted: Vec<String> = words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
    match cut::split(quoted.join(" ").as_bytes()) {
        Ok(again) => assert_eq!(again, words, "words quoted as a shell does"),
        Err(sentence) => assert!(sentence.contains("at most"), "{sentence}"),
    }
}

/// A device's journal after a crash: as it is, and with the check before each line made to fit, which no fuzzer finds.
pub(crate) fn journal(input: &[u8]) {
    replayed(input);
    let text = String::from_utf8_lossy(input);
    let checked = text.lines().map(|line| {
        let json = line.split_once(" [").map_or(line.to_owned(), |(_, rest)| format!("[{rest}"));
        let digits: String = Digest::of(json.as_bytes()).hex().chars().take(16).collect();
        format!("{digits} {json}\n")
    });
    replayed(checked.collect::<String>().as_bytes());
}

/// What is believed of a journal is a journal by itself, and says the same when it is compacted.
fn replayed(journal: &[u8]) {
    let Ok(whole) = lines::replay(journal) else { return };
    let again = lines::replay(journal.get(..whole.whole_bytes).unwrap_or_default());
    let again = again.map(|again| (again.whole_bytes, again.chain, again.kept));
    let compacted = lines::encode(&whole.chain.snapshot()).and_then(|text| lines::replay(text.as_bytes()).ok());
    assert_eq!(compacted.map(|again| again.chain).as_ref(), Some(&whole.chain), "compacted it says the same");
    assert_eq!(again, Ok((whole.whole_bytes, whole.chain, whole.kept)), "the whole records alone");
}
