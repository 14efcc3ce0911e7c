//! The feed: the event, the query and the subscription.

use std::sync::Arc;

use async_graphql::{Enum, ID, InputObject};
use futures_util::{FutureExt, future::BoxFuture};

use super::{
    Call, Context, Conversation, DateTime, Query, Source, SourceEvent, SourceEvents, Subscriptions, acting_user,
    conversations::Member, id, page_size,
};
use crate::{
    domain::feed::{self, Follower},
    execution::{self, Error, Fields, Id, Object, Selection, Text},
    model::{
        feed::{Change, Cursor, Event, EventBody, EventKind},
        ids::{ConversationId, MessageId},
        messages::Message,
        users::User,
    },
};

impl Object for Arc<Event> {
    const NAME: &'static str = "FeedEvent";
    const DESCRIPTION: &'static str = "Something that happened in a user's conversations.";
    type Context = Context;
    type Row<'a> = &'a Self;

    fn fields(fields: &mut Fields<Self>) {
        fields.plain::<Text<Cursor>>("cursor", "Where you are in the feed. Opaque.", |it, _| it.cursor.clone());
        fields.plain::<execution::Enum<FeedEventKind>>("kind", "What happened.", |it, _| match &it.body {
            EventBody::Changed(change) => change.kind.into(),
            EventBody::CaughtUp => FeedEventKind::CaughtUp,
            EventBody::Reset => FeedEventKind::Reset,
        });
        fields.plain::<DateTime>("at", "When it happened.", |it, _| it.at);
        fields.plain::<Option<Conversation>>(
            "conversation",
            "Where it happened; null for `CAUGHT_UP` and `RESET`, and for a change of your own account.",
            |it, _| change(it)?.conversation.map(Conversation::of),
        );
        fields.plain::<Option<Message>>("message", "The message as it is now; null once deleted.", |it, _| {
            change(it)?.message.as_ref()
        });
        fields.plain::<Option<Id<MessageId>>>(
            "messageId",
            "The id of the message, also once it is deleted; null if the event is not about one.",
            |it, _| change(it)?.message_id,
        );
        fields.plain::<Option<Member>>("member", "For RECEIPT: whose marks moved.", |it, _| {
            let change = change(it).filter(|change| matches!(change.kind, EventKind::OwnMark | EventKind::PeerMark))?;
            let user = change.user?;
            Some(Member { user, peer: change.conversation?.peer_of(user)? })
        });
        fields.field::<Option<User>>(
            "user",
            "For USER_CHANGED: the user as they are now; null once the account was erased.",
            |it, context| match change(it) {
                Some(Change { kind: EventKind::UserChanged, user: Some(user), .. }) => context.loaded.users.get(*user),
                _ => Ok(None),
            },
        );
    }
}

fn change(event: &Event) -> Option<&Change> {
    if let EventBody::Changed(change) = &event.body { Some(change) } else { None }
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
    /// A member's marks moved: messages have arrived or were read.
    Receipt,
    /// A user with whom you have a conversation changed, or you did, or their account was erased.
    UserChanged,
    /// You have everything up to now.
    CaughtUp,
    /// Your cursor is too old or from another database: load your lists again, then go on from this cursor.
    Reset,
}

impl From<EventKind> for FeedEventKind {
    fn from(kind: EventKind) -> Self {
        match kind {
            EventKind::Sent => Self::MessageSent,
            EventKind::Updated => Self::MessageUpdated,
            EventKind::Deleted => Self::MessageDeleted,
            EventKind::OwnMark | EventKind::PeerMark => Self::Receipt,
            EventKind::UserChanged => Self::UserChanged,
        }
    }
}

impl Object for feed::Events {
    const NAME: &'static str = "FeedPage";
    const DESCRIPTION: &'static str = "A part of a feed.";
    type Context = Context;
    type Row<'a> = &'a Self;

    fn fields(fields: &mut Fields<Self>) {
        fields.plain::<Vec<Arc<Event>>>(
            "events",
            "What happened, oldest first; only `RESET` if the server cannot go on from your cursor.",
            |it, _| it.events.iter().collect(),
        );
        fields.plain::<Text<Cursor>>("cursor", "Where to go on.", |it, _| it.cursor.clone());
        fields.plain::<bool>("hasMore", "Whether there is more already.", |it, _| it.has_more);
    }
}

#[derive(Clone, InputObject)]
struct FeedCursorArguments {
    /// Whose feed. Required in open mode.
    user_id: Option<ID>,
}

#[derive(Clone, InputObject)]
struct FeedEventsArguments {
    /// Whose feed. Required in open mode.
    user_id: Option<ID>,
    /// A cursor of this feed.
    after: String,
    /// At most so many events, 1 to 100.
    #[graphql(default_with = "Some(100)")]
    first: Option<i32>,
}

/// Queries about feeds.
pub(super) fn queries(fields: &mut Fields<Query>) {
    fields.with::<Text<Cursor>, FeedCursorArguments>(
        "feedCursor",
        "The current end of a user's feed. Query it in the same request as your first page, then pass it to `feed(after:)`.",
        |(), context, FeedCursorArguments { user_id }| {
            let user = acting_user(&context.viewer, "userId", user_id.as_ref())?;
            context.require(&context.loaded.cursors, user).cloned()
        },
    );
    fields.with::<feed::Events, FeedEventsArguments>(
        "feedEvents",
        "The feed without a socket: up to `first` stored events after a cursor.",
        |(), context, FeedEventsArguments { user_id, after, first }| {
            let limit = page_size("`first`", first.unwrap_or(100), 1)?;
            let after = after.parse::<Cursor>().map_err(Error::bad_input)?;
            let user = acting_user(&context.viewer, "userId", user_id.as_ref())?;
            context.require(&context.loaded.feeds, (user, after, limit))
        },
    );
}

#[derive(Clone, InputObject)]
struct FeedArguments {
    /// Whose feed. Required in open mode.
    user_id: Option<ID>,
    /// The cursor of the last event that you handled.
    after: Option<String>,
    /// Only what happens in this conversation, and changes of its members.
    conversation_id: Option<ID>,
}

/// Subscriptions to feeds.
pub(super) fn subscriptions(fields: &mut Subscriptions) {
    fields.field::<Arc<Event>, _, _>(
        "feed",
        "Everything that changes in a user's conversations, in order, edits and deletions too.\n\
         Keep the cursor of the last event you handled; after a disconnect pass it as `after`\n\
         and you get what you missed, then CAUGHT_UP, then live events. No event is ever skipped\n\
         in silence: if the server cannot continue from your cursor it sends RESET first.\n\
         Without `after` it starts now. The user is you; in open mode it is `userId`.",
        follow,
    );
}

async fn follow(
    call: Arc<Call>,
    arguments: FeedArguments,
    selection: Arc<Selection<Arc<Event>>>,
) -> Result<Box<dyn Source>, Error> {
    let viewer = call.viewer();
    let user = acting_user(&viewer, "userId", arguments.user_id.as_ref())?;
    // Who comes back over HTTP has their place in a header.
    let after = call.caller.last_event_id.clone().or(arguments.after);
    let after = after.map(|after| after.parse::<Cursor>()).transpose().map_err(Error::bad_input)?;
    let conversation: Option<ConversationId> = arguments.conversation_id.as_ref().map(id).transpose()?;
    let follower = call.or_error(feed::follow(&call.app, &viewer, user, after, conversation).await)?;
    Ok(Box::new(FeedSource { follower, selection }))
}

/// The events of a subscription.
struct FeedSource {
    follower: Follower,
    selection: Arc<Selection<Arc<Event>>>,
}

impl Source for FeedSource {
    fn next(&mut self, taken: usize) -> BoxFuture<'_, SourceEvents> {
        async move {
            let events = self.follower.next(taken).await.transpose()?;
            let event = |event: Arc<Event>| {
                let cursor = Some(event.cursor.clone());
                SourceEvent { cursor, write: self.selection.clone().write_later(event) }
            };
            Some(events.map(|events| events.into_iter().map(event).collect()))
        }
        .boxed()
    }

    fn is_current(&self) -> bool {
        self.follower.is_current()
    }

    fn read_again(&mut self) -> bool {
        self.follower.read_again();
        true
    }
}
