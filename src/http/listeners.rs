//! Listening: accepts connections, and hands their requests on.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{
    Router,
    http::{HeaderValue, StatusCode, Version, header},
    response::Response,
};
use futures_util::{
    TryFutureExt as _,
    future::{BoxFuture, Either, join_all, ready},
};
use hyper::{
    Request,
    body::{Body, Incoming},
    server::conn::http1,
    service::Service,
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use ipnet::IpNet;
use rustix::io::Errno;
#[cfg(target_os = "linux")]
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    access::{Access, AccessedBody, REQUEST_ID, note_unreadable},
    addresses::{RemoteAddress, is_trusted},
    connections::{Connection, ConnectionSlot, Connections, Unread, raise_descriptor_limit},
    counters::HttpCounters,
    responses::refused,
    timeouts::HeadTimer,
    websockets,
};
use crate::{
    config::{Limits, Listen},
    execution::Code,
};

/// Bytes of the head of a request at most.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Headers of a request at most: each request takes 64 bytes for each of them while it is read.
const MAX_HEADERS: usize = 256;
/// The accept backlog. The usual 128 are too few when all clients reconnect at once.
const BACKLOG: u32 = 4_096;

/// Other ports that are looked at when one is in use.
const SUGGESTED_PORTS: u16 = 20;

/// An address that cannot be listened on. The message is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum CannotListen {
    /// Somebody else does.
    #[error("cannot listen on {address}: another program does already. Stop it, or take another port, such as {other}")]
    InUse {
        /// The address.
        address: SocketAddr,
        /// One that is free.
        other: SocketAddr,
    },
    /// Any other reason.
    #[error("cannot listen on {address}")]
    Other {
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: io::Error,
    },
}

/// Listens on addresses. Connections that are not accepted yet wait in the backlog of the operating system.
///
/// # Errors
/// [`CannotListen`] for the first address that cannot be bound. Of a name with several addresses one is enough, if the machine
/// does not have the others.
pub fn listen(wanted: &[Listen]) -> Result<Vec<TcpListener>, CannotListen> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    for Listen(addresses) in wanted {
        let (mut bound, mut missing) = (None, None);
        for address in addresses {
            // If any port will do, it is the same one for all addresses of a name.
            let port = bound.filter(|_| address.port() == 0).unwrap_or(address.port());
            let address = SocketAddr::new(address.ip(), port);
            if listeners.iter().any(|its| its.local_addr().is_ok_and(|its| its == address)) {
                bound = Some(port);
                continue;
            }
            match bind(address) {
                Ok(listener) => {
                    bound = listener.local_addr().ok().map(|address| address.port());
                    listeners.push(listener);
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(in_use(address, error)),
                Err(source) => missing = missing.or(Some(CannotListen::Other { address, source })),
            }
        }
        if let (None, Some(why)) = (bound, missing) {
            return Err(why);
        }
    }
    Ok(listeners)
}

fn in_use(address: SocketAddr, source: io::Error) -> CannotListen {
    let others =
        (1..=SUGGESTED_PORTS).filter_map(|more| Some(SocketAddr::new(address.ip(), address.port().checked_add(more)?)));
    match others.into_iter().find(|other| bind(*other).is_ok()) {
        Some(other) => CannotListen::InUse { address, other },
        None => CannotListen::Other { address, source },
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart need not wait for the connections of the previous process.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts connections until the server stops; gives those that are still open.
pub(super) async fn accept(
    listeners: impl IntoIterator<Item = &TcpListener>,
    router: Router,
    limits: &Limits,
    trusted_proxies: &[IpNet],
    counters: &Arc<HttpCounters>,
    stopping: CancellationToken,
) -> TaskTracker {
    let mut protocol = http1::Builder::new();
    // hyper refuses a head of twice this by itself; and no more waits for a client that does not read.
    protocol.max_buf_size(MAX_HEAD_BYTES).max_headers(MAX_HEADERS);
    let accepting = Accepting {
        protocol,
        limits,
        open_connections: Connections::new(trusted_proxies, limits.max_address_connections, raise_descriptor_limit()),
        router: TowerToHyperService::new(router),
        trusted_proxies,
        counters,
        connections: TaskTracker::new(),
        stopping,
    };
    join_all(listeners.into_iter().map(|listener| accepting.accept_from(listener))).await;
    accepting.connections.close();
    accepting.connections
}

/// What all listeners have in common.
struct Accepting<'a> {
    protocol: http1::Builder,
    limits: &'a Limits,
    open_connections: Connections,
    router: TowerToHyperService<Router>,
    trusted_proxies: &'a [IpNet],
    counters: &'a Arc<HttpCounters>,
    connections: TaskTracker,
    stopping: CancellationToken,
}

impl Accepting<'_> {
    /// Accepts connections until the server stops.
    async fn accept_from(&self, listener: &TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stopping.cancelled() => return,
            };
            match accepted {
                Ok((stream, remote)) => self.serve(stream, RemoteAddress(remote.ip())),
                Err(error) if is_of_client(&error) => {}
                Err(error) => {
                    // Some will be free again.
                    if is_out_of_descriptors(&error) {
                        self.open_connections.evict_waiting();
                    }
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Serves a connection in a task of its own, if there is room for it.
    fn serve(&self, stream: TcpStream, remote: RemoteAddress) {
        // Small answers must not be delayed to be merged.
        let _ = stream.set_nodelay(true);
        // A client that vanished acknowledges nothing, which an event stream would not notice otherwise: the kernel takes what is sent.
        // One that only reads slowly has its own time.
        #[cfg(target_os = "linux")]
        {
            let dead_after = self.limits.dead_after.max(self.limits.stall_timeout);
            let _ = set_tcp_user_timeout(&stream, dead_after.as_millis().try_into().unwrap_or(u32::MAX));
        }
        let Some((slot, evicted)) = self.open_connections.admit(remote.0) else { return };
        let (slot, unread) = (Arc::new(slot), Unread::default());
        let stream = Connection::new(
            stream,
            self.limits.stall_timeout + websockets::CLOSE_TIMEOUT,
            slot.clone(),
            unread.clone(),
        );
        // A connection that does not send a complete head in time is closed.
        let mut protocol = self.protocol.clone();
        protocol.timer(HeadTimer::new(slot.clone(), self.limits)).header_read_timeout(self.limits.header_timeout);
        let has_trusted_ids = is_trusted(remote.0.to_canonical(), self.trusted_proxies);
        let (router, counters) = (self.router.clone(), self.counters.clone());
        let service = ConnectionService { router, remote, has_trusted_ids, slot, unread, counters };
        let connection = protocol.serve_connection(TokioIo::new(stream), service).with_upgrades();
        let (counters, stopping) = (self.counters.clone(), self.stopping.clone());
        self.connections.spawn(async move {
            // How a client disconnects does not matter.
            if let Err(error) = serve_connection(connection, evicted, stopping).await
                && error.is_parse()
            {
                note_unreadable(&error, &counters);
            }
        });
    }
}

/// Answers the requests of a connection; once the server stops, only the one in flight.
async fn serve_connection(
    connection: HttpConnection,
    evicted: CancellationToken,
    stopping: CancellationToken,
) -> hyper::Result<()> {
    let mut connection = pin!(connection);
    tokio::select! {
        served = connection.as_mut() => served,
        () = evicted.cancelled() => Ok(()),
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

/// Whether a client gave its connection up before it was accepted: the next one may be fine.
fn is_of_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Whether the process, or the machine, has as many files open as it may.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error).contains(&code))
}

type HttpConnection = http1::UpgradeableConnection<TokioIo<Connection>, ConnectionService>;

/// The router for the requests of one connection, to which it adds what is known of the connection.
#[derive(Clone)]
struct ConnectionService {
    router: TowerToHyperService<Router>,
    remote: RemoteAddress,
    /// A trusted proxy is at the other end, which may give requests their ids.
    has_trusted_ids: bool,
    slot: Arc<ConnectionSlot>,
    unread: Unread,
    counters: Arc<HttpCounters>,
}

impl Service<Request<Incoming>> for ConnectionService {
    type Response = Response<AccessedBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        // It may have come together with the one before it.
        self.slot.note_received();
        self.unread.set(!request.body().is_end_stream());
        let proxy_id = request.headers().get(REQUEST_ID).filter(|_| self.has_trusted_ids);
        let access = Access::begin(request.method(), request.uri().path(), proxy_id, self.counters.clone());
        request.extensions_mut().insert(self.remote);
        request.extensions_mut().insert(self.unread.clone());
        request.extensions_mut().insert(access.record().clone());
        let answering = match refusal(&request) {
            Some(refusal) => Either::Left(ready(Ok(refusal))),
            None => Either::Right(self.router.call(request)),
        };
        let unread = self.unread.clone();
        Box::pin(answering.map_ok(move |mut response| {
            if unread.get() {
                // The rest of this request follows on the connection: a proxy must not send another one there (RFC 9112, 9.6).
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            access.respond(response)
        }))
    }
}

/// The answer to a request whose head cannot be accepted.
fn refusal(request: &Request<Incoming>) -> Option<Response> {
    if head_bytes(request) > MAX_HEAD_BYTES {
        let why = format!("The head of a request may have at most {MAX_HEAD_BYTES} bytes.");
        return Some(refused(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, Code::PayloadTooLarge, why));
    }
    if request.version() == Version::HTTP_11 && request.headers().get_all(header::HOST).iter().count() != 1 {
        let why = "A request needs one header Host (RFC 9112, 3.2).";
        return Some(refused(StatusCode::BAD_REQUEST, Code::BadRequest, why));
    }
    None
}

/// Bytes of the line and the headers of a request, about as they were sent.
fn head_bytes(request: &Request<Incoming>) -> usize {
    let line = request.method().as_str().len() + request.uri().path().len() + request.uri().query().map_or(0, str::len);
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    line + headers.sum::<usize>()
}
