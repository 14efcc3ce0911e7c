//! Running subscriptions: each event of their source is answered with what was asked of it.

use std::{mem, sync::Arc};

use futures_util::{Stream, stream};

use super::{
    calls::Call,
    errors::{internal, retried},
    loading::written_events,
    metrics::{OperationMetrics, SubscriptionMetrics},
    retries::Retries,
    schema::{Prepared, Root},
    sources::{Source, SourceEvent},
};
use crate::{
    domain::{self, connections},
    execution::{ASK_FOR_LESS, Answer, Error, MAX_HELD_BYTES, Part, RootFieldsAnswer, too_large},
};

/// Answers to events of more bytes are counted while they wait, so that one user cannot have many of them.
const LARGE_EVENTS: usize = 64 * 1024;

/// A subscription that goes on.
pub(super) struct RunningSubscription {
    call: Arc<Call>,
    prepared: Prepared,
    source: Box<dyn Source>,
    /// Answers to events that came together.
    answers: std::vec::IntoIter<Answer>,
    taken: usize,
    failed: bool,
    /// While the database is away.
    retries: Option<Box<Retries>>,
    /// Bytes that an answer may have.
    max_bytes: usize,
    counted: SubscriptionMetrics,
    _permits: Option<[connections::Permit; 2]>,
    /// While answers wait that are large.
    event_permit: Option<connections::Permit>,
}

impl RunningSubscription {
    /// Begins it; its answers have at most so many bytes.
    pub(super) async fn begin(
        metrics: &OperationMetrics,
        call: Arc<Call>,
        prepared: Prepared,
        max_bytes: usize,
    ) -> Result<Self, Error> {
        let Root::Subscription(Some(begin)) = &prepared.plan.root.0 else {
            return Err(internal(&call.request_id, "a subscription has no source of events"));
        };
        if prepared.bytes() > MAX_HELD_BYTES {
            return Err(too_large("The subscription", ASK_FOR_LESS));
        }
        let permits = connections::begin_subscription(&call.app, &call.viewer(), prepared.arguments.cost);
        let permits = call.or_error(permits)?;
        let source = begin(call.clone(), &prepared.arguments).await;
        let field = prepared.plan.fields.first();
        let source = source.map_err(|error| match field {
            Some(field) => error.at(field.location).within(&field.key),
            None => error,
        })?;
        let name = field.map_or("", |field| field.field.name.as_str());
        let counted = metrics.subscribe(name);
        Ok(Self {
            call,
            prepared,
            source,
            answers: Vec::new().into_iter(),
            taken: 0,
            failed: false,
            retries: None,
            max_bytes,
            counted,
            _permits: permits,
            event_permit: None,
        })
    }

    /// Its answers, for as long as it goes on.
    pub(super) fn into_answers(self) -> impl Stream<Item = Answer> + Send {
        // Boxed, because a future that owns it has room for it twice.
        stream::unfold(Box::new(self), async |mut running| Some((running.next().await?, running)))
    }

    /// The next answer. What was answered before something changed is answered anew.
    async fn next(&mut self) -> Option<Answer> {
        if !self.source.is_current() && !self.answers.as_slice().is_empty() {
            (self.answers, self.failed) = (Vec::new().into_iter(), false);
        }
        loop {
            if let Some(answer) = self.answers.next() {
                self.taken += 1;
                return Some(answer);
            }
            self.event_permit = None;
            if self.failed {
                return None;
            }
            let events = self.source.next(mem::take(&mut self.taken)).await?;
            Box::pin(self.answer(events)).await;
        }
    }

    /// Answers events. While the database is away, there are no answers: after a pause the events are read again, if they can be.
    async fn answer(&mut self, events: domain::Result<Vec<SourceEvent>>) {
        let events =
            self.check_after_reconnect().await.and(events.map_err(|error| retried(error, &self.call.request_id)));
        let (answers, error) = match events {
            Ok(events) => self.written(events).await,
            Err(error) => (vec![self.answer_of(Err(error.clone()))], Some(error)),
        };
        if let Some(error) = error {
            let retries = self.retries.get_or_insert_default();
            if retries.allow(&error) && self.source.read_again() {
                self.event_permit = None;
                drop(answers);
                return retries.pause().await;
            }
            self.failed = true;
        } else {
            self.retries = None;
        }
        self.counted.code = self.counted.code.or_else(|| answers.iter().find_map(Answer::code));
        self.answers = answers.into_iter();
    }

    /// Checks the credential again if its account may have been lost since, before anything is told of who has its id now.
    async fn check_after_reconnect(&mut self) -> Result<(), Error> {
        while let Err(error) = self.call.viewer().check_after_reconnect(&self.call.app).await {
            let error = retried(error, &self.call.request_id);
            let retries = self.retries.get_or_insert_default();
            if !retries.allow(&error) {
                return Err(error);
            }
            retries.pause().await;
        }
        Ok(())
    }

    /// Writes the answers to events: all, or those up to one that cannot be loaded for the moment, with the error. That one has no id: it
    /// comes again to whoever goes on after the event before it.
    async fn written(&mut self, events: Vec<SourceEvent>) -> (Vec<Answer>, Option<Error>) {
        let permit = connections::begin_event(&self.call.app, &self.call.viewer()).await;
        let (writes, cursors): (Vec<_>, Vec<_>) = events.into_iter().map(|event| (event.write, event.cursor)).unzip();
        let parts = match written_events(&self.call, &self.prepared.arguments, &writes, self.max_bytes).await {
            Ok(parts) => parts,
            Err(error) => return (vec![self.answer_of(Err(error.clone()))], Some(error)),
        };
        let bytes: usize = parts.iter().map(|(data, _)| data.len()).sum();
        self.event_permit = permit.filter(|_| bytes > LARGE_EVENTS);
        let mut answers = Vec::with_capacity(parts.len());
        for (part, cursor) in parts.into_iter().zip(cursors) {
            let temporary = part.1.iter().find(|error| error.code().is_temporary()).cloned();
            answers.push(self.answer_of(Ok(part)).with_event_id(cursor.filter(|_| temporary.is_none())));
            if temporary.is_some() {
                return (answers, temporary);
            }
        }
        (answers, None)
    }

    fn answer_of(&self, part: Result<Part, Error>) -> Answer {
        let mut answer = RootFieldsAnswer::new(self.max_bytes);
        if let Some(field) = self.prepared.plan.fields.first() {
            answer.add(field, part);
        }
        answer.finish()
    }
}
