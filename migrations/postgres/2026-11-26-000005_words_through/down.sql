ALTER TABLE indexing DROP COLUMN words_through;
