//! How the server is reached: queries and mutations by HTTP, the feed on a WebSocket that is opened again when it is lost.

use std::{pin::pin, time::Duration};

use anyhow::{Result, bail, ensure};
use futures_util::StreamExt;
use graphql_client::{GraphQLQuery, Response};
use graphql_ws_client::{Client, Error, Subscription, graphql::StreamingOperation};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::{connect_async, tungstenite::ClientRequestBuilder};

use crate::{
    documents::{Feed, feed},
    session::Session,
};

/// Errors after which the same request can be sent again, with the same variables.
const RETRYABLE_CODES: [&str; 5] = ["DATABASE_BUSY", "RATE_LIMITED", "STORAGE_FULL", "TIMEOUT", "UNAVAILABLE"];
/// The HTTP statuses below 500 after which it can: the request came too slowly, or there were too many.
const RETRYABLE_STATUSES: [u16; 2] = [408, 429];
const TOKEN_EXPIRED: u16 = 4403;
/// The other close codes of 44xx after which it can: `connection_init` came too slowly, or something came twice.
const RETRYABLE_CLOSE_CODES: [u16; 3] = [4408, 4409, 4429];
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// The server answers a request within 10 seconds: after this time the network is down.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
/// The server pings every 25 seconds: a socket without any message for this time is dead.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

pub struct Server {
    url: String,
    session: Session,
    http: reqwest::Client,
}

impl Server {
    pub fn new(url: &str, session: Session) -> Self {
        Self { url: url.into(), session, http: reqwest::Client::new() }
    }

    /// Retries until there is an answer. Only for idempotent operations.
    pub async fn ask<Q: GraphQLQuery>(&self, variables: Q::Variables) -> Result<Q::ResponseData> {
        self.ask_within::<Q>(REQUEST_TIMEOUT, variables).await
    }

    /// The same, with another timeout for each try.
    pub async fn ask_within<Q: GraphQLQuery>(
        &self,
        request_timeout: Duration,
        variables: Q::Variables,
    ) -> Result<Q::ResponseData> {
        let body = serde_json::to_value(Q::build_query(variables))?;
        let mut failures = 0;
        loop {
            let token = self.session.token().await?;
            let mut wait = None;
            if let Some(answer) = self.try_to_ask::<Q>(request_timeout, &body, token.as_deref()).await? {
                match answer {
                    Response { data: Some(data), errors: None, .. } => return Ok(data),
                    Response { errors, .. } => wait = self.wait_for(errors, token.as_deref()).await?,
                }
            }
            pause(failures, wait).await;
            failures += 1;
        }
    }

    /// `None` if no valid answer came.
    async fn try_to_ask<Q: GraphQLQuery>(
        &self,
        request_timeout: Duration,
        body: &Value,
        token: Option<&str>,
    ) -> Result<Option<Response<Q::ResponseData>>> {
        let mut request = self.http.post(&self.url).timeout(request_timeout).json(body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let Ok(response) = request.send().await else { return Ok(None) };
        let status = response.status();
        match response.json().await {
            Ok(answer) => Ok(Some(answer)),
            Err(_no_answer) if status.is_client_error() && !RETRYABLE_STATUSES.contains(&status.as_u16()) => {
                bail!("the server says {status}")
            }
            Err(_lost) => Ok(None),
        }
    }

    /// Hands each event of the feed to `take` until that says `false`, across lost connections. `after` is the cursor of
    /// the last event that was taken.
    pub async fn follow(
        &self,
        mut place: feed::Variables,
        mut take: impl FnMut(&feed::FeedFeed) -> bool,
    ) -> Result<()> {
        let mut failures = 0;
        loop {
            let token = self.session.token().await?;
            let mut wait = None;
            // If the network is down, the answer to a handshake may never come.
            let subscribing = timeout(IDLE_TIMEOUT, self.subscribe(&place, token.as_deref())).await;
            if let Some(events) = subscribing.unwrap_or(Ok(None))? {
                // The server closes a socket when its token ends. Before that, another is opened with the next token.
                let mut events = pin!(events.take_until(self.session.is_due()));
                while let Some(Ok(answer)) = events.next().await {
                    let Response { data: Some(data), errors: None, .. } = answer else {
                        // Half an event is none. From the cursor before, it comes again.
                        wait = self.wait_for(answer.errors, token.as_deref()).await?;
                        break;
                    };
                    failures = 0;
                    if !take(&data.feed) {
                        return Ok(());
                    }
                    place.after = Some(data.feed.cursor);
                }
                if events.is_stopped() {
                    continue;
                }
            }
            pause(failures, wait).await;
            failures += 1;
        }
    }

    /// `None` if the server was not reached.
    async fn subscribe(
        &self,
        place: &feed::Variables,
        token: Option<&str>,
    ) -> Result<Option<Subscription<StreamingOperation<Feed>>>> {
        let request = ClientRequestBuilder::new(self.url.replacen("http", "ws", 1).parse()?);
        let Ok((connection, _)) = connect_async(request.with_sub_protocol("graphql-transport-ws")).await else {
            return Ok(None);
        };
        let payload = token.map(|token| json!({ "authorization": format!("Bearer {token}") }));
        let operation = StreamingOperation::<Feed>::new(place.clone());
        match Client::build(connection)
            .keep_alive_interval(IDLE_TIMEOUT / 4)
            .payload(payload)?
            .subscribe(operation)
            .await
        {
            Ok(events) => Ok(Some(events)),
            Err(Error::Close(TOKEN_EXPIRED, _)) if self.session.invalidate(token).await => Ok(None),
            Err(Error::Close(code, _)) if RETRYABLE_CLOSE_CODES.contains(&code) => Ok(None),
            // The server does not want this token, or this client.
            Err(Error::Close(code @ 4400..4500, reason)) => bail!("closed with {code}: {reason}"),
            Err(_lost) => Ok(None),
        }
    }

    /// How long the server asks the client to wait, if it does; or the error, if neither a retry nor another token helps.
    async fn wait_for(
        &self,
        errors: Option<Vec<graphql_client::Error>>,
        token: Option<&str>,
    ) -> Result<Option<Duration>> {
        let mut wait = None;
        for error in errors.unwrap_or_default() {
            let extension = |name| error.extensions.as_ref().and_then(|extensions| extensions.get(name));
            let code = extension("code").and_then(Value::as_str).unwrap_or_default();
            let is_retryable =
                RETRYABLE_CODES.contains(&code) || code == "UNAUTHENTICATED" && self.session.invalidate(token).await;
            ensure!(is_retryable, "{code}: {}", error.message);
            wait = extension("retryAfterMs").and_then(Value::as_u64).map(Duration::from_millis);
        }
        Ok(wait)
    }
}

/// Exponential backoff with jitter, so that not all clients reconnect at the same moment.
async fn pause(failures: u32, wanted: Option<Duration>) {
    eprintln!("No answer; trying again.");
    let longest = (Duration::from_millis(200) * 2_u32.pow(failures.min(10))).min(LONGEST_WAIT);
    sleep(wanted.unwrap_or(longest.mul_f64(rand::random_range(0.5..1.0)))).await;
}
