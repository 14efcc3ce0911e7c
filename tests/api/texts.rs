//! Texts: any Unicode comes back byte for byte, blank and over-long ones are refused, the same on both databases.

use serde_json::json;

use crate::harness::{ACCOUNTS, Chat, text};

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
    let input = json!({ "receiverId": bob.id, "content": "x", "clientId": "🦀 '; --" });
    assert_eq!(ada.tries_to_send(input).await["message"]["clientId"], "🦀 '; --");
}

/// Names of all writings and with all kinds of signs: the code points that join, mark and vary belong to them.
const NAMES: [&str; 12] = [
    "👩‍👩‍👧‍👦 🏴󠁧󠁢󠁥󠁮󠁧󠁿 ☕️",
    "علی\u{200C}رضا",
    "שלום \u{2067}Ada\u{2069}",
    "مرحبا \u{202E}gnirts\u{202C}",
    "\u{2068}\u{202B}\u{2067}x\u{2069}\u{202C}\u{2069}",
    "e\u{301} é \u{1E9B}\u{323}",
    "葛\u{E0100}城",
    "नर्\u{200D}मदा",
    "  kept blanks ",
    "'; DROP TABLE users; --",
    "\\ \" ' ` % _ $1 ? :id {{x}} ${x} <script>alert(1)</script> &amp; %s%n",
    "你好，世界",
];

/// Texts that would change how what stands around them looks, or show nothing; and the characters that are named.
const NO_NAMES: [(&str, &str); 14] = [
    ("Ada\u{202E}adA", "U+202E"),
    ("\u{2066}Ada", "U+2066"),
    ("Ada\u{202C}", "U+202C"),
    ("Ada\u{2069}\u{2066}", "U+2069"),
    ("\u{2066}\u{202A}Ada\u{2069}\u{202C}", "U+2069"),
    ("Ada\u{1B}[2J", "U+001B"),
    ("Ada\nBob", "U+000A"),
    ("Ada\u{9B}31m", "U+009B"),
    ("Ada\u{2028}", "U+2028"),
    ("\0", "U+0000"),
    ("", "blank"),
    ("\u{FE0F}\u{E0041}\u{34F}\u{17B4}", "blank"),
    (" \u{3164}\u{2800}\u{2062}", "blank"),
    ("\u{200D}\u{61C}", "blank"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_of_any_writing() {
    let chat = Chat::open().await;
    for (number, name) in NAMES.into_iter().enumerate() {
        let input = json!({ "name": name, "email": format!("{number}@example.com") });
        let create = "mutation ($input: CreateUserInput!) { createUser(input: $input) { user { name } } }";
        let made = chat.data(create, json!({ "input": input })).await;
        assert_eq!(text(&made["createUser"]["user"]["name"]), name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_or_a_device_that_deceives_is_refused() {
    let chat = Chat::with(&ACCOUNTS).await;
    let sign_up = "mutation ($input: SignUpInput!) { signUp(input: $input) {
        viewer { sessions { device } } userErrors { code field message }
    } }";
    let (email, password) = ("ada@example.com", "correct horse");
    let input = |name: &str, device: &str| json!({ "input": { "name": name, "email": email, "password": password, "device": device } });
    for (wrong, what) in NO_NAMES {
        for (field, input) in [("name", input(wrong, "x")), ("device", input("x", wrong))] {
            let error = chat.data(sign_up, input).await["signUp"]["userErrors"][0].take();
            assert_eq!((&error["code"], &error["field"]), (&json!("INVALID"), &json!(["input", field])), "{wrong:?}");
            assert!(text(&error["message"]).contains(what), "{error}");
        }
    }
    // Whoever signs in is not told whether the address is one.
    let sign_in = "mutation ($input: SignInInput!) { signIn(input: $input) { userErrors { code field message } } }";
    let attempt =
        async |email: &str| chat.data(sign_in, json!({ "input": { "email": email, "password": "a guess" } })).await;
    assert_eq!(attempt("ada@example.com\u{202E}").await, attempt("nobody@example.com").await);
    let made = chat.data(sign_up, input("Ada", NAMES[1])).await;
    assert_eq!(made["signUp"]["viewer"]["sessions"], json!([{ "device": NAMES[1] }]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_shows_all_that_it_is() {
    let chat = Chat::open().await;
    let create = "mutation ($input: CreateUserInput!) { createUser(input: $input) {
        user { email } userErrors { code field message }
    } }";
    for wrong in [
        '\u{202E}',
        '\u{2066}',
        '\u{200D}',
        '\u{AD}',
        '\u{FEFF}',
        '\u{600}',
        '\u{FE0F}',
        '\u{E0100}',
        '\u{34F}',
        '\u{115F}',
        '\u{E000}',
        '\u{10FFFD}',
        '\u{378}',
        '\u{FFFF}',
        '\u{1B}',
        '\u{85}',
        '\u{2800}',
        '\u{3000}',
        '"',
        '<',
        ',',
        '(',
        '\\',
        '[',
    ] {
        for email in [format!("a{wrong}da@example.com"), format!("ada@exam{wrong}ple.com")] {
            let made = chat.data(create, json!({ "input": { "name": "Ada", "email": email } })).await;
            let error = &made["createUser"]["userErrors"][0];
            assert_eq!((&error["code"], &error["field"]), (&json!("INVALID"), &json!(["input", "email"])), "{email:?}");
            let told =
                if wrong.is_ascii_graphic() { format!("`{wrong}`") } else { format!("U+{:04X}", u32::from(wrong)) };
            assert!(text(&error["message"]).contains(&told), "{error}");
        }
    }
    for email in ["o'brien+chat@example.com", "用户@例子.广告", "संपर्क@डाटामेल.भारत", "e\u{301}@x", "a{b}|c.d_e@f-g"]
    {
        let made = chat.data(create, json!({ "input": { "name": "Ada", "email": email } })).await;
        assert_eq!(made["createUser"]["user"]["email"], email);
    }
}

/// What was stored before a rule was made is read and found as before.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_not_judged_again() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    let id = ada.sends("Hi", &bob).await;
    let old = "UPDATE users SET name = 'A\u{202E}\u{1B}', name_key = 'a\u{202E}\u{1B}' WHERE id = 1;
               UPDATE users SET email = 'a\u{AD}@x', email_key = 'a\u{AD}@x' WHERE id = 1;
               UPDATE messages SET content = '\u{FE0F}' WHERE id = 1";
    drop(chat.database.run(old).await);
    let query = "query ($id: ID!) { message(id: $id) { content sender { name email } } }";
    let read = chat.data(query, json!({ "id": id })).await;
    let sender = json!({ "name": "A\u{202E}\u{1B}", "email": "a\u{AD}@x" });
    assert_eq!(read["message"], json!({ "content": "\u{FE0F}", "sender": sender }));
    let found =
        chat.data("query ($s: String) { users(search: $s) { nodes { id } } }", json!({ "s": "a\u{202E}" })).await;
    assert_eq!(found["users"]["nodes"], json!([{ "id": ada.id }]));
    ada.sends("Hi again", &bob).await;
}

/// An address that was taken before it had to be visible is still one to sign in with.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_an_address_of_before_signs_in_with_it() {
    let chat = Chat::with(&ACCOUNTS).await;
    let sign_up = "mutation ($input: SignUpInput!) { signUp(input: $input) { userErrors { code } } }";
    let input = json!({ "name": "Ada", "email": "ada@example.com", "password": "correct horse battery" });
    assert_eq!(chat.data(sign_up, json!({ "input": input })).await["signUp"]["userErrors"], json!([]));
    drop(chat.database.run("UPDATE users SET email = 'a\u{AD}@x', email_key = 'a\u{AD}@x' WHERE id = 1").await);
    let sign_in = "mutation ($input: SignInInput!) { signIn(input: $input) { viewer { user { id } } } }";
    let input = json!({ "email": "a\u{AD}@x", "password": "correct horse battery" });
    assert_eq!(chat.data(sign_in, json!({ "input": input })).await["signIn"]["viewer"]["user"]["id"], "usr_1");
}

#[tokio::test(flavor = "multi_thread")]
async fn blank_texts_and_those_with_a_nul_are_invalid() {
    let chat = Chat::open().await;
    let (ada, bob) = (chat.person("Ada").await, chat.person("Bob").await);
    for content in [
        "",
        " ",
        "\t\r\n",
        "\u{A0}\u{2003}\u{3000}",
        "\u{200B}",
        "\u{FEFF}\u{2060}",
        "\u{2800}",
        "\u{FE0F}",
        "\0",
        "a\0b",
    ] {
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
    for client_id in ["", " ", "a\0", "a\u{1B}", "\n"] {
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
