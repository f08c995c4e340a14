//! Every maximum of this crate, with its reason (P7).

use belay_certs::time::DAY;

/// Tenants of one gateway: the right edge of each log stays in memory, up to 48 KiB.
pub const TENANTS_MAX: usize = 4_096;
/// Approvals in one ask: they are judged in one transaction, and everybody else waits for it. A door cuts a larger
/// batch into slices of this size; the batch's one signature covers them all.
pub const APPROVALS_PER_ASK_MAX: usize = 256;
/// The weight of an ask that deletes up to 4 MiB of output: a few of them and everybody else's asks share a transaction.
pub const OUTPUT_DELETED_WEIGHT: usize = 128;
/// The weight of an ask that has a transaction for itself: more than any transaction takes.
pub const ALONE_WEIGHT: usize = 1 << 20;
/// How long a pending device holds its name, in microseconds: as long as any token lives, so that a request that
/// nobody approved cannot keep a name for ever.
pub const PENDING_MICROS_MAX: i64 = belay_certs::limits::TOKEN_DAYS_MAX * DAY;
/// A command line on the gateway, in bytes.
pub const COMMAND_LINE_BYTES_MAX: usize = 4 << 10;
/// Freezes of one tenant: whoever needs more freezes the tenant. Every new access looks them up in memory.
pub const FREEZES_PER_TENANT_MAX: usize = 1_000;
/// Characters of a reason or a note in a person's own words: a paragraph, and a line in a list.
pub const REASON_CHARS_MAX: usize = 1_000;

/// Devices in one offer: their names fit an entry, and one transaction.
pub const OFFERS_PER_ASK_MAX: usize = 256;
/// Offers of one job that no device has answered, and that are not overdue, when the gateway has time for more: over a way of
/// 200 ms 5,000 devices a second begin so. Runs that have started do not count.
pub const OFFERS_UNANSWERED_MAX: usize = 1_024;
/// The same at first: what two cores keep up with.
pub const OFFERS_UNANSWERED_FIRST: usize = 64;
/// The same while the gateway is busy: a job goes on, a commit at a time.
pub const OFFERS_UNANSWERED_LEAST: usize = 32;
/// How long a device may take to answer an offer before it is overdue, in seconds: it syncs its disk twice.
pub const OFFER_SECONDS_MAX: i64 = 60;
/// How much longer than it may run a run's end may take to come, in seconds: it is ended gently first, and its output is synced.
pub const RESULT_GRACE_SECONDS: i64 = 60;
/// Jobs of one tenant under way: an alert for each of a hundred services, twice over.
pub const JOBS_OPEN_PER_TENANT_MAX: usize = 256;
/// Jobs of all tenants under way: each turn may ask every one of them.
pub const JOBS_OPEN_MAX: usize = 4_096;
/// Devices of all jobs of one tenant under way: twenty of the largest, at some 300 bytes each.
pub const PLACES_OPEN_PER_TENANT_MAX: usize = 200_000;
/// Devices of all jobs of all tenants under way: 300 MB.
pub const PLACES_OPEN_MAX: usize = 1_000_000;
