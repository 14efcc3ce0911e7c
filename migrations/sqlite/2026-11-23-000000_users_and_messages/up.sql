-- One row about the database itself.
CREATE TABLE server (
    id INTEGER PRIMARY KEY NOT NULL CONSTRAINT server_one_row CHECK (id = 1),
    epoch TEXT NOT NULL
);

CREATE TABLE users (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL,
    email TEXT,
    email_key TEXT CONSTRAINT users_email_key UNIQUE,
    created_at BIGINT NOT NULL,
    erased_at BIGINT,
    feed_position BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX users_name ON users (name_key);

CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    sender_id BIGINT NOT NULL REFERENCES users (id),
    receiver_id BIGINT NOT NULL REFERENCES users (id),
    low_id BIGINT NOT NULL GENERATED ALWAYS AS (min(sender_id, receiver_id)) VIRTUAL,
    high_id BIGINT NOT NULL GENERATED ALWAYS AS (max(sender_id, receiver_id)) VIRTUAL,
    content TEXT NOT NULL,
    reply_to_id BIGINT REFERENCES messages (id),
    client_id TEXT,
    client_digest BLOB,
    version INTEGER NOT NULL DEFAULT 1,
    created_at BIGINT NOT NULL,
    edited_at BIGINT,
    deleted_at BIGINT,
    CONSTRAINT messages_two_people CHECK (sender_id <> receiver_id)
);
CREATE INDEX messages_conversation ON messages (low_id, high_id, id) WHERE deleted_at IS NULL;
CREATE INDEX messages_sender ON messages (sender_id, id) WHERE deleted_at IS NULL;
CREATE INDEX messages_receiver ON messages (receiver_id, id) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX messages_client ON messages (sender_id, client_id) WHERE client_id IS NOT NULL;

-- A user's place in a conversation: one row for each of the two members.
CREATE TABLE members (
    user_id BIGINT NOT NULL REFERENCES users (id),
    peer_id BIGINT NOT NULL REFERENCES users (id),
    last_message_id BIGINT NOT NULL,
    -- Everything up to these messages has arrived, and was read; 0 before the first.
    delivered_through BIGINT NOT NULL DEFAULT 0,
    delivered_at BIGINT NOT NULL DEFAULT 0,
    read_through BIGINT NOT NULL DEFAULT 0,
    read_at BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (user_id, peer_id),
    CONSTRAINT members_two_people CHECK (user_id <> peer_id)
) WITHOUT ROWID;
CREATE INDEX members_activity ON members (user_id, last_message_id);

-- What happened, for each member, in commit order and without holes.
CREATE TABLE feed (
    user_id BIGINT NOT NULL REFERENCES users (id),
    position BIGINT NOT NULL,
    kind SMALLINT NOT NULL,
    message_id BIGINT NOT NULL,
    peer_id BIGINT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (user_id, position)
) WITHOUT ROWID;
-- What is older than the retention goes.
CREATE INDEX feed_age ON feed (at);
