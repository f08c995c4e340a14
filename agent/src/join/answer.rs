//! The policies of a join answer, verified against the token alone: nothing else is known of the tenant yet.

use belay_certs::{
    Fault, Invalid, Signed, TenantName, Timestamp,
    policy::{Chain, Policies, Step},
    token::{self, Token},
};
use belay_protocol::PolicyBytes;
use std::collections::BTreeMap;

/// Policies that may be kept, in the order in which they are to be kept.
#[derive(Debug)]
pub(super) struct Verified {
    /// Each version as the chain it made, with its signed bytes.
    pub(super) policies: Vec<(Chain, Signed)>,
}

/// Verifies the tenant's chain from the version 0 that the token pins up to the version its maker knew, the imports that
/// chain names, and then the token itself under them.
///
/// # Errors
/// With the first thing that is not as the token says.
pub(super) fn verify(
    answered: Vec<PolicyBytes>,
    token: &Token,
    signed_token: &Signed,
    now: Timestamp,
) -> Result<Verified, Invalid> {
    let (mut chains, mut policies) = (BTreeMap::<TenantName, Chain>::new(), Vec::new());
    let mut seen = false;
    for PolicyBytes { tenant, bytes, signatures, .. } in answered {
        let (tenant, signed) = (tenant.parse::<TenantName>()?, Signed { bytes, signatures });
        let chain = match chains.get(&tenant) {
            None => begin(&tenant, &signed)?,
            Some(held) => match held.extend(&signed)? {
                Step::Next(chain) => chain,
                Step::Same => continue,
            },
        };
        if tenant == token.tenant && chain.version() == token.policy_version {
            check_digest(&chain, token)?;
            seen = true;
        }
        chains.insert(tenant, chain.clone());
        policies.push((chain, signed));
    }
    let own = chains.remove(&token.tenant).ok_or_else(|| missing(token))?;
    if own.policy0() != token.policy0 {
        let sentence = format!("its version 0 of the policy of {} is not the one the token pins", token.tenant);
        return Err(Invalid::new(Fault::Fork, sentence));
    }
    if !seen {
        return Err(missing(token));
    }
    let imports = own.policy().imports.clone();
    policies
        .retain(|(chain, _)| *chain.tenant() == token.tenant || imports.get(chain.tenant()) == Some(&chain.policy0()));
    let held = Policies { tenant: &own, imports: chains.values().collect() };
    token::check_issued(&held, signed_token, now)?;
    Ok(Verified { policies })
}

fn begin(tenant: &TenantName, signed: &Signed) -> Result<Chain, Invalid> {
    let chain = Chain::begin(signed)?;
    if chain.tenant() != tenant {
        return Err(Invalid::new(
            Fault::ForeignTenant,
            format!("a policy of {} was called one of {tenant}", chain.tenant()),
        ));
    }
    Ok(chain)
}

/// The version that the token's maker knew must be the one in the chain: another one would be a fork.
fn check_digest(chain: &Chain, token: &Token) -> Result<(), Invalid> {
    if chain.digest() == token.policy {
        return Ok(());
    }
    let (version, tenant) = (token.policy_version, &token.tenant);
    Err(Invalid::new(
        Fault::Fork,
        format!("its version {version} of the policy of {tenant} is not the one the token names"),
    ))
}

fn missing(token: &Token) -> Invalid {
    let (version, tenant) = (token.policy_version, &token.tenant);
    Invalid::new(
        Fault::Older,
        format!("it holds back the policy of {tenant}: the token was made under version {version}"),
    )
}
