DROP TABLE erasures;
DROP TABLE user_changes;
