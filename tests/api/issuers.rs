//! Tokens of others: who they mean, what they allow, and what is not an issuer's token.

use std::fs;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use duologue::{
    domain::{Viewer, accounts::poll_revocations, admin},
    model::texts::{Email, Name, Password},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use serde_json::{Value, json};

use crate::{
    accounts::Member,
    harness::{ACCOUNTS, Chat, Database, HeldClock, Socket, code, text},
    jwks::Jwks,
    sessions::{lose_accounts, socket_code},
    upgrades::undo_from,
};

const ISSUER: &str = "https://login.example.com/";
pub(crate) const ME: &str = "{ me { user { id name email } sessions { id } } }";

/// A key of the issuer, with its name.
pub(crate) struct Key {
    id: String,
    algorithm: Algorithm,
    private: EncodingKey,
    public: Value,
}

impl Key {
    pub(crate) fn new(id: &str, algorithm: Algorithm) -> Self {
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

    pub(crate) fn signs(&self, claims: &Value) -> String {
        self.signs_with(&Header { kid: Some(self.id.clone()), ..Header::new(self.algorithm) }, claims)
    }

    fn signs_with(&self, header: &Header, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &self.private).unwrap()
    }
}

pub(crate) fn jwks(keys: &[&Key]) -> String {
    json!({ "keys": keys.iter().map(|key| key.public.clone()).collect::<Vec<_>>() }).to_string()
}

pub(crate) fn claims(subject: &str) -> Value {
    json!({ "iss": ISSUER, "aud": "chat", "sub": subject, "name": "Ada", "exp": 4_000_000_000_u64 })
}

/// Flags of a server that accepts the issuer's tokens.
pub(crate) fn issuer<'a>(jwks: &'a str, flags: &[&'a str]) -> Vec<&'a str> {
    [&ACCOUNTS[..], &["--issuer", ISSUER, "--audience", "chat", "--jwks", jwks], flags].concat()
}

async fn accepting(jwks: &str, flags: &[&str]) -> Chat {
    Chat::in_real_time(Database::new().await, &issuer(jwks, flags)).await
}

/// A server that makes accounts for the users of an issuer, and the issuer's key.
async fn provisioning() -> (Chat, Key) {
    let key = Key::new("one", Algorithm::ES256);
    let served = Jwks::serve(&jwks(&[&key])).await;
    (accepting(&served.url, &["--create-users"]).await, key)
}

/// A socket that begins with the token.
async fn connects(chat: &Chat, token: &str) -> Socket {
    let mut socket = chat.socket().await;
    let payload = json!({ "authorization": format!("Bearer {token}") });
    socket.says(json!({ "type": "connection_init", "payload": payload })).await;
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_another_issuer_means_is_known() {
    let (chat, key) = provisioning().await;
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
    // A name that would deceive is none: the subject is.
    let mut deceiver = claims("auth0|9");
    deceiver["name"] = json!("Ada\u{202E}");
    let deceiver = chat.ask_with(Some(&key.signs(&deceiver)), ME, json!({})).await;
    assert_eq!(deceiver["data"]["me"]["user"]["name"], "auth0|9");
    // Whose account is suspended comes back when that ends.
    let (operator, user) = (Viewer::operator(&chat.app), "usr_1".parse().unwrap());
    let mut socket = connects(&chat, &token).await;
    assert_eq!(socket.hears().await["type"], "connection_ack");
    assert!(admin::set_suspended(&chat.app, &operator, user, true).await.unwrap());
    poll_revocations(&chat.app).await;
    assert_eq!(socket.hears_close().await, 4403);
    assert_eq!(connects(&chat, &token).await.hears_close().await, 4403);
    assert_eq!(code(&chat.ask_with(Some(&token), ME, json!({})).await), "FORBIDDEN");
    assert!(admin::set_suspended(&chat.app, &operator, user, false).await.unwrap());
    assert_eq!(chat.ask_with(Some(&token), ME, json!({})).await["data"], ada);
    // Whose account was erased does not.
    let leave = "mutation { deleteUser(id: 1) { deletedId } }";
    let mut socket = connects(&chat, &token).await;
    assert_eq!(socket.hears().await["type"], "connection_ack");
    assert_eq!(chat.ask_with(Some(&token), leave, json!({})).await["data"]["deleteUser"]["deletedId"], "usr_1");
    assert_eq!(socket.hears_close().await, 4403);
    assert_eq!(code(&chat.ask_with(Some(&token), ME, json!({})).await), "UNAUTHENTICATED");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_issuers_is_none() {
    let (key, other) = (Key::new("one", Algorithm::EdDSA), Key::new("one", Algorithm::EdDSA));
    let served = Jwks::serve(&jwks(&[&key])).await;
    let chat = accepting(&served.url, &["--create-users"]).await;
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
        key.signs(&with("sub", json!("a\0b"))),
        key.signs(&with("sub", json!("é".repeat(128)))),
        key.signs(&with("nbf", json!("tomorrow"))),
        key.signs_with(&Header { crit: Some(vec!["exp".into()]), ..header(Algorithm::EdDSA) }, &claims("ada")),
    ];
    for token in wrong {
        assert_eq!(code(&chat.ask_with(Some(&token), ME, json!({})).await), "UNAUTHENTICATED", "{token}");
    }
    assert_eq!(
        chat.ask_with(Some(&key.signs(&claims("ada"))), ME, json!({})).await["data"]["me"]["user"]["id"],
        "usr_1"
    );
    // Names of keys that were made up do not make the server ask again and again.
    let before = served.asked();
    for number in 0..20 {
        let token = Key::new(&number.to_string(), Algorithm::EdDSA).signs(&claims("ada"));
        assert_eq!(code(&chat.ask_with(Some(&token), ME, json!({})).await), "UNAUTHENTICATED");
    }
    assert!(served.asked() <= before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_may_be_in_a_file_and_nobody_is_made_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    let key = Key::new("one", Algorithm::ES256);
    fs::write(&file, jwks(&[&key])).unwrap();
    let chat = accepting(file.to_str().unwrap(), &[]).await;
    assert_eq!(code(&chat.ask_with(Some(&key.signs(&claims("ada"))), ME, json!({})).await), "UNAUTHENTICATED");
    let ada = Member::signs_up(&chat, "Ada").await;
    let answer = chat.ask_with(Some(&key.signs(&claims(&ada.id))), ME, json!({})).await;
    assert_eq!(answer["data"]["me"]["user"]["id"], ada.id);
    assert_eq!(code(&chat.ask_with(Some(&key.signs(&claims("usr_99"))), ME, json!({})).await), "UNAUTHENTICATED");
}

const CHANGE: &str = "mutation ($id: ID!, $input: UpdateUserInput!) {
    updateUser(id: $id, input: $input) { user { name email } userErrors { code field } }
}";

/// The code of the only thing to fix.
async fn change(chat: &Chat, token: &str, id: &str, input: Value) -> Value {
    let answer = chat.ask_with(Some(token), CHANGE, json!({ "id": id, "input": input })).await;
    answer["data"]["updateUser"]["userErrors"][0]["code"].clone()
}

fn password() -> Password {
    Password::parse("correct horse battery".into()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuers_token_changes_neither_password_nor_address() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    let key = Key::new("one", Algorithm::ES256);
    fs::write(&file, jwks(&[&key])).unwrap();
    // Here a subject is the id of a user, who may be an admin.
    let chat = accepting(file.to_str().unwrap(), &[]).await;
    let (name, email) = (Name::parse("Ada".into()).unwrap(), Email::parse("ada@example.com").unwrap());
    admin::create(&chat.app, &Viewer::operator(&chat.app), name, email, password()).await.unwrap();
    Member::signs_up(&chat, "Bob").await;
    for id in ["usr_1", "usr_2"] {
        let token = key.signs(&claims(id));
        assert_eq!(change(&chat, &token, id, json!({ "name": "Eve" })).await, Value::Null);
        for input in [json!({ "password": "mine mine mine" }), json!({ "email": "mine@example.com" })] {
            assert_eq!(change(&chat, &token, id, input).await, "NOT_ALLOWED");
        }
    }
    // Their passwords are what they were.
    let (ada, bob) = (Member::signs_in(&chat, "Ada").await, Member::signs_in(&chat, "Bob").await);
    assert_eq!(change(&chat, &bob.access, "usr_2", json!({ "password": "mine mine mine" })).await, Value::Null);
    assert_eq!(change(&chat, &ada.access, "usr_1", json!({ "email": "new@example.com" })).await, Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn for_an_issuers_account_the_issuer_alone_vouches() {
    let (chat, key) = provisioning().await;
    let token = key.signs(&claims("eve"));
    assert_eq!(chat.ask_with(Some(&token), ME, json!({})).await["data"]["me"]["user"]["id"], "usr_1");
    let own = change(&chat, &token, "usr_1", json!({ "email": "eve@example.com", "password": "mine mine mine" })).await;
    assert_eq!(own, "NOT_ALLOWED");
    let operator = Viewer::operator(&chat.app);
    let (_, service) = admin::issue_token(&chat.app, &operator, Name::parse("billing".into()).unwrap()).await.unwrap();
    assert_eq!(change(&chat, &service, "usr_1", json!({ "email": "eve@example.com" })).await, Value::Null);
    assert_eq!(change(&chat, &service, "usr_1", json!({ "password": "mine mine mine" })).await, "NOT_ALLOWED");
    let refusal = "This account signs in with the tokens of an issuer: it has no password, and cannot be an admin.";
    let eve = "usr_1".parse().unwrap();
    let granted = admin::grant(&chat.app, &operator, eve).await;
    assert_eq!(granted.err().unwrap().to_string(), refusal);
    let reset = admin::reset_password(&chat.app, &operator, eve, password()).await;
    assert_eq!(reset.err().unwrap().to_string(), refusal);
    // Nor does a password hold that came there in another way.
    Member::signs_up(&chat, "Bob").await;
    let copy = "UPDATE users SET password_hash = (SELECT password_hash FROM users WHERE id = 2) WHERE id = 1";
    chat.database.run(copy).await;
    let sign_in = r#"mutation {
        signIn(input: { email: "eve@example.com", password: "correct horse battery" }) { userErrors { code } }
    }"#;
    let refused = chat.data(sign_in, json!({})).await;
    assert_eq!(refused["signIn"]["userErrors"], json!([{ "code": "BAD_CREDENTIALS" }]));
    assert_eq!(chat.ask_with(Some(&token), ME, json!({})).await["data"]["me"]["user"]["id"], "usr_1");
}

/// An earlier release let users of an issuer set passwords, and made admins of them.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_issuers_account_got_by_a_password_ends_with_an_update() {
    let key = Key::new("one", Algorithm::ES256);
    let served = Jwks::serve(&jwks(&[&key])).await;
    let flags = issuer(&served.url, &["--create-users"]);
    let chat = Chat::in_real_time(Database::new().await, &flags).await;
    let (eve, bob) = (Member::signs_up(&chat, "Eve").await, Member::signs_up(&chat, "Bob").await);
    let database = chat.stop().await;
    undo_from(&database, "2026-11-26-000002_accounts_of_issuers").await;
    let before = format!(
        "INSERT INTO identities (issuer, subject, user_id) VALUES ('{ISSUER}', 'eve', 1); UPDATE users SET role = 1;"
    );
    database.run(&before).await;
    let chat = Chat::in_real_time(database, &flags).await;
    assert!(!eve.is_signed_in(&chat).await && bob.is_signed_in(&chat).await);
    let read = "{ me { user { id } } users { nodes { email } } }";
    let emails = async |token: &str| {
        let data = chat.ask_with(Some(token), read, json!({})).await["data"].take();
        (data["me"]["user"]["id"].clone(), data["users"]["nodes"].clone())
    };
    // Bob, whom no issuer knows, is still an admin.
    let all = json!([{ "email": "eve@example.com" }, { "email": "bob@example.com" }]);
    assert_eq!(emails(&bob.access).await, (json!("usr_2"), all));
    let own = json!([{ "email": "eve@example.com" }, { "email": null }]);
    assert_eq!(emails(&key.signs(&claims("eve"))).await, (json!("usr_1"), own));
    let operator = Viewer::operator(&chat.app);
    assert!(!admin::revoke(&chat.app, &operator, "usr_1".parse().unwrap()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_is_a_name_unless_it_is_an_address() {
    let (chat, key) = provisioning().await;
    let longest = "é".repeat(100) + &"x".repeat(55);
    for (subject, name) in [("ada", "ada"), ("ada@example.com", "?"), ("ada＠example.com", "?"), (&longest, "?")] {
        let mut claims = claims(subject);
        claims.as_object_mut().unwrap().remove("name");
        let answer = chat.ask_with(Some(&key.signs(&claims)), ME, json!({})).await;
        assert_eq!(answer["data"]["me"]["user"]["name"], name, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn instants_may_have_fractions_and_clocks_may_differ() {
    let clock = HeldClock::new();
    let key = Key::new("one", Algorithm::ES256);
    let served = Jwks::serve(&jwks(&[&key])).await;
    for (flags, skew) in [(&["--create-users"][..], 30.0), (&["--create-users", "--clock-skew", "0"], 0.0)] {
        let chat = Chat::by(&clock, Database::new().await, &issuer(&served.url, flags)).await;
        // What the clock shows.
        let now = 1_769_860_800.0;
        let holds = async |name: &str, seconds: f64| {
            let mut claims = claims("ada");
            claims[name] = json!(now + seconds);
            let answer = chat.ask_with(Some(&key.signs(&claims)), ME, json!({})).await;
            answer["data"]["me"]["user"]["id"] == "usr_1"
        };
        assert!(holds("exp", 600.5).await);
        assert!(holds("exp", 0.5 - skew).await && !holds("exp", -0.5 - skew).await);
        for name in ["nbf", "iat"] {
            assert!(holds(name, -0.5).await && holds(name, -now - 5.0).await);
            assert!(holds(name, skew - 0.5).await && !holds(name, skew + 0.5).await, "{name}");
        }
        // A socket holds as long as its token does.
        let mut late = claims("ada");
        late["exp"] = json!(now + 0.5 - skew);
        let mut socket = connects(&chat, &key.signs(&late)).await;
        assert_eq!(socket.hears().await["type"], "connection_ack");
        assert_eq!(socket.hears_close().await, 4403);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_of_an_issuers_account_that_was_lost_is_nobodys() {
    let (chat, key) = provisioning().await;
    if chat.database.is_sqlite() {
        return;
    }
    let [eve, bob] = ["auth0|7", "auth0|8"].map(|subject| key.signs(&claims(subject)));
    let mut socket = connects(&chat, &eve).await;
    assert_eq!(socket.hears().await["type"], "connection_ack");
    lose_accounts(&chat).await;
    assert_eq!(chat.ask_with(Some(&bob), ME, json!({})).await["data"]["me"]["user"]["id"], "usr_1");
    assert_eq!(socket_code(&mut socket, "1", ME).await, "UNAUTHENTICATED");
}
