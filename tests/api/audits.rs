//! The audit log: who did what to whom, in the transaction of what was done.

use std::time::Duration;

use duologue::{
    domain::{
        Viewer, admin,
        audit::{self, AuditFilter, Subject},
        imports,
    },
    model::{
        ids::UserId,
        texts::{Email, Name, Password},
    },
};
use serde_json::{Value, json};

use crate::{
    accounts::{Member, accounts},
    harness::{Chat, authorization_of_a_program, text},
    imports::LINES,
    program::run,
};

/// Who, what, to whom, with what.
type Record = (String, String, Option<String>, Option<String>);

async fn records(chat: &Chat, subject: Option<Subject>) -> Vec<Record> {
    let operator = Viewer::operator(&chat.app);
    let filter = AuditFilter { subject, ..AuditFilter::default() };
    let (found, rest) = audit::records(&chat.app, &operator, 0, filter).await.unwrap();
    assert_eq!(rest, None);
    let user = |user: Option<UserId>| user.map(|user| user.to_string());
    found.into_iter().map(|it| (it.actor, it.action, user(it.user_id), it.object)).collect()
}

fn record(actor: &str, action: &str, user: &str, object: &str) -> Record {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    (actor.into(), action.into(), given(user), given(object))
}

/// A change in the name of somebody else; gives its payload.
async fn changes(chat: &Chat, authorization: &str, call: &str) -> Value {
    let request = json!({ "query": format!("mutation {{ it: {call} }}") });
    let request = chat.http.post(chat.url("/graphql")).header("authorization", authorization).json(&request);
    let mut answer: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer.get("errors"), None, "{call}");
    answer["data"]["it"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_does_on_behalf_of_users_is_recorded() {
    let chat = accounts().await;
    let program = authorization_of_a_program(&chat.database).await;
    let issued = records(&chat, None).await.len();
    let errors = "userErrors { code }";
    let (create, edit) =
        ("createUser(input: { name: \"Bot\", email: \"bot@example.com\" })", "input: { content: \"Hi!\" }");
    let calls = [
        format!("{create} {{ {errors} }}"),
        format!("createUser(input: {{ name: \"Ann\", email: \"ann@example.com\" }}) {{ {errors} }}"),
        // Refused, and so not recorded.
        format!("{create} {{ {errors} }}"),
        format!(
            "sendMessage(input: {{ senderId: 1, receiverId: 2, content: \"Hi\", clientId: \"a\" }}) {{ {errors} }}"
        ),
        // It was sent before, and so not recorded.
        format!(
            "sendMessage(input: {{ senderId: 1, receiverId: 2, content: \"Hi\", clientId: \"a\" }}) {{ {errors} }}"
        ),
        format!("updateMessage(id: 1, {edit}) {{ {errors} }}"),
        format!("markDelivered(messageId: 1, userId: 2) {{ {errors} }}"),
        format!("markRead(messageId: 1, userId: 2) {{ {errors} }}"),
        // It has been read, and so nothing is recorded; nor is a block that is there, and one that is not.
        format!("markRead(messageId: 1, userId: 2) {{ {errors} }}"),
        format!("unblockUser(userId: 1, id: 2) {{ {errors} }}"),
        format!("deleteMessage(id: 1) {{ {errors} }}"),
        format!("blockUser(userId: 1, id: 2) {{ {errors} }}"),
        format!("blockUser(userId: 1, id: 2) {{ {errors} }}"),
        format!("unblockUser(userId: 1, id: 2) {{ {errors} }}"),
        format!("updateUser(id: 1, input: {{ name: \"Bob\", password: \"correct horse battery\" }}) {{ {errors} }}"),
        format!("updateUser(id: 1, input: {{ name: \"Bob\" }}) {{ {errors} }}"),
        format!("deleteUser(id: 1, eraseMessages: true) {{ {errors} }}"),
        format!("deleteUser(id: 2) {{ {errors} }}"),
    ];
    for call in &calls {
        changes(&chat, &program, call).await;
    }
    let found = records(&chat, None).await.split_off(issued);
    let by = |action, user, object| record("svc_1", action, user, object);
    assert_eq!(
        found,
        [
            by("createUser", "usr_1", ""),
            by("createUser", "usr_2", ""),
            by("sendMessage", "usr_1", "msg_1"),
            by("updateMessage", "usr_1", "msg_1"),
            by("markDelivered", "usr_2", "msg_1"),
            by("markRead", "usr_2", "msg_1"),
            by("deleteMessage", "usr_1", "msg_1"),
            by("blockUser", "usr_1", "usr_2"),
            by("unblockUser", "usr_1", "usr_2"),
            by("updateUser", "usr_1", "name,password"),
            by("deleteUser", "usr_1", "messages"),
            by("deleteUser", "usr_2", ""),
        ]
    );
    let of_bot = records(&chat, UserId::new(1).map(Subject::from)).await;
    assert_eq!(of_bot.len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_users_do_themselves_only_changes_of_their_accounts_are_recorded() {
    let chat = accounts().await;
    let (ada, bob) = (Member::signs_up(&chat, "Ada").await, Member::signs_up(&chat, "Bob").await);
    let session = ada.session(&chat).await;
    for call in [
        "sendMessage(input: { receiverId: 2, content: \"Hi\" }) { userErrors { code } }",
        "updateMessage(id: 1, input: { content: \"Hi!\" }) { userErrors { code } }",
        "updateUser(id: 1, input: { name: \"Ann\" }) { userErrors { code } }",
        "updateUser(id: 1, input: { email: \"ann@example.com\" }) { userErrors { code } }",
        "deleteUser(id: 1) { userErrors { code } }",
    ] {
        changes(&chat, &format!("Bearer {}", ada.access), call).await;
    }
    let found = records(&chat, None).await;
    assert_eq!(found, [record("usr_1", "updateUser", "usr_1", "email"), record("usr_1", "deleteUser", "usr_1", "")]);
    let (all, _) = audit::records(&chat.app, &Viewer::operator(&chat.app), 0, AuditFilter::default()).await.unwrap();
    assert_eq!(all[0].session_id.as_ref().map(ToString::to_string), Some(session));
    assert_eq!(bob.id, "usr_2");

    // Where nobody signs in, nobody is known.
    let open = Chat::open_to_all(&[]).await;
    let (ada, bob) = (open.person("Ada").await, open.person("Bob").await);
    ada.sends("Hi", &bob).await;
    ada.leaves(true).await;
    assert_eq!(records(&open, None).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_operator_are_recorded_and_listed() {
    let chat = accounts().await;
    let (app, operator) = (&chat.app, Viewer::operator(&chat.app));
    let (name, email) = (Name::parse("Ida".into()).unwrap(), Email::parse("ida@example.com").unwrap());
    let password = || Password::parse("correct horse battery".into()).unwrap();
    let ida = admin::create(app, &operator, name.clone(), email.clone(), password()).await.unwrap().id;
    assert!(admin::revoke(app, &operator, ida).await.unwrap());
    admin::grant(app, &operator, ida).await.unwrap();
    // She is one already.
    admin::grant(app, &operator, ida).await.unwrap();
    admin::reset_password(app, &operator, ida, password()).await.unwrap();
    let input = json!({ "email": "ida@example.com", "password": "correct horse battery" });
    let sign_in =
        "mutation ($input: SignInInput!) { signIn(input: $input) { accessToken viewer { sessions { id } } } }";
    let session = text(&chat.data(sign_in, json!({ "input": input })).await["signIn"]["viewer"]["sessions"][0]["id"]);
    admin::end_session(app, &operator, session.parse().unwrap()).await.unwrap();
    assert_eq!(admin::end_session(app, &operator, session.parse().unwrap()).await.unwrap(), None);
    for (is_suspended, has_changed) in [(true, true), (true, false), (false, true), (false, false)] {
        assert_eq!(admin::set_suspended(app, &operator, ida, is_suspended).await.unwrap(), has_changed);
    }
    let (token, _) = admin::issue_token(app, &operator, name).await.unwrap();
    assert!(admin::revoke_token(app, &operator, token).await.unwrap());
    assert!(!admin::revoke_token(app, &operator, token).await.unwrap());
    let lines = LINES.lines().map(|line| serde_json::from_str(line).map_err(|_wrong| "wrong".to_owned()));
    imports::import(app, &operator, (1..).zip(lines.collect::<Vec<_>>())).await.unwrap();
    admin::begin_new_epoch(app, &operator).await.unwrap();
    let export = ["export", "-", "--user", "ida@example.com", "--database", &chat.database.url];
    assert!(run(&export).await.status.success());
    let by = |action, user, object: &str| record("operator", action, user, object);
    let expected = [
        by("admin create", "usr_1", ""),
        by("admin revoke", "usr_1", ""),
        by("admin grant", "usr_1", ""),
        by("admin reset-password", "usr_1", ""),
        by("admin end-session", "usr_1", &session),
        by("admin suspend", "usr_1", ""),
        by("admin unsuspend", "usr_1", ""),
        by("admin issue-token", "", &token.to_string()),
        by("admin revoke-token", "", &token.to_string()),
        by("import", "", "2 users and 2 messages"),
        by("new-epoch", "", ""),
        by("export", "usr_1", ""),
    ];
    assert_eq!(records(&chat, None).await, expected);

    let list = async |flags: &[&str]| {
        let output = run(&[&["audit", "--database", &chat.database.url], flags].concat()).await;
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let all = list(&[]).await;
    let rows: Vec<Vec<&str>> = all.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows[0], ["AT", "ACTOR", "SESSION", "ACTION", "USER", "OBJECT"]);
    assert_eq!(rows[5][1..], ["operator", "-", "admin end-session", "usr_1", &session]);
    assert_eq!(rows.len(), 13);
    for personal in ["Ida", "example.com", "Hello", "argon2"] {
        assert!(!all.contains(personal), "{personal}");
    }
    let of_ida = list(&["--user", "ida@example.com", "--json"]).await;
    let of_ida: Vec<Value> = of_ida.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(of_ida.len(), 8);
    assert_eq!(
        [&of_ida[7]["action"], &of_ida[7]["user"], &of_ida[7]["object"]],
        [&json!("export"), &json!("usr_1"), &Value::Null]
    );
    let granted = list(&["--user", "ida@example.com", "--action", "admin grant"]).await;
    assert_eq!(granted.lines().count(), 2, "{granted}");
    // What a service token did, and the commands.
    assert_eq!(list(&["--user", "operator"]).await.lines().count(), 13);
    assert_eq!(list(&["--user", &token.to_string()]).await.lines().count(), 1);

    // The server's clock stands in the past, the one of the export does not.
    assert_eq!(list(&["--since", "1"]).await.lines().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_deleted_when_they_are_older_than_the_retention() {
    let chat = Chat::open_to_all(&[]).await;
    let operator = Viewer::operator(&chat.app);
    let before = records(&chat, None).await.len();
    for _ in 0..3 {
        admin::begin_new_epoch(&chat.app, &operator).await.unwrap();
    }
    audit::trim(&chat.app, Duration::from_hours(1)).await.unwrap();
    assert_eq!(records(&chat, None).await.len(), before + 3);
    // The clock goes on a second with each look.
    audit::trim(&chat.app, Duration::from_millis(2_500)).await.unwrap();
    assert_eq!(records(&chat, None).await, [record("operator", "new-epoch", "", "")]);
}

/// More of them than are looked at together.
#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_clock_that_was_ahead_keep_no_others() {
    let chat = Chat::open().await;
    let ahead = chat.app.now().later(Duration::from_hours(100_000)).milliseconds();
    let many = format!(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1100)
         INSERT INTO audit (at, actor, action) SELECT {ahead}, 'operator', 'ahead' FROM numbers"
    );
    drop(chat.database.run(&many).await);
    drop(chat.database.run("INSERT INTO audit (at, actor, action) VALUES (1, 'operator', 'old')").await);
    audit::trim(&chat.app, Duration::from_hours(1)).await.unwrap();
    let (last, _) =
        audit::records(&chat.app, &Viewer::operator(&chat.app), 1_050, AuditFilter::default()).await.unwrap();
    assert!(!last.is_empty() && last.iter().all(|record| record.action == "ahead"));
}
