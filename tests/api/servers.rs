//! Several servers on one PostgreSQL database: what one changes the others hear, and they agree on what must be the same.

use std::{
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use diesel_async::SimpleAsyncConnection;
use duologue::{
    app::App,
    domain::{Viewer, accounts, admin, nodes::Membership, relaying},
    events::{Nats, NatsSettings},
    model::sessions::Credential,
};
use serde_json::{Value, json};
use tokio::{
    process::{Child, Command},
    task::{AbortHandle, JoinSet},
};

use crate::{
    crowd::short_or_long,
    database::Lock,
    harness::{Chat, Database, Feed, Person, Socket, soon, text},
    ports::own_port,
    resume::{cursor, resumed},
};

/// Two servers on one database, as members of one cluster.
pub(crate) struct Servers {
    pub(crate) a: Chat,
    pub(crate) b: Chat,
    /// What keeps B in touch with A, and its id.
    b_member: (AbortHandle, i64),
    _jobs: JoinSet<()>,
}

impl Servers {
    /// `None` on SQLite.
    pub(crate) async fn start() -> Option<Self> {
        Self::with(&[]).await
    }

    /// The same with flags.
    pub(crate) async fn with(flags: &[&str]) -> Option<Self> {
        let database = Database::new().await;
        if database.is_sqlite() {
            return None;
        }
        let same = Database::on(&database.url);
        let (a, b) = (Chat::in_real_time(database, flags).await, Chat::in_real_time(same, flags).await);
        let mut jobs = JoinSet::new();
        let [of_a, of_b] = [Membership::join(&a.app).await.unwrap(), Membership::join(&b.app).await.unwrap()];
        let id = of_b.id();
        let mut keep = |member: Membership, app: &Arc<App>| {
            let running = member.run(app.clone());
            jobs.spawn(async move { drop(running.await) })
        };
        keep(of_a, &a.app);
        let b_member = (keep(of_b, &b.app), id);
        Some(Self { a, b, b_member, _jobs: jobs })
    }

    /// B does not renew its lease any longer, and it expires.
    pub(crate) async fn kill_b(&self) {
        let (job, id) = &self.b_member;
        job.abort();
        soon(async {
            while !job.is_finished() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        self.a.database.run(&format!("UPDATE nodes SET renewed_at = 0 WHERE id = {id}")).await;
    }

    /// Servers that tell each other over NATS, and look for nothing in the database.
    pub(crate) async fn told_by(nats: &str) -> Option<Self> {
        let servers = Self::start().await?;
        let jobs = servers.linked(nats).await;
        Some(Self { _jobs: jobs, ..servers })
    }

    /// Two servers that a NATS server links, where there are PostgreSQL and NATS.
    pub(crate) async fn over_nats() -> Option<(Self, Child)> {
        let port = (!without_nats()).then(own_port)?;
        let servers = Self::told_by(&format!("nats://127.0.0.1:{port}")).await?;
        let nats = nats_server(port);
        servers.hear(true).await;
        Some((servers, nats))
    }

    /// What tells both of the other's changes.
    pub(crate) async fn linked(&self, nats: &str) -> JoinSet<()> {
        let mut jobs = JoinSet::new();
        for (node, chat) in [(1, &self.a), (2, &self.b)] {
            let settings = NatsSettings { servers: vec![nats.to_owned()], credentials: None };
            let nats = soon(Nats::open(&settings)).await.unwrap();
            jobs.spawn(relaying::run_job(chat.app.clone(), nats, node));
        }
        jobs
    }

    /// Waits until both hear themselves, or do so no more.
    pub(crate) async fn hear(&self, expected: bool) {
        let apps = [&self.a.app, &self.b.app];
        soon(async {
            while apps.iter().any(|app| app.relay.is_linked() != expected) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    /// The same person at the other server.
    pub(crate) fn at_b(&self, person: &Person<'_>) -> Person<'_> {
        Person { chat: &self.b, id: person.id.clone() }
    }
}

/// The feed of somebody, from now on.
pub(crate) async fn followed(person: &Person<'_>) -> Feed {
    let mut feed = resumed(person, &Value::Null).await;
    assert_eq!(feed.next().await["kind"], "CAUGHT_UP");
    feed
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_through_one_server_is_heard_at_the_other() {
    let Some(servers) = Servers::start().await else { return };
    let (ada, bob) = (servers.a.person("Ada").await, servers.a.person("Bob").await);
    let mut feed = followed(&servers.at_b(&bob)).await;
    let mut slowest = Duration::ZERO;
    for number in 0..20 {
        let id = ada.sends(&format!("number {number}"), &bob).await;
        let begun = Instant::now();
        assert_eq!(feed.next().await["message"]["content"], format!("number {number}"));
        ada.edits(&id, "edited").await;
        assert_eq!(feed.next().await["message"]["content"], "edited");
        ada.deletes(&id).await;
        let deleted = feed.next().await;
        assert_eq!((&deleted["kind"], &deleted["messageId"]), (&json!("MESSAGE_DELETED"), &json!(id)));
        slowest = slowest.max(begun.elapsed());
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    let rename = "mutation ($id: ID!) { updateUser(id: $id, input: { name: \"Ada L\" }) { user { name } } }";
    servers.a.data(rename, json!({ "id": ada.id })).await;
    assert_eq!(feed.next().await["kind"], "USER_CHANGED");
    // And the other way.
    let mut feed = followed(&ada).await;
    servers.at_b(&bob).sends("from the other one", &ada).await;
    assert_eq!(feed.next().await["message"]["content"], "from the other one");
    // Of the servers one embeds what is sent through any.
    let unembedded = servers.a.app.unembedded.clone();
    soon(unembedded.notified()).await;
    servers.at_b(&bob).sends("once more", &ada).await;
    soon(unembedded.notified()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_the_former_text_of_a_message_that_was_edited_through_the_other_server() {
    let Some(servers) = Servers::start().await else { return };
    let (ada, bob) = (servers.a.person("Ada").await, servers.a.person("Bob").await);
    let bob = servers.at_b(&bob);
    // Those who follow one feed at one server share what they read.
    let (mut quick, mut slow) = (followed(&bob).await, followed(&bob).await);
    for number in 0..20 {
        let before = cursor(&bob).await;
        let id = ada.sends(&format!("draft {number}"), &bob).await;
        assert_eq!(quick.next().await["message"]["content"], format!("draft {number}"));
        let begun = Instant::now();
        ada.edits(&id, &format!("final {number}")).await;
        assert_eq!(quick.next().await["message"]["content"], format!("final {number}"));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        // Whoever comes later.
        let mut late = resumed(&bob, &before).await;
        for kind in ["MESSAGE_SENT", "MESSAGE_UPDATED"] {
            let event = late.next().await;
            assert_eq!(
                (&event["kind"], &event["message"]["content"]),
                (&json!(kind), &json!(format!("final {number}")))
            );
        }
        // And who has not read for a while.
        let update = soon(async {
            loop {
                let event = slow.next().await;
                if event["kind"] == "MESSAGE_UPDATED" {
                    break event;
                }
            }
        });
        assert_eq!(update.await["message"]["content"], format!("final {number}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_whose_transactions_end_in_another_order_are_all_heard() {
    let Some(servers) = Servers::start().await else { return };
    let (ada, bob) = (servers.a.person("Ada").await, servers.a.person("Bob").await);
    let (eve, pal) = (servers.a.person("Eve").await, servers.a.person("Pal").await);
    let (mut of_bob, mut of_pal) = (followed(&servers.at_b(&bob)).await, followed(&servers.at_b(&pal)).await);
    let insert = format!(
        "BEGIN; INSERT INTO messages (sender_id, receiver_id, content, created_at) VALUES ({}, {}, 'late', 0)",
        &ada.id[4..],
        &bob.id[4..]
    );
    let Lock::Postgres(mut late) = servers.a.database.run(&insert).await else { unreachable!() };
    for number in 0..30 {
        eve.sends(&format!("early {number}"), &pal).await;
        assert_eq!(of_pal.next().await["message"]["content"], format!("early {number}"));
    }
    late.batch_execute("COMMIT").await.unwrap();
    assert_eq!(of_bob.next().await["message"]["content"], "late");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_epoch_resets_every_follower_once() {
    let Some(servers) = Servers::start().await else { return };
    let (ada, bob) = (servers.a.person("Ada").await, servers.a.person("Bob").await);
    let mut feeds = [followed(&bob).await, followed(&servers.at_b(&bob)).await, followed(&servers.at_b(&ada)).await];
    ada.sends("before", &bob).await;
    for feed in &mut feeds {
        assert_eq!(feed.next().await["message"]["content"], "before");
    }
    let (former, begun) = (cursor(&bob).await, Instant::now());
    admin::begin_new_epoch(&servers.a.app, &Viewer::operator(&servers.a.app)).await.unwrap();
    for feed in &mut feeds {
        assert_eq!(feed.next().await["kind"], "RESET");
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    ada.sends("after", &bob).await;
    for feed in &mut feeds {
        // It catches up with what came since the reset.
        let mut event = feed.next().await;
        if event["kind"] == "CAUGHT_UP" {
            event = feed.next().await;
        }
        assert_eq!(event["message"]["content"], "after");
    }
    assert_ne!(text(&cursor(&servers.at_b(&bob)).await), text(&former));
}

/// As when a standby takes over which had not got the last commits yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_was_lost_resets_every_follower_once() {
    let Some(servers) = Servers::start().await else { return };
    let (ada, bob) = (servers.a.person("Ada").await, servers.a.person("Bob").await);
    ada.sends("kept", &bob).await;
    let mut feeds = [followed(&bob).await, followed(&servers.at_b(&ada)).await];
    let lost = ada.sends("lost", &bob).await;
    for feed in &mut feeds {
        assert_eq!(feed.next().await["message"]["content"], "lost");
    }
    // Another message has got its id.
    let promoted =
        format!("UPDATE messages SET content = 'another', created_at = created_at + 1 WHERE id = {}", &lost[4..]);
    drop(servers.a.database.run(&promoted).await);
    for feed in &mut feeds {
        soon(async { while feed.next().await["kind"] != "RESET" {} }).await;
    }
    ada.sends("after", &bob).await;
    for feed in &mut feeds {
        loop {
            let event = feed.next().await;
            assert_ne!(event["kind"], "RESET");
            if event["message"]["content"] == "after" {
                break;
            }
        }
    }
}

/// The same, where ids are given again that followers have seen.
#[tokio::test(flavor = "multi_thread")]
async fn after_ids_went_back_nothing_is_missed() {
    let Some(servers) = Servers::start().await else { return };
    let (ada, bob) = (servers.a.person("Ada").await, servers.a.person("Bob").await);
    let mut feed = followed(&servers.at_b(&bob)).await;
    for number in 0..20 {
        ada.sends(&number.to_string(), &bob).await;
        assert_eq!(feed.next().await["message"]["content"], number.to_string());
    }
    let promoted = "DELETE FROM messages WHERE id > 5; SELECT setval('messages_id_seq', 5)";
    drop(servers.a.database.run(promoted).await);
    soon(async { while feed.next().await["kind"] != "RESET" {} }).await;
    ada.sends("after", &bob).await;
    soon(async { while feed.next().await["message"]["content"] != "after" {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_erased_through_one_server_ends_at_the_other() {
    let Some(servers) = Servers::start().await else { return };
    let ada = servers.a.person("Ada").await;
    let mut revocation = servers.b.app.revocations.subscribe(Credential::Account(ada.id.parse().unwrap()));
    accounts::poll_revocations(&servers.b.app).await;
    ada.leaves(false).await;
    accounts::poll_revocations(&servers.b.app).await;
    soon(revocation.revoked()).await;
}

/// A NATS server, until this is dropped.
pub(crate) fn nats_server(port: u16) -> Child {
    nats_server_with(port, &[])
}

/// The same with flags.
pub(crate) fn nats_server_with(port: u16, flags: &[&str]) -> Child {
    let mut command = Command::new("nats-server");
    command
        .args(["--addr", "127.0.0.1", "--port", &port.to_string()])
        .args(flags)
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command.spawn().expect("nats-server is a package of Debian, and of https://nats.io")
}

/// Set where it cannot be had.
pub(crate) fn without_nats() -> bool {
    std::env::var_os("DUOLOGUE_TEST_WITHOUT_NATS").is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_wake_each_other_over_nats() {
    let Some((servers, _nats)) = Servers::over_nats().await else { return };
    let (ada, bob) = (servers.a.person("Ada").await, servers.a.person("Bob").await);
    let mut feed = followed(&servers.at_b(&bob)).await;
    let mut times = Vec::new();
    for number in 0..short_or_long(50, 500) {
        let id = ada.sends(&format!("number {number}"), &bob).await;
        let begun = Instant::now();
        assert_eq!(feed.next().await["message"]["content"], format!("number {number}"));
        times.push(begun.elapsed());
        ada.edits(&id, "edited").await;
        assert_eq!(feed.next().await["message"]["content"], "edited");
    }
    times.sort();
    // Among other tests the median.
    let time = times[times.len() * short_or_long(50, 99) / 100];
    assert!(time < Duration::from_millis(100), "{times:?}");
    // Typing is told, too.
    let mut socket = Socket::ready(&servers.b).await;
    let signals = "subscription ($user: ID!) { signals(userId: $user) { kind user { id } expiresAt } }";
    socket.subscribes("signals", signals, json!({ "user": bob.id })).await;
    let typing = "mutation ($user: ID!, $in: ID!) { setTyping(userId: $user, conversationId: $in) { ok } }";
    let conversation = format!("cnv_{}_{}", &ada.id[4..], &bob.id[4..]);
    let mut heard = tokio::spawn(async move { socket.hears().await });
    loop {
        servers.a.data(typing, json!({ "user": ada.id, "in": conversation })).await;
        // It is not known when the subscription has begun.
        if let Ok(signal) = tokio::time::timeout(Duration::from_millis(200), &mut heard).await {
            let signal = signal.unwrap()["payload"]["data"]["signals"].take();
            assert_eq!((&signal["kind"], &signal["user"]["id"]), (&json!("TYPING"), &json!(ada.id)));
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_depends_on_nats() {
    if without_nats() {
        return;
    }
    let Some(servers) = Servers::start().await else { return };
    let port = own_port();
    // Not there yet.
    let _jobs = servers.linked(&format!("nats://127.0.0.1:{port}")).await;
    let (ada, bob) = (servers.a.person("Ada").await, servers.a.person("Bob").await);
    let mut feed = followed(&servers.at_b(&bob)).await;
    let mut exchange = async |content: &str| {
        let begun = Instant::now();
        ada.sends(content, &bob).await;
        let sent = begun.elapsed();
        assert_eq!(feed.next().await["message"]["content"], content);
        assert!(sent < Duration::from_secs(1) && begun.elapsed() < Duration::from_secs(5), "{content}: {begun:?}");
    };
    exchange("before it is there").await;
    let mut nats = nats_server(port);
    servers.hear(true).await;
    exchange("while it is there").await;
    let process = nats.id().unwrap().to_string();
    let signal = async |signal: &str| {
        assert!(soon(Command::new("kill").args([signal, &process]).status()).await.unwrap().success());
    };
    signal("-STOP").await;
    exchange("frozen").await;
    servers.hear(false).await;
    exchange("known to be frozen").await;
    signal("-CONT").await;
    servers.hear(true).await;
    nats.kill().await.unwrap();
    exchange("killed").await;
    servers.hear(false).await;
    exchange("known to be dead").await;
    let _nats = nats_server(port);
    servers.hear(true).await;
    exchange("back").await;
}
