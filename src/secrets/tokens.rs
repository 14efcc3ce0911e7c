//! Tokens: access tokens are JWTs with a user, a session and an expiry; refresh tokens are opaque and signed too, so that
//! a reused one can be told from a forged one; service tokens are random.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::keys::{Keys, SigningKey};
use crate::model::{
    ids::{SessionId, UserId},
    timestamps::Timestamp,
};

/// `iss` and `aud` of access tokens.
const ISSUER: &str = "duologue";
/// The prefix of service tokens, by which scanners can find leaked ones.
const SERVICE_PREFIX: &str = "duo_svc_";
/// The only accepted algorithm, whatever a token's header says.
const ALGORITHM: Algorithm = Algorithm::HS256;

/// The lifetimes of tokens.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// AccessClaims tokens.
    pub access: Duration,
    /// Refresh tokens, and so sessions that are not renewed.
    pub refresh: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self { access: Duration::from_mins(15), refresh: Duration::from_hours(30 * 24) }
    }
}

/// The claims of an access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessClaims {
    /// The user who signed in.
    pub user: UserId,
    /// Their session.
    pub session: SessionId,
    /// When the token expires.
    pub expires_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct AccessJwt {
    iss: String,
    aud: String,
    sub: String,
    sid: String,
    iat: i64,
    exp: i64,
}

/// A token that was just issued. Only its hash is stored.
pub struct NewToken {
    /// The token, for the client.
    pub text: String,
    /// The hash, for the database.
    pub hash: Vec<u8>,
}

impl NewToken {
    fn of(text: String) -> Self {
        Self { hash: digest(&text), text }
    }

    /// A new service token.
    #[must_use]
    pub fn service() -> Self {
        Self::of(format!("{SERVICE_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())))
    }

    /// Whether a token has the form of a service token.
    #[must_use]
    pub fn looks_like_service_token(token: &str) -> bool {
        token.starts_with(SERVICE_PREFIX)
    }
}

/// The stored hash of a token: SHA-256 is enough, because tokens are random.
#[must_use]
pub fn digest(text: &str) -> Vec<u8> {
    Sha256::digest(text).to_vec()
}

impl Keys {
    /// Signs an access token; its expiry is in whole seconds.
    #[must_use]
    pub fn sign_access_token(&self, claims: AccessClaims, now: Timestamp) -> Option<String> {
        let key = self.signing()?;
        let jwt = AccessJwt {
            iss: ISSUER.into(),
            aud: ISSUER.into(),
            sub: claims.user.to_string(),
            sid: claims.session.to_string(),
            iat: now.milliseconds() / 1_000,
            exp: claims.expires_at.milliseconds() / 1_000,
        };
        let header = Header { kid: Some(key.id.clone()), ..Header::new(ALGORITHM) };
        jsonwebtoken::encode(&header, &jwt, &EncodingKey::from_secret(&key.secret)).ok()
    }

    /// The claims of an access token, if one of the keys signed it and it has not expired.
    #[must_use]
    pub fn verify_access_token(&self, token: &str, now: Timestamp) -> Option<AccessClaims> {
        let kid = jsonwebtoken::decode_header(token).ok()?.kid?;
        let key = self.all().iter().find(|key| key.id == kid)?;
        let mut rules = Validation::new(ALGORITHM);
        rules.set_issuer(&[ISSUER]);
        rules.set_audience(&[ISSUER]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Checked below, by the clock of the application.
        rules.validate_exp = false;
        let key = DecodingKey::from_secret(&key.secret);
        let jwt = jsonwebtoken::decode::<AccessJwt>(token, &key, &rules).ok()?.claims;
        let expires_at = Timestamp::from_milliseconds(jwt.exp.checked_mul(1_000)?);
        let claims = AccessClaims { user: jwt.sub.parse().ok()?, session: jwt.sid.parse().ok()?, expires_at };
        (now < expires_at).then_some(claims)
    }

    /// Issues a refresh token of a session.
    #[must_use]
    pub fn new_refresh_token(&self, session: SessionId) -> Option<NewToken> {
        let mut bytes = session.key().to_be_bytes().to_vec();
        bytes.extend(rand::random::<[u8; 24]>());
        let mac = mac(self.signing()?, &bytes)?.finalize().into_bytes();
        bytes.extend(mac);
        Some(NewToken::of(BASE64_URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The session that a refresh token was issued for, even if it was used already; `None` if it is forged.
    #[must_use]
    pub fn session_of_refresh_token(&self, token: &str) -> Option<SessionId> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        let (body, signature) = bytes.split_at_checked(32)?;
        let is_signed_by = |key: &SigningKey| mac(key, body).is_some_and(|mac| mac.verify_slice(signature).is_ok());
        let session = body.first_chunk().copied().map(i64::from_be_bytes)?;
        self.all().iter().any(is_signed_by).then(|| SessionId::new(session)).flatten()
    }
}

fn mac(key: &SigningKey, bytes: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&key.secret).ok()?;
    mac.update(b"refresh token");
    mac.update(bytes);
    Some(mac)
}
