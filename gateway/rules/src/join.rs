//! The judge of machines that ask to join with a token.

use crate::device::{DeviceHeld, DeviceState};
use crate::draft::Draft;
use crate::event::What;
use crate::limits::PENDING_MICROS_MAX;
use crate::refusal::Refusal;
use crate::token::TokenHeld;
use belay_certs::join::{JoinRequest, SignedJoin};
use belay_certs::{Digest, Id, Timestamp};

/// What becomes of a join request that is not refused.
#[derive(Debug, Clone, PartialEq)]
pub enum Redeemed {
    /// The machine waits for approval; the token has one use less.
    Pending {
        /// The event.
        draft: Box<Draft>,
        /// The token that has one use less.
        token: Id,
        /// Requests for the same name that this one takes the place of.
        replaces: Vec<Id>,
    },
    /// It asked before; no use of the token is counted.
    Before {
        /// The join id it got then.
        join: Id,
        /// The entry about it.
        index: u64,
    },
}

/// What the store has that bears on a join request.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The tenant's token with that document, if it was ever issued.
    pub token: Option<&'a TokenHeld>,
    /// The tenant's devices with the name or the host key that the request has.
    pub devices: &'a [DeviceHeld],
}

/// May this machine wait for approval as request `join`?
///
/// # Errors
/// When the token is unknown, past its end or used up, or name or host key belong to somebody else.
pub fn redeem(
    facts: &Facts<'_>,
    join: Id,
    request: &JoinRequest,
    signed: &SignedJoin,
    address: &str,
    now: Timestamp,
) -> Result<Redeemed, Refusal> {
    let token = facts.token.ok_or(Refusal::TokenUnknown)?;
    if token.expires <= now {
        return Err(Refusal::TokenExpired(token.expires));
    }
    let fingerprint = request.host_key.fingerprint();
    if let Some(before) = facts.devices.iter().find_map(|device| came_before(device, &fingerprint, request)) {
        return before;
    }
    // A name that an approved device has may be asked for: whoever approves says whether this machine takes its place.
    let (replaces, rivals): (Vec<_>, Vec<_>) = facts
        .devices
        .iter()
        .filter(|rival| rival.state == DeviceState::Pending && rival.name == request.name)
        .partition(|rival| gives_way(rival, request, now));
    if let Some(rival) = rivals.first() {
        return Err(Refusal::DeviceNameTaken { name: rival.name.clone(), state: rival.state });
    }
    if token.uses >= token.uses_max {
        return Err(Refusal::TokenUsedUp(token.uses_max));
    }
    let what = pending(join, token.id, request, signed, address);
    Ok(Redeemed::Pending {
        draft: Box::new(Draft::new(request.tenant.clone().into(), what)),
        token: token.id,
        replaces: replaces.iter().map(|rival| rival.join).collect(),
    })
}

/// The answer when a device with this host key is known. A revoked key never returns: what it said stays its own.
fn came_before(device: &DeviceHeld, fingerprint: &str, request: &JoinRequest) -> Option<Result<Redeemed, Refusal>> {
    if device.fingerprint != fingerprint {
        return None;
    }
    match device.state {
        // An approved one may have been renamed since it asked.
        DeviceState::Approved => Some(Ok(Redeemed::Before { join: device.join, index: device.index })),
        DeviceState::Pending if device.name == request.name => {
            Some(Ok(Redeemed::Before { join: device.join, index: device.index }))
        }
        DeviceState::Pending => Some(Err(Refusal::HostKeyTaken(device.name.clone()))),
        DeviceState::Revoked => Some(Err(Refusal::HostKeyRevoked(device.name.clone()))),
        DeviceState::Replaced => None,
    }
}

/// A request that nobody approved makes room for one of the same machine, which lost its keys, and after a while for
/// anyone. Nothing is lost: whoever approves sees the machine's fingerprint.
fn gives_way(rival: &DeviceHeld, request: &JoinRequest, now: Timestamp) -> bool {
    let stale = rival.asked.plus(PENDING_MICROS_MAX) <= now;
    stale || rival.machine_id == request.machine_id
}

fn pending(join: Id, token: Id, request: &JoinRequest, signed: &SignedJoin, address: &str) -> What {
    What::DevicePending {
        join,
        token,
        name: request.name.clone(),
        host_key: request.host_key.clone(),
        machine_id: request.machine_id,
        request: Digest::of(&signed.bytes),
        signatures: vec![Digest::of(signed.by_join_key.as_bytes()), Digest::of(signed.by_host_key.as_bytes())],
        address: address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{Acme, key, now};
    use belay_certs::time::DAY;

    const JOIN: Id = Id([7; 16]);

    struct Scene {
        request: JoinRequest,
        signed: SignedJoin,
        token: TokenHeld,
    }

    fn scene() -> Scene {
        let acme = Acme::new();
        let (_, chain) = acme.begin();
        let (document, token) = acme.token(&chain, Id([1; 16]), 2);
        let (request, signed) = acme.request(&document, "web1", &key("web1"));
        let digest = Digest::of(&document.bytes);
        let token = TokenHeld { id: token.id, digest, uses_max: 2, uses: 0, expires: token.expires, index: 3 };
        Scene { request, signed, token }
    }

    impl Scene {
        fn device(&self, state: DeviceState) -> DeviceHeld {
            DeviceHeld {
                join: Id([9; 16]),
                name: self.request.name.clone(),
                fingerprint: "SHA256:other".to_owned(),
                machine_id: Digest::of(b"another machine"),
                state,
                asked: now(),
                record: None,
                index: 4,
            }
        }

        fn judge(&self, devices: &[DeviceHeld], now: Timestamp) -> Result<Redeemed, Refusal> {
            let facts = Facts { token: Some(&self.token), devices };
            redeem(&facts, JOIN, &self.request, &self.signed, "192.0.2.1:1", now)
        }
    }

    #[test]
    fn a_machine_with_a_good_token_waits_for_approval() {
        let scene = scene();
        let Redeemed::Pending { draft, token, replaces } = scene.judge(&[], now()).unwrap() else {
            panic!("came before")
        };
        assert_eq!((draft.what.type_name(), token, replaces.len()), ("device.pending", Id([1; 16]), 0));
    }

    #[test]
    fn unknown_expired_and_used_up_tokens_are_refused() {
        let mut scene = scene();
        let facts = Facts { token: None, devices: &[] };
        let unknown = redeem(&facts, JOIN, &scene.request, &scene.signed, "", now());
        assert_eq!(unknown, Err(Refusal::TokenUnknown));
        let end = now().plus(DAY);
        assert_eq!(scene.judge(&[], end), Err(Refusal::TokenExpired(end)));
        scene.token.uses = 2;
        assert_eq!(scene.judge(&[], now()), Err(Refusal::TokenUsedUp(2)));
    }

    #[test]
    fn the_same_machine_asking_again_gets_its_first_answer_and_costs_no_use() {
        let mut scene = scene();
        scene.token.uses = 2;
        for state in [DeviceState::Pending, DeviceState::Approved] {
            let mine = DeviceHeld { fingerprint: scene.request.host_key.fingerprint(), ..scene.device(state) };
            let before = Redeemed::Before { join: mine.join, index: 4 };
            assert_eq!(scene.judge(std::slice::from_ref(&mine), now()), Ok(before));
            let renamed = DeviceHeld { name: "web2".parse().unwrap(), ..mine };
            match state {
                DeviceState::Approved => assert!(matches!(scene.judge(&[renamed], now()), Ok(Redeemed::Before { .. }))),
                _ => {
                    let refusal = Refusal::HostKeyTaken("web2".parse().unwrap());
                    assert_eq!(scene.judge(&[renamed], now()), Err(refusal));
                }
            }
        }
    }

    #[test]
    fn a_revoked_host_key_never_returns() {
        let scene = scene();
        let fingerprint = scene.request.host_key.fingerprint();
        let revoked = DeviceHeld { fingerprint, ..scene.device(DeviceState::Revoked) };
        assert_eq!(scene.judge(&[revoked], now()), Err(Refusal::HostKeyRevoked("web1".parse().unwrap())));
    }

    #[test]
    fn two_machines_never_wait_for_one_name_and_one_that_is_held_may_be_waited_for() {
        let scene = scene();
        let refusal = Refusal::DeviceNameTaken { name: "web1".parse().unwrap(), state: DeviceState::Pending };
        assert_eq!(scene.judge(&[scene.device(DeviceState::Pending)], now()), Err(refusal));
        for state in [DeviceState::Approved, DeviceState::Revoked, DeviceState::Replaced] {
            let judged = scene.judge(&[scene.device(state)], now());
            assert!(matches!(judged, Ok(Redeemed::Pending { replaces, .. }) if replaces.is_empty()), "{state}");
        }
    }

    #[test]
    fn a_pending_request_gives_way_to_the_same_machine_or_when_it_is_old() {
        let scene = scene();
        let same = DeviceHeld { machine_id: scene.request.machine_id, ..scene.device(DeviceState::Pending) };
        let old = DeviceHeld { asked: now().plus(-PENDING_MICROS_MAX), ..scene.device(DeviceState::Pending) };
        for rival in [same, old] {
            let Redeemed::Pending { replaces, .. } = scene.judge(std::slice::from_ref(&rival), now()).unwrap() else {
                panic!("came before")
            };
            assert_eq!(replaces, [rival.join]);
        }
    }
}
