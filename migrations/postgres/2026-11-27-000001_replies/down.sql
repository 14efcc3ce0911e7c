DROP INDEX messages_replies;
