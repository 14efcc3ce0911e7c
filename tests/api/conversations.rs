//! Conversations: what two users say to each other, and the lists of them.

use duologue::domain::{
    expiry::{Extent, delete_expired},
    indexing::index_words,
};
use serde_json::{Value, json};

use crate::{
    expiry::{age, kept_for_a_day},
    exports::is_imported_whole,
    harness::{Chat, code, text},
    imports::{LINES, import},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_exists_before_its_first_message() {
    let chat = Chat::open().await;
    let (_ada, _bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let empty = json!({
        "id": "cnv_1_2",
        "members": [
            { "user": { "name": "Ada" }, "deliveredThrough": null, "readThrough": null },
            { "user": { "name": "Bob" }, "deliveredThrough": null, "readThrough": null },
        ],
        "lastMessage": null,
        "unreadCount": 0,
        "messages": {
            "nodes": [], "edges": [],
            "pageInfo": { "hasNextPage": false, "hasPreviousPage": false, "startCursor": null, "endCursor": null },
        },
    });
    let fields = "id members { user { name } deliveredThrough { messageId } readThrough { messageId } }
        lastMessage { id } unreadCount(userId: 1) messages {
            nodes { id } edges { cursor } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
        }";
    for (one, other) in [("usr_1", "usr_2"), ("usr_2", "usr_1")] {
        let query =
            format!("query ($one: ID!, $other: ID!) {{ conversation(user1: $one, user2: $other) {{ {fields} }} }}");
        let data = chat.data(&query, json!({ "one": one, "other": other })).await;
        assert_eq!(data["conversation"], empty);
    }
    let node =
        chat.data(&format!(r#"{{ node(id: "cnv_1_2") {{ ... on Conversation {{ {fields} }} }} }}"#), json!({})).await;
    assert_eq!(node["node"], empty);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_peer_is_the_other_member() {
    let chat = Chat::open().await;
    let (ada_herself, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let query = "{ conversation(user1: 1, user2: 2) {
        of_ada: peer(of: 1) { name } of_bob: peer(of: 2) { name } of_others: peer(of: 3) { name }
    } }";
    let (ada, none) = (json!({ "name": "Ada" }), json!(null));
    let peers = |of_ada: Value| json!({ "of_ada": of_ada, "of_bob": ada, "of_others": none });
    assert_eq!(chat.data(query, json!({})).await["conversation"], peers(json!({ "name": "Bob" })));
    bob.sends("Hi", &ada_herself).await;
    bob.leaves(false).await;
    assert_eq!(chat.data(query, json!({})).await["conversation"], peers(json!(null)));
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_none_with_oneself_or_with_nobody() {
    let chat = Chat::open().await;
    chat.person("Ada").await;
    let data = chat
        .data(
            r#"{ self: conversation(user1: 1, user2: 1) { id } nobody: conversation(user1: 1, user2: 2) { id }
                 node(id: "cnv_1_2") { id } }"#,
            json!({}),
        )
        .await;
    assert_eq!(data, json!({ "self": null, "nobody": null, "node": null }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_persons_messages_are_not_in_it() {
    let chat = Chat::open().await;
    let (ada, bob, eve) = (chat.person("Ada").await, chat.person("Bob").await, chat.person("Eve").await);
    ada.sends("one", &bob).await;
    ada.sends("elsewhere", &eve).await;
    bob.sends("two", &ada).await;
    eve.sends("elsewhere", &bob).await;
    assert_eq!(chat.texts(&ada, &bob).await, ["one", "two"]);
    assert_eq!(chat.texts(&bob, &ada).await, ["one", "two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_most_recently_active_conversation_comes_first() {
    let chat = Chat::open().await;
    let ada = chat.person("Ada").await;
    let mut others = Vec::new();
    for name in ["Bob", "Cem", "Dan"] {
        others.push(chat.person(name).await);
    }
    for other in &others {
        ada.sends("Hi", other).await;
    }
    others[0].sends("Hi yourself", &ada).await;

    let list = async |arguments: &str| -> Value {
        let query = format!(
            "{{ user(id: 1) {{ conversations({arguments}) {{
                nodes {{ id lastMessage {{ content }} unreadCount(userId: 1) }} edges {{ cursor }}
                pageInfo {{ hasNextPage hasPreviousPage endCursor }}
            }} }} }}"
        );
        chat.data(&query, json!({})).await["user"]["conversations"].take()
    };
    let all = list("first: 10").await;
    assert_eq!(
        all["nodes"],
        json!([
            { "id": "cnv_1_2", "lastMessage": { "content": "Hi yourself" }, "unreadCount": 1 },
            { "id": "cnv_1_4", "lastMessage": { "content": "Hi" }, "unreadCount": 0 },
            { "id": "cnv_1_3", "lastMessage": { "content": "Hi" }, "unreadCount": 0 },
        ])
    );
    let two = list("first: 2").await;
    assert_eq!(two["pageInfo"]["hasNextPage"], json!(true));
    assert_eq!(two["pageInfo"]["hasPreviousPage"], json!(false));
    let rest = list(&format!("first: 2, after: \"{}\"", text(&two["pageInfo"]["endCursor"]))).await;
    assert_eq!(rest["nodes"], json!([{ "id": "cnv_1_3", "lastMessage": { "content": "Hi" }, "unreadCount": 0 }]));
    assert_eq!(rest["pageInfo"]["hasNextPage"], json!(false));
    assert_eq!(rest["pageInfo"]["hasPreviousPage"], json!(true));
    let oldest = list("last: 1").await;
    assert_eq!(oldest["nodes"][0]["id"], "cnv_1_3");
    assert_eq!(oldest["pageInfo"]["hasPreviousPage"], json!(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_is_where_its_last_message_that_is_left_puts_it() {
    let chat = Chat::open().await;
    let (ada, bob, cem) = (chat.person("Ada").await, chat.person("Bob").await, chat.person("Cem").await);
    let list = async |arguments: &str| {
        let query = format!(
            "{{ user(id: 1) {{ conversations({arguments}) {{
                nodes {{ id lastMessage {{ content }} }} pageInfo {{ endCursor }}
            }} }} }}"
        );
        let list = chat.data(&query, json!({})).await["user"]["conversations"].take();
        let nodes = list["nodes"].as_array().unwrap().iter();
        let rows = nodes.map(|node| (text(&node["id"]), node["lastMessage"]["content"].as_str().map(str::to_owned)));
        (rows.collect::<Vec<_>>(), text(&list["pageInfo"]["endCursor"]))
    };
    let row = |id: &str, last: &str| (id.to_owned(), Some(last.to_owned()).filter(|last| !last.is_empty()));
    let one = ada.sends("one", &bob).await;
    let two = ada.sends("two", &cem).await;
    let three = bob.sends("three", &ada).await;
    assert_eq!(list("first: 9").await.0, [row("cnv_1_2", "three"), row("cnv_1_3", "two")]);
    // A message that is not the last one changes nothing.
    ada.deletes(&one).await;
    assert_eq!(list("first: 9").await.0, [row("cnv_1_2", "three"), row("cnv_1_3", "two")]);
    let one = ada.sends("two and a half", &cem).await;
    let (first, cursor) = list("first: 1").await;
    assert_eq!(first, [row("cnv_1_3", "two and a half")]);
    // It moves behind the cursor of a page, and is on the next one again.
    ada.deletes(&one).await;
    assert_eq!(
        list(&format!("first: 9, after: \"{cursor}\"")).await.0,
        [row("cnv_1_2", "three"), row("cnv_1_3", "two")]
    );
    // Without any message it stays where it was.
    bob.deletes(&three).await;
    ada.deletes(&two).await;
    assert_eq!(list("first: 9").await.0, [row("cnv_1_2", ""), row("cnv_1_3", "")]);
    // So does the erasure of an account.
    let dan = chat.person("Dan").await;
    ada.sends("four", &dan).await;
    ada.sends("five", &bob).await;
    dan.sends("six", &ada).await;
    assert_eq!(list("first: 2").await.0, [row("cnv_1_4", "six"), row("cnv_1_2", "five")]);
    dan.leaves(true).await;
    assert_eq!(list("first: 2").await.0, [row("cnv_1_2", "five"), row("cnv_1_4", "four")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_is_where_its_last_message_that_is_left_puts_it_after_an_import() {
    let chat = Chat::open().await;
    let sent = |id: i64, receiver: i64, day: i64| {
        let at = format!("2026-03-0{day}T00:00:00Z");
        json!({ "id": id, "senderId": 10, "receiverId": receiver, "content": "Hi", "createdAt": at })
    };
    let cem = json!({ "id": 8, "name": "Cem", "email": "cem@example.com", "createdAt": "2026-01-31T12:00:00Z" });
    let (left, mut deleted) = (sent(72, 8, 1), sent(73, 7, 2));
    deleted["deletedAt"] = json!("2026-03-03T00:00:00Z");
    let more = [json!({ "user": cem }), json!({ "message": left }), json!({ "message": deleted })];
    let lines: Vec<String> = LINES.lines().map(str::to_owned).chain(more.map(|line| line.to_string())).collect();
    import(&chat, &lines.join("\n")).await.unwrap();
    let query = "{ user(id: 10) { conversations(first: 9) { nodes { id } } } }";
    assert_eq!(
        chat.data(query, json!({})).await["user"]["conversations"]["nodes"],
        json!([{ "id": "cnv_8_10" }, { "id": "cnv_7_10" }])
    );
}

/// The conversations of the user with the id 1 as they are listed.
async fn listed(chat: &Chat) -> Vec<String> {
    let query = "{ user(id: 1) { conversations(first: 9) { nodes { id } } } }";
    let list = chat.data(query, json!({})).await["user"]["conversations"]["nodes"].take();
    list.as_array().unwrap().iter().map(|node| text(&node["id"])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_whose_messages_are_all_deleted_stays_where_it_was_also_after_an_import() {
    let chat = Chat::open().await;
    let (ada, bob, cem) = (chat.person("Ada").await, chat.person("Bob").await, chat.person("Cem").await);
    let oldest = ada.sends("one", &bob).await;
    ada.sends("two", &cem).await;
    let newest = bob.sends("three", &ada).await;
    bob.deletes(&newest).await;
    ada.deletes(&oldest).await;
    assert_eq!(listed(&chat).await, ["cnv_1_3", "cnv_1_2"]);
    let (lines, again) = (is_imported_whole(&chat).await, Chat::open().await);
    import(&again, &lines).await.unwrap();
    assert_eq!(listed(&again).await, ["cnv_1_3", "cnv_1_2"]);
}

/// As where the clock was set back.
#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_whose_last_message_has_expired_is_where_the_one_that_is_left_puts_it() {
    let chat = kept_for_a_day().await;
    let (ada, bob, cem) = (chat.person("Ada").await, chat.person("Bob").await, chat.person("Cem").await);
    ada.sends("one", &bob).await;
    ada.sends("two", &cem).await;
    let expired = ada.sends("three", &bob).await;
    assert_eq!(listed(&chat).await, ["cnv_1_2", "cnv_1_3"]);
    age(&chat, &[&expired]).await;
    assert_eq!(delete_expired(&chat.app, Extent::All).await.unwrap(), 1);
    index_words(&chat.app).await.unwrap();
    assert_eq!(delete_expired(&chat.app, Extent::All).await.unwrap(), 0);
    assert_eq!(listed(&chat).await, ["cnv_1_3", "cnv_1_2"]);
    is_imported_whole(&chat).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_messages_are_those_to_the_reader() {
    let chat = Chat::open().await;
    let (ada, bob, eve) = (chat.person("Ada").await, chat.person("Bob").await, chat.person("Eve").await);
    for _ in 0..3 {
        ada.sends("Hi", &bob).await;
    }
    bob.sends("Hi", &ada).await;
    eve.sends("Hi", &bob).await;
    let data = chat
        .data(
            "{ conversation(user1: 1, user2: 2) {
                ada: unreadCount(userId: 1) bob: unreadCount(userId: 2) eve: unreadCount(userId: 3)
            } }",
            json!({}),
        )
        .await;
    assert_eq!(data["conversation"], json!({ "ada": 1, "bob": 3, "eve": 0 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_meant_must_be_said_where_nobody_has_signed_in() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    ada.sends("Hi", &bob).await;
    for (field, path, conversation) in [
        ("unreadCount", json!(["conversation", "unreadCount"]), Value::Null),
        ("peer { id }", json!(["conversation", "peer"]), json!({ "id": "cnv_1_2", "peer": null })),
    ] {
        let answer = chat.ask(&format!("{{ conversation(user1: 1, user2: 2) {{ id {field} }} }}"), json!({})).await;
        assert_eq!((code(&answer).as_str(), &answer["errors"][0]["path"]), ("BAD_USER_INPUT", &path), "{answer}");
        assert_eq!(answer["data"], json!({ "conversation": conversation }));
    }
}
