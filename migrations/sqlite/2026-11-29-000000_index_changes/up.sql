-- Looking for those of one kind must not read all of the other.
CREATE INDEX index_changes_removed ON index_changes (is_removed, message_id);

-- Texts that were tried as often as they may be are forgotten.
DELETE FROM embedding_failures WHERE attempts >= 3;
