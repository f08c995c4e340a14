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

/// Longest type of an entry, in bytes: `session.opened` has 14.
pub const ENTRY_TYPE_BYTES_MAX: usize = 64;
/// Longest `hours`, in bytes: seven days, a window and the longest zone name fit twice.
pub const HOURS_BYTES_MAX: usize = 128;
/// Most entries of a log: the store counts them in a BIGINT.
pub const TREE_SIZE_MAX: u64 = i64::MAX as u64;
/// Policies that one intent names: the tenant's own and the providers it imports.
pub const POLICIES_USED_MAX: usize = 64;
/// How far a signer's clock may be ahead of ours: NTP-less laptops drift by minutes.
pub const CLOCK_AHEAD_MICROS_MAX: i64 = 300 * crate::time::SECOND;
/// Longest RSA modulus, in bits: the `rsa` crate verifies no longer one.
pub const RSA_BITS_MAX: usize = 8192;
/// One public-key line, in bytes: an RSA-8192 key is 1.4 KiB, the rest is room for a comment.
pub const KEY_LINE_BYTES_MAX: usize = 2 << 10;
/// One private-key file, in bytes: an Ed25519 one is under 500.
pub const PRIVATE_KEY_BYTES_MAX: usize = 4 << 10;
/// Longest DNS label (RFC 1035), in bytes.
pub const LABEL_BYTES_MAX: usize = 63;
/// Longest account name: Linux `useradd` accepts 32 bytes.
pub const ACCOUNT_BYTES_MAX: usize = 32;
/// Longest name of a person, a team, a runbook or a parameter, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Gateway addresses in one token; a device tries them one after the other.
pub const TOKEN_ADDRESSES_MAX: usize = 8;
/// One `HOST:PORT`, in bytes: a host name has 253 (RFC 1035).
pub const ADDRESS_BYTES_MAX: usize = 260;
/// Transport CAs in one token: the current and the next one, and room.
pub const TOKEN_TRANSPORT_CAS_MAX: usize = 8;
/// A token file, in bytes: the document, its signature, the join key and the TOML around them, quoted at worst.
pub const TOKEN_FILE_BYTES_MAX: usize = 2 * (DOCUMENT_BYTES_MAX + SIGNATURE_BYTES_MAX);
/// A free word of a statement (account, target, ticket, reason, origin), in bytes: five of them, a command and the
/// policies must fit one statement. DNS names and sentences are shorter.
pub const WORD_BYTES_MAX: usize = 512;
/// Longest life of an issued certificate, in seconds (398 days): a stolen transport key is worth nothing after it.
pub const LEAF_SECONDS_MAX: i64 = 398 * 86_400;
/// The list of a file session's deeds, in bytes of JSON: it stands in the statement and, every quote of that escaped, in the
/// entry as well, and again in the entry itself.
pub const FILES_BYTES_MAX: usize = 12 << 10;
/// The part of one path kept in that list, in bytes: longer than any path that people made by hand.
pub const FILE_PATH_BYTES_MAX: usize = 1 << 10;
/// Root keys named in one sentence: it goes to the gateway's log and into a frame (1 KiB).
pub const KEYS_NAMED_MAX: usize = 5;
/// Longest comment by which such a sentence calls a key, in characters: a fingerprint has 50.
pub const KEY_NAME_CHARS_MAX: usize = 50;
/// A certificate request, in bytes: ours have under 300, and strangers send them.
pub const CSR_BYTES_MAX: usize = 4 << 10;
/// A certificate to read, in bytes: ours have under 700.
pub const CERTIFICATE_BYTES_MAX: usize = 8 << 10;

/// Signatures looked at on one policy: the root keys of the version before and its own, all different.
pub const POLICY_SIGNATURES_MAX: usize = 2 * ROOT_KEYS_MAX;
/// Names, globs or rules in one list of one grant: what a person can still review on one line.
pub const GRANT_LIST_MAX: usize = 256;
/// One glob or label, in bytes: a DNS label with wild cards, or a runbook's name.
pub const GLOB_BYTES_MAX: usize = 128;
/// A ticket, in bytes: longer than any tracker's numbers.
pub const TICKET_BYTES_MAX: usize = 128;
/// A pattern of tickets or of a parameter, in bytes: what a person can read at a glance.
pub const PATTERN_BYTES_MAX: usize = 128;
/// Parts of one pattern: their states fit the bits of one `u64`.
pub const PATTERN_ATOMS_MAX: usize = 60;
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
pub const POLICY_LINE_BYTES_MAX: usize = 512;
/// Longest keeping of recordings, in days: a century, so that nobody writes a number that overflows a clock.
pub const KEEP_DAYS_MAX: u32 = 36_525;
/// Days before the expiry from which a policy is warned about (DESIGN.md).
pub const EXPIRY_WARNING_DAYS: i64 = 30;
/// Text of a stranger's or of a parser's shown in one sentence, in characters.
pub const SHOWN_CHARS_MAX: usize = 300;

/// A runbook, in bytes: thousands of lines, more than a person reviews; what is larger is for the script to fetch.
pub const RUNBOOK_BYTES_MAX: usize = 256 << 10;
/// The `#!` line without the `#!`, in bytes: Linux reads 256 bytes with both and the line end.
pub const INTERPRETER_BYTES_MAX: usize = 253;
/// What a runbook or a parameter says it is for, in bytes: two lines of a terminal.
pub const DESCRIPTION_BYTES_MAX: usize = 400;
/// Parameters of one runbook: what a person can still read before signing an order.
pub const PARAMETERS_MAX: usize = 64;
/// Words of one choice.
pub const CHOICES_MAX: usize = 64;
/// One argument, in bytes: a path, a URL, a sentence. All together an order holds less, for it is a document.
pub const ARGUMENT_BYTES_MAX: usize = 1 << 10;
/// The longest a run may take, in seconds (a day): whoever needs more starts a service.
pub const RUN_SECONDS_MAX: u64 = 86_400;
/// How long a run may take when nobody says, in seconds.
pub const RUN_SECONDS_DEFAULT: u64 = 600;
/// The most that is kept of one run's output, in bytes of the file that holds it: of ten thousand devices it is 40 GB.
pub const OUTPUT_BYTES_MAX: u64 = 4 << 20;
/// What is kept of one run's output when nobody says, in bytes.
pub const OUTPUT_BYTES_DEFAULT: u64 = 256 << 10;
/// The least that can be asked for, in bytes: head and tail hold a line each.
pub const OUTPUT_BYTES_MIN: u64 = 4 << 10;
/// One piece of output, in bytes: what a pipe gives at once, and what a tail drops at once.
pub const OUTPUT_PIECE_BYTES_MAX: usize = 16 << 10;
/// age recipients that one order names for what it prints: a team's machines; the policy names up to 32 beside them, and each
/// takes some 130 bytes of every sealed piece.
pub const OUTPUT_TO_MAX: usize = 8;
/// Cast text from which on a chunk of a recording is cut, in bytes: what a busy session shows in a few milliseconds.
pub const RECORDING_CHUNK_TEXT_BYTES: usize = 64 << 10;
/// The text of one chunk as its readers accept it, in bytes: ours are a tenth of it.
pub const RECORDING_TEXT_BYTES_MAX: usize = 1 << 20;
/// One chunk as stored, in bytes: noise does not shrink, and 32 recipients take a line each.
pub const RECORDING_BLOB_BYTES_MAX: usize = 128 << 10;
/// The note of one chunk, in bytes: eleven short lines.
pub const RECORDING_NOTE_BYTES_MAX: usize = 1 << 10;
/// Chunks of one recording: at one every two seconds three weeks, at full speed 64 GB of text.
pub const RECORDING_CHUNKS_MAX: u64 = 1_000_000;
/// What one event of a recording holds, in bytes before they are escaped.
pub const CAST_PIECE_BYTES_MAX: usize = 8 << 10;
/// One line of a recording, in bytes: a piece of which every byte is escaped, what was held back before it, and the time.
pub const CAST_LINE_BYTES_MAX: usize = 6 * (CAST_PIECE_BYTES_MAX + 3) + 64;
/// The first line of a recording, in bytes: a command, a device, a person, a ticket, every character escaped.
pub const CAST_HEADER_BYTES_MAX: usize = 48 << 10;
/// A terminal's kind (`TERM`) in it, in bytes: the longest in terminfo has 20.
pub const TERM_BYTES_MAX: usize = 64;
/// Devices of one order: the largest estate there is in one tenant, and a list that fits a command's input.
pub const ORDER_DEVICES_MAX: usize = 10_000;
/// One line of an order's list of devices, in bytes: a name, a space and a serial, without the line end.
pub const DEVICE_LINE_BYTES_MAX: usize = LABEL_BYTES_MAX + 1 + 20;
/// An order's whole list, in bytes: every device of the largest order with one token sealed for each; longer secrets reach fewer.
pub const DEVICE_LIST_BYTES_MAX: usize = 8 << 20;
/// The shortest secret, in bytes: what is shorter stands in an output by chance, or is guessed from what is hidden around it.
pub const SECRET_BYTES_MIN: usize = 8;
/// The longest secret, in bytes: a private key of RSA-4096 in PEM is 3.2 KiB.
pub const SECRET_BYTES_MAX: usize = 4 << 10;
/// All secrets of an order as they are encrypted, in bytes of JSON: three long keys, or one with every character escaped.
pub const SECRETS_TEXT_BYTES_MAX: usize = 12 << 10;
/// The same as an age file, in bytes: its head and its tags are under 300.
pub const SEALED_BYTES_MAX: usize = SECRETS_TEXT_BYTES_MAX + (1 << 10);
/// The same in base64, in bytes.
pub const SEALED_TEXT_BYTES_MAX: usize = SEALED_BYTES_MAX.div_ceil(3) * 4;
/// Longest window of an order, in days: so long every device must remember the order's id.
pub const WINDOW_DAYS_MAX: i64 = 7;
/// Waves of one order: ten doublings reach 1,000 devices.
pub const WAVES_MAX: usize = 16;

/// Columns of a terminal whose output is read: four times as many as the widest that people use.
pub const SCREEN_COLS_MAX: usize = 500;
/// Rows of such a terminal.
pub const SCREEN_ROWS_MAX: usize = 300;
/// Marks of one character on such a terminal: no script stacks more, and who does wants memory.
pub const SCREEN_MARKS_MAX: usize = 8;
/// One line of what a terminal showed, in bytes: what is longer is cut, so that an answer to a search can be read.
pub const SCREEN_LINE_BYTES_MAX: usize = 4 << 10;
/// How long a row stands, in milliseconds, before a person can have read it: what is written over sooner is no line.
pub const SCREEN_STOOD_MS: u64 = 1_000;

/// Lines that are one page of an index, in bytes: what is read at least to show one that was found.
pub const PAGE_BYTES: usize = 16 << 10;
/// A page as its readers accept it, in bytes: one that is full with a line as long as a page, and the line's time.
pub const PAGE_BYTES_MAX: usize = 2 * PAGE_BYTES + 64;
/// What was typed without a line end becomes a line at this length, in bytes.
pub const TYPED_LINE_BYTES_MAX: usize = 4 << 10;
/// Words that one search looks for: more than anybody types, and each costs every search a walk through the index.
pub const SEARCH_WORDS_MAX: usize = 64;

const _: () = assert!(SCREEN_LINE_BYTES_MAX <= PAGE_BYTES);
// A chunk that is cut behind its longest line is a blob even if nothing of it shrinks: a recipient of age takes some 130 bytes.
const _: () = assert!(
    RECORDING_CHUNK_TEXT_BYTES + CAST_LINE_BYTES_MAX + 6 * 4 + 256 + SHORT_LIST_MAX * 200 <= RECORDING_BLOB_BYTES_MAX
);
// The plainest list of the largest order fits.
const _: () = assert!(ORDER_DEVICES_MAX * (DEVICE_LINE_BYTES_MAX + 1) <= DEVICE_LIST_BYTES_MAX);
const _: () = assert!(6 * (COMMAND_BYTES_KEPT + 4 * WORD_BYTES_MAX) < CAST_HEADER_BYTES_MAX);
const _: () = assert!(STATEMENT_BYTES_MAX + SIGNATURE_BYTES_MAX < ENTRY_BYTES_MAX);
const _: () = assert!(3 * FILES_BYTES_MAX + SIGNATURE_BYTES_MAX + 16 * WORD_BYTES_MAX < ENTRY_BYTES_MAX);
