//! Pages: whatever their size and direction, and whatever happens meanwhile, nothing comes twice and nothing is missing
//! that was there all along; and what they say about their neighbours is true.

use diesel::{RunQueryDsl, dsl::sql, sql_types::Text};
use duologue::store::{self, Conn};
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};

use crate::harness::{Chat, Person, text};

/// What happens between two pages.
#[derive(Debug, Clone)]
enum Change {
    Send,
    /// The message at this place among all that were ever sent.
    Delete(prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![Just(Change::Send), any::<prop::sample::Index>().prop_map(Change::Delete)]
}

const PAGE: &str = "query ($first: Int, $after: String, $last: Int, $before: String) {
    conversation(user1: 1, user2: 2) { messages(first: $first, after: $after, last: $last, before: $before) {
        nodes { id }
        edges { cursor node { id } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    } }
}";

#[test]
fn whatever_happens_meanwhile_no_message_comes_twice_or_is_left_out() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cases = (0..12_usize, 1..6_u32, any::<bool>(), vec(vec(change(), 0..3), 12));
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() });
    let outcome = runner.run(&cases, |(messages, size, forward, meanwhile)| {
        runtime.block_on(walk(messages, size, forward, meanwhile));
        Ok(())
    });
    outcome.unwrap();
}

async fn walk(messages: usize, size: u32, forward: bool, meanwhile: Vec<Vec<Change>>) {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let mut sent = Vec::new();
    for _ in 0..messages {
        sent.push(ada.sends("Hi", &bob).await);
    }
    let mut all_along = sent.clone();
    let mut seen: Vec<String> = Vec::new();
    let mut cursor = Value::Null;
    let mut meanwhile = meanwhile.into_iter();
    loop {
        let variables =
            if forward { json!({ "first": size, "after": cursor }) } else { json!({ "last": size, "before": cursor }) };
        let page = chat.data(PAGE, variables).await["conversation"]["messages"].take();
        let mut ids: Vec<String> = page["nodes"].as_array().unwrap().iter().map(|node| text(&node["id"])).collect();
        assert!(ids.iter().map(|id| number(id)).is_sorted());
        let (more, next) = if forward {
            (&page["pageInfo"]["hasNextPage"], page["pageInfo"]["endCursor"].clone())
        } else {
            ids.reverse();
            (&page["pageInfo"]["hasPreviousPage"], page["pageInfo"]["startCursor"].clone())
        };
        assert!(*more == json!(false) || ids.len() == size as usize, "a short page in the middle");
        seen.extend(ids);
        if *more == json!(false) {
            break;
        }
        cursor = next;
        for change in meanwhile.next().unwrap_or_default() {
            apply(&change, &ada, &bob, &mut sent, &mut all_along).await;
        }
    }
    let mut unique = seen.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), seen.len(), "{seen:?}");
    assert!(all_along.iter().all(|id| seen.contains(id)), "{all_along:?} {seen:?}");
}

async fn apply(
    change: &Change,
    ada: &Person<'_>,
    bob: &Person<'_>,
    sent: &mut Vec<String>,
    all_along: &mut Vec<String>,
) {
    match change {
        Change::Send => sent.push(bob.sends("Hello", ada).await),
        Change::Delete(index) if !sent.is_empty() => {
            let id = index.get(sent).clone();
            ada.deletes(&id).await;
            all_along.retain(|other| *other != id);
        }
        Change::Delete(_) => {}
    }
}

fn number(id: &str) -> u64 {
    id.trim_start_matches("msg_").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_tells_the_truth_about_its_neighbours() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(ada.sends("Hi", &bob).await);
    }
    ada.deletes(&ids.remove(3)).await;
    let cursors: Vec<Value> = {
        let page = chat.data(PAGE, json!({ "first": 100 })).await["conversation"]["messages"].take();
        page["edges"].as_array().unwrap().iter().map(|edge| edge["cursor"].clone()).collect()
    };
    // Every pair of bounds and every size, from both ends, against the list itself.
    for after in 0..=6_usize {
        for before in after..=7_usize {
            for size in 0..=7_usize {
                for end in ["first", "last"] {
                    let lower = after.checked_sub(1).map(|place| cursors[place].clone());
                    let upper = cursors.get(before).cloned();
                    if upper.is_none() && before == 7 {
                        continue;
                    }
                    let page = chat
                        .data(PAGE, json!({ end: size, "after": lower, "before": upper }))
                        .await["conversation"]["messages"]
                        .take();
                    let range = after..before.min(ids.len());
                    let count = size.min(range.len());
                    let start = if end == "first" { range.start } else { range.end - count };
                    let expected: Vec<Value> = ids[start..start + count].iter().map(|id| json!({ "id": id })).collect();
                    let context = format!("{end}: {size}, from {after} to {before}");
                    assert_eq!(page["nodes"], json!(expected), "{context}");
                    let info = &page["pageInfo"];
                    if count > 0 {
                        assert_eq!(info["hasPreviousPage"], json!(start > 0), "{context}");
                        assert_eq!(info["hasNextPage"], json!(start + count < ids.len()), "{context}");
                        assert_eq!(info["startCursor"], cursors[start], "{context}");
                        assert_eq!(info["endCursor"], cursors[start + count - 1], "{context}");
                    }
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_arguments_it_is_the_usual_page() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    for number in 1..=60 {
        ada.sends(&number.to_string(), &bob).await;
    }
    let data = chat
        .data(
            "{ conversation(user1: 1, user2: 2) { messages { nodes { id } } } messages { nodes { id } }
               user(id: 1) { sentMessages { nodes { id } } } users { nodes { id } } }",
            json!({}),
        )
        .await;
    let newest: Vec<Value> = (11..=60).map(|number| json!({ "id": format!("msg_{number}") })).collect();
    assert_eq!(data["conversation"]["messages"]["nodes"], json!(newest));
    assert_eq!(data["messages"]["nodes"], json!(newest));
    assert_eq!(data["user"]["sentMessages"]["nodes"], json!(newest));
    assert_eq!(data["users"]["nodes"], json!([{ "id": "usr_1" }, { "id": "usr_2" }]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_cannot_be_is_refused() {
    let chat = Chat::open().await;
    chat.person("Ada").await;
    for arguments in [
        "first: -1",
        "last: -1",
        "first: 101",
        "last: 101",
        "first: 2147483647",
        "first: 99999999999",
        "first: 1.5",
        r#"first: "1""#,
        "first: true",
        "first: 1, last: 1",
        r#"after: "x""#,
        r#"before: """#,
        "after: 1",
        // A cursor of another list.
        r#"after: "bWVzc2FnZTox""#,
    ] {
        let query = format!("{{ users({arguments}) {{ nodes {{ id }} }} }}");
        assert_eq!(chat.code(&query, json!({})).await, "BAD_USER_INPUT", "{arguments}");
    }
    let query = "query ($first: Int) { users(first: $first) { nodes { id } } }";
    for first in [json!(-1), json!(101), json!(99_999_999_999_u64), json!(1.5), json!("1"), json!([1, 2]), json!({})] {
        assert_eq!(chat.code(query, json!({ "first": first })).await, "BAD_USER_INPUT", "{first}");
    }
    let none = chat.data("{ users(first: 0) { nodes { id } pageInfo { hasNextPage } } }", json!({})).await;
    assert_eq!(none["users"], json!({ "nodes": [], "pageInfo": { "hasNextPage": true } }));
}

/// PostgreSQL plans by how the messages of all are spread: one of many users has every tenth, and none of the newest half.
#[tokio::test(flavor = "multi_thread")]
async fn the_newest_messages_of_a_user_who_is_quiet_are_not_looked_for_among_those_of_all() {
    let chat = Chat::open().await;
    if chat.database.is_sqlite() {
        return;
    }
    let fill = "INSERT INTO users (name, name_key, created_at) SELECT 'Ada', 'ada', 0 FROM generate_series(1, 1000);
        INSERT INTO messages (sender_id, receiver_id, content, created_at)
        SELECT CASE WHEN number % 10 = 0 AND number < 50000 THEN 1 ELSE 3 + number * 7919 % 990 END, 2, 'some words', 0
        FROM generate_series(1, 100000) AS number;
        ANALYZE messages";
    drop(chat.database.run(fill).await);
    let explain = |conn: &mut Conn<'_>| {
        let Conn::Postgres(conn) = conn else { unreachable!() };
        let page = "SELECT * FROM messages WHERE deleted_at IS NULL AND sender_id = 1 ORDER BY id DESC LIMIT 51";
        let plan = sql::<Text>(&format!("EXPLAIN {page}")).load::<String>(*conn);
        plan.map(|lines| lines.join("\n")).map_err(store::Error::from)
    };
    let plan = chat.app.store.read(explain).await.unwrap();
    assert!(plan.contains("using messages_sender"), "{plan}");
}
