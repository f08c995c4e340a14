-- Runbooks, and the orders that run them. All of it but `output` can be rebuilt from the log and its objects; an output's
-- digest is in the entry that says how its run ended.

-- The library: every version that anybody brought, once for each author who signed it.
CREATE TABLE runbook (
    tenant    TEXT   NOT NULL,
    version   TEXT   NOT NULL,
    signed_by TEXT   NOT NULL,
    name      TEXT   NOT NULL,
    issued_us BIGINT NOT NULL,
    risk      TEXT   NOT NULL,
    pushed_us BIGINT NOT NULL,
    entry     BIGINT NOT NULL,
    signature TEXT   NOT NULL,
    bytes     BYTEA  NOT NULL,
    PRIMARY KEY (tenant, version, signed_by)
);
CREATE INDEX runbook_by_name ON runbook (tenant, name, issued_us);

-- One row an order. `author_key` is whose signature of the runbook goes with it to the devices. `over_us` is set once nothing
-- more is waited for.
CREATE TABLE job (
    tenant        TEXT   NOT NULL,
    id            TEXT   NOT NULL,
    runbook       TEXT   NOT NULL,
    version       TEXT   NOT NULL,
    author_key    TEXT   NOT NULL,
    person        TEXT   NOT NULL,
    account       TEXT   NOT NULL,
    devices       BIGINT NOT NULL,
    submitted_us  BIGINT NOT NULL,
    not_before_us BIGINT NOT NULL,
    not_after_us  BIGINT NOT NULL,
    phase         TEXT   NOT NULL,
    reason        TEXT,
    over_us       BIGINT,
    entry         BIGINT NOT NULL,
    digest        TEXT   NOT NULL,
    bytes         BYTEA  NOT NULL,
    signature     TEXT   NOT NULL,
    list          BYTEA  NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX job_by_time ON job (tenant, submitted_us);
CREATE INDEX job_open ON job (over_us, tenant);

-- One row a device that was offered an order; who was not yet has none. `changed` is the entry that changed it last.
CREATE TABLE run (
    tenant         TEXT   NOT NULL,
    job            TEXT   NOT NULL,
    device         TEXT   NOT NULL,
    place          BIGINT NOT NULL,
    serial         BIGINT NOT NULL,
    state          TEXT   NOT NULL,
    offered_us     BIGINT NOT NULL,
    started_us     BIGINT,
    ended_us       BIGINT,
    exit           BIGINT,
    signal         TEXT,
    reason         TEXT,
    duration_ms    BIGINT,
    output         TEXT,
    output_bytes   BIGINT,
    output_dropped BIGINT,
    output_kept    BIGINT NOT NULL,
    changed        BIGINT NOT NULL,
    PRIMARY KEY (tenant, job, device)
);
CREATE INDEX run_changed ON run (tenant, job, changed);

-- What runs wrote, in pieces, as far as it has arrived.
CREATE TABLE output (
    tenant TEXT   NOT NULL,
    job    TEXT   NOT NULL,
    device TEXT   NOT NULL,
    at     BIGINT NOT NULL,
    bytes  BYTEA  NOT NULL,
    PRIMARY KEY (tenant, job, device, at)
);
