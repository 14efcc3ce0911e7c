//! The headers `Accept` and `Accept-Encoding`, weighed as RFC 9110, 12.5.1 and 12.5.3, says.

use std::cmp::Reverse;

use axum::http::{HeaderMap, header};
use mime::Mime;

/// The media ranges that a client accepts.
pub(super) struct Accepted(Vec<Range>);

struct Range {
    media: Mime,
    /// In thousandths.
    quality: u16,
}

/// How much a client wants a media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Weight {
    /// In thousandths; 0 is not at all.
    quality: u16,
    /// How exactly it is named: of two types of the same quality the one that is named is meant.
    precision: Precision,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Precision {
    Any,
    Type,
    Exact,
}

impl Weight {
    const NONE: Self = Self { quality: 0, precision: Precision::Any };

    /// Whether the client accepts it.
    pub(super) fn is_accepted(self) -> bool {
        self.quality > 0
    }

    /// Whether the client accepts it and names it, and not only something like `*/*`.
    pub(super) fn is_named(self) -> bool {
        self.is_accepted() && self.precision == Precision::Exact
    }
}

impl Accepted {
    /// What the header says. Without one, or if nothing in it can be read, anything is accepted.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let ranges = values.flat_map(|value| value.split(',')).filter_map(|range| range.trim().parse::<Mime>().ok());
        let mut ranges: Vec<_> =
            ranges.map(|media| Range { quality: quality(media.get_param("q").map(|q| q.as_str())), media }).collect();
        if ranges.is_empty() {
            ranges.push(Range { media: mime::STAR_STAR, quality: 1_000 });
        }
        Self(ranges)
    }

    /// How much a media type is wanted. Only the most precise range counts: `*/*` does not bring back what is excluded by name.
    pub(super) fn weight(&self, media_type: &str) -> Weight {
        let matching = self.0.iter().filter_map(|range| Some((range.precision(media_type)?, range)));
        // Of those that are as precise, the first one.
        let best = matching.min_by_key(|(precision, _)| Reverse(*precision));
        best.map_or(Weight::NONE, |(precision, range)| Weight { quality: range.quality, precision })
    }
}

impl Range {
    /// `None` if the media type is not in the range. Parameters are not compared: each answer has one form only.
    fn precision(&self, media_type: &str) -> Option<Precision> {
        let (kind, _) = media_type.split_once('/')?;
        if self.media.essence_str() == media_type {
            Some(Precision::Exact)
        } else if self.media.subtype() != mime::STAR {
            None
        } else if self.media.type_() == kind {
            Some(Precision::Type)
        } else {
            (self.media.type_() == mime::STAR).then_some(Precision::Any)
        }
    }
}

/// Whether gzip is an accepted coding: by its name, or by `*` if it is not named.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let codings = values.flat_map(|value| value.split(',')).map(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
        (name.trim().to_ascii_lowercase(), quality(weight.map(|(_, weight)| weight.trim())))
    });
    let gzip = codings.filter(|(name, _)| ["gzip", "x-gzip", "*"].contains(&name.as_str()));
    gzip.min_by_key(|(name, _)| name == "*").is_some_and(|(_, quality)| quality > 0)
}

/// A weight in thousandths; 1,000 without one.
fn quality(weight: Option<&str>) -> u16 {
    let Some(weight) = weight else { return 1_000 };
    let (whole, thousandths) = weight.split_once('.').unwrap_or((weight, ""));
    if whole == "1" { 1_000 } else { format!("{thousandths:0<3.3}").parse().unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_most_precise_range_decides() {
        let mut headers = HeaderMap::new();
        headers.append(header::ACCEPT, "text/*;q=0.3, Text/HTML;q=0.7, text/plain; charset=utf-8;q=0".parse().unwrap());
        headers.append(header::ACCEPT, "nonsense, */*;q=.5, text/html;q=1".parse().unwrap());
        let accepted = Accepted::of(&headers);
        for (media_type, quality, precision) in [
            ("text/html", 700, Precision::Exact),
            ("text/css", 300, Precision::Type),
            ("image/png", 500, Precision::Any),
            ("text/plain", 0, Precision::Exact),
        ] {
            assert_eq!(accepted.weight(media_type), Weight { quality, precision }, "{media_type}");
        }
    }

    #[test]
    fn gzip_is_accepted_where_it_is_named_or_anything_is_and_not_where_it_is_refused() {
        for (value, expected) in [
            ("gzip", true),
            ("br, GZIP;q=0.1", true),
            ("*", true),
            ("br, *;q=0.5", true),
            ("x-gzip", true),
            ("", false),
            ("br, identity;q=0", false),
            ("gzip;q=0, *", false),
            ("*, gzip; q=0.000", false),
            ("*;q=0", false),
            ("gzip;Q=0", false),
            ("gzip;q=1, *;q=0", true),
            ("notgzip", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]);
            assert_eq!(accepts_gzip(&headers), expected, "{value}");
        }
    }
}
