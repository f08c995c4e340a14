-- What a file session did, as one line; the paths are in the log.
ALTER TABLE session ADD COLUMN files TEXT;
