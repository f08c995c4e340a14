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

/// May the operator begin the tenant's policy anew with `chain`, in the place of the one that begins with `lost`? The
/// events: that it was begun anew, with `devices` left behind, and that version 0 was adopted.
///
/// # Errors
/// When nothing is held, the chain held is another one, or `chain` is not a version 0, or is the very same.
pub fn restart(
    held: Option<&PolicyHeld>,
    chain: &Chain,
    signed: &Signed,
    lost: Digest,
    devices: u64,
) -> Result<[Draft; 2], Refusal> {
    let tenant = chain.tenant();
    let held = held.ok_or_else(|| Refusal::PolicyMissing(tenant.clone()))?;
    if chain.version() > 0 {
        return Err(Refusal::PolicyMissing(tenant.clone()));
    }
    if held.policy0 != lost {
        return Err(Refusal::RestartOther { held: held.policy0, meant: lost });
    }
    if chain.policy0() == held.policy0 {
        return Err(Refusal::PolicyOlder { offered: 0, held: held.version });
    }
    let restarted =
        What::PolicyRestarted { lost, lost_version: held.version, begun: chain.policy0(), devices_lost: devices };
    Ok([restarted, adopted(chain, signed)?].map(|what| Draft::new(tenant.clone().into(), what)))
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

    #[test]
    fn a_chain_is_begun_anew_only_in_the_place_of_the_one_that_is_named() {
        let (_, old) = Acme::new().begin();
        let acme = Acme::new();
        let (zero, new) = acme.begin();
        let judge = |held: Option<&PolicyHeld>, lost| restart(held, &new, &zero, lost, 3);
        let [first, second] = judge(Some(&held(&old)), old.policy0()).unwrap();
        let What::PolicyRestarted { lost, begun, devices_lost, .. } = first.what else { panic!("{first:?}") };
        assert_eq!((lost, begun, devices_lost), (old.policy0(), new.policy0(), 3));
        assert_eq!(second.what.type_name(), "policy.adopted");
        let meant = Digest::of(b"another");
        let other = Refusal::RestartOther { held: old.policy0(), meant };
        assert_eq!(judge(Some(&held(&old)), meant), Err(other));
        assert_eq!(judge(None, meant), Err(Refusal::PolicyMissing(tenant())));
        let same = Refusal::PolicyOlder { offered: 0, held: 0 };
        assert_eq!(judge(Some(&held(&new)), new.policy0()), Err(same));
        let one = acme.policy(1, Some(&zero), &[]);
        let later = restart(Some(&held(&old)), &next(&new, &one), &one, old.policy0(), 3);
        assert_eq!(later, Err(Refusal::PolicyMissing(tenant())));
    }
}
