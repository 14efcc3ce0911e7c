-- Which users are connected to which server, or were a moment ago. Each server writes its own rows; a crash of PostgreSQL may empty
-- the table.
CREATE UNLOGGED TABLE presences (
    node_id BIGINT NOT NULL REFERENCES nodes ON DELETE CASCADE,
    user_id BIGINT NOT NULL,
    -- When the last connection ended, by the clock of PostgreSQL; NULL while there is one.
    left_at BIGINT,
    -- Grows with each change by the server.
    version BIGINT NOT NULL,
    PRIMARY KEY (node_id, user_id)
);
CREATE INDEX presences_version ON presences (node_id, version);
CREATE INDEX presences_left ON presences (node_id, left_at) WHERE left_at IS NOT NULL;
