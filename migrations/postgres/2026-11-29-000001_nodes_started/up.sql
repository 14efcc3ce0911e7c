-- When each server said for the first time that it is there, by the clock of PostgreSQL: of two that do not agree the later one leaves.
ALTER TABLE nodes ADD COLUMN started_at BIGINT NOT NULL DEFAULT CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS BIGINT);
