//! The address of a client: that of the connection, or the one that a trusted proxy forwards.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

/// The address at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct RemoteAddress(pub(super) IpAddr);

/// Whether it is the address of a trusted proxy.
pub(super) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// The last address of the chain that is not a trusted proxy's: those before it may be forged.
pub(super) fn client_address(RemoteAddress(remote): RemoteAddress, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let remote = remote.to_canonical();
    if !is_trusted(remote, trusted) {
        return remote;
    }
    let forwarded = headers.get_all("x-forwarded-for").iter();
    let forwarded: Vec<&[u8]> = forwarded.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).collect();
    let mut address = remote;
    for hop in forwarded.into_iter().rev() {
        // What cannot be read is no address, and ends the chain.
        let hop = str::from_utf8(hop).unwrap_or_default().trim();
        // Some proxies write the port as well, or brackets.
        let with_port = || Some(hop.parse::<SocketAddr>().ok()?.ip());
        let Some(hop) = hop.trim_matches(['[', ']']).parse().ok().or_else(with_port) else { break };
        address = hop.to_canonical();
        if !is_trusted(address, trusted) {
            break;
        }
    }
    address
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "192.0.2.1/32".parse().unwrap()];
        let from = |remote: &str, forwarded: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append("x-forwarded-for", HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            client_address(RemoteAddress(remote.parse().unwrap()), &headers, &trusted).to_string()
        };
        assert_eq!(from("203.0.113.7", &["1.2.3.4"]), "203.0.113.7");
        assert_eq!(from("10.1.1.1", &[]), "10.1.1.1");
        assert_eq!(from("10.1.1.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(from("::ffff:10.1.1.1", &["6.6.6.6, 1.2.3.4, 192.0.2.1"]), "1.2.3.4");
        assert_eq!(from("10.1.1.1", &["6.6.6.6", "1.2.3.4"]), "1.2.3.4");
        assert_eq!(from("10.1.1.1", &["1.2.3.4, nonsense"]), "10.1.1.1");
        assert_eq!(from("10.1.1.1", &["6.6.6.6", "é, 1.2.3.4"]), "1.2.3.4");
        assert_eq!(from("10.1.1.1", &["6.6.6.6, é, 192.0.2.1"]), "192.0.2.1");
        assert_eq!(from("10.1.1.1", &["6.6.6.6, 1.2.3.4:567, 192.0.2.1:8"]), "1.2.3.4");
        assert_eq!(from("10.1.1.1", &["[2001:db8::7]:567"]), "2001:db8::7");
        assert_eq!(from("10.1.1.1", &["[2001:db8::7]"]), "2001:db8::7");
    }
}
