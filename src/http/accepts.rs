//! The header `Accept`, weighed as RFC 9110, 12.5.1, says.

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
        let mut ranges: Vec<_> = ranges.map(|media| Range { quality: quality(&media), media }).collect();
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

fn quality(range: &Mime) -> u16 {
    let Some(quality) = range.get_param("q") else { return 1_000 };
    let (whole, thousandths) = quality.as_str().split_once('.').unwrap_or((quality.as_str(), ""));
    if whole == "1" { 1_000 } else { format!("{thousandths:0<3.3}").parse().unwrap_or(0) }
}

#[cfg(test)]
mod tests {
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
}
