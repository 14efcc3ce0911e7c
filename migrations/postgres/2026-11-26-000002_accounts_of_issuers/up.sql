-- For whoever signs in with a password: whether an issuer vouches for the account.
CREATE INDEX identities_user ON identities (user_id);

-- For those accounts the issuer alone vouches: passwords that were set, and what was got by them, end.
UPDATE users SET password_hash = NULL, role = 0 WHERE id IN (SELECT user_id FROM identities);
UPDATE sessions SET ended_at = last_used_at WHERE ended_at IS NULL AND user_id IN (SELECT user_id FROM identities);
