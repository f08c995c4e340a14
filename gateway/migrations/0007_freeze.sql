-- Where nothing starts for now. It can be rebuilt from the log: what began and was not lifted.
CREATE TABLE freeze (
    tenant    TEXT   NOT NULL,
    -- `acme`, `web1.acme`, `acme/anna`
    frozen    TEXT   NOT NULL,
    since_us  BIGINT NOT NULL,
    by_person TEXT   NOT NULL,
    reason    TEXT,
    PRIMARY KEY (tenant, frozen)
);

-- Whoever ends or reviews a session has its id.
CREATE INDEX IF NOT EXISTS session_by_id ON session (tenant, id);
