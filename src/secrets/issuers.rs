//! A third-party issuer whose JWTs are accepted, and its public keys: from a JWKS (RFC 7517) at a URL or in a file, or from
//! a PEM file. Only asymmetric algorithms are accepted, so that whoever can verify a token cannot forge one.

use std::{
    fs,
    sync::{Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use jsonwebtoken::{
    Algorithm, DecodingKey, Header, Validation,
    jwk::{AlgorithmParameters, JwkSet, KeyAlgorithm},
};
use serde::Deserialize;

use crate::model::timestamps::Timestamp;

/// The keys are fetch again when a token names an unknown one, but no more often than this.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_secs(10);
/// The issuer must respond within this time.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// A third party that authenticates users.
pub struct Issuer {
    /// The `iss` of its tokens.
    name: String,
    audience: String,
    provisions_users: bool,
    /// Where the keys are fetch from; `None` for those of a file.
    url: Option<String>,
    http: reqwest::Client,
    keys: RwLock<Vec<PublicKey>>,
    refreshed_at: Mutex<Option<Instant>>,
}

struct PublicKey {
    id: Option<String>,
    algorithm: Option<KeyAlgorithm>,
    key: DecodingKey,
}

/// The issuer cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the keys of the issuer, {0}: {1}")]
pub struct BadIssuer(String, String);

/// The claims of a token of an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerClaims {
    /// The issuer's id of the user (`sub`).
    pub subject: String,
    /// The display name, if there is one.
    pub name: Option<String>,
    /// When the token expires.
    pub expires_at: Timestamp,
}

#[derive(Deserialize)]
struct IssuerJwt {
    sub: String,
    exp: i64,
    #[serde(default)]
    nbf: Option<i64>,
    #[serde(default)]
    name: Option<String>,
}

impl Issuer {
    /// Opens an issuer with its current keys.
    ///
    /// # Errors
    /// When the keys cannot be read, or there are none.
    pub async fn open(name: String, audience: String, keys: String, provisions_users: bool) -> Result<Self, BadIssuer> {
        let failed = |why: String| BadIssuer(keys.clone(), why);
        let http =
            reqwest::Client::builder().timeout(FETCH_TIMEOUT).redirect(reqwest::redirect::Policy::none()).build();
        let http = http.map_err(|error| failed(error.to_string()))?;
        let is_url = keys.starts_with("https://") || keys.starts_with("http://");
        let text =
            if is_url { fetch(&http, &keys).await } else { fs::read_to_string(&keys).map_err(|e| e.to_string()) };
        let found = text.and_then(|text| parse(&text)).map_err(failed)?;
        let url = is_url.then_some(keys);
        Ok(Self {
            name,
            audience,
            provisions_users,
            url,
            http,
            keys: RwLock::new(found),
            refreshed_at: Mutex::default(),
        })
    }

    /// The `iss` of its tokens.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether an account is created for a new subject.
    #[must_use]
    pub fn provisions_users(&self) -> bool {
        self.provisions_users
    }

    /// The claims of a token, if its signature, issuer and audience are right and it has not expired.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Option<IssuerClaims> {
        let header = jsonwebtoken::decode_header(token).ok().filter(|header| ALGORITHMS.contains(&header.alg))?;
        if !self.has_key_for(&header) {
            self.refresh().await;
        }
        let claims = self.decode(token, &header)?;
        let seconds = now.milliseconds() / 1_000;
        let expires_at = Timestamp::from_milliseconds(claims.exp.checked_mul(1_000)?);
        let is_valid = now < expires_at && claims.nbf.is_none_or(|from| from <= seconds) && !claims.sub.is_empty();
        is_valid.then_some(IssuerClaims { subject: claims.sub, name: claims.name, expires_at })
    }

    fn has_key_for(&self, header: &Header) -> bool {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.iter().any(|key| key.matches(header, keys.len()))
    }

    fn decode(&self, token: &str, header: &Header) -> Option<IssuerJwt> {
        let mut rules = Validation::new(header.alg);
        rules.set_issuer(&[&self.name]);
        rules.set_audience(&[&self.audience]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Checked by the clock of the application.
        rules.validate_exp = false;
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let mut matching = keys.iter().filter(|key| key.matches(header, keys.len()));
        matching.find_map(|key| Some(jsonwebtoken::decode::<IssuerJwt>(token, &key.key, &rules).ok()?.claims))
    }

    /// Fetches the keys again. The current ones stay if that fails.
    async fn refresh(&self) {
        let Some(url) = &self.url else { return };
        {
            let mut refreshed_at = self.refreshed_at.lock().unwrap_or_else(PoisonError::into_inner);
            if refreshed_at.is_some_and(|at| at.elapsed() < MIN_REFRESH_INTERVAL) {
                return;
            }
            *refreshed_at = Some(Instant::now());
        }
        match fetch(&self.http, url).await.and_then(|text| parse(&text)) {
            Ok(found) => *self.keys.write().unwrap_or_else(PoisonError::into_inner) = found,
            Err(error) => tracing::warn!(%error, "the issuer's keys could not be read"),
        }
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

async fn fetch(http: &reqwest::Client, url: &str) -> Result<String, String> {
    let response = http.get(url).send().await.and_then(reqwest::Response::error_for_status);
    let text = match response {
        Ok(response) => response.text().await,
        Err(error) => Err(error),
    };
    text.map_err(|error| error.to_string())
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
    let public = set.keys.iter().filter(|key| !matches!(key.algorithm, AlgorithmParameters::OctetKey(_)));
    let keys: Vec<PublicKey> = public
        .filter_map(|jwk| {
            let (id, algorithm) = (jwk.common.key_id.clone(), jwk.common.key_algorithm);
            Some(PublicKey { id, algorithm, key: DecodingKey::from_jwk(jwk).ok()? })
        })
        .collect();
    if keys.is_empty() { Err("there is no public key in it that can be used".to_owned()) } else { Ok(keys) }
}
