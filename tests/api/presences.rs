//! Who is online, on several servers.

use diesel::{dsl::sql, sql_types::BigInt};
use diesel_async::RunQueryDsl;
use serde_json::json;

use crate::{
    database::Lock,
    harness::soon,
    servers::{Servers, followed},
    signals::{Ear, presence, types},
};

#[tokio::test(flavor = "multi_thread")]
async fn who_is_connected_to_one_server_is_online_at_the_others() {
    let Some(servers) = Servers::with(&["--offline-after", "4"]).await else { return };
    let (ada, bob, eve) = (servers.a.person("Ada").await, servers.a.person("Bob").await, servers.a.person("Eve").await);
    let mut ears = [Ear::of(&ada, None).await, Ear::of(&servers.at_b(&ada), None).await];
    let mut feeds = Vec::new();
    for (name, peer) in [("Bob", &bob), ("Eve", &eve)] {
        ada.sends("Hi", peer).await;
        feeds.push(followed(peer).await);
        all_hear(&mut ears, "ONLINE", name).await;
    }
    assert_eq!(presence(&servers.at_b(&bob)).await, json!({ "online": true, "lastSeenAt": null }));
    // Bob goes to the other server. If he went offline meanwhile, it would be heard before Eve does.
    let second = followed(&servers.at_b(&bob)).await;
    drop(feeds);
    all_hear(&mut ears, "OFFLINE", "Eve").await;
    assert_eq!(presence(&bob).await, json!({ "online": true, "lastSeenAt": null }));
    drop(second);
    all_hear(&mut ears, "OFFLINE", "Bob").await;
    let [at_a, at_b] = [presence(&bob).await, presence(&servers.at_b(&bob)).await];
    assert_eq!(at_a["online"], false);
    assert!(at_a["lastSeenAt"].is_string() && at_a == at_b, "{at_a} {at_b}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_connected_to_a_server_that_died_goes_offline_unless_they_come_back() {
    let Some(servers) = Servers::with(&["--offline-after", "3"]).await else { return };
    let (ada, bob, eve) = (servers.a.person("Ada").await, servers.a.person("Bob").await, servers.a.person("Eve").await);
    let mut ears = [Ear::of(&ada, None).await];
    let mut feeds = Vec::new();
    for (name, peer) in [("Bob", &bob), ("Eve", &eve)] {
        ada.sends("Hi", peer).await;
        feeds.push(followed(&servers.at_b(peer)).await);
        all_hear(&mut ears, "ONLINE", name).await;
    }
    servers.kill_b().await;
    let _back = followed(&bob).await;
    all_hear(&mut ears, "OFFLINE", "Eve").await;
    assert_eq!(presence(&bob).await["online"], true);
    types(&bob, &conversation(&ada.id, &bob.id), None).await;
    all_hear(&mut ears, "TYPING", "Bob").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_postgresql_which_empties_the_tables_brings_nobody_offline() {
    let Some(servers) = Servers::with(&["--offline-after", "10"]).await else { return };
    let (ada, bob) = (servers.a.person("Ada").await, servers.a.person("Bob").await);
    ada.sends("Hi", &bob).await;
    let mut ears = [Ear::of(&ada, None).await];
    let feed = followed(&servers.at_b(&bob)).await;
    all_hear(&mut ears, "ONLINE", "Bob").await;
    let Lock::Postgres(mut operator) = servers.a.database.run("TRUNCATE nodes, presences").await else {
        unreachable!()
    };
    soon(async {
        while sql::<BigInt>("SELECT count(*) FROM presences").get_result::<i64>(&mut operator).await.unwrap() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    soon(async {
        loop {
            let now = presence(&bob).await;
            assert_eq!(now["online"], true);
            if now["lastSeenAt"].is_null() {
                break;
            }
        }
    })
    .await;
    drop(feed);
    all_hear(&mut ears, "OFFLINE", "Bob").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_is_heard_of_at_another_server_over_nats() {
    let Some((servers, _nats)) = Servers::over_nats().await else { return };
    let (ada, bob) = (servers.a.person("Ada").await, servers.a.person("Bob").await);
    ada.sends("Hi", &bob).await;
    let mut ears = [Ear::of(&servers.at_b(&bob), None).await];
    let _online = followed(&ada).await;
    for (verb, kind) in [("blockUser", "OFFLINE"), ("unblockUser", "ONLINE")] {
        let query = format!(
            "mutation {{ {verb}(userId: {}, id: {}) {{ userErrors {{ code }} }} }}",
            &bob.id[4..],
            &ada.id[4..]
        );
        servers.a.data(&query, json!({})).await;
        all_hear(&mut ears, kind, "Ada").await;
    }
}

async fn all_hear(ears: &mut [Ear], kind: &str, name: &str) {
    for ear in ears {
        let heard = ear.hears().await;
        assert_eq!((&heard["kind"], &heard["user"]["name"]), (&json!(kind), &json!(name)));
    }
}

fn conversation(one: &str, other: &str) -> String {
    format!("cnv_{}_{}", &one[4..], &other[4..])
}
