//! Signals: typing and presence.

use std::{pin::Pin, sync::Arc};

use async_graphql::{Enum, ID, InputObject};
use futures_util::{Stream, StreamExt};

use super::{
    Context, User,
    calls::{Arguments, Call, id, target_user},
    errors::top_level,
    payloads::{Outcome, user_errors},
    roots::{Mutation, Subscription},
    scalars::DateTime,
};
use crate::{
    domain::{self, signals},
    execution::{self, Error, EventSource, Fields, Id, Object, RootFields},
    model::{self, ids::ConversationId},
};

/// A signal, and who gives it.
type SignalRow = (model::signals::Signal, model::users::User);

/// `Signal`
struct Signal;

impl Object for Signal {
    const NAME: &'static str = "Signal";
    const DESCRIPTION: &'static str = "A change of the presence or typing state of another user.";
    type Context = Context;
    type Row<'a> = &'a SignalRow;

    fn fields(fields: &mut Fields<Self>) {
        fields.plain::<execution::Enum<SignalKind>>("kind", "What it is.", |(signal, _), _| signal.kind.into());
        fields.plain::<User>("user", "Who gives it.", |(_, user), _| user);
        fields.plain::<Option<Id<ConversationId>>>(
            "conversationId",
            "Where the user types; null for `ONLINE` and `OFFLINE`.",
            |(signal, _), _| signal.conversation,
        );
        fields.plain::<Option<DateTime>>("expiresAt", "Forget a TYPING signal at this time.", |(signal, _), _| {
            signal.expires_at
        });
    }
}

/// What a signal can be.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "model::signals::SignalKind")]
enum SignalKind {
    /// Writes a message in the conversation.
    Typing,
    /// Does so no more.
    StoppedTyping,
    /// Has connected.
    Online,
    /// Has had no connection any more for a while (30 seconds, unless the server has another setting).
    Offline,
}

/// `SetTypingPayload`
struct SetTypingPayload;

impl Object for SetTypingPayload {
    const NAME: &'static str = "SetTypingPayload";
    const DESCRIPTION: &'static str = "The result of `setTyping`.";
    type Context = Context;
    type Row<'a> = &'a Outcome<()>;

    fn fields(fields: &mut Fields<Self>) {
        fields.plain::<bool>("ok", "Whether it was passed on.", |it, _| it.is_ok());
        user_errors(fields);
    }
}

#[derive(Clone, InputObject)]
struct SetTypingArguments {
    /// Where, such as cnv_1_2.
    conversation_id: ID,
    /// False: has stopped.
    #[graphql(default = true)]
    typing: bool,
    /// Who types: a member of the conversation. Needed in open mode.
    user_id: Option<ID>,
}

/// Signals to give.
pub(super) fn mutations(fields: &mut RootFields<Mutation>) {
    fields.mutation::<SetTypingPayload, _, _, _>(
        "setTyping",
        "Repeat every 3 seconds while typing; it ends by itself after 6.",
        set_typing,
    );
}

async fn set_typing(call: Arc<Call>, given: SetTypingArguments) -> Result<Outcome<()>, Error> {
    let mut arguments = Arguments::default();
    let conversation = arguments.id("conversationId", &given.conversation_id);
    let user = arguments.user(&call, "userId", given.user_id.as_ref())?;
    let (Some(conversation), Some(user)) = (conversation, user) else { return Ok(Err(arguments.errors)) };
    call.outcome(signals::set_typing(&call.app, &call.viewer(), user, conversation, given.typing).await)
}

#[derive(Clone, InputObject)]
struct SignalsArguments {
    /// Who listens. Needed in open mode.
    user_id: Option<ID>,
    /// Only what the other member of this conversation does, before its first message too.
    conversation_id: Option<ID>,
}

/// Subscriptions to signals.
pub(super) fn subscriptions(fields: &mut RootFields<Subscription>) {
    fields.subscription::<Signal, _, _, _>(
        "signals",
        "Who is typing and who is online. Never stored; may be dropped when you are slow.",
        listen,
    );
}

async fn listen(call: Arc<Call>, arguments: SignalsArguments) -> Result<SignalSource, Error> {
    let viewer = call.viewer();
    let conversation = arguments.conversation_id.as_ref().map(id).transpose()?;
    let user = target_user(&viewer, &call.request_id, arguments.user_id.as_ref())?;
    let signals = call.answer(signals::subscribe(&call.app, &viewer, user, conversation).await)?;
    Ok(SignalSource { signals: Box::pin(signals), request_id: call.request_id.clone() })
}

/// The signals of a subscription.
struct SignalSource {
    signals: Pin<Box<dyn Stream<Item = domain::Result<SignalRow>> + Send>>,
    request_id: Arc<str>,
}

impl EventSource for SignalSource {
    type Item = SignalRow;

    async fn next(&mut self, _: usize) -> Option<Result<Vec<SignalRow>, Error>> {
        let heard = self.signals.next().await?;
        Some(heard.map(|heard| vec![heard]).map_err(|error| top_level(error, &self.request_id)))
    }
}
