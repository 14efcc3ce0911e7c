//! Requests as clients send them: <https://graphql.github.io/graphql-over-http/draft/#sec-Request-Parameters>.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// A request.
#[derive(Clone, Deserialize)]
#[serde(try_from = "Parameters")]
pub struct Request {
    /// The document; only one that has a hash may be left out.
    pub query: Option<String>,
    /// The name of the document in the protocol of persisted queries, or what is wrong with it.
    pub hash: Option<Result<String, &'static str>>,
    /// Which of its operations is meant, if it has several.
    pub operation_name: Option<String>,
    /// Values of the operation's variables.
    pub variables: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with `query`")]
struct Parameters {
    query: Option<String>,
    operation_name: Option<String>,
    #[serde(default, deserialize_with = "map_or_null")]
    variables: Map<String, Value>,
    #[serde(default, deserialize_with = "map_or_null")]
    extensions: Map<String, Value>,
}

impl TryFrom<Parameters> for Request {
    type Error = &'static str;

    fn try_from(sent: Parameters) -> Result<Self, &'static str> {
        let Parameters { query, operation_name, variables, extensions } = sent;
        let hash = extensions.get("persistedQuery").filter(|persisted| !persisted.is_null()).map(hash_of);
        if query.is_none() && hash.is_none() {
            return Err("missing field `query`");
        }
        // Some clients send an empty one where there is none.
        let operation_name = operation_name.filter(|name| !name.is_empty());
        Ok(Self { query, hash, operation_name, variables })
    }
}

fn map_or_null<'de, D: Deserializer<'de>>(value: D) -> Result<Map<String, Value>, D::Error> {
    Option::deserialize(value).map(Option::unwrap_or_default)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PersistedQuery {
    version: u32,
    sha256_hash: String,
}

/// The hash that `extensions.persistedQuery` of a request has.
fn hash_of(persisted: &Value) -> Result<String, &'static str> {
    match PersistedQuery::deserialize(persisted) {
        Ok(PersistedQuery { version: 1, sha256_hash }) => Ok(sha256_hash),
        Ok(_) | Err(_) => Err("`persistedQuery` must have `version` 1 and `sha256Hash`."),
    }
}
