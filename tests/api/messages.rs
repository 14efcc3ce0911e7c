//! Messages: sent once, edited, deleted.

use serde_json::json;

use crate::harness::{Chat, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_sent_and_read() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let sent = ada.tries_to_send(json!({ "receiverId": bob.id, "content": " Hi\n", "clientId": "first" })).await;
    let message = json!({ "id": "msg_1", "content": " Hi\n", "clientId": "first", "version": 1, "replyTo": null });
    assert_eq!(sent, json!({ "message": message, "duplicate": false, "userErrors": [] }));
    let read = chat
        .data(
            r#"{ message(id: "msg_1") {
                content createdAt editedAt status sender { name } receiver { name } conversation { id }
            } }"#,
            json!({}),
        )
        .await;
    assert_eq!(
        read["message"],
        json!({
            "content": " Hi\n", "createdAt": "2026-01-31T12:00:02.000Z", "editedAt": null, "status": "SENT",
            "sender": { "name": "Ada" }, "receiver": { "name": "Bob" }, "conversation": { "id": "cnv_1_2" },
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_may_be_retried_for_ever() {
    let chat = Chat::open().await;
    let (ada, bob, eve) = (chat.person("Ada").await, chat.person("Bob").await, chat.person("Eve").await);
    let input = json!({ "receiverId": bob.id, "content": "Hi", "clientId": "x" });
    let first = ada.tries_to_send(input.clone()).await;
    assert_eq!((&first["message"]["id"], &first["duplicate"]), (&json!("msg_1"), &json!(false)));
    let again = ada.tries_to_send(input.clone()).await;
    assert_eq!((&again["message"]["id"], &again["duplicate"]), (&json!("msg_1"), &json!(true)));

    // The first text counts, also after an edit.
    ada.edits("msg_1", "Hi there").await;
    let edited = ada.tries_to_send(input.clone()).await;
    assert_eq!((&edited["message"]["content"], &edited["duplicate"]), (&json!("Hi there"), &json!(true)));

    let others = [
        json!({ "receiverId": bob.id, "content": "Hi there", "clientId": "x" }),
        json!({ "receiverId": eve.id, "content": "Hi", "clientId": "x" }),
        json!({ "receiverId": bob.id, "content": "Hi", "clientId": "x", "replyToId": "msg_1" }),
    ];
    for other in others {
        let reused = ada.tries_to_send(other).await;
        assert_eq!(reused["message"], json!(null));
        assert_eq!(reused["userErrors"][0]["code"], "CLIENT_ID_REUSED");
        assert_eq!(reused["userErrors"][0]["field"], json!(["input", "clientId"]));
    }

    // Whether others have a message is not told: it is answered as if it had been removed.
    let of_others = bob.sends("Hello", &eve).await;
    for answered in [of_others.as_str(), "msg_1000"] {
        let reply = json!({ "receiverId": bob.id, "content": "Hi", "clientId": "x", "replyToId": answered });
        assert_eq!(ada.tries_to_send(reply).await["duplicate"], true, "{answered}");
    }

    // The key is the sender's own.
    let own = bob.tries_to_send(json!({ "receiverId": ada.id, "content": "Hi", "clientId": "x" })).await;
    assert_eq!(own["duplicate"], false);
    assert_ne!(own["message"]["id"], "msg_1");

    // A deleted message does not come back.
    ada.deletes("msg_1").await;
    let deleted = ada.tries_to_send(input.clone()).await;
    assert_eq!(deleted, json!({ "message": null, "duplicate": true, "userErrors": [] }));

    // Nor does it matter that the receiver is gone.
    bob.leaves(false).await;
    assert_eq!(ada.tries_to_send(input).await["duplicate"], json!(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_ten_equal_sends_at_once_one_makes_a_message() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let input = json!({ "receiverId": bob.id, "content": "Hi", "clientId": "x" });
    let sent = futures_util::future::join_all((0..10).map(|_| ada.tries_to_send(input.clone()))).await;
    assert!(sent.iter().all(|sent| sent["message"]["id"] == "msg_1"), "{sent:?}");
    assert_eq!(sent.iter().filter(|sent| sent["duplicate"] == false).count(), 1);
    assert_eq!(chat.texts(&ada, &bob).await, ["Hi"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_shows_one_senders_messages_in_their_order() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let numbers: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    let both = async {
        for number in &numbers {
            ada.sends(number, &bob).await;
        }
    };
    let noise = async {
        for _ in 0..10 {
            bob.sends("noise", &ada).await;
        }
    };
    tokio::join!(both, noise);
    let texts = chat.texts(&bob, &ada).await;
    assert_eq!(texts.into_iter().filter(|text| text != "noise").collect::<Vec<_>>(), numbers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_stays_in_its_conversation() {
    let chat = Chat::open().await;
    let (ada, bob, eve) = (chat.person("Ada").await, chat.person("Bob").await, chat.person("Eve").await);
    let question = ada.sends("How are you?", &bob).await;
    let reply = bob.tries_to_send(json!({ "receiverId": ada.id, "content": "Well!", "replyToId": question })).await;
    assert_eq!(reply["message"]["replyTo"], json!({ "id": question }));

    let elsewhere = bob.tries_to_send(json!({ "receiverId": eve.id, "content": "Well!", "replyToId": question })).await;
    let nowhere = bob.tries_to_send(json!({ "receiverId": ada.id, "content": "Well!", "replyToId": "msg_99" })).await;
    let errors = json!([{
        "code": "NOT_FOUND", "field": ["input", "replyToId"], "message": "There is no such message in this conversation.",
    }]);
    assert_eq!(elsewhere["userErrors"], errors);
    assert_eq!(nowhere["userErrors"], errors);

    ada.deletes(&question).await;
    let orphan = chat.data(r#"{ message(id: "msg_2") { content replyTo { id } } }"#, json!({})).await;
    assert_eq!(orphan["message"], json!({ "content": "Well!", "replyTo": null }));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sent_is_explained() {
    let chat = Chat::open().await;
    let ada = chat.person("Ada").await;
    let to_oneself = ada.tries_to_send(json!({ "receiverId": ada.id, "content": "Hi" })).await;
    assert_eq!(
        to_oneself["userErrors"],
        json!([{
            "code": "INVALID", "field": ["input", "receiverId"],
            "message": "A message needs two people: the receiver must not be the sender.",
        }])
    );
    let to_nobody = ada.tries_to_send(json!({ "receiverId": "usr_9", "content": "Hi" })).await;
    assert_eq!(
        to_nobody["userErrors"],
        json!([{
            "code": "NOT_FOUND", "field": ["input", "receiverId"], "message": "There is no user usr_9 who could receive.",
        }])
    );
    let from_nobody = ada.tries_to_send(json!({ "senderId": "usr_9", "receiverId": ada.id, "content": "Hi" })).await;
    assert_eq!(from_nobody["userErrors"][0]["field"], json!(["input", "senderId"]));
    let all_wrong = ada
        .tries_to_send(json!({
            "senderId": null, "receiverId": "msg_1", "content": " ", "clientId": "c".repeat(129), "replyToId": "usr_1",
        }))
        .await;
    let fields: Vec<String> =
        all_wrong["userErrors"].as_array().unwrap().iter().map(|error| text(&error["field"][1])).collect();
    assert_eq!(fields, ["senderId", "receiverId", "content", "replyToId", "clientId"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_is_seen_and_counted() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let id = ada.sends("Hi", &bob).await;
    let edited = ada.edits(&id, "Hello").await;
    let message = json!({ "id": id, "content": "Hello", "version": 2, "editedAt": "2026-01-31T12:00:03.000Z" });
    assert_eq!(edited, json!({ "message": message, "userErrors": [] }));
    assert_eq!(chat.texts(&ada, &bob).await, ["Hello"]);

    let stale = chat
        .data(
            r#"mutation { updateMessage(id: "msg_1", input: { content: "Hey", expectedVersion: 1 }) {
                message { id } userErrors { code field message }
            } }"#,
            json!({}),
        )
        .await;
    assert_eq!(
        stale["updateMessage"],
        json!({ "message": null, "userErrors": [{
        "code": "VERSION_CONFLICT", "field": ["input", "expectedVersion"],
        "message": "The message was edited since: its version is now 2. Read it again.",
    }] })
    );
    let fresh = chat
        .data(
            r#"mutation { updateMessage(id: "msg_1", input: { content: "Hey", expectedVersion: 2 }) { message { version } } }"#,
            json!({}),
        )
        .await;
    assert_eq!(fresh["updateMessage"]["message"]["version"], 3);
    assert_eq!(ada.edits(&id, " ").await["userErrors"], json!([{ "code": "INVALID", "field": ["input", "content"] }]));
    assert_eq!(ada.edits("msg_9", "x").await["userErrors"], json!([{ "code": "NOT_FOUND", "field": ["id"] }]));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_edits_of_one_version_one_wins() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    ada.sends("Hi", &bob).await;
    let edit = r#"mutation { updateMessage(id: "msg_1", input: { content: "Hey", expectedVersion: 1 }) { message { version } } }"#;
    let edited = futures_util::future::join_all((0..8).map(|_| chat.data(edit, json!({})))).await;
    assert_eq!(edited.iter().filter(|edited| edited["updateMessage"]["message"].is_object()).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_message_is_gone() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    ada.sends("one", &bob).await;
    let id = ada.sends("two", &bob).await;
    assert_eq!(ada.deletes(&id).await, json!({ "deletedId": id, "userErrors": [] }));
    let not_found = json!({ "deletedId": null, "userErrors": [{ "code": "NOT_FOUND", "field": ["id"] }] });
    assert_eq!(ada.deletes(&id).await, not_found);
    assert_eq!(ada.edits(&id, "x").await["userErrors"], json!([{ "code": "NOT_FOUND", "field": ["id"] }]));
    let read = chat
        .data(
            r#"{
                message(id: "msg_2") { id }
                node(id: "msg_2") { id }
                messages { nodes { id } }
                conversation(user1: 1, user2: 2) { lastMessage { id } unreadCount(userId: 2) }
                user(id: 1) { sentMessages { nodes { id } } }
            }"#,
            json!({}),
        )
        .await;
    let only_one = json!({ "nodes": [{ "id": "msg_1" }] });
    assert_eq!(
        read,
        json!({
            "message": null, "node": null, "messages": only_one, "user": { "sentMessages": only_one },
            "conversation": { "lastMessage": { "id": "msg_1" }, "unreadCount": 1 },
        })
    );
}
