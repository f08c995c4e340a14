-- The fingerprint of the host key of a frozen device, so that another name does not thaw it; none for what is not a device, and
-- for freezes from before.
ALTER TABLE freeze ADD COLUMN host_key TEXT;
