//! The API as an executor of async-graphql, for its integrations with web frameworks: the same limits, policy, loaders and answers
//! behind the types of that library.

use std::{any::TypeId, sync::Arc};

use async_graphql::{Data, Executor, Request, Response};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};

use super::{Api, Caller, new_request_id};
use crate::{
    domain::{Viewer, connections::begin_request},
    execution::{Answer, Code, OperationType},
};

impl Api {
    /// The answers to an operation of a connection.
    fn answers(&self, caller: Caller, request: Request) -> BoxStream<'static, Answer> {
        match request.try_into().and_then(|request| self.prepare(&request)) {
            Ok(prepared) if prepared.plan.operation == OperationType::Subscription => self.stream(&caller, prepared),
            Ok(prepared) => {
                let api = self.clone();
                stream::once(async move { api.execute_in_turn(&caller, prepared).await.0 }).boxed()
            }
            Err(refusal) => {
                caller.record.is_answered(&refusal);
                stream::once(async { refusal }).boxed()
            }
        }
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
        let begin = async move {
            let answers = match api.caller(&data).await {
                Ok(caller) => api.answers(caller.on_socket(caller.viewer.clone()), request),
                Err(refusal) => stream::once(async { refusal }).boxed(),
            };
            answers.map(Response::from)
        };
        stream::once(begin).flatten().boxed()
    }
}
