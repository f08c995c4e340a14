-- What sessions showed: the notes that prove each recording. The bytes are objects beside the database
-- (`recordings/TENANT/DEVICE/SESSION/…`), written before their rows.

-- One row a recording. Where it stands follows from its session's end: see `store/recordings.rs`.
CREATE TABLE recording (
    tenant     TEXT   NOT NULL,
    device     TEXT   NOT NULL,
    session    TEXT   NOT NULL,
    begun_us   BIGINT NOT NULL,
    kept_us    BIGINT NOT NULL,
    chunks     BIGINT NOT NULL,
    bytes      BIGINT NOT NULL,
    head       TEXT   NOT NULL,
    is_last    BIGINT NOT NULL,
    readable   BIGINT NOT NULL,
    cut        BIGINT NOT NULL,
    held       TEXT,
    deleted_us BIGINT,
    PRIMARY KEY (tenant, device, session)
);
CREATE INDEX recording_by_session ON recording (tenant, session);
CREATE INDEX recording_by_time ON recording (tenant, kept_us);
CREATE INDEX session_by_id ON session (tenant, id);

-- One row a chunk whose bytes are durable: its note as signed.
CREATE TABLE chunk (
    tenant    TEXT   NOT NULL,
    device    TEXT   NOT NULL,
    session   TEXT   NOT NULL,
    number    BIGINT NOT NULL,
    note      TEXT   NOT NULL,
    signature TEXT   NOT NULL,
    PRIMARY KEY (tenant, device, session, number)
);
