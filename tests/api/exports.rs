//! Exports: what they have of everybody and of one user, and that an import takes them back whole.

use std::{
    fs,
    io::{Read, Seek},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Stdio,
};

use duologue::{
    domain::{Viewer, admin, exports::export},
    model::texts::{Email, Name, Password},
};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    harness::{ACCOUNTS, Chat, Database, soon, text},
    imports::{LINES, import},
    program::{error, program, run},
    unread::{assert_counts, marks},
};

pub(crate) async fn exports(database: &Database, file: &Path, flags: &[&str]) -> String {
    let name = file.display().to_string();
    let output = run(&[&["export", &name, "--database", &database.url], flags].concat()).await;
    assert!(output.status.success(), "{output:?}");
    fs::read_to_string(file).unwrap()
}

/// Gives what is said besides.
async fn imports(database: &Database, file: &Path) -> String {
    let name = file.display().to_string();
    let output = run(&["import", &name, "--database", &database.url]).await;
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_renumbers_messages_that_are_not_in_the_order_of_their_times() {
    let database = Database::new().await;
    let late = r#"{"message": {"id": 72, "senderId": 7, "receiverId": 10, "content": "First", "createdAt": "2026-01-05T00:00:00Z"}}"#;
    let file = database.folder().join("chat.jsonl");
    fs::write(&file, format!("{LINES}\n{late}\n")).unwrap();
    let name = file.to_str().unwrap();
    let said = error(&["import", name, "--database", &database.url]).await;
    assert!(said.contains("line 5: ") && said.contains("in another order than their ids"), "{said}");
    let imported = run(&["import", name, "--renumber", "--database", &database.url]).await;
    assert!(imported.status.success(), "{imported:?}");
    assert_eq!(String::from_utf8(imported.stdout).unwrap(), "Imported 2 users and 3 messages.\n");
    let chat = Chat::on(database, &["--auth", "open"]).await;
    let query = "{ conversation(user1: 7, user2: 10) { messages { nodes { id content } } } }";
    let expected = [("msg_1", "First"), ("msg_2", "Hi"), ("msg_3", "Hello 👋")];
    let expected = expected.map(|(id, content)| json!({ "id": id, "content": content }));
    assert_eq!(chat.data(query, json!({})).await["conversation"]["messages"]["nodes"], json!(expected));
}

/// An export may have ids that came after an import of the highest ones; there is an end to its ids, too.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_leaves_room_for_ids_to_come() {
    let chat = Chat::open().await;
    let message = |id: i64| {
        format!(
            r#"{{"message": {{"id": {id}, "senderId": 7, "receiverId": 10, "content": "x", "createdAt": "2026-02-02T00:00:00Z"}}}}"#
        )
    };
    let user = |id: i64| {
        format!(r#"{{"user": {{"id": {id}, "name": "x", "email": "x@y", "createdAt": "2026-01-31T12:00:00Z"}}}}"#)
    };
    let (most, exported) = (3_i64 << 51, r#"{"export": {"format": 1}}"#);
    let of_user = r#"{"export": {"format": 1, "userId": 7}}"#;
    for id in [most + 1, (1 << 53) - 1] {
        let bad_id = "line 6: The id must be from 1 to 6755399441055744: leave room for ids to come.";
        let bad_last = "line 1: The lastId must be at most 6755399441055744: leave room for ids to come.";
        for (lines, why) in [
            (format!("{exported}\n{LINES}\n{}", message(id)), bad_id),
            (format!("{of_user}\n{LINES}\n{}", message(id)), bad_id),
            (format!("{exported}\n{LINES}\n{}", user(id)), bad_id),
            (format!("{{\"export\": {{\"format\": 1, \"lastId\": {id}}}}}\n{LINES}"), bad_last),
        ] {
            let error = import(&chat, &lines).await.unwrap_err().to_string();
            assert_eq!(error, format!("{why} Nothing was imported."));
        }
    }
    import(&chat, &format!("{{\"export\": {{\"format\": 1, \"lastId\": {most}}}}}\n{LINES}")).await.unwrap();
    let (eve, pal) = (chat.person("Eve").await, chat.person("Pal").await);
    assert_eq!(eve.sends("Hi", &pal).await, format!("msg_{}", most + 1));
}

fn lines_of(file: &Path) -> usize {
    fs::read_to_string(file).unwrap().lines().count()
}

/// A database of the other kind, if there is a PostgreSQL server.
fn other() -> Database {
    Database::at("other.db")
}

/// Ada, who has a password, Bob, Cem who is blocked and suspended, Dan who left with his messages, Eve who left hers, and an admin.
async fn world() -> Database {
    let chat = Chat::open_to_all(&[]).await;
    let operator = Viewer::operator(&chat.app);
    let (name, email) = (Name::parse("Fay".into()).unwrap(), Email::parse("fay@example.com").unwrap());
    let password = Password::parse("correct horse battery".into()).unwrap();
    admin::create(&chat.app, &operator, name, email, password).await.unwrap();
    let [ada, bob, cem, dan, eve] = ["Ada", "Bob", "Cem", "Dan", "Eve"].map(|name| chat.person(name));
    let [ada, bob, cem, dan, eve] = [ada.await, bob.await, cem.await, dan.await, eve.await];
    let password =
        "mutation ($id: ID!) { updateUser(id: $id, input: { password: \"correct horse battery\" }) { user { id } } }";
    chat.data(password, json!({ "id": ada.id })).await;
    for (content, client_id) in [("first", Some("a-1")), ("second\u{2028}\"👋\"", None), ("third", Some("a-3"))] {
        let input = json!({ "receiverId": bob.id, "content": content, "clientId": client_id });
        ada.tries_to_send(input).await;
    }
    let reply = json!({ "receiverId": ada.id, "content": "A reply", "replyToId": "msg_1", "clientId": "b-1" });
    bob.tries_to_send(reply).await;
    ada.edits("msg_1", "first, edited").await;
    ada.edits("msg_1", "first, edited again").await;
    ada.deletes("msg_3").await;
    marks(&bob, "msg_2", false).await;
    marks(&ada, "msg_4", true).await;
    for person in [&cem, &dan, &eve] {
        person.sends("Hello", &ada).await;
        ada.sends("Hello too", person).await;
    }
    let block = "mutation ($id: ID!, $other: ID!) { blockUser(userId: $id, id: $other) { userErrors { code } } }";
    chat.data(block, json!({ "id": ada.id, "other": cem.id })).await;
    assert!(admin::set_suspended(&chat.app, &operator, cem.id.parse().unwrap(), true).await.unwrap());
    dan.leaves(true).await;
    eve.leaves(false).await;
    let last = bob.sends("The last one", &ada).await;
    bob.deletes(&last).await;
    let database = chat.stop().await;
    let identity = "INSERT INTO identities (issuer, subject, user_id) VALUES ('https://id.example.com', 'b|1', 3), \
                    ('https://id.example.com', 'a|1', 3), ('Https://id.example.com', 'a|1', 3)";
    drop(database.run(identity).await);
    database
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_is_the_same_after_an_import_into_another_database() {
    let (first, folder) = (world().await, tempfile::tempdir().unwrap());
    let [one, two, three] = ["1.jsonl", "2.jsonl", "3.jsonl"].map(|name| folder.path().join(name));
    let exported = exports(&first, &one, &[]).await;
    assert_eq!(fs::metadata(&one).unwrap().permissions().mode() & 0o777, 0o600);
    let second = other();
    imports(&second, &one).await;
    assert_eq!(exports(&second, &two, &[]).await, exported);
    let third = Database::new().await;
    imports(&third, &two).await;
    assert_eq!(exports(&third, &three, &[]).await, exported);

    // All that clients see is there.
    let chat = Chat::on(second, &[]).await;
    assert_counts(&chat).await;
    let input = json!({ "senderId": "usr_2", "receiverId": "usr_3", "content": "first", "clientId": "a-1" });
    let mutation = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { duplicate message { id content version } } }";
    let sent = chat.data(mutation, json!({ "input": input })).await["sendMessage"].take();
    let message = json!({ "id": "msg_1", "content": "first, edited again", "version": 3 });
    assert_eq!(sent, json!({ "duplicate": true, "message": message }));
    let input = json!({ "senderId": "usr_2", "receiverId": "usr_3", "content": "third", "clientId": "a-3" });
    let sent = chat.data(mutation, json!({ "input": input })).await["sendMessage"].take();
    assert_eq!(sent, json!({ "duplicate": true, "message": null }));
    let query = "{ dan: user(id: 5) { id } fay: user(id: 1) { name email }
        conversation(user1: 2, user2: 3) { messages { nodes { id replyTo { id } status } } ada: unreadCount(userId: 2) }
    }";
    let data = chat.data(query, json!({})).await;
    assert_eq!(data["dan"], json!(null));
    assert_eq!(data["fay"], json!({ "name": "Fay", "email": "fay@example.com" }));
    let input = json!({ "senderId": "usr_4", "receiverId": "usr_2", "content": "Hello?" });
    let blocked = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { userErrors { code } } }";
    let blocked = chat.data(blocked, json!({ "input": input })).await["sendMessage"]["userErrors"].take();
    assert_eq!(blocked, json!([{ "code": "BLOCKED" }]));
    assert_eq!(
        data["conversation"],
        json!({ "messages": { "nodes": [
            { "id": "msg_1", "replyTo": null, "status": "READ" },
            { "id": "msg_2", "replyTo": null, "status": "READ" },
            { "id": "msg_4", "replyTo": { "id": "msg_1" }, "status": "DELIVERED" },
        ] }, "ada": 1 })
    );
    // No id is given again, be it of a message, which may have been removed, or of a user.
    assert_eq!(chat.person("Gil").await.id, "usr_7");
    let next =
        chat.data(mutation, json!({ "input": { "senderId": "usr_2", "receiverId": "usr_3", "content": "x" } })).await;
    let header: Value = serde_json::from_str(exported.lines().next().unwrap()).unwrap();
    let number = |id: &Value| text(id).strip_prefix("msg_").unwrap().parse::<i64>().unwrap();
    assert!(number(&next["sendMessage"]["message"]["id"]) > header["export"]["lastId"].as_i64().unwrap());

    // Ada and Fay sign in with the passwords that they had.
    let accounts = Chat::on(chat.stop().await, &ACCOUNTS).await;
    let sign_in = "mutation ($input: SignInInput!) { signIn(input: $input) { accessToken userErrors { code } } }";
    for email in ["ada@example.com", "fay@example.com"] {
        let input = json!({ "email": email, "password": "correct horse battery" });
        let signed = accounts.ask(sign_in, json!({ "input": input })).await;
        assert_eq!(signed["data"]["signIn"]["userErrors"], json!([]), "{signed}");
    }
}

/// What an import gives back as it was exported; gives the lines.
pub(crate) async fn is_imported_whole(chat: &Chat) -> String {
    let exported = async |of: &Chat| {
        let (mut file, mut lines) = (tempfile::tempfile().unwrap(), String::new());
        let output = file.try_clone().unwrap();
        export(&of.app, &Viewer::operator(&of.app), None, output, |_| ()).await.unwrap();
        file.rewind().unwrap();
        file.read_to_string(&mut lines).unwrap();
        lines
    };
    let lines = exported(chat).await;
    let other = Chat::on(other(), &["--auth", "open"]).await;
    import(&other, &lines).await.unwrap();
    assert_eq!(exported(&other).await, lines);
    assert_counts(&other).await;
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_many_rows_is_imported_whole() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let demo = ["demo", "--users", "700", "--messages", "2600", "--database", &database.url];
    assert!(program(&demo).stdout(Stdio::null()).stderr(Stdio::null()).status().await.unwrap().success());
    let [one, two] = ["1.jsonl", "2.jsonl"].map(|name| folder.path().join(name));
    let exported = exports(&database, &one, &[]).await;
    let count = |kind: &str| exported.lines().filter(|line| line.starts_with(&format!("{{\"{kind}\""))).count();
    assert_eq!([count("export"), count("user"), count("message")], [1, 700, 2_600]);
    assert!(count("marks") > 500);
    let other = other();
    imports(&other, &one).await;
    assert_eq!(exports(&other, &two, &[]).await, exported);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_one_user_has_what_is_theirs_and_nothing_of_others_but_names() {
    let (database, folder) = (world().await, tempfile::tempdir().unwrap());
    let session = "INSERT INTO sessions (user_id, device, refresh_hash, created_at, last_used_at, expires_at, ended_at)
                   VALUES (2, 'laptop', 'x', 0, 1000, 9999999999999, 2000)";
    drop(database.run(&session.replace("'x'", if database.is_sqlite() { "x'00'" } else { "'\\x00'" })).await);
    let file = folder.path().join("ada.jsonl");
    let exported = exports(&database, &file, &["--user", "ada@example.com"]).await;
    assert_eq!(exports(&database, &folder.path().join("again.jsonl"), &["--user", "usr_2"]).await, exported);
    let lines: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| lines.iter().filter_map(|line| line.get(kind).cloned()).collect::<Vec<_>>();
    assert_eq!(of("export"), [json!({ "format": 1, "userId": 2 })]);
    let users: Vec<_> =
        of("user").iter().map(|user| json!([user["id"], user.get("name"), user.get("email")])).collect();
    let ada = json!([2, "Ada", "ada@example.com"]);
    assert_eq!(
        users,
        [ada, json!([3, "Bob", null]), json!([4, "Cem", null]), json!([5, null, null]), json!([6, null, null])]
    );
    let contents: Vec<_> = of("message").iter().map(|message| message["content"].clone()).collect();
    let hellos = ["Hello", "Hello too"];
    let own = ["first, edited again", "second\u{2028}\"👋\"", "A reply"];
    assert_eq!(contents, [&own[..], &hellos, &hellos[1..], &hellos].concat(), "without what was deleted");
    assert_eq!(of("block").len(), 1);
    let session = json!({ "id": 1, "userId": 2, "device": "laptop", "createdAt": "1970-01-01T00:00:00.000Z",
        "lastUsedAt": "1970-01-01T00:00:01.000Z", "endedAt": "1970-01-01T00:00:02.000Z" });
    assert_eq!(of("session"), [session]);
    for secret in ["argon2", "b-1", "bob@", "id.example.com", "Fay", "sendDigest"] {
        assert!(!exported.contains(secret), "{secret}");
    }
    let bob = exports(&database, &folder.path().join("bob.jsonl"), &["--user", "3"]).await;
    assert!(bob.contains("id.example.com") && !bob.contains("Cem"));

    // It can be imported, too.
    let other = other();
    let said = imports(&other, &file).await;
    assert!(said.contains("this is the export of one user"), "{said}");
    let imported = exports(&other, &folder.path().join("2.jsonl"), &["--user", "2"]).await;
    let without_session =
        exported.lines().filter(|line| !line.starts_with("{\"session\"")).collect::<Vec<_>>().join("\n");
    assert_eq!(imported.trim_end(), without_session);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_an_export_that_is_interrupted() {
    let (database, folder) = (world().await, tempfile::tempdir().unwrap());
    let file = folder.path().join("chat.jsonl").display().to_string();
    let left = || fs::read_dir(folder.path()).unwrap().count();
    for (signal, lock) in ["-TERM", "-INT"].map(|signal| (signal, database.locked())) {
        // It waits for whoever holds the database.
        let lock = lock.await;
        let mut export = program(&["export", &file, "--database", &database.url]);
        let export = export.stderr(Stdio::piped()).spawn().unwrap();
        soon(async {
            while left() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let mut kill = Command::new("kill");
        assert!(soon(kill.args([signal, &export.id().unwrap().to_string()]).status()).await.unwrap().success());
        let output = soon(export.wait_with_output()).await.unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "duologue: the export was interrupted\n");
        assert_eq!((output.status.code(), left()), (Some(1), 0));
        drop(lock);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_overwrites_nothing_and_says_what_is_wrong() {
    let (database, folder) = (world().await, tempfile::tempdir().unwrap());
    let file = folder.path().join("chat.jsonl").display().to_string();
    let export = ["export", &file, "--database", &database.url];
    assert!(run(&export).await.status.success());
    let there = format!("cannot write {file}: it is there already: name another file");
    assert_eq!(error(&export).await, there);
    let nobody = ["export", "-", "--user", "usr_99", "--database", &database.url];
    assert_eq!(error(&nobody).await, "cannot export to -: There is no user usr_99.");
    let nobody = ["export", "-", "--user", "x@example.com", "--database", &database.url];
    assert_eq!(error(&nobody).await, "there is no account with this address");
    let nowhere = ["export", "/nowhere/chat.jsonl", "--database", &database.url];
    assert!(error(&nowhere).await.starts_with("cannot write /nowhere/chat.jsonl: "));
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["chat.jsonl"]);
    let to_stdout = run(&["export", "-", "--database", &database.url]).await;
    assert_eq!(to_stdout.stdout, fs::read(&file).unwrap());

    // Nobody asked for more than this one.
    let list = run(&["audit", "--database", &database.url]).await;
    assert_eq!(String::from_utf8(list.stdout).unwrap().matches("export").count(), 2);

    // What earlier versions accepted is taken back, and so is an id that has no room after it.
    let odd = folder.path().join("odd.jsonl");
    let lines = [
        json!({ "export": { "format": 1, "lastId": 4_503_599_627_370_500_i64 } }),
        json!({ "user": { "id": 1, "name": "A\u{202E}\tda", "email": "a b@x", "createdAt": "2026-01-31T12:00:00.000Z" } }),
        json!({ "user": { "id": 2, "name": "Bob", "createdAt": "2026-01-31T12:00:00.000Z" } }),
        json!({ "message": { "id": 5, "senderId": 1, "receiverId": 2, "content": "later", "createdAt": "2026-01-31T12:00:01.000Z",
            "clientId": "a\tb" } }),
        json!({ "message": { "id": 4_503_599_627_370_497_i64, "senderId": 2, "receiverId": 1, "content": "earlier",
            "createdAt": "2026-01-31T12:00:00.000Z", "replyToId": 5 } }),
        json!({ "message": { "id": 4_503_599_627_370_498_i64, "senderId": 2, "receiverId": 1, "content": "edited",
            "createdAt": "2026-01-31T12:00:02.000Z", "version": 1, "editedAt": "2026-01-31T12:00:03.000Z" } }),
        json!({ "message": { "id": 4_503_599_627_370_499_i64, "senderId": 2, "receiverId": 1,
            "createdAt": "2026-01-31T12:00:02.000Z", "version": 1, "editedAt": "2026-01-31T12:00:03.000Z",
            "deletedAt": "2026-01-31T12:00:04.000Z" } }),
    ];
    fs::write(&odd, lines.map(|line| line.to_string()).join("\n")).unwrap();
    let one = other();
    imports(&one, &odd).await;
    let [first, second] = ["odd-1.jsonl", "odd-2.jsonl"].map(|name| folder.path().join(name));
    let exported = exports(&one, &first, &[]).await;
    assert_eq!(exported.lines().count(), lines_of(&odd));
    let two = Database::new().await;
    imports(&two, &first).await;
    assert_eq!(exports(&two, &second, &[]).await, exported);

    let later = folder.path().join("later.jsonl");
    fs::write(&later, "{\"export\": {\"format\": 2}}\n").unwrap();
    let import = error(&["import", &later.display().to_string(), "--database", &other().url]).await;
    assert!(import.contains("line 1: This export has the format 2, and this version reads 1"), "{import}");
    fs::write(&later, "{\"export\": {\"format\": 1, \"lastId\": 9223372036854775807}}\n").unwrap();
    let import = error(&["import", &later.display().to_string(), "--database", &other().url]).await;
    assert!(import.contains("line 1: The lastId must be at most 6755399441055744: leave room"), "{import}");
}
