-- The words of the names of users, by which people are found. The program that runs this migration fills the table.
CREATE TABLE name_words (
    word TEXT NOT NULL,
    user_id BIGINT NOT NULL REFERENCES users (id),
    PRIMARY KEY (word, user_id)
) WITHOUT ROWID;
CREATE INDEX name_words_user ON name_words (user_id, word);
