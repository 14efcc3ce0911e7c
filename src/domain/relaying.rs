//! Servers notify each other over NATS. It makes them faster, and nothing depends on it: what is lost is found by
//! [`super::nodes`].

use std::{sync::Arc, time::Duration};

use crate::{
    app::App,
    events::{Nats, RelayMessage},
};

/// How often a server sends a message of which it expects the echo.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Sends the other servers what this one changes, and notifies the subscribers here of what the others have changed. Never returns.
pub fn run_job(app: Arc<App>, nats: Nats, node: i64) -> impl Future<Output = ()> + Send {
    // From the call on, so that the metrics know of it.
    app.relay.open();
    async move {
        loop {
            if let Err(error) = relay(&app, &nats, node).await {
                tracing::warn!(%error, "relaying changes over NATS failed");
            }
            tokio::time::sleep(BEAT_INTERVAL).await;
        }
    }
}

/// The same until the database has another epoch. Each has a subject of its own, so that a copy of the database can be served
/// beside it.
async fn relay(app: &App, nats: &Nats, node: i64) -> Result<(), String> {
    let epoch = app.epoch();
    let subject = format!("duologue.{epoch}");
    let mut messages = nats.subscribe(&subject).await?;
    let receive = async {
        while let Some(message) = messages.next().await {
            if message.node == node { app.relay.record_echo() } else { apply(app, &message) }
        }
    };
    let send = async {
        loop {
            nats.publish(&subject, &app.relay.next(node).await).await;
        }
    };
    let beat = async {
        while app.epoch() == epoch {
            nats.publish(&subject, &RelayMessage::beat(node)).await;
            tokio::time::sleep(BEAT_INTERVAL).await;
        }
    };
    tokio::select! {
        () = receive => Err("NATS is closed".to_owned()),
        () = send => Ok(()),
        () = beat => Ok(()),
    }
}

fn apply(app: &App, message: &RelayMessage) {
    if message.revokes {
        app.revocations.note_revoked_elsewhere();
    }
    for (user, invalidates) in message.feeds() {
        app.notifier.notify_here(user, invalidates);
    }
    for (to, signal) in message.signals(app.now()) {
        app.signals.send(to, signal);
    }
}
