-- Changes of users that are not finished: their peers up to `told_through` know of it. Of an erased account there may also be
-- messages and clientIds left.
CREATE TABLE user_changes (
    user_id BIGINT PRIMARY KEY REFERENCES users (id),
    told_through BIGINT NOT NULL
);
-- Erased accounts whose messages are deleted too, step by step: nobody sees those that are left.
CREATE TABLE erasures (
    user_id BIGINT PRIMARY KEY REFERENCES users (id)
);

-- With the digest of a deleted text one could try out what it was.
UPDATE messages SET client_digest = NULL WHERE deleted_at IS NOT NULL AND client_digest IS NOT NULL;
UPDATE messages SET client_id = NULL, client_digest = NULL
WHERE client_id IS NOT NULL AND sender_id IN (SELECT id FROM users WHERE erased_at IS NOT NULL);
