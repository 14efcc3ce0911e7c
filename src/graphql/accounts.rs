//! Accounts in words: who you are, signing up, in and out, and the sessions of your devices.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};

use super::{
    Connection, User, UserError,
    calls::{Arguments, Call},
    errors::{Code, field_error},
    pages::Wanted,
    scalars::DateTime,
};
use crate::{
    domain::{
        accounts::{self, SignedIn},
        blocks, conversations,
    },
    model::{
        self,
        ids::{SessionId, UserId},
        pages::End,
        texts::{Device, Email, Name, Password},
    },
};

/// `Viewer`
struct Viewer(UserId);

/// You.
#[Object]
impl Viewer {
    /// Your account.
    async fn user(&self, ctx: &Context<'_>) -> Result<User> {
        let user = User::load(ctx, self.0).await?;
        user.ok_or_else(|| field_error(Code::Unauthenticated, "Your account was erased."))
    }

    /// Messages you have not read, over all conversations.
    async fn unread_count(&self, ctx: &Context<'_>) -> Result<i32> {
        let call = Call::of(ctx);
        let count = call.answer(conversations::unread_by(&call.app, &call.viewer(), self.0).await)?;
        Ok(i32::try_from(count).unwrap_or(i32::MAX))
    }

    /// Devices signed in to your account, newest first; at most 100.
    async fn sessions(&self, ctx: &Context<'_>) -> Result<Vec<Session>> {
        let call = Call::of(ctx);
        let viewer = call.viewer();
        let sessions = call.answer(accounts::sessions(&call.app, &viewer, self.0).await)?;
        Ok(sessions.into_iter().map(|row| Session { current: viewer.session() == Some(row.id), row }).collect())
    }

    /// Those whom you have blocked, by their ids; with no arguments the first 50.
    async fn blocked_users(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "At most so many from the start of the list, 0 to 100; not with `last`.")] first: Option<i32>,
        #[graphql(desc = "Only items after this cursor.")] after: Option<String>,
        #[graphql(desc = "At most so many from the end of the list, 0 to 100; not with `first`.")] last: Option<i32>,
        #[graphql(desc = "Only items before this cursor.")] before: Option<String>,
    ) -> Result<Connection<User>> {
        let call = Call::of(ctx);
        let span = Wanted { first, after, last, before }.span::<User>(End::First)?;
        let page = call.answer(blocks::page(&call.app, &call.viewer(), self.0, span).await)?;
        Ok(page.map(User).into())
    }
}

/// `Session`
#[derive(Clone)]
pub(super) struct Session {
    row: model::sessions::Session,
    current: bool,
}

/// One signed-in device.
#[Object]
impl Session {
    /// The id, such as ses_7.
    pub(super) async fn id(&self) -> ID {
        ID(self.row.id.to_string())
    }

    /// What the client called it; null if nothing.
    async fn device(&self) -> Option<&str> {
        self.row.device.as_deref()
    }

    /// When it signed in.
    async fn created_at(&self) -> DateTime {
        DateTime(self.row.created_at)
    }

    /// When it last renewed its tokens.
    async fn last_used_at(&self) -> DateTime {
        DateTime(self.row.last_used_at)
    }

    /// Whether this request is of this session.
    async fn current(&self) -> bool {
        self.current
    }
}

impl Session {
    /// The viewer's own session with this id; null if there is none.
    pub(super) async fn load(ctx: &Context<'_>, id: SessionId) -> Result<Option<Self>> {
        let Some(me) = Call::of(ctx).viewer().user() else { return Ok(None) };
        let mine = Viewer(me).sessions(ctx).await?;
        Ok(mine.into_iter().find(|session| session.row.id == id))
    }
}

/// Queries about yourself.
#[derive(Default)]
pub(super) struct AccountQuery;

#[Object]
impl AccountQuery {
    /// Who you are; null when not signed in, and in open mode.
    async fn me(&self, ctx: &Context<'_>) -> Option<Viewer> {
        Call::of(ctx).viewer().user().map(Viewer)
    }
}

/// An account for yourself.
#[derive(InputObject)]
struct SignUpInput {
    /// Display name, 1 to 100 characters, not all blank.
    name: String,
    /// Address of no other user, 3 to 254 characters; blanks around it are dropped, case does not count.
    email: String,
    /// 12 to 256 characters; any characters.
    password: String,
    /// What to call this device in the list of sessions, 1 to 100 characters.
    device: Option<String>,
}

/// What you sign in with.
#[derive(InputObject)]
struct SignInInput {
    /// The address of your account.
    email: String,
    /// Its password.
    password: String,
    /// What to call this device in the list of sessions, 1 to 100 characters.
    device: Option<String>,
}

/// Who you now are, and the tokens that prove it. What follows in the same request is done as you.
#[derive(SimpleObject, Default)]
struct AuthPayload {
    /// You; null if there are errors.
    viewer: Option<Viewer>,
    /// Send it as `Authorization: Bearer …`; null if there are errors.
    access_token: Option<String>,
    /// When the access token ends: refresh the session before.
    access_token_expires_at: Option<DateTime>,
    /// Trade it for the next pair. Keep it as safe as a password.
    refresh_token: Option<String>,
    /// What to fix; empty if you are signed in.
    user_errors: Vec<UserError>,
}

impl AuthPayload {
    fn of(call: &Call, outcome: Result<SignedIn, Vec<UserError>>) -> Self {
        let signed_in = match outcome {
            Ok(signed_in) => signed_in,
            Err(user_errors) => return Self { user_errors, ..Self::default() },
        };
        let viewer = signed_in.viewer.user().map(Viewer);
        call.go_on_as(signed_in.viewer);
        Self {
            viewer,
            access_token: Some(signed_in.access_token),
            access_token_expires_at: Some(DateTime(signed_in.access_token_expires_at)),
            refresh_token: Some(signed_in.refresh_token),
            user_errors: Vec::new(),
        }
    }
}

/// What became of a sign-out.
#[derive(SimpleObject)]
struct SignOutPayload {
    /// The session that ended; null if there are errors.
    session_id: Option<ID>,
    /// What to fix; empty if it was done.
    user_errors: Vec<UserError>,
}

/// What became of a connection's renewal.
#[derive(SimpleObject)]
struct RenewConnectionPayload {
    /// Until when the connection now stays open; null if there are errors.
    expires_at: Option<DateTime>,
    /// What to fix; empty if it was done.
    user_errors: Vec<UserError>,
}

/// Signing up, in and out.
#[derive(Default)]
pub(super) struct AccountMutation;

#[Object]
impl AccountMutation {
    /// Make an account for yourself and sign in.
    async fn sign_up(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The new account.")] input: SignUpInput,
    ) -> Result<AuthPayload> {
        let call = Call::of(ctx);
        call.count_sign_in()?;
        let mut arguments = Arguments::default();
        let name = arguments.text("input.name", Name::parse(input.name));
        let email = arguments.text("input.email", Email::parse(&input.email));
        let password = arguments.text("input.password", Password::parse(input.password));
        let device = input.device.and_then(|device| arguments.text("input.device", Device::parse(device)));
        match (name, email, password) {
            (Some(name), Some(email), Some(password)) if arguments.errors.is_empty() => {
                let outcome = accounts::sign_up(&call.app, name, email, password, device, call.from).await;
                Ok(AuthPayload::of(call, call.outcome(outcome)?))
            }
            _ => Ok(AuthPayload::of(call, Err(arguments.errors))),
        }
    }

    /// Sign in with email and password.
    async fn sign_in(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The account.")] input: SignInInput,
    ) -> Result<AuthPayload> {
        let call = Call::of(ctx);
        call.count_sign_in()?;
        let mut arguments = Arguments::default();
        let device = input.device.and_then(|device| arguments.text("input.device", Device::parse(device)));
        if !arguments.errors.is_empty() {
            return Ok(AuthPayload::of(call, Err(arguments.errors)));
        }
        // What cannot be an address is no account's.
        let email = Email::parse(&input.email).ok();
        let outcome = accounts::sign_in(&call.app, email, input.password, device, call.from).await;
        Ok(AuthPayload::of(call, call.outcome(outcome)?))
    }

    /// Trade a refresh token for a new pair. Each works once; a second use ends the session.
    async fn refresh_session(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The last refresh token of the session.")] refresh_token: String,
    ) -> Result<AuthPayload> {
        let call = Call::of(ctx);
        let outcome = accounts::refresh(&call.app, &refresh_token).await;
        Ok(AuthPayload::of(call, call.outcome(outcome)?))
    }

    /// End this session, or another of yours.
    async fn sign_out(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which one; this one, if it is left out.")] session_id: Option<ID>,
    ) -> Result<SignOutPayload> {
        let call = Call::of(ctx);
        let mut arguments = Arguments::default();
        let id = session_id.and_then(|id| arguments.id("sessionId", &id));
        if !arguments.errors.is_empty() {
            return Ok(SignOutPayload { session_id: None, user_errors: arguments.errors });
        }
        let outcome = accounts::sign_out(&call.app, &call.viewer(), id).await;
        Ok(match call.outcome(outcome)? {
            Ok(ended) => SignOutPayload { session_id: Some(ID(ended.to_string())), user_errors: Vec::new() },
            Err(user_errors) => SignOutPayload { session_id: None, user_errors },
        })
    }

    /// On an open WebSocket: swap in a fresh access token without reconnecting.
    async fn renew_connection(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "A fresh access token of yours.")] access_token: String,
    ) -> Result<RenewConnectionPayload> {
        let call = Call::of(ctx);
        let Some(connection) = call.renewable() else {
            return Err(field_error(Code::BadRequest, "There is nothing to renew: this is no WebSocket of a session."));
        };
        let outcome = accounts::renewed(&call.app, &call.viewer(), &access_token).await;
        Ok(match call.outcome(outcome)? {
            Ok(viewer) => {
                let until = viewer.credential().and_then(|(_, until)| until);
                connection.send_replace(viewer);
                RenewConnectionPayload { expires_at: until.map(DateTime), user_errors: Vec::new() }
            }
            Err(user_errors) => RenewConnectionPayload { expires_at: None, user_errors },
        })
    }
}
