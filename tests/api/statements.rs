//! How many SQL statements an operation costs, whatever the size of its page.

use diesel::{Connection, RunQueryDsl, SqliteConnection, sql_types::Integer};
use duologue::{
    domain::Error,
    model::{ids::UserId, timestamps::Timestamp},
    store::sessions,
};
use serde_json::{Value, json};

use crate::{
    accounts::Member,
    harness::{ACCOUNTS, Chat, Socket, signed_in},
    imports::{LINES, import},
    searches::texts,
    servers::followed,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_costs_so_many_statements() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    for number in 0..30 {
        let (from, to) = if number % 2 == 0 { (&ada, &bob) } else { (&bob, &ada) };
        let reply = (number > 0).then(|| format!("msg_{number}"));
        from.tries_to_send(json!({ "receiverId": to.id, "content": "Hi", "replyToId": reply })).await;
    }
    for number in 0..30 {
        let person = chat.person(&format!("P{number}")).await;
        ada.sends("Hi", &person).await;
        person.sends("Hi", &ada).await;
    }
    let table = [
        (1, "{ user(id: 1) { id name email createdAt } }"),
        (1, "{ a: user(id: 1) { id } b: user(id: 2) { id } c: user(id: 3) { id } }"),
        (1, "{ users { nodes { id name } pageInfo { hasNextPage hasPreviousPage } } }"),
        (2, "{ users(first: 30) { nodes { id name sentMessages(last: 3) { nodes { id content } } } } }"),
        (2, "{ users(first: 100) { nodes { id name sentMessages(last: 3) { nodes { id content } } } } }"),
        (1, "{ message(id: 1) { id content } }"),
        (
            3,
            "{ conversation(user1: 1, user2: 2) { messages(last: 100) { nodes { content status sender { name } } } } }",
        ),
        (2, "{ message(id: 1) { id sender { name } receiver { name } } }"),
        (2, "{ messages(last: 50) { nodes { id sender { name } receiver { name } } pageInfo { hasPreviousPage } } }"),
        (2, "{ messages(last: 100) { nodes { id sender { name } receiver { name } } } }"),
        (
            2,
            "{ conversation(user1: 1, user2: 2) { messages(last: 1) { nodes { sender { name } receiver { name } } } } }",
        ),
        (
            2,
            "{ conversation(user1: 1, user2: 2) { members { user { name } } messages(last: 100) {
                nodes { id content sender { id name } receiver { id name } } pageInfo { hasPreviousPage hasNextPage }
            } } }",
        ),
        (
            3,
            "{ conversation(user1: 1, user2: 2) { messages { nodes { sender { name } replyTo { content sender { name } } } } } }",
        ),
        (
            4,
            "{ user(id: 1) { conversations(first: 30) { nodes {
                id unreadCount(userId: 1) lastMessage { content } members { user { name } }
            } } } }",
        ),
        (2, r#"{ nodes(ids: ["usr_1", "usr_2", "msg_1", "msg_2", "cnv_1_2", "cnv_1_3", "cnv_2_3"]) { id } }"#),
        (
            6,
            "{ feedCursor(userId: 1) user(id: 1) { presence { online } conversations(first: 20) { nodes {
                id unreadCount(userId: 1) members { user { name presence { online } } readThrough { at } }
                lastMessage { content status sender { name } replyTo { content } }
            } } } }",
        ),
        (
            2,
            "{ __typename a: messages(last: 5) { nodes { ...M } } b: messages(last: 6) { nodes { ...M } } }
             fragment M on Message { content sender { name } replyTo { content sender { name } } }",
        ),
    ];
    for (expected, query) in table {
        costs(&chat, None, query, expected).await;
    }
}

/// Asks for it, maybe with an access token, and counts the statements.
async fn costs(chat: &Chat, token: Option<&str>, query: &str, expected: u64) -> Value {
    let before = chat.app.store.statements();
    let mut answer = chat.ask_with(token, query, json!({})).await;
    // Who asks is looked up, too. And a query is a transaction: on SQLite always.
    let transaction = match (chat.database.is_sqlite(), query.contains("feedCursor")) {
        (true, _) => 2,
        (false, asks_for_a_cursor) => 3 * u64::from(asks_for_a_cursor),
    };
    let expected = expected + u64::from(chat.authorization.is_some() || token.is_some()) + transaction;
    assert_eq!(chat.app.store.statements() - before, expected, "{query}");
    assert_eq!(answer.get("errors"), None, "{query}");
    answer["data"].take()
}

/// With those that begin and end its transaction.
#[tokio::test(flavor = "multi_thread")]
async fn a_send_costs_so_many_statements() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let named = json!({ "receiverId": bob.id, "content": "twice the same", "clientId": "one" });
    for (of_sqlite, of_postgres, input) in [
        (11, 7, json!({ "receiverId": bob.id, "content": "the first one" })),
        (11, 7, json!({ "receiverId": bob.id, "content": "the next one" })),
        (15, 9, json!({ "receiverId": bob.id, "content": "a reply", "replyToId": "msg_1" })),
        (12, 8, named.clone()),
        (8, 5, named),
        (0, 0, json!({ "receiverId": bob.id, "content": " " })),
    ] {
        let before = chat.app.store.statements();
        let sent = ada.tries_to_send(input.clone()).await;
        let expected = if chat.database.is_sqlite() { of_sqlite } else { of_postgres };
        // A program that sends for others is looked up, and what it does is recorded.
        let is_new = sent["duplicate"] == false && sent["message"].is_object();
        let of_a_program = if is_new { 2 } else { 1 };
        let expected = expected + if signed_in() { of_a_program } else { 0 };
        assert_eq!(chat.app.store.statements() - before, expected, "{input}");
    }
}

fn nodes(ids: impl Iterator<Item = String>, fields: &str) -> String {
    format!("{{ nodes(ids: {:?}) {{ id {fields} }} }}", ids.collect::<Vec<_>>())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_nodes_of_a_kind_cost_so_many_statements() {
    let chat = Chat::open().await;
    let ada = chat.person("Ada").await;
    for number in 2..=102 {
        let person = chat.person(&format!("P{number}")).await;
        ada.sends("Hi", &person).await;
    }
    let (begun, silent) =
        (|| (2..=101).map(|peer| format!("cnv_1_{peer}")), || (3..=102).map(|peer| format!("cnv_2_{peer}")));
    let inside = "... on Conversation { unreadCount(userId: 1) lastMessage { content } members { user { name } } }";
    for (expected, query, found) in [
        (1, nodes((1..=100).map(|id| format!("usr_{id}")), ""), 100),
        (1, nodes((1..=100).map(|id| format!("msg_{id}")), ""), 100),
        (1, nodes((900..1_000).map(|id| format!("msg_{id}")), ""), 0),
        (1, nodes(begun(), ""), 100),
        (1, nodes(silent(), ""), 100),
        (4, nodes(begun(), inside), 100),
        (2, nodes((900..1_000).map(|peer| format!("cnv_1_{peer}")), ""), 0),
    ] {
        let data = costs(&chat, None, &query, expected).await;
        assert_eq!(data["nodes"].as_array().unwrap().iter().filter(|node| !node.is_null()).count(), found, "{query}");
    }
    // Those of erased members are there if they were begun.
    ada.leaves(false).await;
    assert_eq!(
        chat.data("mutation { deleteUser(id: 2) { deletedId } }", json!({})).await["deleteUser"]["deletedId"],
        "usr_2"
    );
    for (ids, is_there) in [(begun().collect::<Vec<_>>(), true), (silent().collect(), false)] {
        let data = costs(&chat, None, &nodes(ids.into_iter(), ""), 2).await;
        assert!(data["nodes"].as_array().unwrap().iter().all(|node| node.is_object() == is_there), "{data}");
    }
}

/// On SQLite a statement is a function call.
#[tokio::test(flavor = "multi_thread")]
async fn those_who_are_woken_together_are_read_by_one_statement() {
    const FOLLOWERS: usize = 40;
    const ROUNDS: u64 = 10;
    let chat = Chat::open().await;
    if chat.database.is_sqlite() {
        return;
    }
    let mut people = Vec::new();
    for number in 0..FOLLOWERS {
        people.push(chat.person(&format!("P{number}")).await);
    }
    let mut feeds = Vec::new();
    for person in &people {
        feeds.push(followed(person).await);
    }
    let (mut rounds, before) = (0, chat.app.store.statements());
    let mut heard = 0;
    while rounds < ROUNDS {
        rounds += 1;
        let sends = people.chunks(2).map(|pair| pair[0].sends("Hi", &pair[1]));
        futures_util::future::join_all(sends).await;
        for feed in &mut feeds {
            assert_eq!(feed.next().await["message"]["content"], "Hi");
            heard += 1;
        }
    }
    let statements = chat.app.store.statements() - before;
    // As above: where people sign in a program sends for them, which is looked up and recorded.
    let of_a_send = if signed_in() { 9 } else { 7 };
    let of_deliveries = statements - of_a_send * heard / 2;
    // On a busy machine they are woken one by one.
    assert!(of_deliveries < heard, "{of_deliveries} statements for {heard} deliveries");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_sessions_cost_one_statement() {
    let chat = Chat::with(&ACCOUNTS).await;
    let ada = Member::signs_up(&chat, "Ada").await;
    let at = chat.app.now();
    let expiry = Timestamp::from_milliseconds(at.milliseconds() + 1_000_000);
    let more = chat.app.store.write(move |conn| {
        let user = UserId::new(1).unwrap();
        let insert = |_| Ok::<_, Error>(sessions::insert(conn, user, None, at, expiry)?.id.to_string());
        (0..99).map(insert).collect::<Result<Vec<_>, _>>()
    });
    let ids = more.await.unwrap();
    let query = nodes(ids.iter().cloned().chain([ada.session(&chat).await]), "... on Session { current }");
    let data = costs(&chat, Some(&ada.access), &query, 1).await;
    assert_eq!(data["nodes"][0], json!({ "id": ids[0], "current": false }));
    assert!(data["nodes"].as_array().unwrap().iter().all(Value::is_object), "{data}");
}

/// Events that wait together are loaded together.
#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_costs_so_many_statements() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let start = chat.data("{ feedCursor(userId: 2) }", json!({})).await["feedCursor"].take();
    for _ in 0..90 {
        ada.sends("Hi", &bob).await;
    }
    let query = "subscription ($after: String!) { feed(userId: 2, after: $after) {
        kind message { id status sender { name } replyTo { id } } conversation { unreadCount(userId: 2) members { user { name } } }
    } }";
    let mut socket = Socket::ready(&chat).await;
    let before = chat.app.store.statements();
    socket.subscribes("feed", query, json!({ "after": start })).await;
    for number in 1..=90 {
        let event = socket.hears().await["payload"]["data"]["feed"].take();
        assert_eq!(event["message"]["id"], format!("msg_{number}"));
        assert_eq!(event["conversation"]["unreadCount"], 90);
    }
    assert_eq!(socket.hears().await["payload"]["data"]["feed"]["kind"], "CAUGHT_UP");
    let statements = chat.app.store.statements() - before;
    assert!(statements <= 20, "{statements}");
}

#[test]
fn sqlite_keeps_the_plans_of_statements_with_a_bound_limit() {
    #[derive(diesel::QueryableByName)]
    struct Used {
        #[diesel(sql_type = Integer)]
        used: i32,
    }
    let mut conn = SqliteConnection::establish(":memory:").unwrap();
    let query = "SELECT sqlite_compileoption_used('ENABLE_QPSG') AS used";
    let Used { used } = diesel::sql_query(query).get_result(&mut conn).unwrap();
    assert_eq!(used, 1, "build with .cargo/config.toml, which sets LIBSQLITE3_FLAGS");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_words_of_many_messages_are_few_statements() {
    let chat = Chat::open().await;
    let message = |id: u32| {
        let mut line = json!({ "id": id, "senderId": 7, "receiverId": 10, "createdAt": "2026-03-01T00:00:00Z" });
        line["content"] = json!(format!("number {id}"));
        json!({ "message": line }).to_string()
    };
    let messages: Vec<_> = (100..500).map(message).collect();
    let before = chat.app.store.statements();
    import(&chat, &format!("{LINES}\n{}", messages.join("\n"))).await.unwrap();
    let statements = chat.app.store.statements() - before;
    // SQLite is in the process, and inserts row by row.
    assert!(statements < 60 || chat.database.is_sqlite(), "{statements}");
    assert_eq!(texts(&chat, json!({ "text": "\"number 499\"" })).await.len(), 1);
}
