//! Every maximum of the agent's rules, with its reason (P7).

/// Statements that wait for their receipt before new work is refused: a day without the gateway on a busy machine.
pub const PENDING_MAX: usize = 10_000;
/// Their bytes: they are in memory too, and the machine is somebody's server.
pub const PENDING_BYTES_MAX: usize = 32 << 20;
/// Sessions that are open or whose end was not said: 64 connections of 64 channels. Their ends always fit.
pub const SESSIONS_OPEN_MAX: usize = 4_096;
/// Statements sent and not answered: 64 a round trip of 50 ms are 1,280 a second, more than one machine says.
pub const IN_FLIGHT_MAX: usize = 64;
/// How often one receipt may be asked for again because the log grew meanwhile: as often as others can be in front.
pub const ASKED_AGAIN_MAX: u32 = 2 * IN_FLIGHT_MAX as u32;
/// First wait after the gateway could not record, in milliseconds: it may only be restarting its store.
pub const STALL_MS_FIRST: u64 = 1_000;
/// Longest such wait, in milliseconds.
pub const STALL_MS_MAX: u64 = 60_000;
