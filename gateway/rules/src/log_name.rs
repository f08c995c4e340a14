//! The names of logs.

use belay_certs::{Invalid, TenantName};
use std::{fmt, str::FromStr};

/// How the gateway's own log is called; no tenant can have this name.
pub const SYSTEM: &str = "system";

/// One append-only log: a tenant's, or the gateway's own for what belongs to no tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogName {
    /// What belongs to no tenant. Read by the operator only.
    System,
    /// What belongs to this tenant. Read by its auditors only (P3).
    Tenant(TenantName),
}

impl LogName {
    /// The tenant whose log it is.
    pub fn tenant(&self) -> Option<&TenantName> {
        match self {
            Self::System => None,
            Self::Tenant(tenant) => Some(tenant),
        }
    }

    /// The name as in file names and origins.
    pub fn as_str(&self) -> &str {
        match self {
            Self::System => SYSTEM,
            Self::Tenant(tenant) => tenant.as_str(),
        }
    }
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for LogName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            SYSTEM => Ok(Self::System),
            tenant => tenant.parse().map(Self::Tenant),
        }
    }
}

impl From<TenantName> for LogName {
    fn from(tenant: TenantName) -> Self {
        Self::Tenant(tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_log_and_a_tenants_are_told_apart_by_name() {
        assert_eq!("system".parse::<LogName>().unwrap(), LogName::System);
        let acme = "acme".parse::<LogName>().unwrap();
        assert_eq!(acme.tenant().unwrap().as_str(), "acme");
        assert_eq!((acme.to_string().as_str(), LogName::System.as_str()), ("acme", "system"));
        assert!("com".parse::<LogName>().is_err());
    }
}
