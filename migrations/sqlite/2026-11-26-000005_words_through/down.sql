-- An earlier release takes the words of all messages from `words_from` on for indexed.
UPDATE indexing SET words_from = (SELECT coalesce(max(id) + 1, 0) FROM messages);
ALTER TABLE indexing DROP COLUMN words_through;
