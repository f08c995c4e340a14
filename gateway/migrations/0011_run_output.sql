-- How long what runs printed is kept. `output_us` is when a run's output last changed here: something of it came, its device said
-- that it is all, or it was deleted; none while there is none. Digest, length and outcome stay when it was deleted.
ALTER TABLE run ADD COLUMN output_us BIGINT;
ALTER TABLE run ADD COLUMN output_held TEXT;
ALTER TABLE run ADD COLUMN output_deleted_us BIGINT;
UPDATE run SET output_us = COALESCE(ended_us, started_us, offered_us) WHERE output_kept > 0 OR output_bytes > 0;

-- What a search reads next, and what is due. One index, for every run that ends writes it.
CREATE INDEX run_output ON run (tenant, output_us, job, device) WHERE output_us IS NOT NULL;
