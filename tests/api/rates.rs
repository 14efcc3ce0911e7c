//! Rates and guessing: who tries too often has to wait, and nobody else has.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use crate::{
    accounts::Member,
    clock::HeldClock,
    harness::{ACCOUNTS, Chat, Database, code, soon},
};

const SIGN_IN: &str = "mutation ($email: String!, $password: String!) {
    signIn(input: { email: $email, password: $password }) { accessToken userErrors { code } }
}";

/// An attempt from an address: what came of it, as a code or `in`.
async fn attempt(chat: &Chat, from: &str, email: &str, password: &str) -> String {
    let body = json!({ "query": SIGN_IN, "variables": { "email": email, "password": password } });
    let request = chat.http.post(chat.url("/graphql")).header("x-forwarded-for", from).json(&body);
    let response = soon(request.send()).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let answer: Value = response.json().await.unwrap();
    if answer.get("errors").is_some() {
        let seconds: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
        match &*code(&answer) {
            "RATE_LIMITED" => {
                let wait = answer["errors"][0]["extensions"]["retryAfterMs"].as_u64().unwrap();
                assert_eq!((status.as_u16(), seconds), (429, wait.div_ceil(1_000)), "{answer}");
            }
            code => assert_eq!((status.as_u16(), code), (503, "UNAVAILABLE"), "{answer}"),
        }
        return code(&answer);
    }
    answer["data"]["signIn"]["userErrors"][0]["code"].as_str().unwrap_or("in").to_owned()
}

/// What comes of so many attempts at once from these addresses.
async fn crowd(chat: &Chat, size: usize, addresses: &[&str]) -> BTreeMap<String, usize> {
    let attempts = addresses.iter().cycle().take(size);
    let attempts = attempts.map(|from| attempt(chat, from, "ada@example.com", "correct horse battery"));
    let mut codes = BTreeMap::new();
    for code in futures_util::future::join_all(attempts).await {
        *codes.entry(code).or_default() += 1;
    }
    codes
}

const GUARDED: [&str; 2] = ["--trusted-proxy", "127.0.0.1"];

async fn guarded(flags: &[&str]) -> Chat {
    let chat = Chat::with(&[&ACCOUNTS[..], &GUARDED, flags].concat()).await;
    Member::signs_up(&chat, "Ada").await;
    chat
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_has_to_wait_and_the_owner_has_not() {
    let chat = guarded(&[]).await;
    let (right, wrong) = ("correct horse battery", "wrong wrong wrong");
    // Also when it is tried at the same time, and in whatever spelling.
    let guesses = (0..14).map(|guess| {
        let email = if guess % 3 == 0 { "ADA@example.com " } else { "ada@example.com" };
        attempt(&chat, "192.0.2.1", email, wrong)
    });
    let mut codes: BTreeMap<String, usize> = BTreeMap::new();
    for code in futures_util::future::join_all(guesses).await {
        *codes.entry(code).or_default() += 1;
    }
    assert_eq!(codes, BTreeMap::from([("BAD_CREDENTIALS".into(), 10), ("RATE_LIMITED".into(), 4)]));
    assert_eq!(attempt(&chat, "192.0.2.1", "ada@example.com", right).await, "RATE_LIMITED");
    assert_eq!(attempt(&chat, "192.0.2.2", "ada@example.com", right).await, "in");
    // All addresses of a network of IPv6 are one.
    let mut codes: BTreeMap<String, usize> = BTreeMap::new();
    for guess in 0..12 {
        let from = format!("2001:db8:0:1::{guess:x}");
        *codes.entry(attempt(&chat, &from, "ada@example.com", wrong).await).or_default() += 1;
    }
    assert_eq!(codes, BTreeMap::from([("BAD_CREDENTIALS".into(), 10), ("RATE_LIMITED".into(), 2)]));
    // Success clears what went wrong before it.
    for _ in 0..3 {
        for _ in 0..5 {
            assert_eq!(attempt(&chat, "192.0.2.3", "ada@example.com", wrong).await, "BAD_CREDENTIALS");
        }
        assert_eq!(attempt(&chat, "192.0.2.3", "ada@example.com", right).await, "in");
    }
    // A batch tries no more than the same number of requests.
    let one = json!({ "query": SIGN_IN, "variables": { "email": "ada@example.com", "password": wrong } });
    let request = chat.http.post(chat.url("/graphql")).header("x-forwarded-for", "192.0.2.4").json(&vec![one; 3]);
    let answers: Value = soon(request.send()).await.unwrap().json().await.unwrap();
    let codes: Vec<_> =
        answers.as_array().unwrap().iter().map(|answer| answer["errors"][0]["extensions"]["code"].clone()).collect();
    assert_eq!(codes, [Value::Null, json!("QUERY_TOO_COMPLEX"), json!("QUERY_TOO_COMPLEX")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_count_after_a_restart_and_who_has_to_wait_costs_no_write() {
    let chat = guarded(&[]).await;
    for _ in 0..10 {
        assert_eq!(attempt(&chat, "192.0.2.1", "ada@example.com", "wrong wrong wrong").await, "BAD_CREDENTIALS");
    }
    let chat = Chat::on(chat.stop().await, &[&ACCOUNTS[..], &GUARDED].concat()).await;
    let lock = chat.database.locked().await;
    assert_eq!(attempt(&chat, "192.0.2.1", "ada@example.com", "correct horse battery").await, "RATE_LIMITED");
    drop(lock);
    assert_eq!(attempt(&chat, "192.0.2.2", "ada@example.com", "correct horse battery").await, "in");
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_at_several_servers_count_together_also_after_a_restart() {
    let database = Database::new().await;
    if database.is_sqlite() {
        return;
    }
    let flags = [&ACCOUNTS[..], &GUARDED].concat();
    let same = Database::on(&database.url);
    let mut servers = [Chat::in_real_time(database, &flags).await, Chat::in_real_time(same, &flags).await];
    Member::signs_up(&servers[0], "Ada").await;
    let (right, wrong) = ("correct horse battery", "wrong wrong wrong");
    for guess in 0..10 {
        let code = attempt(&servers[guess % 2], "192.0.2.1", "ada@example.com", wrong).await;
        assert_eq!(code, "BAD_CREDENTIALS", "{guess}");
    }
    for is_restarted in [false, true] {
        if is_restarted {
            let [a, b] = servers;
            let (a, b) = (a.stop().await, b.stop().await);
            servers = [Chat::in_real_time(a, &flags).await, Chat::in_real_time(b, &flags).await];
        }
        for chat in &servers {
            for password in [wrong, right] {
                let code = attempt(chat, "192.0.2.1", "ada@example.com", password).await;
                assert_eq!(code, "RATE_LIMITED", "{is_restarted}");
            }
            // The owner, somewhere else, has not to wait.
            assert_eq!(attempt(chat, "192.0.2.2", "ada@example.com", right).await, "in");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guessed_may_try_again_after_a_quarter_of_an_hour() {
    let clock = HeldClock::new();
    let chat = Chat::by(&clock, Database::new().await, &[&ACCOUNTS[..], &GUARDED].concat()).await;
    Member::signs_up(&chat, "Ada").await;
    let (right, wrong) = ("correct horse battery", "wrong wrong wrong");
    for _ in 0..10 {
        assert_eq!(attempt(&chat, "192.0.2.1", "ada@example.com", wrong).await, "BAD_CREDENTIALS");
    }
    for (minutes, outcome) in [(0, "RATE_LIMITED"), (14, "RATE_LIMITED"), (2, "in")] {
        clock.advance(Duration::from_mins(minutes));
        assert_eq!(attempt(&chat, "192.0.2.1", "ada@example.com", right).await, outcome, "{minutes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_ahead_locks_nobody_out() {
    let clock = HeldClock::new();
    let chat = Chat::by(&clock, Database::new().await, &[&ACCOUNTS[..], &GUARDED].concat()).await;
    Member::signs_up(&chat, "Ada").await;
    let day = Duration::from_hours(24);
    clock.advance(day);
    for _ in 0..10 {
        assert_eq!(attempt(&chat, "192.0.2.1", "ada@example.com", "wrong").await, "BAD_CREDENTIALS");
    }
    assert_eq!(attempt(&chat, "192.0.2.1", "ada@example.com", "wrong").await, "RATE_LIMITED");
    clock.go_back(day);
    assert_eq!(attempt(&chat, "192.0.2.1", "ada@example.com", "correct horse battery").await, "in");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_so_many_attempts() {
    let chat = guarded(&["--max-sign-ins", "3", "--max-sign-ups", "2"]).await;
    for number in 0..3 {
        assert_eq!(attempt(&chat, "192.0.2.1", &format!("{number}@x"), "wrong wrong wrong").await, "BAD_CREDENTIALS");
    }
    assert_eq!(attempt(&chat, "192.0.2.1", "4@x", "wrong wrong wrong").await, "RATE_LIMITED");
    assert_eq!(attempt(&chat, "192.0.2.2", "4@x", "wrong wrong wrong").await, "BAD_CREDENTIALS");
    Member::signs_up(&chat, "Bob").await;
    let input = r#"signUp(input: { name: "Eve", email: "eve@x", password: "long long long" }) { userErrors { code } }"#;
    assert_eq!(code(&chat.ask(&format!("mutation {{ {input} }}"), json!({})).await), "RATE_LIMITED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_sends_so_often() {
    let chat = guarded(&["--max-sends", "2"]).await;
    let (ada, bob) = (Member::signs_in(&chat, "Ada").await, Member::signs_up(&chat, "Bob").await);
    let send = async |from: &Member, to: &Member| {
        let query =
            r#"mutation ($to: ID!) { sendMessage(input: { receiverId: $to, content: "x" }) { message { id } } }"#;
        let answer = from.asks(&chat, query, json!({ "to": to.id })).await;
        answer.get("errors").map(|_| code(&answer))
    };
    let mut outcomes = Vec::new();
    for _ in 0..12 {
        outcomes.push(send(&ada, &bob).await);
    }
    // Six at once, and what the time that this took allows.
    assert!(outcomes[..6].iter().all(Option::is_none), "{outcomes:?}");
    assert!(outcomes.iter().flatten().all(|code| code == "RATE_LIMITED"), "{outcomes:?}");
    assert!(outcomes.iter().flatten().count() > 0, "{outcomes:?}");
    assert_eq!(send(&bob, &ada).await, None);
}

const RENAME: &str = "mutation ($id: ID!, $name: String!) {
    updateUser(id: $id, input: { name: $name }) { user { name } userErrors { code } }
}";

/// The code of the error; `None` if it is done.
async fn renames(chat: &Chat, member: &Member, name: &str) -> Option<String> {
    let answer = member.asks(chat, RENAME, json!({ "id": member.id, "name": name })).await;
    answer.get("errors").map(|_| code(&answer))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_changes_as_seldom_as_an_address() {
    let chat = guarded(&["--max-sends", "off"]).await;
    let ada = Member::signs_in(&chat, "Ada").await;
    for number in 0..10 {
        assert_eq!(renames(&chat, &ada, &format!("Ada {number}")).await, None);
    }
    assert_eq!(renames(&chat, &ada, "Ada L.").await.as_deref(), Some("RATE_LIMITED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_name_counts_once_for_each_who_is_told() {
    let chat = guarded(&["--max-sends", "1", "--max-sign-in-failures", "off", "--max-sign-ups", "off"]).await;
    let ada = Member::signs_in(&chat, "Ada").await;
    let send = r#"mutation ($to: ID!) { sendMessage(input: { receiverId: $to, content: "x" }) { message { id } } }"#;
    // Three changes at once are allowed: one of those that follow needs all three.
    for number in 0..5 {
        let peer = Member::signs_up(&chat, &format!("P{number}")).await;
        let answer = peer.asks(&chat, send, json!({ "to": ada.id })).await;
        assert_eq!(answer.get("errors"), None);
    }
    let mut outcomes = Vec::new();
    for number in 0..3 {
        outcomes.push(renames(&chat, &ada, &format!("Ada {number}")).await);
    }
    assert_eq!(outcomes[0], None);
    assert!(outcomes[1..].iter().flatten().any(|code| code == "RATE_LIMITED"), "{outcomes:?}");
    // But it is only a matter of waiting for as long as one is told to.
    let done = soon(async {
        loop {
            let answer = ada.asks(&chat, RENAME, json!({ "id": ada.id, "name": "Ada L." })).await;
            let Some(error) = answer["errors"].get(0) else { return answer };
            let wait = error["extensions"]["retryAfterMs"].as_u64().unwrap();
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
    })
    .await;
    assert_eq!(done["data"]["updateUser"]["user"]["name"], "Ada L.");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_signs_in_waits_or_is_told_to_come_back() {
    let chat = guarded(&["--max-sign-ins", "off", "--max-sign-in-failures", "off"]).await;
    let codes = crowd(&chat, 300, &["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5"]).await;
    assert!(codes["in"] >= 64 && codes["UNAVAILABLE"] > 0, "{codes:?}");
    // On a slow machine the connection pool can be waited for too long as well.
    let told = ["in", "UNAVAILABLE", "DATABASE_BUSY"];
    assert!(codes.keys().all(|code| told.contains(&code.as_str())), "{codes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_behind_one_address_leaves_room_for_others() {
    let chat = guarded(&["--max-sign-ins", "off", "--max-sign-in-failures", "off"]).await;
    let other = attempt(&chat, "192.0.2.2", "ada@example.com", "correct horse battery");
    let (codes, other) = tokio::join!(crowd(&chat, 150, &["192.0.2.1"]), other);
    assert_eq!(other, "in");
    assert!(codes["in"] >= 64 && codes["RATE_LIMITED"] > 0 && !codes.contains_key("UNAVAILABLE"), "{codes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_refreshed_and_ended_so_often() {
    let chat = guarded(&["--max-sign-ins", "off", "--access-token-lifetime", "86400"]).await;
    let ask = async |from: &str, token: Option<&str>, query: &str| {
        let body = json!({ "query": query });
        let mut request = chat.http.post(chat.url("/graphql")).header("x-forwarded-for", from).json(&body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer: Value = soon(request.send()).await.unwrap().json().await.unwrap();
        answer
    };
    let (ada, bob) = (Member::signs_in(&chat, "Ada").await, Member::signs_up(&chat, "Bob").await);
    let refresh = |member: &Member| {
        format!(r#"mutation {{ refreshSession(refreshToken: "{}") {{ refreshToken }} }}"#, member.refresh)
    };
    // Nobody can change anything, and is not asked to once it is too often.
    let mut limited = 0;
    for _ in 0..40 {
        let answer = ask("192.0.2.1", None, &refresh(&ada)).await;
        assert!(answer.get("errors").is_none() || code(&answer) == "RATE_LIMITED", "{answer}");
        limited += usize::from(answer.get("errors").is_some());
    }
    assert!((1..=10).contains(&limited), "{limited}");
    let lock = chat.database.locked().await;
    assert_eq!(code(&ask("192.0.2.9", None, &refresh(&ada)).await), "RATE_LIMITED");
    drop(lock);
    assert_eq!(ask("192.0.2.1", None, &refresh(&bob)).await.get("errors"), None);

    let mut members = Vec::new();
    for name in ["Carol", "Dan", "Eve", "Frank", "Grace"] {
        members.push(Member::signs_up(&chat, name).await);
    }
    let ends = async |member: &Member, from: &str, times: usize| {
        let mut limited = 0;
        for _ in 0..times {
            let out = "mutation { signOut(sessionId: 999) { userErrors { code } } }";
            let answer = ask(from, Some(&member.access), out).await;
            assert!(answer.get("errors").is_none() || code(&answer) == "RATE_LIMITED", "{answer}");
            limited += usize::from(answer.get("errors").is_some());
        }
        limited
    };
    let limited = ends(&members[0], "192.0.2.3", 120).await;
    assert!((1..=20).contains(&limited), "{limited}");
    // An address has so many, whoever they are.
    let mut limited = 0;
    for member in &members[1..] {
        limited += ends(member, "192.0.2.3", 90).await;
    }
    assert!(limited > 0);
    assert_eq!(ends(&members[4], "192.0.2.4", 1).await, 0);
}
