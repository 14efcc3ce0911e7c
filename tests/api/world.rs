//! A server where people sign in, as a process of its own, so that its memory can be measured.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::process::Child;

use crate::{
    harness::{ACCOUNTS, Database, Socket, authorization_of_a_program, soon, text},
    program::{program, run, started},
    stalls::memory,
};

const PASSWORD: &str = "correct horse battery";

/// A server where people sign in, as a process of its own, and two of them: a stranger and her victim.
pub(crate) struct World {
    server: Child,
    database: Database,
    pub(crate) address: SocketAddr,
    pub(crate) url: String,
    pub(crate) http: reqwest::Client,
    /// A program that may do everything.
    pub(crate) program: String,
    pub(crate) mallory: Account,
    pub(crate) bob: Account,
}

pub(crate) struct Account {
    pub(crate) id: String,
    /// What is sent as `Authorization`.
    pub(crate) authorization: String,
}

impl World {
    pub(crate) async fn open(flags: &[&str]) -> Self {
        let database = Database::new().await;
        let program_token = authorization_of_a_program(&database).await;
        let fixed = ["serve", "--listen", "127.0.0.1:0", "--database", &database.url];
        let (server, address) = started(program(&[&fixed, &ACCOUNTS[..], flags].concat())).await;
        let mut world = Self {
            server,
            database,
            address,
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

    pub(crate) async fn account(&self, name: &str) -> Account {
        let sign_up =
            "mutation ($input: SignUpInput!) { signUp(input: $input) { viewer { user { id } } accessToken } }";
        let input = json!({ "name": name, "email": format!("{name}@example.com"), "password": PASSWORD });
        let data = self.data("", sign_up, json!({ "input": input })).await;
        let id = text(&data["signUp"]["viewer"]["user"]["id"]);
        Account { id, authorization: format!("Bearer {}", text(&data["signUp"]["accessToken"])) }
    }

    /// What is sent as `Authorization` in a new session of an account.
    pub(crate) async fn signs_in(&self, name: &str) -> String {
        let sign_in = "mutation ($input: SignInInput!) { signIn(input: $input) { accessToken } }";
        let input = json!({ "email": format!("{name}@example.com"), "password": PASSWORD });
        let data = self.data("", sign_in, json!({ "input": input })).await;
        format!("Bearer {}", text(&data["signIn"]["accessToken"]))
    }

    pub(crate) async fn makes_admin(&self, name: &str) {
        let email = format!("{name}@example.com");
        let granted = run(&["admin", "grant", &email, "--database", &self.database.url]).await;
        assert!(granted.status.success(), "{granted:?}");
    }

    pub(crate) async fn post(&self, authorization: &str, body: &Value) -> Value {
        let mut request = self.http.post(&self.url).json(body);
        if !authorization.is_empty() {
            request = request.header("authorization", authorization);
        }
        soon(async { request.send().await.unwrap().json().await.unwrap() }).await
    }

    pub(crate) async fn data(&self, authorization: &str, query: &str, variables: Value) -> Value {
        let mut answer = self.post(authorization, &json!({ "query": query, "variables": variables })).await;
        assert_eq!(answer.get("errors"), None, "{query}: {answer}");
        answer["data"].take()
    }

    /// Messages of mallory's to bob, each of them as long as it may be and as large as JSON makes it.
    pub(crate) async fn fill(&self, messages: usize) {
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
    pub(crate) fn resident(&self) -> Option<u64> {
        memory(&self.server, "VmRSS:").map(|kib| kib / 1_024)
    }

    /// The most MiB that it ever had.
    pub(crate) fn peak(&self) -> Option<u64> {
        memory(&self.server, "VmHWM:").map(|kib| kib / 1_024)
    }
}

/// A socket of this account, after `connection_init`.
pub(crate) async fn socket(world: &World, account: &Account) -> Socket {
    let mut socket = Socket::open_with(world.address, "graphql-transport-ws", Some(&account.authorization)).await;
    socket.says(json!({ "type": "connection_init" })).await;
    assert_eq!(socket.hears().await["type"], "connection_ack");
    socket
}

/// One field many times under other names.
pub(crate) fn aliased(times: usize, field: &str) -> String {
    (0..times).map(|n| format!("a{n}: {field} ")).collect()
}
