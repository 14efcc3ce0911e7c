//! Tokens of others: an issuer with a JWKS, its keys that come and go, and what is not its token.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::harness::{ACCOUNTS, Chat, Database, code, text};

const ISSUER: &str = "https://login.example.com/";
const ME: &str = "{ me { user { id name email } sessions { id } } }";

/// A key of the issuer, with its name.
struct Key {
    id: String,
    algorithm: Algorithm,
    private: EncodingKey,
    public: Value,
}

impl Key {
    fn new(id: &str, algorithm: Algorithm) -> Self {
        let random = SystemRandom::new();
        let (private, mut public) = match algorithm {
            Algorithm::ES256 => {
                let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
                let key = EncodingKey::from_ec_der(pair.as_ref());
                let public = serde_json::to_value(Jwk::from_encoding_key(&key, algorithm).unwrap()).unwrap();
                (key, public)
            }
            Algorithm::EdDSA => {
                let document = Ed25519KeyPair::generate_pkcs8v1(&random).unwrap();
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(document.as_ref()).unwrap();
                let x = BASE64_URL_SAFE_NO_PAD.encode(pair.public_key());
                (EncodingKey::from_ed_der(document.as_ref()), json!({ "kty": "OKP", "crv": "Ed25519", "x": x }))
            }
            other => panic!("{other:?}"),
        };
        public["kid"] = json!(id);
        Self { id: id.to_owned(), algorithm, private, public }
    }

    fn signs(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, claims, &self.private).unwrap()
    }
}

fn jwks(keys: &[&Key]) -> String {
    json!({ "keys": keys.iter().map(|key| key.public.clone()).collect::<Vec<_>>() }).to_string()
}

fn claims(subject: &str) -> Value {
    json!({ "iss": ISSUER, "aud": "chat", "sub": subject, "name": "Ada", "exp": 4_000_000_000_u64 })
}

/// Serves a JWKS that can be changed; counts how often it was asked for.
async fn served(keys: &str) -> (String, Arc<Mutex<String>>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    let (keys, asked) = (Arc::new(Mutex::new(keys.to_owned())), Arc::new(AtomicUsize::new(0)));
    let (current, count) = (keys.clone(), asked.clone());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            let _ = stream.read(&mut [0; 4096]).await;
            let body = current.lock().unwrap().clone();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
        }
    });
    (url, keys, asked)
}

async fn accepting(jwks: &str, flags: &[&str]) -> Chat {
    let issuer = ["--issuer", ISSUER, "--audience", "chat", "--jwks", jwks];
    Chat::in_real_time(Database::new().await, &[&ACCOUNTS[..], &issuer, flags].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_another_issuer_means_is_known() {
    let key = Key::new("one", Algorithm::ES256);
    let (url, _, _) = served(&jwks(&[&key])).await;
    let chat = accepting(&url, &["--create-users"]).await;
    let token = key.signs(&claims("auth0|7"));
    let known = chat.ask_with(Some(&token), ME, json!({})).await;
    let ada = json!({ "me": { "user": { "id": "usr_1", "name": "Ada", "email": null }, "sessions": [] } });
    assert_eq!(known["data"], ada);
    // The same one again, also when many come at once.
    let crowd = (0..8).map(|_| chat.ask_with(Some(&token), ME, json!({})));
    assert!(futures_util::future::join_all(crowd).await.iter().all(|answer| answer["data"] == ada));
    let new = key.signs(&claims("auth0|8"));
    let crowd = futures_util::future::join_all((0..8).map(|_| chat.ask_with(Some(&new), ME, json!({})))).await;
    let eve = text(&crowd[0]["data"]["me"]["user"]["id"]);
    assert!(crowd.iter().all(|answer| answer["data"]["me"]["user"]["id"] == *eve), "{crowd:?}");
    // A name that somebody chose to look like an id is a name.
    let mimic = chat.ask_with(Some(&key.signs(&claims("usr_1"))), ME, json!({})).await;
    assert_ne!(mimic["data"]["me"]["user"]["id"], "usr_1");
    assert!(mimic["data"]["me"]["user"]["id"] != *eve, "{mimic}");
    // Whose account was erased does not come back.
    let leave = "mutation { deleteUser(id: 1) { deletedId } }";
    let mut socket = chat.socket().await;
    let payload = json!({ "authorization": format!("Bearer {token}") });
    socket.says(json!({ "type": "connection_init", "payload": payload })).await;
    assert_eq!(socket.hears().await["type"], "connection_ack");
    assert_eq!(chat.ask_with(Some(&token), leave, json!({})).await["data"]["deleteUser"]["deletedId"], "usr_1");
    assert_eq!(socket.hears_close().await, 4403);
    assert_eq!(code(&chat.ask_with(Some(&token), ME, json!({})).await), "UNAUTHENTICATED");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_issuers_is_none() {
    let (key, other) = (Key::new("one", Algorithm::EdDSA), Key::new("one", Algorithm::EdDSA));
    let (url, _, asked) = served(&jwks(&[&key])).await;
    let chat = accepting(&url, &["--create-users"]).await;
    let with = |name: &str, value: Value| {
        let mut claims = claims("ada");
        claims[name] = value;
        claims
    };
    let public = key.public.to_string().into_bytes();
    let header = |algorithm| Header { kid: Some("one".into()), ..Header::new(algorithm) };
    let hmac = jsonwebtoken::encode(&header(Algorithm::HS256), &claims("ada"), &EncodingKey::from_secret(&public));
    let wrong = [
        other.signs(&claims("ada")),
        Key::new("one", Algorithm::ES256).signs(&claims("ada")),
        hmac.unwrap(),
        key.signs(&with("iss", json!("https://evil.example.com/"))),
        key.signs(&with("aud", json!("another server"))),
        key.signs(&with("exp", json!(1_000_000_000))),
        key.signs(&with("exp", Value::Null)),
        key.signs(&with("nbf", json!(4_000_000_000_u64))),
        key.signs(&with("sub", json!(""))),
        key.signs(&with("sub", Value::Null)),
    ];
    for token in wrong {
        assert_eq!(code(&chat.ask_with(Some(&token), ME, json!({})).await), "UNAUTHENTICATED", "{token}");
    }
    assert_eq!(
        chat.ask_with(Some(&key.signs(&claims("ada"))), ME, json!({})).await["data"]["me"]["user"]["id"],
        "usr_1"
    );
    // Names of keys that were made up do not make the server ask again and again.
    let before = asked.load(Ordering::Relaxed);
    for number in 0..20 {
        let token = Key::new(&number.to_string(), Algorithm::EdDSA).signs(&claims("ada"));
        assert_eq!(code(&chat.ask_with(Some(&token), ME, json!({})).await), "UNAUTHENTICATED");
    }
    assert!(asked.load(Ordering::Relaxed) <= before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_and_go() {
    let (old, new) = (Key::new("old", Algorithm::ES256), Key::new("new", Algorithm::EdDSA));
    let (url, keys, _) = served(&jwks(&[&old])).await;
    let chat = accepting(&url, &["--create-users"]).await;
    let known = async |key: &Key| {
        let answer = chat.ask_with(Some(&key.signs(&claims("ada"))), ME, json!({})).await;
        answer["data"]["me"]["user"]["id"] == "usr_1"
    };
    assert!(known(&old).await);
    *keys.lock().unwrap() = jwks(&[&new]);
    assert!(known(&new).await && !known(&old).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_may_be_in_a_file_and_nobody_is_made_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    let key = Key::new("one", Algorithm::ES256);
    fs::write(&file, jwks(&[&key])).unwrap();
    let chat = accepting(file.to_str().unwrap(), &[]).await;
    assert_eq!(code(&chat.ask_with(Some(&key.signs(&claims("ada"))), ME, json!({})).await), "UNAUTHENTICATED");
    let ada = crate::accounts::Member::signs_up(&chat, "Ada").await;
    let answer = chat.ask_with(Some(&key.signs(&claims(&ada.id))), ME, json!({})).await;
    assert_eq!(answer["data"]["me"]["user"]["id"], ada.id);
    assert_eq!(code(&chat.ask_with(Some(&key.signs(&claims("usr_99"))), ME, json!({})).await), "UNAUTHENTICATED");
}
