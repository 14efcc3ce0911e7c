//! How the values of settings are written.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs},
    time::Duration,
};

use ipnet::IpNet;
use jiff::{Span, SpanRelativeTo};

/// A text that must not be shown.
#[derive(Clone)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// The addresses of one value of `--listen`; a name may have several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen(pub Vec<SocketAddr>);

/// An address with a port, a name with a port, or a port of this machine alone.
pub(super) fn listen(text: &str) -> Result<Listen, String> {
    let text = text.trim();
    let of_this_machine = |port| [(IpAddr::from(Ipv4Addr::LOCALHOST), port), (Ipv6Addr::LOCALHOST.into(), port)];
    let addresses: Vec<SocketAddr> = match (text.parse::<u16>(), text.strip_prefix("localhost:").map(str::parse)) {
        (Ok(port), _) => vec![(Ipv4Addr::LOCALHOST, port).into()],
        (_, Some(Ok(port))) => of_this_machine(port).map(SocketAddr::from).into(),
        // Others are looked up, if they are names.
        _ => match (text.to_socket_addrs(), text.rsplit_once(':')) {
            (Ok(found), _) => found.collect(),
            (Err(why), Some((name, port))) if is_name(name) && port.parse::<u16>().is_ok() => {
                return Err(format!("{name} is not found: {why}"));
            }
            _ => Vec::new(),
        },
    };
    if addresses.is_empty() {
        return Err(
            "write an address and a port, such as 127.0.0.1:8000, [::1]:8000, localhost:8000, or a port: 8000".into()
        );
    }
    Ok(Listen(addresses))
}

/// Whether a text may be the name of a host.
fn is_name(text: &str) -> bool {
    // One of digits alone is meant as an address.
    text.contains(char::is_alphabetic) && text.chars().all(|c| c.is_alphanumeric() || "-._".contains(c))
}

pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>().or_else(|_no_network| address()).map_err(|_neither| "not an address or a network".to_owned())
}

pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "must be a whole number, 1 or more".to_owned())
}

/// A number of times, or `off`, which is 0: a limit of 0 that means no limit would surprise.
pub(super) fn rate(text: &str) -> Result<u32, String> {
    if text == "off" {
        return Ok(0);
    }
    text.parse().ok().filter(|times| *times > 0).ok_or_else(|| "must be a whole number, 1 or more, or `off`".to_owned())
}

/// A number of bytes, or `off`, which is more than anything has.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    if text == "off" {
        return Ok(u64::MAX);
    }
    text.parse().map_err(|_no_number| "must be a whole number, or `off`".to_owned())
}

/// A number of days, or with a unit, such as `36h`.
pub(super) fn days(text: &str) -> Result<Duration, String> {
    duration(text, 86_400.0)
}

/// The same, but not by mistake a number of minutes or hours: what is deleted then does not come back.
pub(super) fn one_day_or_more(text: &str) -> Result<Duration, String> {
    const DAY: Duration = Duration::from_hours(24);
    days(text).and_then(|duration| {
        (duration >= DAY).then_some(duration).ok_or_else(|| "must be at least one day, such as 90".to_owned())
    })
}

/// A number of seconds, or with a unit, such as `15m`.
pub(super) fn any_seconds(text: &str) -> Result<Duration, String> {
    duration(text, 1.0)
}

/// At most 100 years, so that what ends after it ends at an instant that can be written.
fn duration(text: &str, unit_seconds: f64) -> Result<Duration, String> {
    const MAX: Duration = Duration::from_hours(24 * 36_500);
    let duration = if let Ok(number) = text.parse::<f64>() {
        Duration::try_from_secs_f64(number * unit_seconds).map_err(|error| error.to_string())?
    } else {
        let span = text.parse::<Span>().and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
        let duration = span.ok().and_then(|duration| Duration::try_from(duration).ok());
        duration.ok_or("not a duration: write a number, or one with a unit, such as 30s, 15m, 12h or 30d")?
    };
    (duration <= MAX).then_some(duration).ok_or_else(|| "must be at most 100 years, which is 36500d".to_owned())
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let duration = any_seconds(text)?;
    (!duration.is_zero()).then_some(duration).ok_or_else(|| "must be more than 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_listen_may_be_an_address_a_name_or_a_port() {
        for (text, expected) in [
            ("0.0.0.0:80", vec!["0.0.0.0:80"]),
            ("[::1]:8000", vec!["[::1]:8000"]),
            ("8000", vec!["127.0.0.1:8000"]),
            (" 8000", vec!["127.0.0.1:8000"]),
            ("localhost:8000", vec!["127.0.0.1:8000", "[::1]:8000"]),
        ] {
            let expected: Vec<SocketAddr> = expected.iter().map(|address| address.parse().unwrap()).collect();
            assert_eq!(listen(text), Ok(Listen(expected)), "{text}");
        }
        for wrong in ["", "localhost", "127.0.0.1", "70000", "localhost:70000", ":8000", "http://127.0.0.1:8000", "::1"]
        {
            assert!(listen(wrong).is_err_and(|why| why.contains("127.0.0.1:8000")), "{wrong}");
        }
    }

    #[test]
    fn a_duration_is_a_number_or_has_a_unit() {
        for (text, expected) in [
            ("90", 90),
            ("1.5m", 90),
            ("90s", 90),
            ("15m", 900),
            ("1h 30m", 5_400),
            ("30d", 2_592_000),
            ("2 weeks", 1_209_600),
        ] {
            assert_eq!(any_seconds(text), Ok(Duration::from_secs(expected)), "{text}");
        }
        assert_eq!((any_seconds("0.25"), days("0.5")), (Ok(Duration::from_millis(250)), Ok(Duration::from_hours(12))));
        assert_eq!((days("36h"), days("30d")), (any_seconds("129600"), days("30")));
        assert_eq!((days("36500"), days("36500.1").is_err()), (any_seconds("876000h"), true));
        assert_eq!((one_day_or_more("1"), one_day_or_more("23h").is_err()), (days("24h"), true));
        for wrong in ["", "m", "15 parsecs", "-5s", "-1", "1 month", "NaN", "inf", "36501d", "1e15", "876001h"] {
            assert!(any_seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_off_is_without_limit() {
        assert_eq!((rate("off"), rate("7")), (Ok(0), Ok(7)));
        assert_eq!((bytes("off"), bytes("0")), (Ok(u64::MAX), Ok(0)));
        assert!(bytes("4 KB").is_err_and(|why| why.contains("`off`")));
        for wrong in ["0", "-1", "", "Off", "any"] {
            assert!(rate(wrong).is_err_and(|why| why.contains("`off`")), "{wrong}");
        }
    }
}
