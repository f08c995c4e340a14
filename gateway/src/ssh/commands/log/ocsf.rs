//! An entry of a log as an event of the Open Cybersecurity Schema Framework, for the programs that gather events from everywhere.
//!
//! The fields are named as OCSF has them where it has a word; the entry itself is whole in `unmapped.belay`. An entry of a type
//! that this table does not name is a base event: nothing is left out.

use super::super::show;
use crate::store::Broken;
use belay_certs::entry::Entry;
use serde::Serialize;
use serde_json::Value;

/// The version of the schema whose names are used.
const SCHEMA: &str = "1.6.0";

/// What an event is, in numbers: class, activity in it, and how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Class(u32, u32, Status);

/// OCSF's `status_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Success = 1,
    Failure = 2,
}

/// OCSF's `severity_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    Informational = 1,
    Low = 2,
    Medium = 3,
    High = 4,
}

const BASE: u32 = 0;
const SCHEDULED_JOB: u32 = 1_006;
const PROCESS: u32 = 1_007;
const AUTHENTICATION: u32 = 3_002;
const ENTITY: u32 = 3_004;
const NETWORK: u32 = 4_001;
const SSH: u32 = 4_007;
const LIFECYCLE: u32 = 6_002;
const API: u32 = 6_003;
/// `Other` in every class.
const OTHER: u32 = 99;

fn class(kind: &str) -> Class {
    use Status::{Failure, Success};
    match kind {
        "access.opened" => Class(SSH, 1, Success),
        "access.ended" => Class(SSH, 2, Success),
        "access.refused" => Class(SSH, 5, Failure),
        "session.opened" => Class(AUTHENTICATION, 1, Success),
        "session.refused" | "session.withheld" => Class(AUTHENTICATION, 1, Failure),
        "session.ended" | "session.killed" => Class(AUTHENTICATION, 2, Success),
        "device.connected" => Class(NETWORK, 1, Success),
        "device.disconnected" | "device.superseded" => Class(NETWORK, 2, Success),
        "device.refused" => Class(NETWORK, 5, Failure),
        "job.submitted" => Class(SCHEDULED_JOB, 1, Success),
        "job.offered" => Class(SCHEDULED_JOB, 6, Success),
        "job.cancelled" | "job.stopped" => Class(SCHEDULED_JOB, 5, Success),
        "job.ended" => Class(SCHEDULED_JOB, OTHER, Success),
        "run.started" => Class(PROCESS, 1, Success),
        "run.refused" | "run.withheld" | "run.declined" => Class(PROCESS, 1, Failure),
        "run.ended" => Class(PROCESS, 2, Success),
        "token.issued" | "runbook.pushed" | "device.pending" => Class(ENTITY, 1, Success),
        "policy.adopted" | "policy.restarted" | "device.carried" | "device.recertified" => Class(ENTITY, 3, Success),
        "policy.refused" => Class(ENTITY, 3, Failure),
        "device.approved" => Class(ENTITY, 6, Success),
        "device.replaced" => Class(ENTITY, 7, Success),
        "freeze.begun" => Class(ENTITY, 12, Success),
        "freeze.lifted" => Class(ENTITY, 13, Success),
        "gateway.started" => Class(LIFECYCLE, 3, Success),
        "gateway.stopped" => Class(LIFECYCLE, 4, Success),
        "command.ran" => Class(API, OTHER, Success),
        "review.given" => Class(API, 3, Success),
        "recording.read" | "output.read" => Class(API, 2, Success),
        "recording.deleted" | "output.deleted" => Class(API, 4, Success),
        _ => Class(BASE, OTHER, Success),
    }
}

/// Somebody should look, or must.
fn severity(kind: &str, Class(.., status): Class) -> Severity {
    match kind {
        "statement.rejected" | "device.superseded" | "recording.cut" => Severity::High,
        "freeze.begun" | "session.killed" | "session.withheld" | "run.withheld" | "policy.restarted" => {
            Severity::Medium
        }
        _ if status == Status::Failure => Severity::Low,
        _ => Severity::Informational,
    }
}

#[derive(Serialize)]
struct Event<'a> {
    class_uid: u32,
    category_uid: u32,
    activity_id: u32,
    type_uid: u32,
    severity_id: u32,
    status_id: u32,
    /// In milliseconds since 1970.
    time: i64,
    message: &'a str,
    metadata: Metadata<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<Actor>,
    /// The account of a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Named>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<Device>,
    #[serde(skip_serializing_if = "Option::is_none")]
    src_endpoint: Option<Endpoint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<Uid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_detail: Option<String>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    version: &'static str,
    product: Product,
    uid: String,
    sequence: u64,
    event_code: &'a str,
    log_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_uid: Option<String>,
    original_time: String,
}

#[derive(Serialize)]
struct Product {
    name: &'static str,
    vendor_name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
struct Actor {
    user: Named,
}

#[derive(Serialize)]
struct Named {
    name: String,
}

#[derive(Serialize)]
struct Device {
    hostname: String,
    type_id: u32,
}

#[derive(Serialize)]
struct Endpoint {
    ip: String,
    port: u16,
}

#[derive(Serialize)]
struct Uid {
    uid: String,
}

/// The entry with this index of the log of `origin`, as one line.
///
/// # Errors
/// When it is no entry: then the database is damaged.
pub(super) fn line(index: u64, origin: &str, bytes: &[u8]) -> Result<String, Broken> {
    let unreadable =
        |why: &dyn std::fmt::Display| Broken::new(format!("entry {index} of {origin} is not readable: {why}"));
    let entry = Entry::parse(bytes).map_err(|invalid| unreadable(&invalid))?;
    let own = std::str::from_utf8(bytes).map_err(|error| unreadable(&error))?;
    let event = serde_json::to_string(&event(index, origin, &entry))?;
    let open = event.strip_suffix('}').ok_or_else(|| unreadable(&"it became no JSON object"))?;
    let whole = format!("{open},\"unmapped\":{{\"belay\":{own}}}}}");
    Ok(format!("{}\n", show::harmless(&whole)))
}

fn event<'a>(index: u64, origin: &'a str, entry: &'a Entry) -> Event<'a> {
    let class = class(&entry.kind);
    let Class(class_uid, activity_id, status) = class;
    let text = |member: &str| entry.detail.get(member).and_then(Value::as_str).map(str::to_owned);
    let device = match (&entry.device, &entry.tenant) {
        (Some(device), Some(tenant)) => Some(Device { hostname: format!("{device}.{tenant}"), type_id: 0 }),
        _ => None,
    };
    let endpoint = text("address").and_then(|address| address.parse::<std::net::SocketAddr>().ok());
    Event {
        class_uid,
        category_uid: class_uid / 1_000,
        activity_id,
        type_uid: class_uid * 100 + activity_id,
        severity_id: severity(&entry.kind, class) as u32,
        status_id: status as u32,
        time: entry.at.micros().div_euclid(1_000),
        message: &entry.kind,
        metadata: Metadata {
            version: SCHEMA,
            product: Product { name: "Belay", vendor_name: "Belay", version: env!("CARGO_PKG_VERSION") },
            uid: entry.id.to_string(),
            sequence: index,
            event_code: &entry.kind,
            log_name: origin,
            tenant_uid: entry.tenant.as_ref().map(ToString::to_string),
            original_time: entry.at.to_string(),
        },
        actor: entry.person.as_ref().map(|person| Actor { user: Named { name: person.to_string() } }),
        user: text("account").map(|name| Named { name }),
        device,
        src_endpoint: endpoint.map(|address| Endpoint { ip: address.ip().to_string(), port: address.port() }),
        session: text("session").map(|uid| Uid { uid }),
        status_detail: text("sentence").or_else(|| text("reason")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENED: &str = "{\"v\":1,\"id\":\"00000000000000000000000000000001\",\"type\":\"access.opened\",\
        \"at\":\"2026-11-21T09:00:00.5Z\",\"tenant\":\"acme\",\"device\":\"web1\",\"person\":\"msp:anna\",\
        \"access\":\"00000000000000000000000000000002\",\"address\":\"192.0.2.7:5022\",\"key\":\"SHA256:\u{202e}x\"}";

    fn event(text: &str) -> Value {
        let line = line(7, "gw.example/acme", text.as_bytes()).unwrap();
        assert!(line.ends_with("}\n") && line.matches('\n').count() == 1, "{line}");
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn an_event_has_the_names_of_the_schema_and_the_entry_itself() {
        let event = event(OPENED);
        let numbers = ["class_uid", "category_uid", "activity_id", "type_uid", "severity_id", "time"];
        let numbers = numbers.map(|field| event[field].as_i64().unwrap());
        assert_eq!(numbers, [4_007, 4, 1, 400_701, 1, 1_795_251_600_500]);
        assert_eq!(
            (&event["metadata"]["sequence"], &event["metadata"]["log_name"]),
            (&7.into(), &"gw.example/acme".into())
        );
        assert_eq!(event["actor"]["user"]["name"], "msp:anna");
        assert_eq!(event["device"]["hostname"], "web1.acme");
        assert_eq!(
            (&event["src_endpoint"]["ip"], &event["src_endpoint"]["port"]),
            (&"192.0.2.7".into(), &5_022.into())
        );
        assert_eq!(event["unmapped"]["belay"], serde_json::from_str::<Value>(OPENED).unwrap());
    }

    #[test]
    fn what_the_schema_has_no_word_for_is_a_base_event_and_nothing_is_left_out() {
        let unknown = OPENED.replace("access.opened", "moon.landed");
        let event = event(&unknown);
        assert_eq!(
            (&event["class_uid"], &event["activity_id"], &event["type_uid"]),
            (&0.into(), &99.into(), &99.into())
        );
        assert_eq!(event["unmapped"]["belay"]["type"], "moon.landed");
    }

    #[test]
    fn every_class_is_of_its_category_and_a_no_is_a_failure() {
        let event = event(&OPENED.replace("access.opened", "access.refused"));
        assert_eq!(
            (&event["status_id"], &event["activity_id"], &event["severity_id"]),
            (&2.into(), &5.into(), &2.into())
        );
        assert!(line(7, "gw.example/acme", b"[]").is_err());
    }
}
