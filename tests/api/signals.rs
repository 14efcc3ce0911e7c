//! Signals: who is typing, and who is online.

use serde_json::{Value, json};

use crate::harness::{Chat, Feed, Person, Socket, code, soon};

const SIGNALS: &str = "subscription ($user: ID!, $in: ID) {
    signals(userId: $user, conversationId: $in) { kind user { name } conversationId expiresAt }
}";

/// What a user hears.
pub(crate) struct Ear {
    socket: Socket,
}

impl Ear {
    /// The user listens from now on: they are online.
    pub(crate) async fn of(person: &Person<'_>, conversation: Option<&str>) -> Self {
        let mut socket = Socket::ready(person.chat).await;
        socket.subscribes("signals", SIGNALS, json!({ "user": person.id, "in": conversation })).await;
        soon(async {
            while !presence(person).await["online"].as_bool().unwrap() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        Self { socket }
    }

    pub(crate) async fn hears(&mut self) -> Value {
        let mut message = self.socket.hears().await;
        assert_eq!(message["type"], "next", "{message}");
        message["payload"]["data"]["signals"].take()
    }
}

pub(crate) async fn presence(person: &Person<'_>) -> Value {
    let query = "query ($id: ID!) { user(id: $id) { presence { online lastSeenAt } } }";
    person.chat.data(query, json!({ "id": person.id })).await["user"]["presence"].take()
}

pub(crate) async fn types(person: &Person<'_>, conversation: &str, typing: Option<bool>) -> Value {
    let query = "mutation ($in: ID!, $typing: Boolean, $user: ID!) {
        setTyping(conversationId: $in, typing: $typing, userId: $user) { ok userErrors { code field } }
    }";
    // What is left out has its default.
    let mut variables = json!({ "in": conversation, "user": person.id });
    if let Some(typing) = typing {
        variables["typing"] = json!(typing);
    }
    person.chat.data(query, variables).await["setTyping"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_one_hears_that_somebody_types() {
    let chat = Chat::open_to_all(&[]).await;
    let (ada, bob, eve) = (chat.person("Ada").await, chat.person("Bob").await, chat.person("Eve").await);
    let mut bobs = Ear::of(&bob, None).await;
    let mut eves = Ear::of(&eve, None).await;
    assert_eq!(types(&ada, "cnv_1_2", None).await, json!({ "ok": true, "userErrors": [] }));
    let typing = bobs.hears().await;
    // Six seconds after the moment, which was the fourth look at the clock.
    assert_eq!(
        typing,
        json!({ "kind": "TYPING", "user": { "name": "Ada" }, "conversationId": "cnv_1_2",
            "expiresAt": "2026-01-31T12:00:09.000Z" })
    );
    types(&ada, "cnv_1_2", Some(false)).await;
    assert_eq!(
        bobs.hears().await,
        json!({ "kind": "STOPPED_TYPING", "user": { "name": "Ada" }, "conversationId": "cnv_1_2", "expiresAt": null })
    );
    // Eve heard nothing of it.
    types(&bob, "cnv_2_3", Some(true)).await;
    assert_eq!(eves.hears().await["user"]["name"], "Bob");

    for (who, conversation) in [(&eve, "cnv_1_2"), (&ada, "cnv_1_9")] {
        let refused = types(who, conversation, None).await;
        let expected = json!({ "ok": false, "userErrors": [{ "code": "NOT_FOUND", "field": ["conversationId"] }] });
        assert_eq!(refused, expected);
    }
    assert_eq!(types(&ada, "msg_1", None).await["userErrors"][0]["code"], "INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_hear_who_comes_and_goes() {
    let chat = Chat::open_to_all(&["--offline-after", "0.2"]).await;
    let (ada, bob, eve) = (chat.person("Ada").await, chat.person("Bob").await, chat.person("Eve").await);
    assert_eq!(presence(&bob).await, json!({ "online": false, "lastSeenAt": null }));
    ada.sends("Hi", &bob).await;
    let mut adas = Ear::of(&ada, None).await;
    // Eve has never written to Bob, but their conversation is open before her.
    let mut eves = Ear::of(&eve, Some("cnv_2_3")).await;

    let feed = bob.feed().await;
    let second = bob.feed().await;
    let online = |kind| json!({ "kind": kind, "user": { "name": "Bob" }, "conversationId": null, "expiresAt": null });
    assert_eq!(adas.hears().await, online("ONLINE"));
    assert_eq!(eves.hears().await, online("ONLINE"));
    assert_eq!(presence(&bob).await, json!({ "online": true, "lastSeenAt": null }));
    drop(feed);
    drop(second);
    assert_eq!(adas.hears().await, online("OFFLINE"));
    assert_eq!(eves.hears().await, online("OFFLINE"));
    let gone = presence(&bob).await;
    assert_eq!(gone["online"], false);
    assert!(gone["lastSeenAt"].is_string(), "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_at_once_was_never_gone() {
    let chat = Chat::open_to_all(&["--offline-after", "2"]).await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    ada.sends("Hi", &bob).await;
    let mut adas = Ear::of(&ada, None).await;
    drop(bob.feed().await);
    let feed = bob.feed().await;
    assert_eq!(adas.hears().await["kind"], "ONLINE");
    // Had Bob gone, Ada would have heard of it before this.
    drop(Ear::of(&bob, Some("cnv_1_2")).await);
    types(&bob, "cnv_1_2", None).await;
    assert_eq!(adas.hears().await["kind"], "TYPING");
    drop(feed);
    assert_eq!(adas.hears().await["kind"], "OFFLINE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_hides_the_presence_of_both_until_it_ends() {
    let chat = Chat::open_to_all(&[]).await;
    let (ada, bob, eve) = (chat.person("Ada").await, chat.person("Bob").await, chat.person("Eve").await);
    let dan = chat.person("Dan").await;
    for peer in [&bob, &eve] {
        ada.sends("Hi", peer).await;
    }
    let mut ears = [Ear::of(&ada, None).await, Ear::of(&bob, None).await];
    let _online = Ear::of(&dan, None).await;
    let change = async |verb: &str, by: &Person<'_>, other: &Person<'_>| {
        let query =
            format!("mutation ($by: ID!, $id: ID!) {{ {verb}(userId: $by, id: $id) {{ userErrors {{ code }} }} }}");
        let changed = chat.data(&query, json!({ "by": by.id, "id": other.id })).await;
        assert_eq!(changed[verb]["userErrors"], json!([]));
    };
    let hear = |kind: &'static str| {
        [&bob, &ada].map(|of| {
            json!({ "kind": kind, "user": { "name": if of.id == "usr_1" { "Ada" } else { "Bob" } },
            "conversationId": null, "expiresAt": null })
        })
    };
    change("blockUser", &ada, &bob).await;
    for (ear, offline) in ears.iter_mut().zip(hear("OFFLINE")) {
        // They may have heard each other come online.
        while ear.hears().await != offline {}
    }
    // While one of the blocks is left, nothing more is heard: neither can find out so whether the other is online.
    for verb in ["blockUser", "unblockUser", "blockUser"] {
        change(verb, &bob, &ada).await;
    }
    change("unblockUser", &ada, &bob).await;
    // Nor is anything heard of those who have no conversation.
    for verb in ["unblockUser", "blockUser", "unblockUser"] {
        change(verb, &dan, &ada).await;
    }
    for (ear, conversation) in ears.iter_mut().zip(["cnv_1_3", "cnv_2_3"]) {
        types(&eve, conversation, None).await;
        assert_eq!(ear.hears().await["user"]["name"], "Eve");
    }
    change("unblockUser", &bob, &ada).await;
    for (ear, online) in ears.iter_mut().zip(hear("ONLINE")) {
        assert_eq!(ear.hears().await, online);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_listen_is_told_so() {
    let chat = Chat::open_to_all(&[]).await;
    let ada = chat.person("Ada").await;
    let mut socket = Socket::ready(&chat).await;
    for query in [
        "subscription { signals { kind } }",
        "subscription { signals(userId: 9) { kind } }",
        r#"subscription { signals(userId: 1, conversationId: "cnv_2_3") { kind } }"#,
        r#"subscription { feed(userId: 1, conversationId: "cnv_2_3") { kind } }"#,
    ] {
        socket.subscribes("1", query, json!({})).await;
        let refused = socket.hears().await;
        assert_eq!(code(&json!({ "errors": refused["payload"] })), "BAD_USER_INPUT", "{query}");
    }
    let mut ear = Ear::of(&ada, None).await;
    ada.leaves(false).await;
    assert_eq!(ear.socket.hears().await, json!({ "type": "complete", "id": "signals" }));
}

const CHANGES: &str = "subscription ($user: ID!, $in: ID) {
    feed(userId: $user, conversationId: $in) { kind messageId message { id } conversation { id } user { id name } member { user { id } } }
}";

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_user_is_in_the_feeds_of_those_who_know_them() {
    let chat = Chat::open().await;
    let (ada, bob, eve) = (chat.person("Ada").await, chat.person("Bob").await, chat.person("Eve").await);
    ada.sends("Hi", &bob).await;
    eve.sends("Hi", &bob).await;
    let follow = async |person: &Person<'_>, conversation: Option<&str>| {
        Feed::follow(&chat, CHANGES, json!({ "user": person.id, "in": conversation })).await
    };
    let (mut adas, mut bobs, mut eves) = (follow(&ada, None).await, follow(&bob, None).await, follow(&eve, None).await);
    let mut of_eve_and_bob = follow(&bob, Some("cnv_2_3")).await;
    let rename = "mutation ($name: String!) { updateUser(id: 1, input: { name: $name }) { userErrors { code } } }";
    for name in ["Ada", "Ada Lovelace"] {
        // The first changes nothing.
        chat.data(rename, json!({ "name": name })).await;
    }
    let event = |conversation: Value, user: Value| {
        json!({ "kind": "USER_CHANGED", "messageId": null, "message": null, "conversation": conversation, "user": user,
            "member": null })
    };
    let lovelace = json!({ "id": "usr_1", "name": "Ada Lovelace" });
    assert_eq!(bobs.next().await, event(json!({ "id": "cnv_1_2" }), lovelace.clone()));
    assert_eq!(adas.next().await, event(Value::Null, lovelace));

    ada.leaves(false).await;
    assert_eq!(bobs.next().await, event(json!({ "id": "cnv_1_2" }), Value::Null));
    // Whoever does not know her hears nothing, and neither does who follows another conversation.
    eve.sends("Bye", &bob).await;
    for feed in [&mut bobs, &mut eves, &mut of_eve_and_bob] {
        assert_eq!(feed.next().await["kind"], "MESSAGE_SENT");
    }
    assert_eq!(adas.socket.hears().await["type"], "complete");
}
