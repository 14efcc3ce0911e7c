//! What systemd is told of a server that it has started (<https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>).
//! Without systemd nothing happens.

use sd_notify::NotifyState;

/// Tells it something.
pub(super) fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd cannot be told how the server is");
    }
}

/// Tells it that the server is alive, as often as the unit wants it. Never returns.
pub(super) async fn run_watchdog() {
    let Some(timeout) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    loop {
        tell(NotifyState::Watchdog);
        tokio::time::sleep(timeout / 3).await;
    }
}
