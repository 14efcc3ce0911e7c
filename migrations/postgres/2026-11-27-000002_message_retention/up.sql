-- Milliseconds after which messages are hidden, and deleted by a job; NULL if they are kept.
ALTER TABLE server ADD COLUMN message_retention BIGINT;
-- Messages that were sent before it are hidden.
CREATE VIEW retention (id, messages_from) AS
    SELECT id, coalesce(CAST(extract(epoch FROM now()) * 1000 AS BIGINT) - message_retention, -9223372036854775807) FROM server;
