//! The tokens of a user who has signed in: refreshed before they expire, once for all concurrent requests.

use std::{future::pending, time::Duration};

use anyhow::{Context, Result, bail};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use serde::Deserialize;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until},
};

use crate::{
    documents::{Refresh, SignIn, SignUp, refresh, sign_in, sign_up},
    server::Server,
};

/// A token is refreshed so long before it expires.
const EXPIRY_MARGIN: Duration = Duration::from_mins(1);
/// But not so soon after it was issued, unless the server refuses it: its lifetime may be shorter than the margin.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_secs(10);
/// A lost answer can be requested again for ten seconds: with this timeout a second try fits.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(4);

pub enum Session {
    /// A service token, or none on an open server: there is nothing to refresh.
    Fixed(Option<String>),
    /// `anonymous` sends requests without a token.
    Account { anonymous: Box<Server>, tokens: Mutex<Tokens> },
}

pub struct Tokens {
    access: String,
    refresh: String,
    /// When they are to be refreshed.
    due: Instant,
}

impl Session {
    /// Signs a user in, and creates the account if there is none.
    pub async fn sign_in(url: &str, name: &str, email: &str, password: &str) -> Result<Self> {
        let anonymous = Box::new(Server::new(url, Self::Fixed(None)));
        let sign_in_once = async || {
            let input = sign_in::SignInInput { email: email.into(), password: password.into(), device: None };
            let answer = anonymous.ask::<SignIn>(sign_in::Variables { input }).await?.sign_in;
            let problem = answer.user_errors.first();
            let is_unknown = problem.is_some_and(|its| its.code == sign_in::UserErrorCode::BAD_CREDENTIALS);
            let tokens = Tokens::new(answer.access_token, answer.refresh_token, problem.map(|its| &its.message));
            anyhow::Ok((tokens, is_unknown))
        };
        let (mut tokens, is_unknown) = sign_in_once().await?;
        if is_unknown {
            let input = sign_up::SignUpInput {
                name: name.into(),
                email: email.into(),
                password: password.into(),
                device: None,
            };
            let made = anonymous.ask::<SignUp>(sign_up::Variables { input }).await?.sign_up;
            let problem = made.user_errors.first();
            tokens = if problem.is_some_and(|its| its.code == sign_up::UserErrorCode::EMAIL_TAKEN) {
                // Perhaps by an earlier try whose answer was lost. Otherwise the password is wrong.
                sign_in_once().await?.0
            } else {
                Tokens::new(made.access_token, made.refresh_token, problem.map(|its| &its.message))
            };
        }
        Ok(Self::Account { anonymous, tokens: Mutex::new(tokens?) })
    }

    /// An access token that is valid for some time.
    pub async fn token(&self) -> Result<Option<String>> {
        let (anonymous, tokens) = match self {
            Self::Fixed(token) => return Ok(token.clone()),
            Self::Account { anonymous, tokens } => (anonymous, tokens),
        };
        // A refresh token works once. A call that waits here finds what the first one stored.
        let mut tokens = tokens.lock().await;
        if tokens.due <= Instant::now() {
            let variables = refresh::Variables { token: tokens.refresh.clone() };
            // In a box, because a request calls this function for its token.
            let answer = Box::pin(anonymous.ask_within::<Refresh>(REFRESH_TIMEOUT, variables)).await?.refresh_session;
            let problem = answer.user_errors.first().map(|its| &its.message);
            *tokens = Tokens::new(answer.access_token, answer.refresh_token, problem)?;
        }
        Ok(Some(tokens.access.clone()))
    }

    /// Waits until the token is to be refreshed.
    pub async fn is_due(&self) {
        match self {
            Self::Fixed(_) => pending().await,
            Self::Account { tokens, .. } => {
                let due = tokens.lock().await.due;
                sleep_until(due).await;
            }
        }
    }

    /// The server refused this token: the next call of `token` refreshes it, unless that was done. False if it cannot.
    pub async fn invalidate(&self, token: Option<&str>) -> bool {
        let Self::Account { tokens, .. } = self else { return false };
        let mut tokens = tokens.lock().await;
        if token == Some(&tokens.access) {
            tokens.due = Instant::now();
        }
        true
    }
}

impl Tokens {
    /// Those of an answer, if it has some.
    fn new(access: Option<String>, refresh: Option<String>, problem: Option<&String>) -> Result<Self> {
        let (Some(access), Some(refresh)) = (access, refresh) else {
            bail!("not signed in: {}", problem.map_or("no tokens came", |problem| problem));
        };
        let due = Instant::now() + lifetime(&access)?.saturating_sub(EXPIRY_MARGIN).max(MIN_REFRESH_INTERVAL);
        Ok(Self { access, refresh, due })
    }
}

/// The lifetime of a new token: the clock of this machine may differ from the server's.
fn lifetime(access_token: &str) -> Result<Duration> {
    #[derive(Deserialize)]
    struct Claims {
        iat: u64,
        exp: u64,
    }
    let claims = access_token.split('.').nth(1).context("the access token is no JWT")?;
    let claims: Claims = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims)?)?;
    Ok(Duration::from_secs(claims.exp.saturating_sub(claims.iat)))
}
