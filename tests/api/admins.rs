//! What the operator does with accounts at the command line, and what is printed there.

use std::process::Stdio;

use duologue::{
    domain::{
        Error, Viewer, accounts, admin as operations, imports,
        users::{self, Changes},
    },
    model::{
        texts::{Email, Name, Password},
        timestamps::Timestamp,
    },
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
};

use crate::{
    accounts::{Member, PASSWORD, SIGN_IN, SIGN_UP},
    harness::{ACCOUNTS, Chat, Database, code, soon},
    program::program,
};

const EXPIRED: &str = "This refresh token is not valid any more: it has expired or was already used. Sign in again.";

/// Whether it was done, and what was said on standard output and standard error.
async fn admin(database: &Database, arguments: &[&str], input: &str) -> (bool, String, String) {
    let all = [&["admin"], arguments, &["--database", &*database.url]].concat();
    let mut command = program(&all);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = soon(child.wait_with_output()).await.unwrap();
    let said = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), said(output.stdout), said(output.stderr))
}

/// The same on a terminal, where each prompt gets an answer: whether it was done, and all that the terminal shows.
async fn admin_on_a_terminal(database: &Database, arguments: &[&str], answers: &[(&str, &str)]) -> (bool, String) {
    let all = [&["admin"], arguments, &["--database", &*database.url]].concat();
    let command = program(&all);
    let words = [command.as_std().get_program()].into_iter().chain(command.as_std().get_args());
    let line: Vec<_> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    // Of util-linux: it gives a command a terminal of its own.
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line.join(" "), "/dev/null"]);
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut keyboard, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut shown = Vec::new();
    for (prompt, answer) in answers {
        while !shown.ends_with(prompt.as_bytes()) {
            assert_ne!(soon(screen.read_buf(&mut shown)).await.unwrap(), 0, "{}", String::from_utf8_lossy(&shown));
        }
        keyboard.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
    }
    soon(screen.read_to_end(&mut shown)).await.unwrap();
    (soon(child.wait()).await.unwrap().success(), String::from_utf8(shown).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_typed_twice() {
    let chat = Chat::in_real_time(Database::new().await, &ACCOUNTS).await;
    let create = ["create", "ada@example.com"];
    let mistyped = [("New password: ", PASSWORD), ("Once more: ", "correct horse batterz")];
    let (is_done, shown) = admin_on_a_terminal(&chat.database, &create, &mistyped).await;
    assert!(!is_done && shown.contains("the passwords do not match; nothing was changed"), "{shown}");
    assert_eq!(
        admin(&chat.database, &["revoke", "ada@example.com"], "").await.2,
        "duologue: there is no account with this address\n"
    );
    let typed = [("New password: ", PASSWORD), ("Once more: ", PASSWORD)];
    let (is_done, shown) = admin_on_a_terminal(&chat.database, &create, &typed).await;
    assert!(is_done, "{shown}");
    // Nobody types one in vain.
    for (task, said) in [
        (create, "there is an account with this address"),
        (["reset-password", "eve@example.com"], "there is no account with this address"),
        (["reset-password", "usr_9"], "There is no user usr_9"),
    ] {
        let (is_done, shown) = admin_on_a_terminal(&chat.database, &task, &[]).await;
        assert!(!is_done && shown.contains(said) && !shown.contains("New password"), "{shown}");
    }
    assert!(Member::signs_in(&chat, "Ada").await.is_signed_in(&chat).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_is_made_a_user_again() {
    let chat = Chat::in_real_time(Database::new().await, &ACCOUNTS).await;
    let bob = Member::signs_up(&chat, "Bob").await;
    let password = "correct horse battery\n";
    for email in ["ada@example.com", "eve@example.com"] {
        assert!(admin(&chat.database, &["create", email], password).await.0);
    }
    let read = "{ user(id: 1) { email } }";
    let ada = Member::signs_in(&chat, "Ada").await;
    assert_eq!(ada.asks(&chat, read, json!({})).await["data"]["user"]["email"], "bob@example.com");
    let mut socket = ada.connects(&chat).await;

    let done = admin(&chat.database, &["revoke", "ada@example.com"], "").await;
    let said = format!("{} is a user again, and all of its sessions have ended.\n", ada.id);
    assert_eq!(done, (true, said, String::new()));
    assert_eq!(code(&ada.asks(&chat, read, json!({})).await), "UNAUTHENTICATED");
    accounts::poll_revocations(&chat.app).await;
    assert_eq!(socket.hears_close().await, 4403);
    let ada = Member::signs_in(&chat, "Ada").await;
    assert!(ada.asks(&chat, read, json!({})).await["data"]["user"]["email"].is_null());

    // Whoever is none stays signed in.
    for (user, session, said) in [
        ("ada@example.com", &ada, "usr_2 is no admin"),
        ("usr_1", &bob, "usr_1 is no admin"),
        ("nobody@example.com", &bob, "there is no account with this address"),
    ] {
        let none = admin(&chat.database, &["revoke", user], "").await;
        assert_eq!(none, (false, String::new(), format!("duologue: {said}\n")));
        assert!(session.is_signed_in(&chat).await);
    }
    let last = "This was the last admin: `duologue admin create` or `grant` makes another.\n";
    for (task, warning) in [("suspend", last), ("unsuspend", ""), ("revoke", last)] {
        let (done, _, said) = admin(&chat.database, &[task, "eve@example.com"], "").await;
        assert_eq!((done, said.as_str()), (true, warning), "{task}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_becomes_an_admin_and_keeps_its_password() {
    let chat = Chat::in_real_time(Database::new().await, &ACCOUNTS).await;
    let ada = Member::signs_up(&chat, "Ada").await;
    let bob = Member::signs_up(&chat, "Bob").await;
    let taken = admin(&chat.database, &["create", "ADA@example.com"], "another good password\n").await;
    assert!(!taken.0 && taken.2.starts_with("duologue: there is an account with this address: "), "{taken:?}");
    assert!(ada.is_signed_in(&chat).await);

    let granted = admin(&chat.database, &["grant", "ada@example.com"], "").await;
    assert!(granted.0 && granted.1.starts_with("usr_1 (Ada, since 20"), "{granted:?}");
    assert!(granted.1.ends_with("Z) is an admin, with the password as before.\n"), "{granted:?}");
    assert!(!ada.is_signed_in(&chat).await && bob.is_signed_in(&chat).await);
    let ada = Member::signs_in(&chat, "Ada").await;
    let read = ada.asks(&chat, "{ user(id: 2) { email } }", json!({})).await;
    assert_eq!(read["data"]["user"]["email"], "bob@example.com");
    let again = admin(&chat.database, &["grant", "usr_1"], "").await;
    assert!(again == granted && ada.is_signed_in(&chat).await, "{again:?}");
    for (user, said) in
        [("nobody@example.com", "there is no account with this address"), ("usr_9", "There is no user usr_9.")]
    {
        let nobody = admin(&chat.database, &["grant", user], "").await;
        assert_eq!(nobody, (false, String::new(), format!("duologue: {said}\n")));
    }

    let (done, listed, _) = admin(&chat.database, &["users"], "").await;
    assert!(done);
    let rows: Vec<Vec<_>> = listed.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows[0], ["USER", "ROLE", "CREATED", "SUSPENDED", "EMAIL", "NAME"]);
    let but_times: Vec<_> = rows[1..].iter().map(|row| [row[0], row[1], row[3], row[4], row[5]]).collect();
    let (ada, bob) =
        (["usr_1", "admin", "-", "ada@example.com", "Ada"], ["usr_2", "user", "-", "bob@example.com", "Bob"]);
    assert_eq!(but_times, [ada, bob]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_suspended_until_that_ends() {
    let chat = Chat::in_real_time(Database::new().await, &ACCOUNTS).await;
    let (ada, bob) = (Member::signs_up(&chat, "Ada").await, Member::signs_up(&chat, "Bob").await);
    let mut socket = ada.connects(&chat).await;
    let done = admin(&chat.database, &["suspend", "ada@example.com"], "").await;
    assert_eq!(done, (true, "usr_1 is suspended, and all of its sessions have ended.\n".into(), String::new()));
    assert!(!ada.is_signed_in(&chat).await && bob.is_signed_in(&chat).await);
    accounts::poll_revocations(&chat.app).await;
    assert_eq!(socket.hears_close().await, 4403);
    assert_eq!(accounts::refresh(&chat.app, &ada.refresh, None).await.err().unwrap().to_string(), EXPIRED);

    // Nor with a session that a server of an earlier release has begun meanwhile.
    chat.database.run("UPDATE sessions SET ended_at = NULL WHERE user_id = 1").await;
    assert!(!ada.is_signed_in(&chat).await);
    chat.database.run("DELETE FROM sessions WHERE user_id = 1").await;

    // Who knows the password is told why; to anybody else it is an account like any other.
    let sign_in = async |password: &str| {
        let input = json!({ "email": "ada@example.com", "password": password });
        chat.ask(SIGN_IN, json!({ "input": input })).await
    };
    let refused = sign_in(PASSWORD).await;
    assert_eq!(code(&refused), "FORBIDDEN");
    assert_eq!(refused["errors"][0]["message"], "This account is suspended. Ask who runs this server.");
    assert_eq!(sign_in("wrong wrong wrong").await["data"]["signIn"]["userErrors"][0]["code"], "BAD_CREDENTIALS");
    // Others see her as before, and can write to her.
    let write = "mutation { sendMessage(input: { receiverId: 1, content: \"Where are you?\" }) {
        message { receiver { name } } userErrors { code } } }";
    let sent = bob.asks(&chat, write, json!({})).await;
    assert_eq!(sent["data"]["sendMessage"]["message"]["receiver"]["name"], "Ada", "{sent}");

    let (_, listed, _) = admin(&chat.database, &["users"], "").await;
    let suspended: Vec<_> = listed.lines().skip(1).map(|line| line.split('\t').nth(3).unwrap()).collect();
    assert!(suspended[0].ends_with('Z') && suspended[1] == "-", "{listed}");
    for (task, user, said) in [
        ("suspend", "usr_1", "usr_1 is suspended already"),
        ("unsuspend", "bob@example.com", "usr_2 is not suspended"),
        ("suspend", "usr_9", "There is no user usr_9."),
        ("suspend", "nobody@example.com", "there is no account with this address"),
    ] {
        let none = admin(&chat.database, &[task, user], "").await;
        assert_eq!(none, (false, String::new(), format!("duologue: {said}\n")));
    }
    let done = admin(&chat.database, &["unsuspend", "usr_1"], "").await;
    assert_eq!(done, (true, "usr_1 may sign in again.\n".into(), String::new()));
    assert!(Member::signs_in(&chat, "Ada").await.is_signed_in(&chat).await);
    assert!(!ada.is_signed_in(&chat).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_may_sign_up_accounts_are_made_for_people() {
    let chat = Chat::with(&[&ACCOUNTS[..], &["--sign-up", "closed"]].concat()).await;
    let input = json!({ "name": "Ada", "email": "ada@example.com", "password": PASSWORD });
    assert_eq!(chat.code(SIGN_UP, json!({ "input": input })).await, "FEATURE_DISABLED");
    let features =
        async |chat: &Chat| chat.data("{ server { features } }", json!({})).await["server"]["features"].take();
    assert_eq!(features(&chat).await, json!(["accounts", "search"]));
    let operator = Viewer::operator(&chat.app);
    let (_, token) =
        operations::issue_token(&chat.app, &operator, Name::parse("program".into()).unwrap()).await.unwrap();
    let create = "mutation ($input: CreateUserInput!) { createUser(input: $input) { userErrors { code } } }";
    chat.ask_with(Some(&token), create, json!({ "input": input })).await;
    Member::signs_in(&chat, "Ada").await;
    assert_eq!(features(&Chat::with(&ACCOUNTS).await).await, json!(["accounts", "sign-up", "search"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_and_tokens_are_listed_in_columns_with_heads() {
    let chat = Chat::in_real_time(Database::new().await, &ACCOUNTS).await;
    let former = Member::signs_up(&chat, "Ada").await.session(&chat).await;
    let latter = Member::signs_in(&chat, "Ada").await.session(&chat).await;
    assert!(admin(&chat.database, &["issue-token", "billing"], "").await.0);
    for (task, head, [first, last]) in [
        (&["sessions", "usr_1"][..], "SESSION\tSIGNED IN\tLAST USED\tDEVICE", [&[&*latter, "phone"], &[&*former, "-"]]),
        (&["tokens"][..], "TOKEN\tISSUED\tNAME", [&["svc_1", "billing"], &["svc_1", "billing"]]),
    ] {
        let (is_done, said, errors) = admin(&chat.database, task, "").await;
        assert!(is_done && errors.is_empty(), "{task:?}: {errors}");
        let mut lines = said.lines();
        assert_eq!(lines.next(), Some(head));
        let rows: Vec<Vec<_>> = lines.map(|line| line.split('\t').collect()).collect();
        for row in &rows {
            assert_eq!(row.len(), head.split('\t').count(), "{said}");
            for time in &row[1..row.len() - 1] {
                time.parse::<Timestamp>().unwrap_or_else(|_| panic!("{time}: {said}"));
            }
        }
        for (row, expected) in [(rows.first().unwrap(), first), (rows.last().unwrap(), last)] {
            assert_eq!([row[0], row[row.len() - 1]], *expected, "{said}");
        }
    }
    let none = admin(&chat.database, &["end-session", "ses_77"], "").await;
    assert_eq!(none, (false, String::new(), "duologue: there is no active session ses_77\n".into()));
}

/// As it may be while a password is hashed.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_revoked_meanwhile_changes_no_account() {
    let chat = Chat::in_real_time(Database::new().await, &ACCOUNTS).await;
    let ada = Member::signs_up(&chat, "Ada").await;
    let (app, operator) = (&chat.app, Viewer::operator(&chat.app));
    let (id, token) = operations::issue_token(app, &operator, Name::parse("billing".into()).unwrap()).await.unwrap();
    let program = Viewer::of(app, Some(&format!("Bearer {token}"))).await.unwrap();
    assert!(operations::revoke_token(app, &operator, id).await.unwrap());
    let (name, email) = (Name::parse("Eve".into()).unwrap(), Email::parse("eve@example.com").unwrap());
    let created = users::create(app, &program, name, email, None).await;
    assert!(matches!(created, Err(Error::Unauthenticated)));
    let changes = Changes { password: Some(Password::parse(PASSWORD.into()).unwrap()), ..Changes::default() };
    let updated = users::update(app, &program, ada.id.parse().unwrap(), changes).await;
    assert!(matches!(updated, Err(Error::Unauthenticated)));
}

/// Not even whoever may do everything with users and messages.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_operator_does_what_the_commands_do() {
    let chat = Chat::open_to_all(&[]).await;
    let anybody = Viewer::of(&chat.app, None).await.unwrap();
    assert!(matches!(operations::tokens(&chat.app, &anybody).await, Err(Error::Forbidden(_))));
    let imported = imports::import(&chat.app, &anybody, std::iter::empty()).await;
    assert!(matches!(imported, Err(imports::ImportError::Failed(Error::Forbidden(_)))));
    assert!(operations::tokens(&chat.app, &Viewer::operator(&chat.app)).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_users_wrote_does_not_control_the_terminal() {
    let chat = Chat::in_real_time(Database::new().await, &ACCOUNTS).await;
    Member::signs_up(&chat, "Ada").await;
    // Stored by a release that took it.
    let text = "\u{1b}[2J\u{9b}31m\r\u{202e}\u{200b}\u{feff}Ada''s \"é\" 😀";
    let store = |table: &str, column: &str| format!("UPDATE {table} SET {column} = '{text}'");
    assert!(admin(&chat.database, &["issue-token", "billing"], "").await.0);
    chat.database.run(&store("sessions", "device")).await;
    chat.database.run(&store("service_tokens", "name")).await;
    let printed = "\t\\u{1b}[2J\\u{9b}31m\\r\\u{202e}\\u{200b}\\u{feff}Ada's \"é\" 😀\n";
    for task in [&["sessions", "ada@example.com"][..], &["tokens"]] {
        let (done, said, _) = admin(&chat.database, task, "").await;
        assert!(done && said.ends_with(printed), "{said:?}");
    }
    // Errors quote what is in files.
    let file = chat.database.folder().join("users.jsonl");
    std::fs::write(&file, "{\"\u{1b}[2J\u{202e}\": 1}\n").unwrap();
    let arguments = ["import", file.to_str().unwrap(), "--database", &chat.database.url];
    let output = soon(program(&arguments).output()).await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("line 1") && !said.trim_end().contains(['\u{1b}', '\u{202e}']), "{said:?}");
}
