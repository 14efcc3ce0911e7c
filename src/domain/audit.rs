//! The audit log: what was changed on behalf of somebody else, what changed accounts, and the commands of the operator. Each record
//! is part of the transaction of what it records; that of an export, which changes nothing, comes before it.
//!
//! Of clients of an open server nobody knows who they are, and nothing is recorded.

use std::time::Duration;

use super::{Result, Viewer, policy, steps::step};
pub use crate::store::audit::{AuditFilter, OPERATOR, Subject};
use crate::{
    app::App,
    model::{ids::UserId, timestamps::Timestamp},
    store::{
        self, Conn,
        audit::{NewRecord, Record},
    },
};

/// Records what the viewer did to a user, or on behalf of them, with an object.
pub(super) fn record(
    conn: &mut Conn<'_>,
    viewer: &Viewer,
    at: Timestamp,
    action: &str,
    (user, object): (Option<UserId>, Option<String>),
) -> store::Result<()> {
    let Some(actor) = viewer.actor() else { return Ok(()) };
    let (session_id, object) = (viewer.session(), object.as_deref());
    store::audit::insert(conn, &NewRecord { at, actor: &actor, session_id, action, user_id: user, object })
}

/// Records what the viewer did on behalf of a user, if that is not the viewer.
pub(super) fn record_for_other(
    conn: &mut Conn<'_>,
    viewer: &Viewer,
    at: Timestamp,
    action: &str,
    (user, object): (UserId, impl ToString),
) -> store::Result<()> {
    if viewer.user() == Some(user) {
        return Ok(());
    }
    record(conn, viewer, at, action, (Some(user), Some(object.to_string())))
}

/// The next records with higher ids that a filter lets through, and after which id to go on; `None` after the last one.
pub async fn records(
    app: &App,
    viewer: &Viewer,
    after: i64,
    filter: AuditFilter,
) -> Result<(Vec<Record>, Option<i64>)> {
    policy::require_operator(viewer)?;
    Ok(app.store.read(move |conn| store::audit::after(conn, after, &filter)).await?)
}

/// Deletes records that are older than this, in small batches.
pub async fn trim(app: &App, retention: Duration) -> Result<()> {
    let now = app.now();
    let before = now.earlier(retention);
    while step(app.store.write(move |conn| store::audit::trim(conn, before, now))).await? != Some(0) {}
    Ok(())
}
