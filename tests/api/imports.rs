//! Imports: all of it or nothing, ids kept on an empty database.

use duologue::domain::{
    Viewer,
    imports::{self, Count, ImportError, Line},
};
use serde_json::json;

use crate::{
    harness::{Chat, text},
    unread::assert_counts,
};

/// Imports lines, which may be those of `LINES`.
pub(crate) async fn import(chat: &Chat, lines: &str) -> Result<Count, ImportError> {
    imports::import(&chat.app, &Viewer::operator(&chat.app), (1..).zip(parsed(lines))).await
}

/// The same, with new ids in the order of the times.
async fn import_renumbered(chat: &Chat, lines: &str) -> Result<Count, ImportError> {
    imports::import_renumbered(&chat.app, &Viewer::operator(&chat.app), (1..).zip(parsed(lines))).await
}

fn parsed(lines: &str) -> Vec<Result<Line, String>> {
    lines
        .lines()
        .map(|line| serde_json::from_str::<Line>(line).map_err(|why| format!("This is no line of an import: {why}.")))
        .collect()
}

pub(crate) const LINES: &str = r#"{"user": {"id": 10, "name": "Ada", "email": "ada@example.com", "createdAt": "2026-01-31T12:00:00Z"}}
{"user": {"id": 7, "name": "Bob", "email": "bob@example.com", "createdAt": "2026-01-31T12:00:00.5+01:00"}}
{"message": {"id": 70, "senderId": 10, "receiverId": 7, "content": "Hi", "createdAt": "2026-02-01T00:00:00Z"}}
{"message": {"id": 71, "senderId": 7, "receiverId": 10, "content": "Hello 👋", "createdAt": "2026-02-01T00:00:01Z"}}"#;

/// Such as those that a crash of PostgreSQL has taken: servers have seen them.
#[tokio::test(flavor = "multi_thread")]
async fn ids_that_were_given_before_an_import_are_not_given_again() {
    let chat = Chat::open().await;
    if chat.database.is_sqlite() {
        return;
    }
    drop(chat.database.run("SELECT setval('messages_id_seq', 1000), setval('users_id_seq', 500)").await);
    import(&chat, LINES).await.unwrap();
    let (eve, pal) = (chat.person("Eve").await, chat.person("Pal").await);
    assert_eq!((eve.id.as_str(), eve.sends("Hi", &pal).await.as_str()), ("usr_501", "msg_1001"));
    drop(chat.database.run("SELECT setval('messages_id_seq', 2000)").await);
    import(&chat, &LINES.replace("example.com", "example.org")).await.unwrap();
    assert_eq!(
        chat.data("{ messages(last: 1) { nodes { id } } }", json!({})).await["messages"]["nodes"],
        json!([{ "id": "msg_2002" }])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_kept_on_an_empty_database() {
    let chat = Chat::open().await;
    assert_eq!(import(&chat, LINES).await.unwrap(), Count { users: 2, admins: 0, messages: 2 });
    let data = chat
        .data(
            "{ users { nodes { id name createdAt conversations(first: 9) { nodes { id } } } }
               conversation(user1: 7, user2: 10) { messages { nodes { id content createdAt sender { id } } } } }",
            json!({}),
        )
        .await;
    let conversations = json!({ "nodes": [{ "id": "cnv_7_10" }] });
    assert_eq!(
        data["users"]["nodes"],
        json!([
            { "id": "usr_7", "name": "Bob", "createdAt": "2026-01-31T11:00:00.500Z", "conversations": conversations },
            { "id": "usr_10", "name": "Ada", "createdAt": "2026-01-31T12:00:00.000Z", "conversations": conversations },
        ])
    );
    assert_eq!(
        data["conversation"]["messages"]["nodes"],
        json!([
            { "id": "msg_70", "content": "Hi", "createdAt": "2026-02-01T00:00:00.000Z", "sender": { "id": "usr_10" } },
            { "id": "msg_71", "content": "Hello 👋", "createdAt": "2026-02-01T00:00:01.000Z", "sender": { "id": "usr_7" } },
        ])
    );
    // What is written after it gets the next ids.
    let eve = chat.person("Eve").await;
    assert_eq!(eve.id, "usr_11");
    let sent = eve.tries_to_send(json!({ "receiverId": "usr_7", "content": "Hi" })).await;
    assert_eq!(sent["message"]["id"], "msg_72");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_gets_new_ids_where_somebody_is_already() {
    let chat = Chat::open().await;
    let (eve, dan) = (chat.person("Eve").await, chat.person("Dan").await);
    eve.sends("Hi", &dan).await;
    import(&chat, LINES).await.unwrap();
    let data = chat
        .data(
            "{ users { nodes { id name } } conversation(user1: 3, user2: 4) { messages { nodes { id sender { name } } } } }",
            json!({}),
        )
        .await;
    assert_eq!(data["users"]["nodes"][2], json!({ "id": "usr_3", "name": "Ada" }));
    assert_eq!(
        data["conversation"]["messages"]["nodes"],
        json!([
            { "id": "msg_2", "sender": { "name": "Ada" } }, { "id": "msg_3", "sender": { "name": "Bob" } },
        ])
    );
    assert_eq!(eve.sends("again", &dan).await, "msg_4");
    // Again: the addresses are taken.
    let again = import(&chat, LINES).await.unwrap_err().to_string();
    assert_eq!(again, "line 1: Another user has this email. Nothing was imported.");
}

/// A fifth line after `LINES`, and what is wrong with it.
const BAD_LINES: &[(&str, &str)] = &[
    ("{", "This is no line of an import: "),
    (r#"{"person": {}}"#, "This is no line of an import: unknown variant `person`"),
    (r#"{"user": {"id": 1, "name": "x", "email": "x@y"}}"#, "This is no line of an import: missing field `createdAt`"),
    (
        r#"{"user": {"id": 8, "name": "x", "email": "x@y", "createdAt": "2026-01-31T12:00:00Z", "age": 5}}"#,
        "This is no line of an import: unknown field `age`",
    ),
    (
        r#"{"user": {"id": 0, "name": "x", "email": "x@y", "createdAt": "2026-01-31T12:00:00Z"}}"#,
        "The id must be from 1 to 4503599627370496: leave room for ids to come.",
    ),
    (
        r#"{"user": {"id": 4503599627370497, "name": "x", "email": "x@y", "createdAt": "2026-01-31T12:00:00Z"}}"#,
        "The id must be from 1 to 4503599627370496: leave room for ids to come.",
    ),
    (
        r#"{"message": {"id": 9007199254740991, "senderId": 7, "receiverId": 10, "content": "x", "createdAt": "now"}}"#,
        "The id must be from 1 to 4503599627370496: leave room for ids to come.",
    ),
    (
        r#"{"user": {"id": 7, "name": "x", "email": "x@y", "createdAt": "2026-01-31T12:00:00Z"}}"#,
        "There is a user 7 in an earlier line.",
    ),
    (
        r#"{"user": {"id": 8, "name": " ", "email": "x@y", "createdAt": "2026-01-31T12:00:00Z"}}"#,
        "The name must not be empty or blank.",
    ),
    (
        r#"{"user": {"id": 8, "name": "x", "email": "x\u202e@y", "createdAt": "2026-01-31T12:00:00Z"}}"#,
        "The email may not contain the character U+202E: leave it out.",
    ),
    (
        r#"{"user": {"id": 8, "name": "x", "email": "ADA@example.com", "createdAt": "2026-01-31T12:00:00Z"}}"#,
        "Another user has this email.",
    ),
    (r#"{"user": {"id": 8, "name": "x", "email": "x@y", "createdAt": "yesterday"}}"#, "This is not an instant."),
    (
        r#"{"message": {"id": 71, "senderId": 7, "receiverId": 10, "content": "x", "createdAt": "2026-02-01T00:00:01Z"}}"#,
        "There is a message 71 in an earlier line.",
    ),
    (
        r#"{"message": {"id": 72, "senderId": 9, "receiverId": 10, "content": "x", "createdAt": "2026-02-01T00:00:01Z"}}"#,
        "The sender 9 is no user of an earlier line.",
    ),
    (
        r#"{"message": {"id": 72, "senderId": 7, "receiverId": 9, "content": "x", "createdAt": "2026-02-01T00:00:01Z"}}"#,
        "The receiver 9 is no user of an earlier line.",
    ),
    (
        r#"{"message": {"id": 72, "senderId": 7, "receiverId": 7, "content": "x", "createdAt": "2026-02-01T00:00:01Z"}}"#,
        "The sender and the receiver must be two users.",
    ),
    (
        r#"{"message": {"id": 72, "senderId": 7, "receiverId": 10, "content": "x", "createdAt": "2026-02-01T00:00:00.999Z"}}"#,
        "The times of the messages are in another order than their ids",
    ),
    (
        r#"{"message": {"id": 69, "senderId": 7, "receiverId": 10, "content": "x", "createdAt": "2026-02-01T00:00:00.001Z"}}"#,
        "The times of the messages are in another order than their ids",
    ),
    (
        r#"{"message": {"replyToId":3, "id":9, "senderId": 7, "receiverId": 10, "content": "x", "createdAt": "2026-01-01T00:00:00Z"}}"#,
        "The replyToId 3 is no message of an earlier line in this conversation.",
    ),
    (
        r#"{"marks": {"userId": 7, "peerId": 10, "read": {"messageId": 1, "at": "2026-02-01T00:00:01Z"}}}"#,
        "The messageId 1 is no message of an earlier line in this conversation.",
    ),
    (
        r#"{"message": {"id":6,"senderId": 7, "receiverId": 10, "content": "x", "replyToId":70,"createdAt": "2026-01-01T00:00:00Z"}}"#,
        "The replyToId is higher than the id",
    ),
    (r#"{"marks": {"userId": 7, "peerId": 7}}"#, "The two have no conversation in these lines."),
    (
        r#"{"block": {"userId": 7, "blockedId": 7, "createdAt": "2026-01-31T12:00:00Z"}}"#,
        "Nobody can block themselves.",
    ),
    (
        r#"{"user": {"id": 8, "name": "x", "createdAt": "2026-01-31T12:00:00Z", "erasedAt": "2026-01-31T12:00:00Z"}}"#,
        "Nothing is known of an erased user",
    ),
    (
        r#"{"user": {"id": 8, "name": "x", "createdAt": "2026-01-31T12:00:00Z", "passwordHash": "$2b$12$abcdefghijklmnopqrstuv"}}"#,
        "The passwordHash must be one of Argon2id",
    ),
    (
        r#"{"user":{"id":8,"name":"x","createdAt":"2026-01-31T12:00:00Z","admin":true,"identities":[{"issuer":"i","subject":"x"}]}}"#,
        "Only users who sign in here can be admins",
    ),
    // What follows it is not judged.
    (r#"{"export": {"format": 1}}"#, "This is the first line of an export, and must be the first one here."),
    (
        r#"{"message": {"id": 72, "senderId": 7, "receiverId": 10, "content": "a\u0000", "createdAt": "2026-02-01T00:00:01Z"}}"#,
        "The content may not contain the character U+0000.",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_is_named_and_nothing_is_kept() {
    let chat = Chat::open().await;
    for (line, why) in BAD_LINES {
        let error = import(&chat, &format!("{LINES}\n{line}\n")).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("line 5: {why}")), "{error}");
        assert!(error.ends_with("Nothing was imported."), "{error}");
        let left = chat.data("{ users { nodes { id } } messages { nodes { id } } }", json!({})).await;
        assert_eq!(left, json!({ "users": { "nodes": [] }, "messages": { "nodes": [] } }), "{line}");
    }
}

/// What was answered, edited and read is so afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn replies_edits_marks_and_client_ids_come_along() {
    let chat = Chat::open().await;
    let more = [
        json!({ "message": { "id": 80, "senderId": 7, "receiverId": 10, "content": "Later", "createdAt": "2026-02-02T00:00:00Z",
            "replyToId": 70, "clientId": "a", "editedAt": "2026-02-03T00:00:00Z" } }),
        json!({ "message": { "id": 81, "senderId": 7, "receiverId": 10, "content": "Still there?",
            "createdAt": "2026-02-04T00:00:00Z" } }),
        json!({ "marks": { "userId": 10, "peerId": 7, "delivered": { "messageId": 81, "at": "2026-02-04T00:00:01Z" },
            "read": { "messageId": 71, "at": "2026-02-01T00:00:02Z" } } }),
        json!({ "marks": { "userId": 7, "peerId": 10, "delivered": { "messageId": 70, "at": "2026-02-01T00:00:00.5Z" },
            "read": { "messageId": 70, "at": "2026-02-01T00:00:01Z" } } }),
    ];
    let more = more.map(|line| line.to_string()).join("\n");
    import(&chat, &format!("{LINES}\n{more}")).await.unwrap();
    let query = "{
        node(id: \"msg_80\") { ... on Message { version editedAt replyTo { id } clientId status } }
        user(id: 10) { conversations { nodes { unreadCount(userId: 10) } } }
        other: user(id: 7) { conversations { nodes { unreadCount(userId: 7) } } }
        conversation(user1: 7, user2: 10) {
            messages { nodes { id status } }
            members { user { id } deliveredThrough { at } readThrough { at } }
        }
    }";
    let data = chat.data(query, json!({})).await;
    assert_eq!(
        data["node"],
        json!({
            "version": 2,
            "editedAt": "2026-02-03T00:00:00.000Z",
            "replyTo": { "id": "msg_70" },
            "clientId": "a",
            "status": "DELIVERED",
        })
    );
    assert_eq!(data["user"]["conversations"]["nodes"], json!([{ "unreadCount": 2 }]));
    assert_eq!(data["other"]["conversations"]["nodes"], json!([{ "unreadCount": 0 }]));
    let statuses: Vec<_> = data["conversation"]["messages"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| text(&node["status"]))
        .collect();
    assert_eq!(statuses, ["READ", "READ", "DELIVERED", "DELIVERED"]);
    let bob = &data["conversation"]["members"][0];
    assert_eq!(
        [&bob["user"]["id"], &bob["deliveredThrough"]["at"], &bob["readThrough"]["at"]],
        ["usr_7", "2026-02-01T00:00:00.500Z", "2026-02-01T00:00:01.000Z"]
    );
    assert_counts(&chat).await;
    // A client that sends again what it has sent before the move.
    let again = json!({ "senderId": "usr_7", "receiverId": "usr_10", "content": "Later", "replyToId": "msg_70", "clientId": "a" });
    let mutation = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { duplicate message { id } userErrors { code } } }";
    let sent = chat.data(mutation, json!({ "input": again })).await;
    assert_eq!(sent["sendMessage"], json!({ "duplicate": true, "message": { "id": "msg_80" }, "userErrors": [] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_not_in_the_order_of_their_times_are_renumbered_if_wanted() {
    let chat = Chat::open().await;
    let late = [
        json!({ "message": { "id": 9, "senderId": 7, "receiverId": 10, "content": "First", "createdAt": "2026-01-05T00:00:00Z" } }),
        json!({ "message": { "id": 4, "senderId": 10, "receiverId": 7, "content": "In the same second",
            "createdAt": "2026-01-05T00:00:00Z", "replyToId": 9 } }),
        json!({ "message": { "id": 5, "senderId": 7, "receiverId": 10, "content": "Last", "createdAt": "2026-02-05T00:00:00Z",
            "replyToId": 71 } }),
        json!({ "marks": { "userId": 10, "peerId": 7, "read": { "messageId": 5, "at": "2026-02-06T00:00:00Z" } } }),
    ];
    let late = late.map(|line| line.to_string()).join("\n");
    let count = import_renumbered(&chat, &format!("{LINES}\n{late}")).await.unwrap();
    assert_eq!(count, Count { users: 2, admins: 0, messages: 5 });
    let query =
        "{ conversation(user1: 7, user2: 10) { messages { nodes { id content replyTo { content } status } } } }";
    let data = chat.data(query, json!({})).await;
    assert_eq!(
        data["conversation"]["messages"]["nodes"],
        json!([
            { "id": "msg_1", "content": "First", "replyTo": null, "status": "READ" },
            { "id": "msg_2", "content": "In the same second", "replyTo": { "content": "First" }, "status": "SENT" },
            { "id": "msg_3", "content": "Hi", "replyTo": null, "status": "SENT" },
            { "id": "msg_4", "content": "Hello 👋", "replyTo": null, "status": "READ" },
            { "id": "msg_5", "content": "Last", "replyTo": { "content": "Hello 👋" }, "status": "READ" },
        ])
    );
    assert_counts(&chat).await;
}

/// All lists are in the order of the ids. Only an export is taken as it is.
#[tokio::test(flavor = "multi_thread")]
async fn messages_of_different_conversations_are_in_the_order_of_their_times() {
    let chat = Chat::open().await;
    let cem = json!({ "user": { "id": 8, "name": "Cem", "createdAt": "2026-01-31T12:00:00Z" } });
    let at = "2026-01-31T12:00:01Z";
    let late = |id: i64| json!({ "message": { "id": id, "senderId": 10, "receiverId": 8, "content": "Before", "createdAt": at } });
    let lines = |id: i64| format!("{LINES}\n{cem}\n{}", late(id));
    let why = "line 6: The times of the messages are in another order than their ids";
    let refused = import(&chat, &lines(72)).await.unwrap_err().to_string();
    assert!(refused.starts_with(why), "{refused}");
    let exported = format!("{}\n{}", json!({ "export": { "format": 1 } }), lines(72));
    import(&chat, &exported.replace("example.com", "example.net")).await.unwrap();
    // Where all get new ids, these are in the order of the lines.
    let refused = import(&chat, &lines(69)).await.unwrap_err().to_string();
    assert!(refused.starts_with(why), "{refused}");
    import_renumbered(&chat, &lines(72)).await.unwrap();
    let query = "query ($name: String!) { users(search: $name, first: 2) { nodes {
        conversations(first: 9) { nodes { lastMessage { content } } } messages: sentMessages(last: 2) { nodes { content } }
    } } }";
    let found = chat.data(query, json!({ "name": "Ada" })).await["users"]["nodes"].take();
    let said = |texts: [&str; 2]| json!({ "nodes": texts.map(|text| json!({ "content": text })) });
    let rows = |texts: [&str; 2]| json!({ "nodes": texts.map(|text| json!({ "lastMessage": { "content": text } })) });
    let expected = [
        json!({ "conversations": rows(["Before", "Hello 👋"]), "messages": said(["Hi", "Before"]) }),
        json!({ "conversations": rows(["Hello 👋", "Before"]), "messages": said(["Before", "Hi"]) }),
    ];
    assert_eq!(found, json!(expected));
}

fn message(id: i64, seconds: &str, reply_to_id: Option<i64>, client_id: Option<&str>) -> String {
    let mut line = json!({ "id": id, "senderId": 7, "receiverId": 10, "content": format!("number {id}") });
    line["createdAt"] = format!("2026-01-05T00:00:{seconds}Z").into();
    (line["replyToId"], line["clientId"]) = (json!(reply_to_id), json!(client_id));
    json!({ "message": line }).to_string()
}

/// As in a file that begins with what is newest, and of clients whose clocks differ.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_after_its_message_whatever_its_time_and_its_line_say() {
    let chat = Chat::open().await;
    let lines = [
        message(9, "01", Some(7), None),
        message(7, "01", None, None),
        message(3, "00", Some(9), None),
        message(2, "01", Some(7), None),
        message(5, "00.5", None, None),
    ];
    let count = import_renumbered(&chat, &format!("{LINES}\n{}", lines.join("\n"))).await.unwrap();
    assert_eq!(count.messages, 7);
    let query =
        "{ conversation(user1: 7, user2: 10) { messages(first: 5) { nodes { content replyTo { content } } } } }";
    let data = chat.data(query, json!({})).await;
    let said = |id: i64| json!({ "content": format!("number {id}"), "replyTo": null });
    let answered =
        |id: i64, to: i64| json!({ "content": said(id)["content"], "replyTo": { "content": said(to)["content"] } });
    let expected = json!([said(5), said(7), answered(2, 7), answered(9, 7), answered(3, 9)]);
    assert_eq!(data["conversation"]["messages"]["nodes"], expected);
    assert_counts(&chat).await;
}

/// Also if its time is an earlier one.
#[tokio::test(flavor = "multi_thread")]
async fn of_messages_that_are_renumbered_the_later_line_is_named_that_cannot_be() {
    let chat = Chat::open().await;
    for (lines, why) in [
        (
            [message(8, "02", None, None), message(8, "01", None, None)],
            "line 6: There is a message 8 in an earlier line.",
        ),
        (
            [message(8, "02", None, Some("a")), message(9, "01", None, Some("a"))],
            "line 6: The sender has a message with this clientId in an earlier line.",
        ),
        (
            [message(8, "02", Some(9), None), message(9, "01", Some(8), None)],
            "line 5: The replyToId 9 is no message of an earlier line in this conversation.",
        ),
        (
            [message(8, "02", Some(8), None), message(9, "01", Some(8), None)],
            "line 5: The replyToId 8 is no message of an earlier line in this conversation.",
        ),
    ] {
        let error = import_renumbered(&chat, &format!("{LINES}\n{}", lines.join("\n"))).await.unwrap_err().to_string();
        assert_eq!(error, format!("{why} Nothing was imported."));
    }
}
