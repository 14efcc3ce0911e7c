//! Users: made, read, changed, erased.

use duologue::{
    domain::{
        Viewer,
        imports::{self, Line, UserLine},
    },
    model::{
        ids::UserId,
        pages::{End, PageRequest},
    },
    store::user_pages::{self, Addresses},
};
use serde_json::{Value, json};

use crate::harness::{Chat, Person, text};

const CREATE: &str = "mutation ($input: CreateUserInput!) {
    createUser(input: $input) { user { id name email createdAt } userErrors { code field message } }
}";
const UPDATE: &str = "mutation ($id: ID!, $input: UpdateUserInput!) {
    updateUser(id: $id, input: $input) { user { id name email } userErrors { code field message } }
}";

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_made_and_read() {
    let chat = Chat::open().await;
    let made = chat.data(CREATE, json!({ "input": { "name": "Ada", "email": " Ada@example.com " } })).await;
    let user = json!({
        "id": "usr_1", "name": "Ada", "email": "Ada@example.com", "createdAt": "2026-01-31T12:00:00.000Z",
    });
    assert_eq!(made, json!({ "createUser": { "user": user, "userErrors": [] } }));
    for id in [json!("usr_1"), json!("1"), json!(1)] {
        let read =
            chat.data("query ($id: ID!) { user(id: $id) { id name email createdAt } }", json!({ "id": id })).await;
        assert_eq!(read["user"], user);
    }
    let nobody = chat.data(r#"{ user(id: "usr_2") { id } }"#, json!({})).await;
    assert_eq!(nobody, json!({ "user": null }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_is_left_out_stands_for_each_default() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    chat.person("Eve").await;
    let id = bob.sends("Hi", &ada).await;
    // One default is true, the other one is false.
    let both = r#"mutation ($flag: Boolean) {
        deleteUser(id: 2, eraseMessages: $flag) { deletedId }
        setTyping(conversationId: "cnv_1_3", userId: 1, typing: $flag) { ok }
    }"#;
    let done = chat.data(both, json!({})).await;
    assert_eq!(done, json!({ "deleteUser": { "deletedId": "usr_2" }, "setTyping": { "ok": true } }));
    let message = chat.data("query ($id: ID!) { message(id: $id) { content } }", json!({ "id": id })).await;
    assert_eq!(message["message"]["content"], "Hi");
    // Null is another thing.
    let erase = "mutation ($flag: Boolean) { deleteUser(id: 1, eraseMessages: $flag) { deletedId } }";
    assert_eq!(chat.code(erase, json!({ "flag": null })).await, "BAD_USER_INPUT");
    let code = chat.code(&erase.replace("($flag: Boolean)", "").replace("$flag", "null"), json!({})).await;
    assert!(["BAD_USER_INPUT", "GRAPHQL_VALIDATION_FAILED"].contains(&&*code), "{code}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_wrong_with_a_new_user_is_told_at_once() {
    let chat = Chat::open().await;
    let made = chat.data(CREATE, json!({ "input": { "name": "n".repeat(101), "email": "nowhere" } })).await;
    let errors = json!([
        { "code": "TOO_LONG", "field": ["input", "name"], "message": "The name may have at most 100 characters." },
        { "code": "INVALID", "field": ["input", "email"],
          "message": "The email must look like name@example.com, without blanks." },
    ]);
    assert_eq!(made, json!({ "createUser": { "user": null, "userErrors": errors } }));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_is_one_account() {
    let chat = Chat::open().await;
    chat.person("Ada").await;
    chat.data(CREATE, json!({ "input": { "name": "É", "email": "e\u{301}@example.com" } })).await;
    for email in ["ada@example.com", "ADA@EXAMPLE.COM", "\tada@example.com\n", "É@example.com", "é@EXAMPLE.com"] {
        let made = chat.data(CREATE, json!({ "input": { "name": "Eve", "email": email } })).await;
        let taken = json!([
            { "code": "EMAIL_TAKEN", "field": ["input", "email"], "message": "Another user has this email." }
        ]);
        assert_eq!(made, json!({ "createUser": { "user": null, "userErrors": taken } }), "{email:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_ten_who_want_one_address_at_once_one_gets_it() {
    let chat = Chat::open().await;
    let input = json!({ "input": { "name": "Ada", "email": "ada@example.com" } });
    let made = futures_util::future::join_all((0..10).map(|_| chat.data(CREATE, input.clone()))).await;
    assert_eq!(made.iter().filter(|made| made["createUser"]["user"].is_object()).count(), 1);
    let refused = |made: &&Value| made["createUser"]["userErrors"][0]["code"] == "EMAIL_TAKEN";
    assert_eq!(made.iter().filter(refused).count(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_changed_in_what_is_given() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let update = async |person: &Person<'_>, input| chat.data(UPDATE, json!({ "id": person.id, "input": input })).await;

    let renamed = update(&ada, json!({ "name": "Ada L." })).await;
    let user = json!({ "id": "usr_1", "name": "Ada L.", "email": "ada@example.com" });
    assert_eq!(renamed, json!({ "updateUser": { "user": user, "userErrors": [] } }));
    assert_eq!(update(&ada, json!({})).await["updateUser"]["user"], user);
    let same = update(&ada, json!({ "email": "ADA@example.com" })).await;
    assert_eq!(same["updateUser"]["user"]["email"], "ADA@example.com");

    let taken = update(&bob, json!({ "name": "Robert", "email": "ada@EXAMPLE.com" })).await;
    assert_eq!(taken["updateUser"]["userErrors"][0]["code"], "EMAIL_TAKEN");
    let unchanged = chat.data("query ($id: ID!) { user(id: $id) { name } }", json!({ "id": bob.id })).await;
    assert_eq!(unchanged["user"]["name"], "Bob");

    let nobody = chat.data(UPDATE, json!({ "id": "usr_99", "input": { "name": "x" } })).await;
    let errors = json!([{ "code": "NOT_FOUND", "field": ["id"], "message": "There is no user usr_99." }]);
    assert_eq!(nobody, json!({ "updateUser": { "user": null, "userErrors": errors } }));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_user_leaves_messages_without_an_author() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let message = ada.sends("Hi", &bob).await;
    bob.sends("Hello", &ada).await;

    assert_eq!(ada.leaves(false).await, json!({ "deletedId": "usr_1", "userErrors": [] }));
    let left = chat
        .data(
            "query ($ada: ID!, $bob: ID!, $message: ID!) {
                user(id: $ada) { id }
                users { nodes { id } }
                message(id: $message) { content sender { id } receiver { name } }
                conversation(user1: $ada, user2: $bob) { members { user { name } } messages { nodes { content } } }
            }",
            json!({ "ada": ada.id, "bob": bob.id, "message": message }),
        )
        .await;
    let conversation = json!({
        "members": [{ "user": null }, { "user": { "name": "Bob" } }],
        "messages": { "nodes": [{ "content": "Hi" }, { "content": "Hello" }] },
    });
    assert_eq!(
        left,
        json!({
            "user": null,
            "users": { "nodes": [{ "id": "usr_2" }] },
            "message": { "content": "Hi", "sender": null, "receiver": { "name": "Bob" } },
            "conversation": conversation,
        })
    );

    let not_found = json!({ "deletedId": null, "userErrors": [{ "code": "NOT_FOUND", "field": ["id"] }] });
    assert_eq!(ada.leaves(false).await, not_found);
    let to_nobody = bob.tries_to_send(json!({ "receiverId": ada.id, "content": "Where are you?" })).await;
    assert_eq!(to_nobody["userErrors"][0]["code"], "NOT_FOUND");
    // The address is free, the id is not.
    assert_eq!(chat.person("Ada").await.id, "usr_3");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_user_takes_the_messages_along_if_asked() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    for number in 0..3 {
        ada.sends(&format!("from Ada {number}"), &bob).await;
    }
    bob.sends("from Bob", &ada).await;
    let mut feed = bob.feed().await;
    ada.leaves(true).await;
    assert_eq!(chat.texts(&ada, &bob).await, ["from Bob"]);
    for id in ["msg_1", "msg_2", "msg_3"] {
        let event = feed.next().await;
        assert_eq!((text(&event["kind"]), text(&event["messageId"])), ("MESSAGE_DELETED".into(), id.into()));
    }
}

/// The names of the users that a search finds.
async fn names_found(chat: &Chat, search: &str) -> Vec<String> {
    let data = chat.data("query ($s: String) { users(search: $s) { nodes { name } } }", json!({ "s": search })).await;
    data["users"]["nodes"].as_array().unwrap().iter().map(|user| text(&user["name"])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_found_by_the_start_of_a_name_or_an_email() {
    let chat = Chat::open().await;
    for (name, email) in
        [("Ada", "lovelace@x"), ("adam", "first@x"), ("Bob", "ADA@y"), ("Émile", "zola@x"), ("100%", "_@x")]
    {
        chat.data(CREATE, json!({ "input": { "name": name, "email": email } })).await;
    }
    let found = async |search: &str| names_found(&chat, search).await;
    assert_eq!(found("ada").await, ["Ada", "adam", "Bob"]);
    assert_eq!(found("ADA").await, ["Ada", "adam", "Bob"]);
    assert_eq!(found("adam").await, ["adam"]);
    assert_eq!(found("e\u{301}").await, ["Émile"]);
    assert_eq!(found("lovelace@").await, ["Ada"]);
    assert_eq!(found("%").await, [""; 0]);
    assert_eq!(found("_").await, ["100%"]);
    assert_eq!(found("da").await, [""; 0]);
    assert_eq!(found(" ").await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_found_by_the_start_of_any_word_of_a_name_without_case_and_accents() {
    let chat = Chat::open().await;
    let names = [
        "Ada Lovelace",
        "Κωνσταντίνος",
        "Zoë Müller",
        "André",
        "İstanbul",
        "ＡＬＡＮ Turing",
        "王小明",
        "Anne-Marie O'Hara",
        "Işık Yılmaz",
        "Łukasz Øvergård",
    ];
    for (number, name) in names.iter().enumerate() {
        let email = format!("{number}@example.com");
        chat.data(CREATE, json!({ "input": { "name": name, "email": email } })).await;
    }
    for (search, expected) in [
        ("love", vec!["Ada Lovelace"]),
        ("LOVE a", vec!["Ada Lovelace"]),
        ("ada lovelace", vec!["Ada Lovelace"]),
        ("ada hopper", vec![]),
        ("ovelace", vec![]),
        ("ΚΩΝΣ", vec!["Κωνσταντίνος"]),
        ("κωνσταντινος", vec!["Κωνσταντίνος"]),
        ("zoe", vec!["Zoë Müller"]),
        ("Müller", vec!["Zoë Müller"]),
        ("mull z", vec!["Zoë Müller"]),
        ("andre", vec!["André"]),
        ("istanbul", vec!["İstanbul"]),
        ("alan", vec!["ＡＬＡＮ Turing"]),
        ("小", vec!["王小明"]),
        ("a m", vec!["Anne-Marie O'Hara"]),
        ("YILMAZ ışık", vec!["Işık Yılmaz"]),
        ("yilmaz IŞIK", vec!["Işık Yılmaz"]),
        ("lukasz OVER", vec!["Łukasz Øvergård"]),
        ("Łuk øvergard", vec!["Łukasz Øvergård"]),
        ("a", vec!["Ada Lovelace", "André", "ＡＬＡＮ Turing", "Anne-Marie O'Hara"]),
        ("' OR '' = '", vec![]),
    ] {
        assert_eq!(names_found(&chat, search).await, expected, "{search}");
    }
    let rename = "mutation { updateUser(id: 1, input: { name: \"Grace Hopper\" }) { user { id } } }";
    chat.data(rename, json!({})).await;
    chat.data("mutation { deleteUser(id: 3) { deletedId } }", json!({})).await;
    assert_eq!(names_found(&chat, "love").await, [""; 0]);
    assert_eq!(names_found(&chat, "hop").await, ["Grace Hopper"]);
    assert_eq!(names_found(&chat, "zoe").await, [""; 0]);
}

/// Whether a search is answered from the indexes or by reading on, its pages are the same list.
#[tokio::test(flavor = "multi_thread")]
async fn a_search_has_the_same_pages_however_many_it_finds() {
    let chat = Chat::open().await;
    let user = |id: i64| {
        let name = match id {
            _ if id % 7 == 0 => format!("Bob {id}"),
            _ if id % 11 == 0 => format!("Ann Annabel {id}"),
            _ => format!("Ann {id}"),
        };
        let email = format!("{}{id}@example.com", if id % 5 == 0 { "bob" } else { "x" });
        UserLine { id, name, email: Some(email), created_at: "2026-01-31T12:00:00Z".into(), ..UserLine::default() }
    };
    let lines: Vec<_> = (1..=6_000).map(|id| Ok(Line::User(user(id)))).collect();
    imports::import(&chat.app, &Viewer::operator(&chat.app), (1..).zip(lines)).await.unwrap();
    chat.data("mutation { deleteUser(id: 35) { deletedId } }", json!({})).await;
    let page = async |search: &str, span: Value| {
        let query = "query ($s: String, $first: Int, $last: Int, $after: String, $before: String) {
            users(search: $s, first: $first, last: $last, after: $after, before: $before) {
                nodes { id } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
            }
        }";
        let mut variables = span;
        variables["s"] = json!(search);
        chat.data(query, variables).await["users"].take()
    };
    let ids = |page: &Value| -> Vec<String> {
        page["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect()
    };
    // More than 4,000, some 1,900, a few, none; two words of which one is frequent; one that a name has with the one before, and one
    // of many words.
    for (search, is_found) in [
        ("ann", (|id| id % 7 != 0) as fn(i64) -> bool),
        ("BOB", |id| id % 7 == 0 || id % 5 == 0),
        ("bob 59", |id| id % 7 == 0 && id.to_string().starts_with("59")),
        ("bobby", |_| false),
        ("5 ann", |id| id % 7 != 0 && id.to_string().starts_with('5')),
        ("annabel", |id| id % 7 != 0 && id % 11 == 0),
        ("5", |id| id.to_string().starts_with('5')),
    ] {
        let expected: Vec<String> =
            (1..=6_000).filter(|id| *id != 35 && is_found(*id)).map(|id| format!("usr_{id}")).collect();
        let mut found = Vec::new();
        let mut last = page(search, json!({ "first": 100 })).await;
        loop {
            let info = &last["pageInfo"];
            assert_eq!(info["hasPreviousPage"], !found.is_empty(), "{search}");
            found.extend(ids(&last));
            assert_eq!(info["hasNextPage"], found.len() < expected.len(), "{search}");
            if info["hasNextPage"] == false {
                break;
            }
            last = page(search, json!({ "first": 100, "after": info["endCursor"] })).await;
        }
        assert_eq!(found, expected, "{search}");
        let last = page(search, json!({ "last": 2 })).await;
        assert_eq!(ids(&last), expected[expected.len().saturating_sub(2)..], "{search}");
        if expected.len() > 4 {
            assert_eq!(last["pageInfo"]["hasPreviousPage"], true, "{search}");
            let before = page(search, json!({ "last": 2, "before": last["pageInfo"]["startCursor"] })).await;
            assert_eq!(ids(&before), expected[expected.len() - 4..expected.len() - 2], "{search}");
            assert_eq!(before["pageInfo"]["hasNextPage"], true, "{search}");
        }
    }
}

/// How many have an address that a search may not match does not make it slow.
#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_a_search_may_not_match_are_not_counted() {
    let chat = Chat::open().await;
    let user = |id: i64| {
        let (name, email) = (format!("Ann {id}"), format!("x{id}@example.com"));
        Ok(Line::User(UserLine {
            id,
            name,
            email: Some(email),
            created_at: "2026-01-31T12:00:00Z".into(),
            ..UserLine::default()
        }))
    };
    let lines: Vec<_> = (1..=4_100).map(user).collect();
    imports::import(&chat.app, &Viewer::operator(&chat.app), (1..).zip(lines)).await.unwrap();
    let page = async |own: i64| {
        let own = UserId::new(own).unwrap();
        let before = chat.app.store.statements();
        let request = PageRequest { after: None, before: None, limit: 50, end: End::First };
        let page = chat.app.store.read(move |conn| user_pages::page(conn, Some(("x", Addresses::Of(own))), request));
        let ids: Vec<_> = page.await.unwrap().items.iter().map(|user| user.id.key()).collect();
        (ids, chat.app.store.statements() - before)
    };
    // From the indexes: matches are counted, found, and read if there are any.
    assert_eq!(page(7).await, (vec![7], 3));
    assert_eq!(page(5_000).await, (vec![], 2));
}

/// Searches for what many have in their names, but none of those who come first, as after an import that was sorted by name: for a word
/// that all of them have, for words of which one is rare where the page begins, and for the start of too many words to look for each.
#[tokio::test(flavor = "multi_thread")]
async fn those_who_match_a_search_are_found_wherever_they_are() {
    let chat = Chat::open().await;
    let first = "(CASE WHEN i <= 21000 THEN 'ann' ELSE 'zoe' END)";
    let numbered = format!("substr({first}, 1, 1) || 'b' || (i % 40)");
    let numbers = "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 26000)";
    let named = format!("{first} || ' ' || {numbered} || ' lee'");
    let words = [first, &numbered, "'lee'"]
        .map(|word| format!("{numbers} INSERT INTO name_words (user_id, word) SELECT i, {word} FROM n"));
    let users = format!("{numbers} INSERT INTO users (name, name_key, created_at) SELECT {named}, {named}, 0 FROM n");
    for insert in [users].iter().chain(&words) {
        drop(chat.database.run(insert).await);
    }
    let query = "query ($search: String, $first: Int, $after: String, $last: Int, $before: String) {
        users(search: $search, first: $first, after: $after, last: $last, before: $before) {
            nodes { id } pageInfo { hasPreviousPage hasNextPage startCursor endCursor }
        }
    }";
    let page = async |variables: Value| {
        let page = chat.data(query, variables).await["users"].take();
        let ids = page["nodes"].as_array().unwrap().iter().map(|node| text(&node["id"])[4..].parse().unwrap());
        let at = &page["pageInfo"];
        let flag = |name: &str| at[name].as_bool().unwrap();
        (ids.collect::<Vec<i64>>(), [flag("hasPreviousPage"), flag("hasNextPage")], at.clone())
    };
    for search in ["zoe", "zoe lee", "lee z", "zb", "z", "lee zb zoe"] {
        let (ids, more, at) = page(json!({ "search": search, "first": 2 })).await;
        assert_eq!((ids, more), (vec![21_001, 21_002], [false, true]), "{search}");
        let (ids, more, next) = page(json!({ "search": search, "first": 2, "after": at["endCursor"] })).await;
        assert_eq!((ids, more), (vec![21_003, 21_004], [true, true]), "{search}");
        let (ids, more, _) = page(json!({ "search": search, "last": 5, "before": next["startCursor"] })).await;
        assert_eq!((ids, more), (vec![21_001, 21_002], [false, true]), "{search}");
        let (ids, more, _) = page(json!({ "search": search, "last": 2 })).await;
        assert_eq!((ids, more), (vec![25_999, 26_000], [true, false]), "{search}");
    }
    let (ids, more, at) = page(json!({ "search": "ann", "last": 2 })).await;
    assert_eq!((ids, more), (vec![20_999, 21_000], [true, false]));
    let (ids, more, _) = page(json!({ "search": "ann", "first": 2, "after": at["endCursor"] })).await;
    assert_eq!((ids, more), (vec![], [true, false]));
}
