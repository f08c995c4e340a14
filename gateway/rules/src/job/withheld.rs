//! Why a run does not start, or a job does not do what was asked: one sentence each.

use belay_certs::order::Outcome;

/// A reasoned no about one run or one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Withheld {
    /// The order has no such place.
    #[error("the order has no device at place {0}")]
    NoSuchPlace(usize),
    /// Nobody offered it.
    #[error("this run was not offered; it begins only in its turn")]
    NotOffered,
    /// Too many did not succeed.
    #[error("the job stopped, because too many runs did not succeed; look at them, then retry")]
    Stopped,
    /// A person called it off.
    #[error("the job was cancelled; give a new order to run it")]
    Cancelled,
    /// It is too early or too late.
    #[error("the window of the order is not open; give a new order, or set the clock that is wrong")]
    OutsideWindow,
    /// It began before.
    #[error("this run began before, and none begins twice")]
    Started,
    /// It is over.
    #[error("this run has ended before: {0}")]
    Ended(Outcome),
    /// Runs may still begin or end.
    #[error("the job is not over; cancel it first, or wait for its end")]
    NotOver,
}
