//! A client that keeps its socket full goes on for a moment at most once its session has ended, however it ends.

use duologue::model::timestamps::Timestamp;
use futures_util::FutureExt;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    harness::{Socket, soon, text},
    stopping::PROTOCOLS,
    world::World,
};

const SIGN_OUT: &str = "mutation { signOut { sessionId userErrors { code } } }";
const CHANGE_PASSWORD: &str = "mutation ($id: ID!) {
    updateUser(id: $id, input: { password: \"another good password\" }) { user { id } userErrors { code } }
}";

/// Sends messages without a pause, on a socket of mallory's; gives the code with which the server closes it.
async fn floods(world: &World, protocol: &str, start: &'static str) -> JoinHandle<u16> {
    let mut socket = Socket::open_with(world.address, protocol, Some(&world.mallory.authorization)).await;
    socket.says(json!({ "type": "connection_init" })).await;
    assert_eq!(socket.hears().await["type"], "connection_ack");
    let send = "mutation ($to: ID!) { sendMessage(input: { receiverId: $to, content: \"flood\" }) { message { id } } }";
    let payload = json!({ "query": send, "variables": { "to": world.bob.id } });
    tokio::spawn(async move {
        let mut id = 0_u64;
        loop {
            socket.says(json!({ "type": start, "id": id.to_string(), "payload": payload })).await;
            id += 1;
            // It waits for nothing: the server has always something to read.
            while let Some(said) = socket.hears_or_ends().now_or_never() {
                match said {
                    Some(Message::Text(_) | Message::Ping(_)) => {}
                    Some(Message::Close(Some(frame))) => return u16::from(frame.code),
                    _ => return 0,
                }
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_ends_with_its_session() {
    for (protocol, start) in PROTOCOLS {
        for change in [SIGN_OUT, CHANGE_PASSWORD] {
            let world = World::open(&["--max-sends", "off"]).await;
            // A new password ends all sessions but the one that changes it.
            let ends =
                if change == SIGN_OUT { world.mallory.authorization.clone() } else { world.signs_in("mallory").await };
            let flood = floods(&world, protocol, start).await;
            let last = "{ messages(last: 1) { nodes { createdAt } } }";
            let newest =
                async || world.data(&world.program, last, json!({})).await.pointer("/messages/nodes/0").cloned();
            while newest().await.is_none() {}
            let variables = if change == SIGN_OUT { json!({}) } else { json!({ "id": world.mallory.id }) };
            let changed = world.data(&ends, change, variables).await;
            let answered: i64 = Timestamp::now().milliseconds();
            assert!(!changed.to_string().contains("\"code\""), "{changed}");
            assert_eq!(soon(flood).await.unwrap(), 4403, "{protocol}: {change}");
            let at = text(&newest().await.unwrap()["createdAt"]);
            let later = at.parse::<Timestamp>().unwrap().milliseconds() - answered;
            assert!(later < 100, "{protocol}: {change}: something was accepted {later} ms after the session had ended");
        }
    }
}
