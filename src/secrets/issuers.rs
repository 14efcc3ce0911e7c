//! Tokens of others: an issuer whose JWTs are accepted, and its public keys, from a JWKS (RFC 7517) at a URL or in a file,
//! or from a PEM file. Only signatures with public keys are: nobody who can check a token could make one.

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

/// A key that is not known is looked for at the issuer, but no more often than this.
const REFRESH: Duration = Duration::from_secs(10);
/// The issuer must answer in this time.
const PATIENCE: Duration = Duration::from_secs(5);
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

/// Somebody else who says who people are.
pub struct Issuer {
    /// What it calls itself.
    name: String,
    audience: String,
    makes_users: bool,
    /// Where the keys come from, if they may change.
    url: Option<String>,
    http: reqwest::Client,
    keys: RwLock<Vec<PublicKey>>,
    looked: Mutex<Option<Instant>>,
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

/// What a token of an issuer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// By which the issuer knows the person.
    pub subject: String,
    /// What they are called, if it says so.
    pub name: Option<String>,
    /// Until when it holds.
    pub expires_at: Timestamp,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: i64,
    #[serde(default)]
    nbf: Option<i64>,
    #[serde(default)]
    name: Option<String>,
}

impl Issuer {
    /// Reads the keys for the first time.
    ///
    /// # Errors
    /// When there are none.
    pub async fn open(name: String, audience: String, keys: String, makes_users: bool) -> Result<Self, BadIssuer> {
        let failed = |why: String| BadIssuer(keys.clone(), why);
        let http = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build();
        let http = http.map_err(|error| failed(error.to_string()))?;
        let is_url = keys.starts_with("https://") || keys.starts_with("http://");
        let text =
            if is_url { fetched(&http, &keys).await } else { fs::read_to_string(&keys).map_err(|e| e.to_string()) };
        let found = text.and_then(|text| parsed(&text)).map_err(failed)?;
        let url = is_url.then_some(keys);
        Ok(Self { name, audience, makes_users, url, http, keys: RwLock::new(found), looked: Mutex::default() })
    }

    /// What it calls itself in its tokens.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether somebody whom it means for the first time gets an account.
    #[must_use]
    pub fn makes_users(&self) -> bool {
        self.makes_users
    }

    /// What a token says, if it is the issuer's, for this server, and holds.
    pub async fn statement(&self, token: &str, now: Timestamp) -> Option<Statement> {
        let header = jsonwebtoken::decode_header(token).ok().filter(|header| ALGORITHMS.contains(&header.alg))?;
        if !self.knows(&header) {
            self.refresh().await;
        }
        let claims = self.checked(token, &header)?;
        let seconds = now.milliseconds() / 1_000;
        let expires_at = Timestamp::from_milliseconds(claims.exp.checked_mul(1_000)?);
        let holds = now < expires_at && claims.nbf.is_none_or(|from| from <= seconds) && !claims.sub.is_empty();
        holds.then_some(Statement { subject: claims.sub, name: claims.name, expires_at })
    }

    fn knows(&self, header: &Header) -> bool {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.iter().any(|key| key.fits(header, keys.len()))
    }

    fn checked(&self, token: &str, header: &Header) -> Option<Claims> {
        let mut rules = Validation::new(header.alg);
        rules.set_issuer(&[&self.name]);
        rules.set_audience(&[&self.audience]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // By the clock of the application.
        rules.validate_exp = false;
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let mut fitting = keys.iter().filter(|key| key.fits(header, keys.len()));
        fitting.find_map(|key| Some(jsonwebtoken::decode::<Claims>(token, &key.key, &rules).ok()?.claims))
    }

    /// Looks for new keys. Those that are known stay if there is no answer.
    async fn refresh(&self) {
        let Some(url) = &self.url else { return };
        {
            let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            if looked.is_some_and(|at| at.elapsed() < REFRESH) {
                return;
            }
            *looked = Some(Instant::now());
        }
        match fetched(&self.http, url).await.and_then(|text| parsed(&text)) {
            Ok(found) => *self.keys.write().unwrap_or_else(PoisonError::into_inner) = found,
            Err(error) => tracing::warn!(%error, "the issuer's keys could not be read"),
        }
    }
}

impl PublicKey {
    /// A token that names no key fits the only one there is.
    fn fits(&self, header: &Header, keys: usize) -> bool {
        let named = match (&header.kid, &self.id) {
            (Some(wanted), Some(id)) => wanted == id,
            (Some(_), None) | (None, _) => keys == 1,
        };
        named
            && self.algorithm.is_none_or(|algorithm| algorithm == header.alg.into())
            && self.key.family() == header.alg.family()
    }
}

async fn fetched(http: &reqwest::Client, url: &str) -> Result<String, String> {
    let response = http.get(url).send().await.and_then(reqwest::Response::error_for_status);
    let text = match response {
        Ok(response) => response.text().await,
        Err(error) => Err(error),
    };
    text.map_err(|error| error.to_string())
}

/// The public keys in a JWKS or a PEM file; those that are of no use here are passed over.
fn parsed(text: &str) -> Result<Vec<PublicKey>, String> {
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
