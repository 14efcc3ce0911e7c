-- The migration that a program must know to use this database, so that releases can run side by side.
ALTER TABLE server ADD COLUMN oldest TEXT NOT NULL DEFAULT '';
