//! Receipts: how far messages got, and that marks only move forward.

use duologue::domain::{
    expiry::{Extent, delete_expired},
    indexing::index_words,
};
use serde_json::{Value, json};

use crate::{
    expiry::{age, kept_for_a_day},
    exports::is_imported_whole,
    harness::{Chat, Feed, Person},
};

async fn mark(verb: &str, reader: &Person<'_>, message: &str) -> Value {
    let query = format!(
        "mutation ($message: ID!, $user: ID!) {{ {verb}(messageId: $message, userId: $user) {{
            conversation {{ members {{ user {{ name }} deliveredThrough {{ messageId }} readThrough {{ messageId }} }} }}
            userErrors {{ code field }}
        }} }}"
    );
    let data = reader.chat.data(&query, json!({ "message": message, "user": reader.id })).await;
    data[verb].clone()
}

async fn state(chat: &Chat) -> Value {
    let data = chat
        .data(
            "{ conversation(user1: 1, user2: 2) {
                ada: unreadCount(userId: 1) bob: unreadCount(userId: 2) messages { nodes { status } }
            } }",
            json!({}),
        )
        .await;
    let nodes = data["conversation"]["messages"]["nodes"].as_array().unwrap();
    let statuses: Vec<_> = nodes.iter().map(|node| node["status"].clone()).collect();
    json!([data["conversation"]["ada"], data["conversation"]["bob"], statuses])
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_move_forward_and_cover_what_is_before() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    for number in 1..=3 {
        ada.sends(&number.to_string(), &bob).await;
    }
    bob.sends("4", &ada).await;
    assert_eq!(state(&chat).await, json!([1, 3, ["SENT", "SENT", "SENT", "SENT"]]));

    let marked = mark("markDelivered", &bob, "msg_2").await;
    let bobs = json!({ "user": { "name": "Bob" }, "deliveredThrough": { "messageId": "msg_2" }, "readThrough": null });
    assert_eq!(marked["conversation"]["members"][1], bobs);
    assert_eq!(state(&chat).await, json!([1, 3, ["DELIVERED", "DELIVERED", "SENT", "SENT"]]));

    // What was read has arrived.
    mark("markRead", &bob, "msg_3").await;
    assert_eq!(state(&chat).await, json!([1, 0, ["READ", "READ", "READ", "SENT"]]));
    // Never back.
    let marked = mark("markRead", &bob, "msg_1").await;
    assert_eq!(marked["conversation"]["members"][1]["readThrough"], json!({ "messageId": "msg_3" }));
    mark("markDelivered", &bob, "msg_1").await;
    assert_eq!(state(&chat).await, json!([1, 0, ["READ", "READ", "READ", "SENT"]]));

    mark("markRead", &ada, "msg_4").await;
    let fifth = ada.sends("5", &bob).await;
    assert_eq!(state(&chat).await, json!([0, 1, ["READ", "READ", "READ", "READ", "SENT"]]));
    // A deleted message is not unread; the mark on one that is deleted holds.
    ada.deletes(&fifth).await;
    ada.deletes("msg_3").await;
    assert_eq!(state(&chat).await, json!([0, 0, ["READ", "READ", "READ"]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_hear_of_a_mark_that_moved() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    ada.sends("Hi", &bob).await;
    let query = "subscription ($user: ID!) {
        feed(userId: $user) { kind messageId conversation { id } member { user { name } readThrough { messageId } } }
    }";
    let mut feeds = [
        Feed::follow(&chat, query, json!({ "user": ada.id })).await,
        Feed::follow(&chat, query, json!({ "user": bob.id })).await,
    ];
    for _ in 0..2 {
        mark("markRead", &bob, "msg_1").await;
    }
    ada.sends("again", &bob).await;
    for feed in &mut feeds {
        assert_eq!(
            feed.next().await,
            json!({
                "kind": "RECEIPT", "messageId": "msg_1", "conversation": { "id": "cnv_1_2" },
                "member": { "user": { "name": "Bob" }, "readThrough": { "messageId": "msg_1" } },
            })
        );
        assert_eq!(feed.next().await["kind"], "MESSAGE_SENT");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_member_can_mark() {
    let chat = Chat::open().await;
    let (ada, bob, eve) = (chat.person("Ada").await, chat.person("Bob").await, chat.person("Eve").await);
    ada.sends("Hi", &bob).await;
    let not_found = json!({ "conversation": null, "userErrors": [{ "code": "NOT_FOUND", "field": ["messageId"] }] });
    for verb in ["markRead", "markDelivered"] {
        assert_eq!(mark(verb, &eve, "msg_1").await, not_found);
        assert_eq!(mark(verb, &bob, "msg_9").await, not_found);
    }
    let nobody = chat.data("mutation { markRead(messageId: 1) { userErrors { code field } } }", json!({})).await;
    assert_eq!(nobody["markRead"]["userErrors"], json!([{ "code": "INVALID", "field": ["userId"] }]));
    assert_eq!(state(&chat).await, json!([0, 1, ["SENT"]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_was_erased_marks_nothing() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    ada.sends("Hi", &bob).await;
    bob.leaves(false).await;
    let not_found = json!({ "conversation": null, "userErrors": [{ "code": "NOT_FOUND", "field": ["messageId"] }] });
    for verb in ["markRead", "markDelivered"] {
        assert_eq!(mark(verb, &bob, "msg_1").await, not_found);
    }
    assert_eq!(state(&chat).await, json!([0, 1, ["SENT"]]));
}

/// Of two marks one may be at a message whose row goes before that of the other.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_has_been_delivered_also_while_messages_expire() {
    let chat = kept_for_a_day().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let (first, second) = (ada.sends("first", &bob).await, ada.sends("second", &bob).await);
    mark("markRead", &bob, &first).await;
    mark("markDelivered", &bob, &second).await;
    ada.deletes(&second).await;
    index_words(&chat.app).await.unwrap();
    age(&chat, &[&first, &second]).await;
    // The text of the first, and the row of the second.
    assert_eq!(delete_expired(&chat.app, Extent::All).await.unwrap(), 1);
    let query = "{ conversation(user1: 1, user2: 2) {
        members { user { id } deliveredThrough { messageId } readThrough { messageId } }
    } }";
    let members = chat.data(query, json!({})).await["conversation"]["members"].take();
    let place = json!({ "messageId": first });
    assert_eq!(members[1], json!({ "user": { "id": bob.id }, "deliveredThrough": place, "readThrough": place }));
    let lines = is_imported_whole(&chat).await;
    assert!(
        lines.contains("\"delivered\":{\"messageId\":1,") && lines.contains("\"read\":{\"messageId\":1,"),
        "{lines}"
    );
}
