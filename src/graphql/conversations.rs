//! Conversations in words: the types and the query.

use std::sync::Arc;

use async_graphql::{Context, ID, Object, Result, SimpleObject};
use serde::ser::SerializeMap;

use super::{
    Connection, Message, User, UserError,
    calls::{Arguments, Call, id},
    completion::Planned,
    pages::{Listed, Wanted},
    scalars::DateTime,
    written::{Plain, Shown},
};
use crate::{
    domain::{Viewer, conversations},
    model::{
        self,
        conversations::Reach,
        ids::{ConversationId, UserId},
        messages::List,
        pages::{End, Page, Span},
    },
};

/// Both members, in the order of their ids; one whose account was erased is `None`.
pub(super) type Members = [Option<User>; 2];

/// `Conversation`
#[derive(Clone)]
pub(super) struct Conversation {
    id: ConversationId,
    /// If whoever made this had them at hand.
    members: Option<Arc<Members>>,
    /// What a user's conversations are ordered by; 0 outside of such a list.
    activity: i64,
}

impl From<conversations::Conversation> for Conversation {
    fn from(found: conversations::Conversation) -> Self {
        Self::new(found.id, Some(Arc::new(found.members.map(|member| member.map(User)))))
    }
}

impl Listed for Conversation {
    const KIND: &'static str = "conversation";

    fn key(&self) -> i64 {
        self.activity
    }
}

/// What two users say to each other. It exists for every pair, also before the first message.
#[Object]
impl Conversation {
    /// The id, such as cnv_1_2: the ids of its members, the lower one first.
    pub(super) async fn id(&self) -> ID {
        ID(self.id.to_string())
    }

    /// Both members, in the order of their ids.
    async fn members(&self) -> Vec<Member> {
        let [low, high] = self.id.members();
        [(low, high), (high, low)].map(|(user, peer)| Member { user, peer, known: self.members.clone() }).into()
    }

    /// Always oldest to newest. With no arguments you get the newest 50; page up with `last` and `before`.
    async fn messages(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "At most so many from the start of the list, 0 to 100; not with `last`.")] first: Option<i32>,
        #[graphql(desc = "Only items after this cursor.")] after: Option<String>,
        #[graphql(desc = "At most so many from the end of the list, 0 to 100; not with `first`.")] last: Option<i32>,
        #[graphql(desc = "Only items before this cursor.")] before: Option<String>,
    ) -> Result<Connection<Message>> {
        let wanted = Wanted { first, after, last, before };
        Message::list_between(ctx, List::Conversation(self.id), wanted, self.members.clone()).await
    }

    /// The newest message; null if there is none.
    async fn last_message(&self, ctx: &Context<'_>) -> Result<Option<Message>> {
        let page = Call::of(ctx).load.load_one((List::Conversation(self.id), Span::last(1))).await?;
        Ok(page.and_then(|mut page| page.items.pop()).map(Message::from))
    }

    /// Messages that you, or the user named, have not read. 0 for somebody who is not a member.
    async fn unread_count(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The reader. Needed in open mode, where nobody is you.")] user_id: Option<ID>,
    ) -> Result<i32> {
        let call = Call::of(ctx);
        let reader = user_id.as_ref().map(id).transpose()?.or_else(|| call.viewer().user());
        let Some(reader) = reader else { return Ok(0) };
        let count = call.load.load_one((self.id, reader)).await?;
        Ok(i32::try_from(count.unwrap_or(0)).unwrap_or(i32::MAX))
    }
}

impl Plain for Conversation {
    fn has(&self, field: &Planned) -> bool {
        field.name() == "id"
    }

    fn write<M: SerializeMap>(&self, field: &Planned, _: &Viewer, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry(&field.key, &Shown(self.id))
    }
}

impl Conversation {
    pub(super) fn new(id: ConversationId, members: Option<Arc<Members>>) -> Self {
        Self { id, members, activity: 0 }
    }

    /// The conversation with this id; null if the viewer may not see it.
    pub(super) async fn load(ctx: &Context<'_>, id: ConversationId) -> Result<Option<Self>> {
        let call = Call::of(ctx);
        let found = call.answer(conversations::find(&call.app, &call.viewer(), id).await)?;
        Ok(found.map(Self::from))
    }

    /// A page of a user's conversations. The list goes from the most recent activity to the least, against its keys.
    pub(super) async fn list(ctx: &Context<'_>, user: UserId, wanted: Wanted) -> Result<Connection<Self>> {
        let span = wanted.span::<Self>(End::First)?.reversed();
        let page = Call::of(ctx).load.load_one((user, span)).await?;
        let conversation = |member: model::conversations::Member| {
            let activity = member.last_message_id.key();
            Self { id: member.conversation_id(), members: None, activity }
        };
        Ok(page.unwrap_or_else(Page::empty).reversed().map(conversation).into())
    }
}

/// `Member`
pub(super) struct Member {
    pub(super) user: UserId,
    pub(super) peer: UserId,
    /// Both, if whoever made this had them at hand.
    pub(super) known: Option<Arc<Members>>,
}

/// A user's place in a conversation. Marks only move forward and cover everything before them.
#[Object]
impl Member {
    /// Null when the account was erased.
    async fn user(&self, ctx: &Context<'_>) -> Result<Option<User>> {
        User::of(ctx, self.user, self.known.as_deref()).await
    }

    /// The newest message that arrived at a device of this user; null before the first.
    async fn delivered_through(&self, ctx: &Context<'_>) -> Result<Option<Mark>> {
        self.mark(ctx, Reach::Delivered).await
    }

    /// The newest message that this user has read; null before the first.
    async fn read_through(&self, ctx: &Context<'_>) -> Result<Option<Mark>> {
        self.mark(ctx, Reach::Read).await
    }
}

impl Member {
    async fn mark(&self, ctx: &Context<'_>, reach: Reach) -> Result<Option<Mark>> {
        let place = Call::of(ctx).load.load_one((self.user, self.peer)).await?;
        let mark = place.and_then(|place| place.mark(reach));
        Ok(mark.map(|mark| Mark { message_id: ID(mark.message_id.to_string()), at: DateTime(mark.at) }))
    }
}

/// A message reached, and when.
#[derive(SimpleObject)]
pub(super) struct Mark {
    /// The message; it may have been deleted since.
    message_id: ID,
    /// When the mark was set.
    at: DateTime,
}

/// What became of a mark.
#[derive(SimpleObject)]
pub(super) struct ConversationPayload {
    /// The conversation as it is now; null if there are errors.
    conversation: Option<Conversation>,
    /// What to fix; empty if it was done.
    user_errors: Vec<UserError>,
}

/// Changes to conversations.
#[derive(Default)]
pub(super) struct ConversationMutation;

#[Object]
impl ConversationMutation {
    /// Everything up to this message has arrived.
    async fn mark_delivered(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The newest message that arrived.")] message_id: ID,
        #[graphql(desc = "Where it arrived: a member of its conversation. Needed in open mode.")] user_id: Option<ID>,
    ) -> Result<ConversationPayload> {
        mark(ctx, Reach::Delivered, &message_id, user_id.as_ref()).await
    }

    /// Everything up to this message has been read.
    async fn mark_read(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The newest message that was read.")] message_id: ID,
        #[graphql(desc = "Who read it: a member of its conversation. Needed in open mode.")] user_id: Option<ID>,
    ) -> Result<ConversationPayload> {
        mark(ctx, Reach::Read, &message_id, user_id.as_ref()).await
    }
}

async fn mark(ctx: &Context<'_>, reach: Reach, message: &ID, user: Option<&ID>) -> Result<ConversationPayload> {
    let call = Call::of(ctx);
    let mut arguments = Arguments::default();
    let message = arguments.id("messageId", message);
    let user = arguments.user(call, "userId", user)?;
    let (Some(message), Some(user)) = (message, user) else {
        return Ok(ConversationPayload { conversation: None, user_errors: arguments.errors });
    };
    let outcome = conversations::mark(&call.app, &call.viewer(), user, message, reach).await;
    Ok(match call.outcome(outcome)? {
        Ok(found) => ConversationPayload { conversation: Some(found.into()), user_errors: Vec::new() },
        Err(user_errors) => ConversationPayload { conversation: None, user_errors },
    })
}

/// Queries about conversations.
#[derive(Default)]
pub(super) struct ConversationQuery;

#[Object]
impl ConversationQuery {
    /// What two users say to each other. Null if you do not know one of them, or it is none of your business.
    async fn conversation(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "One of them, such as usr_1.")] user1: ID,
        #[graphql(desc = "The other one.")] user2: ID,
    ) -> Result<Option<Conversation>> {
        let Some(id) = ConversationId::between(id(&user1)?, id(&user2)?) else { return Ok(None) };
        Conversation::load(ctx, id).await
    }
}
