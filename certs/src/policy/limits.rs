//! The maxima that only a policy has, each with its reason (P7); the crate's shared ones are in `crate::limits`.

/// Signatures looked at on one policy: the root keys of the version before and its own, all different.
pub const POLICY_SIGNATURES_MAX: usize = 2 * crate::limits::ROOT_KEYS_MAX;
/// Names, globs or rules in one list of one grant: what a person can still review on one line.
pub const GRANT_LIST_MAX: usize = 256;
/// One glob or label, in bytes: a DNS label with wild cards, or a runbook's name.
pub const GLOB_BYTES_MAX: usize = 128;
/// A ticket and its pattern, in bytes: longer than any tracker's numbers, short enough to match in microseconds.
pub const TICKET_BYTES_MAX: usize = 128;
/// Parts of one ticket pattern: their states fit the bits of one `u64`.
pub const TICKET_ATOMS_MAX: usize = 60;
/// Ports and port ranges in one forward rule.
pub const PORT_RANGES_MAX: usize = 32;
/// A host name (RFC 1035), in bytes.
pub const HOST_BYTES_MAX: usize = 253;
/// Imported policies: every decision looks into each of them.
pub const IMPORTS_MAX: usize = 16;
/// Tenants one provider's policy serves.
pub const SERVES_MAX: usize = 10_000;
/// Revoked device serials: an estate of a hundred thousand machines loses fewer in the life of a device CA.
pub const REVOKED_MAX: usize = 10_000;
/// Withdrawn runbooks.
pub const WITHDRAWN_MAX: usize = 1_000;
/// Teams of one person.
pub const TEAMS_PER_PERSON_MAX: usize = 64;
/// Gateway addresses, host keys, transport CAs and logs; device CAs; recording recipients: each list is a handful.
pub const SHORT_LIST_MAX: usize = 32;
/// An origin, a log key, an address or a recipient, in bytes.
pub const LINE_BYTES_MAX: usize = 512;
/// Longest keeping of recordings, in days: a century, so that nobody writes a number that overflows a clock.
pub const KEEP_DAYS_MAX: u32 = 36_525;
/// Days before the expiry from which a policy is warned about (DESIGN.md).
pub const EXPIRY_WARNING_DAYS: i64 = 30;
/// Text of a stranger's or of a parser's shown in one sentence, in characters.
pub const SHOWN_CHARS_MAX: usize = 300;
