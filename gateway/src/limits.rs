//! Every maximum of the gateway's doors and relay, with its reason (P7). The store's own stand in `store/`.

use belay_certs::limits::{DEVICE_LIST_BYTES_MAX, DOCUMENT_BYTES_MAX, SIGNATURE_BYTES_MAX};
use std::time::Duration;

/// People's SSH connections at once, when the configuration does not say: each holds up to a few MiB of channel windows.
pub(crate) const SSH_CONNECTIONS: usize = 4_096;
/// The most a configuration may ask for: what one machine's memory could ever hold.
pub(crate) const SSH_CONNECTIONS_MAX: usize = 65_536;
/// Connections without a login, when the configuration does not say: about 50 KiB each.
pub(crate) const PLACES: usize = 1_024;
/// The fewest that let an office log in.
pub(crate) const PLACES_MIN: usize = 16;
/// The most a configuration may ask for.
pub(crate) const PLACES_MAX: usize = 16_384;
/// Those of one IPv4 address or IPv6 /64: fifty technicians behind one address, each with a key to touch, and room.
pub(crate) const PLACES_PER_ADDRESS: usize = 128;
/// Those of one IPv4 /24 or IPv6 /48: a quarter, so that three rented networks do not fill the door.
pub(crate) const PLACES_PER_NETWORK: usize = 256;
/// Networks a configuration may exempt from penalties: every office of a large provider.
pub(crate) const EXEMPT_MAX: usize = 1_024;
/// Connections one address may open in a row: a script that opens one for each of 200 devices passes.
pub(crate) const SSH_CONNECTIONS_BURST: u32 = 200;
/// After that one in this time: 50 a second.
pub(crate) const SSH_CONNECTION_EVERY: Duration = Duration::from_millis(20);
/// How much more often a whole neighbourhood may come than one address.
pub(crate) const WIDE_FACTOR: u32 = 4;
/// Networks each limit remembers: 10 MiB when all of them are full.
pub(crate) const ADDRESSES_REMEMBERED_MAX: usize = 65_536;
/// Penalties below this do nothing yet (OpenSSH's own): three mistakes with a key in a row.
pub(crate) const PENALTY_MIN: Duration = Duration::from_secs(15);
/// No penalty is longer (OpenSSH's own).
pub(crate) const PENALTY_MAX: Duration = Duration::from_secs(600);
/// After a login no penalties are counted against its address for this long: a working day.
pub(crate) const KNOWN_FOR: Duration = Duration::from_secs(12 * 3_600);
/// One SSH packet before login, in bytes: what RFC 4253 section 6.1 wants of everybody. Key-exchange lists are under 4 KiB.
pub(crate) const LOGIN_PACKET_BYTES_MAX: usize = 35_000;
/// Everything a client may send before login, in bytes: sixteen of the largest keys, each offered and proved.
pub(crate) const LOGIN_BYTES_MAX: usize = 128 << 10;
/// A door that cannot accept rests this long: out of descriptors, others must close first.
pub(crate) const ACCEPT_REST: Duration = Duration::from_millis(50);
/// Open files beside the people's connections: the store, the log, the doors, and room.
pub(crate) const FILES_BESIDE: usize = 256;
/// From connection to login; OpenSSH allows two minutes, a person with a touch key needs ten seconds.
pub(crate) const LOGIN_DEADLINE: Duration = Duration::from_secs(30);
/// Keys one connection may offer; OpenSSH's default is 6, agents with many keys need more.
pub(crate) const AUTH_ATTEMPTS_MAX: usize = 16;
/// Channels of one outer connection: a multiplexed `ansible` opens one per device.
pub(crate) const CHANNELS_PER_CONNECTION_MAX: usize = 256;
/// Jumps of one connection over its whole life: russh keeps a few KiB of each until the connection ends.
pub(crate) const CHANNELS_EVER_MAX: usize = 10_000;
/// Connections of one person's key at once: a script without multiplexing, one for each of 250 devices.
pub(crate) const PERSON_CONNECTIONS_MAX: usize = 256;
/// Channels of one person's key at once, over all connections: a tenth of that is a busy day's `ansible`.
pub(crate) const PERSON_CHANNELS_MAX: usize = 2_048;
/// Jumps and commands that one person's key may begin in a row: one to each of a thousand devices.
pub(crate) const REQUESTS_BURST: u32 = 1_000;
/// After that one in this time: 100 a second, each with two records and a stream.
pub(crate) const REQUEST_EVERY: Duration = Duration::from_millis(10);
/// Ways to the devices of one tenant at once: every technician of a large customer on every one of its machines.
pub(crate) const TENANT_WAYS_MAX: usize = 4_096;
/// Statements one device may have recorded in a row: what it kept while its gateway was away.
pub(crate) const STATEMENTS_BURST: u32 = 2_000;
/// After that one in this time: 200 a second are 100 commands.
pub(crate) const STATEMENT_EVERY: Duration = Duration::from_millis(5);
/// Records one tenant may make in a row: all its devices come back at once.
pub(crate) const EVENTS_BURST: u32 = 20_000;
/// After that one in this time: 2,000 a second are a twentieth of what the writer takes.
pub(crate) const EVENT_EVERY: Duration = Duration::from_micros(500);
/// Persons whose bytes are counted, before those who left are forgotten.
pub(crate) const POOLS_BEFORE_PRUNING: usize = 1_024;
/// Persons, devices and tenants whose rates are remembered while they are at it.
pub(crate) const SHARES_REMEMBERED_MAX: usize = 65_536;
/// The largest SSH packet payload, in bytes (TARGETS: 32 KiB was best).
pub(crate) const SSH_PACKET_BYTES: u32 = 32 << 10;
/// Messages russh queues for one channel.
pub(crate) const CHANNEL_MESSAGES_MAX: usize = 32;
/// A silent client is asked this often whether it lives.
pub(crate) const SSH_KEEPALIVE: Duration = Duration::from_secs(60);
/// Unanswered questions before it counts as gone.
pub(crate) const SSH_KEEPALIVES_MISSED_MAX: usize = 3;
/// The pause a parked client's drip is given (`belay_protocol::flow`): 100 packets a second at most.
pub(crate) const DRIP: Duration = Duration::from_millis(10);
/// A packet of a session that is so large is no keystroke, paste or small answer, in bytes: datagrams go in batches then.
pub(crate) const BULK_PACKET_BYTES: usize = 8 << 10;
/// How long they do: what was written by then has left, also over a slow line.
pub(crate) const BULK_LASTS: Duration = Duration::from_secs(2);
/// Bytes one read from a device's stream takes: one SSH packet, as large as OpenSSH's clients take.
pub(crate) const DOWNSTREAM_CHUNK_BYTES: usize = 32 << 10;
/// What a command may read from its standard input, in bytes: the largest order with its list and signature, and 500 devices of
/// a batch, which `belay approve` sends at once.
pub(crate) const COMMAND_INPUT_BYTES_MAX: usize = ORDER_INPUT_BYTES_MAX;
/// What `run` reads: an order, its signature and its list, and the line ends between them.
pub(crate) const ORDER_INPUT_BYTES_MAX: usize = DOCUMENT_BYTES_MAX + SIGNATURE_BYTES_MAX + DEVICE_LIST_BYTES_MAX + 2;
/// Longest wait of `pending --wait`, in seconds: `belay approve --watch` asks anew, so that the log shows it is there.
pub(crate) const PENDING_WAIT_SECONDS_MAX: u64 = 600;
/// Machines put into one piece of an answer of `pending` at a time: each is some 4 KiB of JSON.
pub(crate) const PENDING_PAGE: u32 = 500;
/// Device records one `records` shows, with their proofs, at some 4 KiB each.
pub(crate) const RECORDS_MAX: u64 = 500;
/// How long a command may wait for its input.
pub(crate) const COMMAND_INPUT_WAIT: Duration = Duration::from_secs(60);
/// Whoever has no grant waits this long for the one text, whatever was asked (P3).
pub(crate) const STRANGER_DELAY: Duration = Duration::from_millis(750);
/// How long a device may take to let a stream be opened: it has a maximum of its own.
pub(crate) const STREAM_WAIT: Duration = Duration::from_secs(5);
/// Refused shells, forwards and subsystems recorded for one connection.
pub(crate) const REFUSALS_PER_CONNECTION_MAX: usize = 100;
/// How long a farewell may take to reach the client.
pub(crate) const FAREWELL_WAIT: Duration = Duration::from_secs(3);
/// After a grant is gone the device ends its sessions with words within this; then the relay cuts the stream.
pub(crate) const WITHDRAWAL_GRACE: Duration = Duration::from_millis(2_000);
/// Devices connected at once.
pub(crate) const DEVICES_MAX: usize = 50_000;
/// Messages that wait for one device: whoever has one more waits with it. A policy has up to 1 MiB.
pub(crate) const TO_AGENT_QUEUE_MAX: usize = 16;
/// A device that takes no byte of what it is told for this long is stuck, and its connection ends. Not a limit for a whole
/// message: the largest policy takes two minutes on the slowest lines.
pub(crate) const DEVICE_TAKES_WAIT: Duration = Duration::from_secs(30);
/// How long after a fault of the store a look into it is tried again.
pub(crate) const STORE_RETRY: Duration = Duration::from_secs(5);
/// How long whoever brought a policy waits after a fault of the store to hear what is in force; the look goes on without.
pub(crate) const CATCH_UP_WAIT: Duration = Duration::from_secs(10);
/// What one device may do wrong or turn down in a row, each with an event of up to 64 KiB; then its connection ends.
pub(crate) const COMPLAINTS_BURST: u32 = 64;
/// One more after that, each time this has passed.
pub(crate) const COMPLAINTS_EVERY: Duration = Duration::from_secs(60);
/// A device that is turned away gets one event in this time, however often it calls; the log file has some of its calls.
pub(crate) const TURNED_AWAY_EVERY: Duration = Duration::from_secs(60);
/// Lines in the log file that one device may cause in a row: enough to see what happens.
pub(crate) const LINES_BURST: u32 = 8;
/// Lines about the logins of one key in a row: a day of a person, a minute of a robot. What is done is in the tenant's log.
pub(crate) const LOGIN_LINES_BURST: u32 = 60;
/// One more after either, each time this has passed.
pub(crate) const LINES_EVERY: Duration = Duration::from_secs(10);
/// Connections one device may make in a row, each recorded with its end: a line that breaks every few seconds for ten minutes.
pub(crate) const VISITS_BURST: u32 = 120;
/// After that one in this time.
pub(crate) const VISITS_EVERY: Duration = Duration::from_secs(10);
/// Transport certificates one device may ask for in a row: tries of one renewal.
pub(crate) const CERTIFICATES_BURST: u32 = 8;
/// After that one in this time.
pub(crate) const CERTIFICATES_EVERY: Duration = Duration::from_secs(600);
/// Machines that have not said yet who they are, from the first packet to the hello: 45 KiB each.
pub(crate) const MACHINE_PLACES: usize = 2_048;
/// Those of one address or neighbourhood: half, for a whole customer comes back through one address.
pub(crate) const MACHINE_PLACES_PER_NETWORK: usize = 1_024;
/// Handshakes of callers who have not proved their address; more must prove it first (QUIC Retry). An eighth: the rest is
/// for those who have.
pub(crate) const UNPROVED_MAX: usize = 64;
/// Joins one address may ask for in a row: a customer's roll-out.
pub(crate) const JOINS_BURST: u32 = 1_000;
/// After that one in this time: two signatures are checked for each.
pub(crate) const JOIN_EVERY: Duration = Duration::from_millis(5);
/// Statements of one device that wait to be recorded; beyond it its control stream is not read.
pub(crate) const STATEMENTS_QUEUE_MAX: usize = 64;
/// From the QUIC handshake to the first message, and for a whole join.
pub(crate) const FIRST_MESSAGE_WAIT: Duration = Duration::from_secs(belay_protocol::limits::FIRST_MESSAGE_SECONDS_MAX);
/// How long the gateway waits at most before it looks at the age of its own transport certificate again: sleep does not
/// count the time a machine is suspended.
pub(crate) const CERTIFICATE_LOOK_EVERY: Duration = Duration::from_secs(3_600);
/// The least time between two certificates of its own, however short their life.
pub(crate) const CERTIFICATE_LOOK_LEAST: Duration = Duration::from_secs(1);
/// Names of devices that one answer to the operator lists; the rest is a count.
pub(crate) const DEVICES_NAMED_MAX: usize = 20;
/// Bidirectional streams a device may open: one control stream, and room for a mistake (TARGETS: 8 when idle).
pub(crate) const STREAMS_FROM_DEVICE_MAX: u32 = 8;
/// Packets that a device may take without acknowledging them at once; it does with the next one, with what it says, or after
/// 25 ms. An offer, a receipt and what follows it are fewer, and half of a window's first ten is soon enough for one that grows.
pub(crate) const QUIC_UNACKNOWLEDGED_MAX: u32 = 5;
/// QUIC window of one stream, in bytes: 12.5 MB/s at 100 ms.
pub(crate) const QUIC_STREAM_WINDOW_BYTES: u32 = 1_250_000;
/// QUIC window of one connection, in bytes.
pub(crate) const QUIC_CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// A connection without a sign of life ends after this; agents send one every 20 s.
pub(crate) const QUIC_IDLE: Duration = Duration::from_secs(65);
/// Stateless resets come no faster: 20,000 devices of a gateway that was killed hear within two seconds that their connection
/// is gone. Each is smaller than the packet it answers, so nothing is amplified.
pub(crate) const QUIC_RESET_EVERY: Duration = Duration::from_micros(100);
/// What the one UDP socket keeps that was not read or sent yet: two packets of each of a thousand devices that are told the
/// same at once, as the kernel counts them (some 2 KiB a packet).
pub(crate) const UDP_BUFFER_BYTES: usize = 4 << 20;
/// Waits before the devices that may not know of a new start are nudged: at once, and twice more for those not back, for UDP loses.
pub(crate) const NUDGE_RESTS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(500), Duration::from_secs(1)];
/// Nudges in a second: each brings a handshake, of which two cores do about so many.
pub(crate) const NUDGES_PER_SECOND: usize = 1_000;
/// Handshakes that have a turn; more wait. A fleet that comes back keeps two cores busy with a tenth of them.
pub(crate) const HANDSHAKES_MAX: usize = 512;
/// How long a handshake keeps its turn: many times what it takes, and then it is its caller who keeps us waiting.
pub(crate) const HANDSHAKE_TURN: Duration = Duration::from_secs(1);
/// How long a handshake waits for a turn, then it begins without: far less than agents wait for one. A fleet that comes back
/// gets through more than a thousand in that time.
pub(crate) const HANDSHAKE_TURN_WAIT: Duration = Duration::from_secs(2);
/// Agents come back within this after a drain, each at its own random moment, in milliseconds.
pub(crate) const DRAIN_MS: u64 = 2_000;
/// How long a stop waits for what is under way.
pub(crate) const STOP_WAIT: Duration = Duration::from_secs(10);
/// Strangers are counted and recorded together this often.
pub(crate) const STRANGERS_EVERY: Duration = Duration::from_secs(60);
/// Characters of one such example, and of a refused target.
pub(crate) const STRANGER_CHARACTERS_MAX: usize = 160;
/// Examples of strangers kept for one record.
pub(crate) const STRANGERS_SAMPLE_MAX: usize = 8;
/// Policies that one `policy fetch` answers with, in bytes; then `more` is said and the caller asks again: what a laptop
/// keeps in memory of one answer. Small in tests, so that they reach it.
pub(crate) const FETCH_BYTES_MAX: usize = if cfg!(test) { 4 << 10 } else { 32 << 20 };
/// What a `policy fetch` may read: 10,000 names of 63 letters with their versions.
pub(crate) const FETCH_REQUEST_BYTES_MAX: usize = 1 << 20;
/// Policies named in one warning of their expiry; the rest is counted.
pub(crate) const EXPIRING_NAMED_MAX: usize = 10;
/// What one `review` shows.
pub(crate) const REVIEWS_SHOWN_MAX: u64 = 1_000;
/// How long `kill` waits for the end that it ordered before it answers.
pub(crate) const KILL_WAIT: Duration = Duration::from_secs(2);
/// Entries one `log tail` shows.
pub(crate) const TAIL_MAX: u64 = 10_000;
/// Entries one `log proof` gives: all that happens to a session, or to a job of 1,000 devices, and some who looked at it.
pub(crate) const PROOFS_MAX: usize = 4_096;
/// Entries that `log proof` looks through for an id, the newest: some seconds of reading.
pub(crate) const PROOF_SCAN_MAX: u64 = 1_000_000;
/// Sessions one `sessions` shows.
pub(crate) const SESSIONS_MAX: u64 = 10_000;
/// One admin request on the local socket, in bytes: a signed policy in JSON.
pub(crate) const ADMIN_REQUEST_BYTES_MAX: u64 = 4 << 20;

/// What the task that carries out jobs has not heard yet: a thousand devices at once, four times over.
pub(crate) const JOBS_TOLD_MAX: usize = 4_096;
/// Offers made in one of its turns: four transactions, then it listens again.
pub(crate) const OFFERS_PER_TURN_MAX: usize = 1_024;
/// How often it is looked whether the gateway keeps up with the offers that are under way.
pub(crate) const PACE_LOOK_EVERY: Duration = Duration::from_millis(20);
/// Bytes of unanswered offers of one tenant: a thousand devices with an ordinary script, a hundred with the largest.
pub(crate) const OFFERS_BYTES_PER_TENANT_MAX: usize = 32 << 20;
/// How long what could not be recorded or sent waits for its next try.
pub(crate) const JOBS_RETRY: Duration = Duration::from_millis(200);
/// The longest it sleeps: a clock that was set must not move the end of a window by more.
pub(crate) const JOBS_LOOK_EVERY: Duration = Duration::from_secs(5);
/// Outputs that a device may send at once before it has sent any: strangers get none, and an idle device costs no more.
pub(crate) const OUTPUTS_AT_FIRST: u32 = 1;
/// Recordings that one device may send at once: one of each of its 64 sessions, and those that ended while it was away.
pub(crate) const RECORDINGS_PER_DEVICE_MAX: u32 = 72;
/// Outputs and recordings that one device may send at once: the runs' are few.
pub(crate) const UPLOADS_PER_DEVICE_MAX: u32 = RECORDINGS_PER_DEVICE_MAX;
/// How often a chunk of a recording is tried: with the rests between, less than a device holds its output back.
pub(crate) const RECORDING_TRIES: u32 = 10;
/// The rest between two tries.
pub(crate) const RECORDING_RETRY: Duration = Duration::from_secs(1);
/// Free space that a disk needs for a session to begin that is recorded, when the configuration does not say, in MiB: an hour of
/// a hundred busy sessions.
pub(crate) const FREE_MIB_MIN: u64 = 1_024;
/// Likewise as a part of the disk, in percent.
pub(crate) const FREE_PERCENT_MIN: u64 = 5;
/// How long nothing may be heard of a session to which the way is gone, when the configuration does not say, in seconds: a
/// machine that lost its line has come back by then, and an auditor's list says soon what ended badly.
pub(crate) const SILENCE_SECONDS: u64 = 900;
/// The most that the configuration may say: 30 days, as a transport certificate lives.
pub(crate) const SILENCE_SECONDS_MAX: u64 = 2_592_000;
/// The longest between two looks at what was not heard of.
pub(crate) const SILENCE_LOOK_EVERY: Duration = Duration::from_secs(60);
/// How often it is looked which recordings are kept long enough: keeping is counted in days.
pub(crate) const RETENTION_EVERY: Duration = Duration::from_secs(600);
/// A wall clock that is further ahead of the clock of retention is worth a warning: more than a restart takes.
pub(crate) const AGING_BEHIND: Duration = Duration::from_secs(3_600);
/// A reason for a hold or its end, in bytes: a few sentences.
pub(crate) const HOLD_REASON_BYTES_MAX: usize = 1_024;
/// The kind of a run in the index and in what a search answers.
pub(crate) const INDEXED_RUN: &str = "run";
/// Columns and rows by which what a run printed becomes lines: those of a terminal that nobody has.
pub(crate) const INDEXED_RUN_COLUMNS: usize = 80;
/// As [`INDEXED_RUN_COLUMNS`].
pub(crate) const INDEXED_RUN_ROWS: usize = 24;
/// How often recordings of sessions that are over are added to the index.
pub(crate) const INDEX_EVERY: Duration = Duration::from_secs(2);
/// How long one pass adds recordings of one tenant, before the next tenant's turn.
pub(crate) const INDEX_PASS: Duration = Duration::from_secs(5);
/// How long a search adds recordings before it answers.
pub(crate) const INDEX_WAIT: Duration = Duration::from_secs(1);
/// How far back each pass looks beyond the one before, in microseconds: a batch of records, and a clock that is being set.
pub(crate) const INDEX_OVERLAP_MICROS: i64 = 60_000_000;
/// Chunks of a recording that are read at once to be indexed: some 4 MiB of text, which the index takes in half a second.
pub(crate) const INDEX_CHUNKS: usize = 64;
/// Sessions that one search may show lines of, each with a record.
pub(crate) const SEARCH_SHOWN_MAX: u64 = 1_000;
/// One read of an output on its way into the store.
pub(crate) const OUTPUT_PIECE_BYTES: usize = 64 << 10;
/// Devices named in the refusal of an order; the rest is counted.
pub(crate) const REFUSED_NAMED_MAX: usize = 10;
/// Jobs shown at once.
pub(crate) const JOBS_SHOWN_MAX: u64 = 1_000;
/// Versions of runbooks shown at once.
pub(crate) const RUNBOOKS_SHOWN_MAX: u32 = 10_000;
/// How long changes of a job are gathered before whoever follows it hears of them: two frames of a screen.
pub(crate) const FOLLOW_EVERY: Duration = Duration::from_millis(50);
/// The longest wait of whoever follows a job before it is looked at again.
pub(crate) const FOLLOW_LOOK_EVERY: Duration = Duration::from_secs(5);
/// What is handed over of an output in one line, in bytes: what somebody who reads slowly makes us hold, beside one page.
pub(crate) const OUTPUT_PART_BYTES: usize = 256 << 10;
/// Devices whose output is handed over before it is looked again how the job stands.
pub(crate) const OUTPUTS_PER_TURN: usize = 64;
/// How long whoever follows what runs print waits for the rest of it once they are over, after what came last: a device that lost
/// its connection is back by then, one that is gone is not waited for.
pub(crate) const OUTPUT_LAST_WAIT: Duration = Duration::from_secs(30);
