DROP INDEX users_suspended;
ALTER TABLE users DROP COLUMN suspended_at;
