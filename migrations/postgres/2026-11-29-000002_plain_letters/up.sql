-- Letters with strokes and ligatures are compared without them. The program that runs this migration fills the table.
DELETE FROM name_words;
-- Where there are messages, a server indexes them anew.
UPDATE indexing SET words_version = 2 WHERE NOT EXISTS (SELECT 1 FROM messages);
