-- When the account was suspended; NULL if it is not.
ALTER TABLE users ADD COLUMN suspended_at BIGINT;
-- For servers, which look for those that were suspended a moment ago.
CREATE INDEX users_suspended ON users (suspended_at) WHERE suspended_at IS NOT NULL;
