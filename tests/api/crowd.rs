//! A crowd that sends without end: each sender one message after the other, and every message until it is answered, as a
//! good client does it. In the end each answered message must be there, exactly once and in order.

use std::{
    collections::BTreeMap,
    mem,
    net::SocketAddr,
    ops::Range,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit, watch},
    task::{JoinHandle, yield_now},
};

use crate::harness::{Database, authorization, client, soon, text};

/// A number of the suite, or of the long run that `make faults` begins.
pub(crate) fn short_or_long<T>(short: T, long: T) -> T {
    if std::env::var("DUOLOGUE_TEST_FAULTS").is_ok_and(|wanted| wanted == "long") { long } else { short }
}

/// What became of all requests so far.
#[derive(Default)]
pub(crate) struct Tally {
    /// By text: the message's id.
    pub(crate) answered: BTreeMap<String, String>,
    /// How long the answered requests took.
    pub(crate) delays: Vec<Duration>,
    /// Other answers by status and code; 0 and the cause where no answer came.
    pub(crate) failures: BTreeMap<(u16, String), usize>,
    /// When each sender was last answered.
    pub(crate) last: BTreeMap<usize, Instant>,
    /// Answers that say to try again, but not when.
    pub(crate) rude: usize,
}

/// The senders. They stop when this is dropped.
pub(crate) struct Crowd {
    /// One crowd at a time: who measures how long things take wants no other beside it.
    _alone: SemaphorePermit<'static>,
    world: World,
    going: watch::Sender<bool>,
    place: watch::Sender<SocketAddr>,
    senders: Vec<JoinHandle<()>>,
}

#[derive(Clone)]
struct World {
    http: reqwest::Client,
    place: watch::Receiver<SocketAddr>,
    going: watch::Receiver<bool>,
    people: usize,
    /// Whether they wait for as long as they are told to; otherwise they come again at once.
    patient: bool,
    tally: Arc<Mutex<Tally>>,
    noted: Arc<Notify>,
}

impl World {
    async fn ask(&self, query: &str, variables: &Value) -> reqwest::Result<(u16, Option<Duration>, Value)> {
        let url = format!("http://{}/graphql", *self.place.borrow());
        let answer = self.http.post(url).json(&json!({ "query": query, "variables": variables })).send().await?;
        let status = answer.status().as_u16();
        let wait = answer.headers().get("retry-after").map(|wait| wait.to_str().unwrap().parse().unwrap());
        Ok((status, wait.map(Duration::from_secs), answer.json().await?))
    }

    async fn send(mut self, sender: usize) {
        let query = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id } } }";
        for number in 0.. {
            let name = format!("{sender}/{number}");
            let input = json!({
                "senderId": sender % self.people + 1, "receiverId": (sender + 1) % self.people + 1,
                "content": name, "clientId": name,
            });
            let variables = json!({ "input": input });
            loop {
                if !*self.going.borrow() {
                    return;
                }
                self.place.borrow_and_update();
                let begun = Instant::now();
                let answer = self.ask(query, &variables).await;
                let wait = answer.as_ref().ok().and_then(|(_, wait, _)| *wait);
                if matches!(&answer, Err(error) if error.is_connect()) {
                    // It is down: somebody will say where it is up again.
                    tokio::select! {
                        _ = self.place.changed() => {}
                        _ = self.going.changed() => {}
                    }
                }
                let answered = self.note(sender, &name, begun, answer);
                self.noted.notify_waiters();
                if answered {
                    break;
                }
                if self.patient {
                    // As the server said.
                    tokio::time::sleep(wait.unwrap_or_default()).await;
                }
                yield_now().await;
            }
        }
    }

    /// True if it was answered.
    fn note(
        &self,
        sender: usize,
        name: &str,
        begun: Instant,
        answer: reqwest::Result<(u16, Option<Duration>, Value)>,
    ) -> bool {
        let mut tally = self.tally.lock().unwrap();
        let failure = match answer {
            Ok((200, _, body)) if body.get("errors").is_none() => {
                tally.delays.push(begun.elapsed());
                tally.last.insert(sender, Instant::now());
                let id = &body["data"]["sendMessage"]["message"]["id"];
                let id = id.as_str().unwrap_or_else(|| panic!("{name}: {body}")).to_owned();
                assert_eq!(tally.answered.insert(name.to_owned(), id), None);
                return true;
            }
            Ok((status, wait, body)) => {
                tally.rude += usize::from(matches!(status, 429 | 503) && wait.is_none());
                (status, text(&body["errors"][0]["extensions"]["code"]))
            }
            Err(error) => (0, if error.is_connect() { "down".into() } else { format!("{error:?}") }),
        };
        *tally.failures.entry(failure).or_default() += 1;
        false
    }
}

impl Crowd {
    /// Makes so many users, and as many send as are said.
    pub(crate) async fn gathers(database: &Database, address: SocketAddr, people: usize, senders: usize) -> Self {
        Self::gathers_with(database, address, people, senders, false).await
    }

    /// The same of people who wait for as long as the server tells them to.
    pub(crate) async fn patient(database: &Database, address: SocketAddr, people: usize, senders: usize) -> Self {
        Self::gathers_with(database, address, people, senders, true).await
    }

    async fn gathers_with(
        database: &Database,
        address: SocketAddr,
        people: usize,
        senders: usize,
        patient: bool,
    ) -> Self {
        static ALONE: Semaphore = Semaphore::const_new(1);
        let alone = ALONE.acquire().await.unwrap();
        let authorization = authorization(database).await;
        let (place, current) = watch::channel(address);
        let (going, stopping) = watch::channel(true);
        let http = client(authorization.as_deref());
        let world = World {
            http,
            place: current,
            going: stopping,
            people,
            patient,
            tally: Arc::default(),
            noted: Arc::default(),
        };
        for number in 0..people {
            let create =
                "mutation ($email: String!) { createUser(input: { name: \"x\", email: $email }) { user { id } } }";
            let (_, _, body) = soon(world.ask(create, &json!({ "email": format!("{number}@x") }))).await.unwrap();
            assert_eq!(body["data"]["createUser"]["user"]["id"], format!("usr_{}", number + 1), "{body}");
        }
        let senders = (0..senders).map(|sender| tokio::spawn(world.clone().send(sender))).collect();
        Self { _alone: alone, world, going, place, senders }
    }

    /// More senders, who stay at another server.
    pub(crate) fn is_joined_at(&mut self, address: SocketAddr, senders: Range<usize>) {
        let world = World { place: watch::channel(address).1, ..self.world.clone() };
        self.senders.extend(senders.map(|sender| tokio::spawn(world.clone().send(sender))));
    }

    /// The server is somewhere else now.
    pub(crate) fn turns_to(&self, address: SocketAddr) {
        self.place.send(address).unwrap();
    }

    /// Looks at what became of the requests.
    pub(crate) fn tally<T>(&self, look: impl FnOnce(&mut Tally) -> T) -> T {
        look(&mut self.world.tally.lock().unwrap())
    }

    /// Waits for it, with a deadline.
    pub(crate) async fn until(&self, reached: impl Fn(&Tally) -> bool) {
        soon(async {
            loop {
                let noted = self.world.noted.notified();
                if self.tally(|tally| reached(tally)) {
                    return;
                }
                noted.await;
            }
        })
        .await;
    }

    /// Waits until so many more were answered.
    pub(crate) async fn until_answered(&self, more: usize) {
        let before = self.tally(|tally| tally.answered.len());
        self.until(|tally| tally.answered.len() >= before + more).await;
    }

    /// Everybody goes on to the next answer, and rests. Each answered message is there once, and in order.
    pub(crate) async fn rests_and_finds_everything(&mut self) {
        self.rests().await;
        self.finds_everything().await;
    }

    /// Each answered message is there once, and in order.
    pub(crate) async fn finds_everything(&self) {
        let found = self.found().await;
        let mut order = BTreeMap::new();
        let mut by_name = BTreeMap::new();
        for (id, name) in &found {
            let (sender, number) = name.split_once('/').unwrap();
            if sender == "alone" {
                continue;
            }
            let next = order.entry(sender.to_owned()).or_insert(0);
            assert_eq!(*next, number.parse::<usize>().unwrap(), "sender {sender}: {id}");
            *next += 1;
            by_name.insert(name.clone(), format!("msg_{id}"));
        }
        for (name, id) in self.tally(|tally| tally.answered.clone()) {
            assert_eq!(by_name.get(&name), Some(&id), "{name}");
        }
    }

    /// Sends no more.
    pub(crate) async fn rests(&mut self) {
        self.going.send(false).unwrap();
        for sender in join_all(self.senders.drain(..)).await {
            sender.unwrap();
        }
    }

    /// One sends alone: whether it was done.
    pub(crate) async fn sends_one_more(&self) -> bool {
        let send =
            "mutation { sendMessage(input: { senderId: 1, receiverId: 2, content: \"alone/0\" }) { message { id } } }";
        soon(self.world.ask(send, &json!({}))).await.unwrap().2.get("errors").is_none()
    }

    /// All messages that are there, by id.
    pub(crate) async fn found(&self) -> BTreeMap<u64, String> {
        let page = "query ($user: ID!, $after: String) { user(id: $user) { sentMessages(first: 100, after: $after) {
            nodes { id content } pageInfo { hasNextPage endCursor } } } }";
        let mut found = BTreeMap::new();
        for user in 1..=self.world.people {
            let mut after = Value::Null;
            loop {
                let (_, _, body) = soon(self.world.ask(page, &json!({ "user": user, "after": after }))).await.unwrap();
                let page = &body["data"]["user"]["sentMessages"];
                for node in page["nodes"].as_array().unwrap_or_else(|| panic!("{body}")) {
                    let id = text(&node["id"]).strip_prefix("msg_").unwrap().parse().unwrap();
                    found.insert(id, text(&node["content"]));
                }
                if page["pageInfo"]["hasNextPage"] == json!(false) {
                    break;
                }
                after = page["pageInfo"]["endCursor"].clone();
            }
        }
        found
    }

    /// Reads the answer to something else.
    pub(crate) async fn reads(&self, query: &str) -> Value {
        soon(self.world.ask(query, &json!({}))).await.unwrap().2
    }

    /// Every failure so far was one of these statuses and codes. The count begins anew.
    pub(crate) fn failed_only_with(&self, expected: &[(u16, &str)]) {
        let failures = self.tally(|tally| mem::take(&mut tally.failures));
        for ((status, code), times) in failures {
            assert!(expected.contains(&(status, &code)), "{times} times: {status} {code}");
        }
    }
}
