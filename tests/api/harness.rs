//! A server of one's own, and the people who use it.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use duologue::{
    app::App,
    domain::{Viewer, admin},
    graphql::Api,
    model::{texts::Name, timestamps::Timestamp},
};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::oneshot, task::JoinHandle};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite};

pub(crate) use crate::{clock::HeldClock, database::Database};

/// What is expected happens within this time, or not at all.
const DEADLINE: Duration = Duration::from_mins(1);

/// The result, if it comes in time.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("nothing came in time")
}

/// A clock that shows noon of 31 January 2026, and a second more each time somebody looks.
fn clock() -> impl Fn() -> Timestamp {
    let noon: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
    let next = AtomicI64::new(noon.milliseconds());
    move || Timestamp::from_milliseconds(next.fetch_add(1_000, Ordering::Relaxed))
}

/// Signs the tokens of all servers here: 32 bytes in base64.
pub(crate) const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// Flags of a server where people sign in.
pub(crate) const ACCOUNTS: [&str; 4] = ["--auth", "jwt", "--signing-key", KEY];

/// Whether everything is done by a program with a service token, and not on an open server.
pub(crate) fn signed_in() -> bool {
    std::env::var_os("DUOLOGUE_TEST_SIGNED_IN").is_some()
}

/// A running server.
pub(crate) struct Chat {
    pub(crate) app: Arc<App>,
    /// What is sent as `Authorization` unless a test says otherwise.
    pub(crate) authorization: Option<String>,
    pub(crate) address: SocketAddr,
    pub(crate) database: Database,
    pub(crate) http: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl Chat {
    pub(crate) async fn open() -> Self {
        Self::with(&[]).await
    }

    /// With flags of `duologue serve`.
    pub(crate) async fn with(flags: &[&str]) -> Self {
        Self::on(Database::new().await, flags).await
    }

    pub(crate) async fn on(database: Database, flags: &[&str]) -> Self {
        if signed_in() && !flags.contains(&"--auth") {
            let authorization = authorization(&database).await;
            return Self::serving(database, &[&ACCOUNTS, flags].concat(), authorization).await;
        }
        Self::serving(database, flags, None).await
    }

    /// Where nobody signs in, whatever the others do.
    pub(crate) async fn open_to_all(flags: &[&str]) -> Self {
        Self::on(Database::new().await, &[&["--auth", "open"], flags].concat()).await
    }

    /// With a clock that shows what it is.
    pub(crate) async fn in_real_time(database: Database, flags: &[&str]) -> Self {
        Self::serving_by(Timestamp::now, database, flags, None).await
    }

    /// With a clock that the test holds.
    pub(crate) async fn by(clock: &HeldClock, database: Database, flags: &[&str]) -> Self {
        Self::serving_by(clock.reader(), database, flags, None).await
    }

    async fn serving(database: Database, flags: &[&str], authorization: Option<String>) -> Self {
        Self::serving_by(clock(), database, flags, authorization).await
    }

    async fn serving_by(
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
        database: Database,
        flags: &[&str],
        authorization: Option<String>,
    ) -> Self {
        let settings = database.settings(flags);
        let mut app = App::open_with_clock(&settings.database, clock).await.unwrap();
        app.configure(&settings).await.unwrap();
        let app = Arc::new(app);
        let listeners = duologue::http::listen(&settings.addresses.listen).unwrap();
        let address = listeners[0].local_addr().unwrap();
        let origins = duologue::http::origins(&settings).unwrap();
        let api = Api::open(&app, &settings.limits).unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn({
            let app = app.clone();
            async move {
                let drain_delay = settings.drain_delay;
                let stop = async move {
                    let _ = stopped.await;
                    drain_delay
                };
                duologue::http::serve(listeners, Vec::new(), &app, api, &settings, origins, stop).await;
            }
        });
        let http = client(authorization.as_deref());
        Self { app, authorization, address, database, http, stop: Some(stop), serving }
    }

    /// Stops as the program does when it is told to; gives the database back.
    pub(crate) async fn stop(mut self) -> Database {
        self.stop.take().unwrap().send(()).unwrap();
        soon(self.serving).await.unwrap();
        self.app.close().await;
        self.database
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The answer to a request, with its errors.
    pub(crate) async fn ask(&self, query: &str, variables: Value) -> Value {
        self.ask_with(None, query, variables).await
    }

    /// The same, with an access token.
    pub(crate) async fn ask_with(&self, token: Option<&str>, query: &str, variables: Value) -> Value {
        let body = json!({ "query": query, "variables": variables });
        let mut request = self.http.post(self.url("/graphql")).json(&body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        soon(async { request.send().await.unwrap().json().await.unwrap() }).await
    }

    /// The data of an answer that has no errors.
    pub(crate) async fn data(&self, query: &str, variables: Value) -> Value {
        let mut answer = self.ask(query, variables).await;
        assert_eq!(answer.get("errors"), None, "{query}");
        answer["data"].take()
    }

    /// The code of the only error.
    pub(crate) async fn code(&self, query: &str, variables: Value) -> String {
        code(&self.ask(query, variables).await)
    }

    /// A new user.
    pub(crate) async fn person(&self, name: &str) -> Person<'_> {
        let email = format!("{}@example.com", name.to_lowercase());
        let create =
            "mutation ($input: CreateUserInput!) { createUser(input: $input) { user { id } userErrors { code } } }";
        let data = self.data(create, json!({ "input": { "name": name, "email": email } })).await;
        Person { chat: self, id: text(&data["createUser"]["user"]["id"]) }
    }

    /// A new socket on which nothing was said yet.
    pub(crate) async fn socket(&self) -> Socket {
        Socket::open_with(self.address, "graphql-transport-ws", self.authorization.as_deref()).await
    }

    /// The texts of a conversation as a page has them.
    pub(crate) async fn texts(&self, one: &Person<'_>, other: &Person<'_>) -> Vec<String> {
        let page = "query ($one: ID!, $other: ID!) {
            conversation(user1: $one, user2: $other) { messages { nodes { content } } }
        }";
        let data = self.data(page, json!({ "one": one.id, "other": other.id })).await;
        let nodes = data["conversation"]["messages"]["nodes"].as_array().unwrap().clone();
        nodes.iter().map(|node| text(&node["content"])).collect()
    }
}

/// What is to be sent as `Authorization`: a new token of a program that may act for everyone; `None` on an open server.
pub(crate) async fn authorization(database: &Database) -> Option<String> {
    if signed_in() { Some(authorization_of_a_program(database).await) } else { None }
}

/// What a program sends as `Authorization` that may act for everyone where people sign in.
pub(crate) async fn authorization_of_a_program(database: &Database) -> String {
    let app = App::open(&database.settings(&[]).database).await.unwrap();
    let name = Name::parse("tests".into()).unwrap();
    let (_, token) = admin::issue_token(&app, &Viewer::operator(&app), name).await.unwrap();
    app.close().await;
    format!("Bearer {token}")
}

/// A client that sends this with each request.
pub(crate) fn client(authorization: Option<&str>) -> reqwest::Client {
    let header = authorization.map(|authorization| ("authorization".parse().unwrap(), authorization.parse().unwrap()));
    reqwest::Client::builder().default_headers(header.into_iter().collect()).build().unwrap()
}

/// The text of a JSON string.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// The code of the only error of an answer.
pub(crate) fn code(answer: &Value) -> String {
    let errors = answer["errors"].as_array().unwrap_or_else(|| panic!("no errors: {answer}"));
    assert_eq!(errors.len(), 1, "{answer}");
    text(&errors[0]["extensions"]["code"])
}

/// Somebody who chats.
pub(crate) struct Person<'a> {
    pub(crate) chat: &'a Chat,
    pub(crate) id: String,
}

pub(crate) const SEND: &str = "mutation ($input: SendMessageInput!) {
    sendMessage(input: $input) {
        message { id content clientId version replyTo { id } }
        duplicate
        userErrors { code field message }
    }
}";

impl Person<'_> {
    /// Sends and gives the id of the message.
    pub(crate) async fn sends(&self, content: &str, to: &Person<'_>) -> String {
        let sent = self.tries_to_send(json!({ "receiverId": to.id, "content": content })).await;
        assert_eq!(sent["userErrors"], json!([]));
        text(&sent["message"]["id"])
    }

    /// Sends the input as it is; gives the payload.
    pub(crate) async fn tries_to_send(&self, mut input: Value) -> Value {
        if input.get("senderId").is_none() {
            input["senderId"] = json!(self.id);
        }
        self.chat.data(SEND, json!({ "input": input })).await["sendMessage"].take()
    }

    pub(crate) async fn edits(&self, message: &str, content: &str) -> Value {
        let edit = "mutation ($id: ID!, $input: UpdateMessageInput!) {
            updateMessage(id: $id, input: $input) { message { id content version editedAt } userErrors { code field } }
        }";
        let variables = json!({ "id": message, "input": { "content": content } });
        self.chat.data(edit, variables).await["updateMessage"].take()
    }

    pub(crate) async fn deletes(&self, message: &str) -> Value {
        let delete = "mutation ($id: ID!) { deleteMessage(id: $id) { deletedId userErrors { code field } } }";
        self.chat.data(delete, json!({ "id": message })).await["deleteMessage"].take()
    }

    pub(crate) async fn leaves(&self, erase_messages: bool) -> Value {
        let delete = "mutation ($id: ID!, $erase: Boolean!) {
            deleteUser(id: $id, eraseMessages: $erase) { deletedId userErrors { code field } }
        }";
        self.chat.data(delete, json!({ "id": self.id, "erase": erase_messages })).await["deleteUser"].take()
    }

    /// Follows the own feed; everything that happens from now on comes.
    pub(crate) async fn feed(&self) -> Feed {
        let query = "subscription ($user: ID!) {
            feed(userId: $user) { kind messageId message { content sender { name } } conversation { id } cursor at }
        }";
        Feed::follow(self.chat, query, json!({ "user": self.id })).await
    }
}

/// A WebSocket.
pub(crate) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    pub(crate) async fn open(address: SocketAddr, protocol: &str) -> Self {
        Self::open_with(address, protocol, None).await
    }

    pub(crate) async fn open_with(address: SocketAddr, protocol: &str, authorization: Option<&str>) -> Self {
        Self::open_at(&format!("ws://{address}/graphql"), protocol, authorization).await
    }

    pub(crate) async fn open_at(url: &str, protocol: &str, authorization: Option<&str>) -> Self {
        let mut request = tungstenite::client::ClientRequestBuilder::new(url.parse().unwrap());
        if let Some(authorization) = authorization {
            request = request.with_header("authorization", authorization);
        }
        let request = if protocol.is_empty() { request } else { request.with_sub_protocol(protocol) };
        // Small messages at once, as browsers send them.
        let connecting = tokio_tungstenite::connect_async_with_config(request, None, true);
        let (stream, _) = soon(connecting).await.unwrap();
        Self { stream }
    }

    /// After `connection_init`.
    pub(crate) async fn ready(chat: &Chat) -> Self {
        let mut socket = chat.socket().await;
        socket.says(json!({ "type": "connection_init" })).await;
        assert_eq!(socket.hears().await, json!({ "type": "connection_ack" }));
        socket
    }

    /// Waits until something has arrived, and takes nothing of it.
    pub(crate) async fn feels(&self) {
        let MaybeTlsStream::Plain(stream) = self.stream.get_ref() else { unreachable!("nothing is encrypted here") };
        soon(stream.peek(&mut [0])).await.unwrap();
    }

    pub(crate) async fn says(&mut self, message: Value) {
        self.says_raw(tungstenite::Message::text(message.to_string())).await;
    }

    pub(crate) async fn says_raw(&mut self, message: tungstenite::Message) {
        // The server may have closed already, and said why.
        let _ = self.stream.send(message).await;
    }

    pub(crate) async fn subscribes(&mut self, id: &str, query: &str, variables: Value) {
        let payload = json!({ "query": query, "variables": variables });
        self.says(json!({ "type": "subscribe", "id": id, "payload": payload })).await;
    }

    /// The next message.
    pub(crate) async fn hears(&mut self) -> Value {
        match self.hears_raw().await {
            tungstenite::Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("no text: {other:?}"),
        }
    }

    /// The code with which the server closes.
    pub(crate) async fn hears_close(&mut self) -> u16 {
        match self.hears_raw().await {
            tungstenite::Message::Close(Some(frame)) => frame.code.into(),
            other => panic!("no close: {other:?}"),
        }
    }

    /// The next message of any kind; `None` if the connection is gone.
    pub(crate) async fn hears_or_ends(&mut self) -> Option<tungstenite::Message> {
        soon(self.stream.next()).await?.ok()
    }

    async fn hears_raw(&mut self) -> tungstenite::Message {
        loop {
            let message = self.hears_or_ends().await.expect("the socket ended");
            if !matches!(message, tungstenite::Message::Ping(_) | tungstenite::Message::Pong(_)) {
                return message;
            }
        }
    }
}

/// Somebody's feed.
pub(crate) struct Feed {
    pub(crate) socket: Socket,
}

impl Feed {
    /// Follows from now on: `CAUGHT_UP` was heard.
    pub(crate) async fn follow(chat: &Chat, query: &str, variables: Value) -> Self {
        let mut feed = Self { socket: Socket::ready(chat).await };
        feed.socket.subscribes("feed", query, variables).await;
        assert_eq!(feed.next().await["kind"], "CAUGHT_UP");
        feed
    }

    /// The next event.
    pub(crate) async fn next(&mut self) -> Value {
        let mut message = self.socket.hears().await;
        assert_eq!(message["type"], "next", "{message}");
        message["payload"]["data"]["feed"].take()
    }
}
