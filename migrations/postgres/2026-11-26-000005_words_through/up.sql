-- On SQLite the words of messages with a higher id are not indexed yet. Here each send indexes its own: ids are not in the order of
-- commits, so that no id has all earlier messages before it.
ALTER TABLE indexing ADD COLUMN words_through BIGINT NOT NULL DEFAULT 9223372036854775807;
