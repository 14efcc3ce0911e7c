-- The words of the names of users, by which people are found. The program that runs this migration fills the table.
CREATE TABLE name_words (
    word TEXT COLLATE "C" NOT NULL,
    user_id BIGINT NOT NULL REFERENCES users,
    PRIMARY KEY (word, user_id)
);
CREATE INDEX name_words_user ON name_words (user_id, word);
