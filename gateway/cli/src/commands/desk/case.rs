//! One session as its device signed it: who opened what, and how it ended, from entries that are proved to be in the log.

use super::{
    deleted::Deleted,
    proofs::{Answer, Proofs, Proven},
    records::{self, Logged, Records},
    taken::Whose,
};
use crate::{
    chain,
    failure::{Outcome, refused},
    gateway::{self, Gateway, Route},
    home::Home,
    trusted::Trusted,
};
use belay_certs::{
    DeviceAddress, Digest, Id, PublicKey, TenantName,
    policy::Policy,
    statement::{Body, Intent, Statement},
};
use serde::Deserialize;
use std::collections::BTreeSet;

/// The state of a recording that never was.
const UNRECORDED: &str = "none";

/// What a gateway says of a recording. Nothing of it is believed: it says whom to ask what.
#[derive(Debug, Clone, Deserialize)]
pub struct About {
    /// The session.
    pub session: Id,
    /// Whose it is.
    pub tenant: TenantName,
    /// `web1.acme`, or `web1`.
    device: String,
    /// `live`, `whole`, `missing`, `cut`, `deleted`; [`UNRECORDED`] of a session that nobody recorded.
    pub state: String,
}

impl About {
    /// Of a row of `sessions`.
    pub fn of(session: Id, device: &DeviceAddress, state: String) -> Self {
        Self { session, tenant: device.tenant.clone(), device: device.to_string(), state }
    }

    /// Whether there is a recording, or was one.
    pub fn is_recorded(&self) -> bool {
        self.state != UNRECORDED
    }

    /// The device.
    ///
    /// # Errors
    /// It is none of this tenant.
    pub fn device(&self) -> Outcome<DeviceAddress> {
        let address = if self.device.contains('.') {
            self.device.parse::<DeviceAddress>()?
        } else {
            format!("{}.{}", self.device, self.tenant).parse()?
        };
        if address.tenant != self.tenant {
            return Err(refused(format!("the gateway says that {address} is a device of {}", self.tenant)));
        }
        Ok(address)
    }
}

/// A session with everything that proves what is said of it.
pub struct Case<'h> {
    /// The gateway that has it.
    pub gateway: Gateway<'h>,
    /// What that says.
    pub about: About,
    /// Whose recording it must be.
    pub whose: Whose,
    /// The device's record, as the log has it; two if the device got another while the session went on.
    pub records: Records,
    /// All entries that name the session, and those that approved the device.
    pub proofs: Proofs,
    /// What the device signed.
    pub said: Said,
    /// What the log says of the recording's deletion.
    pub deleted: Option<Deleted>,
}

/// What a device signed about a session.
#[derive(Debug, Clone)]
pub struct Said {
    /// What it announced.
    pub intent: Intent,
    /// The device, as it was called then.
    pub device: DeviceAddress,
    /// The host key that it had then.
    pub host_key: PublicKey,
    /// The serials under which it spoke.
    pub serials: BTreeSet<u64>,
    /// Whether it said that the session is over.
    pub is_over: bool,
    /// The digest of the recording's last note, which the end names.
    pub recording: Option<Digest>,
    /// Why the device did not let it begin, if it did not.
    pub refused: Option<String>,
}

impl<'h> Case<'h> {
    /// Asks the gateways for a session and checks all that its device signed.
    ///
    /// # Errors
    /// No gateway shows it, or something does not verify; the sentence says what.
    pub fn open(home: &'h Home, trusted: &Trusted, session: &Id) -> Outcome<Self> {
        let (gateway, about) = find(home, trusted, session)?;
        Self::of(home, trusted, gateway, about)
    }

    /// The same where it is known which gateway has it.
    ///
    /// # Errors
    /// As [`Case::open`].
    pub fn of(home: &'h Home, trusted: &Trusted, gateway: Gateway<'h>, about: About) -> Outcome<Self> {
        let (device, tenant, session) = (about.device()?, &about.tenant, &about.session);
        let policy = trusted.tenant(tenant)?.policy();
        let proofs = fetch(&gateway, policy, tenant, &[&session.to_string(), "--records"])?;
        let serials = proofs.entries.iter().filter(|proven| statement_of(proven, session).is_some());
        let serials = serials.filter_map(records::serial).collect();
        let records = Records::of(&proofs, tenant, &serials, &device_cas(home, policy))?;
        let said = Said::of(&proofs.entries, session, &records)?;
        if said.device != device {
            return Err(refused(format!(
                "the gateway calls {session} a session on {device}, but it was on {}",
                said.device
            )));
        }
        records.tell_unapproved(&trusted.policies(tenant)?, super::super::now());
        let whose = Whose { session: *session, device, host_key: said.host_key.clone() };
        let deleted = Deleted::of(&proofs.entries, session)?;
        Ok(Self { gateway, about, whose, records, proofs, said, deleted })
    }
}

/// The device CAs that the policy names, and those that its earlier versions named: whoever was certified then spoke with that key.
pub fn device_cas(home: &Home, policy: &Policy) -> Vec<PublicKey> {
    let mut cas = policy.devices.ca.clone();
    cas.extend(chain::device_cas_gone(home, &policy.tenant, &policy.devices.ca));
    cas
}

impl Said {
    /// What the entries hold of this session, each statement signed by the host key of the record that it names.
    ///
    /// # Errors
    /// No entry announces the session, or one was not signed by the device or does not agree with its statement.
    pub fn of(entries: &[Proven], session: &Id, records: &Records) -> Outcome<Self> {
        let mut said: Option<Self> = None;
        for proven in entries.iter().filter(|proven| statement_of(proven, session).is_some()) {
            let (logged, statement) = records.heard(proven)?;
            let serial = statement.head.serial;
            if said.as_ref().is_some_and(|said| said.host_key != logged.record().host_key) {
                let sentence = format!("entry {} is signed by another host key than what it continues", proven.index);
                return Err(refused(sentence));
            }
            match (statement.body, &mut said) {
                (Body::SessionOpened(intent), None) => said = Some(Self::begun(intent, logged)),
                (Body::SessionRefused { intent, reason }, None) => {
                    said = Some(Self { is_over: true, refused: Some(reason), ..Self::begun(intent, logged) });
                }
                (Body::SessionEnded { recording, .. }, Some(said)) if !said.is_over => {
                    (said.is_over, said.recording) = (true, recording);
                    said.serials.insert(serial);
                }
                _ => return Err(refused(format!("entry {} does not fit what the device said before", proven.index))),
            }
        }
        said.ok_or_else(|| refused(format!("no entry of the log says that the session {session} was asked for")))
    }

    fn begun(intent: Intent, logged: &Logged) -> Self {
        let record = logged.record();
        Self {
            intent,
            device: record.address.clone(),
            host_key: record.host_key.clone(),
            serials: BTreeSet::from([record.serial]),
            is_over: false,
            recording: None,
            refused: None,
        }
    }
}

/// What an entry's statement claims, if it opens, refuses or ends this session. Who made it is not checked.
fn statement_of(proven: &Proven, session: &Id) -> Option<Statement> {
    let signed = proven.entry.statement.as_ref()?;
    let statement = Statement::parse(signed.text.as_bytes()).ok()?;
    let is_ours = match &statement.body {
        Body::SessionOpened(intent) => proven.entry.kind == "session.opened" && intent.session == *session,
        Body::SessionRefused { intent, .. } => intent.session == *session,
        Body::SessionEnded { session: ended, .. } => ended == session,
        Body::RunStarted(_) | Body::RunRefused { .. } | Body::RunEnded(_) => false,
    };
    is_ours.then_some(statement)
}

/// Entries of a tenant's log, checked with the log's key from its policy: of a number, an event's id, a session or a job, of
/// that of one device only, and with the entries that approved who speaks.
///
/// # Errors
/// The gateway does not give them, or one does not verify.
pub fn fetch(gateway: &Gateway<'_>, policy: &Policy, tenant: &TenantName, which: &[&str]) -> Outcome<Proofs> {
    let log = policy.gateway.logs.last().ok_or_else(|| refused(format!("the policy of {tenant} names no log")))?;
    let answer: Answer = gateway.ask(&[&["log", "proof", tenant.as_str()], which].concat())?;
    Proofs::check(answer, tenant, log)
}

/// What `log proof` gives of a tenant whose gateway the policy names.
///
/// # Errors
/// As [`fetch`].
pub fn proofs(home: &Home, trusted: &Trusted, tenant: &TenantName, which: &str) -> Outcome<Proofs> {
    let policy = trusted.tenant(tenant)?.policy();
    fetch(&Gateway::new(home, Route::of(policy)?), policy, tenant, &[which])
}

/// The gateway that has the recording of a session, and what it says of it.
///
/// # Errors
/// None has.
pub fn find<'h>(home: &'h Home, trusted: &Trusted, session: &Id) -> Outcome<(Gateway<'h>, About)> {
    let gateways = trusted.gateways(home)?;
    let text = session.to_string();
    gateway::first(gateway::at_once(&gateways, |gateway| {
        let about: About = gateway.ask(&["recording", &text, "--json"])?;
        if about.session != *session {
            return Err(refused(format!("the gateway shows session {} where {session} was asked for", about.session)));
        }
        Ok((gateway.clone(), about))
    }))
}

/// The same of a session that nobody recorded: a log says on which device it was asked for.
///
/// # Errors
/// No log does.
pub fn find_unrecorded<'h>(home: &'h Home, trusted: &Trusted, session: &Id) -> Outcome<(Gateway<'h>, About)> {
    let tenants: Vec<_> = trusted.reached().collect();
    gateway::first(gateway::at_once(&tenants, |held| {
        let policy = held.policy();
        let gateway = Gateway::new(home, Route::of(policy)?);
        let proofs = fetch(&gateway, policy, &policy.tenant, &[&session.to_string()])?;
        let said = proofs.entries.iter().find_map(|proven| statement_of(proven, session));
        let said = said.ok_or_else(|| refused(format!("{session} is no session of {}", policy.tenant)))?;
        Ok((gateway, About::of(*session, &said.head.device, UNRECORDED.to_owned())))
    }))
}
