//! How systemd is notified of the state of a server that it has started
//! (<https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>).
//! Without systemd nothing happens.

use std::sync::Arc;

use duologue::app::App;
use sd_notify::NotifyState;

/// Notifies it of a state.
pub(super) fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd cannot be notified of the state of the server");
    }
}

/// Notifies it that the server is alive, as often as the unit wants it, as long as its writer is not stuck. Never returns.
pub(super) async fn run_watchdog(app: Arc<App>) {
    let Some(timeout) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    loop {
        // To a database that does not answer a restart is no help.
        app.store.await_writer().await;
        notify(NotifyState::Watchdog);
        tokio::time::sleep(timeout / 3).await;
    }
}
