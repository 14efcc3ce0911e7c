//! From a request to its answer: limits first, then the schema, then a code on every error.

use std::sync::{Arc, OnceLock};

use async_graphql::{
    MergedObject, MergedSubscription, Pos, Response, SDLExportOptions, Schema, ServerError, Value, Variables,
    http::GraphiQLSource, parser::types::OperationType,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeMap};
use serde_json::value::{RawValue, to_raw_value};
use tokio::task::JoinError;

use super::{
    BadDocuments, Code,
    accounts::{AccountMutation, AccountQuery},
    blocks::BlockMutation,
    calls::{Asker, Call, new_request_id},
    completion::Plan,
    conversations::{ConversationMutation, ConversationQuery},
    documents::{Document, Documents},
    errors::{code_of, internal, request_error, top_level, with_code},
    feed::{FeedQuery, FeedSubscription},
    limits::check_document,
    messages::{MessageMutation, MessageQuery},
    nodes::NodeQuery,
    persisted::{Persisted, hash_of},
    shape::Shape,
    signals::{SignalMutation, SignalSubscription},
    subscriptions::Subscriptions,
    users::{UserMutation, UserQuery},
    values::check_values,
    written::{Data, Written},
};
use crate::{app::App, config::Limits, domain};

/// Everything that can be read.
#[derive(MergedObject, Default)]
pub(super) struct Query(AccountQuery, UserQuery, MessageQuery, ConversationQuery, FeedQuery, NodeQuery);

/// Everything that can be changed. A batch of changes is made in its order, each on its own.
#[derive(MergedObject, Default)]
pub(super) struct Mutation(
    AccountMutation,
    UserMutation,
    BlockMutation,
    MessageMutation,
    ConversationMutation,
    SignalMutation,
);

/// What happens, as it happens.
#[derive(MergedSubscription, Default)]
pub(super) struct Subscription(FeedSubscription, SignalSubscription);

pub(super) type ChatSchema = Schema<Query, Mutation, Subscription>;

fn schema() -> ChatSchema {
    // The limits of the library come too late, so they are off but for the one that has a default.
    Schema::build(Query::default(), Mutation::default(), Subscription::default()).disable_suggestions().finish()
}

/// The schema in the schema definition language, sorted.
#[must_use]
pub fn sdl() -> String {
    let sorted = SDLExportOptions::new().sorted_fields().sorted_arguments().sorted_enum_items().include_specified_by();
    schema().sdl_with_options(sorted)
}

/// The library's own GraphiQL page, for a server that has no built one. It loads its parts from a public network.
#[must_use]
pub fn library_graphiql(endpoint: &str) -> String {
    GraphiQLSource::build().title("Duologue").endpoint(endpoint).subscription_endpoint(endpoint).finish()
}

/// A request as clients send it: <https://graphql.github.io/graphql-over-http/draft/#sec-Request-Parameters>.
#[derive(Clone, Deserialize)]
#[serde(try_from = "Parameters")]
pub struct Request {
    /// The document; only one that has a hash may be left out.
    pub query: Option<String>,
    /// The name of the document in the protocol of persisted queries, or what is wrong with it.
    pub hash: Option<Result<String, &'static str>>,
    /// Which of its operations is meant, if it has several.
    pub operation_name: Option<String>,
    /// Values of the operation's variables.
    pub variables: serde_json::Map<String, serde_json::Value>,
    /// Not sent in the body: the cursor after which a feed goes on, instead of its own.
    pub resume_after: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with `query`")]
struct Parameters {
    query: Option<String>,
    operation_name: Option<String>,
    #[serde(default, deserialize_with = "map_or_null")]
    variables: serde_json::Map<String, serde_json::Value>,
    #[serde(default, deserialize_with = "map_or_null")]
    extensions: serde_json::Map<String, serde_json::Value>,
}

impl TryFrom<Parameters> for Request {
    type Error = &'static str;

    fn try_from(sent: Parameters) -> Result<Self, &'static str> {
        let Parameters { query, operation_name, variables, extensions } = sent;
        let hash = extensions.get("persistedQuery").filter(|persisted| !persisted.is_null()).map(hash_of);
        if query.is_none() && hash.is_none() {
            return Err("missing field `query`");
        }
        Ok(Self { query, hash, operation_name, variables, resume_after: None })
    }
}

fn map_or_null<'de, D: Deserializer<'de>>(value: D) -> Result<serde_json::Map<String, serde_json::Value>, D::Error> {
    Option::deserialize(value).map(Option::unwrap_or_default)
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It reads.
    Query,
    /// It changes something.
    Mutation,
    /// It goes on.
    Subscription,
}

/// A request that keeps the limits and names an operation. It can be run more than once.
pub struct Prepared {
    /// What it does.
    pub operation: Operation,
    pub(super) plan: Arc<Plan>,
    cursors_of: Vec<Value>,
    document: Arc<Document>,
    variables: Variables,
    operation_name: Option<String>,
}

/// What makes two operations the same: the text of the document, the name of the operation, and the variables as JSON.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Identity(Arc<str>, Option<String>, String);

impl Prepared {
    pub(super) fn identity(&self) -> Identity {
        let variables = serde_json::to_string(&self.variables).unwrap_or_default();
        Identity(self.document.text.clone(), self.operation_name.clone(), variables)
    }

    pub(super) fn nothing_written(&self) -> Written {
        Written::nothing(&self.plan)
    }

    /// Runs it once.
    pub(super) fn request(&self) -> async_graphql::Request {
        // The library does not look at the text of a document that it need not parse.
        let mut request = async_graphql::Request::new("").variables(self.variables.clone());
        request.operation_name.clone_from(&self.operation_name);
        request.set_parsed_query(self.document.parsed.clone());
        request
    }
}

/// Errors of an answer at most.
const MAX_ERRORS: usize = 20;
/// Characters of an error's message at most.
const MAX_MESSAGE: usize = 500;

/// An answer as the GraphQL specification has it: serialise it.
#[derive(Default)]
pub struct Answer {
    data: Option<Value>,
    written: Vec<Box<RawValue>>,
    errors: Vec<ServerError>,
    json: OnceLock<Box<RawValue>>,
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut answer = serializer.serialize_map(None)?;
        if let Some(data) = &self.data {
            answer.serialize_entry("data", &Data(data, &self.written))?;
        }
        if !self.errors.is_empty() {
            answer.serialize_entry("errors", &self.errors)?;
        }
        answer.end()
    }
}

impl Answer {
    /// An answer to a request that was not run.
    #[must_use]
    pub fn refusal(code: Code, message: impl Into<String>) -> Self {
        request_error(code, message, None).into()
    }

    /// An answer to a request whose asker could not be made out.
    #[must_use]
    pub fn of_failure(error: domain::Error) -> Self {
        let request_id = new_request_id();
        let mut error = top_level(error, &request_id).into_server_error(Pos::default());
        error.locations.clear();
        error.into()
    }

    /// What the library answered. Errors without a path were found before anything was run.
    pub(super) fn whole(mut response: Response, written: &Written) -> Self {
        written.plan.complete(&mut response);
        let refused = response.errors.iter().any(|error| error.path.is_empty());
        let errors = response.errors.into_iter().take(MAX_ERRORS).map(coded).collect();
        let data = (!refused).then_some(response.data);
        Self { data, written: written.take(), errors, json: OnceLock::new() }
    }

    /// The same errors, as of a request of which nothing was run.
    pub(super) fn refused(self) -> Self {
        Self { data: None, ..self }
    }

    /// As it is sent. It is written once, however many it is sent to.
    ///
    /// # Errors
    /// When it cannot be written: a defect.
    pub fn json(&self) -> serde_json::Result<&RawValue> {
        if let Some(json) = self.json.get() {
            return Ok(json);
        }
        let json = to_raw_value(self)?;
        Ok(self.json.get_or_init(|| json))
    }

    /// Whether nothing of the request was run: a request error.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.data.is_none()
    }

    /// The errors alone, as a socket sends them.
    #[must_use]
    pub fn errors(&self) -> &[impl Serialize] {
        &self.errors
    }

    /// The cursor that the answer has, if it is an event of a feed and its cursor was asked for.
    #[must_use]
    pub fn cursor(&self) -> Option<&str> {
        let Some(Value::Object(fields)) = &self.data else { return None };
        let (_, Value::Object(event)) = fields.first()? else { return None };
        let Value::String(cursor) = event.get("cursor")? else { return None };
        Some(cursor)
    }

    /// Whether nothing came of the request.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.data.as_ref().is_none_or(|data| *data == Value::Null)
    }

    /// Seconds after which the request may be tried again; `None` where an error does not say so.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        let extensions = self.errors.first()?.extensions.as_ref()?;
        let Value::Number(milliseconds) = extensions.get("retryAfterMs")? else { return None };
        Some(milliseconds.as_u64()?.div_ceil(1_000))
    }

    /// The code of the first error.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.errors.first().and_then(code_of)
    }
}

impl From<ServerError> for Answer {
    fn from(error: ServerError) -> Self {
        Self { errors: vec![error], ..Self::default() }
    }
}

/// Errors of resolvers have their codes. The library's own are about the document, or about the value of an argument,
/// and may repeat all of it.
fn coded(mut error: ServerError) -> ServerError {
    if let Some((end, _)) = error.message.char_indices().nth(MAX_MESSAGE) {
        error.message.truncate(end);
        error.message.push('…');
    }
    let about_a_value = !error.path.is_empty() || error.message.starts_with("Invalid value for argument");
    match code_of(&error) {
        Some(_) => error,
        None if about_a_value => with_code(error, Code::BadUserInput),
        None => with_code(error, Code::GraphqlValidationFailed),
    }
}

/// The one way in. Clones share it.
#[derive(Clone)]
pub struct Api {
    pub(super) app: App,
    pub(super) schema: ChatSchema,
    pub(super) subscriptions: Subscriptions,
    documents: Documents,
    persisted: Persisted,
    shape: Arc<Shape>,
    limits: Limits,
}

impl Api {
    /// The API of an application.
    ///
    /// # Errors
    /// When the list of trusted documents cannot be read.
    pub fn open(app: &App, limits: &Limits) -> Result<Self, BadDocuments> {
        let persisted = Persisted::open(limits.trusted_documents.as_deref())?;
        let schema = schema();
        let shape = Arc::new(Shape::of(&schema.sdl()));
        let (documents, subscriptions) = Default::default();
        Ok(Self { app: app.clone(), schema, subscriptions, documents, persisted, shape, limits: limits.clone() })
    }

    /// Checks a request without running anything.
    ///
    /// # Errors
    /// The answer to a request that must not be run.
    pub fn prepare(&self, request: Request) -> Result<Prepared, Answer> {
        let mut document = self.documents.parsed(&self.persisted.text(&request)?, &self.limits)?;
        let mut variables = Variables::from_json(request.variables.into());
        if let Some(after) = request.resume_after {
            document = Arc::new(document.resuming(&mut variables, &after));
        }
        check_document(&document.parsed, &variables, &self.shape, &self.limits)?;
        let (name, operation) = document.operation(request.operation_name.as_deref())?;
        let cursors_of = check_values(&document.parsed, operation, &variables, &self.shape)?;
        let plan = document.plan(name, operation, &self.shape)?;
        let (operation, operation_name) = (Operation::from(operation.ty), request.operation_name);
        Ok(Prepared { operation, plan, cursors_of, document, variables, operation_name })
    }

    /// Runs a query or a mutation, for as long as the limit allows.
    pub async fn execute(&self, asker: &Asker, prepared: Prepared) -> Answer {
        let written = prepared.nothing_written();
        let (mut call, mut loads) = Call::new(&self.app, asker, written.clone());
        let schema = self.schema.clone();
        let request_id = call.request_id.clone();
        let operation = prepared.operation;
        let running = async move {
            call.read_cursors(&prepared.cursors_of).await;
            let response = loads.beside(Box::pin(schema.execute(prepared.request().data(call)))).await;
            Answer::whole(response, &written)
        };
        let answer = async {
            if operation == Operation::Mutation {
                // A task of its own: once begun it goes on to its end, also when nobody waits for it any more.
                tokio::spawn(running).await.unwrap_or_else(|panic| broken(&panic, &request_id))
            } else {
                running.await
            }
        };
        let limit = self.limits.request_timeout;
        tokio::time::timeout(limit, answer).await.unwrap_or_else(|_elapsed| {
            Answer::refusal(Code::Timeout, format!("The answer took longer than {} seconds.", limit.as_secs()))
        })
    }
}

pub(super) fn broken(panic: &JoinError, request_id: &str) -> Answer {
    tracing::error!(request.id = request_id, error = %panic, "request failed");
    let mut error = internal(request_id).into_server_error(Pos::default());
    error.locations.clear();
    error.into()
}

impl From<OperationType> for Operation {
    fn from(ty: OperationType) -> Self {
        match ty {
            OperationType::Query => Self::Query,
            OperationType::Mutation => Self::Mutation,
            OperationType::Subscription => Self::Subscription,
        }
    }
}
