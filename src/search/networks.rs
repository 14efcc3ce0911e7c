//! Which addresses are near enough for texts that are not encrypted on their way.

use std::{io, net::IpAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Finds addresses of this machine and of private networks only, each time that a connection is made: what a name means may
/// change.
pub(super) struct PrivateResolver;

/// A name has other addresses.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not an address of this machine or of a private network")]
pub(super) struct NotPrivate(String);

impl Resolve for PrivateResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let (private, others): (Vec<_>, Vec<_>) = found.partition(|address| is_private(address.ip()));
            if !private.is_empty() {
                return Ok(Box::new(private.into_iter()) as Addrs);
            }
            let other = others.first().ok_or(io::ErrorKind::NotFound).map_err(io::Error::from)?;
            Err(NotPrivate(other.ip().to_string()).into())
        })
    }
}

/// Whether an address is of this machine, of a private network (RFC 1918, RFC 4193) or of this link (RFC 3927, RFC 4291).
pub(super) fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_loopback() || address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::is_private;

    #[test]
    fn private_addresses_are_told_from_others() {
        let near = ["127.0.0.1", "127.9.9.9", "10.1.2.3", "172.31.0.1", "192.168.0.1", "169.254.1.1", "::1", "fd00::1"];
        let mut near = near.into_iter().chain(["fe80::1", "::ffff:10.0.0.1"]);
        assert_eq!(near.find(|address| !is_private(address.parse().unwrap())), None);
        let far = ["8.8.8.8", "172.32.0.1", "0.0.0.0", "::", "2001:db8::1", "::ffff:8.8.8.8"];
        assert_eq!(far.into_iter().find(|address| is_private(address.parse().unwrap())), None);
    }
}
