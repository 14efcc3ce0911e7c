//! Listening: accepts connections, and hands their requests on.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, time::Duration};

use axum::{Router, http::StatusCode, response::Response};
use futures_util::future::{Either, Ready, ready};
use hyper::{
    Request,
    body::{Body, Incoming},
    server::conn::http1,
    service::Service,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    addresses::RemoteAddress,
    connections::{Connection, Connections, Unread, raise_descriptor_limit},
    responses::refused,
    wires,
};
use crate::{config::Limits, execution::Code};

/// Bytes of the head of a request at most.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// The accept backlog. The usual 128 are too few when all clients reconnect at once.
const BACKLOG: u32 = 4_096;

/// Listens on an address. Connections that are not accepted yet wait in the backlog of the operating system.
///
/// # Errors
/// When the address cannot be bound.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart need not wait for the connections of the previous process.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts connections until the server stops; gives those that are still open.
pub(super) async fn accept(
    listener: &TcpListener,
    router: Router,
    limits: &Limits,
    trusted_proxies: &[IpNet],
    stopping: CancellationToken,
) -> TaskTracker {
    let mut protocol = http1::Builder::new();
    // A connection that does not send a complete head in time is closed.
    protocol.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout);
    // hyper refuses a head of twice this by itself; and no more waits for a client that does not read.
    protocol.max_buf_size(MAX_HEAD_BYTES);
    let places = Connections::new(trusted_proxies, limits.max_address_connections, raise_descriptor_limit());
    let stall_timeout = limits.stall_timeout + wires::CLOSE_TIMEOUT;
    let router = TowerToHyperService::new(router);
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.cancelled() => break,
        };
        match accepted {
            Ok((stream, remote)) => {
                // Small answers must not be delayed to be merged.
                let _ = stream.set_nodelay(true);
                let Some((place, let_go)) = places.admit(remote.ip()) else { continue };
                let unread = Unread::default();
                let stream = Connection::new(stream, stall_timeout, place, unread.clone());
                let service = OfConnection { router: router.clone(), remote: RemoteAddress(remote.ip()), unread };
                let connection = protocol.serve_connection(TokioIo::new(stream), service).with_upgrades();
                connections.spawn(serve_connection(connection, let_go, stopping.clone()));
            }
            Err(error) => {
                // Out of file descriptors, most likely: some will be free again.
                places.let_go_of_silent();
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    connections.close();
    connections
}

/// Answers the requests of a connection; once the server stops, only the one in flight.
async fn serve_connection(connection: HttpConnection, let_go: CancellationToken, stopping: CancellationToken) {
    let mut connection = pin!(connection);
    tokio::select! {
        // How a client disconnects does not matter.
        _ = connection.as_mut() => {}
        () = let_go.cancelled() => {}
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

type HttpConnection = http1::UpgradeableConnection<TokioIo<Connection>, OfConnection>;

type RouterFuture = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

/// The router for the requests of one connection, to which it adds what is known of the connection.
#[derive(Clone)]
struct OfConnection {
    router: TowerToHyperService<Router>,
    remote: RemoteAddress,
    unread: Unread,
}

impl Service<Request<Incoming>> for OfConnection {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response, Infallible>>, RouterFuture>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.unread.set(!request.body().is_end_stream());
        request.extensions_mut().insert(self.remote);
        request.extensions_mut().insert(self.unread.clone());
        if head_bytes(&request) > MAX_HEAD_BYTES {
            let why = format!("The head of a request may have at most {MAX_HEAD_BYTES} bytes.");
            let refusal = refused(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, Code::PayloadTooLarge, why);
            return Either::Left(ready(Ok(refusal)));
        }
        Either::Right(self.router.call(request))
    }
}

/// Bytes of the line and the headers of a request, about as they were sent.
fn head_bytes(request: &Request<Incoming>) -> usize {
    let line = request.method().as_str().len() + request.uri().path().len() + request.uri().query().map_or(0, str::len);
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    line + headers.sum::<usize>()
}
