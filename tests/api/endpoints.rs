//! Texts to vectors by another program: one that misbehaves in every way that is known, and a real one.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use clap::Parser;
use duologue::{
    config::Cli,
    model::vectors::Vector,
    search::{EmbedError, Embedder, EndpointSettings, Settings, Source},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::soon;

const KEY: &str = "sk-secret-key";
/// An answer that ends in the middle.
const HALF: &str = r#"{ "data": [{ "index": 0, "embedding": [0.1, "#;

/// What the stand-in answers; `None`: nothing, for ever.
type Respond = Box<dyn Fn(&Value) -> Option<Response> + Send + Sync>;

/// Another program that makes embeddings, or does not.
pub(crate) struct Program {
    pub(crate) url: String,
    respond: Arc<Mutex<Respond>>,
    seen: Arc<Mutex<Vec<(HeaderMap, Value)>>>,
}

impl Program {
    pub(crate) async fn start(respond: impl Fn(&Value) -> Option<Response> + Send + Sync + 'static) -> Self {
        let respond: Arc<Mutex<Respond>> = Arc::new(Mutex::new(Box::new(respond)));
        let seen: Arc<Mutex<Vec<(HeaderMap, Value)>>> = Arc::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/", listener.local_addr().unwrap());
        let state = (respond.clone(), seen.clone());
        let app = Router::new().route("/v1/embeddings", post(answer)).with_state(state);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, respond, seen }
    }

    pub(crate) fn set(&self, respond: impl Fn(&Value) -> Option<Response> + Send + Sync + 'static) {
        *self.respond.lock().unwrap() = Box::new(respond);
    }

    /// The requests since the last time.
    pub(crate) fn seen(&self) -> Vec<(HeaderMap, Value)> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    fn settings(&self) -> EndpointSettings {
        EndpointSettings {
            url: self.url.clone(),
            key: Some(KEY.into()),
            name: "small".into(),
            query_name: None,
            dimensions: None,
            batch_size: 4,
            timeout: Duration::from_secs(20),
            allows_plain_http: false,
        }
    }

    fn embedder(&self) -> Embedder {
        open(self.settings()).unwrap()
    }
}

type Shared = (Arc<Mutex<Respond>>, Arc<Mutex<Vec<(HeaderMap, Value)>>>);

async fn answer(State((respond, seen)): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap();
    seen.lock().unwrap().push((headers, body.clone()));
    let response = respond.lock().unwrap()(&body);
    match response {
        Some(response) => response,
        None => std::future::pending().await,
    }
}

fn open(settings: EndpointSettings) -> Result<Embedder, String> {
    Embedder::open(Settings { source: Source::Endpoint(settings), query_prefix: None, passage_prefix: None })
}

fn inputs(body: &Value) -> Vec<&str> {
    body["input"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

/// A vector that tells texts of different lengths apart.
fn numbers(text: &str) -> Vec<f32> {
    vec![f32::from(u16::try_from(text.len()).unwrap()), 1.0, 2.0]
}

fn vector(text: &str) -> Vector {
    Vector::new(numbers(text)).unwrap()
}

fn data(data: &[Value]) -> Option<Response> {
    status(200, &json!({ "object": "list", "data": data, "model": "small" }))
}

/// As it should be.
pub(crate) fn good(body: &Value) -> Option<Response> {
    let data = inputs(body).into_iter().enumerate();
    let data: Vec<Value> = data.map(|(index, text)| json!({ "index": index, "embedding": numbers(text) })).collect();
    self::data(&data)
}

#[allow(clippy::unnecessary_wraps, reason = "it is what a program answers")]
pub(crate) fn status(code: u16, body: &Value) -> Option<Response> {
    Some((StatusCode::from_u16(code).unwrap(), body.to_string()).into_response())
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

async fn passages(embedder: &Embedder, of: &[&str]) -> Result<Vec<Vector>, EmbedError> {
    soon(embedder.embed_passages(&texts(of))).await
}

/// Why one text got no vector. Nothing secret is in it.
async fn reason(embedder: &Embedder) -> EmbedError {
    let error = passages(embedder, &["my own words"]).await.unwrap_err();
    let said = format!("{error} {error:?}");
    let secrets = [KEY, "passw0rd", "user:", "my own words", "http://"];
    assert_eq!(secrets.into_iter().find(|secret| said.contains(secret)), None, "{said}");
    assert!(!error.to_string().contains('\n'));
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_asked_as_openai_has_it() {
    let program = Program::start(good).await;
    let settings =
        EndpointSettings { dimensions: Some(3), query_name: Some("small-query".into()), ..program.settings() };
    let source = Source::Endpoint(settings);
    let prefixes = (Some("query: ".into()), Some("passage: ".into()));
    let embedder = Embedder::open(Settings { source, query_prefix: prefixes.0, passage_prefix: prefixes.1 }).unwrap();
    assert_eq!(passages(&embedder, &["a", "bc"]).await.unwrap(), [vector("passage: a"), vector("passage: bc")]);
    for _ in 0..3 {
        let found = soon(embedder.embed_query("a")).await.unwrap();
        assert_eq!(found, vector("query: a"));
    }
    // The second and the third time nobody is asked.
    let [(headers, passages), (_, query)] = &program.seen()[..] else { panic!("another number of requests") };
    assert_eq!(headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(headers["content-type"], "application/json");
    let expected = json!({
        "model": "small", "input": ["passage: a", "passage: bc"], "encoding_format": "float", "dimensions": 3,
    });
    assert_eq!(*passages, expected);
    assert_eq!((&query["model"], &query["input"]), (&json!("small-query"), &json!(["query: a"])));

    let plain = program.embedder();
    assert_ne!(plain.identity(), embedder.identity());
    self::passages(&plain, &["a"]).await.unwrap();
    assert_eq!(program.seen()[0].1.get("dimensions"), None);

    let url = program.url.replace("http://", "http://user:passw0rd@");
    let named = EndpointSettings { url: url.clone(), key: None, ..program.settings() };
    let named = open(named).unwrap();
    self::passages(&named, &["a"]).await.unwrap();
    assert_eq!(program.seen()[0].0["authorization"], "Basic dXNlcjpwYXNzdzByZA==");
    program.set(|_| status(401, &json!({})));
    assert!(matches!(reason(&named).await, EmbedError::Misconfigured { .. }));
    let both = open(EndpointSettings { url, ..program.settings() }).map(drop).unwrap_err();
    assert!(both.ends_with("only one can be sent") && !both.contains("passw0rd"), "{both}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_halved_until_it_stands_alone() {
    for code in [Some(400), Some(413), Some(422), Some(500), Some(403), Some(451), None] {
        // As TEI and llama.cpp: only so many texts, and one is too long. Or something blocks one, or one takes too long.
        let program = Program::start(move |body| {
            let is_too_much = inputs(body).len() > 3 || inputs(body).contains(&"poison");
            if is_too_much {
                code.and_then(|code| status(code, &json!({ "message": inputs(body)[0] })))
            } else {
                good(body)
            }
        });
        let timeout = Duration::from_secs(if code.is_none() { 1 } else { 20 });
        let embedder = open(EndpointSettings { timeout, ..program.await.settings() }).unwrap();
        let (many, vectors) = (["a", "bb", "ccc", "dddd", "poison", "fffffff"], ["a", "bb", "ccc", "dddd", "fffffff"]);
        let each = soon(embedder.embed_each(texts(&many))).await.unwrap();
        let mut expected: Vec<_> = vectors.map(|text| Some(vector(text))).into();
        expected.insert(4, None);
        assert_eq!(each, expected);
        let refused = passages(&embedder, &["a", "poison"]).await;
        assert!(matches!(refused, Err(EmbedError::Refused { .. })), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_everything_is_refused_it_is_no_fault_of_the_texts() {
    let program = Program::start(good).await;
    let embedder = program.embedder();
    let flat = json!({ "object": "error", "message": "dimensions is\nnot supported", "code": 40001 });
    let nested = json!({ "error": { "message": "dimensions is\nnot supported", "type": "x" } });
    for body in [flat, nested, json!({ "error": "dimensions is\nnot supported" })] {
        program.set(move |_| status(400, &body));
        let EmbedError::Misconfigured { reason } = reason(&embedder).await else { panic!("it is another error") };
        assert_eq!(reason, "the endpoint answers 400 Bad Request: dimensions is not supported");
    }
    // A text that is quoted is none that somebody wrote, and a key is not shown.
    program.set(|body| status(400, &json!({ "message": format!("{} {KEY}", inputs(body)[0]) })));
    assert!(reason(&embedder).await.to_string().ends_with(": hello …"));
    for (code, advice) in [(401, "check --embedding-key"), (403, "check --embedding-key"), (404, "--embedding-name")] {
        program.set(move |body| status(code, &json!({ "error": format!("no: {}", inputs(body)[0]) })));
        let EmbedError::Misconfigured { reason } = reason(&embedder).await else { panic!("{code}") };
        assert!(reason.contains(advice) && reason.ends_with(": no: hello"), "{reason}");
    }
    program.set(|_| Some((StatusCode::FOUND, [("location", "https://example.com/")]).into_response()));
    assert!(matches!(reason(&embedder).await, EmbedError::Misconfigured { .. }));
    program.set(|_| status(500, &json!({})));
    assert!(matches!(reason(&embedder).await, EmbedError::Temporary { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_go_well_later_is_temporary() {
    let program = Program::start(good).await;
    let embedder = program.embedder();
    for (code, header, expected) in
        [(429, "7", Some(7)), (503, "99999999", Some(3_600)), (502, "soon", None), (504, "", None)]
    {
        program.set(move |_| {
            let status = StatusCode::from_u16(code).unwrap();
            Some((status, [("retry-after", header)], "<html>busy</html>").into_response())
        });
        let EmbedError::Temporary { retry_after, .. } = reason(&embedder).await else { panic!("{code}") };
        assert_eq!(retry_after, expected.map(Duration::from_secs));
    }
    // Half an answer, with and without its length.
    program.set(|_| Some(Body::from(HALF).into_response()));
    assert!(matches!(reason(&embedder).await, EmbedError::Temporary { .. }));
    program.set(|_| Some(([("content-length", "5000")], Body::from(HALF)).into_response()));
    assert!(matches!(reason(&embedder).await, EmbedError::Temporary { .. }));
    assert_eq!(program.seen().len(), 6);
    // It comes back.
    program.set(good);
    assert_eq!(passages(&embedder, &["a"]).await.unwrap(), [vector("a")]);

    let nobody = EndpointSettings { url: "http://localhost:1".into(), ..program.settings() };
    let EmbedError::Temporary { reason, .. } = reason(&open(nobody).unwrap()).await else {
        panic!("it is another error")
    };
    assert!(reason.starts_with("the endpoint cannot be reached: "), "{reason}");
    program.set(|_| None);
    let impatient = EndpointSettings { timeout: Duration::from_millis(100), ..program.settings() };
    let late = self::reason(&open(impatient).unwrap()).await;
    assert_eq!(late, EmbedError::Temporary { reason: "the endpoint did not answer in time".into(), retry_after: None });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_waits_for_three_seconds_and_not_at_all_after_five_failures() {
    let program = Program::start(|_| None).await;
    let embedder = Arc::new(program.embedder());
    let begun = Instant::now();
    let queries = (0..5).map(|number| {
        let embedder = embedder.clone();
        tokio::spawn(async move { embedder.embed_query(&format!("query {number}")).await })
    });
    for query in queries.collect::<Vec<_>>() {
        let failed = soon(query).await.unwrap();
        assert!(matches!(failed, Err(EmbedError::Temporary { .. })), "{failed:?}");
    }
    assert!((3..8).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    program.set(good);
    assert_eq!(program.seen().len(), 5);
    let failed = soon(embedder.embed_query("one more")).await;
    let Err(EmbedError::Temporary { retry_after: Some(wait), .. }) = failed else { panic!("{failed:?}") };
    assert!((20..=30).contains(&wait.as_secs()), "{wait:?}");
    assert_eq!(program.seen().len(), 0);
    // Passages are asked for all the same.
    passages(&embedder, &["a"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_find_their_texts_or_are_refused() {
    let program = Program::start(|body| {
        let items = inputs(body).into_iter().enumerate();
        let data = items.map(|(index, text)| json!({ "index": index, "embedding": numbers(text) }));
        self::data(&data.rev().collect::<Vec<_>>())
    })
    .await;
    let embedder = program.embedder();
    let expected = ["a", "bb", "ccc"].map(vector);
    assert_eq!(passages(&embedder, &["a", "bb", "ccc"]).await.unwrap(), expected);
    program.set(|body| {
        let data: Vec<_> = inputs(body).into_iter().map(|text| json!({ "embedding": numbers(text) })).collect();
        self::data(&data)
    });
    assert_eq!(passages(&embedder, &["a", "bb", "ccc"]).await.unwrap(), expected);

    // Only the first one, whatever was asked for.
    program.set(|body| data(&[json!({ "index": 0, "embedding": numbers(inputs(body)[0]) })]));
    assert!(matches!(passages(&embedder, &["a", "bb"]).await, Err(EmbedError::Refused { .. })));
    let each = soon(embedder.embed_each(texts(&["a", "bb", "ccc"]))).await.unwrap();
    assert_eq!(each, expected.map(Some));
    // What is no vector, for one text.
    for bad in ["[NaN, 1, 2]", "[0, 0, 0]", "[null, 1, 2]", "[]", "[1e999, 1, 2]", "\"AACAPw==\""] {
        program.set(move |body| match inputs(body)[..] {
            ["bb"] => Some(format!("{{ \"data\": [{{ \"index\": 0, \"embedding\": {bad} }}] }}").into_response()),
            [_] => good(body),
            _ => status(400, &json!({})),
        });
        let each = soon(embedder.embed_each(texts(&["a", "bb", "ccc"]))).await.unwrap();
        assert_eq!(each, [Some(vector("a")), None, Some(vector("ccc"))], "{bad}");
        program.set(move |_| Some(format!("{{ \"data\": [{{ \"embedding\": {bad} }}] }}").into_response()));
        assert!(matches!(reason(&embedder).await, EmbedError::Misconfigured { .. }), "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_dimensions_and_answers_without_end_are_for_the_operator() {
    let program = Program::start(good).await;
    let embedder = program.embedder();
    passages(&embedder, &["a"]).await.unwrap();
    program.set(|_| data(&[json!({ "embedding": [1, 2] })]));
    let said = reason(&embedder).await;
    assert!(matches!(said, EmbedError::Misconfigured { .. }));
    assert_eq!(said.to_string(), "the endpoint gives vectors of 2 dimensions, but those before had 3");
    let fewer = open(EndpointSettings { dimensions: Some(1), ..program.settings() }).unwrap();
    let said = reason(&fewer).await.to_string();
    assert_eq!(said, "the endpoint gives vectors of 2 dimensions, but --embedding-dimensions asks for 1");

    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    program.set(move |_| {
        let count = count.clone();
        let spaces = futures_util::stream::repeat_with(move || {
            count.fetch_add(8_192, Ordering::Relaxed);
            Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 8_192]))
        });
        Some(Body::from_stream(spaces).into_response())
    });
    let said = reason(&embedder).await;
    assert!(said.to_string().ends_with("answer is longer than 262144 bytes"), "{said}");
    // The rest is in the buffers of the operating system.
    assert!(sent.load(Ordering::Relaxed) < 20 << 20, "{sent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_leave_private_networks_only_encrypted() {
    let program = Program::start(good).await;
    let open = |url: &str, allows_plain_http| {
        open(EndpointSettings { url: url.into(), allows_plain_http, ..program.settings() }).map(drop)
    };
    let near =
        ["http://127.0.0.1/v1", "http://[::1]/v1", "http://10.0.0.1:80", "http://gpu.internal", "https://8.8.8.8/v1"];
    assert_eq!(near.map(|url| open(url, false)), [const { Ok(()) }; 5]);
    for far in ["http://8.8.8.8/v1?key=passw0rd", "http://[2001:db8::1]/", "http://0.0.0.0:1/"] {
        let said = open(far, false).unwrap_err();
        assert!(said.contains("--embedding-allow-plain-http") && !said.contains("passw0rd"), "{said}");
        assert_eq!(open(far, true), Ok(()));
    }
    for bad in ["", "localhost:11434", "ftp://127.0.0.1/", "data:text/plain,x"] {
        assert!(open(bad, true).unwrap_err().starts_with("--embedding-url"), "{bad}");
    }
    // Names are looked up each time that a connection is made.
    let port = program.url.trim_end_matches("/v1/").rsplit(':').next().unwrap();
    let named = EndpointSettings { url: format!("http://localhost:{port}/v1"), ..program.settings() };
    assert_eq!(passages(&self::open(named).unwrap(), &["a"]).await.unwrap(), [vector("a")]);
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    let parse = |flags: &[&str]| Cli::try_parse_from(["duologue", "serve"].iter().chain(flags)).map(drop);
    let url = ["--embedding-url", "http://127.0.0.1/v1"];
    assert!(parse(&[&url[..], &["--embedding-name", "one"]].concat()).is_ok());
    let refused = [
        &[&url[..], &["--embedding-name", "one", "--embedding-model", "folder"]].concat()[..],
        &url,
        &["--embedding-key", "secret"],
        &["--embedding-dimensions", "3"],
        &["--embedding-batch", "0"],
    ];
    for flags in refused {
        let said = parse(flags).unwrap_err().to_string();
        assert!(!said.contains("secret"), "{said}");
    }
}
