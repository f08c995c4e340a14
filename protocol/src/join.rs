//! What is said on a join connection (`belay-join/1`): one question by a machine that shows no certificate, and one
//! answer: it wants to join, or it has joined and wants its next certificate.
//! What the documents inside mean, and who signed them, is in `certs`.

use crate::codec::{Decode, Encode};
use crate::limits::*;
use crate::message::{heard, messages};
use crate::to_agent::{PolicyOffered, check_chain, check_policy};

heard! {
    /// What a joining agent hears.
    JoinAnswer { JoinAccepted, JoinRefused }
}

heard! {
    /// What a gateway hears on a join stream.
    JoinQuestion { JoinAsked, RenewalAsked }
}

heard! {
    /// What an agent hears that asked for a certificate by its host key.
    RenewalAnswer { CertificateIssued, JoinRefused }
}

/// A machine asks to join a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct JoinAsked {
    /// The token document as signed, without its secret; at most [`DOCUMENT_BYTES_MAX`] bytes.
    pub token: Vec<u8>,
    /// Armoured signature of the person who made the token (`token.v1@belay`).
    pub token_signature: String,
    /// The join request: host key, proposed name, machine id, random.
    pub request: Vec<u8>,
    /// Armoured signature over the request by the token's join key.
    pub by_join_key: String,
    /// Armoured signature over the request by the machine's host key.
    pub by_host_key: String,
    /// A PKCS#10 request in DER for the transport certificate; at most [`CSR_BYTES_MAX`] bytes.
    pub csr: Vec<u8>,
}

/// A device asks for its next transport certificate, proven by its host key: before the one it has ends, or after, however
/// long it was switched off.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RenewalAsked {
    /// The renewal request: whose join, the new key, and this very TLS connection.
    pub request: Vec<u8>,
    /// Armoured signature over the request by the device's host key (`renewal.v1@belay`).
    pub by_host_key: String,
    /// A PKCS#10 request in DER for the transport certificate; at most [`CSR_BYTES_MAX`] bytes.
    pub csr: Vec<u8>,
}

/// The machine is pending: it may connect with its certificate, and a person with `enrol` decides the rest.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct JoinAccepted {
    /// Id of the join.
    pub join: [u8; 16],
    /// X.509 certificates in DER, leaf first; at most [`CHAIN_CERTIFICATES_MAX`].
    pub chain: Vec<Vec<u8>>,
    /// Policies from version 0 on, oldest first in each tenant; at most [`JOIN_POLICIES_MAX`].
    /// A chain that does not fit one frame goes on with offers on the control stream.
    pub policies: Vec<PolicyBytes>,
}

impl JoinAccepted {
    /// An answer with as many of `policies`, from the front, as one frame holds.
    pub fn with_what_fits(join: [u8; 16], chain: Vec<Vec<u8>>, policies: Vec<PolicyBytes>) -> Self {
        let mut room = JOIN_ACCEPTED_BODY_BYTES_MAX - CERTIFICATE_ISSUED_BODY_BYTES_MAX - SMALL_BODY_BYTES_MAX;
        let fits = |policy: &PolicyBytes| {
            room = room.checked_sub(policy.wire_bytes_at_most())?;
            Some(())
        };
        let count = policies.iter().take(JOIN_POLICIES_MAX).map_while(fits).count();
        Self { join, chain, policies: policies.into_iter().take(count).collect() }
    }
}

/// One policy with its signatures.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PolicyBytes {
    /// The tenant whose policy it is.
    pub tenant: String,
    /// Its version.
    pub version: u64,
    /// The policy as signed; at most [`POLICY_BYTES_MAX`] bytes.
    pub bytes: Vec<u8>,
    /// Armoured signatures (`policy.v1@belay`); at most [`POLICY_SIGNATURES_MAX`].
    pub signatures: Vec<String>,
}

impl PolicyBytes {
    /// What it takes in a body, or a little more: each length and the version are at most nine bytes.
    fn wire_bytes_at_most(&self) -> usize {
        let signatures: usize = self.signatures.iter().map(|signature| signature.len() + 9).sum();
        self.tenant.len() + self.bytes.len() + signatures + 4 * 9
    }
}

impl From<PolicyBytes> for PolicyOffered {
    fn from(PolicyBytes { tenant, version, bytes, signatures }: PolicyBytes) -> Self {
        Self { tenant, version, bytes, signatures }
    }
}

/// A new transport certificate. It carries no authority.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CertificateIssued {
    /// X.509 certificates in DER, leaf first; at most [`CHAIN_CERTIFICATES_MAX`].
    pub chain: Vec<Vec<u8>>,
}

/// The machine may not join.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct JoinRefused {
    /// Why, for the person at the machine; says nothing of any tenant to a caller without a valid token (P3).
    pub sentence: String,
}

messages! {
    JoinAsked = 32, JOIN_ASKED_BODY_BYTES_MAX, |this| {
        at_most("token", this.token.len(), DOCUMENT_BYTES_MAX)?;
        at_most("token_signature", this.token_signature.len(), SIGNATURE_BYTES_MAX)?;
        at_most("request", this.request.len(), DOCUMENT_BYTES_MAX)?;
        at_most("by_join_key", this.by_join_key.len(), SIGNATURE_BYTES_MAX)?;
        at_most("by_host_key", this.by_host_key.len(), SIGNATURE_BYTES_MAX)?;
        at_most("csr", this.csr.len(), CSR_BYTES_MAX)
    };
    RenewalAsked = 33, RENEWAL_ASKED_BODY_BYTES_MAX, |this| {
        at_most("request", this.request.len(), DOCUMENT_BYTES_MAX)?;
        at_most("by_host_key", this.by_host_key.len(), SIGNATURE_BYTES_MAX)?;
        at_most("csr", this.csr.len(), CSR_BYTES_MAX)
    };
    JoinAccepted = 96, JOIN_ACCEPTED_BODY_BYTES_MAX, |this| {
        check_chain(&this.chain)?;
        at_most("policies", this.policies.len(), JOIN_POLICIES_MAX)?;
        this.policies.iter().try_for_each(|policy| check_policy(&policy.tenant, &policy.bytes, &policy.signatures))
    };
    JoinRefused = 97, SENTENCE_BODY_BYTES_MAX, |this| at_most("sentence", this.sentence.len(), SENTENCE_BYTES_MAX);
    CertificateIssued = 98, CERTIFICATE_ISSUED_BODY_BYTES_MAX, |this| check_chain(&this.chain);
}
