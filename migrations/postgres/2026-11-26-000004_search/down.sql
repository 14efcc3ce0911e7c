DROP TABLE embedding_failures;
DROP TABLE embedding_chunks;
DROP TABLE embedding_models;
DROP TABLE index_changes;
DROP TABLE indexing;
DROP TABLE message_words;
