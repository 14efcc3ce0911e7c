//! Exports and imports, one after the other: whatever has happened before, nothing is lost and nothing added.

use duologue::domain::{
    expiry::{Extent, delete_expired},
    indexing::index_words,
};
use proptest::{prelude::*, sample::Index, test_runner::TestRunner};
use serde_json::json;

use crate::{
    expiry::{age, kept_for_a_day},
    exports::is_imported_whole,
    harness::Person,
    unread::marks,
};

#[test]
fn whatever_happens_is_the_same_after_an_import() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let steps = proptest::collection::vec((0..17_u8, any::<Index>(), any::<Index>()), 20..60);
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() });
    runner
        .run(&steps, |steps| {
            runtime.block_on(change_and_export(&steps));
            Ok(())
        })
        .unwrap();
}

async fn change_and_export(steps: &[(u8, Index, Index)]) {
    let chat = kept_for_a_day().await;
    let people = [chat.person("Ada").await, chat.person("Bob").await];
    let mut sent: Vec<String> = Vec::new();
    for (number, (step, one, other)) in steps.iter().enumerate() {
        let (from, to) = (&people[one.index(2)], &people[1 - one.index(2)]);
        // One of the last, so that much happens to the same ones.
        let index = sent.len().saturating_sub(1 + other.index(3));
        match (step, sent.get(index)) {
            (0..=3, some) => {
                let mut input = json!({ "receiverId": to.id, "content": format!("{number}") });
                if number % 3 == 0 {
                    input["clientId"] = json!(number.to_string());
                }
                if let Some(answered) = some.filter(|_| number % 2 == 0) {
                    input["replyToId"] = json!(answered);
                }
                sent.extend(from.tries_to_send(input).await["message"]["id"].as_str().map(str::to_owned));
            }
            (4..=7, Some(message)) => marks(from, message, *step <= 5).await,
            (8, Some(message)) => drop(from.edits(message, "edited").await),
            (9 | 10, Some(message)) => drop(from.deletes(message).await),
            (11..=14, Some(_)) => {
                if *step != 11 {
                    index_words(&chat.app).await.unwrap();
                }
                age(&chat, &sent[..=index].iter().collect::<Vec<_>>()).await;
                delete_expired(&chat.app, Extent::All).await.unwrap();
                is_imported_whole(&chat).await;
            }
            (15, _) => blocks(from, to, number % 2 == 0).await,
            (16, _) if number % 3 == 0 => drop(from.leaves(other.index(2) == 0).await),
            _ => {}
        }
    }
    is_imported_whole(&chat).await;
}

async fn blocks(person: &Person<'_>, other: &Person<'_>, blocked: bool) {
    let verb = if blocked { "blockUser" } else { "unblockUser" };
    let query =
        format!("mutation ($id: ID!, $other: ID!) {{ {verb}(userId: $id, id: $other) {{ userErrors {{ code }} }} }}");
    person.chat.data(&query, json!({ "id": person.id, "other": other.id })).await;
}
