ALTER TABLE nodes DROP COLUMN started_at;
