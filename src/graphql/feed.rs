//! The feed in words: the event and the subscription.

use std::sync::Arc;

use async_graphql::{
    Context, Enum, ID, Name, Object, Pos, Positioned, Result, SimpleObject, Subscription, Value, Variables,
    parser::types::{DocumentOperations, ExecutableDocument, OperationType, Selection},
};
use futures_util::TryStreamExt;

use super::{
    Conversation, Message, User,
    calls::{Call, id, whose},
    conversations::Member,
    errors::bad_input,
    pages::MAX_SIZE,
    scalars::DateTime,
    subscriptions::{News, Told, told},
};
use crate::{
    domain::feed,
    model::feed::{self as model, Change, Cursor, Kind},
};

/// `FeedEvent`
struct FeedEvent(Arc<model::Event>);

/// Something that happened in a user's conversations.
#[Object]
impl FeedEvent {
    /// Where you are in the feed. Opaque.
    async fn cursor(&self) -> String {
        self.0.cursor.to_string()
    }

    /// What happened.
    async fn kind(&self) -> FeedEventKind {
        match &self.0.news {
            model::News::Changed(change) => change.kind.into(),
            model::News::CaughtUp => FeedEventKind::CaughtUp,
            model::News::Reset => FeedEventKind::Reset,
        }
    }

    /// When it happened.
    async fn at(&self) -> DateTime {
        DateTime(self.0.at)
    }

    /// Where it happened; null for `CAUGHT_UP` and `RESET`, and for a change of your own account.
    async fn conversation(&self) -> Option<Conversation> {
        self.change()?.conversation.map(|id| Conversation::new(id, None))
    }

    /// The message as it is now; null once deleted.
    async fn message(&self) -> Option<Message> {
        self.change()?.message.clone().map(Message::from)
    }

    /// The id of the message, also once it is deleted; null if the event is not about one.
    async fn message_id(&self) -> Option<ID> {
        self.change()?.message_id.map(|id| ID(id.to_string()))
    }

    /// For RECEIPT: whose marks moved.
    async fn member(&self) -> Option<Member> {
        let change = self.change().filter(|change| matches!(change.kind, Kind::OwnMark | Kind::PeerMark))?;
        let user = change.user?;
        Some(Member { user, peer: change.conversation?.peer_of(user)?, known: None })
    }

    /// For USER_CHANGED: the user as they are now; null once the account was erased.
    async fn user(&self, ctx: &Context<'_>) -> Result<Option<User>> {
        match self.change() {
            Some(Change { kind: Kind::UserChanged, user: Some(user), .. }) => User::load(ctx, *user).await,
            _ => Ok(None),
        }
    }
}

impl FeedEvent {
    fn change(&self) -> Option<&Change> {
        if let model::News::Changed(change) = &self.0.news { Some(change) } else { None }
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
    /// A member's marks moved: messages have arrived or were read.
    Receipt,
    /// A user with whom you have a conversation changed, or you did, or their account was erased.
    UserChanged,
    /// You have everything up to now.
    CaughtUp,
    /// Your cursor is too old or from another database: load your lists again, then go on from this cursor.
    Reset,
}

impl From<Kind> for FeedEventKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Sent => Self::MessageSent,
            Kind::Updated => Self::MessageUpdated,
            Kind::Deleted => Self::MessageDeleted,
            Kind::OwnMark | Kind::PeerMark => Self::Receipt,
            Kind::UserChanged => Self::UserChanged,
        }
    }
}

/// A part of a feed.
#[derive(SimpleObject)]
struct FeedPage {
    /// What happened, oldest first; only `RESET` if the server cannot go on from your cursor.
    events: Vec<FeedEvent>,
    /// Where to go on.
    cursor: String,
    /// Whether there is more already.
    has_more: bool,
}

/// Queries about feeds.
#[derive(Default)]
pub(super) struct FeedQuery;

#[Object]
impl FeedQuery {
    /// Where a user's feed stands now: ask for it in the same request as your first page, then pass it to `feed(after:)`.
    async fn feed_cursor(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whose feed. Needed in open mode.")] user_id: Option<ID>,
    ) -> Result<String> {
        let call = Call::of(ctx);
        let user = whose(call, user_id.as_ref())?;
        // It was read before anything else of this request: what the request reads is not older than it.
        match call.cursors.iter().find(|(its, _)| *its == user) {
            Some((_, cursor)) => Ok(cursor.to_string()),
            None => Ok(call.answer(feed::cursor(&call.app, &call.viewer(), user).await)?.to_string()),
        }
    }

    /// The feed without a socket: up to `first` stored events after a cursor.
    async fn feed_events(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whose feed. Needed in open mode.")] user_id: Option<ID>,
        #[graphql(desc = "A cursor of this feed.")] after: String,
        #[graphql(default_with = "Some(100)", desc = "At most so many events, 1 to 100.")] first: Option<i32>,
    ) -> Result<FeedPage> {
        let call = Call::of(ctx);
        let limit = u16::try_from(first.unwrap_or(100)).ok().filter(|limit| (1..=MAX_SIZE).contains(limit));
        let limit = limit.ok_or_else(|| bad_input(format!("`first` must be from 1 to {MAX_SIZE}.")))?;
        let after = after.parse::<Cursor>().map_err(bad_input)?;
        let found = feed::events(&call.app, &call.viewer(), whose(call, user_id.as_ref())?, after, limit).await;
        let feed::Events { events, cursor, has_more } = call.answer(found)?;
        let events = events.into_iter().map(FeedEvent).collect();
        Ok(FeedPage { events, cursor: cursor.to_string(), has_more })
    }
}

/// Subscriptions to feeds.
#[derive(Default)]
pub(super) struct FeedSubscription;

#[Subscription]
impl FeedSubscription {
    /// Everything that changes in a user's conversations, in order, edits and deletions too.
    /// Keep the cursor of the last event you handled; after a disconnect pass it as `after`
    /// and you get what you missed, then CAUGHT_UP, then live events. No event is ever skipped
    /// in silence: if the server cannot continue from your cursor it sends RESET first.
    /// Without `after` it starts now. The user is you; in open mode it is `userId`.
    async fn feed(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whose feed. Needed in open mode.")] user_id: Option<ID>,
        #[graphql(desc = "The cursor of the last event that you handled.")] after: Option<String>,
        #[graphql(desc = "Only what happens in this conversation, and changes of its members.")]
        conversation_id: Option<ID>,
    ) -> Result<Told<FeedEvent>> {
        let call = Call::of(ctx);
        if let Some(News::Feed(event)) = call.news() {
            return Ok(told(Some(FeedEvent(event.clone()))));
        }
        let user = whose(call, user_id.as_ref())?;
        let after = after.map(|after| after.parse::<Cursor>()).transpose().map_err(bad_input)?;
        let conversation = conversation_id.as_ref().map(id).transpose()?;
        let events = call.answer(feed::follow(&call.app, &call.viewer(), user, after, conversation).await)?;
        call.begin(events.map_ok(News::Feed));
        Ok(told(None))
    }
}

/// Lets a subscription to a feed go on after this cursor, instead of its own.
pub(super) fn resume(document: &mut ExecutableDocument, variables: &mut Variables, after: &str) {
    let operations: Vec<_> = match &mut document.operations {
        DocumentOperations::Single(operation) => vec![operation],
        DocumentOperations::Multiple(operations) => operations.values_mut().collect(),
    };
    for Positioned { node: operation, .. } in operations {
        for selection in &mut operation.selection_set.node.items {
            let Selection::Field(Positioned { node: field, .. }) = &mut selection.node else { continue };
            if operation.ty != OperationType::Subscription || field.name.node != "feed" {
                continue;
            }
            let cursor = Value::from(after);
            let argument = field.get_argument("after").map(|argument| argument.node.to_string());
            if let Some(name) = argument.as_deref().and_then(|argument| argument.strip_prefix('$')) {
                // The document stays as it is: a variable that is not used would be an error.
                variables.insert(Name::new(name), cursor);
            } else {
                field.arguments.retain(|(name, _)| name.node != "after");
                let name = Positioned::new(Name::new("after"), Pos::default());
                field.arguments.push((name, Positioned::new(cursor.into_value(), Pos::default())));
            }
        }
    }
}
