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

/// What is worth another try, with the same variables.
const PASSES: [&str; 5] = ["DATABASE_BUSY", "RATE_LIMITED", "STORAGE_FULL", "TIMEOUT", "UNAVAILABLE"];
/// Of the HTTP statuses below 500 these say the same: the request came too slowly, or there are too many.
const LATER: [u16; 2] = [408, 429];
const TOKEN_ENDED: u16 = 4403;
/// Of the other close codes of 44xx these allow another try: `connection_init` came too slowly, or something came twice.
const MAY_PASS: [u16; 3] = [4408, 4409, 4429];
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// The server pings every 25 seconds, and answers a request within 10: after this time there is no network.
const SILENCE: Duration = Duration::from_mins(1);

pub struct Server {
    url: String,
    session: Session,
    http: reqwest::Client,
}

impl Server {
    pub fn new(url: &str, session: Session) -> Self {
        Self { url: url.into(), session, http: reqwest::Client::new() }
    }

    /// Asks until there is an answer: only for what does no harm when it is done twice.
    pub async fn ask<Q: GraphQLQuery>(&self, variables: Q::Variables) -> Result<Q::ResponseData> {
        self.ask_within::<Q>(SILENCE, variables).await
    }

    /// The same, with so much time for each try.
    pub async fn ask_within<Q: GraphQLQuery>(
        &self,
        patience: Duration,
        variables: Q::Variables,
    ) -> Result<Q::ResponseData> {
        let body = serde_json::to_value(Q::build_query(variables))?;
        let mut failures = 0;
        loop {
            let token = self.session.token().await?;
            let mut wait = None;
            if let Some(answer) = self.try_to_ask::<Q>(patience, &body, token.as_deref()).await? {
                match answer {
                    Response { data: Some(data), errors: None, .. } => return Ok(data),
                    Response { errors, .. } => wait = self.wait_for(errors, token.as_deref()).await?,
                }
            }
            pause(failures, wait).await;
            failures += 1;
        }
    }

    /// `None` if no answer came that can be understood.
    async fn try_to_ask<Q: GraphQLQuery>(
        &self,
        patience: Duration,
        body: &Value,
        token: Option<&str>,
    ) -> Result<Option<Response<Q::ResponseData>>> {
        let mut request = self.http.post(&self.url).timeout(patience).json(body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let Ok(response) = request.send().await else { return Ok(None) };
        let status = response.status();
        match response.json().await {
            Ok(answer) => Ok(Some(answer)),
            Err(_no_answer) if status.is_client_error() && !LATER.contains(&status.as_u16()) => {
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
            // Where the network died the answer to a handshake may never come.
            let subscribing = timeout(SILENCE, self.subscribe(&place, token.as_deref())).await;
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
        match Client::build(connection).keep_alive_interval(SILENCE / 4).payload(payload)?.subscribe(operation).await {
            Ok(events) => Ok(Some(events)),
            Err(Error::Close(TOKEN_ENDED, _)) if self.session.distrust(token).await => Ok(None),
            Err(Error::Close(code, _)) if MAY_PASS.contains(&code) => Ok(None),
            // The server does not want this token, or this client.
            Err(Error::Close(code @ 4400..4500, reason)) => bail!("closed with {code}: {reason}"),
            Err(_lost) => Ok(None),
        }
    }

    /// How long the server wants a client to wait, if it says so; an error that neither waiting nor another token helps
    /// against.
    async fn wait_for(
        &self,
        errors: Option<Vec<graphql_client::Error>>,
        token: Option<&str>,
    ) -> Result<Option<Duration>> {
        let mut wait = None;
        for error in errors.unwrap_or_default() {
            let extension = |name| error.extensions.as_ref().and_then(|extensions| extensions.get(name));
            let code = extension("code").and_then(Value::as_str).unwrap_or_default();
            let passes = PASSES.contains(&code) || code == "UNAUTHENTICATED" && self.session.distrust(token).await;
            ensure!(passes, "{code}: {}", error.message);
            wait = extension("retryAfterMs").and_then(Value::as_u64).map(Duration::from_millis);
        }
        Ok(wait)
    }
}

/// Waits longer each time, and never as long as others, so that not all come back at once.
async fn pause(failures: u32, wanted: Option<Duration>) {
    eprintln!("No answer; trying again.");
    let longest = (Duration::from_millis(200) * 2_u32.pow(failures.min(10))).min(LONGEST_WAIT);
    sleep(wanted.unwrap_or(longest.mul_f64(rand::random_range(0.5..1.0)))).await;
}
