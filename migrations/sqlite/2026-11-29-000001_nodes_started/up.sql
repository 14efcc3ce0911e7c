-- Only one server uses a SQLite file.
SELECT 1;
