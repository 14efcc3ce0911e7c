//! The API inside another program: `examples/embedded`, over async-graphql-axum.

use serde_json::{Value, json};

use crate::{
    accounts::Member,
    harness::{ACCOUNTS, Chat, Database, Socket, code, soon},
};

#[path = "../../examples/embedded/main.rs"]
#[allow(dead_code, reason = "its `main` is not run here")]
mod example;

#[tokio::test(flavor = "multi_thread")]
async fn another_program_mounts_the_api_beside_its_own_routes() {
    let database = Database::new().await;
    let settings = database.settings(&ACCOUNTS);
    let (app, api) = example::opened(&settings).await.unwrap();
    let _jobs = example::begin_jobs(&app, &settings);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { example::serve(listener, app, api).await });
    // Accounts are made over the server's own door, on the same database.
    let chat = Chat::in_real_time(database, &ACCOUNTS).await;
    let ada = Member::signs_up(&chat, "Ada").await;

    let url = format!("http://{address}/api");
    let ask = async |token: Option<&str>, query: &str| -> Value {
        let mut request = chat.http.post(&url).json(&json!({ "query": query }));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        soon(request.send()).await.unwrap().json().await.unwrap()
    };
    let me = "{ me { user { name } } users { nodes { id } } }";
    let expected = json!({ "me": { "user": { "name": "Ada" } }, "users": { "nodes": [{ "id": ada.id }] } });
    assert_eq!(ask(Some(&ada.access), me).await, json!({ "data": expected }));
    assert_eq!(code(&ask(None, me).await), "UNAUTHENTICATED");
    assert_eq!(code(&ask(None, "{ nothing }").await), "GRAPHQL_VALIDATION_FAILED");
    let deep = "{ users(first: 100) { nodes { sentMessages(first: 100) { nodes { id } } } } }";
    assert_eq!(code(&ask(Some(&ada.access), deep).await), "QUERY_TOO_COMPLEX");
    let forged = chat.http.post(&url).bearer_auth("x").json(&json!({ "query": me }));
    assert_eq!(soon(forged.send()).await.unwrap().status(), 401);

    let guess =
        r#"mutation { signIn(input: { email: "ada@example.com", password: "a guess" }) { userErrors { code } } }"#;
    for _ in 0..10 {
        assert_eq!(ask(None, guess).await["data"]["signIn"]["userErrors"][0]["code"], "BAD_CREDENTIALS");
    }
    assert_eq!(code(&ask(None, guess).await), "RATE_LIMITED");

    let form = chat.http.post(&url).header("content-type", "text/plain").body(json!({ "query": me }).to_string());
    assert_eq!(soon(form.send()).await.unwrap().status(), 415);

    let socket_url = format!("ws://{address}/api");
    let mut socket = Socket::open_at(&socket_url, "graphql-transport-ws", None).await;
    socket.says(json!({ "type": "connection_init" })).await;
    assert_eq!(socket.hears().await["type"], "connection_ack");
    socket.subscribes("1", "{ server { features } }", json!({})).await;
    assert_eq!(socket.hears().await["payload"]["data"]["server"]["features"][0], "accounts");
    let own = soon(chat.http.get(format!("http://{address}/")).send()).await.unwrap();
    assert_eq!(own.text().await.unwrap(), "This program is another one.\n");

    let mut socket = Socket::open_at(&socket_url, "graphql-transport-ws", None).await;
    let payload = json!({ "authorization": format!("Bearer {}", ada.access) });
    socket.says(json!({ "type": "connection_init", "payload": payload })).await;
    assert_eq!(socket.hears().await["type"], "connection_ack");
    socket.subscribes("1", "subscription { feed { kind } }", json!({})).await;
    assert_eq!(socket.hears().await["payload"]["data"]["feed"]["kind"], "CAUGHT_UP");
    // With the session of the token the socket ends.
    let signed_out = ask(Some(&ada.access), "mutation { signOut { userErrors { code } } }").await;
    assert_eq!(signed_out, json!({ "data": { "signOut": { "userErrors": [] } } }));
    assert!(socket.hears_or_ends().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_one_refuses_the_pages_of_other_sites() {
    let database = Database::new().await;
    let (app, api) = example::opened(&database.settings(&[])).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (port, url) = (address.port(), format!("http://{address}/api"));
    tokio::spawn(async move { example::serve(listener, app, api).await });
    let http = reqwest::Client::new();
    let status = async |headers: &[(&str, &str)]| {
        let mut request = http.post(&url).json(&json!({ "query": "{ users { nodes { id } } }" }));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        soon(request.send()).await.unwrap().status().as_u16()
    };
    let (local, evil) = (format!("localhost:{port}"), format!("evil.example:{port}"));
    let [own, foreign] = [&local, &evil].map(|host| format!("http://{host}"));
    assert_eq!(status(&[]).await, 200);
    assert_eq!(status(&[("host", "[::1]")]).await, 200);
    assert_eq!(status(&[("host", &local), ("origin", &own)]).await, 200);
    assert_eq!(status(&[("origin", &foreign)]).await, 403);
    assert_eq!(status(&[("origin", "null")]).await, 403);
    // It has resolved its own name to this machine.
    assert_eq!(status(&[("host", &evil), ("origin", &foreign)]).await, 403);
    // A page is refused before its WebSocket opens.
    let opening = http.get(&url).header("origin", &foreign).header("sec-websocket-protocol", "graphql-transport-ws");
    assert_eq!(soon(opening.send()).await.unwrap().status(), 403);
}
