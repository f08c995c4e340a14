//! How a machine joins: the token is checked here, the gateway's fingerprint before a word is said, the policy chain from
//! version 0, and only then is anything pinned. Joining again after a cut continues with the same keys.
//!
//! Not here: the approval that follows, which the running agent takes (`authority`).

mod answer;

use crate::{
    limits::{JOIN_WAIT, TOKEN_FILE_BYTES_MAX},
    quic::{
        ask::ask,
        endpoint::{self, Dial, Unreached, dial},
    },
    state::{
        Broken, StateDir,
        clock::Clock,
        files, forgetting,
        identity::{self, Identity, Pin, Transport},
        policies::PolicyFiles,
        runs::remembers_since,
    },
    words::heard,
};
use answer::{Verified, verify};
use belay_certs::{
    DeviceAddress, DeviceName, Digest, Id, Invalid, PrivateKey, TenantName, Timestamp,
    join::{self, JoinRequest},
    token::{Token, TokenFile},
    transport::{self, ClientKey},
};
use belay_protocol::{ALPN_JOIN, CloseCode, JoinAccepted, JoinAnswer, JoinAsked};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// Why the machine did not join. Nothing was pinned.
#[derive(Debug, thiserror::Error)]
pub enum NotJoined {
    /// The token cannot be read or does not count.
    #[error("{0}")]
    Token(String),
    /// The machine belongs to another chain.
    #[error(
        "this machine belongs to {held}, and a machine never leaves its tenant by a token: if it is meant to, run \
         `belay-agent forget --tenant {}` here first", held.tenant
    )]
    Pinned {
        /// What it is now.
        held: DeviceAddress,
    },
    /// The host name is no device name.
    #[error("the host name {0:?} is not a device name: give one with --name, as web1")]
    Name(String),
    /// No gateway was reached.
    #[error("no gateway was reached, so nothing was asked: {0}")]
    Unreached(#[from] Unreached),
    /// The gateway did not answer as it should.
    #[error("the gateway did not answer the join: {0}")]
    Unanswered(String),
    /// The gateway said no, in its own words.
    #[error("the gateway refused the join: {0}")]
    Refused(String),
    /// What the gateway answered is not what the token promised; somebody may be in between.
    #[error("the gateway's answer is not to be believed, so this machine did not join: {0}")]
    Disbelieved(Invalid),
    /// The machine failed us.
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// What a join came to, for the person at the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// What the machine asked to be called.
    pub address: DeviceAddress,
    /// The host key's fingerprint, to be compared by whoever approves.
    pub fingerprint: String,
    /// Whether it had joined before.
    pub before: bool,
}

impl fmt::Display for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, fingerprint, before } = self;
        match before {
            true => writeln!(f, "{address} has joined before; nothing was changed.")?,
            false => writeln!(f, "{address} is pending: someone with `enrol` runs  belay approve {address}")?,
        }
        write!(f, "host key  {fingerprint}")
    }
}

/// Joins the tenant of the token in `token_file`, keeping everything under `state`.
///
/// Cut off at any point, kill -9 included: either the pin is there and the machine has joined, or the same command goes on
/// with the same keys, by which the gateway knows it again.
///
/// # Errors
/// [`NotJoined`].
pub async fn join(token_file: &Path, state: &Path, name: Option<DeviceName>) -> Result<Joined, NotJoined> {
    let file = read_token(token_file)?;
    let token = Token::parse(&file.token.bytes).map_err(|refused| NotJoined::Token(refused.sentence))?;
    let dir = StateDir::open(state)?;
    forgetting::finish(&dir)?;
    let clock = Clock::open(dir.at("clock"))?;
    check_token(&token, clock.now())?;
    if let Some(joined) = check_pin(&dir, &token, clock.now())? {
        return Ok(joined);
    }
    let name = choose_name(name, &token)?;
    let keys = Keys { host: identity::host_key(&dir)?, transport: identity::transport_key(&dir)? };
    let asked = make_request(&file, &token, &keys, name.clone(), clock.now())?;
    let accepted = put(&token, &asked).await?;
    let join = Id(accepted.join);
    check_certificate(&accepted, &keys.transport, join)?;
    let verified = verify(accepted.policies, &token, &file.token, clock.now()).map_err(disbelieved)?;
    let address = DeviceAddress { device: name, tenant: token.tenant.clone() };
    let pin = Pin {
        tenant: token.tenant.clone(),
        policy0: token.policy0,
        name: address.device.clone(),
        join,
        machine: identity::machine_id(),
    };
    remembers_since(&dir, clock.now())?;
    keep(&dir, &pin, &keys.transport, accepted.chain, &verified)?;
    Ok(Joined { address, fingerprint: keys.host.public().fingerprint(), before: false })
}

/// Why the machine forgot nothing.
#[derive(Debug, thiserror::Error)]
pub enum NotForgotten {
    /// There is nothing to forget.
    #[error("this machine belongs to no tenant: nothing was changed")]
    Nothing,
    /// The person means another tenant.
    #[error("this machine belongs to {held}, not to a tenant {meant}: nothing was changed")]
    Other {
        /// What it is.
        held: DeviceAddress,
        /// What the person said.
        meant: TenantName,
    },
    /// It is in use, or cannot be moved.
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// What the machine forgot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgotten {
    /// Where everything is.
    pub aside: PathBuf,
    /// Statements of its sessions that the gateway never answered for; none when that cannot be told.
    pub undelivered: Option<usize>,
}

impl fmt::Display for Forgotten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this machine has forgotten its tenant; everything it held is in {}", self.aside.display())?;
        match self.undelivered {
            Some(0) => Ok(()),
            Some(count) => write!(
                f,
                "\n{count} statements about its sessions were never delivered, and will not be: they stay there, in `outbox`"
            ),
            None => {
                write!(f, "\nwhether statements about its sessions are among it cannot be told: `outbox` is damaged")
            }
        }
    }
}

/// Sets the state at `state` aside, so that the machine can join anew. The person names the tenant, so that nobody forgets the
/// wrong one.
///
/// Cut off at any point, kill -9 included: the machine belongs to its tenant as before, or it has forgotten and can join.
///
/// # Errors
/// [`NotForgotten`]; an agent that runs holds the state.
pub fn forget(state: &Path, tenant: &TenantName) -> Result<Forgotten, NotForgotten> {
    if !state.exists() {
        return Err(NotForgotten::Nothing);
    }
    let dir = StateDir::open(state)?;
    let aside = match forgetting::finish(&dir)? {
        Some(aside) => aside,
        None => {
            match Pin::load(&dir) {
                Ok(None) => return Err(NotForgotten::Nothing),
                Ok(Some(pin)) if pin.tenant != *tenant => {
                    return Err(NotForgotten::Other { held: pin.address(), meant: tenant.clone() });
                }
                // A pin that cannot be read is one more reason to begin anew.
                Ok(Some(_)) | Err(_) => {}
            }
            forgetting::set_aside(&dir, Timestamp::from_system(std::time::SystemTime::now()))?
        }
    };
    let undelivered = forgetting::undelivered(&aside).ok();
    Ok(Forgotten { aside, undelivered })
}

/// The machine's own keys.
struct Keys {
    host: PrivateKey,
    transport: ClientKey,
}

fn read_token(path: &Path) -> Result<TokenFile, NotJoined> {
    let unread =
        |why: &dyn fmt::Display| NotJoined::Token(format!("the token file {} cannot be used: {why}", path.display()));
    let bytes = files::read(path, TOKEN_FILE_BYTES_MAX).map_err(|error| unread(&error))?;
    let bytes = bytes.ok_or_else(|| unread(&"there is no such file"))?;
    TokenFile::parse(&bytes).map_err(|refused| unread(&refused))
}

/// What can be checked before anybody is asked. The signer is checked under the policy that the gateway brings.
fn check_token(token: &Token, now: Timestamp) -> Result<(), NotJoined> {
    if now >= token.expires {
        return Err(NotJoined::Token(format!(
            "the token expired at {}: make a new one with `belay token`",
            token.expires
        )));
    }
    Ok(())
}

/// What an earlier join means for this one: done already, forbidden, or, on a cloned machine, to be set aside.
fn check_pin(dir: &StateDir, token: &Token, now: Timestamp) -> Result<Option<Joined>, NotJoined> {
    let Some(pin) = Pin::load(dir)? else { return Ok(None) };
    if pin.tenant != token.tenant || pin.policy0 != token.policy0 {
        return Err(NotJoined::Pinned { held: pin.address() });
    }
    if pin.machine == identity::machine_id() {
        let fingerprint = identity::kept_host_key(dir)?.public().fingerprint();
        return Ok(Some(Joined { address: pin.address(), fingerprint, before: true }));
    }
    let aside = forgetting::set_aside(dir, now)?;
    tracing::warn!(aside = %aside.display(), "this machine is a copy of {}: it makes new keys and asks for itself", pin.address());
    Ok(None)
}

fn choose_name(name: Option<DeviceName>, token: &Token) -> Result<DeviceName, NotJoined> {
    let name = match name {
        Some(name) => name,
        None => name_of_host(&fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default())?,
    };
    if !token.name_pattern.matches(name.as_str()) {
        let pattern = &token.name_pattern;
        return Err(NotJoined::Token(format!(
            "the token is for names like {pattern}, not {name}: give one with --name"
        )));
    }
    Ok(name)
}

/// The first label of the host name, as a device name.
fn name_of_host(hostname: &str) -> Result<DeviceName, NotJoined> {
    let label = hostname.trim().split('.').next().unwrap_or_default().to_ascii_lowercase();
    label.parse().map_err(|_| NotJoined::Name(label))
}

fn make_request(
    file: &TokenFile,
    token: &Token,
    keys: &Keys,
    name: DeviceName,
    now: Timestamp,
) -> Result<JoinAsked, NotJoined> {
    let request = JoinRequest {
        tenant: token.tenant.clone(),
        token: Digest::of(&file.token.bytes),
        host_key: keys.host.public().clone(),
        transport_key: keys.transport.spki_digest(),
        name,
        machine_id: identity::machine_id(),
        nonce: Id::random().map_err(own_fault)?,
        issued: now.whole_second(),
    };
    let signed = join::sign(&request, &file.join_key, &keys.host).map_err(own_fault)?;
    Ok(JoinAsked {
        token: file.token.bytes.clone(),
        token_signature: file.token.signatures.first().cloned().unwrap_or_default(),
        request: signed.bytes,
        by_join_key: signed.by_join_key,
        by_host_key: signed.by_host_key,
        csr: keys.transport.csr_der().map_err(own_fault)?,
    })
}

fn own_fault(refused: Invalid) -> NotJoined {
    NotJoined::Token(format!("the join request cannot be made: {refused}"))
}

/// The sentence may quote what the gateway sent.
fn disbelieved(refused: Invalid) -> NotJoined {
    NotJoined::Disbelieved(Invalid::new(refused.fault, heard(&refused.sentence)))
}

/// Asks the first gateway address that answers. The fingerprint was checked by then.
async fn put(token: &Token, asked: &JoinAsked) -> Result<JoinAccepted, NotJoined> {
    let mut unreached = None;
    for address in &token.addresses {
        let with = Dial { address, transport_ca: &token.transport_ca, alpn: ALPN_JOIN, shown: None };
        let dialled = match dial(&with).await {
            Ok(dialled) => dialled,
            Err(error) => {
                unreached = Some(error);
                continue;
            }
        };
        let answer = tokio::time::timeout(JOIN_WAIT, ask(&dialled, asked)).await;
        dialled.close(CloseCode::Finished).await;
        let answer = answer.map_err(|_| format!("it was silent for {} s", JOIN_WAIT.as_secs()));
        return match answer
            .and_then(|answer| answer.map_err(|ended| ended.to_string()))
            .map_err(NotJoined::Unanswered)?
        {
            JoinAnswer::JoinAccepted(accepted) => Ok(accepted),
            JoinAnswer::JoinRefused(refused) => Err(NotJoined::Refused(heard(&refused.sentence))),
        };
    }
    Err(unreached.map_or_else(|| NotJoined::Token("the token names no gateway".to_owned()), NotJoined::Unreached))
}

/// The certificate must be for this join and this key, or the machine could never come back.
fn check_certificate(accepted: &JoinAccepted, key: &ClientKey, join: Id) -> Result<(), NotJoined> {
    let wrong = |why: &str| NotJoined::Unanswered(format!("its transport certificate {why}"));
    let leaf = accepted.chain.first().ok_or_else(|| wrong("is missing"))?;
    if transport::client_id(leaf).ok() != Some(join) {
        return Err(wrong("is for another device"));
    }
    match endpoint::fits(&Transport { key: key.pkcs8_der(), chain: accepted.chain.clone() }) {
        true => Ok(()),
        false => Err(wrong("is for another key")),
    }
}

/// Makes the join durable.
///
/// Crash before the pin: the files are there and nothing counts, the same command begins again with the same keys. Crash
/// after the pin: the machine has joined.
fn keep(dir: &StateDir, pin: &Pin, key: &ClientKey, chain: Vec<Vec<u8>>, verified: &Verified) -> Result<(), Broken> {
    let files = PolicyFiles::open(dir.at("policies"))?;
    for (policy, signed) in &verified.policies {
        files.keep(policy, &signed.bytes)?;
    }
    Identity::keep_first(dir, key, chain)?;
    pin.keep(dir)
}

#[cfg(test)]
mod tests;
