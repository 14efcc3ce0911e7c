//! A server that is cut off from PostgreSQL by the network, while another one is not.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use diesel::{dsl::sql, sql_types::BigInt};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    crowd::{Crowd, Tally, short_or_long},
    failover::{Followers, PEOPLE},
    harness::{ACCOUNTS, Database, client, code, signed_in, soon},
    link::{Flow, Link},
    outages::Cluster,
    ports::own_port,
    program::{server, signs_up, started, terminate},
    standbys::readiness_is,
};

const SENDERS: usize = 6;

/// Waits until all senders of B were answered after a moment; gives how long that was after it.
async fn all_of_b(crowd: &Crowd, since: Instant) -> Duration {
    let answered = |tally: &Tally| tally.last.range(SENDERS..).filter(|(_, at)| **at > since).count();
    crowd.until(|tally| answered(tally) == SENDERS).await;
    since.elapsed()
}

/// A PostgreSQL server, and a link to it.
struct Linked {
    direct: String,
    link: Link,
    url: String,
    _cluster: Cluster,
}

impl Linked {
    async fn new() -> Self {
        let port = own_port();
        let options = format!("-c listen_addresses=127.0.0.1 -c port={port}");
        let cluster = Cluster::with(&[("DUOLOGUE_TEST_PG_OPTIONS", &options)]).await;
        let (direct, link) = (cluster.url.replace(":5432/", &format!(":{port}/")), Link::to(port).await);
        let url = format!("postgres://postgres@{}/postgres?application_name=linked", link.address);
        Self { direct, link, url, _cluster: cluster }
    }
}

async fn is_cut_off_by(flow: Flow) {
    if signed_in() || Database::new().await.is_sqlite() {
        return;
    }
    let Linked { direct, link, url: linked, _cluster } = Linked::new().await;
    let serve = async |url: &str| {
        let mut server = server(&Database::on(url), &["--database-connections", "8"]);
        // It has a lot to complain about.
        server.stderr(Stdio::null());
        started(server).await
    };
    let (mut b, mut a) = (serve(&direct).await, serve(&linked).await);
    // What A has begun holds locks until PostgreSQL gives its connections up.
    let at_a = short_or_long(if flow == Flow::Reset { SENDERS } else { 0 }, SENDERS);
    let mut crowd = Crowd::gathers(&Database::on(&direct), a.1, PEOPLE, at_a).await;
    crowd.is_joined_at(b.1, SENDERS..2 * SENDERS);
    let (_place, place) = watch::channel(a.1);
    let followers = Followers::at(&place, &crowd).await;
    crowd.until_answered(200).await;
    for _ in 0..short_or_long(1, 5) {
        link.becomes(flow);
        let cut = Instant::now();
        readiness_is(a.1, 503).await;
        assert!(cut.elapsed() < Duration::from_secs(10), "{flow:?}: it was not ready after {:?}", cut.elapsed());
        let on = all_of_b(&crowd, cut).await;
        assert!(on < Duration::from_secs(15), "{flow:?}: B went on after {on:?}");
        crowd.until_answered(100).await;
        readiness_is(b.1, 200).await;
        if flow == Flow::Lost && short_or_long(false, true) {
            // On both sides.
            let mut operator = AsyncPgConnection::establish(&direct).await.unwrap();
            let left = || sql::<BigInt>("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'linked'");
            soon(async { while left().get_result::<i64>(&mut operator).await.unwrap() > 0 {} }).await;
        }
        link.becomes(Flow::Passes);
        let healed = Instant::now();
        readiness_is(a.1, 200).await;
        crowd.until(|tally| tally.last.values().filter(|at| **at > healed).count() == at_a + SENDERS).await;
        assert!(healed.elapsed() < Duration::from_secs(15), "{flow:?}: all was well after {:?}", healed.elapsed());
    }
    crowd.until_answered(100).await;
    crowd.rests_and_finds_everything().await;
    followers.have_heard_everything(&crowd).await;
    a.0.kill().await.unwrap();
    b.0.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_packets_to_postgresql_are_lost_says_so_and_its_followers_miss_nothing() {
    is_cut_off_by(Flow::Lost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_connections_to_postgresql_hang_says_so_and_its_followers_miss_nothing() {
    is_cut_off_by(Flow::Held).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_connections_to_postgresql_are_reset_says_so_and_its_followers_miss_nothing() {
    is_cut_off_by(Flow::Reset).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_connections_to_postgresql_hang_answers_who_has_a_token_and_stops() {
    if signed_in() || Database::new().await.is_sqlite() {
        return;
    }
    let Linked { link, url: linked, _cluster, .. } = Linked::new().await;
    let flags = [&ACCOUNTS[..], &["--request-timeout", "2"]].concat();
    let mut server = server(&Database::on(&linked), &flags);
    server.stderr(Stdio::null());
    let (child, address) = started(server).await;
    let (_, token) = signs_up(address, "Ada").await;
    let url = format!("http://{address}/graphql");
    let ask = async || {
        let query = json!({ "query": "{ me { user { id } } }" });
        let answer = soon(client(Some(&token)).post(&url).json(&query).send()).await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    assert_eq!(ask().await.0, 200);
    link.becomes(Flow::Held);
    for _ in 0..3 {
        let begun = Instant::now();
        let (status, answer) = ask().await;
        assert_eq!((status, code(&answer).as_str()), (503, "DATABASE_BUSY"));
        assert!(begun.elapsed() < Duration::from_secs(5), "it was answered after {:?}", begun.elapsed());
    }
    let begun = Instant::now();
    assert_eq!(terminate(child).await, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(10), "it stopped after {:?}", begun.elapsed());
}
