//! The judge of new tenants.

use crate::draft::Draft;
use crate::event::What;
use crate::limits::TENANTS_MAX;
use crate::log_name::{LogName, SYSTEM};
use crate::refusal::Refusal;
use belay_certs::{TenantName, statement::CheckpointSeen};

/// What the gateway has before a tenant is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A tenant of this name is here.
    Taken,
    /// It is not; so many others are.
    Free {
        /// Tenants of the gateway.
        tenants: usize,
    },
}

/// May this tenant be added?
///
/// # Errors
/// When the name is taken or the gateway's own, or the gateway is full.
pub fn add(tenant: &TenantName, place: Place) -> Result<(), Refusal> {
    match place {
        _ if tenant.as_str() == SYSTEM => Err(Refusal::TenantReserved(tenant.clone())),
        Place::Taken => Err(Refusal::TenantExists(tenant.clone())),
        Place::Free { tenants } if tenants >= TENANTS_MAX => Err(Refusal::TooManyTenants(TENANTS_MAX)),
        Place::Free { .. } => Ok(()),
    }
}

/// The events of a tenant being added: its log's first entry, and the operator's note of it.
pub fn added(tenant: &TenantName, origin: String, vkey: String) -> [Draft; 2] {
    [
        Draft::new(tenant.clone().into(), What::LogStarted { origin: origin.clone(), vkey, continues: None }),
        Draft::new(LogName::System, What::TenantAdded { name: tenant.clone(), origin }),
    ]
}

/// The events of a tenant's log being begun anew after `continues`: the new log's first entry, and the operator's note of it.
pub fn restarted(tenant: &TenantName, origin: String, vkey: String, continues: CheckpointSeen) -> [Draft; 2] {
    let started = What::LogStarted { origin: origin.clone(), vkey, continues: Some(continues.clone()) };
    [
        Draft::new(tenant.clone().into(), started),
        Draft::new(LogName::System, What::LogRestarted { name: tenant.clone(), origin, continues }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_added_once_and_never_under_the_gateways_own_name() {
        let acme: TenantName = "acme".parse().unwrap();
        assert_eq!(add(&acme, Place::Free { tenants: 3 }), Ok(()));
        assert_eq!(add(&acme, Place::Taken), Err(Refusal::TenantExists(acme.clone())));
        let system: TenantName = "system".parse().unwrap();
        assert_eq!(add(&system, Place::Free { tenants: 0 }), Err(Refusal::TenantReserved(system)));
    }

    #[test]
    fn a_full_gateway_takes_no_more_tenants() {
        let acme: TenantName = "acme".parse().unwrap();
        assert_eq!(add(&acme, Place::Free { tenants: TENANTS_MAX - 1 }), Ok(()));
        assert_eq!(add(&acme, Place::Free { tenants: TENANTS_MAX }), Err(Refusal::TooManyTenants(TENANTS_MAX)));
    }

    #[test]
    fn a_new_tenant_is_noted_in_its_own_log_and_in_the_systems() {
        let acme: TenantName = "acme".parse().unwrap();
        let [own, system] = added(&acme, "gw.example/acme".to_owned(), "k".to_owned());
        assert_eq!(own.log, LogName::Tenant(acme));
        assert_eq!(own.what.type_name(), "log.started");
        assert_eq!(system.log, LogName::System);
        assert_eq!(system.what.type_name(), "tenant.added");
    }
}
