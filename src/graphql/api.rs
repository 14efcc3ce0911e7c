//! Entry point for GraphQL requests: they are prepared, run for as long as the limit allows, and answered.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use async_graphql::http::GraphiQLSource;
use futures_util::{
    FutureExt as _, StreamExt as _,
    stream::{self, BoxStream},
};

use super::{
    Context,
    access::{milliseconds, truncated_name},
    calls::{Call, Caller, signs_in_twice},
    errors::{internal, top_level},
    loading::written_one,
    metrics::OperationMetrics,
    schema::{Mutation, Prepared, Root, RootPlan, additional_cost, sdl},
    subscriptions::RunningSubscription,
};
use crate::{
    app::App,
    config::Limits,
    domain::{self, Viewer, connections},
    execution::{
        Answer, BadDocuments, Code, CollectedField, Declare, Engine, Error, OperationType, Request, RootFieldsAnswer,
        Schema, WriteFn,
    },
};

/// Bytes of data of an answer to somebody who has not signed in, at most: the whole schema has a third of it.
const MAX_ANONYMOUS_ANSWER: usize = 512 * 1024;
/// Queries and mutations that take longer are named in the log.
const SLOW: Duration = Duration::from_secs(1);

/// The library's own GraphiQL page, for a server that has no built one. It loads its parts from a public network.
#[must_use]
pub fn library_graphiql(endpoint: &str) -> String {
    GraphiQLSource::build().title("Duologue").endpoint(endpoint).subscription_endpoint(endpoint).finish()
}

/// Entry point for GraphQL requests. Clones share it.
#[derive(Clone)]
pub struct Api {
    app: Arc<App>,
    engine: Arc<Engine<RootPlan>>,
    limits: Limits,
    metrics: Arc<OperationMetrics>,
}

impl Api {
    /// The API of an application.
    ///
    /// # Errors
    /// When the list of trusted documents cannot be read.
    ///
    /// # Panics
    /// Never: the schema is the program's own, and a test reads it.
    #[allow(clippy::expect_used, reason = "the schema is the program's own, and a test reads it")]
    pub fn open(app: &Arc<App>, limits: &Limits) -> Result<Self, BadDocuments> {
        let schema = Schema::parse(&sdl(), additional_cost).expect("the schema is valid");
        let engine = Engine::open(schema, RootPlan::bind, limits)?;
        Ok(Self { app: app.clone(), engine: Arc::new(engine), limits: limits.clone(), metrics: Arc::default() })
    }

    /// The application behind it.
    pub(super) fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// What a client may ask for.
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What is measured of its operations.
    #[must_use]
    pub fn metrics(&self) -> &OperationMetrics {
        &self.metrics
    }

    /// Bytes of data that an answer to this viewer may have. Who has not signed in can ask for little more than the schema, and answers
    /// that nobody reads are not counted for anybody.
    #[must_use]
    pub fn max_answer(&self, viewer: &Viewer) -> usize {
        let most = self.limits.max_answer;
        if viewer.is_anonymous() { most.min(MAX_ANONYMOUS_ANSWER) } else { most }
    }

    /// Checks a request without running anything. Once the database was moved elsewhere all are refused.
    ///
    /// # Errors
    /// The answer to a request that must not be run.
    pub fn prepare(&self, request: &Request) -> Result<Prepared, Answer> {
        let prepared = self.require_not_moved().and_then(|()| self.engine.prepare(request)).and_then(signing_in_once);
        prepared.inspect_err(|refusal| self.metrics.count("none", refusal.code()))
    }

    /// What is read of a database that was moved is out of date.
    fn require_not_moved(&self) -> Result<(), Answer> {
        let why = "The database was moved to another server: connect to that one.";
        if self.app.is_moved() { Err(Answer::refusal(Code::Unavailable, why)) } else { Ok(()) }
    }

    /// The answer to a request that is not run because of this error.
    #[must_use]
    pub fn refuse(error: domain::Error, request_id: &str) -> Answer {
        top_level(error, request_id).into()
    }

    /// Runs a query or a mutation, for as long as the limit allows. What would have more than `max_bytes` of data is refused, and all is
    /// once the database was moved.
    pub async fn execute(&self, caller: &Caller, prepared: Prepared, max_bytes: usize) -> Answer {
        let (record, plan) = (&caller.record, prepared.plan.clone());
        record.begins(plan.operation, plan.name.as_deref());
        let began = Instant::now();
        let answer = match self.require_not_moved() {
            Ok(()) => self.run_in_time(Arc::new(Call::new(&self.app, caller)), prepared, max_bytes).await,
            Err(refusal) => refusal,
        };
        record.is_answered(&answer);
        let took = began.elapsed();
        self.metrics.count_answered(plan.operation, answer.code(), took);
        if took > SLOW {
            let (name, ms) = (plan.name.as_deref().map(truncated_name), milliseconds(took));
            tracing::warn!(request.id = &*record.request_id, operation = name, ms, "a slow operation");
        }
        answer
    }

    /// Runs a query or a mutation of a connection, once it is its turn among all requests of the user: it counts as one until the permit is
    /// dropped.
    pub async fn execute_in_turn(&self, caller: &Caller, prepared: Prepared) -> (Answer, Option<connections::Permit>) {
        let permit = connections::wait_for_request(&self.app, &caller.viewer, caller.from).await;
        let is_mutation = prepared.plan.operation == OperationType::Mutation;
        // Its session may have ended since it was asked for, or be unknown to another primary.
        let viewer = &caller.viewer;
        let valid =
            if is_mutation { viewer.check(&self.app).await } else { viewer.check_after_reconnect(&self.app).await };
        let answer = match valid {
            Ok(()) => self.execute(caller, prepared, self.max_answer(&caller.viewer)).await,
            Err(error) => {
                let refusal = Self::refuse(error, &caller.record.request_id);
                caller.record.is_answered(&refusal);
                refusal
            }
        };
        (answer, permit)
    }

    /// Fields of a mutation that have not begun when the time is over, or when nobody waits for the answer any more, do not begin.
    async fn run_in_time(&self, call: Arc<Call>, prepared: Prepared, max_bytes: usize) -> Answer {
        let limit = self.limits.request_timeout;
        let request_id = call.request_id.clone();
        let running = AssertUnwindSafe(run(call, prepared, max_bytes)).catch_unwind();
        match tokio::time::timeout(limit, running).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_panic)) => Answer::failure(internal(&request_id, "it panicked")),
            Err(_elapsed) => {
                let why = format!("The answer took longer than {} seconds.", limit.as_secs());
                Answer::failure(Error::new(Code::Timeout, why))
            }
        }
    }

    /// Runs any operation, a subscription for as long as it goes on. If the first answer is a refusal, it is the only one.
    #[must_use]
    pub fn stream(&self, caller: &Caller, prepared: Prepared) -> BoxStream<'static, Answer> {
        let (api, caller) = (self.clone(), caller.clone());
        if prepared.plan.operation != OperationType::Subscription {
            let max_bytes = self.max_answer(&caller.viewer);
            return stream::once(async move { api.execute(&caller, prepared, max_bytes).await }).boxed();
        }
        let record = caller.record.clone();
        record.begins(prepared.plan.operation, prepared.plan.name.as_deref());
        // Boxed, as are those who go on, so that a subscription takes no more room while it waits than it needs then.
        let begin = Box::pin(async move {
            let call = Arc::new(Call::new(&api.app, &caller));
            match RunningSubscription::begin(&api.metrics, call, prepared, api.limits.max_answer).await {
                Ok(running) => running.into_answers().boxed(),
                Err(refusal) => {
                    api.metrics.count(OperationType::Subscription.name(), Some(refusal.code()));
                    stream::once(async { refusal.into() }).boxed()
                }
            }
        });
        begin.flatten_stream().inspect(move |answer| record.is_answered(answer)).boxed()
    }
}

/// Runs a query, or the fields of a mutation one after the other.
async fn run(call: Arc<Call>, prepared: Prepared, max_bytes: usize) -> Answer {
    let arguments = &prepared.arguments;
    match &prepared.plan.root.0 {
        Root::Query(write) => {
            let one_snapshot = needs_one_snapshot(&prepared.plan.fields);
            let part = written_one(&call, arguments, write.clone(), one_snapshot, max_bytes).await;
            part.map_or_else(Answer::failure, Answer::new)
        }
        Root::Mutation(resolvers) => {
            let mut answer = RootFieldsAnswer::new(max_bytes);
            for (index, (field, resolve)) in prepared.plan.fields.iter().zip(resolvers).enumerate() {
                let part = match resolve {
                    Some(resolve) => match change(&call, index, resolve(call.clone(), arguments)).await {
                        Ok(write) => written_one(&call, arguments, write, false, answer.remaining()).await,
                        Err(error) => Err(error),
                    },
                    None => Ok((format!("\"{}\"", Mutation::NAME).into(), Vec::new())),
                };
                answer.add(field, part);
                // The client learns nothing of the fields that would follow.
                if answer.is_null() {
                    break;
                }
            }
            answer.finish()
        }
        Root::Subscription(_) => Answer::refusal(Code::BadRequest, "A subscription has to be followed."),
    }
}

/// Makes the change of a field. The session may have ended since the field before.
async fn change(
    call: &Call,
    index: usize,
    change: impl Future<Output = Result<WriteFn<Context>, Error>>,
) -> Result<WriteFn<Context>, Error> {
    if index > 0 {
        call.or_error(call.viewer().check(&call.app).await)?;
    }
    change.await
}

/// An operation that signs in or up more than once is not begun: the tokens of the first time would be lost with an error of the second.
fn signing_in_once(prepared: Prepared) -> Result<Prepared, Answer> {
    let is_sign_in = |field: &&CollectedField| matches!(field.field.name.as_str(), "signIn" | "signUp");
    match prepared.plan.fields.iter().filter(is_sign_in).nth(1) {
        Some(second) => Err(signs_in_twice().at(second.location).into()),
        None => Ok(prepared),
    }
}

/// Where something else is asked for beside a feed's cursor, neither may be newer than the other.
fn needs_one_snapshot(fields: &[CollectedField]) -> bool {
    fields.len() > 1 && fields.iter().any(|field| field.field.name == "feedCursor")
}
