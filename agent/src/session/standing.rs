//! Whether a running session is still granted: asked again at every policy change, at every turn of the minute, and every
//! few seconds: a machine that was suspended wakes at another time of day, and no timer has moved.

use crate::{authority::Authority, limits::STANDING_EVERY};
use belay_certs::{
    AccountName, PublicKey,
    policy::{Action, Grant, Refusal},
};
use std::sync::Arc;

/// The question a session was granted under, kept as long as it lives.
#[derive(Clone)]
pub(crate) struct Standing {
    /// Who answers.
    pub(crate) authority: Arc<Authority>,
    /// The person's key.
    pub(crate) key: PublicKey,
    /// The account asked for.
    pub(crate) account: AccountName,
    /// What is done.
    pub(crate) action: Action,
    /// The ticket given for it.
    pub(crate) ticket: Option<String>,
}

impl Standing {
    /// The answer now.
    pub(crate) fn ask(&self) -> Result<Grant, Refusal> {
        self.authority.decide(&self.key, Some(&self.account), self.action.clone(), self.ticket.as_deref())
    }

    /// Waits until the answer is no, and returns why. Cancel-safe.
    pub(crate) async fn lost(&self) -> Refusal {
        let mut changes = self.authority.changes();
        loop {
            if let Err(refusal) = self.ask() {
                return refusal;
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { std::future::pending::<()>().await },
                // Hours end on a whole minute, without any message; and a clock may jump over it.
                () = tokio::time::sleep(self.authority.clock().to_next_minute().min(STANDING_EVERY)) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testbed::{Machine, Tenant};
    use belay_certs::time::SECOND;
    use std::{sync::atomic::Ordering, time::Duration};

    /// 2026-12-01 is a Tuesday.
    const AT_WORK: &str = "\n[[grants]]\nwho = [\"alice\"]\non = [\"*\"]\ndo = [\"shell\", \"enrol\"]\nas = [\"root\"]\n\
        hours = \"Tue 07:00-19:00 Europe/Berlin\"\n";

    fn shell(tenant: &Tenant, machine: &Machine, start: &str) -> Standing {
        let authority = machine.approved(tenant);
        machine.set_clock(start);
        let (key, account) = (tenant.alice.public().clone(), "root".parse().unwrap());
        Standing { authority, key, account, action: Action::Shell, ticket: None }
    }

    /// Waits for the end of the grant while the machine's clock goes with tokio's.
    async fn lost(standing: &Standing, machine: &Machine) -> Refusal {
        let (began, start) = (tokio::time::Instant::now(), machine.hands.load(Ordering::Relaxed));
        let going = async {
            loop {
                let passed = i64::try_from(began.elapsed().as_micros()).unwrap();
                machine.hands.store(start + passed, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            refusal = standing.lost() => refusal,
            () = going => unreachable!(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_hours_ends_a_session_within_two_seconds_and_not_before() {
        let mut tenant = Tenant::new("acme");
        tenant.found(|draft| draft.grants = AT_WORK);
        let machine = Machine::joined(&tenant);
        let standing = shell(&tenant, &machine, "2026-12-01T17:57:30Z");
        let refusal = lost(&standing, &machine).await;
        assert!(matches!(refusal, Refusal::OutsideHours { .. }), "{refusal}");
        let ended = machine.hands.load(Ordering::Relaxed);
        let hour: belay_certs::Timestamp = "2026-12-01T18:00:00Z".parse().unwrap();
        assert!((hour.micros()..hour.micros() + 2 * SECOND).contains(&ended), "ended at {ended}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_policy_with_other_hours_or_a_ticket_ends_a_session_at_once() {
        let mut tenant = Tenant::new("acme");
        tenant.found(|draft| draft.grants = AT_WORK);
        let machine = Machine::joined(&tenant);
        let standing = shell(&tenant, &machine, "2026-12-01T12:00:30Z");
        let asked = machine.hands.load(Ordering::Relaxed);
        let with_ticket = tenant.publish(|draft| {
            draft.grants = "\n[[grants]]\nwho = [\"alice\"]\non = [\"*\"]\ndo = [\"shell\"]\nas = [\"root\"]\nticket = \"INC-[0-9]+\"\n";
        });
        let authority = Arc::clone(&standing.authority);
        let (refusal, taken) =
            tokio::join!(lost(&standing, &machine), async { authority.take_policy(&tenant.name(), &with_ticket) });
        taken.unwrap();
        assert!(matches!(refusal, Refusal::TicketMissing { .. }), "{refusal}");
        assert!(machine.hands.load(Ordering::Relaxed) - asked < SECOND);
        let named = Standing { ticket: Some("INC-7".to_owned()), ..standing };
        named.ask().unwrap();
    }
}
