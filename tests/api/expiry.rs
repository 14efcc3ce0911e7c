//! With `--message-retention`, messages that are too old are hidden and deleted for good, and nothing else changes.

use std::time::Duration;

use duologue::{
    domain::{
        expiry::{Extent, delete_expired, forget_read, hide_expired},
        indexing::index_words,
    },
    model::ids::MessageId,
    store,
};
use serde_json::{Value, json};

use crate::{
    deletion::{left_of, removes},
    endpoints::{Program, good},
    exports::exports,
    harness::{Chat, Database, Feed, Person, text},
    imports::{LINES, import},
    logs::Logged,
    meanings::{Reader, is_indexed},
    resume::{cursor, resumed},
    searches::SEARCH,
    unread::assert_counts,
};

const READ: &str =
    "mutation ($id: ID!, $user: ID!) { markRead(messageId: $id, userId: $user) { userErrors { message } } }";

pub(crate) const DAY: Duration = Duration::from_hours(24);

pub(crate) async fn keep_for(chat: &Chat, retention: Duration) {
    chat.app.store.write(move |conn| store::server::set_message_retention(conn, Some(retention))).await.unwrap();
}

/// Where messages are kept for a day.
pub(crate) async fn kept_for_a_day() -> Chat {
    let chat = Chat::in_real_time(Database::new().await, &["--message-retention", "1"]).await;
    hide_expired(&chat.app).await.unwrap();
    chat
}

/// Makes messages older than that.
pub(crate) async fn age(chat: &Chat, ids: &[&String]) {
    let keys: Vec<&str> = ids.iter().map(|id| id.strip_prefix("msg_").unwrap()).collect();
    let update = format!("UPDATE messages SET created_at = 1000 WHERE id IN ({})", keys.join(", "));
    drop(chat.database.run(&update).await);
}

/// Deletes what is too old, and the rows once the indexes have nothing of it any more; gives the number of messages.
async fn expire(chat: &Chat, extent: Extent) -> usize {
    let deleted = delete_expired(&chat.app, extent).await.unwrap();
    index_words(&chat.app).await.unwrap();
    assert_eq!(delete_expired(&chat.app, extent).await.unwrap(), 0);
    deleted
}

/// The messages of which there are rows.
async fn rows(chat: &Chat) -> Vec<String> {
    let rows = chat.app.store.read(|conn| store::rows::messages_after(conn, 0, 1_000)).await;
    rows.unwrap().iter().map(|row| row.id.to_string()).collect()
}

/// What a user sees of their conversations.
async fn inbox(person: &Person<'_>) -> Value {
    let query = "query ($id: ID!) { user(id: $id) { conversations(first: 9) {
        nodes { unreadCount(userId: $id) lastMessage { content } messages { nodes { id content replyTo { id } } } }
    } } }";
    person.chat.data(query, json!({ "id": person.id })).await["user"]["conversations"]["nodes"].take()
}

async fn finds(chat: &Chat, words: &str) -> usize {
    let query = "query ($input: SearchMessagesInput!) { searchMessages(input: $input) { edges { node { id } } } }";
    let data = chat.data(query, json!({ "input": { "text": words, "mode": "TEXT" } })).await;
    data["searchMessages"]["edges"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_is_deleted_and_the_rest_stays_as_it_is() {
    let chat = kept_for_a_day().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let start = cursor(&bob).await;
    let mut live = bob.feed().await;
    let retry = json!({ "receiverId": bob.id, "content": "quokka one", "clientId": "first-of-all" });
    let first = text(&ada.tries_to_send(retry.clone()).await["message"]["id"]);
    let second = ada.sends("quokka two", &bob).await;
    chat.data(READ, json!({ "id": first, "user": bob.id })).await;
    let third = text(
        &ada.tries_to_send(json!({ "receiverId": bob.id, "content": "quokka three", "replyToId": second })).await["message"]
            ["id"],
    );
    let end = cursor(&bob).await;
    index_words(&chat.app).await.unwrap();
    assert_eq!((inbox(&bob).await[0]["unreadCount"].clone(), finds(&chat, "quokka").await), (json!(2), 3));
    assert_eq!(expire(&chat, Extent::All).await, 0);

    age(&chat, &[&first, &second]).await;
    assert_eq!(expire(&chat, Extent::Oldest).await, 2);
    let left = json!({ "id": third, "content": "quokka three", "replyTo": null });
    let conversation =
        json!({ "unreadCount": 1, "lastMessage": { "content": "quokka three" }, "messages": { "nodes": [left] } });
    assert_eq!(inbox(&bob).await, json!([conversation]));
    assert_eq!((finds(&chat, "quokka").await, rows(&chat).await), (1, vec![third.clone()]));
    let gone = chat.data("query ($id: ID!) { node(id: $id) { id } }", json!({ "id": first })).await;
    assert_eq!(gone["node"], Value::Null);

    // Who was away before has to forget; who was there hears of nothing.
    assert_eq!(resumed(&bob, &start).await.next().await["kind"], "RESET");
    assert_eq!(resumed(&bob, &end).await.next().await["kind"], "CAUGHT_UP");
    for (kind, id) in
        [("MESSAGE_SENT", &first), ("MESSAGE_SENT", &second), ("RECEIPT", &first), ("MESSAGE_SENT", &third)]
    {
        let event = live.next().await;
        assert_eq!((&event["kind"], &event["messageId"]), (&json!(kind), &json!(id)));
    }
    assert_counts(&chat).await;

    // With its last message a conversation leaves the list. It begins anew with the next one, which has a new id.
    age(&chat, &[&third]).await;
    assert_eq!(expire(&chat, Extent::Oldest).await, 1);
    let nothing = json!([]);
    assert_eq!((inbox(&bob).await, inbox(&ada).await, rows(&chat).await), (nothing.clone(), nothing, Vec::new()));
    let again = ada.tries_to_send(retry).await;
    assert_eq!((&again["duplicate"], &again["userErrors"]), (&json!(false), &json!([])));
    let fourth: MessageId = text(&again["message"]["id"]).parse().unwrap();
    assert!(fourth > third.parse().unwrap());
    assert_eq!(live.next().await["messageId"], json!(fourth.to_string()));
    assert_eq!(inbox(&bob).await[0]["unreadCount"], 1);
    assert_counts(&chat).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_is_in_no_byte_of_the_database() {
    let chat = kept_for_a_day().await;
    if !chat.database.is_sqlite() {
        return;
    }
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let mut texts = Vec::new();
    for number in 0..20 {
        texts.push(format!("<old {number}>"));
        let filler = "x".repeat([0, 300, 9_000][number % 3]);
        let id = ada.sends(&format!("{}{filler}", texts[number]), &bob).await;
        age(&chat, &[&id]).await;
    }
    assert_eq!(expire(&chat, Extent::All).await, 20);
    removes(&chat.app).await;
    assert_eq!(left_of(&texts, &chat.database.path()), [""; 0]);
}

/// Before any job has come to it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_can_be_read_nowhere() {
    let chat = kept_for_a_day().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let start = cursor(&bob).await;
    let old = text(
        &ada.tries_to_send(json!({ "receiverId": bob.id, "content": "quokka old", "clientId": "a-1" })).await["message"]
            ["id"],
    );
    let reply = json!({ "receiverId": ada.id, "content": "quokka young", "replyToId": old });
    let young = text(&bob.tries_to_send(reply).await["message"]["id"]);
    index_words(&chat.app).await.unwrap();
    ada.edits(&old, "quokka old as well").await;
    assert_eq!(finds(&chat, "quokka").await, 2);
    age(&chat, &[&old]).await;

    // The words of both are indexed, those of the edited one by its text.
    assert_eq!(finds(&chat, "quokka").await, 1);
    index_words(&chat.app).await.unwrap();
    assert_eq!(finds(&chat, "quokka").await, 1);
    let left = json!({ "nodes": [{ "id": young, "content": "quokka young", "replyTo": null }] });
    let last = json!({ "content": "quokka young" });
    let inbox_with = |unread: i64| json!([{ "unreadCount": unread, "lastMessage": last, "messages": left }]);
    // It is counted until it is deleted.
    assert_eq!(inbox(&bob).await, inbox_with(1));
    let query = "query ($id: ID!) { node(id: $id) { id } messages(first: 9) { nodes { id } } }";
    assert_eq!(
        chat.data(query, json!({ "id": old })).await,
        json!({ "node": null, "messages": { "nodes": [{ "id": young }] } })
    );
    let mut feed = resumed(&bob, &start).await;
    let heard = [feed.next().await, feed.next().await];
    let heard = heard.map(|event| (event["messageId"].clone(), event["message"]["content"].clone()));
    assert_eq!(heard, [(json!(young), json!("quokka young")), (json!(old), Value::Null)]);
    assert_eq!(feed.next().await["kind"], "CAUGHT_UP");

    // Nor can it be changed, marked or answered.
    assert_eq!(ada.edits(&old, "new").await["userErrors"][0]["code"], "NOT_FOUND");
    assert_eq!(ada.deletes(&old).await["userErrors"][0]["code"], "NOT_FOUND");
    let read = chat.data(READ, json!({ "id": old, "user": bob.id })).await["markRead"].take();
    assert_ne!(read["userErrors"], json!([]));
    let reply = json!({ "receiverId": bob.id, "content": "answer", "replyToId": old });
    assert_eq!(ada.tries_to_send(reply).await["userErrors"][0]["code"], "NOT_FOUND");

    let folder = tempfile::tempdir().unwrap();
    for (name, flags, lines) in [("all.jsonl", vec![], 2), ("bob.jsonl", vec!["--user", &bob.id], 1)] {
        let lines_of_messages = exports(&chat.database, &folder.path().join(name), &flags).await;
        assert_eq!(lines_of_messages.matches("senderId").count(), lines);
        assert_eq!((lines_of_messages.matches("quokka").count(), lines_of_messages.matches("a-1").count()), (1, 0));
    }

    assert_eq!(delete_expired(&chat.app, Extent::Oldest).await.unwrap(), 1);
    assert_counts(&chat).await;
    assert_eq!(inbox(&bob).await, inbox_with(0));
}

/// Their vectors would take the places of those that can be read; and the model may be a program of somebody else.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_is_not_found_by_its_meaning_nor_given_to_a_model() {
    let endpoint = Program::start(good).await;
    let reader = Reader::asking(&endpoint).await;
    let chat = &reader.chat;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    for content in ["quokka one", "quokka two"] {
        ada.sends(content, &bob).await;
    }
    is_indexed(&ada).await;
    let found = async || {
        let input = json!({ "text": "quokka", "userId": ada.id, "mode": "SEMANTIC" });
        let page = chat.data(SEARCH, json!({ "input": input, "first": 1 })).await["searchMessages"].take();
        (page["edges"].as_array().unwrap().len(), page["pageInfo"]["hasNextPage"].clone())
    };
    assert_eq!(found().await, (1, json!(true)));
    // The clock of the server stands in the past, and that of the database does not.
    keep_for(chat, DAY).await;
    assert_eq!(found().await, (0, json!(false)));
    ada.sends("quokka three", &bob).await;
    is_indexed(&ada).await;
    let given: Vec<String> = endpoint.seen().into_iter().map(|(_, body)| body.to_string()).collect();
    assert!(
        given.iter().any(|body| body.contains("two")) && !given.iter().any(|body| body.contains("three")),
        "{given:?}"
    );
}

/// Who takes the setting back reads what was not deleted yet.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_hidden_without_a_retention() {
    let chat = kept_for_a_day().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let old = ada.sends("old", &bob).await;
    age(&chat, &[&old]).await;
    let query = "query ($id: ID!) { node(id: $id) { id } }";
    assert_eq!(chat.data(query, json!({ "id": old })).await["node"], Value::Null);
    let chat = Chat::in_real_time(chat.stop().await, &[]).await;
    hide_expired(&chat.app).await.unwrap();
    assert_eq!(chat.data(query, json!({ "id": old })).await["node"]["id"], json!(old));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_deletes_what_is_too_old_when_it_starts() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let old = ada.sends("old", &bob).await;
    age(&chat, &[&old]).await;
    let database = chat.stop().await;
    let mut log = Logged::by(&database, &["--message-retention", "1"]).await;
    assert_eq!(log.next("messages older than --message-retention were deleted").await["deleted"], 1);
}

/// A message that two devices of its receiver have heard of, and the cursor from before it.
async fn heard_by_two(from: &Person<'_>, to: &Person<'_>) -> ([Feed; 2], Value, String) {
    let mut together = [to.feed().await, to.feed().await];
    let start = cursor(to).await;
    let sent = from.sends("soon gone", to).await;
    for feed in &mut together {
        assert_eq!(feed.next().await["messageId"], sent);
    }
    (together, start, sent)
}

/// Those who are connected share what was read, as long as it is so.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_for_others_is_not_given_to_who_comes_later() {
    let chat = kept_for_a_day().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let (mut together, start, sent) = heard_by_two(&ada, &bob).await;
    assert_eq!(resumed(&bob, &start).await.next().await["messageId"], sent);
    age(&chat, &[&sent]).await;
    assert_eq!(delete_expired(&chat.app, Extent::Oldest).await.unwrap(), 1);
    assert_eq!(resumed(&bob, &start).await.next().await["kind"], "RESET");
    let next = ada.sends("new", &bob).await;
    for feed in &mut together {
        assert_eq!(feed.next().await["messageId"], next);
    }
}

/// Another server has deleted it, and did not say so.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_is_forgotten_after_a_while() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let (_together, start, _) = heard_by_two(&ada, &bob).await;
    drop(
        chat.database
            .run(
                "UPDATE messages SET content = '', deleted_at = 1; UPDATE users SET trimmed_through = 1;
                 UPDATE server SET message_retention = 86400000",
            )
            .await,
    );
    forget_read(&chat.app).await;
    assert_eq!(resumed(&bob, &start).await.next().await["kind"], "RESET");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_leaves_the_list_also_if_its_last_message_was_deleted_before() {
    let chat = kept_for_a_day().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let first = ada.sends("first", &bob).await;
    let last = ada.sends("last", &bob).await;
    ada.deletes(&last).await;
    index_words(&chat.app).await.unwrap();
    age(&chat, &[&first, &last]).await;
    assert_eq!(expire(&chat, Extent::Oldest).await, 1);
    assert_eq!((inbox(&bob).await, rows(&chat).await), (json!([]), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_is_sent_once_also_if_what_it_answers_is_removed_meanwhile() {
    let chat = kept_for_a_day().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let first = bob.sends("first", &ada).await;
    let reply = json!({ "receiverId": bob.id, "content": "answer", "clientId": "a", "replyToId": first });
    let sent = ada.tries_to_send(reply.clone()).await["message"]["id"].clone();
    age(&chat, &[&first]).await;
    assert_eq!(expire(&chat, Extent::Oldest).await, 1);
    let is_sent_once = async || {
        let again = ada.tries_to_send(reply.clone()).await;
        assert_eq!((&again["message"]["id"], &again["duplicate"]), (&sent, &json!(true)), "{again}");
    };
    is_sent_once().await;
    ada.edits(&text(&sent), "edited").await;
    is_sent_once().await;
    let other = ada.tries_to_send(json!({ "receiverId": bob.id, "content": "other", "clientId": "a" })).await;
    assert_eq!(other["userErrors"][0]["code"], "CLIENT_ID_REUSED");
}

/// Their ids are higher than those of messages that are not too old.
#[tokio::test(flavor = "multi_thread")]
async fn imported_messages_are_found_by_a_look_at_all() {
    let chat = kept_for_a_day().await;
    let (eve, ida) = (chat.person("Eve").await, chat.person("Ida").await);
    let young = eve.sends("young", &ida).await;
    // The next ids are after those of one look.
    drop(chat.database.run("UPDATE server SET trimmed_through = 20000").await);
    import(&chat, LINES).await.unwrap();
    let between = eve.sends("young as well", &ida).await;
    drop(chat.database.run("UPDATE messages SET created_at = 1000 WHERE content LIKE 'H%'").await);
    assert_eq!(expire(&chat, Extent::Oldest).await, 0);
    assert_eq!(rows(&chat).await.len(), 4);
    assert_eq!(expire(&chat, Extent::All).await, 2);
    assert_eq!(rows(&chat).await, [young, between]);
}

/// Whatever is sent, read and deleted meanwhile: nothing is counted twice.
#[tokio::test(flavor = "multi_thread")]
async fn counts_stay_right_while_others_write() {
    let chat = kept_for_a_day().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let expiring = async {
        for _ in 0..30 {
            keep_for(&chat, Duration::ZERO).await;
            delete_expired(&chat.app, Extent::All).await.unwrap();
            keep_for(&chat, DAY).await;
            index_words(&chat.app).await.unwrap();
        }
    };
    let writing = async |from: &Person<'_>, to: &Person<'_>| {
        for number in 0..60 {
            let id = from.sends("soon gone", to).await;
            if number % 3 == 0 {
                from.deletes(&id).await;
            } else if number % 3 == 1 {
                chat.data(READ, json!({ "id": id, "user": to.id })).await;
            }
        }
    };
    tokio::join!(expiring, writing(&ada, &bob), writing(&bob, &ada));
    assert_counts(&chat).await;
    keep_for(&chat, Duration::ZERO).await;
    for _ in 0..2 {
        delete_expired(&chat.app, Extent::All).await.unwrap();
        index_words(&chat.app).await.unwrap();
    }
    assert_eq!((inbox(&ada).await, rows(&chat).await), (json!([]), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_says_how_long_messages_are_kept() {
    let query = "{ server { messageRetentionDays } }";
    for (flags, expected) in [(&[][..], Value::Null), (&["--message-retention", "36h"], json!(1.5))] {
        let chat = Chat::with(flags).await;
        assert_eq!(chat.data(query, json!({})).await["server"]["messageRetentionDays"], expected);
    }
}
