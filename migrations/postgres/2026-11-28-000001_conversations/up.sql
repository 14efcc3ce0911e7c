-- The place of a conversation in lists follows its last message that is left, no longer one that was deleted.
UPDATE members SET last_message_id = coalesce((
    SELECT max(id) FROM messages
    WHERE low_id = CASE WHEN user_id < peer_id THEN user_id ELSE peer_id END
        AND high_id = CASE WHEN user_id < peer_id THEN peer_id ELSE user_id END
        AND deleted_at IS NULL
), last_message_id)
WHERE EXISTS (SELECT 1 FROM messages WHERE id = last_message_id AND deleted_at IS NOT NULL);

-- With the sender, so that the messages of one of the two are found without a look at each row of the conversation. Made before the
-- former one is dropped, which keeps readers away: until the transaction ends, which is at once then.
CREATE INDEX messages_conversation_sender ON messages (low_id, high_id, id, sender_id) WHERE deleted_at IS NULL;
DROP INDEX messages_conversation;
ALTER INDEX messages_conversation_sender RENAME TO messages_conversation;
