//! Every SQL text of Belay. Each is constant: the driver prepares it once a connection and finds it again by its text.
//!
//! Not here: the tables (`gateway/migrations`) and what the answers mean.

use super::limits::ROWS;
use std::sync::OnceLock;

/// Declares the texts, and the list of all for the test that prepares each.
macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident = $text:expr;)*) => {
        $($(#[$doc])* pub(super) const $name: &str = $text;)*
        #[cfg(test)]
        const TEXTS: &[&str] = &[$($name),*];
    };
}

/// Columns of `device` that a judge reads, in the order of `rows::device_held`.
macro_rules! device_held {
    () => {
        "SELECT join_id, name, fingerprint, machine_id, state, asked_us, serial, record, entry FROM device "
    };
}

/// Columns of a device in a list, in the order of `read_devices::device`.
macro_rules! device_shown {
    () => {
        "SELECT d.join_id, d.tenant, d.name, d.state, d.host_key, d.machine_id, d.asked_us, d.serial, d.labels, \
         d.approved_us, d.approved_by, p.connection, p.since_us, p.address, p.version, d.certificate, p.held \
         FROM device d LEFT JOIN presence p ON p.join_id = d.join_id "
    };
}

/// A tenant's devices that have a record, each name once, from behind a name.
macro_rules! devices_with_record {
    () => {
        "WHERE d.tenant = $1 AND d.name > $2 AND (d.state = 'approved' OR d.state = 'revoked' \
         AND NOT EXISTS (SELECT 1 FROM device o WHERE o.tenant = d.tenant AND o.name = d.name AND (o.state = 'approved' \
         OR o.state = 'revoked' AND (o.asked_us > d.asked_us OR o.asked_us = d.asked_us AND o.join_id > d.join_id)))) \
         ORDER BY d.name LIMIT $3"
    };
}

/// Columns of a recording with what its session says of it, in the order of `recordings::recording`.
macro_rules! recording_held {
    () => {
        "SELECT r.device, r.session, r.begun_us, r.kept_us, r.chunks, r.bytes, r.head, r.is_last, r.readable, r.cut, r.held, \
         r.deleted_us, s.ended_us, s.recording FROM recording r JOIN session s ON s.tenant = r.tenant \
         AND s.device = r.device AND s.id = r.session "
    };
}

/// Columns of a session in a list, in the order of `sessions::session`, of its recording behind them, and when the way to it ended.
macro_rules! session_shown {
    () => {
        "SELECT s.id, s.device, s.access, s.person, s.account, s.kind, s.command, s.target, s.ticket, s.started_us, s.entry, \
         s.ended_us, s.exit, s.signal, s.reason, s.bytes_in, s.bytes_out, s.recording, s.files, \
         r.begun_us, r.kept_us, r.chunks, r.bytes, r.head, r.is_last, r.readable, r.cut, r.held, r.deleted_us, a.ended_us \
         FROM session s LEFT JOIN recording r ON r.tenant = s.tenant AND r.device = s.device AND r.session = s.id \
         LEFT JOIN access a ON a.id = s.access "
    };
}

/// Columns of a run's output with whose it is, in the order of `outputs::output`.
macro_rules! output_shown {
    () => {
        "SELECT r.job, r.device, j.person, COALESCE(r.started_us, r.offered_us), r.output_us, r.output_kept, r.ended_us, \
         r.output_bytes, r.output, r.output_deleted_us FROM run r JOIN job j ON j.tenant = r.tenant AND j.id = r.job "
    };
}

/// Columns of a job in a list, in the order of `library::job`.
macro_rules! job_shown {
    () => {
        "SELECT id, runbook, version, person, account, devices, submitted_us, not_before_us, not_after_us, phase, reason, \
         over_us FROM job "
    };
}

texts! {
    // Logs.
    // An earlier life of a log has a name with a slash, `acme/1`, which no log in use has.
    LOGS = "SELECT id, name, origin, vkey FROM log WHERE name NOT LIKE '%/%' ORDER BY id";
    LOG_EARLIER = "SELECT id, name, origin, vkey FROM log WHERE name = $1";
    LOG_RETIRE = "UPDATE log SET name = $1 WHERE name = $2";
    // What was recorded in an earlier life is pointed to by the entry that names that life.
    DEVICES_RETIRE = "UPDATE device SET entry = 0 WHERE tenant = $1";
    RECORDS_RETIRE = "UPDATE record SET entry = 0 WHERE tenant = $1";
    POLICIES_RETIRE = "UPDATE policy SET entry = 0 WHERE tenant = $1";
    TOKENS_RETIRE = "UPDATE token SET entry = 0 WHERE tenant = $1";
    SAID_RETIRE = "DELETE FROM said WHERE join_id IN (SELECT join_id FROM device WHERE tenant = $1)";
    DEVICES_CARRIED = "SELECT record, place, path, batch, batch_signature, certificate, join_id, approved_by FROM device \
                       WHERE tenant = $1 AND record IS NOT NULL AND state IN ('approved', 'revoked') ORDER BY name, serial";
    HEAD = "SELECT seq, head FROM entry WHERE log = $1 ORDER BY seq DESC LIMIT 1";
    LOG_NEXT_ID = "SELECT COALESCE(MAX(id), 0) + 1 FROM log";
    LEAVES = "SELECT leaf FROM entry WHERE log = $1 AND seq >= $2 AND seq < $3 ORDER BY seq";
    TILE_ROOTS = "SELECT root FROM tile WHERE log = $1 AND level = $2 AND idx >= $3 AND idx < $4 ORDER BY idx";
    TILE = "SELECT hashes FROM tile WHERE log = $1 AND level = $2 AND idx = $3";
    ENTRY = "SELECT bytes FROM entry WHERE log = $1 AND seq = $2";
    ENTRIES = "SELECT bytes FROM entry WHERE log = $1 AND seq >= $2 AND seq < $3 ORDER BY seq";
    OBJECT = "SELECT bytes FROM object WHERE log = $1 AND digest = $2";
    OBJECT_NEXT = "SELECT digest, bytes FROM object WHERE log = $1 AND digest > $2 AND seq < $3 ORDER BY digest LIMIT 1";

    // Tenants and policies.
    TENANT_ADD = "INSERT INTO tenant (name, added_us) VALUES ($1, $2)";
    TENANT_POLICY0 = "UPDATE tenant SET policy0 = $1 WHERE name = $2";
    TENANTS = "SELECT name, policy0, added_us FROM tenant ORDER BY name";
    POLICY_HELD = "SELECT t.policy0, p.version, p.digest, p.entry FROM policy p JOIN tenant t ON t.name = p.tenant \
                   WHERE p.tenant = $1 ORDER BY p.version DESC LIMIT 1";
    POLICY_ADD = "INSERT INTO policy (tenant, version, digest, entry, bytes, signatures) VALUES ($1, $2, $3, $4, $5, $6)";
    SNAPSHOT = "VACUUM INTO $1";
    POLICY_ENTRY = "SELECT entry FROM policy WHERE tenant = $1 AND version = $2";
    POLICIES = "SELECT bytes, signatures FROM policy WHERE tenant = $1 AND version >= $2 ORDER BY version LIMIT $3";

    // Tokens.
    TOKEN_BY_ID = "SELECT id, digest, uses_max, uses, expires_us, entry FROM token WHERE tenant = $1 AND id = $2";
    TOKEN_BY_DIGEST = "SELECT id, digest, uses_max, uses, expires_us, entry FROM token WHERE tenant = $1 AND digest = $2";
    TOKEN_DOCUMENT = "SELECT bytes, signature FROM token WHERE tenant = $1 AND digest = $2";
    TOKEN_ADD = "INSERT INTO token (tenant, id, digest, uses_max, uses, expires_us, entry, bytes, signature) \
                 VALUES ($1, $2, $3, $4, 0, $5, $6, $7, $8)";
    TOKEN_USE = "UPDATE token SET uses = uses + 1 WHERE tenant = $1 AND id = $2";

    // Devices.
    DEVICES_HELD_BY_NAME = concat!(device_held!(), "WHERE tenant = $1 AND name = $2 ORDER BY asked_us");
    DEVICES_HELD_BY_KEY = concat!(device_held!(), "WHERE tenant = $1 AND fingerprint = $2 ORDER BY asked_us");
    DEVICE_ADD = "INSERT INTO device (join_id, tenant, name, state, host_key, fingerprint, machine_id, token, asked_us, \
                  address, request, by_join_key, by_host_key, entry) \
                  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
    DEVICE_STATE = "UPDATE device SET state = $1 WHERE join_id = $2";
    DEVICE_APPROVE = "UPDATE device SET state = $1, entry = $2, serial = $3, labels = $4, approved_us = $5, \
                      approved_by = $6, record = $7, place = $8, path = $9, batch = $10, batch_signature = $11, \
                      certificate = $12, name = $13 WHERE join_id = $14";
    DEVICE_CERTIFY = "UPDATE device SET certificate = $1, entry = $2 WHERE join_id = $3";
    DEVICE_CERTIFICATE = "SELECT certificate FROM device WHERE join_id = $1";
    DEVICE_HELD_BY_SERIAL = concat!(device_held!(), "WHERE tenant = $1 AND serial = $2 AND state = 'approved'");
    DEVICES_LEFT = "SELECT join_id FROM device WHERE tenant = $1 AND state IN ('pending', 'approved', 'revoked')";
    POLICIES_FORGET = "DELETE FROM policy WHERE tenant = $1";
    DEVICES_WITH_RECORD = "SELECT join_id, serial, state, name FROM device \
                           WHERE tenant = $1 AND serial IS NOT NULL AND state IN ('approved', 'revoked')";
    NAME_IN_USE = "SELECT COUNT(*) FROM device WHERE tenant = $1 AND name = $2 AND state = 'approved'";
    RECORD_ADD = "INSERT INTO record (tenant, serial, join_id, name, entry) VALUES ($1, $2, $3, $4, $5)";
    RECORD_HOLDER = "SELECT join_id, name FROM record WHERE tenant = $1 AND serial = $2";
    RECORD_ENTRY = "SELECT entry FROM record WHERE tenant = $1 AND serial = $2";
    CALLER = "SELECT d.tenant, d.name, d.state, p.connection, p.address, p.version, s.seq, s.digest, s.entry FROM device d \
              LEFT JOIN presence p ON p.join_id = d.join_id LEFT JOIN said s ON s.join_id = d.join_id \
              AND s.seq = (SELECT MAX(seq) FROM said WHERE join_id = d.join_id) WHERE d.join_id = $1";
    SAID_EARLIER = "SELECT digest, entry FROM said WHERE join_id = $1 AND seq = $2";
    SAID_FORGET = "DELETE FROM said WHERE join_id = $1 AND seq <= $2";
    // Entry 0 starts a log: it approves nothing, so this is an approval of an earlier life.
    CARRIED = "SELECT 1 FROM record WHERE join_id = $1 AND entry = 0 LIMIT 1";
    CALLER_RECORDS = "SELECT serial, name FROM record WHERE join_id = $1 ORDER BY serial DESC LIMIT $2";

    RUNBOOKS_RETIRE = "UPDATE runbook SET entry = 0 WHERE tenant = $1";
    JOBS_RETIRE = "UPDATE job SET entry = 0 WHERE tenant = $1";
    RUNS_RETIRE = "UPDATE run SET changed = 0 WHERE tenant = $1";

    // Runbooks and jobs.
    RUNBOOK_ENTRY = "SELECT entry FROM runbook WHERE tenant = $1 AND version = $2 AND signed_by = $3";
    RUNBOOK_ADD = "INSERT INTO runbook (tenant, version, signed_by, name, issued_us, risk, pushed_us, entry, signature, bytes) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    RUNBOOKS = "SELECT name, version, issued_us, risk, signed_by, pushed_us, entry FROM runbook \
                WHERE tenant = $1 AND ($2 = '' OR name = $2) ORDER BY name, issued_us DESC, version, signed_by LIMIT $3";
    RUNBOOK = "SELECT bytes, signature, signed_by FROM runbook WHERE tenant = $1 AND version = $2 ORDER BY signed_by LIMIT $3";
    JOB_HELD = "SELECT digest, phase, not_before_us, not_after_us, over_us, entry FROM job WHERE tenant = $1 AND id = $2";
    JOB_ADD = "INSERT INTO job (tenant, id, runbook, version, author_key, person, account, devices, submitted_us, \
               not_before_us, not_after_us, phase, entry, digest, bytes, signature, list, brought_by) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)";
    JOB_PHASE = "UPDATE job SET phase = $1, reason = $2 WHERE tenant = $3 AND id = $4";
    JOB_OVER = "UPDATE job SET over_us = $1 WHERE tenant = $2 AND id = $3";
    JOBS = concat!(job_shown!(), "WHERE tenant = $1 ORDER BY submitted_us DESC, id LIMIT $2");
    JOB = concat!(job_shown!(), "WHERE tenant = $1 AND id = $2");
    JOBS_OPEN = "SELECT tenant, id FROM job WHERE over_us IS NULL ORDER BY tenant, submitted_us, id LIMIT $1";
    JOB_DOCUMENTS = "SELECT bytes, signature, list, author_key FROM job WHERE tenant = $1 AND id = $2";
    JOB_COUNTS = "SELECT state, COUNT(*) FROM run WHERE tenant = $1 AND job = $2 GROUP BY state";
    RUNS = "SELECT device, place, serial, state, offered_us, started_us, ended_us, exit, signal, reason, duration_ms, output, \
            output_bytes, output_dropped, output_kept, changed, output_us, output_held, output_deleted_us FROM run \
            WHERE tenant = $1 AND job = $2 AND changed > $3 ORDER BY changed, place LIMIT $4";
    RUN = "SELECT device, place, serial, state, offered_us, started_us, ended_us, exit, signal, reason, duration_ms, output, \
           output_bytes, output_dropped, output_kept, changed, output_us, output_held, output_deleted_us FROM run WHERE tenant = $1 AND job = $2 AND device = $3";
    PIECES = "SELECT at, bytes FROM output WHERE tenant = $1 AND job = $2 AND device = $3 AND at >= $4 ORDER BY at LIMIT $5";

    // What is deleted for good is overwritten; for all else that would be writing for nothing.
    OVERWRITE = "PRAGMA secure_delete = ON";
    OVERWRITE_NOT = "PRAGMA secure_delete = OFF";
    OUTPUT_FORGET = "DELETE FROM output WHERE tenant = $1 AND job = $2 AND device = $3";
    // From behind a place on: a moment, a job, a device.
    OUTPUTS_CHANGED = concat!(output_shown!(), "WHERE r.tenant = $1 AND r.output_us >= $2 AND (r.output_us > $2 OR r.job > $3 \
        OR r.job = $3 AND r.device > $4) ORDER BY r.output_us, r.job, r.device LIMIT $5");
    // Of a run that nobody said to have ended its job is over: nothing of it is waited for.
    OUTPUTS_DUE = concat!(output_shown!(), "WHERE r.tenant = $1 AND r.output_us < $2 AND r.output_deleted_us IS NULL \
        AND r.output_held IS NULL AND r.output_kept > 0 AND (r.ended_us < $2 OR r.ended_us IS NULL AND j.over_us < $2) \
        ORDER BY r.output_us LIMIT $3");
    JOB_OVER_AT = "SELECT over_us FROM job WHERE tenant = $1 AND id = $2";

    // Freezes.
    FREEZES = "SELECT f.frozen, f.since_us, f.by_person, f.reason, f.host_key, d.name FROM freeze f LEFT JOIN device d \
               ON d.tenant = f.tenant AND d.fingerprint = f.host_key AND d.state = 'approved' ORDER BY f.tenant, f.frozen";
    FREEZE_ADD = "INSERT INTO freeze (tenant, frozen, since_us, by_person, reason, host_key) VALUES ($1, $2, $3, $4, $5, $6)";
    FREEZE_LIFT = "DELETE FROM freeze WHERE tenant = $1 AND frozen = $2";

    // Reviews.
    POLICY_BYTES = "SELECT bytes FROM policy WHERE tenant = $1 AND version = $2";
    RUNBOOK_RISK = "SELECT risk FROM runbook WHERE tenant = $1 AND version = $2 LIMIT 1";
    REVIEW_AWAIT = "INSERT INTO review (tenant, subject, device, kind, person, why, since_us, state) \
                    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (tenant, subject, device) DO NOTHING";
    REVIEW_GIVE = "INSERT INTO review (tenant, subject, device, kind, person, why, since_us, state) \
                   VALUES ($1, $2, $3, $4, $5, '', $6, $7) ON CONFLICT (tenant, subject, device) DO UPDATE SET state = excluded.state";
    OPINION_ADD = "INSERT INTO opinion (tenant, subject, device, entry, at_us, person, state, note) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    OPINIONS_RETIRE = "UPDATE opinion SET entry = 0 WHERE tenant = $1";
    SESSION_REVIEWED = "SELECT s.person, COALESCE(s.ended_us, a.ended_us) FROM session s LEFT JOIN access a ON a.id = s.access \
                        WHERE s.tenant = $1 AND s.id = $2 AND s.device = $3";
    JOB_REVIEWED = "SELECT person, brought_by, over_us FROM job WHERE tenant = $1 AND id = $2";
    REVIEWS = "SELECT r.subject, r.kind, r.device, r.person, r.why, r.since_us, r.state, \
               CASE r.kind WHEN 'job' THEN j.over_us ELSE COALESCE(s.ended_us, a.ended_us) END FROM review r \
               LEFT JOIN session s ON s.tenant = r.tenant AND s.device = r.device AND s.id = r.subject \
               LEFT JOIN access a ON a.id = s.access LEFT JOIN job j ON j.tenant = r.tenant AND j.id = r.subject \
               WHERE r.tenant = $1 AND r.state = $2 ORDER BY r.since_us, r.subject LIMIT $3";
    OPINIONS = "SELECT person, at_us, state, note FROM opinion WHERE tenant = $1 AND subject = $2 AND device = $3 \
                ORDER BY at_us, entry LIMIT $4";

    // What a start finds open.
    PRESENT_BY_TENANT = "SELECT tenant, COUNT(*) FROM presence WHERE connection IS NOT NULL GROUP BY tenant ORDER BY tenant";
    PRESENT_SINCE = "SELECT join_id, address FROM presence WHERE connection IS NOT NULL OR since_us >= $1 ORDER BY since_us DESC LIMIT $2";
    NOBODY_PRESENT = "UPDATE presence SET connection = NULL, since_us = $1 WHERE connection IS NOT NULL";
    ACCESSES_OPEN = "SELECT id, tenant, device, person FROM access WHERE ended_us IS NULL ORDER BY opened_us, id";

    // What a script writes. Bare `?`: the values of its statements are counted through.
    LOG_ADD = "INSERT INTO log (id, name, origin, vkey) VALUES (?, ?, ?, ?)";
    ACCESS_END = "UPDATE access SET ended_us = ?, bytes_up = ?, bytes_down = ?, reason = ? WHERE id = ? AND ended_us IS NULL";
    SESSION_END = "UPDATE session SET ended_us = ?, exit = ?, signal = ?, reason = ?, bytes_in = ?, bytes_out = ?, \
                   recording = ?, files = ? WHERE tenant = ? AND id = ? AND ended_us IS NULL \
                   AND device IN (SELECT name FROM record WHERE join_id = ?)";

    // Lists for doors.
    DEVICES = concat!(device_shown!(), devices_with_record!());
    // Ten thousand of them are a list: what costs time is each column of each row.
    DEVICES_LISTED = concat!("SELECT d.name, d.serial, d.labels, p.connection, p.since_us, p.address, p.version \
        FROM device d LEFT JOIN presence p ON p.join_id = d.join_id ", devices_with_record!());
    DEVICE_BY_JOIN = concat!(device_shown!(), "WHERE d.join_id = $1");
    DEVICE_BY_NAME = concat!(device_shown!(), "WHERE d.tenant = $1 AND d.name = $2 \
        ORDER BY CASE d.state WHEN 'approved' THEN 0 WHEN 'pending' THEN 1 WHEN 'revoked' THEN 2 ELSE 3 END, d.asked_us DESC LIMIT 1");
    DEVICE_BY_KEY = concat!(device_shown!(), "WHERE d.tenant = $1 AND d.fingerprint = $2 AND d.state = 'approved' \
        ORDER BY d.serial DESC LIMIT 1");
    DEVICE_ONCE_CALLED = concat!(device_shown!(), "WHERE d.state = 'approved' AND d.join_id IN (SELECT r.join_id FROM record r \
        WHERE r.tenant = $1 AND r.name = $2) ORDER BY d.serial DESC LIMIT 1");
    APPROVALS = "SELECT record, place, path, batch, batch_signature, certificate, name FROM device \
                 WHERE tenant = $1 AND name > $2 AND state = 'approved' ORDER BY name LIMIT $3";
    APPROVAL = "SELECT record, place, path, batch, batch_signature, certificate FROM device \
                WHERE join_id = $1 AND tenant = $2 AND record IS NOT NULL";
    PENDING = "SELECT d.join_id, d.name, d.address, d.asked_us, d.request, d.by_join_key, d.by_host_key, t.bytes, t.signature, \
               d.entry, h.serial, h.machine_id FROM device d JOIN token t ON t.tenant = d.tenant AND t.id = d.token \
               LEFT JOIN device h ON h.tenant = d.tenant AND h.name = d.name AND h.state = 'approved' \
               WHERE d.tenant = $1 AND d.name > $2 AND d.state = 'pending' AND ($3 = '' OR d.token = $3) AND d.entry > $4 \
               ORDER BY d.name LIMIT $5";
    SERIAL_HIGHEST = "SELECT COALESCE(MAX(serial), 0) FROM record WHERE tenant = $1";
    SESSIONS = concat!(session_shown!(), "WHERE s.tenant = $1 AND ($2 = '' OR s.device = $2) AND ($3 = '' OR s.person = $3) \
        AND s.started_us >= $4 AND s.started_us < $5 AND ($6 = '' OR s.kind = $6) ORDER BY s.started_us DESC, s.id LIMIT $7");
    // An id is its device's own choice: of two sessions with one, the older is meant.
    SESSION_BY_ID = concat!(session_shown!(), "WHERE s.tenant = $1 AND s.id = $2 ORDER BY s.started_us LIMIT 1");

    // Recordings.
    SESSION_OF_DEVICE = concat!(session_shown!(), "WHERE s.tenant = $1 AND s.id = $2 \
        AND s.device IN (SELECT name FROM record WHERE join_id = $3) ORDER BY s.started_us LIMIT 1");
    RECORDING = concat!(recording_held!(), "WHERE r.tenant = $1 AND r.device = $2 AND r.session = $3");
    RECORDING_OF_DEVICE = concat!(recording_held!(), "WHERE r.tenant = $1 AND r.session = $2 \
        AND r.device IN (SELECT name FROM record WHERE join_id = $3) ORDER BY r.begun_us LIMIT 1");
    // What may be deleted: a session that goes on may stay silent for longer than recordings are kept.
    RECORDINGS_DUE = concat!(recording_held!(), "WHERE r.tenant = $1 AND r.deleted_us IS NULL AND r.held IS NULL \
        AND r.kept_us < $2 AND (s.ended_us < $2 OR s.ended_us IS NULL AND r.cut = 1) ORDER BY r.kept_us LIMIT $3");
    // Of all sessions few have no end: `session_open` finds them, and `+` keeps the plan from reading the rest by its time.
    RECORDINGS_UNHEARD = concat!(recording_held!(), "WHERE r.tenant = $1 AND r.session IN (SELECT o.id FROM session o JOIN access a \
        ON a.id = o.access WHERE o.tenant = $1 AND o.ended_us IS NULL AND a.ended_us < $2) AND s.ended_us IS NULL \
        AND +r.kept_us < $2 AND r.cut = 0 AND r.deleted_us IS NULL ORDER BY r.session LIMIT $3");
    RECORDINGS_CHANGED = concat!(recording_held!(), "WHERE r.tenant = $1 AND (s.ended_us IS NOT NULL OR r.cut = 1) \
        AND (r.kept_us >= $2 OR s.ended_us >= $2 OR r.deleted_us >= $2) ORDER BY r.begun_us LIMIT $3");
    RECORDINGS_UNREADABLE = "SELECT COUNT(*) FROM recording r JOIN session s ON s.tenant = r.tenant AND s.device = r.device \
        AND s.id = r.session WHERE r.tenant = $1 AND r.readable = 0 AND r.deleted_us IS NULL AND ($2 = '' OR s.device = $2) \
        AND ($3 = '' OR s.person = $3) AND s.started_us >= $4 AND ($5 = '' OR s.kind = $5)";
    // In the order of their changes. The first list, from 0 on, is of what there is; what is gone only matters to who knew it.
    SEALED_CHANGED = concat!(session_shown!(), "WHERE s.tenant = $1 AND r.tenant = $1 AND r.readable = 0 \
        AND COALESCE(r.deleted_us, r.kept_us) >= $2 AND ($2 > 0 OR r.deleted_us IS NULL) \
        ORDER BY COALESCE(r.deleted_us, r.kept_us), s.id LIMIT $3");
    CHUNKS = "SELECT number, note, signature FROM chunk WHERE tenant = $1 AND device = $2 AND session = $3 AND number >= $4 \
              ORDER BY number LIMIT $5";
    SESSIONS_CALLED = "SELECT s.device, s.access, s.person, s.ended_us, a.ended_us FROM session s \
                       LEFT JOIN access a ON a.id = s.access WHERE s.tenant = $1 AND s.id = $2 ORDER BY s.device LIMIT $3";
    SESSIONS_CARRIED = "SELECT COUNT(*) FROM session WHERE tenant = $1 AND device = $2 AND access = $3 AND ended_us IS NULL";
}

/// An insert of several rows at once.
pub(super) struct Insert {
    /// Up to and with `VALUES`.
    head: &'static str,
    /// Values in a row.
    columns: usize,
    /// What follows the rows.
    tail: &'static str,
    /// The text for each of [`ROWS`].
    texts: [OnceLock<String>; ROWS.len()],
}

impl Insert {
    const fn new(head: &'static str, columns: usize, tail: &'static str) -> Self {
        Self { head, columns, tail, texts: [const { OnceLock::new() }; ROWS.len()] }
    }

    /// The most rows of [`ROWS`] that fit `left`, and the text for so many. `left` is at least 1.
    pub(super) fn for_rows(&'static self, left: usize) -> (usize, &'static str) {
        let sizes = ROWS.iter().zip(&self.texts).filter(|(rows, _)| **rows <= left);
        sizes
            .map(|(rows, text)| (*rows, text.get_or_init(|| self.text(*rows)).as_str()))
            .next()
            .unwrap_or((1, self.head))
    }

    /// Bare `?`, for SQLite looks the name of a `$N` up in a list, which for 512 of them takes longer than the insert.
    /// PostgreSQL, when it comes, numbers them here.
    fn text(&self, rows: usize) -> String {
        let row = format!("({})", vec!["?"; self.columns].join(", "));
        format!("{} {} {}", self.head, vec![row.as_str(); rows].join(", "), self.tail)
    }
}

pub(super) static ENTRY_ROWS: Insert =
    Insert::new("INSERT INTO entry (log, seq, leaf, at_us, kind, device, person, bytes, head) VALUES", 9, "");
pub(super) static TILE_ROWS: Insert = Insert::new("INSERT INTO tile (log, level, idx, root, hashes) VALUES", 5, "");
pub(super) static OBJECT_ROWS: Insert =
    Insert::new("INSERT INTO object (log, digest, seq, bytes) VALUES", 4, "ON CONFLICT (log, digest) DO NOTHING");
pub(super) static PRESENCE_ROWS: Insert = Insert::new(
    "INSERT INTO presence (join_id, tenant, connection, since_us, address, version, held) VALUES",
    7,
    "ON CONFLICT (join_id) DO UPDATE SET connection = excluded.connection, since_us = excluded.since_us, \
     address = excluded.address, version = excluded.version, held = excluded.held",
);
pub(super) static SAID_ROWS: Insert = Insert::new(
    "INSERT INTO said (join_id, seq, digest, entry) VALUES",
    4,
    "ON CONFLICT (join_id, seq) DO UPDATE SET digest = excluded.digest, entry = excluded.entry",
);
pub(super) static ACCESS_ROWS: Insert = Insert::new(
    "INSERT INTO access (id, tenant, device, person, key_used, address, opened_us) VALUES",
    7,
    "ON CONFLICT (id) DO NOTHING",
);
pub(super) static SESSION_ROWS: Insert = Insert::new(
    "INSERT INTO session (tenant, device, id, access, person, account, kind, command, target, ticket, started_us, entry) VALUES",
    12,
    "ON CONFLICT (tenant, device, id) DO NOTHING",
);

pub(super) static RUN_ROWS: Insert = Insert::new(
    "INSERT INTO run (tenant, job, device, place, serial, state, offered_us, started_us, ended_us, exit, signal, reason, \
     duration_ms, output, output_bytes, output_dropped, output_kept, changed, output_us, output_held, output_deleted_us) VALUES",
    21,
    "ON CONFLICT (tenant, job, device) DO UPDATE SET state = excluded.state, started_us = excluded.started_us, \
     ended_us = excluded.ended_us, exit = excluded.exit, signal = excluded.signal, reason = excluded.reason, \
     duration_ms = excluded.duration_ms, output = excluded.output, output_bytes = excluded.output_bytes, \
     output_dropped = excluded.output_dropped, output_kept = excluded.output_kept, changed = excluded.changed, \
     output_us = excluded.output_us, output_held = excluded.output_held, output_deleted_us = excluded.output_deleted_us",
);
pub(super) static RECORDING_ROWS: Insert = Insert::new(
    "INSERT INTO recording (tenant, device, session, begun_us, kept_us, chunks, bytes, head, is_last, readable, cut, held, \
     deleted_us) VALUES",
    13,
    "ON CONFLICT (tenant, device, session) DO UPDATE SET kept_us = excluded.kept_us, chunks = excluded.chunks, \
     bytes = excluded.bytes, head = excluded.head, is_last = excluded.is_last, readable = excluded.readable, \
     cut = excluded.cut, held = excluded.held, deleted_us = excluded.deleted_us",
);
pub(super) static CHUNK_ROWS: Insert =
    Insert::new("INSERT INTO chunk (tenant, device, session, number, note, signature) VALUES", 6, "");
pub(super) static PIECE_ROWS: Insert = Insert::new("INSERT INTO output (tenant, job, device, at, bytes) VALUES", 5, "");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::database::Database;
    use sqlx::Executor;

    #[tokio::test]
    async fn every_text_is_accepted_by_the_database() {
        let directory = tempfile::tempdir().unwrap();
        let mut connection = Database::open(directory.path()).await.unwrap().writer().await.unwrap();
        for text in TEXTS {
            (&mut connection)
                .prepare(sqlx::SqlStr::from_static(text))
                .await
                .unwrap_or_else(|error| panic!("{text}: {error}"));
        }
        let inserts = [
            &ENTRY_ROWS,
            &TILE_ROWS,
            &OBJECT_ROWS,
            &PRESENCE_ROWS,
            &SAID_ROWS,
            &ACCESS_ROWS,
            &SESSION_ROWS,
            &RUN_ROWS,
            &PIECE_ROWS,
            &RECORDING_ROWS,
            &CHUNK_ROWS,
        ];
        for insert in inserts {
            for rows in ROWS {
                let (fitting, text) = insert.for_rows(rows);
                assert_eq!(fitting, rows);
                (&mut connection).prepare(sqlx::SqlStr::from_static(text)).await.unwrap();
            }
        }
    }

    #[test]
    fn rows_are_cut_into_few_sizes_so_that_few_texts_are_prepared() {
        let mut left = 64 + 16 + 4 + 3;
        let mut sizes = Vec::new();
        while left > 0 {
            let (rows, _) = ENTRY_ROWS.for_rows(left);
            sizes.push(rows);
            left -= rows;
        }
        assert_eq!(sizes, [64, 16, 4, 1, 1, 1]);
    }
}
