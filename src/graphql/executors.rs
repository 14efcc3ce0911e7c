//! The API as an executor of async-graphql, for its integrations with web frameworks: the same limits, policy, loaders and answers
//! behind the types of that library.

use std::{any::TypeId, sync::Arc};

use async_graphql::{Data, Executor, Request, Response};
use futures_util::{
    StreamExt,
    future::pending,
    stream::{self, BoxStream},
};
use tokio::sync::{
    OwnedSemaphorePermit, Semaphore,
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    watch,
};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

use super::{Api, Caller, new_request_id};
use crate::{
    domain::{
        Viewer,
        connections::{Permit, begin_request},
    },
    execution::{Answer, Code, MAX_HELD_BYTES, OperationType, too_large},
};

/// Permits of a request on a connection, to be kept until its answer was sent: for the connection, and for the user.
pub type RequestPermits = (Option<OwnedSemaphorePermit>, Option<Permit>);
/// What does not count as a request in hand.
const NO_PERMITS: RequestPermits = (None, None);

/// A client's connection with many operations. As data of async-graphql it says on whose behalf they are.
pub struct Connection {
    caller: Caller,
    /// The viewer after a renewal of the access token.
    viewer: watch::Receiver<Viewer>,
    requests: Arc<Semaphore>,
    held_bytes: Arc<Semaphore>,
    /// Takes the permits of answers.
    permits: Option<UnboundedSender<RequestPermits>>,
    drain: Drain,
}

/// How the operations of a connection end when the server stops. Clones share it.
#[derive(Clone, Default)]
pub struct Drain {
    begun: CancellationToken,
    /// Queries end as well.
    is_revoked: CancellationToken,
    /// Queries and mutations that are not answered yet.
    requests: TaskTracker,
}

impl Drain {
    /// Ends the subscriptions. Nothing says so: after `complete` their client would not begin them again when it reconnects.
    pub fn begin(&self) {
        self.begun.cancel();
        self.requests.close();
    }

    /// Ends the queries, too: the session has ended.
    pub fn begin_without_queries(&self) {
        self.is_revoked.cancel();
        self.begin();
    }

    /// Whether it has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Waits until it has begun, and queries and mutations are answered.
    pub async fn done(&self) {
        self.requests.wait().await;
    }

    /// The answers of a subscription until it begins, and then none.
    fn of_subscription(self, answers: BoxStream<'static, Answer>) -> impl futures_util::Stream<Item = Answer> + Send {
        stream::unfold((self, answers), |(drain, mut answers)| async move {
            tokio::select! {
                biased;
                () = drain.begun.cancelled() => {
                    drop(answers);
                    pending().await
                }
                answer = answers.next() => Some((answer?, (drain, answers))),
            }
        })
    }
}

/// What async-graphql keeps of a connection that was initialized, or says of one that was not.
///
/// # Errors
/// The given one.
pub fn session_data(initialized: Result<Connection, String>) -> async_graphql::Result<Data> {
    let mut data = Data::default();
    data.insert(initialized?);
    Ok(data)
}

impl Connection {
    /// From now on the permits of the answers, one for each in their order: who sends the answers keeps them until then. Otherwise
    /// they are released as soon as there is an answer.
    #[must_use]
    pub fn permits(&mut self) -> UnboundedReceiver<RequestPermits> {
        let (sender, receiver) = unbounded_channel();
        self.permits = Some(sender);
        receiver
    }

    /// From now on its operations end as `drain` says.
    pub fn ends_by(&mut self, drain: Drain) {
        self.drain = drain;
    }

    fn caller(&self) -> Caller {
        self.caller.on_socket(self.viewer.borrow().clone())
    }
}

impl Api {
    /// A new connection of a caller, whose access token may be renewed.
    #[must_use]
    pub fn connection(&self, caller: Caller, viewer: watch::Receiver<Viewer>) -> Connection {
        let requests = Arc::new(Semaphore::new(self.limits().max_socket_requests));
        let held_bytes = Arc::new(Semaphore::new(MAX_HELD_BYTES));
        Connection { caller, viewer, requests, held_bytes, permits: None, drain: Drain::default() }
    }

    /// The answers to an operation of a connection. It is counted as a request by the token, unless it is a subscription.
    fn answers(
        &self,
        connection: &Connection,
        request: Request,
        token: Option<TaskTrackerToken>,
    ) -> BoxStream<'static, Answer> {
        let (caller, sender, mut token) = (connection.caller(), connection.permits.clone(), token);
        let answers = self.start(connection, caller.clone(), request, &mut token).unwrap_or_else(|refusal| {
            caller.record.is_answered(&refusal);
            stream::once(async { (refusal, NO_PERMITS) }).boxed()
        });
        let hand_over = move |(answer, permits)| {
            // Nobody may want them.
            let _ = sender.as_ref().map(|sender| sender.send(permits));
            (answer, &token).0
        };
        answers.map(hand_over).boxed()
    }

    fn start(
        &self,
        connection: &Connection,
        caller: Caller,
        request: Request,
        token: &mut Option<TaskTrackerToken>,
    ) -> Result<BoxStream<'static, (Answer, RequestPermits)>, Answer> {
        let prepared = self.prepare(&request.try_into()?)?;
        let bytes = u32::try_from(prepared.bytes()).unwrap_or(u32::MAX);
        let held = connection.held_bytes.clone().try_acquire_many_owned(bytes);
        let held = held.map_err(|_too_many| too_large("The operations of this socket", "End one first."))?;
        let answers = if prepared.plan.operation == OperationType::Subscription {
            drop(token.take());
            let answers = connection.drain.clone().of_subscription(self.stream(&caller, prepared));
            answers.map(|answer| (answer, NO_PERMITS)).boxed()
        } else {
            let (api, requests) = (self.clone(), connection.requests.clone());
            let is_query = prepared.plan.operation == OperationType::Query;
            let ended = connection.drain.is_revoked.clone().cancelled_owned();
            let answers = stream::once(async move {
                let turn = requests.acquire_owned().await.ok();
                let (answer, permit) = api.execute_in_turn(&caller, prepared).await;
                (answer, (turn, permit))
            });
            if is_query { answers.take_until(ended).boxed() } else { answers.boxed() }
        };
        Ok(answers.map(move |answer| (answer, &held).0).boxed())
    }

    /// The caller of a request that a program around this one hands on: the one that it has put into the data of the request, or
    /// nobody; on an open server anybody.
    async fn caller(&self, data: &Data) -> Result<Caller, Answer> {
        if let Some(caller) = data.get(&TypeId::of::<Caller>()).and_then(|caller| caller.downcast_ref::<Caller>()) {
            return Ok(caller.clone());
        }
        let viewer = Viewer::of(self.app(), None).await;
        viewer.map(Caller::from).map_err(|error| Self::refuse(error, &new_request_id()))
    }
}

fn connection_of(data: &Data) -> Option<&Connection> {
    data.get(&TypeId::of::<Connection>())?.downcast_ref()
}

impl Executor for Api {
    async fn execute(&self, request: Request) -> Response {
        let run = async {
            let caller = self.caller(&request.data).await?;
            let prepared = self.prepare(&request.try_into()?)?;
            if prepared.plan.operation == OperationType::Subscription {
                return Err(Answer::refusal(Code::BadRequest, "A subscription needs a WebSocket."));
            }
            let _permit = begin_request(self.app(), &caller.viewer, caller.from)
                .map_err(|error| Self::refuse(error, &caller.record.request_id))?;
            Ok(self.execute(&caller, prepared, self.max_answer(&caller.viewer)).await)
        };
        run.await.unwrap_or_else(|refusal: Answer| refusal).into()
    }

    fn execute_stream(&self, request: Request, session_data: Option<Arc<Data>>) -> BoxStream<'static, Response> {
        let (api, data) = (self.clone(), session_data.unwrap_or_default());
        // From now on, also if it has to wait.
        let token = connection_of(&data).map(|connection| connection.drain.requests.token());
        let begin = async move {
            let answers = match connection_of(&data) {
                Some(connection) => api.answers(connection, request, token),
                None => match api.caller(&data).await {
                    Ok(caller) => {
                        let (_, viewer) = watch::channel(caller.viewer.clone());
                        api.answers(&api.connection(caller, viewer), request, None)
                    }
                    Err(refusal) => stream::once(async { refusal }).boxed(),
                },
            };
            answers.map(Response::from)
        };
        stream::once(begin).flatten().boxed()
    }
}
