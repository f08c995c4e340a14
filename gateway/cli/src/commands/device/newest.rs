//! The newest serial that this home saw approved, for each device: a gateway that shows an older record hides the newer one.
//!
//! Kept by name and by host key, since either may get a newer record. What no home saw nobody here can miss.

use crate::{
    failure::{Outcome, While, refused},
    home::{Home, read_text_up_to, write_whole},
    limits::{NEWEST_BYTES_MAX, NEWEST_DEVICES_MAX},
};
use belay_certs::{TenantName, device::DeviceRecord};
use std::{collections::BTreeMap, path::PathBuf};

/// Serials of one tenant's devices.
#[derive(Debug)]
pub struct Newest {
    path: PathBuf,
    serials: BTreeMap<String, u64>,
}

impl Newest {
    /// What the home has; nothing where it never saw a record.
    ///
    /// # Errors
    /// The file cannot be read or is not understood.
    pub fn open(home: &Home, tenant: &TenantName) -> Outcome<Self> {
        let path = home.policies(tenant).join("serials.toml");
        let text = if path.exists() { read_text_up_to(&path, NEWEST_BYTES_MAX)? } else { String::new() };
        let serials = toml::from_str(&text).during(|| format!("{} is not understood", path.display()))?;
        Ok(Self { path, serials })
    }

    /// Whether the record is as new as what was seen of its name and its host key.
    ///
    /// # Errors
    /// It is older.
    pub fn check(&self, record: &DeviceRecord) -> Outcome {
        let newest = keys(record).iter().filter_map(|key| self.serials.get(key)).max().copied().unwrap_or(0);
        if newest <= record.serial {
            return Ok(());
        }
        let DeviceRecord { address, serial, .. } = record;
        Err(refused(format!(
            "the gateway shows serial {serial} for {address}, but serial {newest} was approved before this home's eyes: it hides the \
             newer record. To revoke that one: `belay device revoke --tenant {} --serial {newest}`. If the gateway lost it, remove \
             its lines from {}",
            address.tenant,
            self.path.display()
        )))
    }

    /// Remembers records that a person's approval stands behind. Of too many the oldest are forgotten.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep<'a>(&mut self, records: impl IntoIterator<Item = &'a DeviceRecord>) -> Outcome {
        let before = self.serials.clone();
        for record in records {
            for key in keys(record) {
                let held = self.serials.entry(key).or_insert(0);
                *held = (*held).max(record.serial);
            }
        }
        while self.serials.len() > 2 * NEWEST_DEVICES_MAX {
            let Some(oldest) = self.serials.values().min().copied() else { break };
            self.serials.retain(|_, serial| *serial > oldest);
        }
        if self.serials == before {
            return Ok(());
        }
        let text = toml::to_string(&self.serials).during(|| "cannot write the serials".to_owned())?;
        write_whole(&self.path, text.as_bytes(), 0o600)
    }
}

/// What a device is known by.
fn keys(record: &DeviceRecord) -> [String; 2] {
    [record.address.to_string(), record.host_key.fingerprint()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use belay_certs::PrivateKey;

    fn record(name: &str, key: &PrivateKey, serial: u64) -> DeviceRecord {
        DeviceRecord {
            address: name.parse().unwrap(),
            host_key: key.public().clone(),
            labels: Vec::new(),
            serial,
            replaces: None,
            issued: testing::start(),
        }
    }

    #[test]
    fn an_older_record_of_a_name_or_a_host_key_is_refused_also_by_the_next_command() {
        let (_keep, home) = testing::home();
        let acme = "acme".parse().unwrap();
        let (one, other) = (PrivateKey::generate_ed25519("").unwrap(), PrivateKey::generate_ed25519("").unwrap());
        Newest::open(&home, &acme).unwrap().keep([&record("web1.acme", &one, 7)]).unwrap();
        let newest = Newest::open(&home, &acme).unwrap();
        for (old, fine) in [
            (record("web1.acme", &other, 6), false),
            (record("www.acme", &one, 6), false),
            (record("web1.acme", &one, 7), true),
            (record("web1.acme", &one, 8), true),
            (record("db1.acme", &other, 1), true),
        ] {
            assert_eq!(newest.check(&old).is_ok(), fine, "{old:?}");
        }
    }

    #[test]
    fn of_too_many_devices_the_oldest_are_forgotten() {
        let (_keep, home) = testing::home();
        let acme = "acme".parse().unwrap();
        let mut newest = Newest::open(&home, &acme).unwrap();
        let many = u64::try_from(2 * NEWEST_DEVICES_MAX).unwrap();
        newest.serials =
            (1..=many).map(|serial| (format!("device-of-a-name-that-is-long-{serial:063}"), serial)).collect();
        let key = PrivateKey::generate_ed25519("").unwrap();
        newest.keep([&record("web1.acme", &key, many + 1)]).unwrap();
        let newest = Newest::open(&home, &acme).unwrap();
        assert_eq!(newest.serials.len(), 2 * NEWEST_DEVICES_MAX);
        assert!(newest.check(&record("web1.acme", &key, 3)).is_err());
    }
}
