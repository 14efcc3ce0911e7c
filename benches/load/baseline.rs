//! The baseline: what the same answers cost without GraphQL. Bare axum and serde over the same store, with the same runtime.
//!
//! It checks nothing that it is sent, has no limits and no deadlines, and cannot be asked for anything else: what a chat
//! server in Rust costs at the least. Beside it, at `/graphql`, the same API as the book of async-graphql serves one: with
//! async-graphql-axum.

use std::{fmt::Display, io, sync::Arc};

use async_graphql_axum::GraphQL;
use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::header,
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use clap::Parser;
use duologue::{
    app::App,
    config::{Cli, Command},
    domain::{self, Viewer, indexing},
    graphql::Api,
    model::{
        self,
        ids::{ConversationId, MessageId, UserId},
        messages::{Draft, List},
        pages::{End, PageRequest},
        texts::Content,
        timestamps::Timestamp,
        users::User,
    },
    store,
};
use serde::{Deserialize, Serialize, Serializer};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::Mutex,
};

#[derive(Clone)]
struct Baseline {
    app: Arc<App>,
    viewer: Viewer,
    /// Held by whoever writes where every message has a commit of its own.
    alone: Arc<Mutex<()>>,
}

/// Serves until it is told to stop. With `indexes`, the words of new messages are indexed beside, as in Duologue.
#[tokio::main]
pub(crate) async fn serve(url: &str, indexes: bool) -> io::Result<()> {
    let arguments = ["duologue", "serve", "--no-embeddings", "--database", url];
    let Command::Serve(settings) = Cli::parse_from(arguments).command else { unreachable!("it is this command") };
    let mut app = App::open(&settings.database).await.unwrap();
    app.configure(&settings).await.unwrap();
    let app = Arc::new(app);
    let api = Api::open(&app, &settings.limits).unwrap();
    if indexes {
        tokio::spawn(indexing::run_words_job(app.clone()));
    }
    let baseline = Baseline { viewer: Viewer::operator(&app), app: app.clone(), alone: Arc::default() };
    let router = Router::new()
        .route("/name", get(name))
        .route("/conversation/{one}/{other}", get(conversation))
        .route("/users/{first}", get(users))
        .route("/send", post(send))
        .route("/send/alone", post(send_alone))
        .with_state(baseline)
        .route_service("/graphql", GraphQL::new(api));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut terminated = signal(SignalKind::terminate())?;
    println!("http://{}/", listener.local_addr()?);
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
    let stop = async move {
        terminated.recv().await;
    };
    axum::serve(listener, router).with_graceful_shutdown(stop).await?;
    app.close().await;
    Ok(())
}

#[derive(Serialize)]
struct Answer<T> {
    data: T,
}

fn answer<T: Serialize>(data: T) -> Response {
    let bytes = serde_json::to_vec(&Answer { data }).unwrap();
    ([(header::CONTENT_TYPE, "application/json")], bytes).into_response()
}

#[derive(Serialize)]
struct Named {
    __typename: &'static str,
}

async fn name() -> Response {
    answer(Named { __typename: "Query" })
}

/// As text, without a text in between.
fn shown<S: Serializer>(value: &impl Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

#[derive(Serialize)]
struct InConversation<T> {
    conversation: InMessages<T>,
}

#[derive(Serialize)]
struct InMessages<T> {
    messages: T,
}

#[derive(Serialize)]
struct InUsers<T> {
    users: T,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page<N, I> {
    nodes: Vec<N>,
    page_info: I,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Earlier {
    has_previous_page: bool,
    start_cursor: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Later {
    has_next_page: bool,
    end_cursor: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    #[serde(serialize_with = "shown")]
    id: MessageId,
    content: &'a str,
    #[serde(serialize_with = "shown")]
    created_at: Timestamp,
    sender: Option<Member<'a>>,
    receiver: Option<Member<'a>>,
}

#[derive(Serialize, Clone, Copy)]
struct Member<'a> {
    #[serde(serialize_with = "shown")]
    id: UserId,
    name: &'a str,
}

impl<'a> Message<'a> {
    fn of(message: &'a model::messages::Message, member: impl Fn(UserId) -> Option<Member<'a>>) -> Self {
        Self {
            id: message.id,
            content: &message.content,
            created_at: message.created_at,
            sender: member(message.sender_id),
            receiver: member(message.receiver_id),
        }
    }
}

/// The newest 50 messages between two users.
async fn conversation(State(baseline): State<Baseline>, Path((one, other)): Path<(i64, i64)>) -> Response {
    let id = ConversationId::between(UserId::new(one).unwrap(), UserId::new(other).unwrap()).unwrap();
    let read = baseline.app.store.read(move |conn| {
        let users = store::users::by_ids(conn, &id.members())?;
        let any = &mut store::TextBudget::new(usize::MAX);
        let pages = store::messages::pages(conn, &[(List::Conversation(id), PageRequest::last(50))], any)?;
        Ok::<_, store::Error>((users, pages))
    });
    let (users, mut pages) = read.await.unwrap();
    let page = pages.pop().unwrap();
    let member =
        |id: UserId| users.iter().find(|user| user.id == id).map(|User { id, name, .. }| Member { id: *id, name });
    let node = |message| Message::of(message, member);
    let start_cursor = page.items.first().map(|message| cursor("message", message.id.key()));
    let page_info = Earlier { has_previous_page: page.has_previous, start_cursor };
    answer(InConversation {
        conversation: InMessages { messages: Page { nodes: page.items.iter().map(node).collect(), page_info } },
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Account<'a> {
    #[serde(serialize_with = "shown")]
    id: UserId,
    name: &'a str,
    email: Option<&'a str>,
    #[serde(serialize_with = "shown")]
    created_at: Timestamp,
}

impl<'a> From<&'a User> for Account<'a> {
    fn from(user: &'a User) -> Self {
        Self { id: user.id, name: &user.name, email: user.email.as_deref(), created_at: user.created_at }
    }
}

/// The first users.
async fn users(State(baseline): State<Baseline>, Path(limit): Path<u16>) -> Response {
    let request = PageRequest { after: None, before: None, limit, end: End::First };
    let page = baseline.app.store.read(move |conn| store::user_pages::page(conn, None, request)).await.unwrap();
    let end_cursor = page.items.last().map(|user| cursor("user", user.id.key()));
    let page_info = Later { has_next_page: page.has_next, end_cursor };
    answer(InUsers { users: Page { nodes: page.items.iter().map(Account::from).collect(), page_info } })
}

fn cursor(kind: &str, key: i64) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("{kind}:{key}"))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToSend {
    sender_id: i64,
    receiver_id: i64,
    content: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InSend {
    send_message: Sent,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    message: SentMessage,
    user_errors: [(); 0],
}

#[derive(Serialize)]
struct SentMessage {
    #[serde(serialize_with = "shown")]
    id: MessageId,
}

/// Sends a message as Duologue does: those that have queued are committed together.
async fn send(State(baseline): State<Baseline>, body: Bytes) -> Response {
    let ToSend { sender_id, receiver_id, content } = serde_json::from_slice(&body).unwrap();
    let draft = Draft {
        sender_id: UserId::new(sender_id).unwrap(),
        receiver_id: UserId::new(receiver_id).unwrap(),
        content: Content::parse(content).unwrap(),
        reply_to_id: None,
        client_id: None,
    };
    let sent = domain::messages::send(&baseline.app, &baseline.viewer, draft).await.ok().unwrap();
    answer(InSend { send_message: Sent { message: SentMessage { id: sent.message.unwrap().id }, user_errors: [] } })
}

/// Sends a message in a commit of its own: the next one waits until it is on the disk.
async fn send_alone(State(baseline): State<Baseline>, body: Bytes) -> Response {
    let alone = baseline.alone.clone();
    let _held = alone.lock().await;
    send(State(baseline), body).await
}
