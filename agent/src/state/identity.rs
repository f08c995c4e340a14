//! Who this machine is: the pin to one tenant's chain, the host key, and the transport key with its certificate.
//!
//! The transport certificate carries no authority: it only says which device is calling.

use super::files::{self, Broken, StateDir};
use crate::limits::STATE_FILE_BYTES_MAX;
use base64::{Engine, engine::general_purpose::STANDARD};
use belay_certs::{
    DeviceAddress, DeviceName, Digest, Id, PrivateKey, TenantName, Timestamp,
    transport::{self, ClientKey},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

const PIN: &str = "pin.json";
const HOST_KEY: &str = "host_key";
const TRANSPORT: &str = "transport.json";
/// Where Linux keeps the id that a cloned machine must change (machine-id(5)).
const MACHINE_ID_FILES: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

/// The one chain this machine believes, and how it joined. Written once, last in a join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Whose machine it is.
    pub tenant: TenantName,
    /// The digest of version 0 of that tenant's policy.
    pub policy0: Digest,
    /// The name it asked for; the device record may give another.
    pub name: DeviceName,
    /// The id of its join.
    pub join: Id,
    /// The digest of the machine id it joined with: on another machine this directory is a copy.
    pub machine: Digest,
}

impl Pin {
    /// What the machine asked to be called.
    pub fn address(&self) -> DeviceAddress {
        DeviceAddress { device: self.name.clone(), tenant: self.tenant.clone() }
    }

    /// The pin in `dir`; none before a join.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load(dir: &StateDir) -> Result<Option<Self>, Broken> {
        read_json(&dir.at(PIN))
    }

    /// Pins this machine.
    ///
    /// Crash before: the join begins again with the same keys, and the gateway knows it by them. Crash after: it joined.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, dir: &StateDir) -> Result<(), Broken> {
        write_json(&dir.at(PIN), self)
    }
}

/// The key and certificates that the agent shows to its gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transport {
    /// The private key, PKCS #8 DER.
    pub key: Vec<u8>,
    /// DER certificates, leaf first; empty before the join was accepted.
    pub chain: Vec<Vec<u8>>,
}

/// [`Transport`] as its file has it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptTransport {
    key: String,
    chain: Vec<String>,
}

impl Transport {
    fn load(path: &Path) -> Result<Option<Self>, Broken> {
        let Some(kept) = read_json::<KeptTransport>(path)? else { return Ok(None) };
        let bytes = |text: &String| STANDARD.decode(text).map_err(|error| Broken::damaged(path, error));
        Ok(Some(Self { key: bytes(&kept.key)?, chain: kept.chain.iter().map(bytes).collect::<Result<_, _>>()? }))
    }

    /// Key and chain are one file, so that no crash leaves a certificate with another key.
    fn keep(&self, path: &Path) -> Result<(), Broken> {
        let chain = self.chain.iter().map(|der| STANDARD.encode(der)).collect();
        write_json(path, &KeptTransport { key: STANDARD.encode(&self.key), chain })
    }
}

/// The machine's host key, made when there is none.
///
/// Crash before it is durable: nobody has seen it, another is made. Crash after: every later try uses it.
///
/// # Errors
/// When it cannot be read, made or written.
pub fn host_key(dir: &StateDir) -> Result<PrivateKey, Broken> {
    let path = dir.at(HOST_KEY);
    if path.try_exists().map_err(|error| Broken::new(format!("{} cannot be read", path.display()), error))? {
        return kept_host_key(dir);
    }
    let unmade = |refused: belay_certs::Invalid| Broken::new("a host key cannot be made", io::Error::other(refused));
    let key = PrivateKey::generate_ed25519("").map_err(unmade)?;
    files::write(&path, key.to_openssh().map_err(unmade)?.as_bytes())?;
    Ok(key)
}

/// The host key of a machine that joined. One that is gone is never replaced: sessions and recordings under another key would be
/// another machine's, and whoever removes the file and ends the agent would have both.
///
/// # Errors
/// When it is missing or cannot be read.
pub fn kept_host_key(dir: &StateDir) -> Result<PrivateKey, Broken> {
    let path = dir.at(HOST_KEY);
    match files::read_text(&path, STATE_FILE_BYTES_MAX)? {
        Some(pem) => PrivateKey::from_openssh(&pem).map_err(|refused| Broken::damaged(&path, refused)),
        None => {
            let what = format!(
                "{} is missing, and a machine that joined has no other: restore it, or set the state aside with `belay-agent \
                 forget --tenant T`",
                path.display()
            );
            Err(Broken::new(what, io::ErrorKind::NotFound.into()))
        }
    }
}

/// The transport key of this machine, made when there is none.
///
/// Crash: as for the host key.
///
/// # Errors
/// When it cannot be read, made or written.
pub fn transport_key(dir: &StateDir) -> Result<ClientKey, Broken> {
    let path = dir.at(TRANSPORT);
    if let Some(transport) = Transport::load(&path)? {
        return ClientKey::from_pkcs8_der(&transport.key).map_err(|refused| Broken::damaged(&path, refused));
    }
    let key = ClientKey::generate()
        .map_err(|refused| Broken::new("a transport key cannot be made", io::Error::other(refused)))?;
    Transport { key: key.pkcs8_der(), chain: Vec::new() }.keep(&path)?;
    Ok(key)
}

/// What the agent shows its gateway, renewed while it runs.
#[derive(Debug)]
pub struct Identity {
    /// The file of key and chain.
    path: PathBuf,
    /// The id of the join, which every certificate must name.
    join: Id,
    /// What is shown on the next connection.
    shown: Mutex<Arc<Transport>>,
    /// The key of the certificate that was asked for: a new one each time.
    asked: Mutex<Option<ClientKey>>,
    /// Where between the first and the last moment to renew this device draws its own, in 2^64ths: agents that came together
    /// do not ask together.
    jitter: u64,
}

/// A certificate that is asked for.
#[derive(Debug)]
pub struct Asked {
    /// The digest of its key.
    pub key: Digest,
    /// The request, PKCS#10 DER.
    pub csr: Vec<u8>,
}

impl Identity {
    /// The identity that `dir` holds for the join `join`.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn open(dir: &StateDir, join: Id) -> Result<Self, Broken> {
        let path = dir.at(TRANSPORT);
        let transport = Transport::load(&path)?
            .filter(|transport| !transport.chain.is_empty())
            .ok_or_else(|| Broken::damaged(&path, "the transport certificate is missing"))?;
        let jitter = belay_certs::digest::random().map_or(u64::MAX / 2, u64::from_be_bytes);
        Ok(Self { path, join, shown: Mutex::new(Arc::new(transport)), asked: Mutex::new(None), jitter })
    }

    /// Keeps the first chain, for the key that [`transport_key`] made.
    ///
    /// Crash before: the join begins again with this key. Crash after: the same, unless the pin is there too.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep_first(dir: &StateDir, key: &ClientKey, chain: Vec<Vec<u8>>) -> Result<(), Broken> {
        Transport { key: key.pkcs8_der(), chain }.keep(&dir.at(TRANSPORT))
    }

    /// What to show on the next connection.
    pub fn transport(&self) -> Arc<Transport> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The id of the join, by which the gateway knows this device.
    pub fn join(&self) -> Id {
        self.join
    }

    /// When to ask for the next certificate: a moment of this device's own between two thirds and five sixths of the life of
    /// this one. None when it cannot be told.
    pub fn renew_at(&self) -> Option<Timestamp> {
        let (first, last) = self.renewal()?;
        let spread = (i128::from(last.micros() - first.micros()) * i128::from(self.jitter)) >> 64;
        Some(first.plus(i64::try_from(spread).ok()?))
    }

    /// How long to wait for a certificate that was asked for before asking again: a twelfth of this one's life, so that there
    /// are at least two tries more before it ends.
    pub fn patience(&self) -> Duration {
        let half = self.renewal().map_or(0, |(first, last)| (last.micros() - first.micros()) / 2);
        Duration::from_micros(u64::try_from(half).unwrap_or(0))
    }

    fn renewal(&self) -> Option<(Timestamp, Timestamp)> {
        transport::renewal(self.transport().chain.first()?).ok()
    }

    /// A request for the next certificate, with a new key that only memory knows until the certificate is there.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn ask(&self) -> Result<Asked, belay_certs::Invalid> {
        let key = ClientKey::generate()?;
        let asked = Asked { key: key.spki_digest(), csr: key.csr_der()? };
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
        Ok(asked)
    }

    /// Takes the certificate that was asked for. `fits` says whether key and chain belong together.
    ///
    /// Crash before it is durable: the old key and chain are shown, and asked for anew. Crash after: the new ones.
    ///
    /// # Errors
    /// When none was asked for, it is another device's, or it cannot be written; the old one stays.
    pub fn issued(&self, chain: Vec<Vec<u8>>, fits: impl FnOnce(&Transport) -> bool) -> Result<(), Broken> {
        let refuse =
            |why: &str| Broken::new("the new transport certificate was not taken", io::Error::other(why.to_owned()));
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).take();
        let key = asked.ok_or_else(|| refuse("none was asked for"))?;
        let leaf = chain.first().ok_or_else(|| refuse("the chain is empty"))?;
        if transport::client_id(leaf).ok() != Some(self.join) {
            return Err(refuse("it is for another device"));
        }
        let next = Transport { key: key.pkcs8_der(), chain };
        if !fits(&next) {
            return Err(refuse("it is for another key"));
        }
        next.keep(&self.path)?;
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        Ok(())
    }
}

/// The digest of this machine's id: what tells a copy of the state directory from the original. Machines without an id all
/// have the same.
pub fn machine_id() -> Digest {
    let text = MACHINE_ID_FILES.iter().find_map(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    Digest::of(format!("belay machine id\n{}\n", text.trim()).as_bytes())
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Broken> {
    let Some(bytes) = files::read(path, STATE_FILE_BYTES_MAX)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| Broken::damaged(path, error))
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Broken> {
    let json = serde_json::to_vec_pretty(value).map_err(|error| Broken::damaged(path, error))?;
    files::write(path, &json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use belay_certs::transport::TransportCa;

    fn now() -> Timestamp {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    fn pin() -> Pin {
        let (tenant, name) = ("acme".parse().unwrap(), "web1".parse().unwrap());
        Pin { tenant, policy0: Digest::of(b"0"), name, join: Id([7; 16]), machine: machine_id() }
    }

    #[test]
    fn keys_are_made_once_and_used_by_every_later_try() {
        let dir = tempfile::tempdir().unwrap();
        let dir = StateDir::open(&dir.path().join("state")).unwrap();
        assert_eq!(host_key(&dir).unwrap().public(), host_key(&dir).unwrap().public());
        assert_eq!(host_key(&dir).unwrap().public(), kept_host_key(&dir).unwrap().public());
        assert_eq!(transport_key(&dir).unwrap().spki_digest(), transport_key(&dir).unwrap().spki_digest());
        assert!(Pin::load(&dir).unwrap().is_none());
        assert!(Identity::open(&dir, pin().join).is_err(), "no certificate yet");
        pin().keep(&dir).unwrap();
        assert_eq!(Pin::load(&dir).unwrap(), Some(pin()));
    }

    #[test]
    fn a_host_key_that_is_gone_is_named_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let dir = StateDir::open(&dir.path().join("state")).unwrap();
        let said = kept_host_key(&dir).unwrap_err().to_string();
        assert!(said.contains("host_key is missing") && said.contains("restore it"), "{said}");
        assert!(!dir.at(HOST_KEY).exists());
    }

    #[test]
    fn a_renewed_certificate_must_be_asked_for_and_be_ours() {
        let dir = tempfile::tempdir().unwrap();
        let dir = StateDir::open(&dir.path().join("state")).unwrap();
        let ca = TransportCa::generate("gw", now()).unwrap();
        let key = transport_key(&dir).unwrap();
        let first = ca.issue_client(&key.csr_der().unwrap(), pin().join, now(), 30 * belay_certs::time::DAY).unwrap();
        Identity::keep_first(&dir, &key, first.clone()).unwrap();
        let identity = Identity::open(&dir, pin().join).unwrap();
        assert_eq!(identity.transport().chain, first);
        let renew_in_days = (identity.renew_at().unwrap().micros() - now().micros()) / belay_certs::time::DAY;
        assert!((20..=25).contains(&renew_in_days), "{renew_in_days}");

        assert!(identity.issued(first.clone(), |_| true).unwrap_err().to_string().contains("none was asked for"));
        let csr = identity.ask().unwrap().csr;
        let foreign = ca.issue_client(&csr, Id([8; 16]), now(), 30 * belay_certs::time::DAY).unwrap();
        assert!(identity.issued(foreign, |_| true).unwrap_err().to_string().contains("another device"));
        let csr = identity.ask().unwrap().csr;
        let second = ca.issue_client(&csr, pin().join, now(), 30 * belay_certs::time::DAY).unwrap();
        assert!(identity.issued(second.clone(), |_| false).is_err());
        assert_eq!(identity.transport().chain, first, "what is refused changes nothing");
        let csr = identity.ask().unwrap().csr;
        let third = ca.issue_client(&csr, pin().join, now(), 30 * belay_certs::time::DAY).unwrap();
        identity.issued(third.clone(), |_| true).unwrap();
        assert_eq!(identity.transport().chain, third);
        assert_ne!(identity.transport().key, key.pkcs8_der(), "a new key each time");
        assert_eq!(Identity::open(&dir, pin().join).unwrap().transport(), identity.transport());
    }

    #[test]
    fn a_renewal_that_cannot_be_written_leaves_the_old_pair_and_one_that_was_all_the_same_is_used_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let dir = StateDir::open(&dir.path().join("state")).unwrap();
        let ca = TransportCa::generate("gw", now()).unwrap();
        let key = transport_key(&dir).unwrap();
        let issue = |csr: &[u8]| ca.issue_client(csr, pin().join, now(), belay_certs::time::DAY).unwrap();
        Identity::keep_first(&dir, &key, issue(&key.csr_der().unwrap())).unwrap();
        let identity = Identity::open(&dir, pin().join).unwrap();
        let old = identity.transport();
        // A directory in the way of the draft: the write fails, and nothing has happened.
        fs::create_dir(dir.at("transport.json.new")).unwrap();
        let asked = identity.ask().unwrap();
        assert!(identity.issued(issue(&asked.csr), |_| true).is_err());
        assert_eq!(identity.transport(), old);
        assert_eq!(Identity::open(&dir, pin().join).unwrap().transport(), old);
        fs::remove_dir(dir.at("transport.json.new")).unwrap();
        // Written, and then the machine failed before it was known: memory has the old pair, the disk a new one. Both count.
        let asked = identity.ask().unwrap();
        let key = identity.asked.lock().unwrap().take().unwrap();
        let new = Transport { key: key.pkcs8_der(), chain: issue(&asked.csr) };
        new.keep(&dir.at(TRANSPORT)).unwrap();
        assert_eq!(identity.transport(), old);
        assert_eq!(*Identity::open(&dir, pin().join).unwrap().transport(), new);
        let asked = identity.ask().unwrap();
        identity.issued(issue(&asked.csr), |_| true).unwrap();
        assert_eq!(Identity::open(&dir, pin().join).unwrap().transport(), identity.transport());
    }

    #[test]
    fn devices_that_got_certificates_together_renew_them_apart() {
        let dir = tempfile::tempdir().unwrap();
        let dir = StateDir::open(&dir.path().join("state")).unwrap();
        let ca = TransportCa::generate("gw", now()).unwrap();
        let key = transport_key(&dir).unwrap();
        let chain = ca.issue_client(&key.csr_der().unwrap(), pin().join, now(), 30 * belay_certs::time::DAY).unwrap();
        Identity::keep_first(&dir, &key, chain).unwrap();
        let mut identity = Identity::open(&dir, pin().join).unwrap();
        let at =
            |identity: &Identity| (identity.renew_at().unwrap().micros() - now().micros()) / belay_certs::time::SECOND;
        for (jitter, seconds) in [(0, 20 * 86_400), (1 << 63, 1_944_000), (u64::MAX, 25 * 86_400 - 1)] {
            identity.jitter = jitter;
            assert_eq!(at(&identity), seconds, "{jitter}");
        }
        assert_eq!(identity.patience().as_secs(), 30 * 86_400 / 12);
    }
}
