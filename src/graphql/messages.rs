//! Messages in words: the type, its inputs, queries and mutations.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use serde::ser::SerializeMap;

use super::{
    Connection, Conversation, User, UserError,
    calls::{Arguments, Call, id},
    completion::Planned,
    conversations::Members,
    pages::{Listed, Wanted},
    scalars::DateTime,
    users::DeletePayload,
    written::{Asked, Plain, Shown, is_plain},
};
use crate::{
    domain::{
        Viewer,
        messages::{self, Sent},
    },
    model::{
        self,
        conversations::Reach,
        ids::MessageId,
        messages::{Draft, List},
        pages::{End, Page},
        texts::{ClientId, Content},
    },
};

/// `Message`
#[derive(Clone)]
pub(super) struct Message {
    row: model::messages::Message,
    /// Sender and receiver, if whoever made this had them at hand.
    members: Option<Arc<Members>>,
}

impl From<model::messages::Message> for Message {
    fn from(row: model::messages::Message) -> Self {
        Self { row, members: None }
    }
}

impl Listed for Message {
    const KIND: &'static str = "message";

    fn key(&self) -> i64 {
        self.row.id.key()
    }
}

/// How far a message got with its receiver.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
pub(super) enum MessageStatus {
    /// Accepted by the server, and on its disk.
    Sent,
    /// Arrived at a device of the receiver.
    Delivered,
    /// Read by the receiver.
    Read,
}

/// One message from a sender to a receiver. A deleted message is gone: lists skip it and the feed announces it.
#[Object]
impl Message {
    /// The id, such as msg_42.
    pub(super) async fn id(&self) -> ID {
        ID(self.row.id.to_string())
    }

    /// The text as it was sent: 1 to 10,000 characters after trimming.
    async fn content(&self) -> &str {
        &self.row.content
    }

    /// Null when the sender's account was erased.
    async fn sender(&self, ctx: &Context<'_>) -> Result<Option<User>> {
        User::of(ctx, self.row.sender_id, self.members.as_deref()).await
    }

    /// Null when the receiver's account was erased.
    async fn receiver(&self, ctx: &Context<'_>) -> Result<Option<User>> {
        User::of(ctx, self.row.receiver_id, self.members.as_deref()).await
    }

    /// The conversation that it is part of.
    async fn conversation(&self) -> Conversation {
        Conversation::new(self.row.conversation_id(), self.members.clone())
    }

    /// The message this one answers; null if none or if it was deleted.
    async fn reply_to(&self, ctx: &Context<'_>) -> Result<Option<Message>> {
        let Some(id) = self.row.reply_to_id else { return Ok(None) };
        let row = Call::of(ctx).load.load_one(id).await?;
        Ok(row.map(|row| Self { row, members: self.members.clone() }))
    }

    /// The id chosen when sending. Only the sender sees it.
    async fn client_id(&self, ctx: &Context<'_>) -> Option<&str> {
        messages::client_id(&Call::of(ctx).viewer(), &self.row)
    }

    /// Starts at 1, plus 1 per edit.
    async fn version(&self) -> i32 {
        self.row.version
    }

    /// When the server accepted it.
    async fn created_at(&self) -> DateTime {
        DateTime(self.row.created_at)
    }

    /// When it was last edited; null if never.
    async fn edited_at(&self) -> Option<DateTime> {
        self.row.edited_at.map(DateTime)
    }

    /// How far the message got with its receiver.
    async fn status(&self, ctx: &Context<'_>) -> Result<MessageStatus> {
        let receiver = Call::of(ctx).load.load_one((self.row.receiver_id, self.row.sender_id)).await?;
        Ok(match receiver.and_then(|receiver| receiver.reach(self.row.id)) {
            None => MessageStatus::Sent,
            Some(Reach::Delivered) => MessageStatus::Delivered,
            Some(Reach::Read) => MessageStatus::Read,
        })
    }
}

impl Plain for Message {
    fn has(&self, field: &Planned) -> bool {
        match field.name() {
            "id" | "content" | "clientId" | "version" | "createdAt" | "editedAt" => true,
            "sender" | "receiver" => self.members.as_deref().is_some_and(|members| {
                let user = members.iter().flatten().next();
                user.is_none_or(|user| is_plain(user, &field.plan))
            }),
            _ => false,
        }
    }

    fn write<M: SerializeMap>(&self, field: &Planned, viewer: &Viewer, map: &mut M) -> Result<(), M::Error> {
        let row = &self.row;
        let member = |id| {
            let member = self.members.as_deref().and_then(|members| User::among(members, id));
            member.map(|user| Asked { of: user, plan: &field.plan, viewer })
        };
        match field.name() {
            "id" => map.serialize_entry(&field.key, &Shown(row.id)),
            "content" => map.serialize_entry(&field.key, &row.content),
            "sender" => map.serialize_entry(&field.key, &member(row.sender_id)),
            "receiver" => map.serialize_entry(&field.key, &member(row.receiver_id)),
            "clientId" => map.serialize_entry(&field.key, &messages::client_id(viewer, row)),
            "version" => map.serialize_entry(&field.key, &row.version),
            "createdAt" => map.serialize_entry(&field.key, &Shown(row.created_at)),
            "editedAt" => map.serialize_entry(&field.key, &row.edited_at.map(Shown)),
            _ => Ok(()),
        }
    }
}

impl Message {
    /// The message with this id; null if there is none.
    pub(super) async fn load(ctx: &Context<'_>, id: MessageId) -> Result<Option<Self>> {
        Ok(Call::of(ctx).load.load_one(id).await?.map(Self::from))
    }

    /// A page of a list of messages.
    pub(super) async fn list(ctx: &Context<'_>, list: List, wanted: Wanted) -> Result<Connection<Self>> {
        Self::list_between(ctx, list, wanted, None).await
    }

    /// The same, of messages between two users who are at hand.
    pub(super) async fn list_between(
        ctx: &Context<'_>,
        list: List,
        wanted: Wanted,
        members: Option<Arc<Members>>,
    ) -> Result<Connection<Self>> {
        let span = wanted.span::<Self>(End::Last)?;
        let page = Call::of(ctx).load.load_one((list, span)).await?;
        Ok(page.unwrap_or_else(Page::empty).map(|row| Self { row, members: members.clone() }).into())
    }
}

/// Queries about messages.
#[derive(Default)]
pub(super) struct MessageQuery;

#[Object]
impl MessageQuery {
    /// One message; null if there is none or you may not see it.
    async fn message(
        &self,
        ctx: &Context<'_>,
        #[graphql(name = "id", desc = "The id, such as msg_42.")] message: ID,
    ) -> Result<Option<Message>> {
        Message::load(ctx, id(&message)?).await
    }

    /// Messages you may see, oldest first; with no arguments the newest 50.
    async fn messages(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "At most so many from the start of the list, 0 to 100; not with `last`.")] first: Option<i32>,
        #[graphql(desc = "Only items after this cursor.")] after: Option<String>,
        #[graphql(desc = "At most so many from the end of the list, 0 to 100; not with `first`.")] last: Option<i32>,
        #[graphql(desc = "Only items before this cursor.")] before: Option<String>,
    ) -> Result<Connection<Message>> {
        Message::list(ctx, List::All, Wanted { first, after, last, before }).await
    }
}

/// A message to send.
#[derive(InputObject)]
pub(super) struct SendMessageInput {
    /// The sender. Needed in open mode; allowed for admins and service tokens; otherwise it is you.
    sender_id: Option<ID>,
    /// Whom it is for: another user than the sender.
    receiver_id: ID,
    /// The text: 1 to 10,000 characters after trimming, kept as you send it.
    content: String,
    /// The message that this one answers, of the same conversation.
    reply_to_id: Option<ID>,
    /// Any unique text of 1 to 128 characters, such as a UUID.
    client_id: Option<String>,
}

impl SendMessageInput {
    fn draft(self, call: &Call) -> Result<Result<Draft, Vec<UserError>>> {
        let mut arguments = Arguments::default();
        let sender = arguments.user(call, "input.senderId", self.sender_id.as_ref())?;
        let receiver = arguments.id("input.receiverId", &self.receiver_id);
        let content = arguments.text("input.content", Content::parse(self.content));
        let reply_to_id = self.reply_to_id.and_then(|id| arguments.id("input.replyToId", &id));
        let client_id = self.client_id.and_then(|id| arguments.text("input.clientId", ClientId::parse(id)));
        Ok(match (sender, receiver, content) {
            (Some(sender_id), Some(receiver_id), Some(content)) if arguments.errors.is_empty() => {
                Ok(Draft { sender_id, receiver_id, content, reply_to_id, client_id })
            }
            _ => Err(arguments.errors),
        })
    }
}

/// A change to a message.
#[derive(InputObject)]
pub(super) struct UpdateMessageInput {
    /// The new text: 1 to 10,000 characters after trimming, kept as you send it.
    content: String,
    /// Refuse if the message was edited since you read it.
    expected_version: Option<i32>,
}

/// What became of a send.
#[derive(SimpleObject)]
pub(super) struct SendMessagePayload {
    /// The message; null if there are errors, or if it is a duplicate of one that was deleted since.
    message: Option<Message>,
    /// True when `clientId` matched an earlier send.
    duplicate: bool,
    /// What to fix; empty if it was sent.
    user_errors: Vec<UserError>,
}

impl SendMessagePayload {
    fn of(outcome: Result<Sent, Vec<UserError>>) -> Self {
        match outcome {
            Ok(Sent { message, duplicate }) => {
                Self { message: message.map(Message::from), duplicate, user_errors: Vec::new() }
            }
            Err(user_errors) => Self { message: None, duplicate: false, user_errors },
        }
    }
}

/// What became of a change to a message.
#[derive(SimpleObject)]
pub(super) struct MessagePayload {
    /// The message as it is now; null if there are errors.
    message: Option<Message>,
    /// What to fix; empty if it was done.
    user_errors: Vec<UserError>,
}

impl MessagePayload {
    fn of(outcome: Result<model::messages::Message, Vec<UserError>>) -> Self {
        match outcome {
            Ok(message) => Self { message: Some(message.into()), user_errors: Vec::new() },
            Err(user_errors) => Self { message: None, user_errors },
        }
    }
}

/// Changes to messages.
#[derive(Default)]
pub(super) struct MessageMutation;

#[Object]
impl MessageMutation {
    /// Give a `clientId` and you may safely retry: the same id and content return the first message.
    async fn send_message(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The message.")] input: SendMessageInput,
    ) -> Result<SendMessagePayload> {
        let call = Call::of(ctx);
        match input.draft(call)? {
            Ok(draft) => {
                let outcome = messages::send(&call.app, &call.viewer(), draft).await;
                Ok(SendMessagePayload::of(call.outcome(outcome)?))
            }
            Err(user_errors) => Ok(SendMessagePayload::of(Err(user_errors))),
        }
    }

    /// Change the text. Only the sender, or one who may act for everyone.
    async fn update_message(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The id, such as msg_42.")] id: ID,
        #[graphql(desc = "What to change.")] input: UpdateMessageInput,
    ) -> Result<MessagePayload> {
        let call = Call::of(ctx);
        let mut arguments = Arguments::default();
        let id = arguments.id("id", &id);
        let content = arguments.text("input.content", Content::parse(input.content));
        let (Some(id), Some(content)) = (id, content) else { return Ok(MessagePayload::of(Err(arguments.errors))) };
        let outcome = messages::update(&call.app, &call.viewer(), id, content, input.expected_version).await;
        Ok(MessagePayload::of(call.outcome(outcome)?))
    }

    /// Only the sender, or one who may act for everyone. The text is removed for both sides.
    async fn delete_message(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The id, such as msg_42.")] id: ID,
    ) -> Result<DeletePayload> {
        let call = Call::of(ctx);
        let mut arguments = Arguments::default();
        let Some(id) = arguments.id::<MessageId>("id", &id) else {
            return Ok(DeletePayload::of(&*id, Err(arguments.errors)));
        };
        let outcome = messages::delete(&call.app, &call.viewer(), id).await;
        Ok(DeletePayload::of(&id, call.outcome(outcome)?))
    }
}
