-- The gateway's database. One SQL text for SQLite and PostgreSQL: TEXT, BIGINT and BYTEA only, moments in microseconds
-- since 1970 (`…_us`), ids and digests as text, lists as JSON. `entry` columns hold the index in the tenant's log of
-- the entry that says so. Everything but `presence` can be rebuilt from the logs and their objects.

-- One row a log. `id` is what the tables below call it.
CREATE TABLE log (
    id     BIGINT NOT NULL PRIMARY KEY,
    name   TEXT   NOT NULL UNIQUE,
    origin TEXT   NOT NULL,
    vkey   TEXT   NOT NULL
);

-- The entries, append only: the exact bytes that are hashed, and what is asked for most beside them. The last entry of
-- each transaction has the log's signed head over all entries so far: a lone entry and its head are one row.
CREATE TABLE entry (
    log    BIGINT NOT NULL,
    seq    BIGINT NOT NULL,
    leaf   BYTEA  NOT NULL,
    at_us  BIGINT NOT NULL,
    kind   TEXT   NOT NULL,
    device TEXT,
    person TEXT,
    bytes  BYTEA  NOT NULL,
    head   BYTEA,
    PRIMARY KEY (log, seq)
);

-- Full tiles (256 hashes); the partial ones follow from the rest. `root` is the hash one level up.
CREATE TABLE tile (
    log    BIGINT NOT NULL,
    level  BIGINT NOT NULL,
    idx    BIGINT NOT NULL,
    root   BYTEA  NOT NULL,
    hashes BYTEA  NOT NULL,
    PRIMARY KEY (log, level, idx)
);

-- What entries refer to by digest. `seq` is the first entry that did.
CREATE TABLE object (
    log    BIGINT NOT NULL,
    digest TEXT   NOT NULL,
    seq    BIGINT NOT NULL,
    bytes  BYTEA  NOT NULL,
    PRIMARY KEY (log, digest)
);

CREATE TABLE tenant (
    name     TEXT   NOT NULL PRIMARY KEY,
    policy0  TEXT,
    added_us BIGINT NOT NULL
);

CREATE TABLE policy (
    tenant     TEXT   NOT NULL,
    version    BIGINT NOT NULL,
    digest     TEXT   NOT NULL,
    entry      BIGINT NOT NULL,
    bytes      BYTEA  NOT NULL,
    signatures TEXT   NOT NULL,
    PRIMARY KEY (tenant, version)
);

CREATE TABLE token (
    tenant     TEXT   NOT NULL,
    id         TEXT   NOT NULL,
    digest     TEXT   NOT NULL,
    uses_max   BIGINT NOT NULL,
    uses       BIGINT NOT NULL,
    expires_us BIGINT NOT NULL,
    entry      BIGINT NOT NULL,
    bytes      BYTEA  NOT NULL,
    signature  TEXT   NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE UNIQUE INDEX token_by_digest ON token (tenant, digest);

-- One row a join request that was let in; `join_id` is in the transport certificate.
CREATE TABLE device (
    join_id     TEXT   NOT NULL PRIMARY KEY,
    tenant      TEXT   NOT NULL,
    name        TEXT   NOT NULL,
    state       TEXT   NOT NULL,
    host_key    TEXT   NOT NULL,
    fingerprint TEXT   NOT NULL,
    machine_id  TEXT   NOT NULL,
    token       TEXT   NOT NULL,
    asked_us    BIGINT NOT NULL,
    address     TEXT   NOT NULL,
    request     BYTEA  NOT NULL,
    by_join_key TEXT   NOT NULL,
    by_host_key TEXT   NOT NULL,
    entry       BIGINT NOT NULL,
    -- From here on: of the newest approval.
    serial          BIGINT,
    labels          TEXT,
    approved_us     BIGINT,
    approved_by     TEXT,
    record          BYTEA,
    place           BIGINT,
    path            BYTEA,
    batch           BYTEA,
    batch_signature TEXT,
    certificate     TEXT
);
CREATE INDEX device_by_name ON device (tenant, name);
CREATE INDEX device_by_fingerprint ON device (tenant, fingerprint);
-- The judges see to it; this makes sure.
CREATE UNIQUE INDEX device_name_is_free ON device (tenant, name) WHERE state IN ('pending', 'approved');

-- Every device record ever approved: a serial belongs to one device for ever.
CREATE TABLE record (
    tenant  TEXT   NOT NULL,
    serial  BIGINT NOT NULL,
    join_id TEXT   NOT NULL,
    name    TEXT   NOT NULL,
    entry   BIGINT NOT NULL,
    PRIMARY KEY (tenant, serial)
);
CREATE INDEX record_by_device ON record (join_id, serial);

-- Who is connected; apart from `device` because it changes all the time. No connection: gone since `since_us`.
CREATE TABLE presence (
    join_id    TEXT   NOT NULL PRIMARY KEY,
    tenant     TEXT   NOT NULL,
    connection TEXT,
    since_us   BIGINT NOT NULL,
    address    TEXT   NOT NULL,
    version    TEXT   NOT NULL
);
CREATE INDEX presence_now ON presence (tenant) WHERE connection IS NOT NULL;

-- The newest statements of each device, more than it can have under way at once.
CREATE TABLE said (
    join_id TEXT   NOT NULL,
    seq     BIGINT NOT NULL,
    digest  TEXT   NOT NULL,
    entry   BIGINT NOT NULL,
    PRIMARY KEY (join_id, seq)
);

-- A person's way through the gateway to a device.
CREATE TABLE access (
    id         TEXT   NOT NULL PRIMARY KEY,
    tenant     TEXT   NOT NULL,
    device     TEXT   NOT NULL,
    person     TEXT   NOT NULL,
    key_used   TEXT   NOT NULL,
    address    TEXT   NOT NULL,
    opened_us  BIGINT NOT NULL,
    ended_us   BIGINT,
    bytes_up   BIGINT,
    bytes_down BIGINT,
    reason     TEXT
);
CREATE INDEX access_open ON access (tenant) WHERE ended_us IS NULL;

-- What devices said they started. Ids are the device's own: another device cannot get in its way.
CREATE TABLE session (
    tenant     TEXT   NOT NULL,
    device     TEXT   NOT NULL,
    id         TEXT   NOT NULL,
    access     TEXT   NOT NULL,
    person     TEXT   NOT NULL,
    account    TEXT   NOT NULL,
    kind       TEXT   NOT NULL,
    command    TEXT,
    target     TEXT,
    ticket     TEXT,
    started_us BIGINT NOT NULL,
    entry      BIGINT NOT NULL,
    ended_us   BIGINT,
    exit       BIGINT,
    signal     TEXT,
    reason     TEXT,
    bytes_in   BIGINT,
    bytes_out  BIGINT,
    recording  TEXT,
    PRIMARY KEY (tenant, device, id)
);
CREATE INDEX session_by_start ON session (tenant, started_us);
