//! Changes that queue: many are committed together, one that fails fails alone, and there is an end to the queue.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use duologue::{
    model::{messages::Draft, texts::Content, timestamps::Timestamp},
    store,
};
use futures_util::{StreamExt, future::join_all, stream::FuturesUnordered};
use serde_json::{Value, json};

use crate::harness::{Chat, SEND, code, soon};

/// Changes in hand at most.
const MOST: usize = 512;

#[tokio::test(flavor = "multi_thread")]
async fn too_many_changes_are_told_to_come_again_and_the_others_are_made() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let lock = chat.database.locked().await;
    let send = async |number: usize| {
        let input = json!({ "senderId": ada.id, "receiverId": bob.id, "content": number.to_string() });
        let body = json!({ "query": SEND, "variables": { "input": input } });
        let answer = chat.http.post(chat.url("/graphql")).json(&body).send().await.unwrap();
        let retry_after = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        (number, answer.status().as_u16(), retry_after, answer.json::<Value>().await.unwrap())
    };
    let surplus = 40;
    let mut answers: FuturesUnordered<_> = (0..MOST + surplus).map(send).collect();
    let mut refused = 0;
    for _ in 0..surplus {
        let (_, status, retry_after, answer) = soon(answers.next()).await.unwrap();
        assert_eq!((status, retry_after.as_deref()), (503, Some("1")), "{answer}");
        match code(&answer).as_str() {
            "UNAVAILABLE" => refused += 1,
            // On a slow machine some have waited for too long by now, and made room for others.
            code => assert_eq!(code, "DATABASE_BUSY", "{answer}"),
        }
    }
    assert!(refused > 0);
    drop(lock);
    let mut made = Vec::new();
    while let Some((number, status, _, answer)) = soon(answers.next()).await {
        if status == 200 {
            made.push(number.to_string());
        } else {
            assert_eq!(code(&answer), "DATABASE_BUSY", "{answer}");
        }
    }
    assert!(!made.is_empty());
    let mut stored = Vec::new();
    let mut before = Value::Null;
    let page = "query ($before: String) { conversation(user1: 1, user2: 2) { messages(last: 100, before: $before) {
        nodes { content } pageInfo { startCursor }
    } } }";
    loop {
        let data = chat.data(page, json!({ "before": before })).await;
        let messages = &data["conversation"]["messages"];
        let nodes = messages["nodes"].as_array().unwrap();
        if nodes.is_empty() {
            break;
        }
        stored.extend(nodes.iter().map(|node| node["content"].as_str().unwrap().to_owned()));
        before = messages["pageInfo"]["startCursor"].clone();
    }
    made.sort_unstable();
    stored.sort_unstable();
    assert_eq!(stored, made);
}

/// A load balancer sends requests to another server then.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_queue_stays_full_is_not_ready() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let lock = chat.database.locked().await;
    let is_locked = AtomicBool::new(true);
    let input = json!({ "senderId": ada.id, "receiverId": bob.id, "content": "Hi" });
    let sends = async |_| {
        // Each one that has waited for too long is followed by another.
        while is_locked.load(Ordering::Relaxed) {
            chat.ask(SEND, json!({ "input": input })).await;
        }
    };
    let ready = async || {
        let answer = chat.http.get(chat.url("/health/ready")).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let asks = async {
        let mut pace = tokio::time::interval(Duration::from_millis(100));
        loop {
            pace.tick().await;
            let (status, said) = ready().await;
            if said.contains("too many changes wait") {
                assert_eq!((status, said.as_str()), (503, "not ready: too many changes wait for the database\n"));
                break;
            }
            // At the moment in which some have waited for too long, there is room for the change of a probe.
            assert!(status == 200 || said.contains("changes wait for the database"), "{said}");
        }
        is_locked.store(false, Ordering::Relaxed);
        drop(lock);
    };
    soon(async { tokio::join!(join_all((0..MOST).map(sends)), asks) }).await;
    soon(async { while ready().await.0 != 200 {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_fails_alone() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let insert = |content: &'static str, then: fn() -> store::Result<()>| {
        let store = &chat.app.store;
        async move {
            let work = move |conn: &mut store::Conn<'_>| {
                let draft = Draft {
                    sender_id: "usr_1".parse().unwrap(),
                    receiver_id: "usr_2".parse().unwrap(),
                    content: Content::parse(content.into()).unwrap(),
                    reply_to_id: None,
                    client_id: None,
                };
                store::messages::insert(conn, &draft, Timestamp::now())?;
                then()
            };
            store.write(work).await
        }
    };
    // All of them queue behind the lock, and then they are one batch.
    let lock = chat.database.locked().await;
    let fails = || Err(store::Error::Failed("on purpose".into()));
    let breaks_off = || panic!("on purpose");
    let waiting = join_all([
        insert("one", || Ok(())),
        insert("fails", fails),
        insert("two", || Ok(())),
        insert("breaks off", breaks_off),
        insert("three", || Ok(())),
    ]);
    let unlock = async {
        tokio::task::yield_now().await;
        drop(lock);
    };
    let (outcomes, ()) = tokio::join!(waiting, unlock);
    assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, false, true]);
    let mut texts = chat.texts(&ada, &bob).await;
    texts.sort_unstable();
    assert_eq!(texts, ["one", "three", "two"]);
    ada.sends("goes on", &bob).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_waits_for_any_more_is_not_begun() {
    let chat = Chat::open().await;
    if !chat.database.is_sqlite() {
        return;
    }
    let lock = chat.database.locked().await;
    let begun = Arc::new(AtomicBool::new(false));
    let work = {
        let begun = begun.clone();
        move |_: &mut store::Conn<'_>| {
            begun.store(true, Ordering::SeqCst);
            Ok::<_, store::Error>(())
        }
    };
    let mut given_up = Box::pin(chat.app.store.write(work));
    assert!(futures_util::poll!(&mut given_up).is_pending());
    drop(given_up);
    drop(lock);
    chat.person("Ada").await;
    assert!(!begun.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_panics_after_a_commit_or_in_a_read_stops_nobody() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let store = &chat.app.store;
    let tell = |(): &()| panic!("on purpose");
    soon(store.write_then(|_| Ok::<_, store::Error>(()), tell)).await.unwrap();
    // More than there are connections.
    for _ in 0..40 {
        let read = store.read(|_| -> Result<(), store::Error> { panic!("on purpose") });
        assert!(matches!(soon(read).await, Err(store::Error::Failed(_))));
    }
    ada.sends("and on", &bob).await;
    assert_eq!(chat.texts(&ada, &bob).await, ["and on"]);
}
