//! Several servers wake each other over NATS. It makes them faster, and nothing depends on it: what was not heard is found by
//! [`super::nodes`].

use std::{sync::Arc, time::Duration};

use crate::{
    app::App,
    events::{Nats, News},
};

/// How often a server tells that it is there, to hear itself.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Tells the other servers what this one changes, and notifies those who follow what the others have changed. Never returns.
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
    let mut heard = nats.subscribe(&subject).await?;
    let hear = async {
        while let Some(news) = heard.next().await {
            if news.node == node { app.relay.note_echo() } else { apply(app, &news) }
        }
    };
    let tell = async {
        loop {
            nats.publish(&subject, &app.relay.next(node).await).await;
        }
    };
    let beat = async {
        while app.epoch() == epoch {
            nats.publish(&subject, &News::beat(node)).await;
            tokio::time::sleep(BEAT_INTERVAL).await;
        }
    };
    tokio::select! {
        () = hear => Err("NATS is closed".to_owned()),
        () = tell => Ok(()),
        () = beat => Ok(()),
    }
}

fn apply(app: &App, news: &News) {
    if news.revokes {
        app.revocations.note_elsewhere();
    }
    for (user, invalidates) in news.feeds() {
        app.notifier.notify_here(user, invalidates);
    }
    for (to, signal) in news.signals(app.now()) {
        app.signals.send(to, signal);
    }
}
