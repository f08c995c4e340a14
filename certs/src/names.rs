//! The names people type: tenants, devices, persons, accounts. Parsed once, at the door; inside they are right.
//!
//! Every type is opaque and compared exactly. None can hold a space, a comma, a NUL, a control character or a
//! character beyond ASCII, so none can be taken for two or for an option.

use crate::invalid::{Invalid, malformed};
use crate::limits::{ACCOUNT_BYTES_MAX, LABEL_BYTES_MAX, NAME_BYTES_MAX};
use std::{fmt, str::FromStr, sync::LazyLock};

/// The top-level domains of the IANA root, one a line, sorted (Public Suffix List of 2023-02-09, one-label rules).
static TOP_LEVEL_DOMAINS: LazyLock<Vec<&str>> =
    LazyLock::new(|| include_str!("names/top_level_domains.txt").lines().collect());

/// A customer: one lower-case DNS label, never a top-level domain or `localhost`, for it becomes `Host *.acme`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantName(String);

/// A client machine inside its tenant: one lower-case DNS label.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceName(String);

/// The operating-system user a session runs as: 1 to 32 of `A-Z a-z 0-9 _ . -`, not starting with `-` or a digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountName(String);

/// A person or team inside one policy: 1 to 64 of `a-z 0-9 _ . -`, starting with a letter or digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersonName(String);

/// A runbook: 1 to 64 of `a-z 0-9 _ . -`, starting with a letter or digit; a grant's `runbooks` are globs over it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunbookName(String);

/// A person or team as another policy names it: `auditor`, or `msp:alice` for one of an imported tenant.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersonRef {
    /// The imported tenant, or `None` for the policy's own people.
    pub tenant: Option<TenantName>,
    /// The name inside that tenant's policy.
    pub name: PersonName,
}

/// A device and its tenant, written `web1.acme`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceAddress {
    /// The device inside its tenant.
    pub device: DeviceName,
    /// The tenant.
    pub tenant: TenantName,
}

fn label(text: &str, what: &str) -> Result<String, Invalid> {
    let legal = !text.is_empty()
        && text.len() <= LABEL_BYTES_MAX
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    if !legal {
        return Err(malformed(format!(
            "{text:?} is not a {what} name: use 1 to 63 of a-z, 0-9 and '-', not starting or ending with '-'"
        )));
    }
    Ok(text.to_owned())
}

impl FromStr for TenantName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let name = label(text, "tenant")?;
        let taken = name == "localhost" || TOP_LEVEL_DOMAINS.binary_search(&name.as_str()).is_ok();
        if taken {
            return Err(malformed(format!(
                "{name:?} cannot be a tenant name: `Host *.{name}` would match names of the public Internet; choose another"
            )));
        }
        Ok(Self(name))
    }
}

impl FromStr for DeviceName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        label(text, "device").map(Self)
    }
}

impl FromStr for AccountName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let body = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        let start = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        if !body || !start || text.len() > ACCOUNT_BYTES_MAX {
            return Err(malformed(format!(
                "{text:?} is not an account name: use 1 to 32 of A-Z, a-z, 0-9, '_', '.', '-', starting with a letter or '_'"
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for PersonName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        simple(text, "a person or team").map(Self)
    }
}

impl FromStr for RunbookName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        simple(text, "a runbook").map(Self)
    }
}

fn simple(text: &str, what: &str) -> Result<String, Invalid> {
    let body = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-'));
    let start = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if !body || !start || text.len() > NAME_BYTES_MAX {
        return Err(malformed(format!(
            "{text:?} is not a name for {what}: use 1 to 64 of a-z, 0-9, '_', '.', '-', starting with a letter or digit"
        )));
    }
    Ok(text.to_owned())
}

impl FromStr for PersonRef {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.split_once(':') {
            Some((tenant, name)) => Ok(Self { tenant: Some(tenant.parse()?), name: name.parse()? }),
            None => Ok(Self { tenant: None, name: text.parse()? }),
        }
    }
}

impl FromStr for DeviceAddress {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (device, tenant) = text
            .split_once('.')
            .ok_or_else(|| malformed(format!("{text:?} is not a device: write DEVICE.TENANT, as web1.acme")))?;
        Ok(Self { device: device.parse()?, tenant: tenant.parse()? })
    }
}

impl fmt::Display for PersonRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tenant {
            Some(tenant) => write!(f, "{tenant}:{}", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}

impl fmt::Display for DeviceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.device, self.tenant)
    }
}

macro_rules! opaque {
    ($($name:ty),*) => {$(
        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}
opaque!(TenantName, DeviceName, AccountName, PersonName, RunbookName);

macro_rules! debug_as_text {
    ($($name:ty),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }
    )*};
}
debug_as_text!(TenantName, DeviceName, AccountName, PersonName, RunbookName, PersonRef, DeviceAddress);
crate::digest::serde_as_text!(TenantName, DeviceName, AccountName, PersonName, RunbookName, PersonRef, DeviceAddress);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_one_label_and_no_public_domain() {
        assert_eq!("acme".parse::<TenantName>().unwrap().as_str(), "acme");
        for text in ["", "Acme", "a.b", "-a", "a-", "com", "de", "dev", "localhost", "a b", "a,b", "a\0b", "ä"] {
            assert!(text.parse::<TenantName>().is_err(), "{text:?}");
        }
        assert!("x".repeat(64).parse::<TenantName>().is_err());
    }

    #[test]
    fn the_list_of_top_level_domains_is_sorted() {
        assert!(TOP_LEVEL_DOMAINS.is_sorted() && TOP_LEVEL_DOMAINS.len() > 1_000);
    }

    #[test]
    fn a_device_address_has_exactly_two_labels() {
        let address: DeviceAddress = "web1.acme".parse().unwrap();
        assert_eq!((address.device.as_str(), address.tenant.as_str()), ("web1", "acme"));
        assert_eq!(address.to_string(), "web1.acme");
        for text in ["web1", "web1.acme.x", "web1.com", ".acme", "web1.", "*.acme"] {
            assert!(text.parse::<DeviceAddress>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn accounts_and_persons_cannot_carry_separators_or_options() {
        for text in ["root,deploy", "root\0", "-oProxy", "a b", "", "0day", "a\n"] {
            assert!(text.parse::<AccountName>().is_err(), "{text:?}");
        }
        for text in ["a,b", "msp:a:b", "A", "", "-x", "a\u{202e}"] {
            assert!(text.parse::<PersonRef>().is_err(), "{text:?}");
        }
        assert_eq!("msp:field".parse::<PersonRef>().unwrap().to_string(), "msp:field");
    }
}
