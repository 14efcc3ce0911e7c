//! Instants: milliseconds since 1970 in UTC in the database, RFC 3339 outside.

use std::{fmt, str::FromStr, time::Duration};

use diesel::{
    backend::Backend,
    deserialize::{self, FromSql, FromSqlRow},
    expression::AsExpression,
    serialize::{self, Output, ToSql},
    sql_types::BigInt,
};
use jiff::{SignedDuration, civil::DateTime};

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
/// The first and the last millisecond of the years 0000 to 9999.
const FIRST: Timestamp = Timestamp(-62_167_219_200_000);
const LAST: Timestamp = Timestamp(253_402_300_799_999);

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;

/// An instant in UTC, to the millisecond, in the years 0000 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = BigInt)]
pub struct Timestamp(i64);

/// The text is no instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("This is not an instant. Write it as RFC 3339 does, for example 2026-01-31T12:00:00.000Z.")]
pub struct NotAnInstant;

impl Timestamp {
    /// Before all others.
    pub const MIN: Self = Self(i64::MIN);
    /// After all others.
    pub const MAX: Self = Self(i64::MAX);

    /// Now, by the clock of the machine.
    #[must_use]
    pub fn now() -> Self {
        Self(jiff::Timestamp::now().as_millisecond())
    }

    /// The first millisecond that is not before the instant in this text, which may be between two. Whatever has a time to the millisecond
    /// is before the one if it is before the other.
    ///
    /// # Errors
    /// When the text is no instant.
    pub fn not_before(text: &str) -> Result<Self, NotAnInstant> {
        let (instant, is_exact) = parse(text)?;
        Ok(if is_exact { instant } else { instant.later(Duration::from_millis(1)).min(LAST) })
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn from_milliseconds(milliseconds: i64) -> Self {
        Self(milliseconds)
    }

    /// So much later.
    #[must_use]
    pub fn later(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// So much earlier.
    #[must_use]
    pub fn earlier(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn milliseconds(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => write!(f, "{instant:.3}"),
            // The last day of the year 9999.
            Err(_out_of_range) => {
                let date_time =
                    EPOCH.checked_add(SignedDuration::from_millis(self.0)).map_err(|_no_year| fmt::Error)?;
                write!(f, "{date_time:.3}Z")
            }
        }
    }
}

impl FromStr for Timestamp {
    type Err = NotAnInstant;

    /// The last millisecond that is not after the instant in this text.
    fn from_str(text: &str) -> Result<Self, NotAnInstant> {
        Ok(parse(text)?.0)
    }
}

/// What RFC 3339 has (<https://www.rfc-editor.org/rfc/rfc3339#section-5.6>), and no other form of ISO 8601: to the millisecond, and whether
/// that is all of it.
fn parse(text: &str) -> Result<(Timestamp, bool), NotAnInstant> {
    let (date_time, rest) = text.split_at_checked("2026-01-31T12:00:00".len()).ok_or(NotAnInstant)?;
    let separators = [4, 7, 10, 13, 16].map(|place| date_time.as_bytes().get(place).map(u8::to_ascii_uppercase));
    let date_time: DateTime = date_time.parse().map_err(|_why| NotAnInstant)?;
    let (digits, offset) = match rest.strip_prefix('.') {
        Some(fraction) => {
            let end = fraction.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0).ok_or(NotAnInstant)?;
            fraction.split_at(end)
        }
        None => ("", rest),
    };
    let milliseconds: i64 = format!("{digits:0<3.3}").parse().map_err(|_no_digits| NotAnInstant)?;
    let is_exact = digits.bytes().skip(3).all(|digit| digit == b'0');
    let local = i64::try_from(date_time.duration_since(EPOCH).as_millis()).map_err(|_too_far| NotAnInstant)?;
    let instant = Timestamp(local + milliseconds - offset_milliseconds(offset)?);
    // What has leap seconds is the last minute of a day in UTC.
    let is_leap_second = text.get(17..19) == Some("60");
    let is_second = !is_leap_second || instant.0.rem_euclid(DAY) >= DAY - MINUTE;
    let is_valid = is_second && separators == b"--T::".map(Some) && (FIRST..=LAST).contains(&instant);
    if is_valid { Ok((instant, is_exact)) } else { Err(NotAnInstant) }
}

/// The offset from UTC that a text such as `Z` or `+01:30` stands for.
fn offset_milliseconds(text: &str) -> Result<i64, NotAnInstant> {
    if text.eq_ignore_ascii_case("z") {
        return Ok(0);
    }
    let number = |digits: [u8; 2], limit: i64| {
        let digits = digits.map(|digit| i64::from(digit).wrapping_sub(i64::from(b'0')));
        let [tens, ones] = digits;
        let is_number = digits.iter().all(|digit| (0..10).contains(digit)) && tens * 10 + ones < limit;
        if is_number { Ok(tens * 10 + ones) } else { Err(NotAnInstant) }
    };
    let [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] = *text.as_bytes() else { return Err(NotAnInstant) };
    let minutes = number([h1, h2], 24)? * 60 + number([m1, m2], 60)?;
    Ok(if sign == b'-' { -minutes } else { minutes } * MINUTE)
}

impl<DB: Backend> ToSql<BigInt, DB> for Timestamp
where
    i64: ToSql<BigInt, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.0.to_sql(out)
    }
}

impl<DB: Backend> FromSql<BigInt, DB> for Timestamp
where
    i64: FromSql<BigInt, DB>,
{
    fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
        i64::from_sql(bytes).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_utc_with_milliseconds() {
        let instant: Timestamp = "2026-01-31T13:00:00.12345+01:00".parse().unwrap();
        assert_eq!(instant.to_string(), "2026-01-31T12:00:00.123Z");
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000Z");
        for (text, expected) in [
            ("9999-12-31T23:59:59.999999999999Z", "9999-12-31T23:59:59.999Z"),
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00.000Z"),
            ("2026-01-31t12:00:00.5z", "2026-01-31T12:00:00.500Z"),
            ("2026-01-31T00:00:00-23:59", "2026-01-31T23:59:00.000Z"),
            ("1969-12-31T23:59:59.999-00:00", "1969-12-31T23:59:59.999Z"),
            ("1990-12-31T23:59:60Z", "1990-12-31T23:59:59.000Z"),
            ("1990-12-31T15:59:60.5-08:00", "1990-12-31T23:59:59.500Z"),
        ] {
            let instant: Timestamp = text.parse().unwrap();
            assert_eq!(instant.to_string(), expected, "{text}");
        }
        for (text, expected) in [
            ("2026-01-31T12:00:00.123Z", "2026-01-31T12:00:00.123Z"),
            ("2026-01-31T12:00:00.123000Z", "2026-01-31T12:00:00.123Z"),
            ("2026-01-31T13:00:00.1230001+01:00", "2026-01-31T12:00:00.124Z"),
            ("2026-01-31T23:59:59.9999Z", "2026-02-01T00:00:00.000Z"),
            ("9999-12-31T23:59:59.9999Z", "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp::not_before(text).unwrap().to_string(), expected, "{text}");
        }
        for text in [
            "",
            "yesterday",
            "2026-01-31",
            "2026-01-31T12:00:00",
            "2026-01-31T12:00Z",
            "2026-01-31T12:00:00.Z",
            "2026-01-31T12:00:00,5Z",
            "2026-01-31T12:00:00+25:00",
            "2026-01-31T12:00:00+01:60",
            "2026-01-31T12:00:00+0100",
            "2026-01-31T12:00:00+01",
            "2026-01-31T12:00:00Z[UTC]",
            "2026-02-29T12:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T12:00:61Z",
            "2026-01-01T00:00:60Z",
            "2026-01-31T23:59:60+01:00",
            "2026-01-31 12:00:00Z",
            "20260131T120000.000Z",
            "-000001-01-01T00:00:00Z",
            "0000-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "2026-01-31T12:00:0\u{661}Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }
}
