//! Blocks between users. A block works both ways: for messages, typing and presence.

use super::{Error, Rejection, Result, Viewer, audit, policy, presences::signal_block};
use crate::{
    app::App,
    model::{
        ids::UserId,
        pages::{Page, PageRequest},
        signals::SignalKind,
        users::User,
    },
    store::{self, Conn},
};

/// Blocks another user; gives the blocked user.
pub async fn block(app: &App, viewer: &Viewer, user: UserId, other: UserId) -> Result<User> {
    policy::require(viewer, policy::may_act_for(viewer, user), Rejection::NotUser)?;
    viewer.check_write_rate(app)?;
    if user == other {
        return Err(Rejection::BlocksOneself.into());
    }
    let (viewer, at) = (viewer.clone(), app.now());
    let (blocked, hides) = app
        .store
        .write(move |conn| {
            // Locked, so that no send that is under way commits after the block.
            let mut present = store::users::lock(conn, &[user, other])?;
            if !present.iter().any(|present| present.id == user) {
                return Err(Rejection::NotUser.into());
            }
            let found = present.iter().position(|present| present.id == other).ok_or(Rejection::NoUser(other))?;
            // Nothing changes for them if one of them had blocked the other, or if they are no peers.
            let hides = !store::blocks::exists_between(conn, user, other)?
                && !store::members::by_keys(conn, &[(user, other)])?.is_empty();
            if store::blocks::insert(conn, user, other, at)? {
                audit::record_for_other(conn, &viewer, at, "blockUser", (user, other))?;
            }
            Ok::<_, Error>((present.swap_remove(found), hides))
        })
        .await?;
    if hides {
        signal_block(app, (user, other), SignalKind::Offline);
    }
    Ok(blocked)
}

/// Removes a block; gives the user who was blocked.
pub async fn unblock(app: &App, viewer: &Viewer, user: UserId, other: UserId) -> Result<User> {
    policy::require(viewer, policy::may_act_for(viewer, user), Rejection::NotUser)?;
    viewer.check_write_rate(app)?;
    let (viewer, at) = (viewer.clone(), app.now());
    let (unblocked, shows) = app
        .store
        .write(move |conn| {
            let found = store::users::by_ids(conn, &[other])?.pop().ok_or(Rejection::NoUser(other))?;
            let is_deleted = store::blocks::delete(conn, user, other)?;
            if is_deleted {
                audit::record_for_other(conn, &viewer, at, "unblockUser", (user, other))?;
            }
            let shows = is_deleted && !store::members::by_keys(conn, &[(user, other)])?.is_empty();
            Ok::<_, Error>((found, shows))
        })
        .await?;
    if shows {
        // Where one of them has blocked the other still, it is not heard.
        signal_block(app, (user, other), SignalKind::Online);
    }
    Ok(unblocked)
}

/// A page of the users whom a user has blocked, by id.
pub fn page(conn: &mut Conn<'_>, viewer: &Viewer, user: UserId, request: PageRequest) -> Result<Page<User>> {
    policy::require(viewer, policy::may_act_for(viewer, user), Rejection::NotUser)?;
    Ok(store::blocks::page(conn, user, request)?)
}
