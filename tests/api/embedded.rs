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
    tokio::spawn(async move { axum::serve(listener, example::routes(app, api)).await });
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

    let mut socket = Socket::open_at(&format!("ws://{address}/api"), "graphql-transport-ws", None).await;
    socket.says(json!({ "type": "connection_init" })).await;
    assert_eq!(socket.hears().await["type"], "connection_ack");
    socket.subscribes("1", "{ server { features } }", json!({})).await;
    assert_eq!(socket.hears().await["payload"]["data"]["server"]["features"][0], "accounts");
    let own = soon(chat.http.get(format!("http://{address}/")).send()).await.unwrap();
    assert_eq!(own.text().await.unwrap(), "This program is another one.\n");
}
