-- Letters with strokes and ligatures are compared without them. A word has at most 64 characters.
INSERT INTO name_words (word, user_id)
    SELECT substr(replace(replace(replace(replace(replace(
        replace(replace(replace(replace(replace(word, 'ı', 'i'), 'ø', 'o'), 'ł', 'l'), 'đ', 'd'), 'ð', 'd'),
        'ħ', 'h'), 'ŧ', 't'), 'þ', 'th'), 'æ', 'ae'), 'œ', 'oe'), 1, 64), user_id
    FROM name_words WHERE word ~ '[ıøłđðħŧþæœ]'
    ON CONFLICT DO NOTHING;
DELETE FROM name_words WHERE word ~ '[ıøłđðħŧþæœ]';
-- Where there are messages, or servers that may send some with the former words, a server indexes them anew.
UPDATE indexing SET words_version = 2 WHERE NOT EXISTS (SELECT 1 FROM messages) AND NOT EXISTS (SELECT 1 FROM nodes);
