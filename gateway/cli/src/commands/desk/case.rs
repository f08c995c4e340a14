//! One session as its device signed it: who opened what, and how it ended, from entries that are proved to be in the log.

use super::{
    super::device::HeldRecord,
    proofs::{Answer, Proofs, Proven},
    taken::Whose,
};
use crate::{
    failure::{Outcome, refused},
    gateway::{self, Gateway, Route},
    home::Home,
    screen::note,
    trusted::Trusted,
};
use belay_certs::{
    DeviceAddress, Digest, Id, PublicKey, TenantName,
    policy::Policy,
    statement::{self, Body, Intent, SignedStatement, Statement},
};
use serde::Deserialize;

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
    /// The device's record, certified by a device CA.
    pub record: HeldRecord,
    /// All entries that name the session.
    pub proofs: Proofs,
    /// What the device signed.
    pub said: Said,
}

/// What a device signed about a session.
#[derive(Debug, Clone)]
pub struct Said {
    /// What it announced.
    pub intent: Intent,
    /// Of what it announced: the serial it had then.
    pub serial: u64,
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
        let device = about.device()?;
        let held = trusted.tenant(&about.tenant)?;
        let record = HeldRecord::of(home, trusted, &device)?;
        let now = super::super::now();
        if let Err(failure) = record.check_approved(&trusted.policies(&about.tenant)?, now) {
            note(&format!("belay: {}: only its certificate vouches for the host key", failure.sentence()));
        }
        let proofs = fetch(&gateway, held.policy(), &about.tenant, &[&about.session.to_string()])?;
        let said = Said::of(&proofs.entries, &about.session, &device, &record.record().host_key)?;
        if said.serial != record.record().serial {
            note(&format!("belay: {device} had serial {} then; its host key is the same", said.serial));
        }
        let whose = Whose { session: about.session, device, host_key: record.record().host_key.clone() };
        Ok(Self { gateway, about, whose, record, proofs, said })
    }
}

impl Said {
    /// What the entries hold of this session, each statement signed by `host_key`.
    ///
    /// # Errors
    /// No entry announces the session, or one was not signed by the device or does not agree with its statement.
    pub fn of(entries: &[Proven], session: &Id, device: &DeviceAddress, host_key: &PublicKey) -> Outcome<Self> {
        let mut said: Option<Self> = None;
        for proven in entries {
            let Some((signed, is_ours)) = statement_of(proven, session) else { continue };
            if !is_ours {
                continue;
            }
            let of = |invalid: belay_certs::Invalid| invalid.of(format!("entry {}", proven.index));
            let statement = statement::verify(signed, host_key).map_err(of)?;
            proven.entry.check_envelope(Some(host_key)).map_err(of)?;
            if statement.head.device != *device {
                return Err(refused(format!("entry {} is of {}", proven.index, statement.head.device)));
            }
            match (statement.body, &mut said) {
                (Body::SessionOpened(intent), None) => {
                    let serial = statement.head.serial;
                    said = Some(Self { intent, serial, is_over: false, recording: None, refused: None });
                }
                (Body::SessionRefused { intent, reason }, None) => {
                    let (serial, refused) = (statement.head.serial, Some(reason));
                    said = Some(Self { intent, serial, is_over: true, recording: None, refused });
                }
                (Body::SessionEnded { recording, .. }, Some(said)) if !said.is_over => {
                    (said.is_over, said.recording) = (true, recording);
                }
                _ => return Err(refused(format!("entry {} does not fit what the device said before", proven.index))),
            }
        }
        said.ok_or_else(|| refused(format!("no entry of the log says that the session {session} was asked for")))
    }
}

/// The statement of an entry, and whether it opens, refuses or ends this session.
fn statement_of<'p>(proven: &'p Proven, session: &Id) -> Option<(&'p SignedStatement, bool)> {
    let signed = proven.entry.statement.as_ref()?;
    let is_ours = Statement::parse(signed.text.as_bytes()).is_ok_and(|statement| match &statement.body {
        Body::SessionOpened(intent) => proven.entry.kind == "session.opened" && intent.session == *session,
        Body::SessionRefused { intent, .. } => intent.session == *session,
        Body::SessionEnded { session: ended, .. } => ended == session,
        _ => false,
    });
    Some((signed, is_ours))
}

/// Entries of a tenant's log, checked with the log's key from its policy: of a number, an event's id, a session or a job, and
/// of that of one device only.
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
        let ours = proofs.entries.iter().filter_map(|proven| statement_of(proven, session).filter(|(_, ours)| *ours));
        let said = ours.filter_map(|(signed, _)| Statement::parse(signed.text.as_bytes()).ok()).next();
        let said = said.ok_or_else(|| refused(format!("{session} is no session of {}", policy.tenant)))?;
        Ok((gateway, About::of(*session, &said.head.device, UNRECORDED.to_owned())))
    }))
}
