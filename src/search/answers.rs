//! What endpoints of embeddings answer: vectors, in the order of `index` or, without it, of the texts; or a message, which some
//! put elsewhere.

use serde::Deserialize;
use serde_json::Value;

use super::errors::EmbedError;

#[derive(Deserialize)]
struct Answer {
    data: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    index: Option<usize>,
    embedding: Vec<f32>,
}

/// The numbers of the vector of each text, in the order of the texts.
///
/// # Errors
/// It is something else, such as half of it: [`EmbedError::Temporary`]; or not one vector for each text.
pub(super) fn numbers(body: &[u8], texts: usize) -> Result<Vec<Vec<f32>>, EmbedError> {
    let answer: Answer = serde_json::from_slice(body).map_err(|error| {
        if error.is_eof() {
            return EmbedError::temporary("the endpoint's answer ends in the middle");
        }
        EmbedError::refused(format!(
            "the endpoint's answer has another form (line {}, column {})",
            error.line(),
            error.column()
        ))
    })?;
    let given = answer.data.len();
    let mut vectors = vec![None; texts];
    for (position, item) in answer.data.into_iter().enumerate() {
        if let Some(place) = vectors.get_mut(item.index.unwrap_or(position)) {
            *place = Some(item.embedding);
        }
    }
    let all = vectors.into_iter().collect::<Option<Vec<_>>>().filter(|_| given == texts);
    all.ok_or_else(|| {
        EmbedError::refused(format!("the endpoint gave {given} vectors for {texts} texts, or the same twice"))
    })
}

/// What the answer says about an error: `error.message`, `message` or `error`.
pub(super) fn message(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let places = ["/error/message", "/message", "/error", "/detail"];
    places.iter().find_map(|place| answer.pointer(place)?.as_str().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::{EmbedError, message, numbers};

    #[test]
    fn vectors_are_in_the_order_of_their_texts() {
        let shuffled = br#"{ "data": [{ "index": 1, "embedding": [2] }, { "index": 0, "embedding": [1.5, 1e-3] }] }"#;
        assert_eq!(numbers(shuffled, 2), Ok(vec![vec![1.5, 0.001], vec![2.0]]));
        let plain = br#"{ "object": "list", "data": [{ "embedding": [1] }, { "embedding": [2] }] }"#;
        assert_eq!(numbers(plain, 2), Ok(vec![vec![1.0], vec![2.0]]));
    }

    #[test]
    fn another_number_of_vectors_is_refused() {
        let twice = br#"{ "data": [{ "index": 0, "embedding": [2] }, { "index": 0, "embedding": [1] }] }"#;
        let (one, nan) =
            (br#"{ "data": [{ "index": 0, "embedding": [2] }] }"#, br#"{ "data": [{ "embedding": [NaN] }] }"#);
        for (body, texts) in [(&twice[..], 2), (one, 2), (one, 0), (nan, 1), (b"{ \"data\": 1 }", 1)] {
            assert!(matches!(numbers(body, texts), Err(EmbedError::Refused { .. })));
        }
        assert!(matches!(numbers(br#"{ "data": [{ "embedding": [1, 2"#, 1), Err(EmbedError::Temporary { .. })));
    }

    #[test]
    fn messages_are_found_in_their_places() {
        let bodies = [
            r#"{ "error": { "message": "no", "type": "x" } }"#,
            r#"{ "object": "error", "message": "no" }"#,
            r#"{ "error": "no", "code": 3 }"#,
            r#"{ "detail": "no" }"#,
        ];
        assert!(bodies.iter().all(|body| message(body.as_bytes()).as_deref() == Some("no")));
        assert_eq!(message(b"<html>"), None);
    }
}
