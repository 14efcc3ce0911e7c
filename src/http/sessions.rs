//! The session of a WebSocket: on whose behalf it is, and when that ends.

use std::{future::pending, pin::pin, sync::Arc, time::Duration};

use serde_json::{Map, Value};
use tokio::{
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior, interval_at, timeout},
};

use super::{
    access::Client,
    server::Server,
    websockets::{Close, SocketResult},
};
use crate::{
    config::Limits,
    domain::{self, Viewer, connections::ClientConnection},
    graphql::Caller,
};

/// An authentication that takes longer does not keep others waiting.
const AUTHENTICATION_TIME: Duration = Duration::from_secs(1);
/// For so long mutations are answered after the session has ended: one of them may have ended it.
pub(super) const LAST_ANSWERS_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest id of an operation, in bytes.
const MAX_ID_BYTES: usize = 128;

/// Whether an operation may have this id.
pub(super) fn is_operation_id(id: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&id.len())
}

/// What the request that opened the socket says about its client.
pub(super) struct Credentials {
    /// The header of this name.
    pub(super) authorization: Option<String>,
    pub(super) client: Client,
}

/// When the last message came from the client, and since when it is pinged.
pub(super) struct KeepAlive {
    begun: Instant,
    pinged: Option<Instant>,
}

impl KeepAlive {
    /// When to ask whether to send a ping; if one takes longer than the interval, the next one comes a whole interval after it.
    pub(super) fn interval(Limits { ping_interval, .. }: &Limits) -> Interval {
        let mut pings = interval_at(Instant::now() + *ping_interval, *ping_interval);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pings
    }

    /// The client has said something.
    pub(super) fn begin() -> Self {
        Self { begun: Instant::now(), pinged: None }
    }

    /// Whether to send a ping; otherwise the client is gone. While a large answer is sent, no ping is, and the client has nothing to say:
    /// that time alone does not count.
    pub(super) fn may_ping(&mut self, Limits { dead_after, ping_interval, .. }: &Limits) -> bool {
        let pinged = self.pinged.get_or_insert_with(Instant::now).elapsed();
        self.begun.elapsed() <= *dead_after || pinged <= dead_after.saturating_sub(*ping_interval)
    }
}

/// The authenticated state of a session.
pub(super) struct Initialized {
    pub(super) caller: Caller,
    /// The viewer after a renewal of the access token.
    pub(super) renewed: watch::Receiver<Viewer>,
    connection: ClientConnection,
}

impl Initialized {
    /// Authenticates the client: by the payload's authorization, or by the header of that name.
    pub(super) async fn authenticate(
        Server { app, limits, authentications, .. }: &Server,
        payload: Map<String, Value>,
        Credentials { authorization: header, client }: Credentials,
    ) -> Result<Self, Close> {
        let authorization = match given_authorization(&payload) {
            Value::Null => header,
            // Many clients send an empty one as long as nobody has signed in.
            Value::String(text) => Some(text.clone()).filter(|text| !text.trim().is_empty()),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                return Err(Close::new(4403, "The authorization must be a text"));
            }
        };
        // What else it has is not kept for as long as that takes.
        drop(payload);
        let Ok(permit) = timeout(limits.init_timeout, authentications.acquire()).await else {
            return Err(Close::new(1013, "Try again later"));
        };
        let mut viewer = pin!(Viewer::of(app, authorization.as_deref()));
        let known = timeout(AUTHENTICATION_TIME, viewer.as_mut()).await;
        // Whoever waits for the keys of an issuer keeps nobody else waiting.
        drop(permit);
        let viewer = match known {
            Ok(viewer) => viewer,
            Err(_elapsed) => viewer.await,
        };
        let viewer = viewer.map_err(|error| {
            if matches!(error, domain::Error::Unauthenticated) {
                return Close::new(4403, "The access token is invalid or has expired");
            }
            if let domain::Error::Forbidden(why) = error {
                return Close::new(4403, why);
            }
            tracing::warn!(%error, "a socket could not begin");
            Close::new(1013, "Try again later")
        })?;
        let too_many =
            || Close::new(1008, format!("You have {} sockets already: close one first", limits.max_user_sockets));
        let connection = ClientConnection::try_open(app, &viewer).ok_or_else(too_many)?;
        let (renewal, renewed) = watch::channel(viewer.clone());
        let renewal = viewer.user().map(|_| Arc::new(renewal));
        let caller = Caller { renewal, from: client.address, ..Caller::new(viewer, client.record) };
        Ok(Self { caller, renewed, connection })
    }

    /// Waits until the credential expires or is revoked; a renewal replaces it. Gives the reason to close with.
    async fn ended(&mut self) -> &'static str {
        loop {
            tokio::select! {
                why = self.connection.ended() => return why,
                Ok(()) = self.renewed.changed() => {
                    self.caller.viewer = self.renewed.borrow_and_update().clone();
                    self.connection.renew(&self.caller.viewer);
                }
            }
        }
    }
}

/// The member `authorization` of a payload, in any case, or of its `headers`; null, which is nobody, if there is none.
fn given_authorization(payload: &Map<String, Value>) -> &Value {
    fn member<'a>(of: &'a Map<String, Value>, wanted: &str) -> &'a Value {
        of.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map_or(&Value::Null, |(_, value)| value)
    }
    match (member(payload, "authorization"), member(payload, "headers").as_object()) {
        (Value::Null, Some(headers)) => member(headers, "authorization"),
        (given, _) => given,
    }
}

/// Sends something, but no longer than until the session ends: however slowly the client reads.
pub(super) async fn unless_ended(
    initialized: &mut Option<Initialized>,
    sending: impl Future<Output = SocketResult>,
) -> SocketResult {
    tokio::select! {
        biased;
        why = session_ended(initialized) => Err(Close::new(4403, why).into()),
        sent = sending => sent,
    }
}

/// Waits until the credential of an initialized session expires or is revoked.
pub(super) async fn session_ended(initialized: &mut Option<Initialized>) -> &'static str {
    match initialized {
        Some(initialized) => initialized.ended().await,
        None => pending().await,
    }
}
