//! Accounts: who you are, signing up, in and out, and the sessions of your devices.

use std::sync::Arc;

use async_graphql::{ID, InputObject};

use super::{
    ArgumentParser, Call, Context, DateTime, Failure, Mutations, Outcome, PageArguments, Payload, Query, count,
    mutation,
};
use crate::{
    domain::{
        self,
        accounts::{self, SignedIn},
    },
    execution::{Code, Error, Fields, Id, Object},
    model::{
        ids::{SessionId, UserId},
        pages::Page,
        sessions::Session,
        texts::{Device, Email, Name, Password},
        timestamps::Timestamp,
        users::User,
    },
};

/// Who asks, if they have signed in.
struct Viewer;

impl Object for Viewer {
    const NAME: &'static str = "Viewer";
    const DESCRIPTION: &'static str = "You.";
    type Context = Context;
    type Row<'a> = UserId;

    fn fields(fields: &mut Fields<Self>) {
        fields.field::<User>("user", "Your account.", |me, context| {
            let user = context.loaded.users.get(me)?;
            Ok(user.ok_or_else(|| Error::new(Code::Unauthenticated, "Your account was erased."))?)
        });
        fields.field::<i32>("unreadCount", "Messages you have not read, over all conversations.", |me, context| {
            Ok(count(context.loaded.unread.get(me)?.copied().unwrap_or(0)))
        });
        fields.field::<Vec<Session>>(
            "sessions",
            "Devices signed in to your account, newest first; at most 100.",
            |me, context| Ok(context.require(&context.loaded.sessions, me)?.iter().collect()),
        );
        fields.with::<Page<User>, PageArguments>(
            "blockedUsers",
            "Those whom you have blocked, by their ids; with no arguments the first 50.",
            |me, context, wanted| wanted.page(&context.loaded.blocked_pages, me),
        );
    }
}

impl Object for Session {
    const NAME: &'static str = "Session";
    const DESCRIPTION: &'static str = "One signed-in device.";
    type Context = Context;
    type Row<'a> = &'a Self;

    fn fields(fields: &mut Fields<Self>) {
        fields.plain::<Id<SessionId>>("id", "The id, such as ses_7.", |it, _| it.id);
        fields.plain::<Option<String>>("device", "What the client called it; null if nothing.", |it, _| {
            it.device.as_deref()
        });
        fields.plain::<DateTime>("createdAt", "When it signed in.", |it, _| it.created_at);
        fields.plain::<DateTime>("lastUsedAt", "When it last renewed its tokens.", |it, _| it.last_used_at);
        fields.plain::<bool>("current", "Whether this request is of this session.", |it, context| {
            context.viewer.session() == Some(it.id)
        });
    }
}

/// Queries about yourself.
pub(super) fn queries(fields: &mut Fields<Query>) {
    fields.plain::<Option<Viewer>>("me", "Who you are; null when not signed in, and in open mode.", |(), context| {
        context.viewer.user()
    });
}

/// An account for yourself.
#[derive(Clone, InputObject)]
struct SignUpInput {
    /// Display name, 1 to 100 characters on one line, not all blank.
    name: String,
    /// Address of no other user, 3 to 254 characters, all of them visible; blanks around it are dropped, case does not count.
    email: String,
    /// 12 to 256 characters; any characters.
    password: String,
    /// What to call this device in the list of sessions, 1 to 100 characters on one line.
    device: Option<String>,
}

/// What you sign in with.
#[derive(Clone, InputObject)]
struct SignInInput {
    /// The address of your account.
    email: String,
    /// Its password.
    password: String,
    /// What to call this device in the list of sessions, 1 to 100 characters on one line.
    device: Option<String>,
}

impl Payload for SignedIn {
    const NAME: &'static str = "AuthPayload";
    const DESCRIPTION: &'static str =
        "The signed-in user and the new tokens. Later fields of the same request are executed as this user.";

    fn fields(fields: &mut Fields<Outcome<Self>>) {
        fields.plain::<Option<Viewer>>("viewer", "You; null if there are errors.", |it, _| {
            it.as_ref().ok()?.viewer.user()
        });
        fields.plain::<Option<String>>(
            "accessToken",
            "Send it as `Authorization: Bearer …`; null if there are errors.",
            |it, _| Some(&*it.as_ref().ok()?.access_token),
        );
        fields.plain::<Option<DateTime>>(
            "accessTokenExpiresAt",
            "When the access token expires: refresh the session before that.",
            |it, _| Some(it.as_ref().ok()?.access_token_expires_at),
        );
        fields.plain::<Option<String>>(
            "refreshToken",
            "Exchange it with `refreshSession` for the next pair of tokens. Keep it as safe as a password.",
            |it, _| Some(&*it.as_ref().ok()?.refresh_token),
        );
    }
}

/// The session that ended.
struct SignedOut(SessionId);

impl Payload for SignedOut {
    const NAME: &'static str = "SignOutPayload";
    const DESCRIPTION: &'static str = "The result of `signOut`.";

    fn fields(fields: &mut Fields<Outcome<Self>>) {
        fields.plain::<Option<Id<SessionId>>>(
            "sessionId",
            "The session that ended; null if there are errors.",
            |it, _| it.as_ref().ok().map(|ended| ended.0),
        );
    }
}

/// Until when a connection stays open after its renewal.
struct Renewed(Option<Timestamp>);

impl Payload for Renewed {
    const NAME: &'static str = "RenewConnectionPayload";
    const DESCRIPTION: &'static str = "The result of `renewConnection`.";

    fn fields(fields: &mut Fields<Outcome<Self>>) {
        fields.plain::<Option<DateTime>>(
            "expiresAt",
            "Until when the connection now stays open; null if there are errors.",
            |it, _| it.as_ref().ok()?.0,
        );
    }
}

#[derive(Clone, InputObject)]
struct SignUpArguments {
    /// The new account.
    input: SignUpInput,
}

#[derive(Clone, InputObject)]
struct SignInArguments {
    /// The account.
    input: SignInInput,
}

#[derive(Clone, InputObject)]
struct RefreshSessionArguments {
    /// The last refresh token of the session.
    refresh_token: String,
}

#[derive(Clone, InputObject)]
struct SignOutArguments {
    /// Which one; this one, if it is left out.
    session_id: Option<ID>,
}

#[derive(Clone, InputObject)]
struct RenewConnectionArguments {
    /// A fresh access token of yours.
    access_token: String,
}

/// Signing up, in and out.
pub(super) fn mutations(fields: &mut Mutations) {
    mutation(fields, "signUp", "Create an account for yourself and sign in.", sign_up);
    mutation(fields, "signIn", "Sign in with email and password. `FORBIDDEN` if the account is suspended.", sign_in);
    mutation(
        fields,
        "refreshSession",
        "Exchange a refresh token for a new pair of tokens. Each works once: used again within ten seconds, and \
         before the next token is used, it returns the same next token; otherwise it ends the session.",
        refresh_session,
    );
    mutation(fields, "signOut", "End this session, or another of yours.", sign_out);
    mutation(
        fields,
        "renewConnection",
        "On an open WebSocket: swap in a fresh access token without reconnecting.",
        renew_connection,
    );
}

/// What follows in the same request is done as who signed in.
fn signed_in(call: &Call, outcome: domain::Result<SignedIn>) -> Result<SignedIn, Failure> {
    call.or_failure(outcome).inspect(|signed_in| call.switch_viewer(signed_in.viewer.clone()))
}

async fn sign_up(call: Arc<Call>, SignUpArguments { input }: SignUpArguments) -> Result<SignedIn, Failure> {
    call.count_sign_in()?;
    let mut parser = ArgumentParser::default();
    let name = parser.text("input.name", Name::parse(input.name));
    let email = parser.text("input.email", Email::parse(&input.email));
    let password = parser.text("input.password", Password::parse(input.password));
    let device = input.device.and_then(|device| parser.text("input.device", Device::parse(device)));
    let ((name, email), password) = parser.finish(name.zip(email).zip(password))?;
    signed_in(&call, accounts::sign_up(&call.app, name, email, password, device, call.caller.from).await)
}

async fn sign_in(call: Arc<Call>, SignInArguments { input }: SignInArguments) -> Result<SignedIn, Failure> {
    call.count_sign_in()?;
    let mut parser = ArgumentParser::default();
    let device = input.device.and_then(|device| parser.text("input.device", Device::parse(device)));
    let device = parser.finish(Some(device))?;
    // What cannot be an address is no account's.
    let email = Email::of_account(&input.email).ok();
    signed_in(&call, accounts::sign_in(&call.app, email, input.password, device, call.caller.from).await)
}

async fn refresh_session(
    call: Arc<Call>,
    RefreshSessionArguments { refresh_token }: RefreshSessionArguments,
) -> Result<SignedIn, Failure> {
    signed_in(&call, accounts::refresh(&call.app, &refresh_token, call.caller.from).await)
}

async fn sign_out(call: Arc<Call>, SignOutArguments { session_id }: SignOutArguments) -> Result<SignedOut, Failure> {
    let mut parser = ArgumentParser::default();
    let id = session_id.and_then(|id| parser.id("sessionId", &id));
    let id = parser.finish(Some(id))?;
    let viewer = call.viewer();
    let ended = call.or_failure(accounts::sign_out(&call.app, &viewer, id, call.caller.from).await)?;
    if viewer.session() == Some(ended) {
        call.switch_viewer(domain::Viewer::anonymous());
    }
    Ok(SignedOut(ended))
}

async fn renew_connection(
    call: Arc<Call>,
    RenewConnectionArguments { access_token }: RenewConnectionArguments,
) -> Result<Renewed, Failure> {
    let Some(connection) = &call.caller.renewal else {
        let why = "There is nothing to renew: this is no WebSocket of a session.";
        return Err(Error::new(Code::BadRequest, why).into());
    };
    // Its session may have ended in the same request.
    call.or_failure(call.viewer().user().ok_or(domain::Error::Unauthenticated))?;
    // Whose the socket is, and not who has signed in before this in the same request: what runs on it goes on as that user.
    let viewer = call.or_failure(accounts::renewed(&call.app, &call.caller.viewer, &access_token).await)?;
    let until = viewer.credential().and_then(|(_, until)| until);
    connection.send_replace(viewer);
    Ok(Renewed(until))
}
