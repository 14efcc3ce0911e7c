//! Texts: any Unicode comes back byte for byte, blank and over-long ones are refused, the same on both databases.

use serde_json::json;

use crate::harness::{Chat, text};

#[tokio::test(flavor = "multi_thread")]
async fn any_text_comes_back_byte_for_byte() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let texts = [
        "👩‍👩‍👧‍👦 🏴󠁧󠁢󠁥󠁮󠁧󠁿 ☕️",
        "مرحبا \u{202E}gnirts\u{202C}",
        "e\u{301} é \u{1E9B}\u{323}",
        "\u{1}\u{2}\u{7F}\u{85}\u{FFFD}\u{FFFF}\u{10FFFF} \u{FEFF}x",
        "  \tkept blanks\r\n ",
        "'; DROP TABLE messages; --",
        "\\ \" ' ` % _ $1 ? :id {{x}} ${x} <script>alert(1)</script> &amp; %s%n",
        "你好，世界",
        &"é".repeat(10_000),
    ];
    for content in texts {
        let id = ada.sends(content, &bob).await;
        let read = chat.data("query ($id: ID!) { message(id: $id) { content } }", json!({ "id": id })).await;
        assert_eq!(text(&read["message"]["content"]), content);
    }
    for (number, name) in texts.iter().filter(|name| name.chars().count() <= 100).enumerate() {
        let input = json!({ "name": name, "email": format!("{number}@example.com") });
        let create = "mutation ($input: CreateUserInput!) { createUser(input: $input) { user { name } } }";
        let made = chat.data(create, json!({ "input": input })).await;
        assert_eq!(text(&made["createUser"]["user"]["name"]), *name);
    }
    let input = json!({ "receiverId": bob.id, "content": "x", "clientId": "🦀 '; --" });
    assert_eq!(ada.tries_to_send(input).await["message"]["clientId"], "🦀 '; --");
}

#[tokio::test(flavor = "multi_thread")]
async fn blank_texts_and_those_with_a_nul_are_invalid() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    for content in
        ["", " ", "\t\r\n", "\u{A0}\u{2003}\u{3000}", "\u{200B}", "\u{FEFF}\u{2060}", "\u{2800}", "\0", "a\0b"]
    {
        let sent = ada.tries_to_send(json!({ "receiverId": bob.id, "content": content })).await;
        assert_eq!(sent["userErrors"][0]["code"], "INVALID", "{content:?}");
        assert_eq!(sent["userErrors"][0]["field"], json!(["input", "content"]));
        let create = "mutation ($input: CreateUserInput!) { createUser(input: $input) { userErrors { code field } } }";
        let made = chat.data(create, json!({ "input": { "name": content, "email": "eve@example.com" } })).await;
        assert_eq!(
            made["createUser"]["userErrors"],
            json!([{ "code": "INVALID", "field": ["input", "name"] }]),
            "{content:?}"
        );
    }
    for client_id in ["", " ", "a\0"] {
        let sent = ada.tries_to_send(json!({ "receiverId": bob.id, "content": "x", "clientId": client_id })).await;
        assert_eq!(sent["userErrors"][0]["field"], json!(["input", "clientId"]), "{client_id:?}");
    }
    // Where a text only looks for something, it finds nothing.
    let found = chat.data("query ($s: String) { users(search: $s) { nodes { id } } }", json!({ "s": "a\0" })).await;
    assert_eq!(found["users"]["nodes"], json!([]));
    assert!(chat.texts(&ada, &bob).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_as_long_as_its_characters() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let padded = format!(" {}\n", "🦀".repeat(10_000));
    ada.sends(&padded, &bob).await;
    let sent = ada.tries_to_send(json!({ "receiverId": bob.id, "content": "x".repeat(10_001) })).await;
    assert_eq!(
        sent["userErrors"],
        json!([{
            "code": "TOO_LONG", "field": ["input", "content"], "message": "The content may have at most 10000 characters.",
        }])
    );
    assert_eq!(chat.texts(&ada, &bob).await, [padded]);
}
