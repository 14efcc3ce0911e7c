-- What happened besides messages, which are the entries of sends themselves. Messages and events have their ids from one
-- sequence, so that a user's entries grow in commit order.
CREATE TABLE events (
    id BIGINT PRIMARY KEY DEFAULT nextval('messages_id_seq'),
    user_id BIGINT NOT NULL REFERENCES users (id),
    kind SMALLINT NOT NULL,
    message_id BIGINT NOT NULL,
    peer_id BIGINT NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX events_user ON events (user_id, id);

DROP TABLE feed;
ALTER TABLE users DROP COLUMN feed_position;

-- A user's events up to this id were trimmed, and of all users': ids go on after it.
ALTER TABLE users ADD COLUMN trimmed_through BIGINT NOT NULL DEFAULT 0;
ALTER TABLE server ADD COLUMN trimmed_through BIGINT NOT NULL DEFAULT 0;
-- Cursors of the former positions are worth nothing.
UPDATE server SET epoch = left(replace(gen_random_uuid()::text, '-', ''), 16);
