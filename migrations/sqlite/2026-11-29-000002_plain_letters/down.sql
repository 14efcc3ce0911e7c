-- The former program indexes messages anew, and finds people by the words that are there.
UPDATE indexing SET words_version = 0 WHERE words_version = 2;
