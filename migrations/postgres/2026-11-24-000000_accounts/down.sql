DROP TABLE identities;
DROP TABLE blocks;
DROP TABLE service_tokens;
DROP TABLE sessions;
ALTER TABLE users DROP COLUMN role;
ALTER TABLE users DROP COLUMN password_hash;
