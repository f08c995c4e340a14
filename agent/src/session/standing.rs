//! Whether a running session is still granted: asked again at every policy change and every minute.

use crate::authority::Authority;
use belay_certs::{
    AccountName, PublicKey,
    policy::{Action, Grant, Refusal},
};
use std::{sync::Arc, time::Duration};

/// Hours end and policies expire without any message: ask the clock this often.
const ASK_EVERY: Duration = Duration::from_secs(60);

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
                () = tokio::time::sleep(ASK_EVERY) => {}
            }
        }
    }
}
