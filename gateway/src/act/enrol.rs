//! How a machine comes to wait for approval: token and join. Signatures are checked here, before the store is asked.
//!
//! Not here: the approval (`approve.rs`).

use super::strangers;
use crate::{Gateway, store::RecordError};
use belay_certs::{
    Fault, Id, Invalid, Namespace, PersonRef, Signed, TenantName,
    device::Approval,
    join::{self, SignedJoin},
    token::{self, Token},
    transport,
};
use belay_protocol::{
    JoinAccepted, JoinAsked, PolicyBytes, RecordOffered,
    limits::{JOIN_ACCEPTED_BODY_BYTES_MAX, JOIN_POLICIES_MAX},
};
use belay_rules::{Ask, Outcome};
use std::time::Instant;

/// The one text for a token that no person of its tenant has signed, whether there is such a tenant or not (P3).
const STRANGE_TOKEN: &str =
    "this token does not count here: it was altered, or whoever signed it may not enrol devices of its tenant";

/// What a machine that may not join is told.
pub(crate) struct JoinRefusal(pub(super) String);

impl JoinRefusal {
    /// One sentence, short enough for the wire.
    pub(crate) fn sentence(&self) -> String {
        belay_protocol::limits::clip_sentence(&self.0)
    }
}

/// Why a machine may not join.
enum NotJoined {
    /// Nobody with a grant in the tenant signed its token, if there is such a tenant.
    Stranger,
    /// A person of the tenant vouches for it, or the reason says nothing of any tenant: it is told exactly.
    Refused(Invalid),
    /// We failed, whoever asked.
    Broken(Invalid),
}

/// A machine asks to become a device: token, request, both keys and the certificate request must fit together. Every
/// refusal is counted in the system log. Whoever nobody vouches for hears one text after the strangers' delay (P3).
pub(crate) async fn join(gateway: &Gateway, asked: JoinAsked, address: String) -> Result<JoinAccepted, JoinRefusal> {
    let began = Instant::now();
    let who = format!("{address} asked to join");
    match redeem(gateway, asked, address).await {
        Ok(accepted) => Ok(accepted),
        Err(NotJoined::Stranger) => {
            strangers::turn_away(gateway, began, who).await;
            Err(JoinRefusal(STRANGE_TOKEN.to_owned()))
        }
        Err(NotJoined::Refused(invalid)) => {
            gateway.strangers.count(gateway.now(), &format!("{who}: {:?}", invalid.fault));
            Err(JoinRefusal(invalid.sentence))
        }
        Err(NotJoined::Broken(invalid)) => Err(JoinRefusal(invalid.sentence)),
    }
}

async fn redeem(gateway: &Gateway, asked: JoinAsked, address: String) -> Result<JoinAccepted, NotJoined> {
    let signed = Signed { bytes: asked.token, signatures: vec![asked.token_signature] };
    let token = check_vouched(gateway, &signed)?;
    let joining = SignedJoin { bytes: asked.request, by_join_key: asked.by_join_key, by_host_key: asked.by_host_key };
    let request = join::check(&joining, &token, &signed.bytes).map_err(NotJoined::Refused)?;
    if transport::csr_key_digest(&asked.csr).map_err(NotJoined::Refused)? != request.transport_key {
        let sentence = "the certificate request has another key than the join request names; join again";
        return Err(NotJoined::Refused(Invalid::new(Fault::Mismatch, sentence)));
    }
    let fresh = Id::random().map_err(NotJoined::Broken)?;
    let ask = Ask::Redeem { join: fresh, request: Box::new(request), signed: joining, address };
    let recorded = gateway.record(ask).await.map_err(|error| match error {
        RecordError::Refused(_) => NotJoined::Refused(refused(error)),
        RecordError::Broken(_) => NotJoined::Broken(refused(error)),
    })?;
    let join = match recorded.outcome {
        Outcome::JoinedBefore(earlier) => earlier,
        _ => {
            gateway.joined.send_modify(|count| *count += 1);
            fresh
        }
    };
    let issued = gateway.transport.for_device(&asked.csr, join, gateway.now());
    let chain = issued.map_err(NotJoined::Refused)?;
    let policies = policies_for(gateway, &token.tenant).await.map_err(NotJoined::Broken)?;
    Ok(JoinAccepted::with_what_fits(join.0, chain, policies))
}

/// A token that a machine brings. Why it does not count is told only when somebody with a grant in the tenant signed it:
/// its bytes are whole then, and whoever has them was given them, also past their end.
fn check_vouched(gateway: &Gateway, signed: &Signed) -> Result<Token, NotJoined> {
    let tenant = Token::parse(&signed.bytes).map_err(NotJoined::Refused)?.tenant;
    let signer = signed.only_signer(Namespace::Token).map_err(|_| NotJoined::Stranger)?;
    if gateway.book.in_tenant(&tenant, &signer, gateway.now()).is_none() {
        return Err(NotJoined::Stranger);
    }
    check_token(gateway, &tenant, signed).map(|(token, _)| token).map_err(NotJoined::Refused)
}

/// The policies that a device of `tenant` needs, its own first, as far as an answer can hold them: the rest is offered
/// once the device is connected.
async fn policies_for(gateway: &Gateway, tenant: &TenantName) -> Result<Vec<PolicyBytes>, Invalid> {
    let mut policies: Vec<PolicyBytes> = Vec::new();
    let mut bytes = 0;
    for (name, newest) in gateway.book.newest_for(tenant) {
        let mut next = 0;
        while next <= newest && bytes < JOIN_ACCEPTED_BODY_BYTES_MAX && policies.len() < JOIN_POLICIES_MAX {
            let page = gateway.policies_from(&name, next).await.map_err(|why| crate::broken(&why))?;
            if page.is_empty() {
                return Err(crate::broken(&format!("policy version {next} of {name} is missing")));
            }
            next += page.len() as u64;
            bytes += page.iter().map(|policy| policy.bytes.len()).sum::<usize>();
            policies.extend(page);
        }
    }
    Ok(policies)
}

fn check_token(gateway: &Gateway, tenant: &TenantName, signed: &Signed) -> Result<(Token, PersonRef), Invalid> {
    let now = gateway.now();
    gateway.book.with(tenant, |policies| token::check_issued(policies, signed, now)).unwrap_or_else(|| {
        Err(Invalid::new(Fault::ForeignTenant, "this token is for a tenant that this gateway does not serve"))
    })
}

/// A person brings a signed token document.
pub(crate) async fn issue_token(gateway: &Gateway, tenant: &TenantName, signed: Signed) -> Result<Token, Invalid> {
    let (token, by) = check_token(gateway, tenant, &signed)?;
    gateway.record(Ask::IssueToken { signed, token: Box::new(token.clone()), by }).await.map_err(refused)?;
    Ok(token)
}

/// An approval as a device is sent it.
pub(crate) fn record_offered(approval: Approval) -> Result<RecordOffered, String> {
    let [batch_signature] = approval.batch.signatures.as_slice() else {
        return Err("an approval in the database has not exactly one signature".to_owned());
    };
    Ok(RecordOffered {
        batch_signature: batch_signature.clone(),
        record: approval.record,
        index: approval.index,
        path: approval.path,
        batch: approval.batch.bytes,
        certificate: approval.certificate,
    })
}

pub(crate) fn refused(error: RecordError) -> Invalid {
    match error {
        RecordError::Refused(refusal) => Invalid::new(Fault::Spent, refusal.to_string()),
        RecordError::Broken(why) => crate::broken(&why),
    }
}

#[cfg(test)]
mod tests;
