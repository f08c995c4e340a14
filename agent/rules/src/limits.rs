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

/// Runs under way at once on one device, noted or started: a machine that does more is busy with nothing else.
pub const RUNS_MAX: usize = 8;
/// Orders remembered: 1,400 a day for the longest window, in a megabyte of journal.
pub const RUN_IDS_MAX: usize = 10_000;
/// How much longer than its window an order is remembered, in days: no clock that is off by hours takes it again.
pub const RUN_MEMORY_DAYS: i64 = 1;
/// The files of all runs together from which on no new run is taken, in bytes: 16 results of the largest size that wait for
/// the gateway.
pub const RUNS_HELD_BYTES_MAX: u64 = 64 << 20;
/// The part of an output's tail that goes at once when there is no room, as one in so many: the tail is seven eighths full.
pub const OUTPUT_TAIL_PIECES_MIN: usize = 8;
/// Output read from its file and sent at once, in bytes: more is only memory, for one stream takes no more anyway.
pub const OUTPUT_SLICE_BYTES_MAX: u64 = 64 << 10;

/// One SFTP packet: OpenSSH's own limit, which its clients are told and use whole.
pub const SFTP_PACKET_BYTES_MAX: usize = 256 << 10;
/// Bytes of one read or write: the rest of the packet is names and numbers.
pub const SFTP_TRANSFER_BYTES_MAX: usize = SFTP_PACKET_BYTES_MAX - 1024;
/// Open files and directories of one file session: clients that copy many files at once open dozens.
pub const SFTP_HANDLES_MAX: usize = 128;
/// Transfers that are open: each open file may be written and read.
pub const SFTP_TRANSFERS_MAX: usize = 2 * SFTP_HANDLES_MAX;
/// A path (Linux: PATH_MAX with its NUL).
pub const SFTP_PATH_BYTES_MAX: usize = 4_095;
/// Names in one answer about a directory, as many as OpenSSH gives.
pub const SFTP_NAMES_MAX: usize = 100;
/// Numbers whose names are asked for at once: as many as an answer has files, twice over.
pub const SFTP_IDS_MAX: usize = 2 * SFTP_NAMES_MAX;
/// One report of a file session: two whole paths, cut where they are longer, and a few numbers.
pub const REPORT_BYTES_MAX: usize = 2 * SFTP_PATH_BYTES_MAX + 64;

/// How long after its first event a chunk of a recording is cut, in microseconds: what a person sees live, and half of what may be
/// unknown to the gateway.
pub const CHUNK_MICROS: u64 = 2_000_000;
/// Text of a recording that the gateway does not have and that may be shown meanwhile, in bytes: four chunks on their way.
pub const UNKEPT_TEXT_BYTES_MAX: usize = 256 << 10;
/// How old the oldest of it may be, in microseconds: a chunk, a slow disk and two lost packets.
pub const UNKEPT_MICROS_MAX: u64 = 5_000_000;
/// How long output is held before the session ends, in microseconds: a gateway that restarts is back by then.
pub const HELD_MICROS_MAX: u64 = 30_000_000;
/// Chunks of a recording before its session must end: what is on its way then still fits the most that a recording has.
pub const CHUNKS_BEFORE_END_MAX: u64 = belay_certs::limits::RECORDING_CHUNKS_MAX - 64;
