//! The keys of an issuer: they come and go, and whoever serves them may be slow, silent, or without end.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use duologue::app::App;
use jsonwebtoken::Algorithm;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use crate::{
    harness::{Chat, Database, HeldClock, soon},
    issuers::{Key, ME, claims, issuer, jwks},
};

/// Serves a JWKS.
pub(crate) struct Jwks {
    pub(crate) url: String,
    state: Arc<State>,
}

struct State {
    /// The headers and the body of the next response.
    response: Mutex<(String, String)>,
    asked: AtomicUsize,
    /// Each response takes one.
    permits: Semaphore,
}

impl Jwks {
    pub(crate) async fn serve(keys: &str) -> Self {
        let response = Mutex::new((String::new(), keys.to_owned()));
        let state = Arc::new(State { response, asked: AtomicUsize::new(0), permits: Semaphore::new(1_000) });
        let shared = state.clone();
        let url = listen(move |stream| respond(stream, shared.clone())).await;
        Self { url, state }
    }

    pub(crate) fn asked(&self) -> usize {
        self.state.asked.load(Ordering::Relaxed)
    }

    fn set(&self, headers: &str, body: String) {
        *self.state.response.lock().unwrap() = (headers.to_owned(), body);
    }

    /// From now on responses wait until they are released.
    pub(crate) fn hold(&self) {
        self.state.permits.forget_permits(1_000);
    }

    fn release(&self) {
        self.state.permits.add_permits(1_000);
    }

    /// Waits until somebody has asked so often.
    async fn is_asked(&self, times: usize) {
        soon(async {
            while self.asked() < times {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// Handles connections to a new address; gives its URL.
async fn listen<F: Future<Output = ()> + Send>(handle: impl Fn(TcpStream) -> F + Send + Clone + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let handle = handle.clone();
            tokio::spawn(async move { handle(stream).await });
        }
    });
    url
}

async fn respond(mut stream: TcpStream, state: Arc<State>) {
    let _ = stream.read(&mut [0; 4096]).await;
    state.asked.fetch_add(1, Ordering::Relaxed);
    state.permits.acquire().await.unwrap().forget();
    let (headers, body) = state.response.lock().unwrap().clone();
    let status = if body.is_empty() { "500 Internal Server Error" } else { "200 OK" };
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n");
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
}

async fn is_known(chat: &Chat, key: &Key) -> bool {
    chat.ask_with(Some(&key.signs(&claims("ada"))), ME, json!({})).await["data"]["me"]["user"]["id"] == "usr_1"
}

async fn accepting(clock: &HeldClock, served: &Jwks) -> Chat {
    Chat::by(clock, Database::new().await, &issuer(&served.url, &["--create-users"])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_and_go() {
    let (old, new) = (Key::new("old", Algorithm::ES256), Key::new("new", Algorithm::EdDSA));
    let served = Jwks::serve(&jwks(&[&old])).await;
    let clock = HeldClock::new();
    let chat = accepting(&clock, &served).await;
    assert!(is_known(&chat, &old).await);
    served.set("", jwks(&[&new]));
    assert!(is_known(&chat, &new).await && !is_known(&chat, &old).await);

    // One that was withdrawn ends, although no other one came.
    served.set("cache-control: public, MAX-AGE=60\r\n", jwks(&[&new, &old]));
    clock.advance(Duration::from_secs(10));
    assert!(is_known(&chat, &old).await);
    served.set("cache-control: max-age=86400\r\n", jwks(&[&new]));
    clock.advance(Duration::from_secs(59));
    assert!(is_known(&chat, &old).await);
    clock.advance(Duration::from_secs(1));
    assert!(!is_known(&chat, &old).await && is_known(&chat, &new).await);
    // After ten minutes at the latest, and also if none is left.
    served.set("", r#"{ "keys": [] }"#.into());
    let before = served.asked();
    clock.advance(Duration::from_mins(9));
    assert!(is_known(&chat, &new).await);
    assert_eq!(served.asked(), before);
    clock.advance(Duration::from_mins(1));
    assert!(!is_known(&chat, &new).await);
    for (meant_for, is_known_then) in [(r#""use":"enc","#, false), (r#""key_ops":["encrypt"],"#, false), ("", true)] {
        served.set("", jwks(&[&new]).replacen("\"kid\"", &format!("{meant_for}\"kid\""), 1));
        clock.advance(Duration::from_mins(10));
        assert_eq!(is_known(&chat, &new).await, is_known_then, "{meant_for}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_while_the_keys_are_read_waits() {
    let (old, new) = (Key::new("old", Algorithm::ES256), Key::new("new", Algorithm::ES256));
    let served = Jwks::serve(&jwks(&[&old])).await;
    let chat = accepting(&HeldClock::new(), &served).await;
    assert!(is_known(&chat, &old).await);
    served.set("", jwks(&[&new]));
    served.hold();
    // The first one does not stay.
    let first = tokio::time::timeout(Duration::from_millis(50), is_known(&chat, &new));
    let (first, ()) = tokio::join!(first, served.is_asked(2));
    assert!(first.is_err());
    let mut crowd = tokio::task::JoinSet::new();
    let token = new.signs(&claims("ada"));
    for _ in 0..8 {
        let request = chat.http.post(chat.url("/graphql")).bearer_auth(&token).json(&json!({ "query": ME }));
        crowd.spawn(async move { request.send().await.unwrap().status().as_u16() });
    }
    let early = tokio::time::timeout(Duration::from_millis(200), crowd.join_next()).await;
    assert!(early.is_err(), "somebody did not wait: {early:?}");
    served.release();
    assert_eq!(soon(crowd.join_all()).await, [200; 8]);
    assert_eq!(served.asked(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_issuer_is_away_its_keys_hold_for_an_hour() {
    let (key, other) = (Key::new("one", Algorithm::ES256), Key::new("two", Algorithm::ES256));
    let served = Jwks::serve(&jwks(&[&key])).await;
    let clock = HeldClock::new();
    let chat = accepting(&clock, &served).await;
    served.set("", String::new());
    for minute in 1..60 {
        clock.advance(Duration::from_mins(1));
        assert!(is_known(&chat, &key).await, "{minute}");
    }
    // It is asked in vain no more often than every ten seconds, and nobody waits for that.
    served.is_asked(51).await;
    served.hold();
    clock.advance(Duration::from_secs(10));
    let known = tokio::time::timeout(Duration::from_secs(4), is_known(&chat, &key)).await;
    assert_eq!(known, Ok(true));
    served.is_asked(52).await;
    served.release();
    for _ in 0..20 {
        assert!(is_known(&chat, &key).await && !is_known(&chat, &other).await);
    }
    assert_eq!(served.asked(), 52);
    clock.advance(Duration::from_secs(50));
    assert!(!is_known(&chat, &key).await);
    served.set("", jwks(&[&key]));
    clock.advance(Duration::from_secs(10));
    assert!(is_known(&chat, &key).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_without_end_are_not_read_to_their_end() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let endless = listen(move |mut stream| {
        let count = count.clone();
        async move {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await;
            while stream.write_all(&[b' '; 8_192]).await.is_ok() {
                count.fetch_add(8_192, Ordering::Relaxed);
            }
        }
    });
    let slow = listen(|mut stream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await;
        while stream.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let open = async |url: &str| {
        let database = Database::new().await;
        let settings = database.settings(&issuer(url, &[]));
        let mut app = App::open(&settings.database).await.unwrap();
        let opened = app.configure(&settings).await;
        app.close().await;
        opened.unwrap_err().to_string()
    };
    let (endless, slow) = (endless.await, slow.await);
    let begun = std::time::Instant::now();
    let (endless, _slow) = soon(Box::pin(async { tokio::join!(open(&endless), open(&slow)) })).await;
    assert!(endless.ends_with("it is longer than 1048576 bytes"), "{endless}");
    // The rest is in the buffers of the operating system.
    assert!(sent.load(Ordering::Relaxed) < 20 << 20, "{sent:?}");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}
