//! The tokens of somebody who has signed in: exchanged before they end, once for all who ask at the same time.

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

/// A token is exchanged so long before it ends.
const MARGIN: Duration = Duration::from_mins(1);
/// But not so soon after it was given, unless the server refuses it: it may hold for less than that.
const REST: Duration = Duration::from_secs(10);
/// An answer that was lost is given again for ten seconds: with so much time for each try, a second one fits.
const PATIENCE: Duration = Duration::from_secs(4);

pub enum Session {
    /// A service token, or none on an open server: there is nothing to exchange.
    Fixed(Option<String>),
    /// `nobody` asks without a token.
    Account { nobody: Box<Server>, tokens: Mutex<Tokens> },
}

pub struct Tokens {
    access: String,
    refresh: String,
    /// When they are to be exchanged.
    due: Instant,
}

impl Session {
    /// Of somebody who has an account, or gets one now.
    pub async fn sign_in(url: &str, name: &str, email: &str, password: &str) -> Result<Self> {
        let nobody = Box::new(Server::new(url, Self::Fixed(None)));
        let known = async || {
            let input = sign_in::SignInInput { email: email.into(), password: password.into(), device: None };
            let answer = nobody.ask::<SignIn>(sign_in::Variables { input }).await?.sign_in;
            let problem = answer.user_errors.first();
            let is_unknown = problem.is_some_and(|its| its.code == sign_in::UserErrorCode::BAD_CREDENTIALS);
            let tokens = Tokens::new(answer.access_token, answer.refresh_token, problem.map(|its| &its.message));
            anyhow::Ok((tokens, is_unknown))
        };
        let (mut tokens, is_unknown) = known().await?;
        if is_unknown {
            let input = sign_up::SignUpInput {
                name: name.into(),
                email: email.into(),
                password: password.into(),
                device: None,
            };
            let made = nobody.ask::<SignUp>(sign_up::Variables { input }).await?.sign_up;
            let problem = made.user_errors.first();
            tokens = if problem.is_some_and(|its| its.code == sign_up::UserErrorCode::EMAIL_TAKEN) {
                // By a try whose answer was lost, perhaps. Otherwise it was the password.
                known().await?.0
            } else {
                Tokens::new(made.access_token, made.refresh_token, problem.map(|its| &its.message))
            };
        }
        Ok(Self::Account { nobody, tokens: Mutex::new(tokens?) })
    }

    /// An access token that holds for some time.
    pub async fn token(&self) -> Result<Option<String>> {
        let (nobody, tokens) = match self {
            Self::Fixed(token) => return Ok(token.clone()),
            Self::Account { nobody, tokens } => (nobody, tokens),
        };
        // A refresh token works once. Who waits here finds what the first one got.
        let mut tokens = tokens.lock().await;
        if tokens.due <= Instant::now() {
            let variables = refresh::Variables { token: tokens.refresh.clone() };
            // In a box, because what asks also comes here for its token.
            let answer = Box::pin(nobody.ask_within::<Refresh>(PATIENCE, variables)).await?.refresh_session;
            let problem = answer.user_errors.first().map(|its| &its.message);
            *tokens = Tokens::new(answer.access_token, answer.refresh_token, problem)?;
        }
        Ok(Some(tokens.access.clone()))
    }

    /// Waits until the token is to be exchanged.
    pub async fn is_due(&self) {
        match self {
            Self::Fixed(_) => pending().await,
            Self::Account { tokens, .. } => {
                let due = tokens.lock().await.due;
                sleep_until(due).await;
            }
        }
    }

    /// The server refused this token: the next one to ask exchanges it, unless that was done. False if there is no other.
    pub async fn distrust(&self, token: Option<&str>) -> bool {
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
        let due = Instant::now() + lifetime(&access)?.saturating_sub(MARGIN).max(REST);
        Ok(Self { access, refresh, due })
    }
}

/// How long a new token holds: the clock of this machine may be another than the server's.
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
