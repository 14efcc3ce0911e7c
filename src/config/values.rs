//! How the values of settings are written.

use std::{fmt, net::IpAddr, time::Duration};

use ipnet::IpNet;

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

pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>().or_else(|_no_network| address()).map_err(|_neither| "not an address or a network".to_owned())
}

pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "must be a whole number, 1 or more".to_owned())
}

pub(super) fn days(text: &str) -> Result<Duration, String> {
    let days: f64 = text.parse().map_err(|_not_a_number| "not a number of days".to_owned())?;
    Duration::try_from_secs_f64(days * 86_400.0).map_err(|error| error.to_string())
}

pub(super) fn any_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_not_a_number| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let duration = any_seconds(text)?;
    (!duration.is_zero()).then_some(duration).ok_or_else(|| "must be more than 0".to_owned())
}
