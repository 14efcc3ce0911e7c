//! From a request to its answer: limits first, then the schema, then a code on every error.

use std::sync::Arc;

use async_graphql::{
    MergedObject, Pos, Response, SDLExportOptions, Schema, ServerError, Value, Variables,
    http::GraphiQLSource,
    parser::{
        parse_query,
        types::{ExecutableDocument, OperationDefinition, OperationType},
    },
};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use serde::{Deserialize, Deserializer, Serialize};
use tokio::task::JoinError;

use super::{
    Code,
    calls::Call,
    completion::Plan,
    conversations::{ConversationMutation, ConversationQuery},
    errors::{code_of, internal, request_error, with_code},
    feed::{FeedQuery, Subscriptions, resume},
    limits::{check_document, check_text},
    messages::{MessageMutation, MessageQuery},
    nodes::NodeQuery,
    shape::Shape,
    users::{UserMutation, UserQuery},
    values::check_values,
};
use crate::{app::App, config::Limits, domain::Viewer};

/// Everything that can be read.
#[derive(MergedObject, Default)]
struct Query(UserQuery, MessageQuery, ConversationQuery, FeedQuery, NodeQuery);

/// Everything that can be changed. A batch of changes is made in its order, each on its own.
#[derive(MergedObject, Default)]
struct Mutation(UserMutation, MessageMutation, ConversationMutation);

type ChatSchema = Schema<Query, Mutation, Subscriptions>;

fn schema() -> ChatSchema {
    // The limits of the library come too late, so they are off but for the one that has a default.
    Schema::build(Query::default(), Mutation::default(), Subscriptions).disable_suggestions().finish()
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
#[serde(rename_all = "camelCase", expecting = "an object with `query`")]
pub struct Request {
    /// The document.
    pub query: String,
    /// Which of its operations is meant, if it has several.
    #[serde(default)]
    pub operation_name: Option<String>,
    /// Values of the operation's variables.
    #[serde(default, deserialize_with = "map_or_null")]
    pub variables: serde_json::Map<String, serde_json::Value>,
    /// Understood by none; must be an object all the same.
    #[serde(default, deserialize_with = "map_or_null")]
    pub extensions: serde_json::Map<String, serde_json::Value>,
    /// Not sent in the body: the cursor after which a feed goes on, instead of its own.
    #[serde(skip)]
    pub resume_after: Option<String>,
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

/// A request that keeps the limits and names an operation.
pub struct Prepared {
    /// What it does.
    pub operation: Operation,
    plan: Plan,
    cursors_of: Vec<Value>,
    request: async_graphql::Request,
}

/// Errors of an answer at most.
const MAX_ERRORS: usize = 20;
/// Characters of an error's message at most.
const MAX_MESSAGE: usize = 500;

/// An answer as the GraphQL specification has it: serialise it.
#[derive(Serialize)]
pub struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<ServerError>,
}

impl Answer {
    /// An answer to a request that was not run.
    #[must_use]
    pub fn refusal(code: Code, message: impl Into<String>) -> Self {
        request_error(code, message, None).into()
    }

    /// What the library answered. Errors without a path were found before anything was run.
    fn whole(mut response: Response, plan: &Plan) -> Self {
        plan.complete(&mut response);
        let refused = response.errors.iter().any(|error| error.path.is_empty());
        let errors = response.errors.into_iter().take(MAX_ERRORS).map(coded).collect();
        Self { data: (!refused).then_some(response.data), errors }
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

    /// The code of the first error.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.errors.first().and_then(code_of)
    }
}

impl From<ServerError> for Answer {
    fn from(error: ServerError) -> Self {
        Self { data: None, errors: vec![error] }
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
    app: App,
    schema: ChatSchema,
    shape: Arc<Shape>,
    limits: Limits,
}

impl Api {
    /// The API of an application.
    #[must_use]
    pub fn new(app: &App, limits: &Limits) -> Self {
        let schema = schema();
        let shape = Arc::new(Shape::of(&schema.sdl()));
        Self { app: app.clone(), schema, shape, limits: limits.clone() }
    }

    /// Checks a request without running anything.
    ///
    /// # Errors
    /// The answer to a request that must not be run.
    pub fn prepare(&self, request: Request) -> Result<Prepared, Answer> {
        check_text(&request.query, &self.limits)?;
        let mut document = parse_query(&request.query).map_err(|error| {
            let at = error.positions().next();
            let text = error.to_string();
            // The first lines of a syntax error draw a picture of the place; the last one says what is wrong.
            let what = text.lines().next_back().unwrap_or_default().trim_start_matches([' ', '=']);
            request_error(Code::GraphqlParseFailed, format!("The document is not GraphQL: {what}."), at)
        })?;
        let mut variables = Variables::from_json(request.variables.into());
        if let Some(after) = request.resume_after {
            resume(&mut document, &mut variables, &after);
        }
        check_document(&document, &variables, &self.shape, &self.limits)?;
        let operation = chosen(&document, request.operation_name.as_deref())?;
        let cursors_of = check_values(&document, operation, &variables, &self.shape)?;
        let plan = Plan::of(operation, &document, &self.shape)?;
        let operation = Operation::from(operation.ty);
        let mut prepared = async_graphql::Request::new(request.query).variables(variables);
        prepared.operation_name = request.operation_name;
        prepared.set_parsed_query(document);
        Ok(Prepared { operation, plan, cursors_of, request: prepared })
    }

    /// Runs a query or a mutation, for as long as the limit allows.
    pub async fn execute(&self, viewer: &Viewer, prepared: Prepared) -> Answer {
        let (mut call, mut loads) = Call::new(&self.app, viewer);
        let schema = self.schema.clone();
        let request_id = call.request_id.clone();
        let Prepared { operation, plan, cursors_of, request } = prepared;
        let running = async move {
            call.read_cursors(&cursors_of).await;
            let response = loads.beside(Box::pin(schema.execute(request.data(call)))).await;
            Answer::whole(response, &plan)
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

    /// Runs any operation, a subscription for as long as it goes on. If the first answer is a refusal, it is the only one.
    #[must_use]
    pub fn stream(&self, viewer: &Viewer, prepared: Prepared) -> BoxStream<'static, Answer> {
        if prepared.operation != Operation::Subscription {
            let (api, viewer) = (self.clone(), viewer.clone());
            return stream::once(async move { api.execute(&viewer, prepared).await }).boxed();
        }
        let Prepared { plan, request, .. } = prepared;
        let (call, loads) = Call::new(&self.app, viewer);
        let responses = self.schema.execute_stream(request.data(call));
        let responses = stream::unfold((responses, loads), |(mut responses, mut loads)| async move {
            let response = loads.beside(responses.next()).await?;
            Some((response, (responses, loads)))
        });
        let answer = move |(index, response): (usize, Response)| {
            let refused = index == 0 && response.data == Value::Null;
            let answer = Answer::whole(response, &plan);
            if refused { Answer { data: None, ..answer } } else { answer }
        };
        responses.enumerate().map(answer).boxed()
    }
}

fn broken(panic: &JoinError, request_id: &str) -> Answer {
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

/// The operation that is meant.
fn chosen<'a>(document: &'a ExecutableDocument, name: Option<&str>) -> Result<&'a OperationDefinition, ServerError> {
    let mut operations = document.operations.iter();
    let found = match name {
        Some(name) => operations.find(|(its, _)| its.is_some_and(|its| its == name)),
        None if document.operations.iter().count() == 1 => operations.next(),
        None => {
            let message = "The document has several operations: name one of them with `operationName`.";
            return Err(request_error(Code::GraphqlValidationFailed, message, None));
        }
    };
    let unknown = || request_error(Code::GraphqlValidationFailed, "The document has no operation of this name.", None);
    found.map(|(_, operation)| &operation.node).ok_or_else(unknown)
}
