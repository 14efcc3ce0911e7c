//! Pages of other origins: which may use the server, over HTTP (CORS) and over WebSocket, and what is said of the others.

use std::process::Stdio;

use reqwest::{Method, Response};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest};

use crate::{
    harness::{ACCOUNTS, Chat, Database, soon},
    program::{program, started},
};

/// Asks as a browser does before a page of this origin sends a request with these headers.
async fn preflight(chat: &Chat, origin: &str, headers: &str) -> Response {
    let request = chat.http.request(Method::OPTIONS, chat.url("/graphql")).header("origin", origin);
    let request = request.header("access-control-request-method", "POST");
    soon(request.header("access-control-request-headers", headers).send()).await.unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    Some(response.headers().get(name)?.to_str().unwrap())
}

/// Whether pages of this origin may use the server, over HTTP and over WebSocket.
async fn allows(chat: &Chat, origin: &str) -> bool {
    let answer = preflight(chat, origin, "content-type").await;
    let over_http = header(&answer, "access-control-allow-origin").is_some_and(|its| its == origin);
    let mut request = format!("ws://{}/graphql", chat.address).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse().unwrap());
    request.headers_mut().insert("origin", origin.parse().unwrap());
    let over_websocket = match soon(tokio_tungstenite::connect_async(request)).await {
        Ok(_) => true,
        Err(tungstenite::Error::Http(answer)) if answer.status() == 403 => false,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(over_http, over_websocket, "{origin}");
    over_http
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_server_itself_and_of_named_origins_may_use_it() {
    let named = "https://chat.example.com,HTTP://App.Example.com:8080,null,file://,capacitor://localhost";
    let chat = Chat::with(&[&ACCOUNTS[..], &["--cors-origin", named]].concat()).await;
    for origin in [
        "https://chat.example.com",
        "http://app.example.com:8080",
        "null",
        "file://",
        "capacitor://localhost",
        &format!("http://{}", chat.address),
    ] {
        assert!(allows(&chat, origin).await, "{origin}");
    }
    for origin in [
        "https://evil.example.com",
        "http://chat.example.com",
        "https://chat.example.com.evil.com",
        "http://127.0.0.1",
        "http://localhost:5173",
    ] {
        assert!(!allows(&chat, origin).await, "{origin}");
    }
    let closed = Chat::with(&ACCOUNTS).await;
    for origin in ["null", "file://", "https://chat.example.com"] {
        assert!(!allows(&closed, origin).await, "{origin}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_origin_may_send_any_header_also_in_the_mode_with_credentials() {
    let chat = Chat::with(&["--cors-origin", "https://chat.example.com"]).await;
    let wanted = "apollo-require-preflight,apollographql-client-name,authorization,baggage,content-type,traceparent,x-request-id";
    let answer = preflight(&chat, "https://chat.example.com", wanted).await;
    assert_eq!(header(&answer, "access-control-allow-headers"), Some(wanted));
    assert_eq!(header(&answer, "access-control-allow-credentials"), Some("true"));
    assert_eq!(header(&answer, "access-control-allow-origin"), Some("https://chat.example.com"));
    // The answer itself may be read too.
    let request = chat.http.get(chat.url("/graphql?query={__typename}")).header("origin", "https://chat.example.com");
    let answer = soon(request.send()).await.unwrap();
    assert_eq!(header(&answer, "access-control-allow-origin"), Some("https://chat.example.com"));
    assert_eq!(header(&answer, "access-control-allow-credentials"), Some("true"));
}

/// Browsers only keep the answers from pages of other origins: the requests of images and event streams arrive all the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_page_of_another_origin_gets_without_a_preflight_is_not_run() {
    let chat = Chat::with(&["--cors-origin", "https://chat.example.com", "--allow-open-network"]).await;
    for (headers, status) in [
        (&[("origin", "https://evil.example.com")][..], 403),
        (&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")], 403),
        (&[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors")], 403),
        (&[("origin", "https://chat.example.com"), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "cors")], 200),
        (&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], 200),
        (&[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")], 200),
        (&[], 200),
    ] {
        let request = chat.http.get(chat.url("/graphql?query={__typename}")).header("accept", "application/json");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = soon(request.send()).await.unwrap();
        assert_eq!(answer.status(), status, "{headers:?}");
        assert_eq!(header(&answer, "access-control-allow-origin").is_some(), status == 200 && headers.len() == 3);
    }
}

/// As any program on the machine may do everything there; but not where it answers to more than this machine.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_server_is_there_for_the_pages_of_its_machine() {
    let chat = Chat::open_to_all(&[]).await;
    for origin in ["http://localhost:5173", "http://127.0.0.1:3000", "http://[::1]:8080", "https://app.localhost"] {
        assert!(allows(&chat, origin).await, "{origin}");
    }
    for origin in ["null", "file://", "http://localhost.evil.com", "http://10.0.0.1", "http://127.0.0.1.evil.com"] {
        assert!(!allows(&chat, origin).await, "{origin}");
    }
    let wide = Chat::open_to_all(&["--allow-open-network"]).await;
    assert!(!allows(&wide, "http://localhost:5173").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_origin_is_a_warning_once_that_names_the_flag() {
    let database = Database::new().await;
    let mut server = program(&["serve", "--listen", "127.0.0.1:0", "--database", &database.url]);
    server.stderr(Stdio::piped());
    let (mut server, address) = started(server).await;
    let mut log = BufReader::new(server.stderr.take().unwrap()).lines();
    let client = reqwest::Client::new();
    let ask = async |origin: &str| {
        let request = client.get(format!("http://{address}/graphql?query={{__typename}}")).header("origin", origin);
        soon(request.send()).await.unwrap();
    };
    for origin in ["https://a.example.com", "https://a.example.com", "http://localhost:5173", "https://b.example.com"] {
        ask(origin).await;
    }
    let mut warned = Vec::new();
    while warned.len() < 2 {
        let line = soon(log.next_line()).await.unwrap().unwrap();
        warned.extend(line.split_once("--cors-origin ").map(|(_, origin)| origin.to_owned()));
    }
    assert_eq!(warned, ["https://a.example.com", "https://b.example.com"]);
}
