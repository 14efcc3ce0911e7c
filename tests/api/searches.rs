//! Searches by words: what is found, in which order, by whom and how often, and that no text is a query of a database.

use duologue::domain::indexing::index_words;
use serde_json::{Value, json};

use crate::{
    accounts::Member,
    harness::{ACCOUNTS, Chat, Person, code, text},
    imports::{LINES, import},
};

pub(crate) const SEARCH: &str = "query ($input: SearchMessagesInput!, $first: Int, $after: String) {
    searchMessages(input: $input, first: $first, after: $after) {
        mode
        pending
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
        nodes { id }
        edges { cursor score snippet node { id content sender { name } } }
    }
}";

/// What is found.
pub(crate) async fn found(chat: &Chat, input: Value) -> Value {
    let variables = json!({ "input": input, "first": 100 });
    chat.data(SEARCH, variables).await["searchMessages"].take()
}

/// The texts of what is found: the same before the words of what was sent last are indexed and afterwards.
pub(crate) async fn texts(chat: &Chat, input: Value) -> Vec<String> {
    let before = found(chat, input.clone()).await["edges"].take();
    index_words(&chat.app).await.unwrap();
    assert_eq!(found(chat, input).await["edges"], before);
    before.as_array().unwrap().iter().map(|edge| text(&edge["node"]["content"])).collect()
}

async fn finds(person: &Person<'_>, words: &str) -> Vec<String> {
    texts(person.chat, json!({ "text": words, "userId": person.id, "mode": "TEXT", "order": "NEWEST" })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_found_by_their_words() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    for content in [
        "We meet at the Café",
        "the train to Größenhausen is late",
        "our station: early flight",
        "an early train",
        "Yılmaz geldi",
    ] {
        ada.sends(content, &bob).await;
    }
    for (words, expected) in [
        ("train", vec!["an early train", "the train to Größenhausen is late"]),
        ("TRAIN early", vec!["an early train"]),
        ("cafe", vec!["We meet at the Café"]),
        ("CAFÉ", vec!["We meet at the Café"]),
        ("YILMAZ", vec!["Yılmaz geldi"]),
        ("grossen*", vec!["the train to Größenhausen is late"]),
        ("grossen", vec![]),
        ("\"early flight\"", vec!["our station: early flight"]),
        ("\"flight early\"", vec![]),
        ("\"early fl*\"", vec!["our station: early flight"]),
        ("ea* train", vec!["an early train"]),
        ("flight station", vec!["our station: early flight"]),
        ("stat", vec![]),
        ("...", vec![]),
    ] {
        assert_eq!(finds(&bob, words).await, expected, "{words}");
        // Of one user's few messages, the texts are read for words that begin with a prefix.
        let among_all = json!({ "text": words, "mode": "TEXT", "order": "NEWEST" });
        assert_eq!(texts(&chat, among_all).await, expected, "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn languages_without_blanks_are_searched_by_their_characters() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    for content in ["明天开会讨论预算", "会议改到明天", "ロードマップを確認してください", "ราคาเท่าไหร่"]
    {
        ada.sends(content, &bob).await;
    }
    for (words, expected) in [
        ("讨论", vec!["明天开会讨论预算"]),
        ("论讨", vec![]),
        ("明天", vec!["会议改到明天", "明天开会讨论预算"]),
        ("开会讨论预算", vec!["明天开会讨论预算"]),
        ("確認", vec!["ロードマップを確認してください"]),
        ("เท่า", vec!["ราคาเท่าไหร่"]),
    ] {
        assert_eq!(finds(&bob, words).await, expected, "{words}");
    }
}

/// PostgreSQL keeps 256 places of a word.
#[tokio::test(flavor = "multi_thread")]
async fn phrases_are_found_behind_many_occurrences_of_their_words() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let photo = format!("{} the end 照片", "照 ".repeat(600));
    let dog = format!("{} the dog barks", "the cat ".repeat(400));
    let id = ada.sends("the end", &bob).await;
    ada.sends(&photo, &bob).await;
    ada.edits(&id, &dog).await;
    for (words, expected) in [
        ("照片", vec![&photo]),
        ("片照", vec![]),
        ("\"照 照 the end 照片\"", vec![&photo]),
        ("\"end 照\"", vec![&photo]),
        ("\"the end\"", vec![&photo]),
        ("\"the dog\"", vec![&dog]),
        ("\"the cat the dog\"", vec![&dog]),
        ("\"the do*\"", vec![&dog]),
        ("\"cat th*\"", vec![&dog]),
        ("\"dog the\"", vec![]),
        ("\"cat dog\"", vec![]),
        ("the", vec![&photo, &dog]),
    ] {
        assert_eq!(finds(&bob, words).await, expected.into_iter().map(String::as_str).collect::<Vec<_>>(), "{words}");
        // Of one user's few messages, the texts are read for words that begin with a prefix.
        let among_all = json!({ "text": words, "mode": "TEXT", "order": "NEWEST" });
        assert_eq!(texts(&chat, among_all).await, finds(&bob, words).await, "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_text_is_a_query_of_the_database() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let content =
        "don't foo-bar a OR b NEAR body:x u1 @1 17 member_ids words 'quoted' \\ back \u{1F468}\u{200D}\u{1F469}";
    ada.sends(content, &bob).await;
    let found = [
        "don't",
        "foo-bar",
        "a OR b",
        "NEAR",
        "body:x",
        "member_ids",
        "words",
        "'quoted'",
        "\"quoted",
        "u1",
        "@1",
        "a*",
        "\\back",
    ];
    for words in found {
        assert_eq!(finds(&bob, words).await, [content], "{words}");
    }
    for words in [
        "*",
        "\"",
        "\"\"",
        "(",
        ")",
        "a AND NOT b",
        "words : a",
        "NEAR(a b)",
        "^a",
        "a:*",
        "-",
        "':*",
        "a\0b",
        "'@1'",
        "&",
        "|",
        "!",
        "<->",
    ] {
        // Found or not: the answer is one without an error.
        finds(&bob, words).await;
    }
    for words in [String::new(), " \n ".to_owned(), "a".repeat(1_001)] {
        let variables = json!({ "input": { "text": words } });
        assert_eq!(chat.code(SEARCH, variables).await, "BAD_USER_INPUT", "{words}");
    }
    let many: String = (0..200).map(|number| format!("w{number} ")).collect();
    assert_eq!(finds(&bob, &many).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_found_can_be_narrowed_down() {
    let chat = Chat::open().await;
    let (ada, bob, eve) = (chat.person("Ada").await, chat.person("Bob").await, chat.person("Eve").await);
    ada.sends("one plan", &bob).await;
    bob.sends("two plan", &ada).await;
    let third = eve.sends("three plan", &ada).await;
    let at = chat.data("query ($id: ID!) { message(id: $id) { createdAt } }", json!({ "id": third })).await;
    let at = text(&at["message"]["createdAt"]);
    // Half a millisecond after it.
    let after = at.replace('Z', "5Z");
    let conversation = format!("cnv_{}_{}", &ada.id[4..], &bob.id[4..]);
    for (filter, expected) in [
        (json!({}), vec!["three plan", "two plan", "one plan"]),
        (json!({ "senderId": bob.id }), vec!["two plan"]),
        (json!({ "conversationId": conversation }), vec!["two plan", "one plan"]),
        (json!({ "conversationId": conversation, "senderId": ada.id }), vec!["one plan"]),
        (json!({ "conversationId": conversation, "userId": eve.id }), vec![]),
        (json!({ "since": at }), vec!["three plan"]),
        (json!({ "until": at }), vec!["two plan", "one plan"]),
        (json!({ "since": after }), vec![]),
        (json!({ "until": after }), vec!["three plan", "two plan", "one plan"]),
        (json!({ "userId": bob.id }), vec!["two plan", "one plan"]),
        (json!({ "userId": eve.id }), vec!["three plan"]),
        (json!({ "userId": "usr_999999" }), vec![]),
        (json!({ "since": at, "until": at }), vec![]),
    ] {
        for order in ["NEWEST", "RELEVANCE"] {
            let mut input = json!({ "text": "plan", "order": order });
            input.as_object_mut().unwrap().extend(filter.as_object().unwrap().clone());
            assert_eq!(texts(&chat, input.clone()).await, expected, "{input}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_best_match_comes_first_and_pages_go_on() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    ada.sends("budget, and many other things that have nothing to do with it: a train, a flight, a café, a plan", &bob)
        .await;
    ada.sends("the budget of the budget meeting", &bob).await;
    ada.sends("budget", &bob).await;
    for number in 0..7 {
        ada.sends(&format!("one more budget for year number {number}"), &bob).await;
    }
    let all = found(&chat, json!({ "text": "budget" })).await;
    let edges = all["edges"].as_array().unwrap();
    assert_eq!(edges.len(), 10);
    assert_eq!(all["mode"], "TEXT");
    assert_eq!(all["pending"], 0);
    assert_eq!(edges[0]["snippet"], "**budget**");
    assert_eq!(edges[1]["snippet"], "the **budget** of the **budget** meeting");
    let is_sorted = edges.windows(2).all(|pair| pair[0]["score"].as_f64() > pair[1]["score"].as_f64());
    assert!(is_sorted, "{all}");
    for order in ["RELEVANCE", "NEWEST"] {
        let input = json!({ "text": "budget", "order": order });
        let all = found(&chat, input.clone()).await["nodes"].take();
        let (mut after, mut paged) = (Value::Null, Vec::new());
        loop {
            let variables = json!({ "input": input, "first": 3, "after": after });
            let page = chat.data(SEARCH, variables).await["searchMessages"].take();
            paged.extend(page["nodes"].as_array().unwrap().clone());
            // Later messages do not move the others.
            if order == "RELEVANCE" {
                ada.sends("budget budget budget", &bob).await;
            }
            after = page["pageInfo"]["endCursor"].clone();
            if page["pageInfo"]["hasNextPage"] == false {
                break;
            }
        }
        assert_eq!(&paged, all.as_array().unwrap(), "{order}");
        for other in
            [json!({ "text": "budgets", "order": order }), json!({ "text": "budget", "order": order, "mode": "TEXT" })]
        {
            let variables = json!({ "input": other, "after": after });
            assert_eq!(chat.code(SEARCH, variables).await, "BAD_USER_INPUT");
        }
    }
    let nonsense = json!({ "input": { "text": "budget" }, "after": "bWVzc2FnZTox" });
    assert_eq!(chat.code(SEARCH, nonsense).await, "BAD_USER_INPUT");
    assert_eq!(chat.code(SEARCH, json!({ "input": { "text": "budget" }, "first": 101 })).await, "BAD_USER_INPUT");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_last_is_found_with_what_is_indexed() {
    let chat = Chat::open().await;
    let (ada, bob, eve) = (chat.person("Ada").await, chat.person("Bob").await, chat.person("Eve").await);
    for number in 0..70 {
        ada.sends(&format!("plan {number}"), &bob).await;
    }
    index_words(&chat.app).await.unwrap();
    let (edited, deleted) = (ada.sends("plan to edit", &bob).await, ada.sends("plan to delete", &bob).await);
    bob.sends("plan plan", &ada).await;
    eve.sends("plan of another", &bob).await;
    ada.edits(&edited, "edited plan").await;
    ada.deletes(&deleted).await;
    for order in ["NEWEST", "RELEVANCE"] {
        let input = json!({ "text": "plan", "userId": ada.id, "order": order });
        let found = found(&chat, input.clone()).await;
        assert_eq!((&found["pending"], found["edges"].as_array().unwrap().len()), (&json!(0), 72));
        assert_eq!(found["edges"][0]["node"]["content"], "plan plan");
        assert_eq!(texts(&chat, input).await.len(), 72);
    }
    assert_eq!(finds(&bob, "edit").await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_messages_without_words_than_a_search_reads_are_pending() {
    let chat = Chat::open().await;
    let last = r#"{"message": {"id": 30000, "senderId": 7, "receiverId": 10, "content": "Hi!", "createdAt": "2026-02-02T00:00:00Z"}}"#;
    import(&chat, &format!("{LINES}\n{last}")).await.unwrap();
    let input = json!({ "text": "hi" });
    let first = found(&chat, input.clone()).await;
    let (pending, read) = if chat.database.is_sqlite() { (2, 1) } else { (0, 2) };
    assert_eq!((&first["pending"], first["edges"].as_array().unwrap().len()), (&json!(pending), read));
    index_words(&chat.app).await.unwrap();
    assert_eq!(found(&chat, input.clone()).await["pending"], 0);
    assert_eq!(texts(&chat, input).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_is_found_by_its_new_words_and_a_deletion_by_none() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let id = ada.sends("an albatross", &bob).await;
    assert_eq!(finds(&ada, "albatross").await, ["an albatross"]);
    ada.edits(&id, "a bullfinch").await;
    assert_eq!(finds(&bob, "albatross").await, [""; 0]);
    assert_eq!(finds(&bob, "bullfinch").await, ["a bullfinch"]);
    ada.deletes(&id).await;
    assert_eq!(finds(&bob, "bullfinch").await, [""; 0]);
    ada.sends("a cormorant", &bob).await;
    ada.leaves(true).await;
    assert_eq!(finds(&bob, "cormorant").await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_model_meaning_is_not_searched() {
    let chat = Chat::open().await;
    let semantic = json!({ "input": { "text": "anything", "mode": "SEMANTIC" } });
    assert_eq!(chat.code(SEARCH, semantic).await, "FEATURE_DISABLED");
    let newest = json!({ "input": { "text": "anything", "mode": "SEMANTIC", "order": "NEWEST" } });
    assert_eq!(chat.code(SEARCH, newest).await, "BAD_USER_INPUT");
    let features = chat.data("{ server { features } }", json!({})).await["server"]["features"].take();
    assert!(features.as_array().unwrap().contains(&json!("search")), "{features}");
    assert!(!features.as_array().unwrap().contains(&json!("search:semantic")), "{features}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_finds_nothing_and_learns_nothing() {
    let flags = [&ACCOUNTS[..], &["--max-sends", "off", "--max-searches", "off", "--max-sign-ups", "off"]].concat();
    let chat = Chat::with(&flags).await;
    let (ada, bob, eve, pal) = (
        Member::signs_up(&chat, "Ada").await,
        Member::signs_up(&chat, "Bob").await,
        Member::signs_up(&chat, "Eve").await,
        Member::signs_up(&chat, "Pal").await,
    );
    let mutation = "mutation ($to: ID!, $content: String!) {
        sendMessage(input: { receiverId: $to, content: $content }) { message { id } }
    }";
    let sends = async |from: &Member, to: &Member, content: &str| {
        let sent = from.asks(&chat, mutation, json!({ "to": to.id, "content": content })).await;
        assert!(sent["data"]["sendMessage"]["message"]["id"].is_string(), "{sent}");
    };
    for number in 0..5 {
        sends(&eve, &pal, &format!("{} and the merger of {number} things", "the budget ".repeat(number))).await;
    }
    let searches = ["budget", "merger", "budget merger", "mer*", "\"the merger\"", "secretword"];
    let learns = async || {
        let mut answers = Vec::new();
        for text in searches {
            for order in ["RELEVANCE", "NEWEST"] {
                let input = json!({ "text": text, "order": order });
                answers.push(eve.asks(&chat, SEARCH, json!({ "input": input, "first": 3 })).await);
            }
        }
        answers
    };
    let before = learns().await;
    for number in 0..300 {
        sends(&ada, &bob, &format!("the merger is secretword {number}, budget budget merger u{}", &eve.id[4..])).await;
    }
    assert_eq!(learns().await, before);
    let of_others = |input: Value| {
        let (chat, eve) = (&chat, &eve);
        async move { eve.asks(chat, SEARCH, json!({ "input": input })).await }
    };
    let conversation = format!("cnv_{}_{}", &ada.id[4..], &bob.id[4..]);
    let answer = of_others(json!({ "text": "secretword", "conversationId": conversation })).await;
    assert_eq!(
        (&answer["data"]["searchMessages"]["edges"], &answer["data"]["searchMessages"]["pending"]),
        (&json!([]), &json!(0))
    );
    let answer = of_others(json!({ "text": "secretword", "senderId": ada.id })).await;
    assert_eq!(answer["data"]["searchMessages"]["edges"], json!([]));
    assert_eq!(code(&of_others(json!({ "text": "secretword", "userId": ada.id })).await), "FORBIDDEN");
    let everybody = json!({ "input": { "text": "secretword" } });
    assert_eq!(code(&chat.ask(SEARCH, everybody.clone()).await), "UNAUTHENTICATED");
    let own = ada.asks(&chat, SEARCH, everybody).await;
    assert_eq!(own["data"]["searchMessages"]["edges"].as_array().unwrap().len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_have_a_rate() {
    let chat = Chat::with(&[&ACCOUNTS[..], &["--max-searches", "3"]].concat()).await;
    let ada = Member::signs_up(&chat, "Ada").await;
    let search = json!({ "input": { "text": "anything" } });
    for _ in 0..3 {
        assert_eq!(ada.asks(&chat, SEARCH, search.clone()).await.get("errors"), None);
    }
    let refused = ada.asks(&chat, SEARCH, search).await;
    assert_eq!(code(&refused), "RATE_LIMITED");
    assert!(refused["errors"][0]["extensions"]["retryAfterMs"].as_u64().is_some(), "{refused}");
}
