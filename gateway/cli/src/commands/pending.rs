//! `belay pending`: the machines that ask to join, each verified on this machine. `belay approve` starts from the same list.
//!
//! Only signed bytes are believed; what the gateway says about itself (`seen from`, `since`) is shown as its word.

use super::now;
use crate::{
    failure::{Failure, Outcome, While, refused},
    gateway::Gateway,
    home::Home,
    limits::{PENDING_MAX, ROWS_AT_ONCE},
    screen::{json, note, say, table},
    trusted::Trusted,
};
use belay_certs::{
    DeviceAddress, Digest, Fault, Id, Namespace, PersonRef, PublicKey, Signed, TenantName, Timestamp,
    join::{self, JoinRequest, SignedJoin},
    policy::{ActionKind, Policies, may_anywhere},
    token::{self, Token},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// `belay pending`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only machines of this tenant
    tenant: Option<TenantName>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One row of `pending --json`, as far as it is used.
#[derive(Debug, Clone, Deserialize)]
struct Row {
    name: String,
    #[serde(default)]
    address: Option<String>,
    #[serde(default)]
    since: Option<String>,
    token: SentToken,
    request: SentRequest,
    serial_next: u64,
    #[serde(default)]
    holder: Option<Holder>,
}

/// A device that has the name a machine asks for, as the gateway says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Holder {
    /// Its record's.
    pub serial: u64,
    /// The digest of its machine id.
    pub machine_id: Digest,
}

/// Which machines that wait are asked for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Only this tenant's.
    pub tenant: Option<TenantName>,
    /// Only those that came with this token.
    pub token: Option<Id>,
}

impl Wanted {
    /// Those that came with a token.
    pub fn of_token(token: Token) -> Self {
        Self { tenant: Some(token.tenant), token: Some(token.id) }
    }
}

#[derive(Debug, Clone, Deserialize)]
struct SentToken {
    text: String,
    signature: String,
}

#[derive(Debug, Clone, Deserialize)]
struct SentRequest {
    text: String,
    by_join_key: String,
    by_host_key: String,
}

/// A machine whose request verifies: everything here but `seen_from` and `since` is signed.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The name it asks for.
    pub device: DeviceAddress,
    /// Its host key.
    pub host_key: PublicKey,
    /// The token's labels.
    pub labels: Vec<String>,
    /// Who made the token.
    pub invited_by: PersonRef,
    /// The digest of its machine id.
    pub machine_id: Digest,
    /// The next serial the gateway knows of.
    pub serial_next: u64,
    /// The device that has its name, as the gateway says.
    pub holder: Option<Holder>,
    /// The digest of the token it came with.
    pub token: Digest,
    /// Where it called from, as the gateway says.
    pub seen_from: String,
    /// Since when it waits, as the gateway says.
    pub since: String,
    /// Something the approver must know before saying yes.
    pub remark: String,
}

/// A machine whose request does not verify, and why.
#[derive(Debug, Clone)]
pub struct Rejected {
    /// The name, as the gateway says.
    pub name: String,
    /// What is wrong.
    pub sentence: String,
}

/// The pending machines and what they were verified under.
pub struct Found {
    /// The policies, fresh for every tenant that has a row.
    pub trusted: Trusted,
    /// Every pending machine, verified or rejected, in the gateways' order.
    pub rows: Vec<Result<Candidate, Rejected>>,
    /// The failure of a gateway while others answered.
    pub outcome: Outcome,
}

/// Asks the gateways, and verifies what they answer under the newest policies.
///
/// # Errors
/// Nothing is trusted here.
pub fn fetch(home: &Home, wanted: &Wanted) -> Outcome<Found> {
    let (rows, outcome) = ask_in_pieces(home, &Trusted::load(home)?, wanted)?;
    judge_all(home, rows, outcome)
}

/// Verifies rows under the newest policies of the tenants they are of.
///
/// # Errors
/// Nothing is trusted here.
pub fn judge_all(home: &Home, rows: Vec<Value>, outcome: Outcome) -> Outcome<Found> {
    let named = |row: &Value| row.get("name").and_then(Value::as_str)?.parse::<DeviceAddress>().ok();
    let tenants: BTreeSet<TenantName> = rows.iter().filter_map(named).map(|device| device.tenant).collect();
    let trusted = Trusted::refresh_only(home, &tenants)?;
    let now = now();
    let rows = rows.into_iter().map(|row| judge(&trusted, row, now)).collect();
    Ok(Found { trusted, rows, outcome })
}

/// Everything that waits at every gateway, piece by piece. The failure of one is given back beside the rows of the others.
fn ask_in_pieces(home: &Home, trusted: &Trusted, wanted: &Wanted) -> Outcome<(Vec<Value>, Outcome)> {
    let (mut rows, mut outcome) = (Vec::new(), Ok(()));
    for gateway in trusted.gateways(home)? {
        if let Err(failure) = ask_one(&gateway, wanted, &mut rows) {
            outcome = Err(failure);
        }
    }
    if outcome.is_err() && !rows.is_empty() {
        note("belay: a gateway did not answer, so this list is not complete");
    }
    Ok((rows, outcome))
}

fn ask_one(gateway: &Gateway<'_>, wanted: &Wanted, rows: &mut Vec<Value>) -> Outcome {
    let limit = ROWS_AT_ONCE.to_string();
    let token = wanted.token.map(|token| token.to_string());
    // Tenant and name of the last one: the gateway's order, which must rise, or we would ask for ever.
    let mut last: Option<(TenantName, DeviceAddress)> = None;
    loop {
        let after = last.as_ref().map(|(_, device)| device.to_string());
        let mut words = vec!["pending", "--json", "--limit", &limit];
        for (option, value) in [
            ("--tenant", wanted.tenant.as_ref().map(TenantName::as_str)),
            ("--token", token.as_deref()),
            ("--after", after.as_deref()),
        ] {
            words.extend(value.into_iter().flat_map(|value| [option, value]));
        }
        let piece: Vec<Value> = gateway.ask(&words)?;
        let count = piece.len();
        let end = piece.last().and_then(|row| row.get("name")?.as_str()?.parse::<DeviceAddress>().ok());
        rows.extend(piece);
        if count < ROWS_AT_ONCE {
            return Ok(());
        }
        let next = end.map(|device| (device.tenant.clone(), device)).filter(|next| last.as_ref() < Some(next));
        if next.is_none() || rows.len() > PENDING_MAX {
            return Err(Failure::Gateway("the gateway's list of machines has no end: it is not believed".to_owned()));
        }
        last = next;
    }
}

fn judge(trusted: &Trusted, row: Value, now: Timestamp) -> Result<Candidate, Rejected> {
    let name = row.get("name").and_then(Value::as_str).unwrap_or("?").to_owned();
    let parsed: Outcome<Row> = serde_json::from_value(row).during(|| "the gateway's row is not understood".to_owned());
    parsed
        .and_then(|row| verify(|tenant| trusted.policies(tenant), &row, now))
        .map_err(|failure| Rejected { name, sentence: failure.sentence().to_owned() })
}

/// Checks one row: the token by someone who may, the request by both its keys, and that the row names the same device.
fn verify<'a>(
    policies: impl Fn(&TenantName) -> Outcome<Policies<'a>>,
    row: &Row,
    now: Timestamp,
) -> Outcome<Candidate> {
    let sent = SignedJoin {
        bytes: row.request.text.clone().into_bytes(),
        by_join_key: row.request.by_join_key.clone(),
        by_host_key: row.request.by_host_key.clone(),
    };
    let signed = Signed { bytes: row.token.text.clone().into_bytes(), signatures: vec![row.token.signature.clone()] };
    let claimed = JoinRequest::parse(&sent.bytes)?;
    let policies = policies(&claimed.tenant)?;
    let (token, invited_by, remark) = invited(&policies, &signed, &claimed, now)?;
    let request = join::check(&sent, &token, &signed.bytes)?;
    let device = DeviceAddress { device: request.name, tenant: request.tenant };
    if device.to_string() != row.name {
        return Err(refused(format!("the gateway calls it {:?}, but the machine signed {device}", row.name)));
    }
    Ok(Candidate {
        device,
        host_key: request.host_key,
        labels: token.labels,
        invited_by,
        machine_id: request.machine_id,
        serial_next: row.serial_next,
        holder: row.holder.clone(),
        token: Digest::of(&signed.bytes),
        seen_from: row.address.clone().unwrap_or_else(|| "-".to_owned()),
        since: row.since.clone().unwrap_or_else(|| "-".to_owned()),
        remark,
    })
}

/// The token and who made it. One that has expired since the machine asked still counts, with a remark: approving is a
/// person's work and may take longer than a token lives.
fn invited(
    policies: &Policies<'_>,
    signed: &Signed,
    request: &JoinRequest,
    now: Timestamp,
) -> Outcome<(Token, PersonRef, String)> {
    match token::check_issued(policies, signed, now) {
        Ok((token, person)) => Ok((token, person, String::new())),
        Err(invalid) if invalid.fault == Fault::Expired => {
            let token = Token::parse(&signed.bytes)?;
            let in_time = token.issued <= request.issued && request.issued < token.expires;
            let same = token.tenant == *policies.tenant.tenant() && token.policy0 == policies.tenant.policy0();
            if !in_time || !same {
                return Err(invalid.into());
            }
            let signer = signed.only_signer(Namespace::Token)?;
            let person = may_anywhere(policies, &signer, ActionKind::Enrol, now).ok_or(invalid)?;
            let remark = format!("its token expired {}", token.expires);
            Ok((token, person, remark))
        }
        Err(invalid) => Err(invalid.into()),
    }
}

impl Candidate {
    /// Whose place it would take: to be read before saying yes.
    pub fn replaces(&self) -> Option<String> {
        let Holder { serial, machine_id } = self.holder.as_ref()?;
        let what = if *machine_id == self.machine_id { "the same machine, installed anew" } else { "ANOTHER machine" };
        Some(format!("REPLACES serial {serial} of this name ({what})"))
    }

    fn remarks(&self) -> String {
        let remarks: Vec<String> =
            self.replaces().into_iter().chain((!self.remark.is_empty()).then(|| self.remark.clone())).collect();
        remarks.join("; ")
    }
}

/// The table that is shown before anybody approves.
pub fn candidates_table(candidates: &[Candidate]) -> String {
    let rows: Vec<Vec<String>> = candidates
        .iter()
        .map(|one| {
            let labels = if one.labels.is_empty() { "-".to_owned() } else { one.labels.join(",") };
            let machine: String = one.machine_id.hex().chars().take(12).collect();
            vec![
                one.device.to_string(),
                one.host_key.fingerprint(),
                labels,
                machine,
                one.invited_by.to_string(),
                one.seen_from.clone(),
                one.since.clone(),
                one.remarks(),
            ]
        })
        .collect();
    table(&["NAME", "HOST KEY", "LABELS", "MACHINE", "TOKEN BY", "SEEN FROM", "SINCE", "REMARK"], &rows)
}

/// Lists them.
///
/// # Errors
/// A gateway cannot be asked.
pub fn run(home: &Home, args: &Args) -> Outcome {
    let Found { rows, outcome, .. } = fetch(home, &Wanted { tenant: args.tenant.clone(), token: None })?;
    if args.json {
        json(&Value::Array(rows.iter().map(row_json).collect()));
        return outcome;
    }
    let (good, bad): (Vec<_>, Vec<_>) = rows.into_iter().partition(Result::is_ok);
    let good: Vec<Candidate> = good.into_iter().flatten().collect();
    if !good.is_empty() {
        say(candidates_table(&good).trim_end());
    }
    tell_rejected(bad.into_iter().filter_map(Result::err));
    outcome
}

/// Says which requests do not verify.
pub fn tell_rejected(rejected: impl Iterator<Item = Rejected>) {
    for one in rejected {
        note(&format!("belay: {} is not what it says: {}", crate::screen::escape(&one.name), one.sentence));
    }
}

fn row_json(row: &Result<Candidate, Rejected>) -> Value {
    match row {
        Ok(one) => json!({
            "name": one.device, "host_key": one.host_key, "fingerprint": one.host_key.fingerprint(), "labels": one.labels,
            "machine_id": one.machine_id, "token_by": one.invited_by, "address": one.seen_from, "since": one.since,
            "remark": one.remarks(), "verified": true,
        }),
        Err(one) => json!({"name": one.name, "verified": false, "reason": one.sentence}),
    }
}

#[cfg(test)]
#[path = "pending/tests.rs"]
mod tests;
