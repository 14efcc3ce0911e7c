DROP INDEX identities_user;
