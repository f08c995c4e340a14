//! The judge of policies: what follows the one in force. That a policy is signed is proved by its `Chain`.

use crate::ask::{Bearer, Verdict};
use crate::draft::Draft;
use crate::event::What;
use crate::refusal::Refusal;
use belay_certs::policy::Chain;
use belay_certs::{Digest, Namespace, Signed, TenantName, sshsig};

/// The policy in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyHeld {
    /// Digest of the chain's version 0.
    pub policy0: Digest,
    /// The newest version.
    pub version: u64,
    /// Its digest.
    pub digest: Digest,
    /// The entry that says it was adopted.
    pub index: u64,
}

/// Is `chain` the next policy of `tenant`?
///
/// # Errors
/// When it is another tenant's, begins elsewhere, is older, leaves versions out, is a second version under the same
/// number, or is a version 0 that did not come from the operator.
pub fn adopt(
    tenant: &TenantName,
    held: Option<&PolicyHeld>,
    chain: &Chain,
    signed: &Signed,
    bearer: &Bearer,
) -> Result<Verdict<Draft>, Refusal> {
    if chain.tenant() != tenant {
        return Err(Refusal::PolicyForeign { tenant: tenant.clone(), offered: chain.tenant().clone() });
    }
    match held {
        None => begins(tenant, chain, bearer)?,
        Some(held) => {
            if let Some(index) = follows(held, chain)? {
                return Ok(Verdict::Again(index));
            }
        }
    }
    let draft = Draft::new(tenant.clone().into(), adopted(chain, signed)?);
    Ok(Verdict::Record(match bearer {
        Bearer::Operator => draft,
        Bearer::Person(person) => draft.by(person.clone()),
    }))
}

fn begins(tenant: &TenantName, chain: &Chain, bearer: &Bearer) -> Result<(), Refusal> {
    match bearer {
        Bearer::Person(_) => Err(Refusal::PolicyZeroIsLocal(tenant.clone())),
        Bearer::Operator if chain.version() > 0 => Err(Refusal::PolicyMissing(tenant.clone())),
        Bearer::Operator => Ok(()),
    }
}

/// The entry of the policy in force, when it is this one.
fn follows(held: &PolicyHeld, chain: &Chain) -> Result<Option<u64>, Refusal> {
    let (offered, version) = (chain.version(), held.version);
    if chain.policy0() != held.policy0 {
        return Err(Refusal::PolicyOtherChain { held: held.policy0, offered: chain.policy0() });
    }
    if offered == version {
        return match chain.digest() == held.digest {
            true => Ok(Some(held.index)),
            false => Err(Refusal::PolicyFork { version, held: held.digest }),
        };
    }
    if offered < version {
        return Err(Refusal::PolicyOlder { offered, held: version });
    }
    if offered > version + 1 || chain.policy().previous != Some(held.digest) {
        return Err(Refusal::PolicyGap { offered, held: version });
    }
    Ok(None)
}

fn adopted(chain: &Chain, signed: &Signed) -> Result<What, Refusal> {
    let signers = signed
        .signatures
        .iter()
        .map(|armored| sshsig::verify(Namespace::Policy, &signed.bytes, armored).map(|key| key.fingerprint()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|invalid| Refusal::EntryInvalid(invalid.sentence))?;
    Ok(What::PolicyAdopted {
        version: chain.version(),
        digest: chain.digest(),
        signers,
        signatures: signed.signatures.iter().map(|armored| Digest::of(armored.as_bytes())).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{Acme, ann, tenant};
    use belay_certs::policy::Step;

    fn next(chain: &Chain, signed: &Signed) -> Chain {
        let Step::Next(chain) = chain.extend(signed).unwrap() else { panic!("the same version") };
        chain
    }

    fn held(chain: &Chain) -> PolicyHeld {
        PolicyHeld { policy0: chain.policy0(), version: chain.version(), digest: chain.digest(), index: 9 }
    }

    #[test]
    fn version_0_comes_from_the_operator_only() {
        let (signed, chain) = Acme::new().begin();
        let person = Bearer::Person(ann());
        let refusal = adopt(&tenant(), None, &chain, &signed, &person).unwrap_err();
        assert_eq!(refusal, Refusal::PolicyZeroIsLocal(tenant()));
        let Verdict::Record(draft) = adopt(&tenant(), None, &chain, &signed, &Bearer::Operator).unwrap() else {
            panic!("adopted before")
        };
        let What::PolicyAdopted { version, digest, signers, signatures } = draft.what else { panic!("{draft:?}") };
        assert_eq!((version, digest, signers.len(), signatures.len()), (0, chain.digest(), 1, 1));
        assert_eq!(draft.person, None);
    }

    #[test]
    fn the_next_version_follows_and_the_same_is_the_same() {
        let acme = Acme::new();
        let (zero, chain) = acme.begin();
        let one = acme.policy(1, Some(&zero), &[]);
        let newer = next(&chain, &one);
        let bearer = Bearer::Person(ann());
        let Verdict::Record(draft) = adopt(&tenant(), Some(&held(&chain)), &newer, &one, &bearer).unwrap() else {
            panic!("adopted before")
        };
        assert_eq!(draft.person, Some(ann()));
        assert_eq!(adopt(&tenant(), Some(&held(&newer)), &newer, &one, &bearer), Ok(Verdict::Again(9)));
    }

    #[test]
    fn older_skipping_forked_and_foreign_versions_are_refused() {
        let acme = Acme::new();
        let (zero, chain) = acme.begin();
        let one = acme.policy(1, Some(&zero), &[]);
        let fork = acme.policy(1, Some(&zero), &[7]);
        let two = acme.policy(2, Some(&one), &[]);
        let (first, second) = (next(&chain, &one), next(&next(&chain, &one), &two));
        let bearer = Bearer::Person(ann());
        let judge = |held: &PolicyHeld, chain: &Chain, signed| adopt(&tenant(), Some(held), chain, signed, &bearer);
        assert_eq!(judge(&held(&first), &chain, &zero), Err(Refusal::PolicyOlder { offered: 0, held: 1 }));
        assert_eq!(judge(&held(&chain), &second, &two), Err(Refusal::PolicyGap { offered: 2, held: 0 }));
        let forked = judge(&held(&first), &next(&chain, &fork), &fork);
        assert_eq!(forked, Err(Refusal::PolicyFork { version: 1, held: first.digest() }));
        let unlinked = judge(&held(&next(&chain, &fork)), &second, &two);
        assert_eq!(unlinked, Err(Refusal::PolicyGap { offered: 2, held: 1 }));
        let (_, other) = Acme::new().begin();
        let replaced = judge(&held(&other), &chain, &zero);
        assert_eq!(replaced, Err(Refusal::PolicyOtherChain { held: other.policy0(), offered: chain.policy0() }));
        let beta = "beta".parse().unwrap();
        let foreign = adopt(&beta, None, &chain, &zero, &Bearer::Operator);
        assert_eq!(foreign, Err(Refusal::PolicyForeign { tenant: beta, offered: tenant() }));
        let early = adopt(&tenant(), None, &first, &one, &Bearer::Operator);
        assert_eq!(early, Err(Refusal::PolicyMissing(tenant())));
    }
}
