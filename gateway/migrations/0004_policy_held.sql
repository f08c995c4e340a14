-- The newest version of its tenant's policy that a device said it holds; none where it has not said so yet.
ALTER TABLE presence ADD COLUMN held BIGINT;
