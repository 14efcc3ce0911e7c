//! Users in words: the type, its inputs, queries and mutations.

use std::fmt::Display;

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use serde::ser::SerializeMap;

use super::{
    Connection, Conversation, Message, UserError,
    calls::{Arguments, Call, id},
    completion::Planned,
    conversations::Members,
    loads::PresenceOf,
    pages::{Listed, Wanted},
    scalars::{DateTime, Flag},
    signals::Presence,
    written::{Plain, Shown},
};
use crate::{
    domain::{
        Viewer,
        users::{self, Changes},
    },
    model::{
        self,
        ids::UserId,
        messages::List,
        pages::End,
        texts::{Email, Name, Password},
    },
};

/// `User`
#[derive(Clone)]
pub(super) struct User(pub(super) model::users::User);

impl Listed for User {
    const KIND: &'static str = "user";

    fn key(&self) -> i64 {
        self.0.id.key()
    }
}

/// A person or bot that sends and receives messages.
#[Object]
impl User {
    /// The id, such as usr_1.
    pub(super) async fn id(&self) -> ID {
        ID(self.0.id.to_string())
    }

    /// Display name, 1 to 100 characters.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// Unique address. Null when you may not see it: you see your own; admins, service tokens and open mode see all.
    async fn email(&self, ctx: &Context<'_>) -> Option<&str> {
        users::email(&Call::of(ctx).viewer(), &self.0)
    }

    /// Null when hidden from you.
    async fn presence(&self, ctx: &Context<'_>) -> Result<Option<Presence>> {
        let found = Call::of(ctx).load.load_one(PresenceOf(self.0.id)).await?;
        Ok(found.map(Presence::from))
    }

    /// When the account was made.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }

    /// Messages this user sent that you may see, oldest first; with no arguments the newest 50.
    async fn sent_messages(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "At most so many from the start of the list, 0 to 100; not with `last`.")] first: Option<i32>,
        #[graphql(desc = "Only items after this cursor.")] after: Option<String>,
        #[graphql(desc = "At most so many from the end of the list, 0 to 100; not with `first`.")] last: Option<i32>,
        #[graphql(desc = "Only items before this cursor.")] before: Option<String>,
    ) -> Result<Connection<Message>> {
        Message::list(ctx, List::SentBy(self.0.id), Wanted { first, after, last, before }).await
    }

    /// Messages this user received that you may see, oldest first; with no arguments the newest 50.
    async fn received_messages(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "At most so many from the start of the list, 0 to 100; not with `last`.")] first: Option<i32>,
        #[graphql(desc = "Only items after this cursor.")] after: Option<String>,
        #[graphql(desc = "At most so many from the end of the list, 0 to 100; not with `first`.")] last: Option<i32>,
        #[graphql(desc = "Only items before this cursor.")] before: Option<String>,
    ) -> Result<Connection<Message>> {
        Message::list(ctx, List::ReceivedBy(self.0.id), Wanted { first, after, last, before }).await
    }

    /// This user's conversations, most recently active first. Empty unless it is you, or you may act for everyone.
    async fn conversations(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "At most so many from the start of the list, 0 to 100; not with `last`.")] first: Option<i32>,
        #[graphql(desc = "Only items after this cursor.")] after: Option<String>,
        #[graphql(desc = "At most so many from the end of the list, 0 to 100; not with `first`.")] last: Option<i32>,
        #[graphql(desc = "Only items before this cursor.")] before: Option<String>,
    ) -> Result<Connection<Conversation>> {
        Conversation::list(ctx, self.0.id, Wanted { first, after, last, before }).await
    }
}

impl Plain for User {
    fn has(&self, field: &Planned) -> bool {
        matches!(field.name(), "id" | "name" | "email" | "createdAt")
    }

    fn write<M: SerializeMap>(&self, field: &Planned, viewer: &Viewer, map: &mut M) -> Result<(), M::Error> {
        let Self(row) = self;
        match field.name() {
            "id" => map.serialize_entry(&field.key, &Shown(row.id)),
            "name" => map.serialize_entry(&field.key, &row.name),
            "email" => map.serialize_entry(&field.key, &users::email(viewer, row)),
            "createdAt" => map.serialize_entry(&field.key, &Shown(row.created_at)),
            _ => Ok(()),
        }
    }
}

impl User {
    /// The member of a conversation with this id, at hand or loaded; null if there is none.
    pub(super) async fn of(ctx: &Context<'_>, id: UserId, members: Option<&Members>) -> Result<Option<Self>> {
        match members {
            Some(members) => Ok(Self::among(members, id).cloned()),
            None => Self::load(ctx, id).await,
        }
    }

    /// The member with this id.
    pub(super) fn among(members: &Members, id: UserId) -> Option<&Self> {
        members.iter().flatten().find(|user| user.0.id == id)
    }

    /// The user with this id; null if there is none.
    pub(super) async fn load(ctx: &Context<'_>, id: UserId) -> Result<Option<Self>> {
        Ok(Call::of(ctx).load.load_one(id).await?.map(Self))
    }
}

/// Queries about users.
#[derive(Default)]
pub(super) struct UserQuery;

#[Object]
impl UserQuery {
    /// One user; null if there is none or you may not see them.
    async fn user(
        &self,
        ctx: &Context<'_>,
        #[graphql(name = "id", desc = "The id, such as usr_1.")] user: ID,
    ) -> Result<Option<User>> {
        User::load(ctx, id(&user)?).await
    }

    /// Users, by creation time; with no arguments the first 50. `search` matches the start of a name or email you may
    /// see.
    async fn users(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Start of a name or email, in whatever case; all users if it is left out or blank.")]
        search: Option<String>,
        #[graphql(desc = "At most so many from the start of the list, 0 to 100; not with `last`.")] first: Option<i32>,
        #[graphql(desc = "Only items after this cursor.")] after: Option<String>,
        #[graphql(desc = "At most so many from the end of the list, 0 to 100; not with `first`.")] last: Option<i32>,
        #[graphql(desc = "Only items before this cursor.")] before: Option<String>,
    ) -> Result<Connection<User>> {
        let call = Call::of(ctx);
        let span = Wanted { first, after, last, before }.span::<User>(End::First)?;
        let search = search.filter(|text| !text.trim().is_empty());
        let page = call.answer(users::page(&call.app, &call.viewer(), search, span).await)?;
        Ok(page.map(User).into())
    }
}

/// A new user.
#[derive(InputObject)]
pub(super) struct CreateUserInput {
    /// Display name, 1 to 100 characters, not all blank.
    name: String,
    /// Address of no other user, 3 to 254 characters; blanks around it are dropped, case does not count.
    email: String,
    /// 12 to 256 characters; any characters. Leave out for an account that cannot sign in with a password.
    password: Option<String>,
}

/// Leave out what should stay.
#[derive(InputObject)]
pub(super) struct UpdateUserInput {
    /// Display name, 1 to 100 characters, not all blank.
    name: Option<String>,
    /// Address of no other user, 3 to 254 characters; blanks around it are dropped, case does not count.
    email: Option<String>,
    /// 12 to 256 characters; any characters. All other sessions of the user end.
    password: Option<String>,
}

/// What became of a change to a user.
#[derive(SimpleObject)]
pub(super) struct UserPayload {
    /// The user as it is now; null if there are errors.
    user: Option<User>,
    /// What to fix; empty if it was done.
    user_errors: Vec<UserError>,
}

impl UserPayload {
    pub(super) fn of(outcome: Result<model::users::User, Vec<UserError>>) -> Self {
        match outcome {
            Ok(user) => Self { user: Some(User(user)), user_errors: Vec::new() },
            Err(user_errors) => Self { user: None, user_errors },
        }
    }
}

/// What became of a deletion.
#[derive(SimpleObject)]
pub(super) struct DeletePayload {
    /// The id of what was deleted; null if there are errors.
    deleted_id: Option<ID>,
    /// What to fix; empty if it was done.
    user_errors: Vec<UserError>,
}

impl DeletePayload {
    pub(super) fn of(id: &impl Display, outcome: Result<(), Vec<UserError>>) -> Self {
        match outcome {
            Ok(()) => Self { deleted_id: Some(ID(id.to_string())), user_errors: Vec::new() },
            Err(user_errors) => Self { deleted_id: None, user_errors },
        }
    }
}

/// Changes to users.
#[derive(Default)]
pub(super) struct UserMutation;

#[Object]
impl UserMutation {
    /// Make an account. Admin, service token, or a server in open mode.
    async fn create_user(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The new user.")] input: CreateUserInput,
    ) -> Result<UserPayload> {
        let call = Call::of(ctx);
        let mut arguments = Arguments::default();
        let name = arguments.text("input.name", Name::parse(input.name));
        let email = arguments.text("input.email", Email::parse(&input.email));
        let password = input.password.and_then(|text| arguments.text("input.password", Password::parse(text)));
        match (name, email) {
            (Some(name), Some(email)) if arguments.errors.is_empty() => {
                let outcome = users::create(&call.app, &call.viewer(), name, email, password).await;
                Ok(UserPayload::of(call.outcome(outcome)?))
            }
            _ => Ok(UserPayload::of(Err(arguments.errors))),
        }
    }

    /// Change an account. Yourself, or one who may act for everyone.
    async fn update_user(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The id, such as usr_1.")] id: ID,
        #[graphql(desc = "What to change.")] input: UpdateUserInput,
    ) -> Result<UserPayload> {
        let call = Call::of(ctx);
        let mut arguments = Arguments::default();
        let id = arguments.id("id", &id);
        let name = input.name.and_then(|name| arguments.text("input.name", Name::parse(name)));
        let email = input.email.and_then(|email| arguments.text("input.email", Email::parse(&email)));
        let password = input.password.and_then(|text| arguments.text("input.password", Password::parse(text)));
        match id {
            Some(id) if arguments.errors.is_empty() => {
                let changes = Changes { name, email, password };
                let outcome = users::update(&call.app, &call.viewer(), id, changes).await;
                Ok(UserPayload::of(call.outcome(outcome)?))
            }
            _ => Ok(UserPayload::of(Err(arguments.errors))),
        }
    }

    /// Erases the account. Its messages stay without an author unless `eraseMessages`.
    async fn delete_user(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The id, such as usr_1.")] id: ID,
        #[graphql(default, desc = "Whether all that the user sent is deleted too.")] erase_messages: Flag<false>,
    ) -> Result<DeletePayload> {
        let call = Call::of(ctx);
        let mut arguments = Arguments::default();
        let Some(id) = arguments.id::<UserId>("id", &id) else {
            return Ok(DeletePayload::of(&*id, Err(arguments.errors)));
        };
        let outcome = users::delete(&call.app, &call.viewer(), id, erase_messages.0).await;
        Ok(DeletePayload::of(&id, call.outcome(outcome)?))
    }
}
