DROP VIEW retention;
ALTER TABLE server DROP COLUMN message_retention;
