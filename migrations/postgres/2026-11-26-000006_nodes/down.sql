DROP INDEX users_erased;
DROP TABLE nodes;
