//! Which devices are meant: `acme/web*`, `acme/tag:LABEL`, `web1.acme`. Several are joined by *or*.
//!
//! What a selector is held against are records that were verified here: see `commands/device/held.rs`.

use belay_certs::{
    DeviceAddress, Invalid, TenantName,
    device::DeviceRecord,
    policy::{DevicePattern, Glob},
};
use std::{fmt, str::FromStr};

/// Devices of one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// Whose.
    pub tenant: TenantName,
    /// By name or label.
    devices: DevicePattern,
}

impl Selector {
    /// Whether a verified record is one of them.
    pub fn matches(&self, record: &DeviceRecord) -> bool {
        self.tenant == record.address.tenant && self.devices.matches(&record.address, &record.labels)
    }

    /// Whether a device of this name may be one of them, before its labels are known.
    pub fn may_match(&self, name: &str) -> bool {
        let device = name.strip_suffix(self.tenant.as_str()).and_then(|device| device.strip_suffix('.'));
        match (&self.devices, device) {
            (_, None) => false,
            (DevicePattern::Name(glob), Some(device)) => glob.matches(device),
            (DevicePattern::Label(_), Some(_)) => true,
        }
    }

    /// Whether it names one device.
    pub fn is_exact(&self) -> bool {
        matches!(&self.devices, DevicePattern::Name(glob) if !glob.as_str().contains('*'))
    }
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |invalid: Invalid| {
            format!("{invalid}: name devices as web1.acme, acme/web*, acme/tag:LABEL or acme/*, several with commas")
        };
        if let Some((tenant, devices)) = text.split_once('/') {
            let devices: DevicePattern = devices.parse().map_err(wrong)?;
            return Ok(Self { tenant: tenant.parse().map_err(wrong)?, devices });
        }
        let address: DeviceAddress = text.parse().map_err(wrong)?;
        let glob: Glob = address.device.as_str().parse().map_err(wrong)?;
        Ok(Self { tenant: address.tenant, devices: DevicePattern::Name(glob) })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.devices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{key, record};

    #[test]
    fn devices_are_meant_by_name_pattern_and_label_of_one_tenant() {
        let host_key = key();
        let web1 = record("web1.acme", &["server", "env:prod/eu"], 7, &host_key);
        for (text, fits) in [
            ("web1.acme", true),
            ("acme/web1", true),
            ("acme/web*", true),
            ("acme/*", true),
            ("acme/tag:server", true),
            ("acme/tag:env:prod/eu", true),
            ("acme/tag:serv", false),
            ("acme/db*", false),
            ("web2.acme", false),
            ("globex/*", false),
            ("web1.globex", false),
        ] {
            let selector: Selector = text.parse().unwrap();
            assert_eq!(selector.matches(&web1), fits, "{text}");
            assert!(selector.may_match("web1.acme") || !fits, "{text}");
        }
        let labelled: Selector = "acme/tag:server".parse().unwrap();
        assert!(labelled.may_match("db9.acme") && !labelled.may_match("db9.globex") && !labelled.may_match("acme"));
    }

    #[test]
    fn a_selector_without_a_tenant_or_with_a_pattern_for_it_is_refused_with_the_ways_to_write_it() {
        for text in
            ["", "web1", "*", "web*", "*/web1", "web*.acme", "acme/", "acme/we b", "tag:server", "/web1", "a/b/c"]
        {
            let refused = text.parse::<Selector>().unwrap_err();
            assert!(refused.contains("acme/tag:LABEL"), "{text}: {refused}");
        }
    }

    #[test]
    fn a_name_is_exact_and_a_pattern_is_not() {
        let exact = |text: &str| text.parse::<Selector>().unwrap().is_exact();
        assert!(exact("web1.acme") && exact("acme/web1") && !exact("acme/web*") && !exact("acme/tag:x"));
    }
}
