//! Every maximum of this crate, with its reason (P7).

/// A policy, in bytes: 6,000 people at 160 bytes each fit.
pub const POLICY_BYTES_MAX: usize = 1 << 20;
/// A policy's distance from `issued` to `expires`, in days (DESIGN.md).
pub const POLICY_DAYS_MAX: i64 = 90;
/// People plus teams' names in one policy.
pub const PEOPLE_MAX: usize = 10_000;
/// Grants in one policy: what a person can still review.
pub const GRANTS_MAX: usize = 1_000;
/// Keys of one person.
pub const KEYS_PER_PERSON_MAX: usize = 32;
/// Root keys of one policy, and so signatures on one.
pub const ROOT_KEYS_MAX: usize = 32;
/// Any other signed document (token, join request, batch, record), in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 16 << 10;
/// One armoured signature, in bytes: an RSA-16384 one is under 6 KiB.
pub const SIGNATURE_BYTES_MAX: usize = 8 << 10;
/// A device's signed statement, in bytes: it must fit an entry twice escaped.
pub const STATEMENT_BYTES_MAX: usize = 28 << 10;
/// One log entry, in bytes: the C2SP entry bundle counts in 16 bits.
pub const ENTRY_BYTES_MAX: usize = (64 << 10) - 1;
/// The part of a command line kept in statements and entries, in bytes (DESIGN.md: its first 4 KiB, length and SHA-256).
pub const COMMAND_BYTES_KEPT: usize = 4 << 10;
/// A signed checkpoint, in bytes: a dozen cosignatures fit.
pub const CHECKPOINT_BYTES_MAX: usize = 4 << 10;
/// Hashes in one inclusion or consistency proof: a tree of 2^63 leaves needs no more.
pub const PROOF_HASHES_MAX: usize = 64 * 2;
/// Device records in one approval batch.
pub const BATCH_RECORDS_MAX: usize = 10_000;
/// Uses of one token.
pub const TOKEN_USES_MAX: u64 = 10_000;
/// Life of one token, in days.
pub const TOKEN_DAYS_MAX: i64 = 30;
/// Labels of one device.
pub const LABELS_MAX: usize = 32;

const _: () = assert!(STATEMENT_BYTES_MAX + SIGNATURE_BYTES_MAX < ENTRY_BYTES_MAX);
