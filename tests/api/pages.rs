//! Pages for people: GraphiQL, from the binary itself where it was built.

use std::{io::Read, path::Path};

use crate::harness::{Chat, code};

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_gets_graphiql() {
    let chat = Chat::open().await;
    for path in ["/", "/graphql"] {
        let request = chat.http.get(chat.url(path)).header("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
        assert!(answer.text().await.unwrap().to_lowercase().contains("<!doctype html>"));
    }
    let nothing = chat.http.get(chat.url("/nothing")).send().await.unwrap();
    assert_eq!((nothing.status().as_u16(), code(&nothing.json().await.unwrap()).as_str()), (404, "BAD_REQUEST"));
}

/// Status, a header, and the bytes of a file.
async fn file(chat: &Chat, path: &str, coding: Option<&str>) -> (u16, reqwest::header::HeaderMap, Vec<u8>) {
    let mut request = chat.http.get(chat.url(path));
    if let Some(coding) = coding {
        request = request.header("accept-encoding", coding);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.headers().clone(), answer.bytes().await.unwrap().to_vec())
}

/// A file is sent as it was packed to those who unpack it, and unpacked to others.
async fn assert_packed(chat: &Chat, path: &str) {
    let (status, headers, packed) = file(chat, path, Some("gzip, deflate, br")).await;
    assert_eq!((status, headers["content-encoding"].to_str().unwrap()), (200, "gzip"), "{path}");
    assert!(!headers["content-type"].to_str().unwrap().contains("octet-stream"), "{path}");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&*packed).read_to_end(&mut unpacked).unwrap();
    let (status, headers, plain) = file(chat, path, None).await;
    assert_eq!((status, headers.get("content-encoding")), (200, None), "{path}");
    assert_eq!(plain, unpacked, "{path}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_built_pages_need_nothing_from_elsewhere() {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("web/dist/index.html.gz");
    if !built.exists() {
        let without = std::env::var_os("DUOLOGUE_TEST_WITHOUT_NODE").is_some();
        assert!(without, "run `make test`, which builds the pages");
        return;
    }
    let chat = Chat::open().await;
    for (path, styles) in [("/", "style-src 'self' 'unsafe-inline'"), ("/demo", "style-src 'self'")] {
        let (status, headers, page) = file(&chat, path, None).await;
        assert_eq!(status, 200);
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';") && policy.ends_with(styles), "{policy}");
        let page = String::from_utf8(page).unwrap();
        assert!(!page.contains("http://") && !page.contains("https://"), "{page}");
        let parts: Vec<&str> = page.split('"').filter(|text| text.starts_with('/')).collect();
        assert!(parts.len() >= 3, "{page}");
        for part in parts {
            assert_packed(&chat, part).await;
        }
    }
    for outside in ["/../Cargo.toml", "/assets/../../Cargo.toml", "/.gitignore", "/index.html.gz"] {
        assert_eq!(file(&chat, outside, None).await.0, 404, "{outside}");
    }
}
