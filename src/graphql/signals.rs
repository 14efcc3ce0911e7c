//! Signals: typing and presence.

use std::sync::Arc;

use async_graphql::{Enum, ID, InputObject};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};

use super::{
    ArgumentParser, Call, Context, DateTime, Failure, Mutations, Outcome, Payload, Source, SourceEvent, SourceEvents,
    Subscriptions, acting_user, id, mutation,
};
use crate::{
    domain::{self, signals},
    execution::{self, Error, Fields, Id, Object, Selection},
    model::{self, ids::ConversationId, signals::Signal, users::User},
};

/// A signal, and who gives it.
type SignalOfUser = (Signal, User);

impl Object for SignalOfUser {
    const NAME: &'static str = "Signal";
    const DESCRIPTION: &'static str = "A change of the presence or typing state of another user.";
    type Context = Context;
    type Row<'a> = &'a Self;

    fn fields(fields: &mut Fields<Self>) {
        fields.plain::<execution::Enum<SignalKind>>("kind", "What the user did.", |(signal, _), _| signal.kind.into());
        fields.plain::<User>("user", "The user who is typing, came online or went offline.", |(_, user), _| user);
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
    /// The user is typing.
    Typing,
    /// The user stopped typing.
    StoppedTyping,
    /// The user came online; or a block between you ends, and the user is.
    Online,
    /// The user has been disconnected for a while (30 seconds, unless the server has another setting); or a block between you begins.
    Offline,
}

/// A signal was given.
struct TypingSet;

impl Payload for TypingSet {
    const NAME: &'static str = "SetTypingPayload";
    const DESCRIPTION: &'static str = "The result of `setTyping`.";

    fn fields(fields: &mut Fields<Outcome<Self>>) {
        fields.plain::<bool>("ok", "Whether the signal was accepted.", |it, _| it.is_ok());
    }
}

#[derive(Clone, InputObject)]
struct SetTypingArguments {
    /// Where, such as cnv_1_2.
    conversation_id: ID,
    /// Whether the user is typing; false once they have stopped.
    #[graphql(default = true)]
    typing: bool,
    /// Who types: a member of the conversation. Required in open mode.
    user_id: Option<ID>,
}

/// Signals to give.
pub(super) fn mutations(fields: &mut Mutations) {
    mutation(
        fields,
        "setTyping",
        "Signal that the user is typing. Repeat it every 3 seconds: it expires after 6.",
        set_typing,
    );
}

async fn set_typing(call: Arc<Call>, arguments: SetTypingArguments) -> Result<TypingSet, Failure> {
    let mut parser = ArgumentParser::default();
    let conversation = parser.id("conversationId", &arguments.conversation_id);
    let user = parser.user(&call, "userId", arguments.user_id.as_ref())?;
    let (conversation, user) = parser.finish(conversation.zip(user))?;
    call.or_failure(signals::set_typing(&call.app, &call.viewer(), user, conversation, arguments.typing).await)?;
    Ok(TypingSet)
}

#[derive(Clone, InputObject)]
struct SignalsArguments {
    /// Who listens. Required in open mode.
    user_id: Option<ID>,
    /// Only what the other member of this conversation does, before its first message too.
    conversation_id: Option<ID>,
}

/// Subscriptions to signals.
pub(super) fn subscriptions(fields: &mut Subscriptions) {
    fields.field::<SignalOfUser, _, _>(
        "signals",
        "Who is typing and who is online. Never stored; may be dropped when you are slow.",
        listen,
    );
}

async fn listen(
    call: Arc<Call>,
    arguments: SignalsArguments,
    selection: Arc<Selection<SignalOfUser>>,
) -> Result<Box<dyn Source>, Error> {
    let viewer = call.viewer();
    let conversation = arguments.conversation_id.as_ref().map(id).transpose()?;
    let user = acting_user(&viewer, "userId", arguments.user_id.as_ref())?;
    let signals = call.or_error(signals::subscribe(&call.app, &viewer, user, conversation).await)?;
    Ok(Box::new(SignalSource { signals: signals.boxed(), selection }))
}

/// The signals of a subscription.
struct SignalSource {
    signals: BoxStream<'static, domain::Result<SignalOfUser>>,
    selection: Arc<Selection<SignalOfUser>>,
}

impl Source for SignalSource {
    fn next(&mut self, _: usize) -> BoxFuture<'_, SourceEvents> {
        async move {
            let next = self.signals.next().await?;
            Some(
                next.map(|signal| {
                    vec![SourceEvent { cursor: None, write: self.selection.clone().write_later(signal) }]
                }),
            )
        }
        .boxed()
    }
}
