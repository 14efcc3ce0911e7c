//! Tokens: access tokens are JWTs that say whose session they are of, and for how long; refresh tokens are opaque texts,
//! signed too, so that an old one can be told from one that was made up; service tokens are random.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::keys::{Key, Keys};
use crate::model::{
    ids::{SessionId, UserId},
    timestamps::Timestamp,
};

/// `iss` and `aud` of access tokens.
const OURS: &str = "duologue";
/// How service tokens begin, so that they are known where they should not be.
const SERVICE: &str = "duo_svc_";
/// The only algorithm, whatever a token's header says.
const ALGORITHM: Algorithm = Algorithm::HS256;

/// How long tokens hold.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// Access tokens.
    pub access: Duration,
    /// Refresh tokens, and so sessions that are not renewed.
    pub refresh: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self { access: Duration::from_mins(15), refresh: Duration::from_hours(30 * 24) }
    }
}

/// What an access token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Whose it is.
    pub user: UserId,
    /// The session that it is of.
    pub session: SessionId,
    /// Until when it holds.
    pub expires_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    sid: String,
    iat: i64,
    exp: i64,
}

/// A token that was made just now. Only its hash is kept.
pub struct Fresh {
    /// For its owner.
    pub text: String,
    /// To be stored.
    pub hash: Vec<u8>,
}

impl Fresh {
    fn of(text: String) -> Self {
        Self { hash: digest(&text), text }
    }

    /// A token for a program.
    #[must_use]
    pub fn for_service() -> Self {
        Self::of(format!("{SERVICE}{}", BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())))
    }

    /// Whether it looks like such a token.
    #[must_use]
    pub fn may_be_of_service(token: &str) -> bool {
        token.starts_with(SERVICE)
    }
}

/// SHA-256: what is kept of a token that has enough randomness of its own.
#[must_use]
pub fn digest(text: &str) -> Vec<u8> {
    Sha256::digest(text).to_vec()
}

impl Keys {
    /// Signs an access token; to the second.
    #[must_use]
    pub fn access_token(&self, access: Access, now: Timestamp) -> Option<String> {
        let key = self.newest()?;
        let claims = Claims {
            iss: OURS.into(),
            aud: OURS.into(),
            sub: access.user.to_string(),
            sid: access.session.to_string(),
            iat: now.milliseconds() / 1_000,
            exp: access.expires_at.milliseconds() / 1_000,
        };
        let header = Header { kid: Some(key.id.clone()), ..Header::new(ALGORITHM) };
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&key.secret)).ok()
    }

    /// What an access token says, if one of the keys signed it and it has not ended.
    #[must_use]
    pub fn access(&self, token: &str, now: Timestamp) -> Option<Access> {
        let kid = jsonwebtoken::decode_header(token).ok()?.kid?;
        let key = self.all().iter().find(|key| key.id == kid)?;
        let mut rules = Validation::new(ALGORITHM);
        rules.set_issuer(&[OURS]);
        rules.set_audience(&[OURS]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // By the clock of the application, below.
        rules.validate_exp = false;
        let key = DecodingKey::from_secret(&key.secret);
        let claims = jsonwebtoken::decode::<Claims>(token, &key, &rules).ok()?.claims;
        let expires_at = Timestamp::from_milliseconds(claims.exp.checked_mul(1_000)?);
        let access = Access { user: claims.sub.parse().ok()?, session: claims.sid.parse().ok()?, expires_at };
        (now < expires_at).then_some(access)
    }

    /// Makes a refresh token of a session.
    #[must_use]
    pub fn refresh_token(&self, session: SessionId) -> Option<Fresh> {
        let mut bytes = session.key().to_be_bytes().to_vec();
        bytes.extend(rand::random::<[u8; 24]>());
        let mac = mac(self.newest()?, &bytes)?.finalize().into_bytes();
        bytes.extend(mac);
        Some(Fresh::of(BASE64_URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The session that a refresh token is, or was, of; `None` if it was made up.
    #[must_use]
    pub fn refreshes(&self, token: &str) -> Option<SessionId> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        let (said, signature) = bytes.split_at_checked(32)?;
        let signed = |key: &Key| mac(key, said).is_some_and(|mac| mac.verify_slice(signature).is_ok());
        let session = said.first_chunk().copied().map(i64::from_be_bytes)?;
        self.all().iter().any(signed).then(|| SessionId::new(session)).flatten()
    }
}

fn mac(key: &Key, bytes: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&key.secret).ok()?;
    mac.update(b"refresh token");
    mac.update(bytes);
    Some(mac)
}
