-- The former program fills the table with its words.
DELETE FROM name_words;
UPDATE indexing SET words_version = 1 WHERE words_version = 2;
