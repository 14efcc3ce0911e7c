//! The address of a client: that of the connection, or the one that a trusted proxy forwards.

use std::{convert::Infallible, net::IpAddr};

use axum::{Router, http::HeaderMap, response::Response};
use hyper::{Request, body::Incoming, service::Service};
use hyper_util::service::TowerToHyperService;
use ipnet::IpNet;

/// The address at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct RemoteAddress(pub(super) IpAddr);

/// The router for the requests of one connection, to which it adds the remote address.
#[derive(Clone)]
pub(super) struct WithRemoteAddress {
    pub(super) router: TowerToHyperService<Router>,
    pub(super) remote: RemoteAddress,
}

impl Service<Request<Incoming>> for WithRemoteAddress {
    type Response = Response;
    type Error = Infallible;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.remote);
        self.router.call(request)
    }
}

/// The last address of the chain that is not a trusted proxy's: those before it may be forged.
pub(super) fn client_address(RemoteAddress(remote): RemoteAddress, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let remote = remote.to_canonical();
    if !is_trusted(&remote) {
        return remote;
    }
    let forwarded = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let forwarded: Vec<&str> = forwarded.flat_map(|value| value.split(',')).map(str::trim).collect();
    let mut address = remote;
    for hop in forwarded.into_iter().rev() {
        let Ok(hop) = hop.parse::<IpAddr>() else { break };
        address = hop.to_canonical();
        if !is_trusted(&address) {
            break;
        }
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "192.0.2.1/32".parse().unwrap()];
        let from = |remote: &str, forwarded: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append("x-forwarded-for", value.parse().unwrap());
            }
            client_address(RemoteAddress(remote.parse().unwrap()), &headers, &trusted).to_string()
        };
        assert_eq!(from("203.0.113.7", &["1.2.3.4"]), "203.0.113.7");
        assert_eq!(from("10.1.1.1", &[]), "10.1.1.1");
        assert_eq!(from("10.1.1.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(from("::ffff:10.1.1.1", &["6.6.6.6, 1.2.3.4, 192.0.2.1"]), "1.2.3.4");
        assert_eq!(from("10.1.1.1", &["6.6.6.6", "1.2.3.4"]), "1.2.3.4");
        assert_eq!(from("10.1.1.1", &["1.2.3.4, nonsense"]), "10.1.1.1");
    }
}
