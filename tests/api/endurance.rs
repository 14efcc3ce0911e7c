//! Endurance: thousands of messages, edits and deletions while followers drop and come back hundreds of times and the
//! server is killed in between. Nobody misses anything, hears anything twice, or in another order.

use std::{
    collections::BTreeMap,
    error::Error,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use duologue::model::feed::Cursor;
use futures_util::{SinkExt, StreamExt, future::join_all};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::{Message, client::ClientRequestBuilder};

use crate::{
    harness::{Database, authorization, client, text},
    program::serve,
};

const PEOPLE: u64 = 6;
const WRITERS: u64 = 6;
const STEPS: u64 = 500;
const FOLLOWERS: u64 = 20;
const KILLS: usize = 3;

type Attempt<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Where the server is now, for all who use it.
#[derive(Clone)]
struct World {
    address: watch::Receiver<SocketAddr>,
    authorization: Option<Arc<str>>,
    http: reqwest::Client,
    steps: Arc<AtomicUsize>,
    drops: Arc<AtomicUsize>,
    done: watch::Receiver<bool>,
}

impl World {
    async fn ask(&self, query: &str, variables: &Value) -> Attempt<Value> {
        let url = format!("http://{}/graphql", *self.address.borrow());
        let body = json!({ "query": query, "variables": variables });
        let answer: Value = self.http.post(url).json(&body).send().await?.json().await?;
        if answer.get("errors").is_some() { Err(answer.to_string().into()) } else { Ok(answer["data"].clone()) }
    }

    /// As a client does it: again and again, until it is answered.
    async fn insist(&self, query: &str, variables: Value) -> Value {
        loop {
            match self.ask(query, &variables).await {
                Ok(data) => return data,
                Err(_down) => tokio::task::yield_now().await,
            }
        }
    }

    async fn write(self, writer: u64) {
        let mut dice = ChaCha8Rng::seed_from_u64(writer);
        let mut sent: Vec<String> = Vec::new();
        for step in 0..STEPS {
            let known = (!sent.is_empty()).then(|| sent[dice.random_range(0..sent.len())].clone());
            match (dice.random_range(0..10), known) {
                (0, Some(id)) => {
                    self.insist("mutation ($id: ID!) { deleteMessage(id: $id) { deletedId } }", json!({ "id": id }))
                        .await;
                }
                (1 | 2, Some(id)) => {
                    let edit = "mutation ($id: ID!, $text: String!) {
                        updateMessage(id: $id, input: { content: $text }) { message { id } } }";
                    self.insist(edit, json!({ "id": id, "text": format!("edit {step}") })).await;
                }
                _ => {
                    let (from, to) = (writer % PEOPLE + 1, (writer + dice.random_range(1..PEOPLE)) % PEOPLE + 1);
                    let input = json!({
                        "senderId": from, "receiverId": to, "content": format!("{writer}/{step}"),
                        "clientId": format!("{writer}/{step}"),
                    });
                    let query =
                        "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id } } }";
                    let data = self.insist(query, json!({ "input": input })).await;
                    sent.push(text(&data["sendMessage"]["message"]["id"]));
                }
            }
            self.steps.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Follows a feed from the beginning to the end, with many breaks; gives all of its messages as they were last seen.
    async fn follow(self, follower: u64, start: Cursor) -> BTreeMap<String, String> {
        let user = follower % PEOPLE + 1;
        let mut dice = ChaCha8Rng::seed_from_u64(1_000 + follower);
        let (mut cursor, mut state) = (start, BTreeMap::new());
        loop {
            let patience = dice.random_range(1..60);
            let finished = self.listen(user, patience, &mut cursor, &mut state).await.unwrap_or(false);
            if finished {
                return state;
            }
            self.drops.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    }

    /// True if there is nothing more to come.
    async fn listen(
        &self,
        user: u64,
        patience: u32,
        cursor: &mut Cursor,
        state: &mut BTreeMap<String, String>,
    ) -> Attempt<bool> {
        let mut changes = self.done.clone();
        let done = *changes.borrow_and_update();
        let url = format!("ws://{}/graphql", *self.address.borrow());
        let mut request = ClientRequestBuilder::new(url.parse()?).with_sub_protocol("graphql-transport-ws");
        if let Some(authorization) = &self.authorization {
            request = request.with_header("authorization", &**authorization);
        }
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await?;
        socket.send(Message::text(r#"{"type":"connection_init"}"#)).await?;
        let query = "subscription ($user: ID!, $after: String!) {
            feed(userId: $user, after: $after) { kind cursor messageId message { content } } }";
        let payload = json!({ "query": query, "variables": { "user": user, "after": cursor.to_string() } });
        let subscribe = json!({ "type": "subscribe", "id": "1", "payload": payload });
        socket.send(Message::text(subscribe.to_string())).await?;
        let mut heard = 0;
        while heard < patience {
            let message = tokio::select! {
                message = socket.next() => message.ok_or("the server is gone")??,
                // Once more from the cursor: what is said to be all then is.
                _ = changes.changed() => return Ok(false),
            };
            let Message::Text(said) = message else { continue };
            let said: Value = serde_json::from_str(&said)?;
            if said["type"] != "next" {
                continue;
            }
            let event = &said["payload"]["data"]["feed"];
            let next: Cursor = text(&event["cursor"]).parse()?;
            if event["kind"] == "CAUGHT_UP" {
                assert_eq!(next, *cursor);
                if done {
                    return Ok(true);
                }
                continue;
            }
            assert!(next.position > cursor.position, "{event}");
            assert_eq!((&next.epoch, next.user), (&cursor.epoch, cursor.user), "{event}");
            *cursor = next;
            match event["message"]["content"].as_str() {
                Some(content) => state.insert(text(&event["messageId"]), content.to_owned()),
                None => state.remove(&text(&event["messageId"])),
            };
            heard += 1;
        }
        Ok(false)
    }

    /// All messages of a user, page by page.
    async fn snapshot(&self, user: u64) -> BTreeMap<String, String> {
        let mut state = BTreeMap::new();
        for list in ["sentMessages", "receivedMessages"] {
            let query = format!(
                "query ($user: ID!, $after: String) {{ user(id: $user) {{ list: {list}(first: 100, after: $after) {{
                    nodes {{ id content }} pageInfo {{ hasNextPage endCursor }} }} }} }}"
            );
            let mut after = Value::Null;
            loop {
                let data = self.insist(&query, json!({ "user": user, "after": after })).await;
                let page = &data["user"]["list"];
                let nodes = page["nodes"].as_array().unwrap();
                state.extend(nodes.iter().map(|node| (text(&node["id"]), text(&node["content"]))));
                if page["pageInfo"]["hasNextPage"] == json!(false) {
                    break;
                }
                after = page["pageInfo"]["endCursor"].clone();
            }
        }
        state
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_misses_anything_whatever_breaks() {
    let database = Database::new().await;
    let authorization = authorization(&database).await.map(Arc::from);
    let http = client(authorization.as_deref());
    let (mut child, mut address) = serve(&database, &[]).await;
    let (moved, current) = watch::channel(address);
    let (finish, done) = watch::channel(false);
    let world = World { address: current, authorization, http, steps: Arc::default(), drops: Arc::default(), done };
    let mut starts = Vec::new();
    for number in 1..=PEOPLE {
        let create =
            r#"mutation ($email: String!) { createUser(input: { name: "x", email: $email }) { user { id } } }"#;
        world.insist(create, json!({ "email": format!("{number}@x") })).await;
        let data = world.insist("query ($user: ID!) { feedCursor(userId: $user) }", json!({ "user": number })).await;
        starts.push(text(&data["feedCursor"]).parse::<Cursor>().unwrap());
    }
    let start = |follower: u64| starts[usize::try_from(follower % PEOPLE).unwrap()].clone();
    let followers: Vec<_> = (0..FOLLOWERS).map(|n| tokio::spawn(world.clone().follow(n, start(n)))).collect();
    let writers: Vec<_> = (0..WRITERS).map(|n| tokio::spawn(world.clone().write(n))).collect();

    let total = usize::try_from(WRITERS * STEPS).unwrap();
    for kill in 1..=KILLS {
        while world.steps.load(Ordering::Relaxed) < total * kill / (KILLS + 1) {
            tokio::task::yield_now().await;
        }
        child.kill().await.unwrap();
        (child, address) = serve(&database, &[]).await;
        moved.send(address).unwrap();
    }
    join_all(writers).await.into_iter().for_each(Result::unwrap);
    finish.send(true).unwrap();
    let states: Vec<_> = join_all(followers).await.into_iter().map(Result::unwrap).collect();
    for (follower, state) in (0..).zip(states) {
        assert_eq!(state, world.snapshot(follower % PEOPLE + 1).await, "follower {follower}");
    }
    let drops = world.drops.load(Ordering::Relaxed);
    assert!(drops >= 300, "only {drops} drops");
    child.kill().await.unwrap();
}
