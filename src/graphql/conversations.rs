//! Conversations: the types, the query and the marks.

use std::sync::Arc;

use async_graphql::{ID, InputObject};

use super::{
    ArgumentParser, Call, Context, DateTime, Failure, Listed, Mutations, Outcome, PageArguments, Payload, Query,
    acting_user, id, mutation,
};
use crate::{
    domain::conversations,
    execution::{Fields, Id, Object, Unresolved},
    model::{
        self,
        conversations::{Mark, Reach},
        ids::{ConversationId, MessageId, UserId},
        messages::{List, Message},
        pages::{Page, PageRequest},
        users::User,
    },
};

/// The messages between two users.
#[derive(Clone, Copy)]
pub(super) struct Conversation {
    id: ConversationId,
    /// The newest message that was ever in it, if it is known.
    last_message_id: Option<MessageId>,
}

impl Conversation {
    pub(super) fn of(id: ConversationId) -> Self {
        Self { id, last_message_id: None }
    }
}

impl Object for Conversation {
    const NAME: &'static str = "Conversation";
    const DESCRIPTION: &'static str =
        "The messages between two users. A conversation exists for every pair of users, even before the first message.";
    type Context = Context;
    type Row<'a> = Self;

    fn fields(fields: &mut Fields<Self>) {
        fields.plain::<Id<ConversationId>>(
            "id",
            "The id, such as cnv_1_2: the ids of its members, the lower one first.",
            |it, _| it.id,
        );
        fields.plain::<Vec<Member>>("members", "Both members, in the order of their ids.", |it, _| {
            let [low, high] = it.id.members();
            vec![Member { user: low, peer: high }, Member { user: high, peer: low }]
        });
        fields.with::<Option<User>, PeerArguments>(
            "peer",
            "The member that is not you, or not the user named; null for somebody who is not a member, and when the account \
             was erased.",
            |it, context, PeerArguments { of }| {
                let peer = it.id.peer_of(acting_user(&context.viewer, "of", of.as_ref())?);
                peer.map_or(Ok(None), |peer| context.loaded.users.get(peer))
            },
        );
        fields.with::<Page<Message>, PageArguments>(
            "messages",
            "Always oldest to newest. With no arguments you get the newest 50; page up with `last` and `before`.",
            |it, context, wanted| wanted.page(&context.loaded.message_pages, List::Conversation(it.id)),
        );
        fields.field::<Option<Message>>("lastMessage", "The newest message; null if there is none.", last_message);
        fields.with::<i32, UnreadArguments>(
            "unreadCount",
            "Messages that you, or the user named, have not read. 0 for somebody who is not a member.",
            |it, context, UnreadArguments { user_id }| {
                let reader = acting_user(&context.viewer, "userId", user_id.as_ref())?;
                let Some(peer) = it.id.peer_of(reader) else { return Ok(0) };
                let member = context.loaded.members.get((reader, peer))?;
                Ok(count(member.map_or(0, |member| member.unread)))
            },
        );
    }
}

/// A number for clients.
pub(super) fn count(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn last_message(it: Conversation, context: &Context) -> Result<Option<&Message>, Unresolved> {
    if let Some(id) = it.last_message_id
        && let Some(message) = context.loaded.messages.get(id)?
    {
        return Ok(Some(message));
    }
    let page = context.loaded.message_pages.get((List::Conversation(it.id), PageRequest::last(1)))?;
    Ok(page.and_then(|page| page.items.last()))
}

/// A page of a user's conversations.
pub(super) type Conversations = Page<model::conversations::Member>;

impl Listed for model::conversations::Member {
    const CONNECTION: &'static str = "ConversationConnection";
    const EDGE: &'static str = "ConversationEdge";
    const KIND: &'static str = "conversation";
    type Node = Conversation;

    fn key(&self) -> i64 {
        self.last_message_id.key()
    }

    fn node(&self) -> Conversation {
        Conversation { id: self.conversation_id(), last_message_id: Some(self.last_message_id) }
    }
}

#[derive(Clone, InputObject)]
struct PeerArguments {
    /// The user whose peer is returned; by default you. Required in open mode and for service tokens.
    of: Option<ID>,
}

#[derive(Clone, InputObject)]
struct UnreadArguments {
    /// The reader; by default you. Required in open mode and for service tokens.
    user_id: Option<ID>,
}

#[derive(Clone, Copy)]
pub(super) struct Member {
    pub(super) user: UserId,
    pub(super) peer: UserId,
}

impl Object for Member {
    const NAME: &'static str = "Member";
    const DESCRIPTION: &'static str =
        "A user's place in a conversation. Marks only move forward and cover everything before them.";
    type Context = Context;
    type Row<'a> = Self;

    fn fields(fields: &mut Fields<Self>) {
        fields.field::<Option<User>>("user", "Null when the account was erased.", |it, context| {
            context.loaded.users.get(it.user)
        });
        fields.field::<Option<Mark>>(
            "deliveredThrough",
            "The newest message that arrived at a device of this user; null before the first.",
            |it, context| mark_of(it, context, Reach::Delivered),
        );
        fields.field::<Option<Mark>>(
            "readThrough",
            "The newest message that this user has read; null before the first.",
            |it, context| mark_of(it, context, Reach::Read),
        );
    }
}

fn mark_of(it: Member, context: &Context, reach: Reach) -> Result<Option<Mark>, Unresolved> {
    Ok(context.loaded.members.get((it.user, it.peer))?.and_then(|member| member.mark(reach)))
}

impl Object for Mark {
    const NAME: &'static str = "Mark";
    const DESCRIPTION: &'static str = "A delivery or read mark: the newest message it covers, and when it was set.";
    type Context = Context;
    type Row<'a> = Self;

    fn fields(fields: &mut Fields<Self>) {
        fields
            .plain::<Id<MessageId>>("messageId", "The message; it may have been deleted since.", |it, _| it.message_id);
        fields.plain::<DateTime>("at", "When the mark was set.", |it, _| it.at);
    }
}

#[derive(Clone, InputObject)]
struct ConversationArguments {
    /// One of them, such as usr_1.
    user1: ID,
    /// The other one.
    user2: ID,
}

/// Queries about conversations.
pub(super) fn queries(fields: &mut Fields<Query>) {
    fields.with::<Option<Conversation>, ConversationArguments>(
        "conversation",
        "The conversation of two users. Null if a user never existed, or was erased without a message between the two; if both are the \
         same; or if you may not see it.",
        |(), context, ConversationArguments { user1, user2 }| {
            let between = ConversationId::between(id(user1)?, id(user2)?);
            between.map_or(Ok(None), |id| Ok(context.conversation(id)?.map(Conversation::of)))
        },
    );
}

/// The conversation of the message up to which was marked.
struct Marked(ConversationId);

impl Payload for Marked {
    const NAME: &'static str = "ConversationPayload";
    const DESCRIPTION: &'static str = "The result of `markDelivered` or `markRead`.";

    fn fields(fields: &mut Fields<Outcome<Self>>) {
        fields.plain::<Option<Conversation>>(
            "conversation",
            "The conversation as it is now; null if there are errors.",
            |it, _| Some(Conversation::of(it.as_ref().ok()?.0)),
        );
    }
}

#[derive(Clone, InputObject)]
struct MarkArguments {
    /// The newest message that it is about.
    message_id: ID,
    /// The member of its conversation who received or read it: you, if it is left out. Required in open mode.
    user_id: Option<ID>,
}

/// Changes to conversations.
pub(super) fn mutations(fields: &mut Mutations) {
    mutation(fields, "markDelivered", "Mark all messages up to this one as delivered.", |call, arguments| {
        mark(call, Reach::Delivered, arguments)
    });
    mutation(fields, "markRead", "Mark all messages up to this one as read.", |call, arguments| {
        mark(call, Reach::Read, arguments)
    });
}

async fn mark(call: Arc<Call>, reach: Reach, arguments: MarkArguments) -> Result<Marked, Failure> {
    let mut parser = ArgumentParser::default();
    let message = parser.id("messageId", &arguments.message_id);
    let user = parser.user(&call, "userId", arguments.user_id.as_ref())?;
    let (message, user) = parser.finish(message.zip(user))?;
    call.or_failure(conversations::mark(&call.app, &call.viewer(), user, message, reach).await).map(Marked)
}
