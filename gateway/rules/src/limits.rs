//! Every maximum of this crate, with its reason (P7).

use belay_certs::time::DAY;

/// Tenants of one gateway: the right edge of each log stays in memory, up to 48 KiB.
pub const TENANTS_MAX: usize = 4_096;
/// Approvals in one ask: they are judged in one transaction, and everybody else waits for it. A door cuts a larger
/// batch into slices of this size; the batch's one signature covers them all.
pub const APPROVALS_PER_ASK_MAX: usize = 256;
/// The weight of an ask that has a transaction for itself: more than any transaction takes.
pub const ALONE_WEIGHT: usize = 1 << 20;
/// How long a pending device holds its name, in microseconds: as long as any token lives, so that a request that
/// nobody approved cannot keep a name for ever.
pub const PENDING_MICROS_MAX: i64 = belay_certs::limits::TOKEN_DAYS_MAX * DAY;
/// A command line on the gateway, in bytes.
pub const COMMAND_LINE_BYTES_MAX: usize = 4 << 10;
