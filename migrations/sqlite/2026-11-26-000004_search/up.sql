-- The words of messages, each under the id of its message, with the ids of the two members as words of a column of their own.
-- Only the server splits texts into words; the tokenizer has to split at blanks. What is removed is gone from the file.
CREATE VIRTUAL TABLE message_words USING fts5 (member_ids, words, tokenize = 'ascii', columnsize = 0);
INSERT INTO message_words (message_words, rank) VALUES ('secure-delete', 1);

-- How far the words are indexed: those of all messages with this id or a higher one. The others are indexed in the background.
CREATE TABLE indexing (
    id INTEGER PRIMARY KEY NOT NULL CONSTRAINT indexing_one_row CHECK (id = 1),
    words_from BIGINT NOT NULL,
    -- How texts were split into words.
    words_version INTEGER NOT NULL
);
INSERT INTO indexing (id, words_from, words_version) SELECT 1, coalesce(max(id) + 1, 0), 1 FROM messages;

-- Messages that were edited or deleted, and whose index is not up to date.
CREATE TABLE index_changes (
    message_id INTEGER PRIMARY KEY NOT NULL,
    -- Whether their former vectors are removed.
    is_removed BOOLEAN NOT NULL DEFAULT FALSE
);

-- What turns texts into vectors. Messages from one id through another have theirs.
CREATE TABLE embedding_models (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    -- Vectors of models with the same identity can be compared.
    identity TEXT NOT NULL CONSTRAINT embedding_models_identity UNIQUE,
    dimensions INTEGER NOT NULL,
    from_id BIGINT NOT NULL,
    through_id BIGINT NOT NULL
);

-- Vectors of messages of one conversation.
CREATE TABLE embedding_chunks (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    model_id BIGINT NOT NULL REFERENCES embedding_models (id),
    low_id BIGINT NOT NULL,
    high_id BIGINT NOT NULL,
    -- Which messages, and their vectors in the same order.
    entries BLOB NOT NULL,
    vectors BLOB NOT NULL
);
CREATE INDEX embedding_chunks_conversation ON embedding_chunks (model_id, low_id, high_id);
CREATE INDEX embedding_chunks_high ON embedding_chunks (model_id, high_id);

-- Messages whose texts were refused, and when to try again.
CREATE TABLE embedding_failures (
    model_id BIGINT NOT NULL REFERENCES embedding_models (id),
    message_id BIGINT NOT NULL,
    attempts INTEGER NOT NULL,
    retry_at BIGINT NOT NULL,
    PRIMARY KEY (model_id, message_id)
) WITHOUT ROWID;
CREATE INDEX embedding_failures_retry ON embedding_failures (model_id, retry_at);
