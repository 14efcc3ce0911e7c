//! Who may do what: every field at the root and every field that can hide, for everybody who can ask.

use std::collections::BTreeSet;

use async_graphql::parser::{
    parse_schema,
    types::{TypeKind, TypeSystemDefinition},
};
use duologue::{
    domain::{Viewer, admin},
    model::texts::{Email, Name, Password},
};
use serde_json::{Value, json};

use crate::{
    accounts::{Member, accounts},
    harness::{Chat, Person, Socket, text},
};

/// Each column of the table. The message is Ada's, to Bob; Eve is a stranger; Mallory is blocked by Ada.
const VIEWERS: [&str; 7] = ["nobody", "Eve", "Bob", "Ada", "Mallory", "admin", "service"];

/// An operation, and what comes of it for each of the viewers. `MSG` is a new message of Ada's to Bob, `SES` her session, `NEW` a new name.
type Row = (&'static str, [&'static str; 7]);

const UNKNOWN: &str = "UNAUTHENTICATED";
const FORBIDDEN: &str = "FORBIDDEN";
const DENIED: &str = "NOT_ALLOWED";
const NONE: &str = "NOT_FOUND";

const TABLE: [Row; 45] = [
    (
        "{ me { user { id } unreadCount sessions { id } blockedUsers { nodes { id } } } }",
        ["null", "yes", "yes", "yes", "yes", "yes", "null"],
    ),
    ("{ user(id: 1) { id } }", ["null", "yes", "yes", "yes", "yes", "yes", "yes"]),
    ("{ users { nodes { id } } }", [UNKNOWN, "yes", "yes", "yes", "yes", "yes", "yes"]),
    (r#"{ users(search: "ada@") { nodes { id } } }"#, [UNKNOWN, "empty", "empty", "yes", "empty", "yes", "yes"]),
    (r#"{ message(id: "MSG") { id } }"#, ["null", "null", "yes", "yes", "null", "yes", "yes"]),
    ("{ messages { nodes { id } } }", [UNKNOWN, "empty", "yes", "yes", "empty", "yes", "yes"]),
    (
        "{ conversation(user1: 1, user2: 2) { messages { nodes { id } } lastMessage { id } members { user { id } } } }",
        ["null", "null", "yes", "yes", "null", "yes", "yes"],
    ),
    (r#"{ node(id: "MSG") { id } }"#, ["null", "null", "yes", "yes", "null", "yes", "yes"]),
    (r#"{ node(id: "cnv_1_2") { id } }"#, ["null", "null", "yes", "yes", "null", "yes", "yes"]),
    (r#"{ node(id: "SES") { id } }"#, ["null", "null", "null", "yes", "null", "null", "null"]),
    (r#"{ nodes(ids: ["MSG", "cnv_1_2"]) { id } }"#, ["empty", "empty", "yes", "yes", "empty", "yes", "yes"]),
    (
        r#"{ searchMessages(input: { text: "x" }) { nodes { id } } }"#,
        [UNKNOWN, "empty", "yes", "yes", "empty", "yes", "yes"],
    ),
    (
        r#"{ searchMessages(input: { text: "x", userId: 1 }) { nodes { id } } }"#,
        [UNKNOWN, FORBIDDEN, FORBIDDEN, "yes", FORBIDDEN, "yes", "yes"],
    ),
    ("{ server { version } }", ["yes"; 7]),
    ("{ feedCursor(userId: 1) }", [UNKNOWN, FORBIDDEN, FORBIDDEN, "yes", FORBIDDEN, "yes", "yes"]),
    (
        r#"{ feedEvents(userId: 1, after: "Zjp4OjA") { cursor } }"#,
        [UNKNOWN, FORBIDDEN, FORBIDDEN, "yes", FORBIDDEN, "yes", "yes"],
    ),
    ("subscription { feed(userId: 1) { kind } }", [UNKNOWN, FORBIDDEN, FORBIDDEN, "yes", FORBIDDEN, "yes", "yes"]),
    ("subscription { signals(userId: 1) { kind } }", [UNKNOWN, FORBIDDEN, FORBIDDEN, "yes", FORBIDDEN, "yes", "yes"]),
    // Fields that can hide, at the end of their way.
    ("{ user(id: 1) { email } }", ["null", "hidden", "hidden", "yes", "hidden", "yes", "yes"]),
    ("{ user(id: 1) { presence { online } } }", ["null", "yes", "yes", "yes", "hidden", "yes", "yes"]),
    ("{ user(id: 1) { conversations { nodes { id } } } }", ["null", "empty", "empty", "yes", "empty", "yes", "yes"]),
    ("{ user(id: 1) { sentMessages { nodes { id } } } }", ["null", "empty", "yes", "yes", "empty", "yes", "yes"]),
    ("{ user(id: 2) { receivedMessages { nodes { id } } } }", ["null", "empty", "yes", "yes", "empty", "yes", "yes"]),
    (r#"{ message(id: "MSG") { clientId } }"#, ["null", "null", "hidden", "yes", "null", "yes", "yes"]),
    (
        r#"{ message(id: "MSG") { content status sender { name } conversation { unreadCount(userId: 2) } } }"#,
        ["null", "null", "yes", "yes", "null", "yes", "yes"],
    ),
    // What changes something.
    (
        r#"mutation { createUser(input: { name: "x", email: "NEW@x" }) { user { id } userErrors { code } } }"#,
        [UNKNOWN, FORBIDDEN, FORBIDDEN, FORBIDDEN, FORBIDDEN, "yes", "yes"],
    ),
    (
        r#"mutation { updateUser(id: 1, input: { name: "Ada" }) { user { id } userErrors { code } } }"#,
        [UNKNOWN, DENIED, DENIED, "yes", DENIED, "yes", "yes"],
    ),
    (
        r#"mutation { updateUser(id: 1, input: { password: "new new new new" }) { user { id } userErrors { code } } }"#,
        [UNKNOWN, DENIED, DENIED, "yes", DENIED, "", ""],
    ),
    ("mutation { deleteUser(id: 1) { deletedId userErrors { code } } }", [UNKNOWN, DENIED, DENIED, "", DENIED, "", ""]),
    (
        r#"mutation { sendMessage(input: { senderId: 1, receiverId: 2, content: "x" }) { message { id } userErrors { code } } }"#,
        [UNKNOWN, DENIED, DENIED, "yes", DENIED, "yes", "yes"],
    ),
    (
        r#"mutation { sendMessage(input: { receiverId: 3, content: "x" }) { message { id } userErrors { code } } }"#,
        [UNKNOWN, "INVALID", "yes", "yes", "yes", "yes", "INVALID"],
    ),
    (
        r#"mutation { sendMessage(input: { receiverId: 1, content: "x" }) { message { id } userErrors { code } } }"#,
        [UNKNOWN, "yes", "yes", "INVALID", "BLOCKED", "yes", "INVALID"],
    ),
    (
        r#"mutation { updateMessage(id: "MSG", input: { content: "x" }) { message { id } userErrors { code } } }"#,
        [UNKNOWN, NONE, DENIED, "yes", NONE, "yes", "yes"],
    ),
    (
        r#"mutation { deleteMessage(id: "MSG") { deletedId userErrors { code } } }"#,
        [UNKNOWN, NONE, DENIED, "yes", NONE, "yes", "yes"],
    ),
    (
        r#"mutation { markDelivered(messageId: "MSG") { conversation { id } userErrors { code } } }"#,
        [UNKNOWN, NONE, "yes", "yes", NONE, NONE, "INVALID"],
    ),
    (
        r#"mutation { markRead(messageId: "MSG", userId: 2) { conversation { id } userErrors { code } } }"#,
        [UNKNOWN, DENIED, "yes", DENIED, DENIED, "yes", "yes"],
    ),
    (
        r#"mutation { setTyping(conversationId: "cnv_1_2", userId: 1) { ok userErrors { code } } }"#,
        [UNKNOWN, DENIED, DENIED, "yes", DENIED, "yes", "yes"],
    ),
    (
        "mutation { blockUser(id: 5, userId: 1) { user { id } userErrors { code } } }",
        [UNKNOWN, DENIED, DENIED, "yes", DENIED, "yes", "yes"],
    ),
    (
        "mutation { unblockUser(id: 3, userId: 1) { user { id } userErrors { code } } }",
        [UNKNOWN, DENIED, DENIED, "yes", DENIED, "yes", "yes"],
    ),
    (
        r#"mutation { signUp(input: { name: "x", email: "NEW@y", password: "long long long" }) { accessToken userErrors { code } } }"#,
        ["yes"; 7],
    ),
    (
        r#"mutation { signIn(input: { email: "nobody@x", password: "long long long" }) { accessToken userErrors { code } } }"#,
        ["BAD_CREDENTIALS"; 7],
    ),
    (r#"mutation { refreshSession(refreshToken: "x") { accessToken userErrors { code } } }"#, ["TOKEN_EXPIRED"; 7]),
    (r#"mutation { renewConnection(accessToken: "x") { expiresAt userErrors { code } } }"#, ["BAD_REQUEST"; 7]),
    (
        r#"mutation { signOut(sessionId: "ses_99") { sessionId userErrors { code } } }"#,
        [UNKNOWN, NONE, NONE, NONE, NONE, NONE, UNKNOWN],
    ),
    (
        r#"mutation { signOut(sessionId: "SES") { sessionId userErrors { code } } }"#,
        [UNKNOWN, NONE, NONE, "", NONE, NONE, UNKNOWN],
    ),
];

/// What came of an operation.
fn outcome(answer: &Value) -> String {
    if let Some(error) = answer["errors"].get(0) {
        return text(&error["extensions"]["code"]);
    }
    let (_, root) = answer["data"].as_object().unwrap().iter().next().unwrap();
    if let Some(error) = root["userErrors"].get(0) {
        return text(&error["code"]);
    }
    let found = match root {
        Value::Null => "null",
        Value::Array(items) if items.iter().all(Value::is_null) => "empty",
        Value::Object(fields) if fields.len() == 1 => match fields.values().next().unwrap() {
            Value::Null => "hidden",
            inner if inner == &json!([]) || inner["nodes"] == json!([]) => "empty",
            _ => "yes",
        },
        _ => "yes",
    };
    found.to_owned()
}

struct World {
    chat: Chat,
    service: String,
    members: Vec<Member>,
}

impl World {
    async fn new() -> Self {
        let chat = accounts().await;
        let mut members = Vec::new();
        for name in ["Ada", "Bob", "Eve", "Mallory"] {
            members.push(Member::signs_up(&chat, name).await);
        }
        let operator = Viewer::operator(&chat.app);
        let (name, email) = (Name::parse("Root".into()).unwrap(), Email::parse("root@example.com").unwrap());
        let password = Password::parse("correct horse battery".into()).unwrap();
        admin::create(&chat.app, &operator, name.clone(), email, password).await.unwrap();
        members.push(Member::signs_in(&chat, "Root").await);
        let (_, service) = admin::issue_token(&chat.app, &operator, name).await.unwrap();
        let block = "mutation { blockUser(id: 4) { userErrors { code } } }";
        members[0].asks(&chat, block, json!({})).await;
        Self { chat, service, members }
    }

    fn token(&self, viewer: &str) -> Option<&str> {
        match viewer {
            "nobody" => None,
            "service" => Some(&self.service),
            name => {
                let index = ["Ada", "Bob", "Eve", "Mallory", "admin"].iter().position(|its| *its == name).unwrap();
                Some(&self.members[index].access)
            }
        }
    }

    /// Runs an operation, subscriptions on a socket.
    async fn ask(&self, viewer: &str, operation: &str) -> Value {
        let token = self.token(viewer);
        if !operation.starts_with("subscription") {
            return self.chat.ask_with(token, operation, json!({})).await;
        }
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut socket = Socket::open_with(self.chat.address, "graphql-transport-ws", bearer.as_deref()).await;
        socket.says(json!({ "type": "connection_init" })).await;
        socket.hears().await;
        socket.subscribes("1", operation, json!({})).await;
        if operation.contains("signals") {
            // Nothing comes while nothing happens: a question behind it is answered.
            socket.subscribes("2", "{ __typename }", json!({})).await;
        }
        let heard = socket.hears().await;
        if heard["type"] == "error" { json!({ "errors": heard["payload"] }) } else { heard["payload"].clone() }
    }

    async fn message(&self) -> String {
        let send = r#"mutation { sendMessage(input: { senderId: 1, receiverId: 2, content: "x", clientId: "ID" }) { message { id } } }"#;
        let id = rand::random::<u64>().to_string();
        let answer = self.chat.ask_with(Some(&self.service), &send.replace("ID", &id), json!({})).await;
        text(&answer["data"]["sendMessage"]["message"]["id"])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_may_do_what_is_theirs_and_nothing_else() {
    let mut world = World::new().await;
    let session = world.members[0].session(&world.chat).await;
    for (row, (operation, expected)) in TABLE.iter().enumerate() {
        for (viewer, expected) in VIEWERS.iter().zip(expected) {
            // What would end a viewer who is still needed is tried elsewhere.
            if expected.is_empty() {
                continue;
            }
            let new = format!("n{row}{viewer}");
            let operation =
                operation.replace("MSG", &world.message().await).replace("SES", &session).replace("NEW", &new);
            let answer = world.ask(viewer, &operation).await;
            assert_eq!(outcome(&answer), *expected, "{viewer}: {operation}: {answer}");
        }
    }
    // A stranger's answers about what is not theirs and about what is not there are the same.
    let message = world.message().await;
    for (operation, [_, eve, ..]) in TABLE {
        // Of users there is more to see than of nobody.
        if eve == "yes" || operation.starts_with("{ user(") {
            continue;
        }
        let theirs = operation.replace("MSG", &message).replace("SES", &session);
        let away = [(&*message, "msg_999"), ("cnv_1_2", "cnv_1_999"), ("Id: 1", "Id: 999"), ("(id: 1", "(id: 999")];
        let elsewhere = |text: String| away.iter().fold(text, |text, (from, to)| text.replace(from, to));
        let answers = [world.ask("Eve", &theirs).await, world.ask("Eve", &elsewhere(theirs.clone())).await];
        assert_eq!(elsewhere(answers[0].to_string()), answers[1].to_string(), "{theirs}");
    }
    let leaves =
        world.ask("Ada", "mutation { deleteUser(id: 1, eraseMessages: true) { deletedId userErrors { code } } }");
    assert_eq!(outcome(&leaves.await), "yes");
    assert_eq!(outcome(&world.ask("Bob", "{ messages { nodes { content } } }").await), "yes");
    world.members.clear();
}

/// What a program with a service token may do, everybody may do on an open server; but nobody signs in there.
#[tokio::test(flavor = "multi_thread")]
async fn on_an_open_server_everybody_may_do_everything() {
    let chat = Chat::open_to_all(&[]).await;
    let mut people = Vec::new();
    for name in ["Ada", "Bob", "Eve", "Mallory", "Root"] {
        people.push(chat.person(name).await);
    }
    for (row, (operation, expected)) in TABLE.iter().enumerate() {
        let expected = match expected[6] {
            "" => continue,
            _ if operation.starts_with("subscription") => continue,
            _ if ["signUp", "signIn", "refreshSession"].iter().any(|verb| operation.contains(verb)) => FORBIDDEN,
            expected => expected,
        };
        let input = json!({ "receiverId": people[1].id, "content": "x", "clientId": row.to_string() });
        let message = text(&people[0].tries_to_send(input).await["message"]["id"]);
        let operation = operation.replace("MSG", &message).replace("SES", "ses_1").replace("NEW", &format!("n{row}"));
        let answer = chat.ask(&operation, json!({})).await;
        assert_eq!(outcome(&answer), expected, "{operation}: {answer}");
    }
}

#[test]
fn the_table_is_complete() {
    let mut roots = BTreeSet::new();
    for definition in parse_schema(include_str!("../../schema.graphql")).unwrap().definitions {
        let TypeSystemDefinition::Type(ty) = definition else { continue };
        let TypeKind::Object(object) = ty.node.kind else { continue };
        if ["Query", "Mutation", "Subscription"].contains(&ty.node.name.node.as_str()) {
            roots.extend(object.fields.iter().map(|field| field.node.name.node.to_string()));
        }
    }
    let untried: Vec<_> = roots
        .iter()
        .filter(|root| !TABLE.iter().any(|(operation, _)| operation.split(['{', ' ', '(']).any(|word| word == **root)))
        .collect();
    assert!(untried.is_empty(), "{untried:?}");
}

/// A block works both ways, and ends when it is taken back.
#[tokio::test(flavor = "multi_thread")]
async fn a_block_stands_between_two() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    ada.sends("Hi", &bob).await;
    let block = async |verb: &str| {
        let query = format!("mutation {{ {verb}(id: 2, userId: 1) {{ user {{ name }} userErrors {{ code }} }} }}");
        chat.data(&query, json!({})).await[verb].clone()
    };
    let tries = async |from: &Person<'_>, to: &Person<'_>| {
        from.tries_to_send(json!({ "receiverId": to.id, "content": "x" })).await["userErrors"][0]["code"].clone()
    };
    assert_eq!(block("blockUser").await, json!({ "user": { "name": "Bob" }, "userErrors": [] }));
    assert_eq!(block("blockUser").await["userErrors"], json!([]));
    assert_eq!((tries(&ada, &bob).await, tries(&bob, &ada).await), (json!("BLOCKED"), json!("BLOCKED")));
    // What was sent before cannot be made to say something else.
    let edit = r#"mutation { updateMessage(id: "msg_1", input: { content: "x" }) { userErrors { code field } } }"#;
    let refused = chat.data(edit, json!({})).await["updateMessage"].take();
    assert_eq!(refused, json!({ "userErrors": [{ "code": "BLOCKED", "field": ["id"] }] }));
    let mut feed = bob.feed().await;
    let rename = r#"mutation { updateUser(id: 1, input: { name: "x" }) { userErrors { code } } }"#;
    chat.data(rename, json!({})).await;
    // The name can be read all the same.
    assert_eq!(feed.next().await["kind"], "USER_CHANGED");
    block("unblockUser").await;
    ada.sends("again", &bob).await;
    assert_eq!(feed.next().await["kind"], "MESSAGE_SENT");
    assert_eq!((tries(&ada, &bob).await, tries(&bob, &ada).await), (Value::Null, Value::Null));
    for (wrong, expected) in [("id: 1, userId: 1", "INVALID"), ("id: 9, userId: 1", "NOT_FOUND"), ("id: 2", "INVALID")]
    {
        let query = format!("mutation {{ blockUser({wrong}) {{ userErrors {{ code }} }} }}");
        assert_eq!(chat.data(&query, json!({})).await["blockUser"]["userErrors"][0]["code"], expected, "{wrong}");
    }
}
