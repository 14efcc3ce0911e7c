//! Tokens: access tokens are JWTs with a user, a session and an expiry; refresh tokens are opaque and signed too, so that
//! a reused one can be told from a forged one; service tokens are random.
//!
//! The first refresh token of a session is random, and each next one is computed from the one before it and the key. So an
//! exchange can be repeated, by any process, although only hashes of tokens are stored.

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

/// The purpose of the signature of a refresh token.
const REFRESH_TOKEN: &[u8] = b"refresh token";
/// Bytes of a refresh token that cannot be guessed.
const NONCE_BYTES: usize = 24;

/// The lifetimes of tokens.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// Of access tokens.
    pub access: Duration,
    /// Of refresh tokens, and so of sessions that are not renewed.
    pub refresh: Duration,
    /// For how long after its use a refresh token gets the same next one again.
    pub refresh_grace: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            access: Duration::from_mins(15),
            refresh: Duration::from_hours(30 * 24),
            refresh_grace: Duration::from_secs(10),
        }
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
        let header = jsonwebtoken::decode_header(token).ok()?;
        // No extension of JWS is understood here (RFC 7515, 4.1.11).
        let kid = header.kid.filter(|_| header.crit.is_none())?;
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

    /// Issues the first refresh token of a session.
    #[must_use]
    pub fn new_refresh_token(&self, session: SessionId) -> Option<NewToken> {
        refresh_token(self.signing()?, session, &rand::random::<[u8; NONCE_BYTES]>())
    }

    /// The refresh tokens that may follow one of a session: first the one to issue now, then the one that was issued if the
    /// other key signed then.
    #[must_use]
    pub fn next_refresh_tokens(&self, session: SessionId, token: &str) -> Vec<NewToken> {
        let next = |key| {
            let derived = mac(key, b"next refresh token", token.as_bytes())?.finalize().into_bytes();
            refresh_token(key, session, derived.first_chunk::<NONCE_BYTES>()?)
        };
        self.all().iter().filter_map(next).collect()
    }

    /// The session that a refresh token was issued for, even if it was used already; `None` if it is forged.
    #[must_use]
    pub fn session_of_refresh_token(&self, token: &str) -> Option<SessionId> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        let (body, signature) = bytes.split_at_checked(8 + NONCE_BYTES)?;
        let is_signed_by =
            |key: &SigningKey| mac(key, REFRESH_TOKEN, body).is_some_and(|mac| mac.verify_slice(signature).is_ok());
        let session = body.first_chunk().copied().map(i64::from_be_bytes)?;
        self.all().iter().any(is_signed_by).then(|| SessionId::new(session)).flatten()
    }
}

/// The session, the nonce, and their signature.
fn refresh_token(key: &SigningKey, session: SessionId, nonce: &[u8; NONCE_BYTES]) -> Option<NewToken> {
    let mut bytes = session.key().to_be_bytes().to_vec();
    bytes.extend(nonce);
    let signature = mac(key, REFRESH_TOKEN, &bytes)?.finalize().into_bytes();
    bytes.extend(signature);
    Some(NewToken::of(BASE64_URL_SAFE_NO_PAD.encode(bytes)))
}

/// The MAC of some bytes; the purpose keeps one kind of it from being taken for another.
fn mac(key: &SigningKey, purpose: &[u8], bytes: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&key.secret).ok()?;
    mac.update(purpose);
    mac.update(bytes);
    Some(mac)
}
