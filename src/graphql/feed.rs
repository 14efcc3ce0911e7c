//! The feed in words: the event and the subscription.

use async_graphql::{Context, Enum, ID, Object, Result, Subscription};
use futures_util::{Stream, StreamExt};

use super::{
    Conversation, Message,
    calls::{Call, id},
    errors::{bad_input, top_level},
    scalars::DateTime,
};
use crate::{domain::feed, model::feed::Kind};

/// `FeedEvent`
struct FeedEvent(feed::Event);

/// Something that happened in a user's conversations.
#[Object]
impl FeedEvent {
    /// Where you are in the feed. Opaque.
    async fn cursor(&self) -> String {
        self.0.cursor.to_string()
    }

    /// What happened.
    async fn kind(&self) -> FeedEventKind {
        match self.0.change.as_ref().map(|change| change.kind) {
            Some(Kind::Sent) => FeedEventKind::MessageSent,
            Some(Kind::Updated) => FeedEventKind::MessageUpdated,
            Some(Kind::Deleted) => FeedEventKind::MessageDeleted,
            None => FeedEventKind::CaughtUp,
        }
    }

    /// When it happened.
    async fn at(&self) -> DateTime {
        DateTime(self.0.at)
    }

    /// Where it happened; null for `CAUGHT_UP`.
    async fn conversation(&self) -> Option<Conversation> {
        self.0.change.as_ref().map(|change| Conversation::new(change.conversation, None))
    }

    /// The message as it is now; null once deleted.
    async fn message(&self) -> Option<Message> {
        self.0.change.as_ref()?.message.clone().map(Message::from)
    }

    /// The id of the message, also once it is deleted; null for `CAUGHT_UP`.
    async fn message_id(&self) -> Option<ID> {
        self.0.change.as_ref().map(|change| ID(change.message_id.to_string()))
    }
}

/// What can happen in a feed.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
enum FeedEventKind {
    /// A message was sent.
    MessageSent,
    /// The text of a message was changed.
    MessageUpdated,
    /// A message was deleted.
    MessageDeleted,
    /// You have everything up to now.
    CaughtUp,
}

/// `Subscription`
#[derive(Default)]
pub(super) struct Subscriptions;

/// What happens, as it happens.
#[Subscription(name = "Subscription")]
impl Subscriptions {
    /// Everything that changes in a user's conversations, in order, edits and deletions too. The first event is
    /// `CAUGHT_UP`: from then on nothing is missed. The user is you; in open mode it is `userId`.
    async fn feed(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whose feed. Needed in open mode.")] user_id: Option<ID>,
        #[graphql(desc = "Only what happens in this conversation.")] conversation_id: Option<ID>,
    ) -> Result<impl Stream<Item = Result<FeedEvent>> + use<>> {
        let call = Call::of(ctx);
        let user_id = user_id.ok_or_else(|| bad_input("Say whose feed: on this server nobody is signed in."))?;
        let conversation = conversation_id.as_ref().map(id).transpose()?;
        let events = call.answer(feed::follow(&call.app, &call.viewer, id(&user_id)?, conversation).await)?;
        let request_id = call.request_id.clone();
        Ok(events.map(move |event| event.map(FeedEvent).map_err(|error| top_level(error, &request_id))))
    }
}
