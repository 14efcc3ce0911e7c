//! The counts of unread messages: they are kept as messages come and go, and are always what counting would give.

use proptest::{prelude::*, sample::Index, test_runner::TestRunner};
use serde_json::{Value, json};

use crate::{
    harness::{Chat, Person, text},
    upgrades::undo_from,
};
use duologue::domain::{
    Viewer,
    imports::{self, Line, MessageLine, UserLine},
};

/// Who writes to whom.
const PEOPLE: usize = 3;

#[test]
fn counts_of_unread_messages_never_drift() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let steps = proptest::collection::vec((0..12_u8, any::<Index>(), any::<Index>()), 5..40);
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() });
    runner
        .run(&steps, |steps| {
            runtime.block_on(change_and_count(&steps));
            Ok(())
        })
        .unwrap();
}

/// A migration counts what was there before anything was counted.
#[tokio::test(flavor = "multi_thread")]
async fn messages_of_before_are_counted() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    for number in 0..6 {
        let (from, to) = if number % 3 == 0 { (&bob, &ada) } else { (&ada, &bob) };
        from.sends("Hi", to).await;
    }
    marks(&bob, "msg_2", false).await;
    ada.deletes("msg_5").await;
    let database = chat.stop().await;
    undo_from(&database, "2026-11-26-000000_unread").await;
    let chat = Chat::on(database, &[]).await;
    let counts = "{ conversation(user1: 1, user2: 2) { ada: unreadCount(userId: 1) bob: unreadCount(userId: 2) } }";
    assert_eq!(chat.data(counts, json!({})).await["conversation"], json!({ "ada": 2, "bob": 2 }));
    assert_counts(&chat).await;
}

async fn change_and_count(steps: &[(u8, Index, Index)]) {
    let chat = Chat::open().await;
    let mut people = Vec::new();
    for number in 0..PEOPLE {
        people.push(chat.person(&format!("P{number}")).await);
    }
    let mut sent: Vec<String> = Vec::new();
    for (number, (step, one, other)) in steps.iter().enumerate() {
        let from = one.get(&people);
        let to = &people[(one.index(PEOPLE) + 1 + other.index(PEOPLE - 1)) % PEOPLE];
        match step {
            0..=4 => {
                let payload = from.tries_to_send(json!({ "receiverId": to.id, "content": "Hi" })).await;
                sent.extend(payload["message"]["id"].as_str().map(str::to_owned));
            }
            5..=7 if !sent.is_empty() => marks(from, &sent[other.index(sent.len())], *step == 5).await,
            8..=9 if !sent.is_empty() => drop(from.deletes(&sent[one.index(sent.len())]).await),
            10 => import(&chat, number).await,
            11 if number % 3 == 0 => drop(from.leaves(other.index(2) == 0).await),
            _ => {}
        }
        assert_counts(&chat).await;
    }
}

/// A mark that may be refused: the message may be somebody else's, or gone.
pub(crate) async fn marks(reader: &Person<'_>, message: &str, delivered: bool) {
    let verb = if delivered { "markDelivered" } else { "markRead" };
    let query = format!(
        "mutation ($id: ID!, $user: ID!) {{ {verb}(messageId: $id, userId: $user) {{ userErrors {{ code }} }} }}"
    );
    reader.chat.data(&query, json!({ "id": message, "user": reader.id })).await;
}

async fn import(chat: &Chat, number: usize) {
    let at = "2026-01-31T12:00:00Z".to_owned();
    let user = |id: i64| {
        Line::User(UserLine {
            id,
            name: "Ida".into(),
            email: Some(format!("{id}.{number}@example.com")),
            created_at: at.clone(),
            ..UserLine::default()
        })
    };
    let message = |id: i64, sender_id, receiver_id| {
        Line::Message(MessageLine {
            id,
            sender_id,
            receiver_id,
            content: "Hello".into(),
            created_at: at.clone(),
            ..MessageLine::default()
        })
    };
    let lines = vec![user(1), user(2), user(3), message(1, 1, 2), message(2, 2, 1), message(3, 1, 2), message(4, 3, 1)];
    imports::import(&chat.app, &Viewer::operator(&chat.app), (1..).zip(lines.into_iter().map(Ok))).await.unwrap();
}

/// Asks for all places, and counts.
pub(crate) async fn assert_counts(chat: &Chat) {
    let users = chat.data("{ users(first: 100) { nodes { id } } }", json!({})).await;
    for user in users["users"]["nodes"].as_array().unwrap() {
        let query = "query ($id: ID!) { user(id: $id) { conversations(first: 10) { nodes {
            unreadCount(userId: $id)
            messages(first: 100) { nodes { id receiver { id } } }
            members { user { id } readThrough { messageId } }
        } } } }";
        let found = chat.data(query, json!({ "id": user["id"] })).await;
        for conversation in found["user"]["conversations"]["nodes"].as_array().unwrap() {
            assert_eq!(conversation["unreadCount"], counted(conversation, &text(&user["id"])), "{conversation}");
        }
    }
}

fn counted(conversation: &Value, reader: &str) -> usize {
    let number = |id: &Value| id.as_str().map_or(0, |id| id[4..].parse::<u64>().unwrap());
    let members = conversation["members"].as_array().unwrap();
    let place = members.iter().find(|member| member["user"]["id"] == reader).unwrap();
    let read = number(&place["readThrough"]["messageId"]);
    let messages = conversation["messages"]["nodes"].as_array().unwrap().iter();
    messages.filter(|message| message["receiver"]["id"] == reader && number(&message["id"]) > read).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_leaves_what_was_unread_before_it() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    for text in ["one", "two"] {
        ada.sends(text, &bob).await;
    }
    let block = "mutation ($bob: ID!, $ada: ID!) { blockUser(userId: $bob, id: $ada) { userErrors { code } } }";
    let blocked = chat.data(block, json!({ "bob": bob.id, "ada": ada.id })).await;
    assert_eq!(blocked["blockUser"]["userErrors"], json!([]));
    let count = "{ conversation(user1: 1, user2: 2) { unreadCount(userId: 2) } }";
    assert_eq!(chat.data(count, json!({})).await["conversation"]["unreadCount"], 2);
}
