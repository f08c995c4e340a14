//! What a policy says, once it is read: the types of `policy.v1@belay`. Everything in them is already right.
//!
//! Not here: reading the text (`parse`), versions and signatures (`chain`), judging a question (`decide`).

use super::{DevicePattern, ForwardRule, Glob, Hours, TicketPattern};
use crate::invalid::{Invalid, malformed};
use crate::{AccountName, Digest, PersonName, PersonRef, PublicKey, TenantName, Timestamp};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// One version of one tenant's policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Whose machines it rules.
    pub tenant: TenantName,
    /// Its number: 0, then always one more.
    pub version: u64,
    /// The digest of the version before; `None` in version 0 only.
    pub previous: Option<Digest>,
    /// When it was written.
    pub issued: Timestamp,
    /// From when on it starts nothing; at most 90 days after `issued`.
    pub expires: Timestamp,
    /// The oldest agent that may act on it: a semantic version, as `0.1.0`.
    pub min_agent: String,
    /// Whose signatures make this version, and the next one, valid.
    pub root: Root,
    /// Where the gateway is and how it is known.
    pub gateway: Gateway,
    /// Who certifies devices, and which are void.
    pub devices: Devices,
    /// The policies whose people may be named as `TENANT:NAME`, each pinned by the digest of its version 0.
    pub imports: BTreeMap<TenantName, Digest>,
    /// The tenants a provider serves, for laptops that pin only the provider.
    pub serves: Vec<Serves>,
    /// Who is who.
    pub people: Vec<Person>,
    /// Who may do what, in the order of the document.
    pub grants: Vec<GrantLine>,
    /// Whose runbooks count.
    pub runbooks: Runbooks,
    /// Who can read recordings, and for how long they are kept.
    pub recording: Recording,
}

/// The root keys of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Distinct signatures needed: 1 to the number of keys.
    pub threshold: usize,
    /// The keys, all different.
    pub keys: Vec<PublicKey>,
}

/// All that a laptop or a device believes about the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Where technicians' `ssh` goes: `host:port`.
    pub ssh: String,
    /// The host keys shown there.
    pub ssh_host_keys: Vec<PublicKey>,
    /// Where devices dial: `host:port` each.
    pub addresses: Vec<String>,
    /// SHA-256 of the DER of the transport CA certificates.
    pub transport_ca: Vec<Digest>,
    /// The tenant's logs; the last one is current.
    pub logs: Vec<LogIdentity>,
}

/// A log's name and key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogIdentity {
    /// The origin line of its checkpoints.
    pub origin: String,
    /// Its key as a signed-note verifier key: `name+hash+key`.
    pub vkey: String,
}

/// What makes a machine one of the tenant's devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Devices {
    /// The device CAs.
    pub ca: Vec<PublicKey>,
    /// Void device record serials.
    pub revoked: Vec<u64>,
}

/// A tenant that a provider's policy points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serves {
    /// Its name.
    pub tenant: TenantName,
    /// The digest of its version 0.
    pub policy0: Digest,
}

/// A technician, auditor or robot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The name, unique among the people and teams of this policy.
    pub name: PersonName,
    /// Whether it is a program.
    pub robot: bool,
    /// The keys it is known by; no key is in two persons.
    pub keys: Vec<PublicKey>,
    /// The teams it is in.
    pub teams: Vec<PersonName>,
}

/// One `[[grants]]`. Every condition on it must hold, whatever the action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantLine {
    /// The line of its `[[grants]]` in the document, from 1.
    pub line: usize,
    /// People and teams.
    pub who: Vec<PersonRef>,
    /// The devices it reaches.
    pub on: Vec<DevicePattern>,
    /// The devices it does not reach, whatever `on` says.
    pub except: Vec<DevicePattern>,
    /// What may be done.
    pub actions: Vec<ActionKind>,
    /// As whom (`as`).
    pub accounts: Vec<AccountName>,
    /// Where `forward` may go; none means nowhere.
    pub forward_to: Vec<ForwardRule>,
    /// When.
    pub hours: Option<Hours>,
    /// The ticket that must be named.
    pub ticket: Option<TicketPattern>,
    /// Which runbooks `run` may run; none means none.
    pub runbooks: Vec<Glob>,
    /// The highest risk of a runbook.
    pub risk: Risk,
    /// The most devices of one order.
    pub devices_max: Option<u64>,
    /// Whether what is done under it is marked for review.
    pub review: bool,
}

/// How much harm a runbook can do; `High` includes `Normal`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Risk {
    /// The default.
    #[default]
    Normal,
    /// Needs a second signer and a grant that says so.
    High,
}

/// Who may write runbooks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Runbooks {
    /// People and teams whose runbooks are valid.
    pub signers: Vec<PersonRef>,
    /// Runbooks that are valid no more.
    pub withdrawn: Vec<Digest>,
}

/// Where recordings go. Without the section nothing is recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recording {
    /// age recipients.
    pub to: Vec<String>,
    /// Whether the gateway can read them too: P2 weakened, and said so.
    pub readable_by_gateway: bool,
    /// Whether they hold what was typed too, as far as the terminal showed it: nothing while its echo is off.
    pub input: bool,
    /// Days they are kept; `None` keeps them until somebody deletes them.
    pub keep_days: Option<u32>,
}

impl Recording {
    /// Whether sessions are recorded: the policy has the section, which always names a reader.
    pub fn is_on(&self) -> bool {
        self.readable_by_gateway || !self.to.is_empty()
    }
}

/// What a grant can give (`do`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ActionKind {
    /// Shells and commands.
    Shell,
    /// sftp and scp.
    Files,
    /// TCP forwards.
    Forward,
    /// Runbooks.
    Run,
    /// Tokens and approvals.
    Enrol,
    /// Reading the log and recordings.
    Audit,
    /// Ending sessions, freezing devices and the like.
    Operate,
}

impl ActionKind {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 7] =
        [Self::Shell, Self::Files, Self::Forward, Self::Run, Self::Enrol, Self::Audit, Self::Operate];

    /// The word in `do`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shell => "shell",
            Self::Files => "files",
            Self::Forward => "forward",
            Self::Run => "run",
            Self::Enrol => "enrol",
            Self::Audit => "audit",
            Self::Operate => "operate",
        }
    }

    /// Whether it happens as an account of the device, so that a grant of it must say `as`.
    pub fn has_account(self) -> bool {
        match self {
            Self::Shell | Self::Files | Self::Forward | Self::Run => true,
            Self::Enrol | Self::Audit | Self::Operate => false,
        }
    }
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ActionKind {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
            malformed(format!("{text:?} is not an action: use shell, files, forward, run, enrol, audit or operate"))
        })
    }
}

impl Risk {
    /// The word in `risk`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Risk {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "normal" => Ok(Self::Normal),
            "high" => Ok(Self::High),
            _ => Err(malformed(format!("{text:?} is not a risk: use `normal` or `high`"))),
        }
    }
}
