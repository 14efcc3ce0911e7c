//! Secrets: whatever happens, no password, token, address or text of a message is in the log, in the database as it is, or in
//! an error.

use std::process::Stdio;

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, phc::PasswordHash},
};
use duologue::{
    domain::{Error, Viewer, accounts, users},
    model::texts::Password,
    store,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::ChildStderr,
    task::{JoinHandle, yield_now},
};

use crate::{
    accounts::{Member, accounts},
    endpoints::{Program, good, status},
    harness::{ACCOUNTS, Chat, Database, KEY, SEND, Socket, client, code, soon, text},
    imports::import,
    program::{program, signs_up, started, terminate},
    searches::SEARCH,
};

const EMAIL: &str = "ada.lovelace@example.com";
const PASSWORD: &str = "a very secret password";
const MESSAGE: &str = "meet me at the secret place";

/// All that a program logs until it ends.
fn read_to_end(mut log: ChildStderr) -> JoinHandle<String> {
    tokio::spawn(async move {
        let mut text = String::new();
        log.read_to_string(&mut text).await.unwrap();
        text
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_in_the_log_or_stored_as_it_is() {
    let database = Database::new().await;
    let fixed = ["serve", "--listen", "127.0.0.1:0", "--database", &database.url];
    let mut command = program(&[&fixed, &ACCOUNTS[..]].concat());
    let mut server = command.env("RUST_LOG", "trace").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let reading = read_to_end(server.stderr.take().unwrap());
    let mut line = String::new();
    soon(BufReader::new(server.stdout.take().unwrap()).read_line(&mut line)).await.unwrap();
    let address = line.split_whitespace().find_map(|word| word.strip_prefix("http://")).unwrap();
    let address = address.trim_end_matches('/').to_owned();

    let http = reqwest::Client::new();
    let ask = async |token: &str, query: &str, variables: Value| {
        let body = json!({ "query": query, "variables": variables });
        let request = http.post(format!("http://{address}/graphql")).json(&body);
        let request = if token.is_empty() { request } else { request.bearer_auth(token) };
        let answer: Value = soon(request.send()).await.unwrap().json().await.unwrap();
        answer
    };
    let sign_up = "mutation ($email: String!, $password: String!) {
        signUp(input: { name: \"Ada\", email: $email, password: $password }) { accessToken refreshToken } }";
    let signed = ask("", sign_up, json!({ "email": EMAIL, "password": PASSWORD })).await["data"]["signUp"].take();
    let (access, refresh) = (text(&signed["accessToken"]), text(&signed["refreshToken"]));
    let sign_in = sign_up.replace("signUp(input: { name: \"Ada\",", "signIn(input: {");
    ask("", &sign_in, json!({ "email": EMAIL, "password": format!("{PASSWORD}!") })).await;
    ask("", sign_up, json!({ "email": "bob@example.com", "password": PASSWORD })).await;
    let send = "mutation ($text: String!) { sendMessage(input: { receiverId: 2, content: $text }) { message { id } } }";
    let answer = ask(&access, send, json!({ "text": MESSAGE })).await;
    assert_eq!(answer["data"]["sendMessage"]["message"]["id"], "msg_1", "{answer}");
    ask(&format!("{access}x"), send, json!({ "text": MESSAGE })).await;
    ask(&access, &format!("{{ {MESSAGE} }}"), json!({})).await;
    ask("", "mutation ($t: String!) { refreshSession(refreshToken: $t) { accessToken } }", json!({ "t": refresh }))
        .await;
    let mut socket = Socket::open(address.parse().unwrap(), "graphql-transport-ws").await;
    socket.says(json!({ "type": "connection_init", "payload": { "authorization": format!("Bearer {access}") } })).await;
    socket.subscribes("1", "subscription { feed { message { content } } }", json!({})).await;
    socket.hears().await;
    terminate(server).await;

    let log = soon(reading).await.unwrap();
    assert!(log.contains("stopping"), "{log}");
    let secrets = [EMAIL, PASSWORD, MESSAGE, &*access, &*refresh, access.rsplit('.').next().unwrap(), "correct horse"];
    for secret in secrets {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
    if let Some(path) = database.url.strip_prefix("sqlite:") {
        let mut stored = std::fs::read(path).unwrap();
        stored.extend(std::fs::read(format!("{path}-wal")).unwrap_or_default());
        let stored = String::from_utf8_lossy(&stored);
        assert!(stored.contains("$argon2id$v=19$m=19456,t=2,p=1$"));
        for secret in [PASSWORD, &*access, &*refresh] {
            assert!(!stored.contains(secret), "{secret}");
        }
    }
}

const WORD: &str = "xylographer";
const ENDPOINT_KEY: &str = "sk-secret-key";

/// Sends and searches on a server that logs everything and has its vectors from this program, which fails after a while and repeats what
/// it was sent; gives the log.
async fn log_of_searches(endpoint: &Program, url: &str, key: Option<&str>) -> String {
    endpoint.set(good);
    let database = Database::new().await;
    let fixed = ["serve", "--listen", "127.0.0.1:0", "--database", &database.url, "--max-searches", "off"];
    let mut command =
        program(&[&fixed, &ACCOUNTS[..], &["--embedding-url", url, "--embedding-name", "small"]].concat());
    command.env_remove("DUOLOGUE_NO_EMBEDDINGS").env("RUST_LOG", "trace").stderr(Stdio::piped());
    command.envs(key.map(|key| ("DUOLOGUE_EMBEDDING_KEY", key)));
    let (mut server, address) = started(command).await;
    let reading = read_to_end(server.stderr.take().unwrap());
    let (_, authorization) = signs_up(address, "ada").await;
    let (bob, _) = signs_up(address, "bob").await;
    let http = client(Some(&authorization));
    let ask = async |query: &str, variables: Value| -> Value {
        let body = json!({ "query": query, "variables": variables });
        soon(http.post(format!("http://{address}/graphql")).json(&body).send()).await.unwrap().json().await.unwrap()
    };
    let send = async |text: &str| ask(SEND, json!({ "input": { "receiverId": bob, "content": text } })).await;
    let find = async |mode: &str, number: usize| {
        ask(SEARCH, json!({ "input": { "text": format!("{WORD} {number}"), "mode": mode } })).await
    };
    // The endpoint is sent a text with this in it.
    let is_embedded = async |text: &str| {
        let has = |body: &Value| body["input"].to_string().contains(text);
        soon(async {
            while !endpoint.seen().iter().any(|(_, body)| has(body)) {
                yield_now().await;
            }
        })
        .await;
    };
    send(MESSAGE).await;
    is_embedded(MESSAGE).await;
    for (number, mode) in ["TEXT", "HYBRID", "SEMANTIC"].into_iter().enumerate() {
        let found = find(mode, number).await;
        assert_eq!((found.get("errors"), &found["data"]["searchMessages"]["mode"]), (None, &json!(mode)));
    }
    is_embedded(WORD).await;
    for (number, failure) in [400, 401, 500].into_iter().enumerate() {
        endpoint.set(move |body| status(failure, &json!({ "error": { "message": body["input"].to_string() } })));
        send(&format!("{MESSAGE} {failure}")).await;
        if number == 0 {
            // Afterwards the job pauses.
            is_embedded(&format!("{MESSAGE} {failure}")).await;
        }
        assert_eq!(code(&find("SEMANTIC", 10 + number).await), "UNAVAILABLE", "{failure}");
        assert_eq!(find("HYBRID", 20 + number).await["data"]["searchMessages"]["mode"], "TEXT");
        find("TEXT", 30 + number).await;
    }
    terminate(server).await;
    soon(reading).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_searched_is_in_the_log() {
    let endpoint = Program::start(good).await;
    let with_user = endpoint.url.replace("http://", "http://somebody:passw0rd@");
    for (url, key) in [(&endpoint.url, Some(ENDPOINT_KEY)), (&with_user, None)] {
        let log = log_of_searches(&endpoint, url, key).await;
        assert!(log.contains("messages get no vectors") && log.contains("stopping"), "{log}");
        for secret in [WORD, MESSAGE, ENDPOINT_KEY, "somebody", "passw0rd", "c29tZWJvZHk6cGFzc3cwcmQ="] {
            let line = log.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret}");
        }
    }
}

/// A change that was begun before its session ended, and that took long, is not made.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_signed_out_meanwhile_changes_nothing() {
    let chat = Chat::with(&ACCOUNTS).await;
    let ada = Member::signs_up(&chat, "Ada").await;
    let viewer = Viewer::of(&chat.app, Some(&format!("Bearer {}", ada.access))).await.unwrap();
    accounts::sign_out(&chat.app, &viewer, None, None).await.unwrap();
    let id = ada.id.parse().unwrap();
    let changes = users::Changes { password: Password::parse("another password".into()).ok(), ..Default::default() };
    let outcome = users::update(&chat.app, &viewer, id, changes).await;
    assert!(matches!(outcome, Err(Error::Unauthenticated)));
    assert!(matches!(users::delete(&chat.app, &viewer, id, true).await, Err(Error::Unauthenticated)));
    // The password is still the old one.
    Member::signs_in(&chat, "Ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_changed_without_signing_anybody_out() {
    let new = "bmV3IG5ldyBuZXcgbmV3IG5ldyBuZXcgbmV3IG5ldyE=";
    let serving = async |database: Database, keys: &str| {
        Chat::in_real_time(database, &["--auth", "jwt", "--signing-key", keys]).await
    };
    let known = async |chat: &Chat, member: &Member| {
        let answer = member.asks(chat, "{ me { user { id } } }", json!({})).await;
        answer["data"]["me"]["user"]["id"] == member.id
    };
    let chat = serving(Database::new().await, KEY).await;
    let ada = Member::signs_up(&chat, "Ada").await;
    let chat = serving(chat.stop().await, &format!("{new},{KEY}")).await;
    let bob = Member::signs_up(&chat, "Bob").await;
    assert!(known(&chat, &ada).await && known(&chat, &bob).await);
    let chat = serving(chat.stop().await, new).await;
    assert!(!known(&chat, &ada).await && known(&chat, &bob).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_looks_after_accounts() {
    let database = Database::new().await;
    assert!(soon(program(&["migrate", "--database", &database.url]).output()).await.unwrap().status.success());
    let admin = async |arguments: &[&str], input: &str| {
        let fixed = [&["admin"], arguments, &["--database", &*database.url]].concat();
        let mut command = program(&fixed);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        let output = soon(child.wait_with_output()).await.unwrap();
        let said = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim_end().to_owned();
        if output.status.success() { Ok(said(output.stdout)) } else { Err(said(output.stderr)) }
    };
    assert_eq!(
        admin(&["create", "root@example.com"], "correct horse battery\n").await.as_deref(),
        Ok("usr_1 is an admin.")
    );
    let short = admin(&["create", "other@example.com"], "short\n").await;
    assert_eq!(short, Err("duologue: The password must have at least 12 characters.".into()));
    let token = admin(&["issue-token", "billing"], "").await.unwrap();
    assert!(token.starts_with("duo_svc_"));
    let listed = admin(&["tokens"], "").await.unwrap();
    assert!(listed.contains("\nsvc_1\t") && listed.ends_with("\tbilling") && !listed.contains(&token), "{listed}");

    let chat = Chat::in_real_time(database, &ACCOUNTS).await;
    let made = r#"mutation { createUser(input: { name: "Ada", email: "ada@x" }) { user { id email } } }"#;
    let answer = chat.ask_with(Some(&token), made, json!({})).await;
    assert_eq!(answer["data"]["createUser"]["user"], json!({ "id": "usr_2", "email": "ada@x" }));
    let sign_in = r#"mutation {
        signIn(input: { email: "root@example.com", password: "correct horse battery" }) { accessToken }
    }"#;
    let root = text(&chat.data(sign_in, json!({})).await["signIn"]["accessToken"]);
    let mut socket = Socket::open_with(chat.address, "graphql-transport-ws", Some(&format!("Bearer {root}"))).await;
    socket.says(json!({ "type": "connection_init" })).await;
    assert_eq!(socket.hears().await["type"], "connection_ack");
    let url = chat.database.url.clone();
    let admin = async |arguments: &[&str]| {
        let output = soon(program(&[&["admin"], arguments, &["--database", &*url]].concat()).output()).await.unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let (_, listed) = admin(&["sessions", "root@example.com"]).await;
    let session = listed.lines().nth(1).unwrap().split('\t').next().unwrap();
    assert_eq!(admin(&["end-session", session]).await, (true, format!("{session} of usr_1 has ended.\n")));
    assert_eq!(admin(&["revoke-token", "svc_1"]).await, (true, "svc_1 is revoked.\n".into()));
    assert!(!admin(&["revoke-token", "svc_1"]).await.0 && !admin(&["sessions", "nobody@x"]).await.0);
    for token in [&token, &root] {
        let refused = chat.ask_with(Some(token), "{ me { user { id } } }", json!({})).await;
        assert_eq!(code(&refused), "UNAUTHENTICATED");
    }
    // Another process ended the session: the server notices in a few seconds.
    accounts::poll_revocations(&chat.app).await;
    assert_eq!(socket.hears_close().await, 4403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_changes_nothing_after_its_session_has_ended() {
    let chat = accounts().await;
    let (ada, bob) = (Member::signs_up(&chat, "Ada").await, Member::signs_up(&chat, "Bob").await);
    let session = ada.session(&chat).await;
    let send = json!({ "query": SEND, "variables": { "input": { "receiverId": bob.id, "content": "x" } } });
    let batch = json!([send, { "query": "mutation { signOut { sessionId } }" }, send]);
    let request = chat.http.post(chat.url("/graphql")).bearer_auth(&ada.access).json(&batch);
    let answers: Value = soon(request.send()).await.unwrap().json().await.unwrap();
    assert!(answers[0]["data"]["sendMessage"]["message"]["id"].is_string(), "{answers}");
    assert_eq!(answers[1]["data"]["signOut"]["sessionId"], session);
    assert_eq!(code(&answers[2]), "UNAUTHENTICATED");
    let stored = bob.asks(&chat, "{ messages { nodes { id } } }", json!({})).await;
    assert_eq!(stored["data"]["messages"]["nodes"].as_array().unwrap().len(), 1);
}

/// Otherwise a stolen token would be of use for as long as the thief renews it with one of their own.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_over_the_socket_of_somebody_else() {
    let chat = accounts().await;
    for (protocol, start) in [("graphql-transport-ws", "subscribe"), ("graphql-ws", "start")] {
        let [ada, eve] = [format!("Ada-{protocol}"), format!("Eve-{protocol}")];
        let (ada, eve) = (Member::signs_up(&chat, &ada).await, Member::signs_up(&chat, &eve).await);
        let mut socket = Socket::open_with(chat.address, protocol, Some(&format!("Bearer {}", ada.access))).await;
        socket.says(json!({ "type": "connection_init" })).await;
        assert_eq!(socket.hears().await["type"], "connection_ack");
        let feed = json!({ "query": "subscription { feed { kind } }" });
        socket.says(json!({ "type": start, "id": "feed", "payload": feed })).await;
        assert_eq!(socket.hears().await["payload"]["data"]["feed"]["kind"], "CAUGHT_UP");
        let take = "mutation ($refresh: String!, $access: String!) {
            refreshSession(refreshToken: $refresh) { viewer { user { id } } }
            renewConnection(accessToken: $access) { expiresAt userErrors { code } }
        }";
        let variables = json!({ "refresh": eve.refresh, "access": eve.access });
        let payload = json!({ "query": take, "variables": variables });
        socket.says(json!({ "type": start, "id": "take", "payload": payload })).await;
        let taken = socket.hears().await["payload"]["data"].take();
        assert_eq!(taken["refreshSession"]["viewer"]["user"]["id"], json!(eve.id));
        assert_eq!(taken["renewConnection"], json!({ "expiresAt": null, "userErrors": [{ "code": "TOKEN_EXPIRED" }] }));
        assert_eq!(socket.hears().await["type"], "complete");
        ada.asks(&chat, "mutation { signOut { sessionId } }", json!({})).await;
        assert_eq!(socket.hears_close().await, 4403);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn how_long_the_messages_of_others_are_is_not_told() {
    let chat = Chat::with(&[&ACCOUNTS[..], &["--max-answer", "2000"]].concat()).await;
    let (ada, bob) = (Member::signs_up(&chat, "Ada").await, Member::signs_up(&chat, "Bob").await);
    let eve = Member::signs_up(&chat, "Eve").await;
    for (sender, length) in [(&ada, 1_500), (&eve, 1_000)] {
        let input = json!({ "receiverId": bob.id, "content": "x".repeat(length) });
        let sent = sender.asks(&chat, SEND, json!({ "input": input })).await;
        assert_eq!(sent["data"]["sendMessage"]["userErrors"], json!([]), "{sent}");
    }
    let nodes = "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }";
    let asked = async |other: &str| eve.asks(&chat, nodes, json!({ "ids": ["msg_2", other] })).await;
    assert_eq!(asked("msg_1").await, json!({ "data": { "nodes": [{ "id": "msg_2" }, null] } }));
    assert_eq!(asked("msg_9").await, asked("msg_1").await);
}

/// Until then it can be told by the time that a wrong password takes that there is such an account.
#[tokio::test(flavor = "multi_thread")]
async fn a_hash_of_other_costs_is_replaced_once_its_user_signs_in() {
    let chat = accounts().await;
    let other = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(64, 1, 1, None).unwrap());
    let password = crate::accounts::PASSWORD.as_bytes();
    let hash: PasswordHash = other.hash_password_with_salt(password, b"sixteen bytes ..").unwrap();
    let mut line = json!({ "id": 1, "name": "Ada", "email": "ada@example.com", "createdAt": "2026-01-31T12:00:00Z" });
    line["passwordHash"] = json!(hash.to_string());
    import(&chat, &json!({ "user": line }).to_string()).await.unwrap();
    // From two devices at once.
    let (one, two) = tokio::join!(Member::signs_in(&chat, "Ada"), Member::signs_in(&chat, "Ada"));
    assert_eq!(one.id, two.id);
    let id = one.id.parse().unwrap();
    let stored = chat.app.store.read(move |conn| store::users::password_hash(conn, id)).await.unwrap().unwrap();
    assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
    assert_eq!(Member::signs_in(&chat, "Ada").await.id, one.id);
}
