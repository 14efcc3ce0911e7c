//! The feed: what happens arrives, in order, and only with those whom it concerns.

use serde_json::json;

use crate::harness::{Chat, Feed, Socket, code, soon};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_its_edit_and_its_end_arrive_on_both_sides() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let (mut adas, mut bobs) = (ada.feed().await, bob.feed().await);
    let id = ada.sends("Hi", &bob).await;
    for feed in [&mut adas, &mut bobs] {
        let mut event = feed.next().await;
        assert!(event["cursor"].take().is_string());
        assert_eq!(
            event,
            json!({
                "kind": "MESSAGE_SENT", "messageId": id, "message": { "content": "Hi", "sender": { "name": "Ada" } },
                "conversation": { "id": "cnv_1_2" }, "cursor": null, "at": "2026-01-31T12:00:04.000Z",
            })
        );
    }
    ada.edits(&id, "Hello").await;
    for feed in [&mut adas, &mut bobs] {
        let event = feed.next().await;
        assert_eq!((&event["kind"], &event["message"]["content"]), (&json!("MESSAGE_UPDATED"), &json!("Hello")));
    }
    bob.deletes(&id).await;
    for feed in [&mut adas, &mut bobs] {
        let event = feed.next().await;
        assert_eq!(
            (&event["kind"], &event["messageId"], &event["message"]),
            (&json!("MESSAGE_DELETED"), &json!(id), &json!(null))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missed_out_of_order_or_told_to_others() {
    let chat = Chat::open().await;
    let (ada, bob, eve) = (chat.person("Ada").await, chat.person("Bob").await, chat.person("Eve").await);
    let (mut bobs, mut eves) = (bob.feed().await, eve.feed().await);
    let burst = async |from: &crate::harness::Person<'_>| {
        for number in 0..60 {
            from.sends(&number.to_string(), &bob).await;
        }
    };
    let hear = async {
        let mut seen = Vec::new();
        for _ in 0..120 {
            let event = bobs.next().await;
            seen.push((event["message"]["sender"]["name"].clone(), event["message"]["content"].clone()));
        }
        seen
    };
    let (seen, (), ()) = tokio::join!(hear, burst(&ada), burst(&eve));
    for name in ["Ada", "Eve"] {
        let numbers: Vec<_> =
            seen.iter().filter(|(from, _)| from == name).map(|(_, content)| content.clone()).collect();
        assert_eq!(numbers, (0..60).map(|number| json!(number.to_string())).collect::<Vec<_>>());
    }
    // Eve's feed has her own messages, and nothing of Ada's.
    for _ in 0..60 {
        assert_eq!(eves.next().await["message"]["sender"]["name"], "Eve");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_hears_of_what_was_not_done() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let mut feed = bob.feed().await;
    ada.tries_to_send(json!({ "receiverId": bob.id, "content": " " })).await;
    let input = json!({ "receiverId": bob.id, "content": "Hi", "clientId": "x" });
    ada.tries_to_send(input.clone()).await;
    ada.tries_to_send(input).await;
    ada.edits("msg_9", "x").await;
    ada.sends("Bye", &bob).await;
    assert_eq!(feed.next().await["message"]["content"], "Hi");
    assert_eq!(feed.next().await["message"]["content"], "Bye");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_can_be_of_one_conversation() {
    let chat = Chat::open().await;
    let (ada, bob, eve) = (chat.person("Ada").await, chat.person("Bob").await, chat.person("Eve").await);
    let query = r#"subscription { feed(userId: "usr_2", conversationId: "cnv_2_3") { kind message { content } } }"#;
    let mut feed = Feed::follow(&chat, query, json!({})).await;
    ada.sends("from Ada", &bob).await;
    eve.sends("from Eve", &bob).await;
    assert_eq!(feed.next().await["message"]["content"], "from Eve");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_of_an_erased_user_ends() {
    let chat = Chat::open().await;
    let ada = chat.person("Ada").await;
    let mut feed = ada.feed().await;
    ada.leaves(false).await;
    assert_eq!(feed.socket.hears().await, json!({ "type": "complete", "id": "feed" }));
    // Also when the last thing to hear is that the messages are gone.
    let (bob, eve) = (chat.person("Bob").await, chat.person("Eve").await);
    bob.sends("Hi", &eve).await;
    let mut feeds = [bob.feed().await, bob.feed().await];
    bob.leaves(true).await;
    for feed in &mut feeds {
        assert_eq!(feed.next().await["kind"], "MESSAGE_DELETED");
        assert_eq!(feed.socket.hears().await, json!({ "type": "complete", "id": "feed" }));
    }
    // Whatever happened last, and however many follow.
    let (ann, zoe) = (chat.person("Ann").await, chat.person("Zoe").await);
    let mut feeds = [ann.feed().await, ann.feed().await, ann.feed().await];
    let id = zoe.sends("Hi", &ann).await;
    chat.data(
        "mutation ($id: ID!) { markRead(messageId: $id, userId: 4) { userErrors { code } } }",
        json!({ "id": id }),
    )
    .await;
    ann.leaves(false).await;
    for feed in &mut feeds {
        let kinds = [feed.next().await["kind"].take(), feed.next().await["kind"].take()];
        assert_eq!(kinds, ["MESSAGE_SENT", "RECEIPT"]);
        assert_eq!(feed.socket.hears().await, json!({ "type": "complete", "id": "feed" }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_listen_any_more_is_forgotten() {
    // On a busy machine this takes longer than until the first ping.
    let chat = Chat::with(&["--ping-interval", "600", "--dead-after", "1200"]).await;
    let ada = chat.person("Ada").await;
    let mut socket = Socket::ready(&chat).await;
    for _ in 0..2_000 {
        socket
            .subscribes("feed", "subscription ($user: ID!) { feed(userId: $user) { kind } }", json!({ "user": ada.id }))
            .await;
        assert_eq!(socket.hears().await["payload"]["data"]["feed"]["kind"], "CAUGHT_UP");
        socket.says(json!({ "type": "complete", "id": "feed" })).await;
    }
    // The server may answer before it has cleared away, but it does clear away.
    let forgotten = async {
        while chat.app.notifier.watched() > 0 {
            tokio::task::yield_now().await;
        }
    };
    soon(forgotten).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_feed_must_be_said() {
    let chat = Chat::open().await;
    let mut socket = Socket::ready(&chat).await;
    for query in [
        "subscription { feed { kind } }",
        "subscription { feed(userId: 9) { kind } }",
        r#"subscription { feed(userId: "msg_1") { kind } }"#,
        r#"subscription { feed(userId: 1, conversationId: "1") { kind } }"#,
    ] {
        socket.subscribes("feed", query, json!({})).await;
        let refused = socket.hears().await;
        assert_eq!((&refused["type"], &refused["id"]), (&json!("error"), &json!("feed")), "{query}");
        assert_eq!(code(&json!({ "errors": refused["payload"] })), "BAD_USER_INPUT", "{query}");
    }
}
