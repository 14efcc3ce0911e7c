//! A third-party issuer whose JWTs (RFC 7519) are accepted. Only asymmetric algorithms are, so that whoever can verify a token
//! cannot forge one.

use std::{sync::Arc, time::Duration};

use jsonwebtoken::{Algorithm, Header, Validation};
use serde::Deserialize;

use super::jwks::{KeySet, PublicKeys};
use crate::model::timestamps::Timestamp;

/// The longest subject, in bytes (OpenID Connect Core 1.0, 2).
const MAX_SUBJECT_BYTES: usize = 255;
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

/// How an issuer is known.
pub struct IssuerSettings {
    /// The `iss` of its tokens.
    pub name: String,
    /// The `aud` of its tokens.
    pub audience: String,
    /// The URL or the file of its public keys.
    pub keys: String,
    /// Whether an account is created for a new subject.
    pub provisions_users: bool,
    /// How far its clock may be from the clock here.
    pub clock_skew: Duration,
}

/// A third party that authenticates users.
pub struct Issuer {
    settings: IssuerSettings,
    keys: Arc<PublicKeys>,
}

/// The issuer cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the keys of the issuer, {0}: {1}")]
pub struct BadIssuer(String, String);

/// The URL or the file without a user and a password, which may be in a URL.
fn without_user(place: &str) -> String {
    match place.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_user, rest)| rest)),
        None => place.to_owned(),
    }
}

/// The claims of a token of an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerClaims {
    /// The issuer's id of the user (`sub`): 1 to 255 bytes without a NUL.
    pub subject: String,
    /// The display name, if there is one.
    pub name: Option<String>,
    /// When the token is not accepted any more: when it expires, and the clock skew.
    pub expires_at: Timestamp,
}

/// Instants are seconds since 1970, and may have a fraction (RFC 7519, 2: NumericDate).
#[derive(Deserialize)]
struct IssuerJwt {
    sub: String,
    exp: f64,
    #[serde(default)]
    nbf: Option<f64>,
    #[serde(default)]
    iat: Option<f64>,
    #[serde(default)]
    name: Option<String>,
}

impl Issuer {
    /// Opens an issuer with its current keys.
    ///
    /// # Errors
    /// When the keys cannot be read, or there are none.
    pub async fn open(settings: IssuerSettings, now: Timestamp) -> Result<Self, BadIssuer> {
        match PublicKeys::open(&settings.keys, now).await {
            Ok(keys) => Ok(Self { settings, keys: Arc::new(keys) }),
            Err(why) => Err(BadIssuer(without_user(&settings.keys), why)),
        }
    }

    /// The `iss` of its tokens.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Whether an account is created for a new subject.
    #[must_use]
    pub fn provisions_users(&self) -> bool {
        self.settings.provisions_users
    }

    /// The claims of a token, if its signature, issuer, audience and subject are right, and it is valid now.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Option<IssuerClaims> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        // No extension of JWS is understood here (RFC 7515, 4.1.11).
        if !ALGORITHMS.contains(&header.alg) || header.crit.is_some() {
            return None;
        }
        let keys = self.keys.for_token(&header, now).await?;
        let IssuerJwt { sub: subject, exp, nbf, iat, name } = self.decode(token, &header, &keys)?;
        let skew = self.settings.clock_skew;
        let expires_at = instant(exp)?.later(skew);
        // Before 1970 there is no instant, and nothing that begins then is still to begin.
        for begin in [nbf, iat].into_iter().flatten().filter(|begin| *begin > 0.0) {
            if now.later(skew) < instant(begin)? {
                return None;
            }
        }
        let is_valid = now < expires_at && (1..=MAX_SUBJECT_BYTES).contains(&subject.len()) && !subject.contains('\0');
        is_valid.then_some(IssuerClaims { subject, name, expires_at })
    }

    fn decode(&self, token: &str, header: &Header, keys: &KeySet) -> Option<IssuerJwt> {
        let mut rules = Validation::new(header.alg);
        rules.set_issuer(&[&self.settings.name]);
        rules.set_audience(&[&self.settings.audience]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Checked by the clock of the application.
        rules.validate_exp = false;
        keys.matching(header).find_map(|key| Some(jsonwebtoken::decode::<IssuerJwt>(token, key, &rules).ok()?.claims))
    }
}

/// The instant of a NumericDate; `None` before 1970.
fn instant(seconds: f64) -> Option<Timestamp> {
    Some(Timestamp::from_milliseconds(0).later(Duration::try_from_secs_f64(seconds).ok()?))
}
