//! What one ordinary account can make a server hold, and whom it can keep waiting: as much as the limits say, and nobody.

use serde_json::{Value, json};
use tokio::process::Child;

use crate::{
    crowd::short_or_long,
    harness::{ACCOUNTS, Database, authorization_of_a_program, code, soon, text},
    program::{program, started},
    stalls::memory,
};

const PASSWORD: &str = "correct horse battery";

/// A server where people sign in, as a process of its own, and two of them: a stranger and her victim.
struct World {
    server: Child,
    _database: Database,
    url: String,
    http: reqwest::Client,
    /// A program that may do everything.
    program: String,
    mallory: Account,
    bob: Account,
}

struct Account {
    id: String,
    /// What is sent as `Authorization`.
    authorization: String,
}

impl World {
    async fn open(flags: &[&str]) -> Self {
        let database = Database::new().await;
        let program_token = authorization_of_a_program(&database).await;
        let fixed = ["serve", "--listen", "127.0.0.1:0", "--database", &database.url];
        let (server, address) = started(program(&[&fixed, &ACCOUNTS[..], flags].concat())).await;
        let mut world = Self {
            server,
            _database: database,
            url: format!("http://{address}/graphql"),
            http: reqwest::Client::new(),
            program: program_token,
            mallory: Account { id: String::new(), authorization: String::new() },
            bob: Account { id: String::new(), authorization: String::new() },
        };
        world.mallory = world.account("mallory").await;
        world.bob = world.account("bob").await;
        world
    }

    async fn account(&self, name: &str) -> Account {
        let sign_up =
            "mutation ($input: SignUpInput!) { signUp(input: $input) { viewer { user { id } } accessToken } }";
        let input = json!({ "name": name, "email": format!("{name}@example.com"), "password": PASSWORD });
        let data = self.data("", sign_up, json!({ "input": input })).await;
        let id = text(&data["signUp"]["viewer"]["user"]["id"]);
        Account { id, authorization: format!("Bearer {}", text(&data["signUp"]["accessToken"])) }
    }

    async fn post(&self, authorization: &str, body: &Value) -> Value {
        let mut request = self.http.post(&self.url).json(body);
        if !authorization.is_empty() {
            request = request.header("authorization", authorization);
        }
        soon(async { request.send().await.unwrap().json().await.unwrap() }).await
    }

    async fn data(&self, authorization: &str, query: &str, variables: Value) -> Value {
        let mut answer = self.post(authorization, &json!({ "query": query, "variables": variables })).await;
        assert_eq!(answer.get("errors"), None, "{query}: {answer}");
        answer["data"].take()
    }

    /// Messages of mallory's to bob, each of them as long as it may be and as large as JSON makes it.
    async fn fill(&self, messages: usize) {
        let sends: String = (0..10)
            .map(|n| {
                format!(
                    "m{n}: sendMessage(input: {{ senderId: $from, receiverId: $to, content: $text }}) {{ duplicate }} "
                )
            })
            .collect();
        let send = format!("mutation ($from: ID!, $to: ID!, $text: String!) {{ {sends} }}");
        // A control character takes six bytes in JSON.
        let text = "\u{1}".repeat(9_999) + "x";
        for _ in 0..messages / 10 {
            let variables = json!({ "from": self.mallory.id, "to": self.bob.id, "text": text });
            self.data(&self.program, &send, variables).await;
        }
    }

    /// MiB that the server has now; `None` where the system does not tell.
    fn resident(&self) -> Option<u64> {
        memory(&self.server, "VmRSS:").map(|kib| kib / 1_024)
    }

    /// The most MiB that it ever had.
    fn peak(&self) -> Option<u64> {
        memory(&self.server, "VmHWM:").map(|kib| kib / 1_024)
    }
}

/// One field many times under other names.
fn aliased(times: usize, field: &str) -> String {
    (0..times).map(|n| format!("a{n}: {field} ")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_would_be_too_large_is_refused_before_it_is_held() {
    let world = World::open(&[]).await;
    world.fill(100).await;
    let page = format!("{{ messages(first: 100) {{ nodes {{ {} }} }} }}", aliased(29, "content"));
    world.data(&world.mallory.authorization, "{ server { version } }", json!({})).await;
    let before = world.resident();
    let mallory = &world.mallory.authorization;
    let one = json!({ "query": page });
    assert_eq!(code(&world.post(mallory, &one).await), "QUERY_TOO_COMPLEX");
    // A batch has no more room than a request.
    let half = json!({ "query": "{ messages(first: 100) { nodes { content } } }" });
    let batch = world.post(mallory, &json!(vec![half.clone(); 10])).await;
    let refused = batch.as_array().unwrap().iter().filter(|answer| answer.get("errors").is_some()).count();
    assert_eq!(refused, 9, "only the first one fits");
    // Many at a time, and nobody takes the answers.
    let many = short_or_long(4, 10);
    let batch = json!(vec![one; many]);
    let all = (0..many).map(|_| world.post(mallory, &batch));
    for answers in futures_util::future::join_all(all).await {
        let answers = answers.as_array().unwrap_or_else(|| panic!("{answers}"));
        assert!(answers.iter().all(|answer| code(answer) == "QUERY_TOO_COMPLEX"));
    }
    // Texts that do not come into the answer are read all the same.
    let pages: String = (81..=100).map(|n| format!("a{n}: messages(first: {n}) {{ nodes {{ id }} }} ")).collect();
    assert_eq!(code(&world.post(mallory, &json!({ "query": format!("{{ {pages} }}") })).await), "QUERY_TOO_COMPLEX");
    if let (Some(before), Some(after)) = (before, world.peak()) {
        assert!(after - before < 64, "from {before} to {after} MiB");
    }
}
