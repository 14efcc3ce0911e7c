-- Who did what to whom: on behalf of somebody else, with accounts, and at the command line. Rows are never changed.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    at BIGINT NOT NULL,
    -- `operator`, or the id of a user or a service token.
    actor TEXT NOT NULL,
    session_id BIGINT,
    -- A mutation or a command.
    action TEXT NOT NULL,
    user_id BIGINT,
    -- What it was done with, such as the id of a message.
    object TEXT
);
