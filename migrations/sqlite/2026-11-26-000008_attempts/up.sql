-- Attempts at what somebody who guesses does often. The key is a part of a SHA-256 of what is tried and by whom.
CREATE TABLE attempts (
    key INTEGER PRIMARY KEY NOT NULL,
    count INTEGER NOT NULL,
    -- When they do not count any more.
    expires_at BIGINT NOT NULL
);
CREATE INDEX attempts_expired ON attempts (expires_at);
