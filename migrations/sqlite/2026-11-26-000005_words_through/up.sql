-- The words of messages with a higher id are not indexed yet: the background job adds those of many sends at once, which costs a
-- fraction of adding those of each.
ALTER TABLE indexing ADD COLUMN words_through BIGINT NOT NULL DEFAULT 0;
UPDATE indexing SET words_through = (SELECT coalesce(max(id), 0) FROM messages);
