//! Endurance: thousands of messages, edits and deletions, at one server or two, while followers drop and come back hundreds of times and
//! a server or NATS is killed in between. Nobody misses anything, hears anything twice, or in another order.

use std::{
    collections::BTreeMap,
    error::Error,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use duologue::model::feed::Cursor;
use futures_util::{SinkExt, StreamExt, future::join_all};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::{Message, client::ClientRequestBuilder};

use crate::{
    crowd::short_or_long,
    harness::{Database, authorization, client, soon, text},
    metrics::scraped,
    ports::{own_address, own_port},
    program::serve,
    servers::{nats_server, without_nats},
};

const PEOPLE: u64 = 6;
const WRITERS: u64 = 6;
const FOLLOWERS: u64 = 20;
const KILLS: u64 = 3;

/// Messages by their ids.
type State = BTreeMap<String, String>;
type Attempt<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// For all that the writers do.
const DEADLINE: Duration = Duration::from_mins(10);

/// Where the server is now, for all who use it.
#[derive(Clone)]
struct World {
    address: watch::Receiver<SocketAddr>,
    authorization: Option<Arc<str>>,
    http: reqwest::Client,
    /// Of each writer.
    wanted_steps: u64,
    steps: Arc<watch::Sender<u64>>,
    drops: Arc<AtomicU64>,
    done: watch::Receiver<bool>,
}

impl World {
    /// Everybody, and where their feeds begin; `true` tells them that nothing more is sent.
    async fn begins(
        database: &Database,
        address: watch::Receiver<SocketAddr>,
        wanted_steps: u64,
    ) -> (Self, Vec<Cursor>, watch::Sender<bool>) {
        let authorization = authorization(database).await.map(Arc::from);
        let http = client(authorization.as_deref());
        let (finish, done) = watch::channel(false);
        let (steps, drops) = (Arc::new(watch::channel(0).0), Arc::default());
        let world = Self { address, authorization, http, wanted_steps, steps, drops, done };
        let mut starts = Vec::new();
        for user in 1..=PEOPLE {
            let create =
                r#"mutation ($email: String!) { createUser(input: { name: "x", email: $email }) { user { id } } }"#;
            world.insist(create, json!({ "email": format!("{user}@x") })).await;
            starts.push(world.cursor(user).await);
        }
        (world, starts, finish)
    }

    /// The same people at another server.
    fn at(&self, address: SocketAddr) -> Self {
        Self { address: watch::channel(address).1, ..self.clone() }
    }

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

    async fn cursor(&self, user: u64) -> Cursor {
        let data = self.insist("query ($user: ID!) { feedCursor(userId: $user) }", json!({ "user": user })).await;
        text(&data["feedCursor"]).parse().unwrap()
    }

    /// Waits until all writers together have made such a part of their steps.
    async fn reaches(&self, part: u64, of: u64) {
        let wanted = WRITERS * self.wanted_steps * part / of;
        let mut steps = self.steps.subscribe();
        let reached = tokio::time::timeout(DEADLINE, steps.wait_for(|steps| *steps >= wanted)).await;
        reached.expect("the writers do not go on").unwrap();
    }

    /// Sends, edits and deletes, each time at one of these servers.
    async fn write(servers: Vec<Self>, writer: u64) {
        let mut dice = ChaCha8Rng::seed_from_u64(writer);
        let mut sent: Vec<String> = Vec::new();
        for step in 0..servers[0].wanted_steps {
            let server = &servers[dice.random_range(0..servers.len())];
            let known = (!sent.is_empty()).then(|| sent[dice.random_range(0..sent.len())].clone());
            match (dice.random_range(0..10), known) {
                (0, Some(id)) => {
                    server
                        .insist("mutation ($id: ID!) { deleteMessage(id: $id) { deletedId } }", json!({ "id": id }))
                        .await;
                }
                (1 | 2, Some(id)) => {
                    let edit = "mutation ($id: ID!, $text: String!) {
                        updateMessage(id: $id, input: { content: $text }) { message { id } } }";
                    server.insist(edit, json!({ "id": id, "text": format!("edit {step}") })).await;
                }
                _ => {
                    let (from, to) = (writer % PEOPLE + 1, (writer + dice.random_range(1..PEOPLE)) % PEOPLE + 1);
                    let input = json!({
                        "senderId": from, "receiverId": to, "content": format!("{writer}/{step}"),
                        "clientId": format!("{writer}/{step}"),
                    });
                    let query =
                        "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id } } }";
                    let data = server.insist(query, json!({ "input": input })).await;
                    sent.push(text(&data["sendMessage"]["message"]["id"]));
                }
            }
            server.steps.send_modify(|steps| *steps += 1);
        }
    }

    /// Follows a feed from the beginning to the end, with many breaks; gives all of its messages as they were last seen.
    async fn follow(self, follower: u64, start: Cursor) -> State {
        self.follow_from(follower, start, State::new()).await
    }

    /// The same of one who comes later, and begins with what is there then.
    async fn follow_late(self, follower: u64) -> State {
        self.reaches(1, 2).await;
        let user = user_of(follower);
        let start = self.cursor(user).await;
        let state = self.snapshot(user).await;
        assert!(!state.is_empty());
        self.follow_from(follower, start, state).await
    }

    async fn follow_from(self, follower: u64, mut cursor: Cursor, mut state: State) -> State {
        let user = user_of(follower);
        let mut dice = ChaCha8Rng::seed_from_u64(1_000 + follower);
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
    async fn listen(&self, user: u64, patience: u32, cursor: &mut Cursor, state: &mut State) -> Attempt<bool> {
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
    async fn snapshot(&self, user: u64) -> State {
        let mut state = State::new();
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

/// Whose feed a follower follows.
fn user_of(follower: u64) -> u64 {
    follower % PEOPLE + 1
}

fn start_of(starts: &[Cursor], follower: u64) -> Cursor {
    starts[usize::try_from(follower % PEOPLE).unwrap()].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_misses_anything_whatever_breaks() {
    let database = Database::new().await;
    let (mut child, mut address) = serve(&database, &[]).await;
    let (moved, current) = watch::channel(address);
    let (world, starts, finish) = World::begins(&database, current, 500).await;
    let follow = |n: u64| tokio::spawn(world.clone().follow(n, start_of(&starts, n)));
    let followers: Vec<_> = (0..FOLLOWERS).map(follow).collect();
    let writers: Vec<_> = (0..WRITERS).map(|n| tokio::spawn(World::write(vec![world.clone()], n))).collect();

    for kill in 1..=KILLS {
        world.reaches(kill, KILLS + 1).await;
        child.kill().await.unwrap();
        (child, address) = serve(&database, &[]).await;
        moved.send(address).unwrap();
    }
    join_all(writers).await.into_iter().for_each(Result::unwrap);
    finish.send(true).unwrap();
    let states: Vec<_> = join_all(followers).await.into_iter().map(Result::unwrap).collect();
    for (follower, state) in (0..).zip(states) {
        assert_eq!(state, world.snapshot(user_of(follower)).await, "follower {follower}");
    }
    let drops = world.drops.load(Ordering::Relaxed);
    assert!(drops >= 300, "only {drops} drops");
    child.kill().await.unwrap();
}

/// A message may be sent at one of them, and be edited and deleted at the other one.
#[tokio::test(flavor = "multi_thread")]
async fn followers_at_two_servers_end_with_what_is_in_the_database() {
    let database = Database::new().await;
    if without_nats() || database.is_sqlite() {
        return;
    }
    let (port, metrics) = (own_port(), [own_address(), own_address()]);
    let mut nats = nats_server(port);
    let at_nats = format!("nats://127.0.0.1:{port}");
    let flags = |metrics| ["--nats", &at_nats, "--metrics-listen", metrics];
    let (a, b) = (serve(&database, &flags(&metrics[0])).await, serve(&database, &flags(&metrics[1])).await);
    let linked = async || {
        for metrics in &metrics {
            let url = format!("http://{metrics}/metrics");
            soon(async { while scraped(&url).await["duologue_nats_linked"] == 0.0 {} }).await;
        }
    };
    linked().await;
    let (world, starts, finish) = World::begins(&database, watch::channel(a.1).1, short_or_long(150, 500)).await;
    let servers = [world.clone(), world.at(b.1)];
    let server = |n: u64| servers[usize::try_from(n / PEOPLE % 2).unwrap()].clone();
    let followers = (0..FOLLOWERS).map(|n| tokio::spawn(server(n).follow(n, start_of(&starts, n))));
    let late = (0..FOLLOWERS).map(|n| tokio::spawn(server(n).follow_late(n)));
    let followers: Vec<_> = followers.chain(late).collect();
    let writers: Vec<_> = (0..WRITERS).map(|n| tokio::spawn(World::write(servers.to_vec(), n))).collect();

    world.reaches(1, 3).await;
    nats.kill().await.unwrap();
    world.reaches(2, 3).await;
    let _nats = nats_server(port);
    join_all(writers).await.into_iter().for_each(Result::unwrap);
    linked().await;
    finish.send(true).unwrap();
    let states: Vec<_> = join_all(followers).await.into_iter().map(Result::unwrap).collect();
    let mut expected = Vec::new();
    for user in 1..=PEOPLE {
        expected.push(servers[0].snapshot(user).await);
        assert_eq!(expected.last(), Some(&servers[1].snapshot(user).await));
    }
    for (follower, state) in (0..FOLLOWERS).chain(0..FOLLOWERS).zip(states) {
        assert_eq!(state, expected[usize::try_from(follower % PEOPLE).unwrap()], "follower {follower}");
    }
}
