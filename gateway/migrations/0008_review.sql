-- What waits until an auditor has looked at it, and what was looked at. All of it can be rebuilt from the logs and the policies
-- and runbooks beside them.
CREATE TABLE review (
    tenant   TEXT   NOT NULL,
    -- The session or job; a job has no device.
    subject  TEXT   NOT NULL,
    device   TEXT   NOT NULL,
    kind     TEXT   NOT NULL,
    person   TEXT   NOT NULL,
    -- Empty for what nobody asked to be looked at.
    why      TEXT   NOT NULL,
    since_us BIGINT NOT NULL,
    state    TEXT   NOT NULL,
    PRIMARY KEY (tenant, subject, device)
);
CREATE INDEX review_by_state ON review (tenant, state, since_us);

-- Every opinion, in the order of the log.
CREATE TABLE opinion (
    tenant  TEXT   NOT NULL,
    subject TEXT   NOT NULL,
    device  TEXT   NOT NULL,
    entry   BIGINT NOT NULL,
    at_us   BIGINT NOT NULL,
    person  TEXT   NOT NULL,
    state   TEXT   NOT NULL,
    note    TEXT   NOT NULL
);
CREATE INDEX opinion_of ON opinion (tenant, subject, device, at_us);

-- Who brought an order, where that is somebody else than who signed it: neither reviews it.
ALTER TABLE job ADD COLUMN brought_by TEXT;
