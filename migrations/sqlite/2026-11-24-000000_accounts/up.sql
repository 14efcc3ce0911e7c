-- How a user signs in with a password: an Argon2 hash (PHC string), or not at all. The role is 0 for a user, 1 for an admin.
ALTER TABLE users ADD COLUMN password_hash TEXT;
ALTER TABLE users ADD COLUMN role SMALLINT NOT NULL DEFAULT 0;

-- Devices that are, or were, signed in. Of the refresh token only the SHA-256 is kept.
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    user_id BIGINT NOT NULL REFERENCES users (id),
    device TEXT,
    refresh_hash BLOB NOT NULL CONSTRAINT sessions_refresh_hash UNIQUE,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at BIGINT
);
CREATE INDEX sessions_user ON sessions (user_id, id) WHERE ended_at IS NULL;
CREATE INDEX sessions_ended ON sessions (ended_at) WHERE ended_at IS NOT NULL;

-- Programs that may act for everyone. Of their tokens only the SHA-256 is kept.
CREATE TABLE service_tokens (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    name TEXT NOT NULL,
    token_hash BLOB NOT NULL CONSTRAINT service_tokens_hash UNIQUE,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);

CREATE TABLE blocks (
    user_id BIGINT NOT NULL REFERENCES users (id),
    blocked_id BIGINT NOT NULL REFERENCES users (id),
    created_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, blocked_id),
    CONSTRAINT blocks_two_people CHECK (user_id <> blocked_id)
) WITHOUT ROWID;
CREATE INDEX blocks_blocked ON blocks (blocked_id);

-- By which subjects the issuers of other tokens know people.
CREATE TABLE identities (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    user_id BIGINT NOT NULL REFERENCES users (id),
    PRIMARY KEY (issuer, subject)
) WITHOUT ROWID;
