-- The servers that use this database. Each renews its row every two seconds; a crash of PostgreSQL may empty the table.
CREATE UNLOGGED TABLE nodes (
    id BIGINT PRIMARY KEY,
    version TEXT NOT NULL,
    -- The ids of the keys that it knows, the one that signs first, with commas between them; empty where nobody signs in.
    key_ids TEXT NOT NULL,
    -- By the clock of PostgreSQL.
    renewed_at BIGINT NOT NULL
);

-- Each server looks for the accounts that others have erased.
CREATE INDEX users_erased ON users (erased_at) WHERE erased_at IS NOT NULL;
