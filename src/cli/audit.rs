//! The command that lists the audit log.

use std::{
    io::{Write, stdout},
    time::Duration,
};

use anyhow::Result;
use duologue::{
    app::App,
    config::Database,
    domain::{
        Viewer,
        audit::{self, Concerned, OPERATOR},
    },
    model::{
        ids::{ServiceTokenId, SessionId, UserId},
        timestamps::Timestamp,
    },
};
use serde_json::json;

use super::user_named;

pub(super) async fn run(since: Option<Duration>, user: Option<&str>, json: bool, database: &Database) -> Result<()> {
    let app = App::open_existing(database).await?;
    let listed = list(&app, since, user, json).await;
    app.close().await;
    listed
}

async fn list(app: &App, since: Option<Duration>, user: Option<&str>, json: bool) -> Result<()> {
    let operator = Viewer::operator(app);
    let concerned = match user {
        Some(token) if token.starts_with("svc_") && !token.contains('@') => {
            Some(token.parse::<ServiceTokenId>()?.into())
        }
        Some(OPERATOR) => Some(Concerned::of_commands()),
        user => user_named(app, &operator, user).await?.map(Concerned::from),
    };
    let since = since.map_or(Timestamp::MIN, |since| app.now().earlier(since));
    let mut output = stdout().lock();
    if !json {
        writeln!(output, "AT\tACTOR\tSESSION\tACTION\tUSER\tOBJECT")?;
    }
    let mut next = Some(0);
    while let Some(after) = next {
        let (records, rest) = audit::records(app, &operator, since, after, concerned.clone()).await?;
        next = rest;
        for record in records {
            let at = record.at.to_string();
            let session = record.session_id.as_ref().map(SessionId::to_string);
            let user = record.user_id.as_ref().map(UserId::to_string);
            if json {
                let line = json!({
                    "at": at,
                    "actor": record.actor,
                    "session": session,
                    "action": record.action,
                    "user": user,
                    "object": record.object,
                });
                writeln!(output, "{line}")?;
            } else {
                let [session, user, object] = [session, user, record.object].map(|text| text.unwrap_or("-".to_owned()));
                writeln!(output, "{at}\t{}\t{session}\t{}\t{user}\t{object}", record.actor, record.action)?;
            }
        }
    }
    Ok(())
}
