ALTER TABLE members DROP COLUMN unread;
