-- A machine may wait for a name that an approved device has: whoever approves it says whether it takes that one's place.
-- Of those that wait, and of those that are approved, each name is one machine's.
DROP INDEX device_name_is_free;
CREATE UNIQUE INDEX device_approved_name ON device (tenant, name) WHERE state = 'approved';
CREATE UNIQUE INDEX device_pending_name ON device (tenant, name) WHERE state = 'pending';

-- What a renamed device was called before.
CREATE INDEX record_by_name ON record (tenant, name);
