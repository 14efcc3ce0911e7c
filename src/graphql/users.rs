//! Users: the type, its inputs, queries and mutations.

use std::sync::Arc;

use async_graphql::{ID, InputObject};

use super::{
    ArgumentParser, Call, Context, DateTime, Deleted, Failure, Listed, Mutations, Outcome, PageArguments, Payload,
    Query, conversations::Conversations, id, mutation,
};
use crate::{
    domain::users::{self, Changes},
    execution::{Fields, Id, Object},
    model::{
        ids::UserId,
        messages::{List, Message},
        pages::Page,
        signals::Presence,
        texts::{Email, Name, Password},
        users::User,
    },
};

impl Object for User {
    const NAME: &'static str = "User";
    const DESCRIPTION: &'static str = "A person or bot that sends and receives messages.";
    type Context = Context;
    type Row<'a> = &'a Self;

    fn fields(fields: &mut Fields<Self>) {
        fields.plain::<Id<UserId>>("id", "The id, such as usr_1.", |it, _| it.id);
        fields.plain::<String>("name", "Display name, 1 to 100 characters.", |it, _| &it.name);
        fields.plain::<Option<String>>(
            "email",
            "Unique address. Null when you may not see it: you see your own; admins, service tokens and open mode see all.",
            |it, context| users::email(&context.viewer, it),
        );
        fields.field::<Option<Presence>>("presence", "Null when hidden from you.", |it, context| {
            context.loaded.presences.get(it.id)
        });
        fields.plain::<DateTime>("createdAt", "When the account was created.", |it, _| it.created_at);
        fields.with::<Page<Message>, PageArguments>(
            "sentMessages",
            "Messages this user sent that you may see, oldest first; with no arguments the newest 50.",
            |it, context, wanted| wanted.page(&context.loaded.message_pages, List::SentBy(it.id)),
        );
        fields.with::<Page<Message>, PageArguments>(
            "receivedMessages",
            "Messages this user received that you may see, oldest first; with no arguments the newest 50.",
            |it, context, wanted| wanted.page(&context.loaded.message_pages, List::ReceivedBy(it.id)),
        );
        fields.with::<Conversations, PageArguments>(
            "conversations",
            "This user's conversations, most recently active first. Empty unless it is you, or you may act for everyone.",
            |it, context, wanted| wanted.page(&context.loaded.conversation_pages, it.id),
        );
    }
}

impl Listed for User {
    const CONNECTION: &'static str = "UserConnection";
    const EDGE: &'static str = "UserEdge";
    const KIND: &'static str = "user";
    type Node = Self;

    fn key(&self) -> i64 {
        self.id.key()
    }

    fn node(&self) -> &Self {
        self
    }
}

#[derive(Clone, InputObject)]
struct UserArguments {
    /// The id, such as usr_1.
    id: ID,
}

#[derive(Clone, InputObject)]
struct UsersArguments {
    /// Beginnings of words of a name, without case and accents, all of which must be there; or the start of an email. All users if it
    /// is left out or blank.
    search: Option<String>,
    #[graphql(flatten)]
    page: PageArguments,
}

/// Queries about users.
pub(super) fn queries(fields: &mut Fields<Query>) {
    fields.with::<Option<User>, UserArguments>(
        "user",
        "One user; null if there is none or you may not see them.",
        |(), context, arguments| context.loaded.users.get(id(&arguments.id)?),
    );
    fields.with::<Page<User>, UsersArguments>(
        "users",
        "Users, by their ids; with no arguments the first 50. `search` matches the start of words of a name, or of an email you \
         may see.",
        |(), context, UsersArguments { search, page: wanted }| {
            let search = search.clone().filter(|text| !text.trim().is_empty());
            wanted.page(&context.loaded.user_pages, search)
        },
    );
}

/// A new user.
#[derive(Clone, InputObject)]
struct CreateUserInput {
    /// Display name, 1 to 100 characters on one line, not all blank.
    name: String,
    /// Address of no other user, 3 to 254 characters, all of them visible; blanks around it are dropped, case does not count.
    email: String,
    /// 12 to 256 characters; any characters. Leave out for an account that cannot sign in with a password.
    password: Option<String>,
}

/// Leave out what should stay.
#[derive(Clone, InputObject)]
struct UpdateUserInput {
    /// Display name, 1 to 100 characters on one line, not all blank.
    name: Option<String>,
    /// Address of no other user, 3 to 254 characters, all of them visible; blanks around it are dropped, case does not count.
    email: Option<String>,
    /// 12 to 256 characters; any characters. All other sessions of the user end.
    password: Option<String>,
}

impl Payload for User {
    const NAME: &'static str = "UserPayload";
    const DESCRIPTION: &'static str = "The result of a change to a user.";

    fn fields(fields: &mut Fields<Outcome<Self>>) {
        fields.plain::<Option<User>>("user", "The user as it is now; null if there are errors.", |it, _| {
            it.as_ref().ok()
        });
    }
}

#[derive(Clone, InputObject)]
struct CreateUserArguments {
    /// The new user.
    input: CreateUserInput,
}

#[derive(Clone, InputObject)]
struct UpdateUserArguments {
    /// The id, such as usr_1.
    id: ID,
    /// What to change.
    input: UpdateUserInput,
}

#[derive(Clone, InputObject)]
struct DeleteUserArguments {
    /// The id, such as usr_1.
    id: ID,
    /// Whether all that the user sent is deleted too.
    #[graphql(default)]
    erase_messages: bool,
}

/// Changes to users.
pub(super) fn mutations(fields: &mut Mutations) {
    mutation(
        fields,
        "createUser",
        "Create an account. For admins and service tokens, and for everybody in open mode.",
        create,
    );
    mutation(fields, "updateUser", "Change an account. Yourself, or one who may act for everyone.", update);
    mutation(
        fields,
        "deleteUser",
        "Erases the account. Its messages stay without an author unless `eraseMessages`: then nobody sees them any more, and \
         the feed announces their deletion step by step.",
        delete,
    );
}

async fn create(call: Arc<Call>, CreateUserArguments { input }: CreateUserArguments) -> Result<User, Failure> {
    let mut parser = ArgumentParser::default();
    let name = parser.text("input.name", Name::parse(input.name));
    let email = parser.text("input.email", Email::parse(&input.email));
    let password = input.password.and_then(|text| parser.text("input.password", Password::parse(text)));
    let (name, email) = parser.finish(name.zip(email))?;
    call.or_failure(users::create(&call.app, &call.viewer(), name, email, password).await)
}

async fn update(call: Arc<Call>, UpdateUserArguments { id, input }: UpdateUserArguments) -> Result<User, Failure> {
    let mut parser = ArgumentParser::default();
    let id = parser.id("id", &id);
    let name = input.name.and_then(|name| parser.text("input.name", Name::parse(name)));
    let email = input.email.and_then(|email| parser.text("input.email", Email::parse(&email)));
    let password = input.password.and_then(|text| parser.text("input.password", Password::parse(text)));
    let id = parser.finish(id)?;
    call.or_failure(users::update(&call.app, &call.viewer(), id, Changes { name, email, password }).await)
}

async fn delete(
    call: Arc<Call>,
    DeleteUserArguments { id, erase_messages }: DeleteUserArguments,
) -> Result<Deleted, Failure> {
    let mut parser = ArgumentParser::default();
    let id = parser.id::<UserId>("id", &id);
    let id = parser.finish(id)?;
    call.or_failure(users::delete(&call.app, &call.viewer(), id, erase_messages).await)?;
    Ok(Deleted(id.to_string()))
}
