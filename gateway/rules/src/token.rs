//! The judge of tokens being issued. Redeeming one is in `join.rs`.

use crate::ask::Verdict;
use crate::draft::Draft;
use crate::event::What;
use crate::policy::PolicyHeld;
use crate::refusal::Refusal;
use belay_certs::token::Token;
use belay_certs::{Digest, Id, PersonRef, Signed, Timestamp};

/// A token as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenHeld {
    /// Its id.
    pub id: Id,
    /// Of its document.
    pub digest: Digest,
    /// Devices it joins.
    pub uses_max: u64,
    /// Devices it has joined.
    pub uses: u64,
    /// Until when it joins any.
    pub expires: Timestamp,
    /// The entry that says it was issued.
    pub index: u64,
}

/// May this token become valid? `held` is the token of the same id, `policy` the one in force.
///
/// # Errors
/// When the tenant has no policy or another one, the token is past its end, or its id is another token's.
pub fn issue(
    held: Option<&TokenHeld>,
    policy: Option<&PolicyHeld>,
    signed: &Signed,
    token: &Token,
    by: &PersonRef,
    now: Timestamp,
) -> Result<Verdict<Draft>, Refusal> {
    let policy = policy.ok_or_else(|| Refusal::PolicyMissing(token.tenant.clone()))?;
    if policy.policy0 != token.policy0 {
        return Err(Refusal::TokenForeign(token.tenant.clone()));
    }
    let digest = Digest::of(&signed.bytes);
    match held {
        Some(held) if held.digest == digest => return Ok(Verdict::Again(held.index)),
        Some(held) => return Err(Refusal::TokenIdTaken(held.id)),
        None if token.expires <= now => return Err(Refusal::TokenExpired(token.expires)),
        None => {}
    }
    let [signature] = signed.signatures.as_slice() else {
        return Err(Refusal::EntryInvalid("a token carries exactly one signature".to_owned()));
    };
    let what = What::TokenIssued {
        token: token.id,
        digest,
        signature: Digest::of(signature.as_bytes()),
        uses: token.uses,
        expires: token.expires,
        labels: token.labels.clone(),
        name_pattern: token.name_pattern.to_string(),
    };
    Ok(Verdict::Record(Draft::new(token.tenant.clone().into(), what).by(by.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{Acme, ann, now};
    use belay_certs::time::DAY;

    #[test]
    fn a_token_is_issued_once_and_repeated_without_harm() {
        let acme = Acme::new();
        let (_, chain) = acme.begin();
        let policy = PolicyHeld { policy0: chain.policy0(), version: 0, digest: chain.digest(), index: 1 };
        let (signed, token) = acme.token(&chain, Id([1; 16]), 3);
        let judge = |held: Option<&TokenHeld>, policy: Option<&PolicyHeld>, now| {
            issue(held, policy, &signed, &token, &ann(), now)
        };
        let Verdict::Record(draft) = judge(None, Some(&policy), now()).unwrap() else { panic!("issued before") };
        assert_eq!((draft.what.type_name(), draft.person), ("token.issued", Some(ann())));
        let mut held = TokenHeld {
            id: token.id,
            digest: Digest::of(&signed.bytes),
            uses_max: 3,
            uses: 0,
            expires: token.expires,
            index: 5,
        };
        assert_eq!(judge(Some(&held), Some(&policy), now()), Ok(Verdict::Again(5)));
        held.digest = Digest::of(b"another");
        assert_eq!(judge(Some(&held), Some(&policy), now()), Err(Refusal::TokenIdTaken(token.id)));
        assert_eq!(judge(None, Some(&policy), token.expires), Err(Refusal::TokenExpired(now().plus(DAY))));
        assert_eq!(judge(None, None, now()), Err(Refusal::PolicyMissing(token.tenant.clone())));
        let other = PolicyHeld { policy0: Digest::of(b"another"), ..policy };
        assert_eq!(judge(None, Some(&other), now()), Err(Refusal::TokenForeign(token.tenant.clone())));
    }
}
