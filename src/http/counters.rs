//! What happens on the wire, counted for the metrics.

use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};

/// What is counted here.
#[derive(Default)]
pub(super) struct HttpCounters {
    /// By `status`.
    pub(super) responses: Family<[(&'static str, u16); 1], Counter>,
    /// WebSockets and event streams, by their `protocol`.
    pub(super) sockets: Family<[(&'static str, &'static str); 1], Gauge>,
    /// By `code`: that of the close frame, or `gone`.
    pub(super) sockets_closed: Family<[(&'static str, String); 1], Counter>,
}

impl HttpCounters {
    /// Counts a socket until what this gives is dropped.
    pub(super) fn open_socket(&self, protocol: &'static str) -> OpenSocket {
        let gauge = self.sockets.get_or_create_owned(&[("protocol", protocol)]);
        gauge.inc();
        OpenSocket(gauge)
    }

    /// Counts the end of a socket, with the code of the server's close frame; without one the client is gone.
    pub(super) fn count_close(&self, code: Option<u16>) {
        let code = code.map_or_else(|| "gone".to_owned(), |code| code.to_string());
        self.sockets_closed.get_or_create(&[("code", code)]).inc();
    }
}

/// A socket that is counted as open.
pub(super) struct OpenSocket(Gauge);

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.0.dec();
    }
}
