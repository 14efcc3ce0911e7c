//! Accepted connections: how many an address may have, which are let go when file descriptors run short, and how they end.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use ipnet::IpNet;
use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Sleep,
};
use tokio_io_timeout::TimeoutWriter;
use tokio_util::sync::CancellationToken;

use super::addresses::is_trusted;
use crate::domain::connections::network;

/// File descriptors that are left to the database, and to connections that are being closed.
const RESERVED_DESCRIPTORS: u64 = 64;
/// How long a connection stays open whose request was not read to its end, so that the client can read the answer.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes that are read of such a request meanwhile, at most.
const MAX_LINGER_BYTES: usize = 1024 * 1024;

/// Raises the soft limit of file descriptors to the hard limit; gives what it is then, if there is one.
#[must_use]
pub fn raise_descriptor_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // It may be refused, and then it stays as it is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current.or(current)
}

/// The accepted connections. Clones share them.
#[derive(Clone)]
pub(super) struct Connections {
    open: Arc<Mutex<Open>>,
    trusted_proxies: Arc<[IpNet]>,
    max_of_address: usize,
    max: usize,
}

#[derive(Default)]
struct Open {
    count: usize,
    by_network: HashMap<IpAddr, usize>,
    /// Those that wait for a request. Those come first on which nothing was received yet, and of these the oldest.
    waiting: BTreeMap<Order, CancellationToken>,
    accepted: u64,
}

/// Whether something was received already, and the number of the connection.
type Order = (bool, u64);

impl Connections {
    /// None yet. Loopback addresses and proxies may have any number of them.
    pub(super) fn new(trusted_proxies: &[IpNet], max_of_address: usize, descriptors: Option<u64>) -> Self {
        let max = descriptors.map(|descriptors| descriptors.saturating_sub(RESERVED_DESCRIPTORS).max(1));
        let max = max.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX);
        Self { open: Arc::default(), trusted_proxies: trusted_proxies.into(), max_of_address, max }
    }

    /// A slot for one more connection; `None` if its address has too many, or if there are too many with a request in hand.
    /// The token is cancelled if the connection is evicted while it waits for a request.
    pub(super) fn admit(&self, remote: IpAddr) -> Option<(ConnectionSlot, CancellationToken)> {
        let remote = remote.to_canonical();
        let is_counted = !remote.is_loopback() && !is_trusted(remote, &self.trusted_proxies);
        let counted = is_counted.then(|| network(remote));
        let mut open = self.open.lock();
        if counted.is_some_and(|its| open.by_network.get(&its).is_some_and(|count| *count >= self.max_of_address)) {
            return None;
        }
        if open.count >= self.max {
            open.evict_waiting()?;
        }
        if let Some(counted) = counted {
            *open.by_network.entry(counted).or_default() += 1;
        }
        open.count += 1;
        open.accepted += 1;
        let (number, evicted) = (open.accepted, CancellationToken::new());
        open.waiting.insert((false, number), evicted.clone());
        drop(open);
        let slot = ConnectionSlot {
            connections: self.clone(),
            number,
            counted,
            evicted: evicted.clone(),
            is_waiting: true.into(),
        };
        Some((slot, evicted))
    }

    /// Evicts a connection that waits for a request: the oldest one that has sent nothing yet, or else the oldest one.
    pub(super) fn evict_waiting(&self) {
        self.open.lock().evict_waiting();
    }
}

impl Open {
    fn evict_waiting(&mut self) -> Option<()> {
        self.waiting.pop_first().map(|(_, evicted)| evicted.cancel())
    }

    fn remove(&mut self, number: u64) {
        for has_received in [false, true] {
            self.waiting.remove(&(has_received, number));
        }
    }
}

/// The slot of an open connection, free again once it is dropped.
pub(super) struct ConnectionSlot {
    connections: Connections,
    number: u64,
    counted: Option<IpAddr>,
    evicted: CancellationToken,
    is_waiting: AtomicBool,
}

impl ConnectionSlot {
    /// Something was received.
    pub(super) fn note_received(&self) {
        if self.is_waiting.swap(false, Ordering::Relaxed) {
            self.connections.open.lock().remove(self.number);
        }
    }

    /// Waits for the next request; false if it waits already.
    pub(super) fn wait_again(&self) -> bool {
        let is_new = !self.is_waiting.swap(true, Ordering::Relaxed);
        if is_new {
            self.connections.open.lock().waiting.insert((true, self.number), self.evicted.clone());
        }
        is_new
    }

    /// Whether nothing was received since it waits for a request.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting.load(Ordering::Relaxed)
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock();
        open.count -= 1;
        open.remove(self.number);
        let Some(counted) = self.counted else { return };
        match open.by_network.get_mut(&counted) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(open.by_network.remove(&counted)),
        }
    }
}

/// Whether a part of the last request was not read: then the connection lingers.
#[derive(Debug, Clone)]
pub(super) struct Unread(Arc<AtomicBool>);

impl Default for Unread {
    /// Until there is a request: its head may be refused.
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl Unread {
    /// Says so of the request that is being answered: it is unread if it has a body, until that was read to its end.
    pub(super) fn set(&self, unread: bool) {
        self.0.store(unread, Ordering::Relaxed);
    }

    /// What was said last.
    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// An accepted connection. A client that does not read what it is sent is disconnected after a timeout.
pub(super) struct Connection {
    stream: Pin<Box<TimeoutWriter<TcpStream>>>,
    slot: Arc<ConnectionSlot>,
    unread: Unread,
    /// Until when, and how many bytes it still reads.
    lingering: Option<(Pin<Box<Sleep>>, usize)>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, stall_timeout: Duration, slot: Arc<ConnectionSlot>, unread: Unread) -> Self {
        let mut stream = Box::pin(TimeoutWriter::new(stream));
        stream.as_mut().set_timeout_pinned(Some(stall_timeout));
        Self { stream, slot, unread, lingering: None }
    }

    /// Reads away what the client still sends: if it were there when the connection is closed, the client would be told that the
    /// connection was reset, and might not read the answer (RFC 9112, 9.6).
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let new = || (Box::pin(tokio::time::sleep(LINGER)), MAX_LINGER_BYTES);
        let (deadline, remaining) = self.lingering.get_or_insert_with(new);
        let mut discarded = [0; 8 * 1024];
        while *remaining > 0 {
            let mut buffer = ReadBuf::new(&mut discarded);
            match self.stream.as_mut().poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    *remaining = remaining.saturating_sub(buffer.filled().len());
                }
                Poll::Ready(_end) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        deadline.as_mut().poll(cx)
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.stream.as_mut().poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.slot.note_received();
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingering.is_none() {
            ready!(this.stream.as_mut().poll_shutdown(cx))?;
        }
        if this.unread.get() {
            ready!(this.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(connections: &Connections, remote: &str) -> Option<(ConnectionSlot, CancellationToken)> {
        connections.admit(remote.parse().unwrap())
    }

    #[test]
    fn an_address_has_so_many_connections_and_a_network_of_ipv6_is_one_address() {
        let connections = Connections::new(&["10.0.0.0/8".parse().unwrap()], 2, None);
        for (remote, of_the_same) in [("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:db8::2:3:4:5")] {
            let held = [admitted(&connections, remote), admitted(&connections, of_the_same)];
            assert!(held.iter().all(Option::is_some));
            assert!(admitted(&connections, remote).is_none());
            drop(held);
            assert!(admitted(&connections, remote).is_some());
        }
        for remote in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.1.2.3"] {
            let held: Vec<_> = (0..5).map(|_| admitted(&connections, remote)).collect();
            assert!(held.iter().all(Option::is_some), "{remote}");
        }
    }

    #[test]
    fn when_descriptors_run_short_the_oldest_goes_that_has_sent_nothing_and_then_the_oldest_that_waits() {
        let connections = Connections::new(&[], usize::MAX, Some(RESERVED_DESCRIPTORS + 3));
        let [first, second, third] = [(); 3].map(|()| admitted(&connections, "127.0.0.1").unwrap());
        first.0.note_received();
        assert!(first.0.wait_again() && !first.0.wait_again() && first.0.is_waiting());
        let fourth = admitted(&connections, "127.0.0.1").unwrap();
        assert!(!first.1.is_cancelled() && second.1.is_cancelled() && !third.1.is_cancelled());
        drop(second);
        third.0.note_received();
        fourth.0.note_received();
        let fifth = admitted(&connections, "127.0.0.1").unwrap();
        assert!(first.1.is_cancelled(), "who waits for another request has to make room too");
        drop(first);
        fifth.0.note_received();
        assert!(admitted(&connections, "127.0.0.1").is_none(), "nobody with a request in hand is let go");
    }
}
