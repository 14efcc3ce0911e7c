//! Clients that do not read: they cost a bounded amount of memory, hold up nobody, are let go, and lose nothing.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use duologue::{
    domain::{
        Viewer,
        indexing::{index_words, reindex_words, run_words_job},
    },
    store::{self, Conn, Error},
};
use futures_util::{FutureExt, future::join_all};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Child,
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    crowd::short_or_long,
    harness::{Chat, Database, Socket, authorization, client, soon, text},
    program::serve,
    searches::found,
    world::{World, aliased},
};

const STALLED: usize = 8;
const BATCH: usize = 10;
const FEED: &str = "subscription ($after: String) {
    feed(userId: 2, after: $after) { kind cursor messageId message { content } }
}";

async fn listening(address: std::net::SocketAddr, authorization: Option<&str>, after: Option<&str>) -> Socket {
    let mut socket = Socket::open_with(address, "graphql-transport-ws", authorization).await;
    socket.says(json!({ "type": "connection_init" })).await;
    assert_eq!(socket.hears().await["type"], "connection_ack");
    socket.subscribes("feed", FEED, json!({ "after": after })).await;
    socket
}

/// KiB of what was written and is not in the SQLite file yet.
fn log_of(database: &Database) -> u64 {
    let log = database.url.replace("sqlite:", "") + "-wal";
    std::fs::metadata(log).map_or(0, |log| log.len() / 1024)
}

/// KiB of memory that the server has; `None` where the system does not tell.
fn resident(server: &Child) -> Option<u64> {
    memory(server, "VmRSS:")
}

/// What the system tells of the memory of a process, in KiB, such as `VmHWM:` (the most that it ever had).
pub(crate) fn memory(process: &Child, line: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()?)).ok()?;
    status.lines().find_map(|its| its.strip_prefix(line))?.trim().trim_end_matches(" kB").parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_stands_in_nobodys_way_and_loses_nothing() {
    let database = Database::new().await;
    let authorization = authorization(&database).await;
    let authorization = authorization.as_deref();
    let (mut server, address) =
        serve(&database, &["--stall-timeout", "1", "--ping-interval", "600", "--dead-after", "900"]).await;
    let http = client(authorization);
    let url = format!("http://{address}/graphql");
    let ask = async |query: &str, variables: Value| {
        let body = json!({ "query": query, "variables": variables });
        let answer: Value = soon(http.post(&url).json(&body).send()).await.unwrap().json().await.unwrap();
        assert_eq!(answer.get("errors"), None, "{answer}");
        answer["data"].clone()
    };
    for email in ["ada@x", "bob@x"] {
        let create =
            r#"mutation ($email: String!) { createUser(input: { name: "x", email: $email }) { user { id } } }"#;
        ask(create, json!({ "email": email })).await;
    }
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        let mut socket = listening(address, authorization, None).await;
        let start = text(&socket.hears().await["payload"]["data"]["feed"]["cursor"]);
        stalled.push((socket, start));
    }
    // One that follows several times on one socket, and reads nothing of it.
    let mut many = listening(address, authorization, None).await;
    for id in ["2", "3", "4", "5"] {
        many.subscribes(id, FEED, json!({})).await;
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    let body = json!({ "query": FEED }).to_string();
    let head = format!(
        "POST /graphql HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\
         content-type: application/json\r\n{}content-length: {}\r\n\r\n",
        authorization.map(|text| format!("authorization: {text}\r\n")).unwrap_or_default(),
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut reader = listening(address, authorization, None).await;
    reader.hears().await;

    let before = resident(&server);
    let (mut ids, mut delays, mut most, mut longest) = (Vec::new(), Vec::new(), before, 0);
    // More than the buffers of the machine between two sockets hold.
    let batches = short_or_long(150, 1_000);
    let sends: String = (0..BATCH)
        .map(|n| {
            format!(
                "m{n}: sendMessage(input: {{ senderId: 1, receiverId: 2, content: $text }}) {{ message {{ id }} }} "
            )
        })
        .collect();
    // And for longer than the server waits for those who do not read.
    let begun = Instant::now();
    while delays.len() < batches || begun.elapsed() < Duration::from_secs(4) {
        let data =
            ask(&format!("mutation ($text: String!) {{ {sends} }}"), json!({ "text": "x".repeat(10_000) })).await;
        let answered = Instant::now();
        for n in 0..BATCH {
            let event = reader.hears().await["payload"]["data"]["feed"].take();
            assert_eq!(event["messageId"], data[format!("m{n}")]["message"]["id"]);
            ids.push(text(&event["messageId"]));
        }
        delays.push(answered.elapsed());
        most = most.max(resident(&server));
        longest = longest.max(log_of(&database));
    }
    delays.sort();
    assert!(delays[delays.len() * 99 / 100] < Duration::from_secs(1), "{delays:?}");
    if let (Some(before), Some(most)) = (before, most) {
        assert!(most - before < 64 * 1024, "from {before} to {most} KiB");
    }
    // However long the others stand still, what was written goes on into the file.

    assert!(longest < short_or_long(10, 64) * 1024, "{longest} KiB");

    // The stream was cut off; until then it got what the buffers held.
    soon(stream.read_to_end(&mut Vec::new())).await.unwrap_or_default();
    for (mut socket, mut cursor) in stalled {
        let mut seen = Vec::new();
        loop {
            let said = match socket.hears_or_ends().await {
                Some(Message::Text(said)) => said,
                Some(Message::Close(Some(frame))) => break assert_eq!(u16::from(frame.code), 1013),
                Some(_) => continue,
                None => break,
            };
            let said: Value = serde_json::from_str(&said).unwrap();
            note(&said["payload"]["data"]["feed"], &mut cursor, &mut seen);
        }
        assert!(seen.len() < ids.len(), "it was never let go");
        let mut again = listening(address, authorization, Some(&cursor)).await;
        while note(&again.hears().await["payload"]["data"]["feed"], &mut cursor, &mut seen) {}
        assert_eq!(seen, ids);
    }
    server.kill().await.unwrap();
}

/// False when everything has come.
fn note(event: &Value, cursor: &mut String, seen: &mut Vec<String>) -> bool {
    if event["kind"] == "CAUGHT_UP" {
        return false;
    }
    assert_eq!(event["kind"], "MESSAGE_SENT", "{event}");
    *cursor = text(&event["cursor"]);
    seen.push(text(&event["messageId"]));
    true
}

/// Each ping is answered with a pong: those that nobody reads must not gather.
#[tokio::test(flavor = "multi_thread")]
async fn pings_are_not_read_of_whoever_does_not_read_the_pongs() {
    let patient = ["--stall-timeout", "1", "--init-timeout", "600", "--ping-interval", "600", "--dead-after", "900"];
    let (server, address) = serve(&Database::new().await, &patient).await;
    let ping = [&[0x89, 0xFD, 0, 0, 0, 0][..], &[b'x'; 125]].concat();
    let flood = ping.repeat(4_000);
    for protocol in ["graphql-transport-ws", "graphql-ws"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let upgrade = format!(
            "GET /graphql HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             sec-websocket-protocol: {protocol}\r\n\r\n"
        );
        stream.write_all(upgrade.as_bytes()).await.unwrap();
        soon(stream.read_exact(&mut [0; 12])).await.unwrap();
        let before = resident(&server);
        assert!(before.is_some() || cfg!(not(target_os = "linux")));
        // Until the server has closed the connection.
        soon(async {
            while stream.write_all(&flood).await.is_ok() {
                let more = resident(&server).zip(before).map_or(0, |(now, before)| now.saturating_sub(before));
                assert!(more < 64 * 1_024, "{protocol}: {more} KiB more");
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_reads_nothing_ends_with_its_session() {
    let patient = ["--stall-timeout", "600", "--ping-interval", "600", "--dead-after", "900"];
    let world = World::open(&[&patient[..], &["--max-user-sockets", "1", "--max-answer", "100000000"]].concat()).await;
    world.fill(100).await;
    for (protocol, start) in [("graphql-transport-ws", "subscribe"), ("graphql-ws", "start")] {
        let [session, other] = [world.signs_in("mallory").await, world.signs_in("mallory").await];
        let mut stalled = Socket::open_with(world.address, protocol, Some(&session)).await;
        stalled.says(json!({ "type": "connection_init" })).await;
        assert_eq!(stalled.hears().await["type"], "connection_ack");
        // 24 MB: more than the buffers hold.
        let page = format!("{{ messages(first: 100) {{ nodes {{ {} }} }} }}", aliased(4, "content"));
        stalled.says(json!({ "type": start, "id": "1", "payload": { "query": page } })).await;
        stalled.feels().await;
        world.data(&session, "mutation { signOut { sessionId } }", json!({})).await;
        // The only socket that the user may have is another one now.
        let again = async {
            loop {
                let mut socket = Socket::open_with(world.address, protocol, Some(&other)).await;
                socket.says(json!({ "type": "connection_init" })).await;
                if socket.hears_or_ends().await.is_some_and(|said| said.is_text() && said.to_string().contains("ack")) {
                    break;
                }
            }
        };
        Box::pin(soon(again)).await;
    }
}

/// What a client's connection asks of the database waits for its turn where nobody polls it while the client does not read.
#[tokio::test(flavor = "multi_thread")]
async fn work_that_nobody_polls_keeps_no_connection_from_others() {
    const MANY: usize = 64;
    let chat = Chat::open().await;
    let (store, gate) = (&chat.app.store, Arc::new(Mutex::new(())));
    let work = |_: &mut Conn<'_>| Ok::<_, Error>(());
    for is_write in [false, true] {
        let begin = |wait: Option<Arc<Mutex<()>>>| {
            let work = move |_: &mut Conn<'_>| {
                drop(wait.as_ref().map(|gate| gate.lock()));
                Ok::<_, Error>(())
            };
            let mut begun = if is_write { store.write(work).boxed() } else { store.read(work).boxed() };
            // Polled once.
            let _ = (&mut begun).now_or_never();
            begun
        };
        let closed = gate.lock();
        let busy: Vec<_> = (0..MANY).map(|_| begin(Some(gate.clone()))).collect();
        let stalled: Vec<_> = (0..MANY).map(|_| begin(None)).collect();
        drop(closed);
        for done in soon(join_all(busy)).await {
            done.unwrap();
        }
        let next = if is_write { store.write(work).await } else { store.read(work).await };
        next.unwrap();
        drop(stalled);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_nobody_polls_keeps_no_other_one_waiting() {
    let chat = Chat::open().await;
    let passwords = &chat.app.passwords;
    let begin = || {
        let mut begun = passwords.verify("a guess".to_owned(), None).boxed();
        // Polled once.
        let _ = (&mut begun).now_or_never();
        begun
    };
    // Twice as many as run at a time.
    let many = std::thread::available_parallelism().unwrap().get() * 4;
    let busy: Vec<_> = (0..many).map(|_| begin()).collect();
    let stalled: Vec<_> = (0..many).map(|_| begin()).collect();
    assert_eq!(soon(join_all(busy)).await, vec![Ok(false); many]);
    assert_eq!(soon(begin()).await, Ok(false));
    drop(stalled);
}

/// No text has more words: 10,000 characters, each of which is one.
fn long_text(number: usize) -> String {
    ('\u{4E00}'..).skip(100 * number).take(10_000).collect()
}

/// SQLite has one writer, which takes long to remove many words: some 50 milliseconds for one of these texts.
#[tokio::test(flavor = "multi_thread")]
async fn long_texts_that_one_user_changes_keep_nobody_waiting() {
    let chat = Chat::open().await;
    if !chat.database.is_sqlite() {
        return;
    }
    let (eve, bob) = (&chat.person("Eve").await, chat.person("Bob").await);
    let mut sent = Vec::new();
    for number in 0..50 {
        sent.push(eve.sends(&long_text(number), &bob).await);
    }
    index_words(&chat.app).await.unwrap();
    let job = tokio::spawn(run_words_job(chat.app.clone()));
    let is_done = AtomicBool::new(false);
    let changes = async {
        let (deleted, edited) = sent.split_at(30);
        join_all(edited.iter().zip(50..).map(|(id, number)| async move { eve.edits(id, &long_text(number)).await }))
            .await;
        join_all(deleted.iter().map(|id| eve.deletes(id))).await;
        while !chat.app.store.read(|conn| store::indexing::changes(conn, false, 1)).await.unwrap().is_empty() {}
        is_done.store(true, Ordering::Relaxed);
    };
    let others = async {
        let mut longest = Duration::ZERO;
        while !is_done.load(Ordering::Relaxed) {
            let begun = Instant::now();
            chat.app.store.write(|_| Ok::<_, Error>(())).await.unwrap();
            longest = longest.max(begun.elapsed());
        }
        longest
    };
    let ((), longest) = soon(async { tokio::join!(changes, others) }).await;
    job.abort();
    assert!(longest < Duration::from_millis(750), "{longest:?}");
}

/// A search reads the texts of 20,000 messages whose former words SQLite still has.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_before_very_many_changes_is_pending_and_not_found_by_its_former_words() {
    let chat = Chat::open().await;
    if !chat.database.is_sqlite() {
        return;
    }
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let edited = ada.sends("a former word", &bob).await;
    index_words(&chat.app).await.unwrap();
    ada.edits(&edited, "a new word").await;
    let finds = async |word: &str| {
        let found = found(&chat, json!({ "text": word, "userId": bob.id })).await;
        (found["pending"].clone(), found["edges"].as_array().unwrap().len())
    };
    assert_eq!((finds("former").await, finds("new").await), ((json!(0), 0), (json!(0), 1)));
    let many = "WITH RECURSIVE ids (id) AS (SELECT 100 UNION ALL SELECT id + 1 FROM ids LIMIT 20000)
        INSERT INTO index_changes (message_id) SELECT id FROM ids";
    drop(chat.database.run(many).await);
    assert_eq!((finds("former").await, finds("new").await), ((json!(1), 0), (json!(1), 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_index_waits_for_a_database_that_is_busy() {
    let chat = Chat::open().await;
    if !chat.database.is_sqlite() {
        return;
    }
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    ada.sends("a word", &bob).await;
    let (lock, operator) = (chat.database.locked().await, Viewer::operator(&chat.app));
    let indexed = Mutex::new(Vec::new());
    let progress = |done, total| indexed.lock().unwrap().push((done, total));
    let mut reindexing = pin!(reindex_words(&chat.app, &operator, progress));
    // Polled once it is the first that waits, and that is told that the database is busy.
    assert!((&mut reindexing).now_or_never().is_none());
    let next = async {
        let refused = chat.app.store.write(|_| Ok::<_, Error>(())).await;
        assert!(matches!(refused, Err(Error::Busy)), "{refused:?}");
        drop(lock);
    };
    let (reindexed, ()) = soon(async { tokio::join!(reindexing, next) }).await;
    reindexed.unwrap();
    assert_eq!(*indexed.lock().unwrap(), [(1, 1)]);
}
