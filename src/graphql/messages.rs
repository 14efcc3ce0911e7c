//! Messages: the type, its inputs, queries and mutations.

use std::sync::Arc;

use async_graphql::{Enum, ID, InputObject};

use super::{
    ArgumentParser, Call, Context, Conversation, DateTime, Deleted, Failure, Listed, Mutations, Outcome, PageArguments,
    Payload, Query, id, mutation,
};
use crate::{
    domain::messages::{self, Sent},
    execution::{self, Fields, Id, Object},
    model::{
        conversations::Reach,
        ids::MessageId,
        messages::{Draft, List, Message},
        pages::{End, Page},
        texts::{ClientId, Content},
        users::User,
    },
};

/// Whether a message has been accepted, delivered or read.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
enum MessageStatus {
    /// Accepted by the server, and on its disk.
    Sent,
    /// Arrived at a device of the receiver.
    Delivered,
    /// Read by the receiver.
    Read,
}

impl Object for Message {
    const NAME: &'static str = "Message";
    const DESCRIPTION: &'static str = "One message from a sender to a receiver. A deleted message is gone: lists skip it and \
                                       the feed announces it.";
    type Context = Context;
    type Row<'a> = &'a Self;

    fn fields(fields: &mut Fields<Self>) {
        fields.plain::<Id<MessageId>>("id", "The id, such as msg_42.", |it, _| it.id);
        fields.plain::<String>(
            "content",
            "The text as it was sent: 1 to 10,000 characters after trimming.",
            |it, _| &it.content,
        );
        fields.field::<Option<User>>("sender", "Null when the sender's account was erased.", |it, context| {
            context.loaded.users.get(it.sender_id)
        });
        fields.field::<Option<User>>("receiver", "Null when the receiver's account was erased.", |it, context| {
            context.loaded.users.get(it.receiver_id)
        });
        fields.plain::<Conversation>("conversation", "The conversation that it is part of.", |it, _| {
            Conversation::of(it.conversation_id())
        });
        fields.field::<Option<Message>>(
            "replyTo",
            "The message this one answers; null if none or if it was deleted.",
            |it, context| it.reply_to_id.map_or(Ok(None), |id| context.loaded.messages.get(id)),
        );
        fields.plain::<Option<String>>(
            "clientId",
            "The id that the sender chose. Null unless you are the sender or may act for everyone.",
            |it, context| messages::client_id(&context.viewer, it),
        );
        fields.plain::<i32>("version", "Starts at 1, plus 1 per edit.", |it, _| it.version);
        fields.plain::<DateTime>("createdAt", "When the server accepted it.", |it, _| it.created_at);
        fields.plain::<Option<DateTime>>("editedAt", "When it was last edited; null if never.", |it, _| it.edited_at);
        fields.field::<execution::Enum<MessageStatus>>(
            "status",
            "Whether the message has been accepted, delivered or read.",
            |it, context| {
                let receiver = context.loaded.members.get((it.receiver_id, it.sender_id))?;
                Ok(match receiver.and_then(|receiver| receiver.reach(it.id)) {
                    None => MessageStatus::Sent,
                    Some(Reach::Delivered) => MessageStatus::Delivered,
                    Some(Reach::Read) => MessageStatus::Read,
                })
            },
        );
    }
}

impl Listed for Message {
    const CONNECTION: &'static str = "MessageConnection";
    const EDGE: &'static str = "MessageEdge";
    const KIND: &'static str = "message";
    const USUAL_END: End = End::Last;
    type Node = Self;

    fn key(&self) -> i64 {
        self.id.key()
    }

    fn node(&self) -> &Self {
        self
    }
}

#[derive(Clone, InputObject)]
struct MessageArguments {
    /// The id, such as msg_42.
    id: ID,
}

/// Queries about messages.
pub(super) fn queries(fields: &mut Fields<Query>) {
    fields.with::<Option<Message>, MessageArguments>(
        "message",
        "One message; null if there is none or you may not see it.",
        |(), context, arguments| context.loaded.messages.get(id(&arguments.id)?),
    );
    fields.with::<Page<Message>, PageArguments>(
        "messages",
        "Messages you may see, oldest first; with no arguments the newest 50.",
        |(), context, wanted| wanted.page(&context.loaded.message_pages, List::All),
    );
}

/// A message to send.
#[derive(Clone, InputObject)]
struct SendMessageInput {
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

/// A change to a message.
#[derive(Clone, InputObject)]
struct UpdateMessageInput {
    /// The new text: 1 to 10,000 characters after trimming, kept as you send it.
    content: String,
    /// Refuse if the message was edited since you read it.
    expected_version: Option<i32>,
}

impl Payload for Sent {
    const NAME: &'static str = "SendMessagePayload";
    const DESCRIPTION: &'static str = "The result of `sendMessage`.";

    fn fields(fields: &mut Fields<Outcome<Self>>) {
        fields.plain::<Option<Message>>(
            "message",
            "The message; null if there are errors, or if it is a duplicate of one that was deleted since.",
            |it, _| it.as_ref().ok()?.message.as_ref(),
        );
        fields.plain::<bool>("duplicate", "True when `clientId` matched an earlier send.", |it, _| {
            it.as_ref().is_ok_and(|sent| sent.duplicate)
        });
    }
}

impl Payload for Message {
    const NAME: &'static str = "MessagePayload";
    const DESCRIPTION: &'static str = "The result of a change to a message.";

    fn fields(fields: &mut Fields<Outcome<Self>>) {
        fields.plain::<Option<Message>>("message", "The message as it is now; null if there are errors.", |it, _| {
            it.as_ref().ok()
        });
    }
}

#[derive(Clone, InputObject)]
struct SendMessageArguments {
    /// The message.
    input: SendMessageInput,
}

#[derive(Clone, InputObject)]
struct UpdateMessageArguments {
    /// The id, such as msg_42.
    id: ID,
    /// What to change.
    input: UpdateMessageInput,
}

/// Changes to messages.
pub(super) fn mutations(fields: &mut Mutations) {
    mutation(
        fields,
        "sendMessage",
        "Send a message. With a `clientId` it is safe to retry: the same id and content return the first message.",
        send,
    );
    mutation(
        fields,
        "updateMessage",
        "Edit a message. Allowed for its sender and for who may act for everyone.",
        update,
    );
    mutation(
        fields,
        "deleteMessage",
        "Delete a message for both users. Allowed for its sender and for who may act for everyone.",
        delete,
    );
}

async fn send(call: Arc<Call>, SendMessageArguments { input }: SendMessageArguments) -> Result<Sent, Failure> {
    let mut parser = ArgumentParser::default();
    let sender = parser.user(&call, "input.senderId", input.sender_id.as_ref())?;
    let receiver = parser.id("input.receiverId", &input.receiver_id);
    let content = parser.text("input.content", Content::parse(input.content));
    let reply_to_id = input.reply_to_id.and_then(|id| parser.id("input.replyToId", &id));
    let client_id = input.client_id.and_then(|id| parser.text("input.clientId", ClientId::parse(id)));
    let ((sender_id, receiver_id), content) = parser.finish(sender.zip(receiver).zip(content))?;
    let draft = Draft { sender_id, receiver_id, content, reply_to_id, client_id };
    call.or_failure(messages::send(&call.app, &call.viewer(), draft).await)
}

async fn update(
    call: Arc<Call>,
    UpdateMessageArguments { id, input }: UpdateMessageArguments,
) -> Result<Message, Failure> {
    let mut parser = ArgumentParser::default();
    let id = parser.id("id", &id);
    let content = parser.text("input.content", Content::parse(input.content));
    let (id, content) = parser.finish(id.zip(content))?;
    call.or_failure(messages::update(&call.app, &call.viewer(), id, content, input.expected_version).await)
}

async fn delete(call: Arc<Call>, MessageArguments { id }: MessageArguments) -> Result<Deleted, Failure> {
    let mut parser = ArgumentParser::default();
    let id = parser.id::<MessageId>("id", &id);
    let id = parser.finish(id)?;
    call.or_failure(messages::delete(&call.app, &call.viewer(), id).await)?;
    Ok(Deleted(id.to_string()))
}
