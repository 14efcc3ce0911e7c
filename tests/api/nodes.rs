//! Any object by its id, and what the server says about itself.

use serde_json::json;

use crate::harness::Chat;

#[tokio::test(flavor = "multi_thread")]
async fn objects_come_in_the_order_asked() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    ada.sends("Hi", &bob).await;
    let ids = ["msg_1", "usr_9", "usr_1", "cnv_1_2", "1", "nonsense", "", "usr_1", "ses_1", "usr_01"];
    let data = chat.data("query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }", json!({ "ids": ids })).await;
    assert_eq!(
        data["nodes"],
        json!([
            { "__typename": "Message", "id": "msg_1" },
            null,
            { "__typename": "User", "id": "usr_1" },
            { "__typename": "Conversation", "id": "cnv_1_2" },
            null,
            null,
            null,
            { "__typename": "User", "id": "usr_1" },
            null,
            null,
        ])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_ids_are_refused() {
    let chat = Chat::open().await;
    let ids = vec!["usr_1"; 101];
    let query = "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }";
    assert_eq!(chat.code(query, json!({ "ids": ids })).await, "BAD_USER_INPUT");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_says_what_it_is() {
    let chat = Chat::open_to_all(&[]).await;
    let data = chat.data("{ server { version features maxContentLength maxPageSize } }", json!({})).await;
    assert_eq!(
        data["server"],
        json!({
            "version": env!("CARGO_PKG_VERSION"), "features": ["open", "search"], "maxContentLength": 10_000, "maxPageSize": 100,
        })
    );
}
