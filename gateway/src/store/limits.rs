//! Every maximum of the store, with its reason (P7).

use std::time::Duration;

/// Asks in one transaction: at 256 the commit's fsync is a small part of the cost, and nobody waits long.
pub(super) const BATCH_ASKS_MAX: usize = 256;
/// Entries in one transaction, roughly: asks that bring many leave the rest of a batch to the next one.
pub(super) const BATCH_ENTRIES_MAX: usize = 1_024;
/// How long after the last transaction began one waits for more, when nobody sits and waits for what it has: no longer than a
/// slow disk's sync. Ten thousand runs are a thousand transactions so, instead of ten thousand.
pub(super) const GATHERING_MAX: Duration = Duration::from_millis(15);
/// Asks that can wait, in that time, from which on they do: a job for a few machines stays below.
pub(super) const GATHERED_ABOVE: usize = 12;
/// Asks that wait for the writer: eight full batches, about 50 ms of work.
pub(super) const QUEUE_MAX: usize = 8 * BATCH_ASKS_MAX;
/// How long an ask waits for a place in the queue before the store says it is busy: less than any door's own patience.
pub(super) const QUEUE_WAIT: Duration = Duration::from_secs(2);
/// Rows in one statement, the largest first. Constant texts are prepared once; beyond 64 nothing was gained.
pub(super) const ROWS: [usize; 4] = [64, 16, 4, 1];
/// Statements that go to the database as one text: what the events of one session's start need. More are many rows, where
/// one way to the database's thread more or less does not count.
pub(super) const SCRIPT_STEPS_MAX: usize = 8;
/// Devices of which the writer remembers state, connection and newest statement: every device of a full gateway twice
/// over, at some 400 bytes each.
pub(super) const DEVICES_HELD_MAX: usize = 65_536;
/// Jobs that the writer remembers: all that may be under way.
pub(super) const JOBS_HELD_MAX: usize = belay_rules::limits::JOBS_OPEN_MAX;
/// Runs of all of them: a dozen of the largest jobs, at some 300 bytes each.
pub(super) const RUNS_HELD_MAX: usize = 131_072;
/// Bytes of output that take as long as an entry: a transaction holds 4 MiB of them, which a disk takes in a moment.
pub(super) const BYTES_PER_ENTRY: usize = 4 << 10;
/// Full tiles held for proofs, at 16 KiB each with the nodes inside: the last 130,000 entries of one busy log, or the
/// last tile of 512 logs.
pub(super) const TILES_HELD_MAX: usize = 512;
/// Connections that read; a writer of its own makes one more. SQLite gives each a thread.
pub(super) const READERS_MAX: u32 = 4;
/// What the writer keeps of the database in memory, in KiB: where ten thousand devices write in turn, so that none of it is read
/// again for each. SQLite's own 2 MiB are read over and over.
pub(super) const PAGES_HELD_KIB: i64 = 16 << 10;
/// Bytes of the write-ahead log written anew at a time when the store is opened.
pub(super) const SETTLED_AT_ONCE_BYTES: usize = 256 << 10;
/// Records of one device that the writer remembers: the one in force and those under which it may still have something to say.
pub(super) const RECORDS_HELD_MAX: i64 = 8;
/// Rows that one list answers with at most; whoever wants more asks again from there.
pub const ROWS_READ_MAX: u32 = 10_000;
/// Entries that one read answers with at most: with [`belay_certs::limits::ENTRY_BYTES_MAX`] that is 16 MiB.
pub const ENTRIES_READ_MAX: u64 = 256;
/// Authors who signed one version of a runbook that one read answers with: more than any team has.
pub(super) const AUTHORS_READ_MAX: i64 = 32;
/// Policy versions and jobs of which the writer remembers whether they ask for a review: beyond it it forgets and reads again.
pub(super) const REVIEW_POLICIES_HELD_MAX: usize = 16_384;
/// Sessions of one tenant with one id that are read: a device gives a random one, so a second one is a device that lies.
pub(super) const NAMESAKES_READ_MAX: i64 = 64;
/// Pieces of an output that one read answers with: some MiB at most.
pub(super) const PIECES_READ_MAX: i64 = 64;
/// Keys of one log's earlier lives that are looked for: more than any operator has lost databases.
pub(super) const LIVES_MAX: u32 = 1_000;

/// A moment in a file, in bytes: one line.
pub(super) const MOMENT_BYTES_MAX: u64 = 64;
/// Notes of chunks read at once, some 1.5 KiB each.
pub const CHUNKS_READ_MAX: i64 = 256;
/// Recordings whose time is over that are read at once; whoever deletes them asks again.
pub(super) const RECORDINGS_DUE_MAX: i64 = 256;
/// Outputs of runs that are read at once; whoever goes through them asks again from the last one.
pub(super) const OUTPUTS_READ_MAX: i64 = 1_024;
/// Recordings of one tenant that its index holds: the rest is not found until some are deleted, and a search says so.
pub(crate) const INDEXED_MAX: usize = 1_000_000;
/// The same, and what one pass adds beyond it, as a query reads them.
pub(super) const INDEXED_READ_MAX: i64 = INDEXED_MAX as i64 * 2;
/// Pages of one recording that its index holds: a gigabyte of text. Below 2^24, for they are numbered so.
pub(super) const INDEXED_PAGES_MAX: i64 = 65_536;
/// Words that are added to an index in one transaction, in bytes: as many as SQLite holds in memory before it writes them.
pub(super) const INDEX_BATCH_BYTES: usize = 32 << 20;
/// Sessions whose chunks are written at the same time: each waits for its disk, and more than a disk takes at once wait all
/// the same.
pub(super) const OBJECT_TURNS: usize = 256;

// All runs of the largest job are one read.
const _: () = assert!(belay_certs::limits::ORDER_DEVICES_MAX <= ROWS_READ_MAX as usize);
const _: () = assert!(BATCH_ASKS_MAX <= BATCH_ENTRIES_MAX && BATCH_ASKS_MAX <= QUEUE_MAX);

/// Statements of one device that are known by number, at least: more than a device has under way at once (64), so that
/// one that is sent again after a lost connection is recognised.
pub(super) const SAID_HELD_MAX: u64 = 256;
