DROP INDEX index_changes_removed;
