//! What is asked of Duologue, and of the baseline for the same bytes.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use crate::{
    client::{self, Expected, Script, get, post},
    server::Server,
};

const PAGE: &str = "{ conversation(user1: 1, user2: 2) { messages {
    nodes { id content createdAt sender { id name } receiver { id name } }
    pageInfo { hasPreviousPage startCursor }
} } }";
const USERS: &str = "{ users(first: 100) { nodes { id name email createdAt } pageInfo { hasNextPage endCursor } } }";
const SEND: &str = "mutation Send($input: SendMessageInput!) {
    sendMessage(input: $input) { message { id } userErrors { message } }
}";
const NAME: &str = "{ __typename }";
/// The open conversation, as chat clients ask for it.
const CHAT: &str = "query Chat($one: ID!, $other: ID!, $before: String) { conversation(user1: $one, user2: $other) {
    id
    members { user { ...Person } deliveredThrough { messageId } readThrough { messageId } }
    messages(last: 50, before: $before) {
        edges { cursor node {
            id clientId content createdAt editedAt version status
            sender { id ...Person }
            replyTo { id content sender { id } }
        } }
        pageInfo { hasPreviousPage hasNextPage startCursor endCursor }
    }
} }
fragment Person on User { id name presence { online lastSeenAt } }";
/// The list of conversations beside it.
const CONVERSATIONS: &str = "query Conversations($me: ID!) { user(id: $me) { conversations(first: 20) {
    nodes {
        id unreadCount(userId: $me)
        lastMessage { id content createdAt status sender { id } }
        members { user { id name presence { online lastSeenAt } } readThrough { messageId } }
    }
    pageInfo { hasNextPage endCursor }
} } }";
/// The first query of the page at /demo: 30 conversations, the open one, and where the feed stands.
const SNAPSHOT: &str = "query Snapshot($me: ID!, $peer: ID!, $open: Boolean!) {
    user(id: $me) { ...Person conversations(first: 30) { nodes { ...Row } pageInfo { hasNextPage endCursor } } }
    conversation(user1: $me, user2: $peer) @include(if: $open) {
        ...Row messages(last: 50) { nodes { ...Message } pageInfo { hasPreviousPage startCursor } }
    }
    feedCursor(userId: $me)
}
fragment Person on User { id name presence { online lastSeenAt } }
fragment Message on Message {
    id clientId content createdAt editedAt version status sender { id } replyTo { id content sender { id } }
}
fragment Row on Conversation {
    id unreadCount(userId: $me) lastMessage { ...Message }
    members { user { ...Person } deliveredThrough { messageId } readThrough { messageId } }
}";
const TEXT: &str = "Lunch at noon? I know a place.";
/// Different sends; then they come again.
const SENDS: u64 = 4_096;

/// Requests for the same.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) duologue: Vec<Vec<u8>>,
    pub(crate) baseline: Vec<Vec<u8>>,
}

/// A request without variables.
pub(crate) fn query(document: &str) -> Vec<u8> {
    post("/graphql", &json!({ "query": document }).to_string())
}

pub(crate) fn page() -> Work {
    Work { name: "page of 50 messages", duologue: vec![query(PAGE)], baseline: vec![get("/conversation/1/2")] }
}

pub(crate) fn users() -> Work {
    Work { name: "page of 100 users", duologue: vec![query(USERS)], baseline: vec![get("/users/100")] }
}

/// What chat clients ask for, with its variables: the open conversation, the list of conversations, and both at once.
pub(crate) fn realistic() -> [(&'static str, Vec<u8>); 3] {
    let asked =
        |document: &str, variables| post("/graphql", &json!({ "query": document, "variables": variables }).to_string());
    [
        ("open conversation, 50 messages", asked(CHAT, json!({ "one": 1, "other": 2 }))),
        ("list of 20 conversations", asked(CONVERSATIONS, json!({ "me": 1 }))),
        ("first query of the demo", asked(SNAPSHOT, json!({ "me": 1, "peer": 2, "open": true }))),
    ]
}

/// The least that can be asked.
pub(crate) fn name() -> Work {
    Work { name: "{ __typename }", duologue: vec![query(NAME)], baseline: vec![get("/name")] }
}

/// Sends, and the same to a baseline where each has a commit of its own.
pub(crate) struct Sends {
    pub(crate) work: Work,
    pub(crate) alone: Vec<Vec<u8>>,
}

/// All from one user to another.
pub(crate) fn send() -> Sends {
    sends("send", &[(3, 4)])
}

/// Between random pairs, but not in the conversation whose page is read: each changes other pages of the file.
pub(crate) fn send_random() -> Sends {
    sends("send, random pairs", &pairs(SENDS, 3..=1_000, 1))
}

fn sends(name: &'static str, pairs: &[(u64, u64)]) -> Sends {
    let drafts = |request: &dyn Fn(u64, u64) -> Vec<u8>| pairs.iter().map(|&(from, to)| request(from, to)).collect();
    let to_baseline = |path: &'static str| drafts(&|from, to| to_baseline(path, from, to));
    let work = Work { name, duologue: drafts(&in_graphql), baseline: to_baseline("/send") };
    Sends { work, alone: to_baseline("/send/alone") }
}

fn in_graphql(from: u64, to: u64) -> Vec<u8> {
    let input = json!({ "senderId": from, "receiverId": to, "content": TEXT });
    post("/graphql", &json!({ "query": SEND, "variables": { "input": input } }).to_string())
}

fn to_baseline(path: &str, from: u64, to: u64) -> Vec<u8> {
    post(path, &json!({ "senderId": from, "receiverId": to, "content": TEXT }).to_string())
}

/// Random pairs of different users.
pub(crate) fn pairs(count: u64, users: std::ops::RangeInclusive<u64>, seed: u64) -> Vec<(u64, u64)> {
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let (lowest, number) = (*users.start(), users.end() - users.start() + 1);
    let mut pair = || {
        let from = dice.random_range(0..number);
        let distance = dice.random_range(1..number);
        (lowest + from, lowest + (from + distance) % number)
    };
    (0..count).map(|_| pair()).collect()
}

/// An answer to what was asked, whatever it is: no errors come after the data.
pub(crate) fn any_data() -> Expected {
    Expected::Between(r#"{"data":{"#, "}}")
}

/// The answer to a send that was done.
pub(crate) fn sent() -> Expected {
    Expected::Between(r#"{"data":{"sendMessage":{"message":{"id":"msg_"#, r#""},"userErrors":[]}}}"#)
}

impl Work {
    /// Asks both for the same, and sees to it that they answer the same.
    pub(crate) fn agreed(&self, duologue: &Server, baseline: &Server) -> Vec<u8> {
        let answer = client::body(duologue.address, &self.duologue[0]);
        let baselines = client::body(baseline.address, &self.baseline[0]);
        assert_eq!(
            String::from_utf8_lossy(&answer),
            String::from_utf8_lossy(&baselines),
            "the baseline answers something else"
        );
        assert!(!String::from_utf8_lossy(&answer).contains(r#""errors""#));
        answer
    }

    /// The scripts of both, where every answer is the same.
    pub(crate) fn scripts(&self, answer: &[u8]) -> [Script; 2] {
        [&self.duologue, &self.baseline]
            .map(|requests| Script::new(requests.clone(), Expected::Exactly(answer.to_vec())))
    }
}
