-- How many messages of the peer the user has not read: those after `read_through` that were not deleted.
ALTER TABLE members ADD COLUMN unread BIGINT NOT NULL DEFAULT 0 CONSTRAINT members_unread CHECK (unread >= 0);
UPDATE members SET unread = (
    SELECT count(*) FROM messages
    WHERE low_id = least(members.user_id, members.peer_id) AND high_id = greatest(members.user_id, members.peer_id)
      AND id > members.read_through AND receiver_id = members.user_id AND deleted_at IS NULL
);
