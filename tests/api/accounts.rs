//! Accounts: signing up, in and out, tokens that hold and tokens that do not, and connections that end with their session.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::harness::{ACCOUNTS, Chat, Database, KEY, Socket, code, soon, text};

pub(crate) const PASSWORD: &str = "correct horse battery";
pub(crate) const SIGN_UP: &str = "mutation ($input: SignUpInput!) { signUp(input: $input) {
    viewer { user { id name email } unreadCount sessions { id current device } }
    accessToken accessTokenExpiresAt refreshToken userErrors { code field message }
} }";
pub(crate) const SIGN_IN: &str = "mutation ($input: SignInInput!) { signIn(input: $input) {
    viewer { user { id } } accessToken refreshToken userErrors { code field message }
} }";
const REFRESH: &str = "mutation ($token: String!) { refreshSession(refreshToken: $token) {
    viewer { user { id } } accessToken refreshToken userErrors { code field message }
} }";
const ME: &str = "{ me { user { id } } }";

/// Somebody with an account, signed in on one device.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl Member {
    pub(crate) async fn signs_up(chat: &Chat, name: &str) -> Self {
        let email = format!("{}@example.com", name.to_lowercase());
        let input = json!({ "name": name, "email": email, "password": PASSWORD });
        Self::of(&chat.data(SIGN_UP, json!({ "input": input })).await["signUp"])
    }

    pub(crate) async fn signs_in(chat: &Chat, name: &str) -> Self {
        let email = format!("{}@example.com", name.to_lowercase());
        let input = json!({ "email": email, "password": PASSWORD, "device": "phone" });
        Self::of(&chat.data(SIGN_IN, json!({ "input": input })).await["signIn"])
    }

    pub(crate) fn of(payload: &Value) -> Self {
        assert_eq!(payload["userErrors"], json!([]), "{payload}");
        let id = text(&payload["viewer"]["user"]["id"]);
        Self { id, access: text(&payload["accessToken"]), refresh: text(&payload["refreshToken"]) }
    }

    pub(crate) async fn asks(&self, chat: &Chat, query: &str, variables: Value) -> Value {
        chat.ask_with(Some(&self.access), query, variables).await
    }

    pub(crate) async fn is_signed_in(&self, chat: &Chat) -> bool {
        let answer = self.asks(chat, ME, json!({})).await;
        let signed_in = answer["data"]["me"]["user"]["id"] == self.id;
        assert!(signed_in || code(&answer) == "UNAUTHENTICATED", "{answer}");
        signed_in
    }

    /// A socket that was opened with the token.
    pub(crate) async fn connects(&self, chat: &Chat) -> Socket {
        let mut socket = chat.socket().await;
        let payload = json!({ "Authorization": format!("Bearer {}", self.access) });
        socket.says(json!({ "type": "connection_init", "payload": payload })).await;
        assert_eq!(socket.hears().await, json!({ "type": "connection_ack" }));
        socket
    }

    async fn signs_out(&self, chat: &Chat, session: Option<&str>) -> Value {
        let query = "mutation ($id: ID) { signOut(sessionId: $id) { sessionId userErrors { code } } }";
        self.asks(chat, query, json!({ "id": session })).await["data"]["signOut"].take()
    }
}

pub(crate) async fn accounts() -> Chat {
    Chat::with(&ACCOUNTS).await
}

pub(crate) async fn refresh(chat: &Chat, token: &str) -> Value {
    chat.data(REFRESH, json!({ "token": token })).await["refreshSession"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_signs_up_and_is_known() {
    let chat = accounts().await;
    let input = json!({ "name": "Ada", "email": "ada@example.com", "password": PASSWORD, "device": "laptop" });
    let mut payload = chat.data(SIGN_UP, json!({ "input": input })).await["signUp"].take();
    let session = text(&payload["viewer"]["sessions"][0]["id"]);
    let viewer = json!({ "user": { "id": "usr_1", "name": "Ada", "email": "ada@example.com" }, "unreadCount": 0,
        "sessions": [{ "id": session, "current": true, "device": "laptop" }] });
    assert_eq!(payload["viewer"], viewer);
    assert_eq!(payload["accessTokenExpiresAt"], "2026-01-31T12:15:04.000Z");
    payload["accessToken"].take();
    let again = json!({ "name": "Eve", "email": " ADA@example.com", "password": PASSWORD });
    let taken = chat.data(SIGN_UP, json!({ "input": again })).await["signUp"].take();
    assert_eq!(taken["userErrors"][0]["code"], "EMAIL_TAKEN");
    for (password, expected) in
        [("short", "INVALID"), (&*"p".repeat(257), "TOO_LONG"), ("nul\0nul\0nul\0nul", "INVALID")]
    {
        let input = json!({ "name": "Eve", "email": "eve@example.com", "password": password });
        let wrong = chat.data(SIGN_UP, json!({ "input": input })).await["signUp"]["userErrors"].take();
        assert_eq!((&wrong[0]["code"], &wrong[0]["field"]), (&json!(expected), &json!(["input", "password"])));
    }
    // Nobody is asked who they are before they are known.
    assert_eq!(chat.data(ME, json!({})).await, json!({ "me": null }));
    let phone = Member::signs_in(&chat, "Ada").await;
    let id = phone.session(&chat).await;
    let node = phone.asks(&chat, "query ($id: ID!) { node(id: $id) { id __typename } }", json!({ "id": id })).await;
    assert_eq!(node["data"]["node"], json!({ "id": id, "__typename": "Session" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_ten_who_sign_up_at_once_wins() {
    let chat = accounts().await;
    let sign_up = async |number: usize| {
        let email = if number.is_multiple_of(2) { "e\u{301}ve@example.com" } else { "ÉVE@example.com " };
        let input = json!({ "name": "Eve", "email": email, "password": PASSWORD });
        chat.data(SIGN_UP, json!({ "input": input })).await["signUp"]["userErrors"][0]["code"].clone()
    };
    let codes = futures_util::future::join_all((0..10).map(sign_up)).await;
    assert_eq!(codes.iter().filter(|code| code.is_null()).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == "EMAIL_TAKEN").count(), 9, "{codes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_no_account_are_the_same() {
    let chat = accounts().await;
    Member::signs_up(&chat, "Ada").await;
    let attempt = async |email: &str, password: &str| {
        let begun = std::time::Instant::now();
        let input = json!({ "email": email, "password": password });
        let answer = chat.ask(SIGN_IN, json!({ "input": input })).await;
        (answer, begun.elapsed().as_secs_f64())
    };
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let (wrong, seconds) = attempt("ada@example.com", "not the password").await;
        known.push(seconds);
        for email in ["nobody@example.com", "no address", ""] {
            let (nobody, seconds) = attempt(email, "not the password").await;
            unknown.push(seconds);
            assert_eq!(nobody, wrong);
        }
        assert_eq!(wrong["data"]["signIn"]["userErrors"][0]["code"], "BAD_CREDENTIALS");
    }
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let ratio = median(known) / median(unknown);
    assert!((0.5..2.0).contains(&ratio), "{ratio}");
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_tried_one_at_a_time() {
    let chat = accounts().await;
    Member::signs_up(&chat, "Ada").await;
    let one = r#"signIn(input: { email: "ada@example.com", password: "wrong wrong wrong" }) { userErrors { code } }"#;
    let answer = chat.ask(&format!("mutation {{ a: {one} b: {one} }}"), json!({})).await;
    assert_eq!(code(&answer), "QUERY_TOO_COMPLEX");
}

/// A token as somebody else might make it.
fn forged(algorithm: Algorithm, kid: Option<&str>, claims: &Value, secret: &[u8]) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(secret)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_tampered_with_is_none() {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
    let chat = accounts().await;
    let ada = Member::signs_up(&chat, "Ada").await;
    let parts: Vec<&str> = ada.access.split('.').collect();
    let decoded = |part: &str| -> Value { serde_json::from_slice(&BASE64.decode(part).unwrap()).unwrap() };
    let (header, claims) = (decoded(parts[0]), decoded(parts[1]));
    let kid = header["kid"].as_str();
    let secret = b"01234567890123456789012345678901";
    assert_eq!(base64::prelude::BASE64_STANDARD.encode(secret), KEY);
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = claims.clone();
        claims.as_object_mut().unwrap().remove(name);
        claims
    };
    let unsigned = |algorithm: &str| {
        let header = BASE64.encode(json!({ "alg": algorithm, "typ": "JWT", "kid": kid }).to_string());
        format!("{header}.{}.", parts[1])
    };
    let header_with = |extra: Value| {
        let mut header = header.clone();
        header.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        format!("{}.{}.{}", BASE64.encode(header.to_string()), parts[1], parts[2])
    };
    let hs256 = |claims: &Value| forged(Algorithm::HS256, kid, claims, secret);
    let critical =
        Header { kid: kid.map(str::to_owned), crit: Some(vec!["exp".into()]), ..Header::new(Algorithm::HS256) };
    // The way of forging is right: this one holds.
    assert!(Member { access: hs256(&claims), ..ada.clone() }.is_signed_in(&chat).await);
    let wrong = [
        unsigned("none"),
        unsigned("None"),
        unsigned("NONE"),
        unsigned("HS256"),
        format!("{}.{}.{}x", parts[0], parts[1], parts[2]),
        forged(Algorithm::HS256, kid, &claims, b"another key another key another k"),
        forged(Algorithm::HS384, kid, &claims, secret),
        forged(Algorithm::HS512, kid, &claims, secret),
        forged(Algorithm::HS256, None, &claims, secret),
        forged(Algorithm::HS256, Some("../../dev/null"), &claims, b""),
        forged(Algorithm::HS256, Some(""), &claims, secret),
        header_with(json!({ "jwk": { "kty": "oct", "k": "AAAA" } })),
        jsonwebtoken::encode(&critical, &claims, &EncodingKey::from_secret(secret)).unwrap(),
        header_with(json!({ "jku": "http://127.0.0.1/keys" })),
        hs256(&with("iss", json!("somebody"))),
        hs256(&with("aud", json!("something"))),
        hs256(&with("exp", json!(1_600_000_000))),
        hs256(&with("exp", json!("tomorrow"))),
        hs256(&without("exp")),
        hs256(&without("sub")),
        hs256(&without("iss")),
        hs256(&without("aud")),
        hs256(&with("sub", json!("usr_2"))),
        hs256(&with("sid", json!("ses_9"))),
        hs256(&with("sid", json!("-1"))),
        ada.refresh.clone(),
        "duo_svc_AAAA".into(),
        String::new(),
        "x".repeat(10_000),
    ];
    for token in wrong {
        let forger = Member { access: token.clone(), ..ada.clone() };
        let answer = forger.asks(&chat, ME, json!({})).await;
        assert_eq!(code(&answer), "UNAUTHENTICATED", "{token}");
        let mut socket = chat.socket().await;
        let payload = json!({ "authorization": format!("Bearer {token}") });
        socket.says(json!({ "type": "connection_init", "payload": payload })).await;
        assert_eq!(socket.hears_close().await, 4403, "{token}");
    }
    let body = json!({ "query": ME });
    for authorization in ["Basic YTpi", "Bearer", &ada.access, "Bearer \u{e9}"] {
        let request = chat.http.post(chat.url("/graphql")).header("authorization", authorization).json(&body);
        let response = soon(request.send()).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["www-authenticate"]),
            (401, &"Bearer".parse().unwrap())
        );
        let mut socket = Socket::open_with(chat.address, "graphql-transport-ws", Some(authorization)).await;
        socket.says(json!({ "type": "connection_init" })).await;
        assert_eq!(socket.hears_close().await, 4403, "{authorization}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_takes_its_token_as_clients_send_it() {
    let chat = accounts().await;
    let ada = Member::signs_up(&chat, "Ada").await;
    let bearer = format!("Bearer {}", ada.access);
    let ada_is = json!({ "user": { "id": ada.id } });
    for (payload, me) in [
        (json!({ "Authorization": bearer }), &ada_is),
        (json!({ "headers": { "Authorization": bearer } }), &ada_is),
        (json!({ "authorization": null, "headers": { "authorization": bearer } }), &ada_is),
        // Whoever has not signed in yet is nobody.
        (json!({ "authorization": null }), &Value::Null),
        (json!({ "authorization": "" }), &Value::Null),
        (json!({ "headers": { "Authorization": null } }), &Value::Null),
        (json!({ "headers": [bearer] }), &Value::Null),
        (json!({}), &Value::Null),
    ] {
        let mut socket = chat.socket().await;
        socket.says(json!({ "type": "connection_init", "payload": payload })).await;
        assert_eq!(socket.hears().await["type"], "connection_ack", "{payload}");
        socket.subscribes("1", ME, json!({})).await;
        assert_eq!(&socket.hears().await["payload"]["data"]["me"], me, "{payload}");
    }
    for payload in [json!({ "authorization": 5 }), json!({ "headers": { "authorization": "Bearer x" } })] {
        let mut socket = chat.socket().await;
        socket.says(json!({ "type": "connection_init", "payload": payload })).await;
        assert_eq!(socket.hears_close().await, 4403, "{payload}");
    }
    let empty = chat.http.post(chat.url("/graphql")).header("authorization", "").json(&json!({ "query": ME }));
    let answer: Value = soon(empty.send()).await.unwrap().json().await.unwrap();
    assert_eq!(answer, json!({ "data": { "me": null } }));
}

/// It would be in logs and histories.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_the_address_is_nobodys() {
    let chat = accounts().await;
    let ada = Member::signs_up(&chat, "Ada").await;
    for name in ["access_token", "token", "authorization", "Authorization"] {
        let url = chat.url(&format!("/graphql?query=%7Bme%7Buser%7Bid%7D%7D%7D&{name}={}", ada.access));
        let answer: Value = soon(chat.http.get(url).send()).await.unwrap().json().await.unwrap();
        assert_eq!(answer, json!({ "data": { "me": null } }), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_ends_by_itself_and_its_socket_with_it() {
    let chat = Chat::with(&[&ACCOUNTS[..], &["--access-token-lifetime", "4"]].concat()).await;
    let ada = Member::signs_up(&chat, "Ada").await;
    let mut socket = ada.connects(&chat).await;
    // The clock goes on a second with each look.
    while ada.is_signed_in(&chat).await {}
    assert_eq!(socket.hears_close().await, 4403);
    assert_eq!(refresh(&chat, &ada.refresh).await["userErrors"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_socket_is_renewed() {
    let chat =
        Chat::in_real_time(Database::new().await, &[&ACCOUNTS[..], &["--access-token-lifetime", "3"]].concat()).await;
    let (ada, bob) = (Member::signs_up(&chat, "Ada").await, Member::signs_up(&chat, "Bob").await);
    let ada = Member::of(&refresh(&chat, &ada.refresh).await);
    let mut socket = ada.connects(&chat).await;
    let renew = "mutation ($token: String!) { renewConnection(accessToken: $token) { expiresAt userErrors { code } } }";
    let bobs = Member::of(&refresh(&chat, &bob.refresh).await);
    for wrong in [&*bobs.access, "nonsense"] {
        socket.subscribes("renew", renew, json!({ "token": wrong })).await;
        let payload = socket.hears().await["payload"]["data"]["renewConnection"].take();
        assert_eq!(payload, json!({ "expiresAt": null, "userErrors": [{ "code": "TOKEN_EXPIRED" }] }));
        assert_eq!(socket.hears().await["type"], "complete");
    }
    // Each renewal puts the end off; without them the socket would be closed after the first three seconds.
    let begun = std::time::Instant::now();
    let mut token = Member::of(&refresh(&chat, &ada.refresh).await);
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(500));
    while begun.elapsed().as_secs() < 5 {
        pace.tick().await;
        socket.subscribes("renew", renew, json!({ "token": token.access })).await;
        let renewed = socket.hears().await;
        assert_eq!(renewed["payload"]["data"]["renewConnection"]["userErrors"], json!([]), "{renewed}");
        assert_eq!(socket.hears().await["type"], "complete");
        token = Member::of(&refresh(&chat, &token.refresh).await);
    }
    assert_eq!(socket.hears_close().await, 4403);
    let answer = ada.asks(&chat, renew, json!({ "token": token.access })).await;
    assert!(["UNAUTHENTICATED", "BAD_REQUEST"].contains(&&*code(&answer)));
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_ends_everything_at_once() {
    let chat = accounts().await;
    let (ada, bob) = (Member::signs_up(&chat, "Ada").await, Member::signs_up(&chat, "Bob").await);
    let phone = Member::signs_in(&chat, "Ada").await;
    let mut sockets = [ada.connects(&chat).await, phone.connects(&chat).await];
    // Somebody else's session is none, and goes on.
    let session = ada.session(&chat).await;
    assert_eq!(bob.signs_out(&chat, Some(&session)).await["userErrors"][0]["code"], "NOT_FOUND");
    assert_eq!(bob.signs_out(&chat, Some("ses_99")).await["userErrors"][0]["code"], "NOT_FOUND");
    assert!(ada.is_signed_in(&chat).await);
    assert_eq!(ada.signs_out(&chat, None).await, json!({ "sessionId": session, "userErrors": [] }));
    assert_eq!(sockets[0].hears_close().await, 4403);
    assert!(!ada.is_signed_in(&chat).await && phone.is_signed_in(&chat).await);
    assert_eq!(refresh(&chat, &ada.refresh).await["userErrors"][0]["code"], "TOKEN_EXPIRED");

    // A new password ends all sessions but the one that asks.
    let tablet = Member::signs_in(&chat, "Ada").await;
    let change = r#"mutation { updateUser(id: 1, input: { password: "another password" }) { userErrors { code } } }"#;
    assert_eq!(tablet.asks(&chat, change, json!({})).await["data"]["updateUser"]["userErrors"], json!([]));
    assert_eq!(sockets[1].hears_close().await, 4403);
    assert!(tablet.is_signed_in(&chat).await && !phone.is_signed_in(&chat).await);

    // And it stays so over a restart.
    let chat = Chat::on(chat.stop().await, &ACCOUNTS).await;
    assert!(tablet.is_signed_in(&chat).await && bob.is_signed_in(&chat).await);
    assert!(!phone.is_signed_in(&chat).await && !ada.is_signed_in(&chat).await);
    let mut socket = tablet.connects(&chat).await;
    let leave = "mutation { deleteUser(id: 1) { deletedId userErrors { code } } }";
    assert_eq!(tablet.asks(&chat, leave, json!({})).await["data"]["deleteUser"]["deletedId"], "usr_1");
    assert_eq!(socket.hears_close().await, 4403);
    assert!(!tablet.is_signed_in(&chat).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_so_many_sockets() {
    let chat = Chat::with(&[&ACCOUNTS[..], &["--max-user-sockets", "2"]].concat()).await;
    let ada = Member::signs_up(&chat, "Ada").await;
    let (one, _two) = (ada.connects(&chat).await, ada.connects(&chat).await);
    let mut third = chat.socket().await;
    let init = json!({ "type": "connection_init", "payload": { "authorization": format!("bearer {}", ada.access) } });
    third.says(init.clone()).await;
    assert_eq!(third.hears_close().await, 1008);
    drop(one);
    let comes_in = async {
        loop {
            let mut socket = chat.socket().await;
            socket.says(init.clone()).await;
            if socket.hears_or_ends().await.is_some_and(|message| message.is_text()) {
                break;
            }
        }
    };
    soon(Box::pin(comes_in)).await;
}
