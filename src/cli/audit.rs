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
        audit::{self, AuditFilter, OPERATOR, Subject},
    },
    model::ids::{ServiceTokenId, SessionId, UserId},
};
use serde_json::json;

use super::{open_existing, user_named, with_app};

/// What of it is listed: since when, of whom, and which actions.
type Wanted<'a> = (Option<Duration>, Option<&'a str>, Option<String>);

pub(super) async fn run(wanted: Wanted<'_>, json: bool, database: &Database) -> Result<()> {
    with_app(open_existing(database).await?, async |app| list(app, wanted, json).await).await
}

async fn list(app: &App, (since, user, action): Wanted<'_>, json: bool) -> Result<()> {
    let operator = Viewer::operator(app);
    let subject = match user {
        Some(token) if token.starts_with("svc_") && !token.contains('@') => {
            Some(token.parse::<ServiceTokenId>()?.into())
        }
        Some(OPERATOR) => Some(Subject::of_commands()),
        Some(user) => Some(user_named(app, &operator, user).await?.into()),
        None => None,
    };
    let filter = AuditFilter { since: since.map(|since| app.now().earlier(since)), subject, action };
    let mut output = stdout().lock();
    if !json {
        writeln!(output, "AT\tACTOR\tSESSION\tACTION\tUSER\tOBJECT")?;
    }
    let mut next = Some(0);
    while let Some(after) = next {
        let (records, rest) = audit::records(app, &operator, after, filter.clone()).await?;
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
