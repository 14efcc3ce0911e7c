DROP INDEX messages_conversation;
CREATE INDEX messages_conversation ON messages (low_id, high_id, id) WHERE deleted_at IS NULL;
