//! Maxima of what `belay` keeps and sends about devices, with their reasons (P7). The others stand where they are used.

use std::time::Duration;

/// A signed batch with its certificates, kept until the gateway has it, in bytes: 10,000 devices at some 2 KiB.
pub const KEPT_BATCH_BYTES_MAX: u64 = 64 << 20;
/// Batches that are kept at once: one for each tenant of a provider, and some.
pub const KEPT_BATCHES_MAX: usize = 1_000;
/// Devices sent to the gateway in one piece: some 2 MiB, a few seconds on a slow line, and what a cut costs at most.
pub const SENT_AT_ONCE_MAX: usize = 500;
/// Machines asked for in one piece of `pending`, and devices in one of `records`: some 2 MiB.
pub const ROWS_AT_ONCE: usize = 500;
/// Devices of a tenant whose newest serial a home remembers: ten times as many as one batch approves.
pub const NEWEST_DEVICES_MAX: usize = 100_000;
/// The file of those serials, in bytes: two lines for a device, each of at most 160 bytes.
pub const NEWEST_BYTES_MAX: u64 = 32 << 20;
/// Machines that wait, of all gateways and tenants, before somebody floods us.
pub const PENDING_MAX: usize = 100_000;
/// How long keys stay ready for one command: ten thousand certificates take under a minute.
pub const SIGNING_LASTS: Duration = Duration::from_secs(900);
/// Longest `--watch`: a working day. Whoever wants more asks again, so that nobody forgets that it runs.
pub const WATCH_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long the gateway is asked to wait for the next machine; then it is asked again.
pub const WATCH_WAIT_SECONDS: u64 = 300;
/// The first pause after a gateway did not answer, and the longest.
pub const WATCH_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));
/// How often an order is brought to a gateway that does not answer.
pub const SUBMITS_MAX: u32 = 4;
/// How often in a row a gateway that does not answer is asked about a job that is followed: some two minutes.
pub const FOLLOWS_MAX: u32 = 10;
/// Events that wait for the file they are written to, each at most some 200 KiB; one sync is for so many.
pub const TAIL_LINES_WAITING_MAX: usize = 64;
/// Bytes of a line of output that wait for its end: what is longer is shown in parts, for ten thousand devices may print some.
pub const LINE_HELD_MAX: usize = 64 << 10;
/// Outputs fetched at once, each over an ssh of its own.
pub const OUTPUTS_AT_ONCE: usize = 16;
/// Parts of a list of recordings that only auditors can read, 10,000 each: as many as are known in a home.
pub const SEALED_LISTS_MAX: usize = 102;
/// Such recordings that a home knows, a few hundred bytes each: what a gateway could fill its disk with.
pub const SEALED_KNOWN_MAX: u64 = 1_000_000;
/// Devices of a job that one pack of evidence holds: two entries each is half of what a gateway proves at once.
pub const EVIDENCE_DEVICES_MAX: usize = 1_000;
/// Device records in one pack: two for each of its devices, which may get another while it runs.
pub const EVIDENCE_RECORDS_MAX: usize = 2 * EVIDENCE_DEVICES_MAX;
