UPDATE server SET epoch = lower(hex(randomblob(8)));
ALTER TABLE server DROP COLUMN trimmed_through;
ALTER TABLE users DROP COLUMN trimmed_through;

ALTER TABLE users ADD COLUMN feed_position BIGINT NOT NULL DEFAULT 0;
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

DROP TABLE events;
