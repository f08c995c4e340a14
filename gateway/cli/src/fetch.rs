//! Asks a gateway for the policies of many tenants at once: `policy fetch`.
//!
//! Nothing of the answer is believed here: `chain.rs` follows it from what is pinned or held.

use crate::{
    failure::{Outcome, While, refused},
    gateway::Gateway,
};
use belay_certs::{Digest, Signed, TenantName, limits::POLICY_BYTES_MAX};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Answers that are asked for in a row: 32 MiB each, so a gateway cannot keep us for ever.
const ANSWERS_MAX: usize = 64;

/// What a gateway shows of one tenant.
#[derive(Debug, Clone, Deserialize)]
pub struct Shown {
    tenant: String,
    /// The number of its newest version there.
    pub newest: u64,
    /// That version's digest.
    pub digest: Digest,
    versions: Vec<Version>,
}

#[derive(Debug, Clone, Deserialize)]
struct Version {
    text: String,
    signatures: Vec<String>,
}

#[derive(Deserialize)]
struct Answer {
    tenants: Vec<Shown>,
    more: bool,
}

impl Shown {
    /// The versions, oldest first, as the documents they are.
    ///
    /// # Errors
    /// One is larger than a policy can be.
    pub fn documents(&self) -> Outcome<Vec<Signed>> {
        let document = |version: &Version| {
            if version.text.len() > POLICY_BYTES_MAX {
                return Err(refused(format!("a policy is larger than {POLICY_BYTES_MAX} bytes")));
            }
            Ok(Signed { bytes: version.text.clone().into_bytes(), signatures: version.signatures.clone() })
        };
        self.versions.iter().map(document).collect()
    }
}

/// What the gateway has beyond `held`: of all tenants that it shows to this person, or only of some and their imports.
///
/// # Errors
/// The gateway cannot be asked, shows this person nothing, or does not come to an end.
pub fn news(
    gateway: &Gateway<'_>,
    held: &BTreeMap<TenantName, u64>,
    only: Option<&BTreeSet<TenantName>>,
) -> Outcome<BTreeMap<TenantName, Shown>> {
    let mut held = held.clone();
    let mut found: BTreeMap<TenantName, Shown> = BTreeMap::new();
    for _ in 0..ANSWERS_MAX {
        let wanted = serde_json::json!({ "held": held, "only": only }).to_string();
        let answer = gateway.run(&["policy", "fetch"], wanted.as_bytes())?;
        let answer: Answer = serde_json::from_slice(&answer)
            .during(|| "the gateway's answer to `policy fetch` is not understood".to_owned())?;
        for mut shown in answer.tenants {
            // A name that is none can be nobody's: it is dropped with what stands under it.
            let Ok(tenant) = shown.tenant.parse::<TenantName>() else { continue };
            let known = held.get(&tenant).map_or(0, |version| version.saturating_add(1));
            let count = u64::try_from(shown.versions.len()).unwrap_or(u64::MAX);
            if let Some(last) = known.saturating_add(count).checked_sub(1) {
                held.insert(tenant.clone(), last);
            }
            if let Some(earlier) = found.remove(&tenant) {
                shown.versions.splice(0..0, earlier.versions);
            }
            found.insert(tenant, shown);
        }
        if !answer.more {
            return Ok(found);
        }
    }
    Err(refused("the gateway's policies do not come to an end"))
}
