-- Sessions that nobody said to have ended: it is looked every minute whether they are still waited for.
CREATE INDEX session_open ON session (tenant) WHERE ended_us IS NULL;
