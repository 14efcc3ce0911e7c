DROP TABLE feed;
DROP TABLE members;
DROP TABLE messages;
DROP TABLE users;
DROP TABLE server;
