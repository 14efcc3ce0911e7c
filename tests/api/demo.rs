//! Demo data: believable, made once for each seed, and shown by a server that runs.

use duologue::{
    domain::{Viewer, demo, imports::Count},
    model::timestamps::Timestamp,
};
use serde_json::json;

use crate::{
    harness::{Chat, Database, text},
    program::run,
    unread::assert_counts,
};

/// Fills a database by the command.
pub(crate) async fn fill(database: &Database, users: usize, messages: usize) {
    let (users, messages) = (users.to_string(), messages.to_string());
    let filled = run(&["demo", "--users", &users, "--messages", &messages, "--database", &database.url]).await;
    assert!(filled.status.success(), "{filled:?}");
}

async fn make_demo(chat: &Chat, users: u32, messages: u32, seed: u64) -> Option<Count> {
    let size = demo::Size { users, messages, seed };
    demo::make(&chat.app, &Viewer::operator(&chat.app), size, || {}).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_data_has_marks_for_most_and_is_made_once_for_each_seed() {
    let chat = Chat::open().await;
    // Others are there: the ids are not those of the lines.
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    ada.sends("Hi", &bob).await;
    assert!(make_demo(&chat, 20, 600, 1).await.is_some());
    assert!(make_demo(&chat, 20, 600, 2).await.is_some());
    assert_eq!(make_demo(&chat, 20, 600, 2).await, None);
    assert_counts(&chat).await;
    let query = "{ users(first: 50) { nodes { id conversations(first: 20) { nodes { lastMessage { status } } } } } }";
    let data = chat.data(query, json!({})).await;
    let users = data["users"]["nodes"].as_array().unwrap();
    assert_eq!(users.len(), 42);
    let last = users.iter().flat_map(|user| user["conversations"]["nodes"].as_array().unwrap());
    let statuses: Vec<_> = last.map(|conversation| text(&conversation["lastMessage"]["status"])).collect();
    let count = |status: &str| statuses.iter().filter(|its| *its == status).count();
    assert!(count("READ") > statuses.len() / 2, "{statuses:?}");
    assert!(count("DELIVERED") > 0 && count("SENT") > 0, "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_data_is_believable() {
    let chat = Chat::open().await;
    let made = make_demo(&chat, 30, 3_000, 1).await;
    assert_eq!(made, Some(Count { users: 30, admins: 0, messages: 3_000 }));
    let data = chat
        .data(
            "{
                users(first: 100) { nodes { name } }
                conversation(user1: 1, user2: 2) {
                    lastMessage { createdAt }
                    messages(last: 100) { nodes { content } }
                }
            }",
            json!({}),
        )
        .await;
    assert_eq!(data["users"]["nodes"].as_array().unwrap().len(), 30);
    let texts: String = data["conversation"]["messages"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| text(&node["content"]))
        .collect();
    assert!(texts.chars().any(|c| ('\u{4E00}'..'\u{9FFF}').contains(&c)), "no CJK");
    assert!(texts.chars().any(|c| ('\u{1F300}'..'\u{1FAFF}').contains(&c)), "no emoji");
    let last: Timestamp = text(&data["conversation"]["lastMessage"]["createdAt"]).parse().unwrap();
    assert!(chat.app.now().milliseconds() - last.milliseconds() < 24 * 60 * 60 * 1_000, "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_runs_shows_at_once_what_others_import() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    ada.sends("Hi", &bob).await;
    let query = "{
        users(first: 50) { nodes { name } }
        found: users(search: \"a\") { nodes { name } }
        user(id: 3) { conversations(first: 5) { nodes { lastMessage { content } } } }
        messages(first: 100) { nodes { content } }
        conversation(user1: 1, user2: 2) { messages { nodes { content } } }
    }";
    let before = chat.data(query, json!({})).await;
    assert_eq!((&before["user"], before["users"]["nodes"].as_array().unwrap().len()), (&json!(null), 2));
    fill(&chat.database, 20, 90).await;
    let after = chat.data(query, json!({})).await;
    let count = |list: &str| after[list]["nodes"].as_array().unwrap().len();
    assert_eq!((count("users"), count("messages")), (22, 91));
    assert!(count("found") > 1 && after["user"]["conversations"]["nodes"][0]["lastMessage"].is_object(), "{after}");
    assert_eq!(after["conversation"], before["conversation"]);
    // And what is sent next has the next id.
    assert_eq!(ada.sends("Hello", &bob).await, "msg_92");
    let third = json!({ "receiverId": "usr_3", "content": "Hi" });
    assert_eq!(ada.tries_to_send(third).await["userErrors"], json!([]));
    assert_counts(&chat).await;
}
