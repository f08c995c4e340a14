//! Every maximum of the agent, with its reason (P7). The statement chain's own are in `belay_agent_rules::limits`.

use belay_certs::limits::{OUTPUT_BYTES_MAX, RECORDING_CHUNK_TEXT_BYTES};
use std::time::Duration;

/// One chunk of a program's output on its way to the client: one SSH packet.
pub const OUTPUT_CHUNK_BYTES: usize = SSH_PACKET_BYTES as usize;
/// Input handed to a program at once: what a pipe holds.
pub const INPUT_CHUNK_BYTES: usize = 64 << 10;
/// One SSH packet: the largest that every client takes (RFC 4253, 6.1), and the cheapest a byte (TARGETS.md, tuning 9).
pub const SSH_PACKET_BYTES: u32 = 32 << 10;
/// Messages of one channel that wait inside the SSH server: a window of full packets.
pub const CHANNEL_MESSAGES_MAX: usize = 64;
/// Channels of one connection at a time: an ansible fork with everything multiplexed stays under it.
pub const CHANNELS_MAX: usize = 64;
/// Keys a client may offer: a full ssh-agent, more than OpenSSH's six because there is no password to guess here.
pub const AUTH_ATTEMPTS_MAX: usize = 10;
/// How often a silent client is asked whether it is there.
pub const SSH_KEEPALIVE: Duration = Duration::from_secs(60);
/// Questions in a row that a client may leave unanswered.
pub const SSH_KEEPALIVES_MISSED_MAX: usize = 3;
/// A command line: what Linux takes as one argument (MAX_ARG_STRLEN).
pub const COMMAND_BYTES_MAX: usize = 128 << 10;
/// Variables a client may send.
pub const ENVIRONMENT_VARIABLES_MAX: usize = 32;
/// One variable's value: a locale, a ticket.
pub const ENVIRONMENT_VALUE_BYTES_MAX: usize = 256;
/// Answers to the question for a ticket: a typing mistake and one more. Each is a look into the policy and no record.
pub const TICKET_TRIES_MAX: u32 = 3;
/// How long a person gets to answer it: long enough to look the number up, short enough not to hold channels for nothing.
pub const TICKET_WAIT: Duration = Duration::from_secs(120);
/// A terminal's name, as terminfo has them.
pub const TERM_BYTES_MAX: usize = 64;
/// How long a terminal is read on after its program ended, for what children still write.
pub const TERMINAL_DRAIN: Duration = Duration::from_millis(200);
/// How long a last word to a client may take: it may not be reading.
pub const FAREWELL_WAIT: Duration = Duration::from_secs(5);
/// How long a program has between the hang-up and the kill, and a client between the word and the close.
pub const STOP_GRACE: Duration = Duration::from_secs(2);

/// How long a session waits for the proof that it is recorded: two lost packets on a satellite link, and a person's patience.
pub const RECEIPT_WAIT: Duration = Duration::from_secs(3);
/// Calls that wait for the recorder: as many as sessions can be, each with an intent and an end.
pub const RECORDER_CALLS_MAX: usize = 256;
/// Sessions that may wait for their proof at one time; more wait before they are signed.
pub const PROVES_MAX: usize = 256;
/// Receipts in a row that may prove nothing before the agent connects anew: one may have crossed a policy that moved the log.
pub const BAD_RECEIPTS_MAX: u32 = 2;
/// How long the ends of sessions that could not be written wait for the next try: room on a disk comes back by a person's hand.
pub const ENDS_RETRY: Duration = Duration::from_secs(5);
/// Calls the recorder takes into one durable write.
pub const RECORDER_BATCH_MAX: usize = 64;

/// After a nudge another is not heard for so long: whoever forges them gets one small packet a second out of the agent.
pub const NUDGE_EVERY: Duration = Duration::from_secs(1);
/// How long one address gets to complete a handshake: three lost packets on a satellite link.
pub const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);
/// How long the gateway gets to answer a hello or a join.
pub const WELCOME_WAIT: Duration = Duration::from_secs(5);
/// How long the gateway gets to answer a join request: it records it first.
pub const JOIN_WAIT: Duration = Duration::from_secs(30);
/// How long a gateway whose window is full may read nothing of the control stream: one that records reads all the time, and
/// what it does not hear it cannot prove.
pub const SPEAK_WAIT: Duration = Duration::from_secs(30);
/// How long a session stream may stay silent before its `Open`: the gateway writes both at once.
pub const OPEN_WAIT: Duration = Duration::from_secs(5);
/// IP addresses tried for one gateway name: a round over all of them stays under a minute.
pub const ADDRESSES_PER_NAME_MAX: usize = 4;

/// The agent keeps the path alive, the gateway does not: under the 30 s after which home routers forget a UDP path.
pub const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// A path that stays silent this long is dead: three keep-alives lost.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Packets that the gateway may take without acknowledging them at once; it does with the next one, with what it says, or after
/// 25 ms. Half of a window's first ten is soon enough for one that grows.
pub const UNACKNOWLEDGED_MAX: u32 = 5;
/// Session streams the gateway may open on an idle connection (TARGETS.md, tuning 3).
pub const SESSIONS_IDLE: u32 = 8;
/// Session streams at one time: what one machine can serve people with, 64 logins.
pub const SESSIONS_MAX: u32 = 64;
/// Bytes of one stream on their way without the agent having read them: a 100 ms path at 100 Mbit/s.
pub const STREAM_WINDOW_BYTES: u32 = 1_250_000;
/// The same for a whole connection: six busy streams.
pub const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// Small answers (policy taken, record refused) that wait for the control stream: one for each offer of a long chain.
pub const ANSWERS_MAX: usize = 64;
/// Offers of one connection that may be refused: each is a line in the machine's journal. An honest gateway stops at the first.
pub const OFFERS_REFUSED_MAX: u32 = 16;
/// Policies that wait for room on the disk, each of up to 1 MiB; with one more the connection begins again, and they are offered anew.
pub const UNKEPT_MAX: usize = 8;
/// How long policies that could not be kept wait for the next try.
pub const UNKEPT_RETRY: Duration = Duration::from_secs(5);
/// Bytes read from the control stream at a time.
pub const READ_BYTES: usize = 16 << 10;

/// Backing off from a gateway: the first wait, for a gateway that only restarts.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(200);
/// Backing off from a gateway: the longest wait; 20,000 agents then make 700 connections a second.
pub const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A connection that lasted this long ends the backing off.
pub const BACKOFF_RESET: Duration = Duration::from_secs(30);
/// The wait after another agent with the same identity took the place: two clones must not fight for it.
pub const REPLACED_WAIT: Duration = Duration::from_secs(120);
/// How long a stopping agent waits for the receipts of what its sessions said last; what is missing then is sent next time.
pub const SETTLE_WAIT: Duration = Duration::from_secs(2);
/// How long closing words may take to arrive.
pub const CLOSE_WAIT: Duration = Duration::from_millis(500);
/// How long sessions may go on over a draining connection, whatever the gateway says.
pub const DRAIN_WAIT_MAX: Duration = Duration::from_secs(60);
/// How long the agent waits for its sessions to end when it is told to stop.
pub const STOP_WAIT: Duration = Duration::from_secs(10);

/// The longest wait before a live session's grant is looked at again: after sleep, and after a clock that jumped, its hours may be
/// over although no minute has turned.
pub const STANDING_EVERY: Duration = Duration::from_secs(5);
/// How often the clock's high-water mark is made durable: a clock set back can gain at most this.
pub const CLOCK_MARK_EVERY: Duration = Duration::from_secs(60);
/// How far the clock may be behind what it cannot be behind, in seconds: signers' laptops run ahead by minutes, and time
/// services step a clock. A policy itself counts only from its `issued` on.
pub const CLOCK_BEHIND_SECONDS_MAX: i64 = 300;
/// How far the clock may be behind the gateway's, in seconds, before the agent starts nothing: a grant's hours are minutes.
pub const GATEWAY_AHEAD_SECONDS_MAX: i64 = 300;

/// How far the clock may run ahead of the mark and the time passed since, in seconds, before the mark follows it only together
/// with the gateway's clock: a day costs at most a day, and daylight saving and drift are less.
pub const CLOCK_JUMP_SECONDS_MAX: i64 = 86_400;

/// The longest wait before the age of the transport certificate is looked at again: sleep does not count the time a machine is
/// suspended.
pub const RENEW_CHECK_EVERY: Duration = Duration::from_secs(3_600);
/// The shortest, however short a certificate's life.
pub const RENEW_CHECK_LEAST: Duration = Duration::from_secs(1);

/// A small file of the state directory, in bytes: keys, certificates, the pin, the record.
pub const STATE_FILE_BYTES_MAX: u64 = 256 << 10;
/// Versions of one policy chain on disk: one an hour for a year.
pub const POLICY_VERSIONS_MAX: u64 = 10_000;
/// A token file, in bytes: a token document, a signature and a key.
pub const TOKEN_FILE_BYTES_MAX: u64 = 64 << 10;
/// The outbox's journal, in bytes, above which it must be damaged: see `belay_agent_rules::limits`.
pub const JOURNAL_BYTES_MAX: u64 = 256 << 20;
/// From here on only ends of open sessions are added: 4,096 ends and the receipts of 10,000 statements need less than the rest.
pub const JOURNAL_ROOMY_BYTES_MAX: u64 = 224 << 20;
/// A journal this large is compacted whatever it holds; what still matters is less, even with every quote escaped.
pub const JOURNAL_COMPACT_BYTES_MAX: u64 = 128 << 20;

/// File sessions at one time: each is a process, and the list of what each did must fit the journal when all end at once.
pub const FILE_SESSIONS_MAX: usize = 128;
/// Channels of one connection over its whole life: russh keeps a few KiB of each until the connection ends.
pub const CHANNELS_EVER_MAX: usize = 10_000;
/// Refused forwards recorded for one connection: a browser behind `ssh -D` would write thousands.
pub const FORWARDS_REFUSED_MAX: usize = 100;
/// The pause a parked client's drip is given (`belay_protocol::flow`): 100 packets a second at most.
pub const DRIP: Duration = Duration::from_millis(10);
/// Steps of ending the connection of somebody who lost their last grant: sessions' words, the connection's, the cut.
pub const LAST_WORDS: Duration = Duration::from_millis(500);
/// Characters of an SSH user name that are looked at; no account name is longer than 32.
pub const USER_CHARACTERS_MAX: usize = 64;
/// How long a program may take to start: a home directory on a dead file server takes for ever.
pub const START_WAIT: Duration = Duration::from_secs(5);
/// Output shown after the program's end: what its terminal held, and not what its background goes on writing.
pub const TERMINAL_DRAIN_BYTES: usize = 256 << 10;
/// From the opening of a session's stream to its login.
pub const LOGIN_WAIT: Duration = Duration::from_secs(60);

/// Offers of runs that wait to be judged, each of up to 304 KiB; behind them the control stream waits.
pub const RUNS_OFFERED_MAX: usize = 16;
/// Offers that are declined in a minute with a word to the gateway: one that is asked for more is not an honest one's.
pub const DECLINES_PER_MINUTE_MAX: u32 = 64;
/// How long a script has between the word to end and the kill when its time is over: services need it to stop in order.
pub const RUN_TIMEOUT_GRACE: Duration = Duration::from_secs(10);
/// The same when it is called off or no longer granted: what is no longer granted ends within two seconds.
pub const RUN_CANCEL_GRACE: Duration = Duration::from_secs(1);
/// How long a killed script may take to be gone: one that hangs in the kernel does not keep its run.
pub const RUN_DEAD_WAIT: Duration = Duration::from_secs(2);
/// How long the output is read on after the script's end, for what its children still write.
pub const RUN_DRAIN: Duration = Duration::from_secs(2);
/// How long output waits for more of it before it is written and synced: ten times a second at most.
pub const OUTPUT_DELAY: Duration = Duration::from_millis(100);
/// The same where it is sealed: each piece becomes an age file, with a line for every recipient. As long as a recording may take.
pub const OUTPUT_SEALED_DELAY: Duration = Duration::from_secs(2);
/// Lines that are sealed together before their time is over, in bytes: what a chunk of a recording has.
pub const OUTPUT_SEALED_BYTES: usize = RECORDING_CHUNK_TEXT_BYTES;
/// What sealed lines may hold inside, in bytes, where a runbook asks for more: what is around them fits the file's limit with it.
pub const OUTPUT_INSIDE_BYTES_MAX: u64 = OUTPUT_BYTES_MAX / 4 * 3;
/// A file of sealed lines that is longer than this takes no more until the end, in bytes: the age files of a run that dribbles
/// for hours take more than what they hold.
pub const OUTPUT_SEALED_HEAD_BYTES_MAX: u64 = OUTPUT_BYTES_MAX / 2;
/// How long an output stream that the gateway stopped waits for a word of it before it is begun anew all the same.
pub const OUTPUT_RETRY: Duration = Duration::from_secs(10);
/// What recordings of ended sessions may hold while the gateway does not have them, in bytes of memory; beyond it no session begins.
pub const RECORDINGS_ENDED_BYTES_MAX: usize = 8 << 20;
/// How long a recording's stream that the gateway stopped waits for a word of it before it is begun anew all the same: output is
/// held after five seconds.
pub const RECORDING_RETRY: Duration = Duration::from_secs(1);
/// The longest wait before the end of a noted run's window is looked at again: clocks jump and machines sleep.
pub const WINDOW_EVERY: Duration = Duration::from_secs(30);
/// How much less of the processor a script gets than what the machine is for (nice(2)).
pub const RUN_NICE: i32 = 10;
/// What the smallest file of a run takes on a disk, in bytes.
pub const RUN_BLOCK_BYTES: u64 = 4_096;
