//! The public keys of an issuer: from a JWKS (RFC 7517) at a URL, which is read again as it gets old, or from a file, which is
//! read once: a JWKS, or one key as PEM.

use std::{error::Error, fs, iter::successors, sync::Arc, time::Duration};

use jsonwebtoken::{
    DecodingKey, Header,
    jwk::{AlgorithmParameters, CommonParameters, Jwk, JwkSet, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use parking_lot::RwLock;
use reqwest::{Response, header};

use crate::model::timestamps::Timestamp;

/// Keys are read again after this time, or earlier if their `Cache-Control` says so.
const MAX_AGE: Duration = Duration::from_mins(10);
/// But no more often than this, whatever `Cache-Control` and tokens with unknown keys say.
const MIN_INTERVAL: Duration = Duration::from_secs(10);
/// While they cannot be read again, keys are used for this time after they were read.
const MAX_STALENESS: Duration = Duration::from_hours(1);
/// The whole response must have arrived within this time.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// The response may have this many bytes.
const MAX_BYTES: usize = 1 << 20;

/// The public keys of an issuer.
pub(super) struct PublicKeys {
    /// Where they are read again; `None` for those of a file.
    source: Option<Source>,
    latest: RwLock<Latest>,
    /// Held while they are read again.
    refreshing: tokio::sync::Mutex<()>,
}

struct Source {
    url: String,
    http: reqwest::Client,
}

/// The keys in use, and when the last attempt to read them again began.
#[derive(Clone)]
struct Latest {
    keys: Arc<KeySet>,
    attempted_at: Option<Timestamp>,
}

/// Keys that were read together.
pub(super) struct KeySet {
    keys: Vec<PublicKey>,
    read_at: Timestamp,
    max_age: Duration,
}

struct PublicKey {
    id: Option<String>,
    algorithm: Option<KeyAlgorithm>,
    key: DecodingKey,
}

impl PublicKeys {
    /// Reads the keys from a URL or a file.
    ///
    /// # Errors
    /// Why they cannot be read, or that there are none.
    pub(super) async fn open(place: &str, now: Timestamp) -> Result<Self, String> {
        let (source, keys) = if place.starts_with("https://") || place.starts_with("http://") {
            let source = Source::new(place)?;
            let keys = source.read(now).await?;
            (Some(source), keys)
        } else {
            let text = fs::read_to_string(place).map_err(|error| error.to_string())?;
            (None, KeySet { keys: parse(&text)?, read_at: now, max_age: Duration::MAX })
        };
        if keys.keys.is_empty() {
            return Err("there is no public key in it that can be used".to_owned());
        }
        let latest = Latest { keys: Arc::new(keys), attempted_at: None };
        Ok(Self { source, latest: RwLock::new(latest), refreshing: tokio::sync::Mutex::default() })
    }

    /// The keys to verify a token with this header. They are read again if they are old, or if the token names another one.
    /// `None` if they could not be read again for an hour.
    pub(super) async fn for_token(self: &Arc<Self>, header: &Header, now: Timestamp) -> Option<Arc<KeySet>> {
        let Latest { keys, attempted_at } = self.latest();
        if self.source.is_none() {
            return Some(keys);
        }
        let is_known = keys.matching(header).next().is_some();
        if is_known && is_within(keys.max_age, keys.read_at, now) {
            return Some(keys);
        }
        let is_usable = |keys: &Arc<KeySet>| is_within(MAX_STALENESS, keys.read_at, now);
        if !attempted_at.is_some_and(|attempted_at| is_within(MIN_INTERVAL, attempted_at, now)) {
            // In a task of its own: whoever asked may leave or stall before it is done, and others wait for it.
            let refresh = tokio::spawn(self.clone().refresh(now));
            let has_failed = attempted_at.is_some_and(|attempted_at| attempted_at != keys.read_at);
            if has_failed && is_known && is_usable(&keys) {
                // While the issuer does not answer, not everybody waits for each attempt.
                return Some(keys);
            }
            let _ = refresh.await;
        }
        Some(self.latest().keys).filter(is_usable)
    }

    /// Reads the keys again, unless somebody else has just tried.
    async fn refresh(self: Arc<Self>, now: Timestamp) {
        let _refreshing = self.refreshing.lock().await;
        let attempted_at = self.latest().attempted_at;
        let Some(source) = &self.source else { return };
        if attempted_at.is_some_and(|attempted_at| is_within(MIN_INTERVAL, attempted_at, now)) {
            return;
        }
        let read = source.read(now).await;
        let mut latest = self.latest.write();
        latest.attempted_at = Some(now);
        match read {
            Ok(keys) => {
                if keys.keys.is_empty() {
                    tracing::warn!("the issuer has no public key any more that can be used: its tokens are refused");
                }
                latest.keys = Arc::new(keys);
            }
            Err(error) => tracing::warn!(%error, "the issuer's keys could not be read again"),
        }
    }

    fn latest(&self) -> Latest {
        self.latest.read().clone()
    }
}

impl KeySet {
    /// The keys that may have signed a token with this header.
    pub(super) fn matching<'a>(&'a self, header: &'a Header) -> impl Iterator<Item = &'a DecodingKey> {
        self.keys.iter().filter(|key| key.matches(header, self.keys.len())).map(|key| &key.key)
    }
}

impl PublicKey {
    /// A token that names no key matches the only one there is.
    fn matches(&self, header: &Header, keys: usize) -> bool {
        let named = match (&header.kid, &self.id) {
            (Some(wanted), Some(id)) => wanted == id,
            (Some(_), None) | (None, _) => keys == 1,
        };
        named
            && self.algorithm.is_none_or(|algorithm| algorithm == header.alg.into())
            && self.key.family() == header.alg.family()
    }
}

impl Source {
    fn new(url: &str) -> Result<Self, String> {
        let parsed: reqwest::Url = url.parse().map_err(|error| format!("it is no URL: {error}"))?;
        if parsed.scheme() == "http" && !matches!(parsed.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")) {
            tracing::warn!("--jwks is read over http: who can change it on the way can sign in as anybody. Use https");
        }
        let http = reqwest::Client::builder().timeout(FETCH_TIMEOUT).redirect(reqwest::redirect::Policy::none());
        Ok(Self { url: url.to_owned(), http: http.build().map_err(|error| error.to_string())? })
    }

    /// Reads the JWKS, if it comes in time and is not too long.
    async fn read(&self, now: Timestamp) -> Result<KeySet, String> {
        let response = self.http.get(&self.url).send().await.and_then(Response::error_for_status);
        let mut response = response.map_err(explain)?;
        let max_age = max_age(&response);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(explain)? {
            if body.len() + chunk.len() > MAX_BYTES {
                return Err(format!("it is longer than {MAX_BYTES} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        let text = String::from_utf8(body).map_err(|error| format!("this is no JWKS: {error}"))?;
        Ok(KeySet { keys: parse(&text)?, read_at: now, max_age })
    }
}

/// Why there is no response, with its causes. The URL is left out: there may be a password in it.
fn explain(error: reqwest::Error) -> String {
    let error = error.without_url();
    successors(error.source(), |cause| (*cause).source())
        .fold(error.to_string(), |why, cause| format!("{why}: {cause}"))
}

/// How long a response is fresh (RFC 9111, 5.2.2), and ten minutes at most.
fn max_age(response: &Response) -> Duration {
    let values = response.headers().get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let ages = values.flat_map(|value| value.split(',')).filter_map(|directive| {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match &*name.trim().to_ascii_lowercase() {
            "max-age" => value.trim().trim_matches('"').parse().ok().map(Duration::from_secs),
            "no-cache" | "no-store" => Some(Duration::ZERO),
            _ => None,
        }
    });
    ages.min().unwrap_or(MAX_AGE).min(MAX_AGE)
}

/// Whether two instants are less than this apart. Either may be the earlier one: clocks can be set back.
fn is_within(duration: Duration, one: Timestamp, other: Timestamp) -> bool {
    u128::from(one.milliseconds().abs_diff(other.milliseconds())) < duration.as_millis()
}

/// Whether a key is meant for signatures, by its `use` and `key_ops` (RFC 7517, 4.2 and 4.3).
fn is_to_verify(key: &CommonParameters) -> bool {
    key.public_key_use.as_ref().is_none_or(|its| *its != PublicKeyUse::Encryption)
        && key.key_operations.as_ref().is_none_or(|its| its.contains(&KeyOperations::Verify))
}

/// The public keys in a JWKS or a PEM file; those of other kinds are skipped.
fn parse(text: &str) -> Result<Vec<PublicKey>, String> {
    if text.contains("-----BEGIN") {
        let bytes = text.as_bytes();
        let key = DecodingKey::from_ed_pem(bytes)
            .or_else(|_other| DecodingKey::from_ec_pem(bytes))
            .or_else(|_other| DecodingKey::from_rsa_pem(bytes));
        let key = key.map_err(|error| format!("this is no public key: {error}"))?;
        return Ok(vec![PublicKey { id: None, algorithm: None, key }]);
    }
    let set: JwkSet = serde_json::from_str(text).map_err(|error| format!("this is no JWKS: {error}"))?;
    let is_public =
        |key: &&Jwk| !matches!(key.algorithm, AlgorithmParameters::OctetKey(_)) && is_to_verify(&key.common);
    let keys = set.keys.iter().filter(is_public).filter_map(|jwk| {
        let (id, algorithm) = (jwk.common.key_id.clone(), jwk.common.key_algorithm);
        Some(PublicKey { id, algorithm, key: DecodingKey::from_jwk(jwk).ok()? })
    });
    Ok(keys.collect())
}
