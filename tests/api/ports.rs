//! Ports for servers that must be told where to listen.

use std::sync::atomic::{AtomicU16, Ordering};

/// A port that nothing else here gets: it is below those that the system gives.
pub(crate) fn own_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(20_000 + std::process::id() % 10_000).unwrap();
    first + TAKEN.fetch_add(1, Ordering::Relaxed)
}

/// An address with such a port.
pub(crate) fn own_address() -> String {
    format!("127.0.0.1:{}", own_port())
}
