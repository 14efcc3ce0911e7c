//! NATS (<https://docs.nats.io>), by which servers wake each other. Core NATS alone: what it loses is found in the database.

use std::{
    borrow::Cow,
    future::ready,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_nats::{Client, ConnectOptions, Event, ServerAddr, Subscriber};
use futures_util::StreamExt;
use percent_encoding::percent_decode_str;

use super::relay::RelayMessage;

/// How soon a server that does not answer is noticed, and given up for another one.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// The longest pause before it is tried again.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(1);
/// Messages that wait while no server answers: later they are of no use.
const MAX_PENDING: usize = 64;
/// What cannot be handed over for so long is lost.
const PUBLISH_TIMEOUT: Duration = Duration::from_millis(500);

/// Where NATS is.
#[derive(Debug, Clone)]
pub struct NatsSettings {
    /// `nats://HOST:PORT` or, with TLS, `tls://HOST:PORT`: of servers of one cluster. Before the host may be how to sign in at all of
    /// them, as `USER:PASSWORD@` or `TOKEN@`.
    pub servers: Vec<String>,
    /// A file as `nsc` makes it, with a token and a key.
    pub credentials: Option<PathBuf>,
}

/// A connection to NATS. It is made anew whenever it breaks.
pub struct Nats(Client);

impl Nats {
    /// Connects, also if nobody answers yet.
    ///
    /// # Errors
    /// When the settings cannot be used. The sentence is for the operator.
    pub async fn open(settings: &NatsSettings) -> Result<Self, String> {
        let (servers, mut options) = read(settings).await?;
        // The library takes that of the process, of which there may be only one.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let is_failing = AtomicBool::new(false);
        options = options
            .name("duologue")
            .event_callback(move |event| {
                log(&event, &is_failing);
                ready(())
            })
            .ping_interval(PING_INTERVAL)
            .client_capacity(MAX_PENDING)
            .retry_on_initial_connect()
            .reconnect_delay_callback(|attempts| {
                let jitter = rand::random_range(0.5..1.0);
                MAX_RETRY_DELAY
                    .min(Duration::from_millis(20) * u32::try_from(attempts).unwrap_or(u32::MAX))
                    .mul_f64(jitter)
            });
        options.connect(servers).await.map(Self).map_err(|error| format!("--nats: {error}"))
    }

    /// Reads the settings, and connects to nobody.
    ///
    /// # Errors
    /// When they cannot be used. The sentence is for the operator.
    pub async fn check(settings: &NatsSettings) -> Result<(), String> {
        read(settings).await.map(drop)
    }

    /// Subscribes to what servers send each other about one database.
    ///
    /// # Errors
    /// When the client is closed.
    pub async fn subscribe(&self, subject: &str) -> Result<RelayStream, String> {
        self.0.subscribe(subject.to_owned()).await.map(RelayStream).map_err(|error| error.to_string())
    }

    /// Sends a message to all servers, this one included. What NATS does not take soon is dropped.
    pub async fn publish(&self, subject: &str, message: &RelayMessage) {
        let Ok(bytes) = serde_json::to_vec(message) else { return };
        let _ = tokio::time::timeout(PUBLISH_TIMEOUT, self.0.publish(subject.to_owned(), bytes.into())).await;
    }
}

/// Logs what happens to the connection: once that it fails, however often it is tried, and once that it is there again.
fn log(event: &Event, is_failing: &AtomicBool) {
    let fails = match event {
        Event::Connected => false,
        Event::Disconnected | Event::ServerError(_) | Event::ClientError(_) => true,
        Event::LameDuckMode | Event::Draining | Event::Closed | Event::SlowConsumer(_) => return,
    };
    match (is_failing.swap(fails, Ordering::Relaxed), fails) {
        (false, true) => tracing::warn!("changes of other servers are looked for in the database only. NATS: {event}"),
        (true, false) => tracing::info!("NATS: {event}"),
        (false, false) | (true, true) => {}
    }
}

/// The servers, and how to sign in there.
async fn read(settings: &NatsSettings) -> Result<(Vec<ServerAddr>, ConnectOptions), String> {
    let servers: Result<Vec<ServerAddr>, _> = settings.servers.iter().map(|server| server.parse()).collect();
    let servers = servers.map_err(|error| format!("--nats: write it as nats://HOST:4222 ({error})"))?;
    let mut options = ConnectOptions::new();
    // The library does not look into the URLs for it.
    let mut sign_ins: Vec<_> = servers.iter().map(|server| (server.username(), server.password())).collect();
    sign_ins.retain(|sign_in| *sign_in != (None, None));
    sign_ins.dedup();
    options = match (sign_ins.as_slice(), &settings.credentials) {
        ([], _) => options,
        ([(Some(user), Some(password))], None) => options.user_and_password(decoded(user)?, decoded(password)?),
        ([(Some(token), None)], None) => options.token(decoded(token)?),
        ([(None, _)], _) => return Err("--nats: write a user before the password, or a token alone".to_owned()),
        ([_], Some(_)) => {
            return Err("--nats: take the user out of the URL, or leave --nats-credentials away".to_owned());
        }
        _ => return Err("--nats: all URLs must have the same user, password or token".to_owned()),
    };
    let servers = servers.into_iter().map(without_user).collect::<Result<_, _>>()?;
    if let Some(file) = &settings.credentials {
        let explain = |error| format!("--nats-credentials: {} cannot be used: {error}", file.display());
        options = options.credentials_file(file).await.map_err(explain)?;
    }
    Ok((servers, options))
}

/// A part of a URL, in which some characters are percent-encoded.
fn decoded(part: &str) -> Result<String, String> {
    let decoded = percent_decode_str(part).decode_utf8();
    decoded
        .map(Cow::into_owned)
        .map_err(|_no_secret_in_errors| "--nats: the user, password or token in the URL is not UTF-8".to_owned())
}

/// The library writes URLs into the log. What follows the port has no meaning, and may be a part of a password with a `#` in it.
fn without_user(server: ServerAddr) -> Result<ServerAddr, String> {
    let mut url = server.into_inner();
    // It only fails for URLs that can have none.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    url.set_path("");
    url.set_query(None);
    url.set_fragment(None);
    ServerAddr::from_url(url).map_err(|error| format!("--nats: {error}"))
}

/// What servers send each other.
pub struct RelayStream(Subscriber);

impl RelayStream {
    /// The next message; `None` when the client is closed. What cannot be read, as of another release, is skipped.
    pub async fn next(&mut self) -> Option<RelayMessage> {
        loop {
            let message = self.0.next().await?;
            if let Ok(read) = serde_json::from_slice(&message.payload) {
                return Some(read);
            }
        }
    }
}
