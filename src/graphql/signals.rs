//! Signals in words: typing and presence.

use async_graphql::{Context, Enum, ID, Object, Result, SimpleObject, Subscription};
use futures_util::TryStreamExt;

use super::{
    User, UserError,
    calls::{Arguments, Call, id, whose},
    scalars::{DateTime, Flag},
    subscriptions::{News, Told, told},
};
use crate::{domain::signals, model};

/// Whether a user is connected now. Never stored.
#[derive(SimpleObject)]
pub(super) struct Presence {
    /// Whether the user follows their feed or their signals, or did so a moment ago (30 seconds, unless the server has another
    /// setting).
    online: bool,
    /// When the user's last connection ended; null while there is one, or if the server has not seen them since it was
    /// started.
    last_seen_at: Option<DateTime>,
}

impl From<model::signals::Presence> for Presence {
    fn from(presence: model::signals::Presence) -> Self {
        Self { online: presence.online, last_seen_at: presence.last_seen_at.map(DateTime) }
    }
}

/// What another user lets you know for the moment.
#[derive(SimpleObject)]
struct Signal {
    /// What it is.
    kind: SignalKind,
    /// Who gives it.
    user: User,
    /// Where the user types; null for `ONLINE` and `OFFLINE`.
    conversation_id: Option<ID>,
    /// Forget a TYPING signal at this time.
    expires_at: Option<DateTime>,
}

impl From<(model::signals::Signal, model::users::User)> for Signal {
    fn from((signal, user): (model::signals::Signal, model::users::User)) -> Self {
        Self {
            kind: signal.kind.into(),
            user: User(user),
            conversation_id: signal.conversation.map(|id| ID(id.to_string())),
            expires_at: signal.expires_at.map(DateTime),
        }
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

/// What became of a word about typing.
#[derive(SimpleObject)]
struct SetTypingPayload {
    /// Whether it was passed on.
    ok: bool,
    /// What to fix; empty if it was done.
    user_errors: Vec<UserError>,
}

impl SetTypingPayload {
    fn of(outcome: Result<(), Vec<UserError>>) -> Self {
        Self { ok: outcome.is_ok(), user_errors: outcome.err().unwrap_or_default() }
    }
}

/// Signals to give.
#[derive(Default)]
pub(super) struct SignalMutation;

#[Object]
impl SignalMutation {
    /// Repeat every 3 seconds while typing; it ends by itself after 6.
    async fn set_typing(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Where, such as cnv_1_2.")] conversation_id: ID,
        #[graphql(default, desc = "False: has stopped.")] typing: Flag<true>,
        #[graphql(desc = "Who types: a member of the conversation. Needed in open mode.")] user_id: Option<ID>,
    ) -> Result<SetTypingPayload> {
        let call = Call::of(ctx);
        let mut arguments = Arguments::default();
        let conversation = arguments.id("conversationId", &conversation_id);
        let user = arguments.user(call, "userId", user_id.as_ref())?;
        let (Some(conversation), Some(user)) = (conversation, user) else {
            return Ok(SetTypingPayload::of(Err(arguments.errors)));
        };
        let outcome = signals::set_typing(&call.app, &call.viewer(), user, conversation, typing.0).await;
        Ok(SetTypingPayload::of(call.outcome(outcome)?))
    }
}

/// Subscriptions to signals.
#[derive(Default)]
pub(super) struct SignalSubscription;

#[Subscription]
impl SignalSubscription {
    /// Who is typing and who is online. Never stored; may be dropped when you are slow.
    async fn signals(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Who listens. Needed in open mode.")] user_id: Option<ID>,
        #[graphql(desc = "Only what the other member of this conversation does, before its first message too.")]
        conversation_id: Option<ID>,
    ) -> Result<Told<Signal>> {
        let call = Call::of(ctx);
        if let Some(News::Signal(signal)) = call.news() {
            return Ok(told(Some(Signal::from(*signal.clone()))));
        }
        let conversation = conversation_id.as_ref().map(id).transpose()?;
        let heard = signals::listen(&call.app, &call.viewer(), whose(call, user_id.as_ref())?, conversation).await;
        call.begin(call.answer(heard)?.map_ok(|signal| News::Signal(Box::new(signal))));
        Ok(told(None))
    }
}
