//! Large changes of a user, in steps: notifying many peers, and deleting all that an erased account sent. The first step is part of the
//! change itself; the others are transactions of their own, so that nobody waits long for them. They are resumed after a restart.

use std::{sync::Arc, time::Duration};

use super::{Result, steps::step};
use crate::{
    app::App,
    model::{
        feed::{EventKind, NewEvent},
        ids::{ConversationId, MessageId, UserId},
        timestamps::Timestamp,
    },
    store::{self, Conn},
};

/// Peers or messages in one step: more would hold others up for longer than some milliseconds.
pub(super) const STEP_SIZE: u16 = 200;
/// Unfinished changes that are read at once.
const MAX_LISTED: i64 = 100;
/// How often the job looks for changes that are left: after an error, and by a process that is gone.
const JOB_INTERVAL: Duration = Duration::from_secs(30);

/// Runs [`finish_all`] at the start, after each change and periodically; never returns.
pub async fn run_job(app: Arc<App>) {
    loop {
        if let Err(error) = finish_all(&app).await {
            tracing::warn!(%error, "a change of a user is not finished yet");
        }
        let _ = tokio::time::timeout(JOB_INTERVAL, app.unfinished_changes.notified()).await;
    }
}

/// Finishes all changes that are not finished, in steps with pauses between them.
pub async fn finish_all(app: &App) -> Result<()> {
    loop {
        let users = app.store.read(|conn| store::changes::unfinished(conn, MAX_LISTED)).await?;
        if users.is_empty() {
            return Ok(());
        }
        // Who comes after one that fails is not to wait for that.
        let mut outcome = Ok(());
        for user in users {
            outcome = outcome.and(finish(app, user).await);
        }
        outcome?;
    }
}

async fn finish(app: &App, user: UserId) -> Result<()> {
    loop {
        let (at, notifier, unindexed) = (app.now(), app.notifier.clone(), app.unindexed.clone());
        let take = move |conn: &mut Conn<'_>| Step::next(conn, user)?.take_locked(conn, user, at);
        let notify = move |(concerned, _): &(Vec<UserId>, bool)| {
            notifier.invalidate(concerned.iter().copied());
            unindexed.notify_one();
        };
        if let Some((_, true)) = step(app.store.write_then(take, notify)).await? {
            return Ok(());
        }
    }
}

/// The first step of a change, in its transaction: the user and these are locked, who are their first peers, at most as many as
/// a step has. With fewer all of them are notified; otherwise the job notifies the others.
pub(super) fn begin(conn: &mut Conn<'_>, user: UserId, peers: &[UserId], at: Timestamp) -> Result<()> {
    notify(conn, user, peers, at)?;
    if peers.len() == usize::from(STEP_SIZE) {
        store::changes::set_notified(conn, user, peers.last().copied())?;
    } else if store::changes::notified_through(conn, user)?.is_some() {
        store::changes::finish(conn, user)?;
    }
    Ok(())
}

/// The first step of a change, as [`begin`], of an account that was erased. Its messages are hidden from now on, if they are to be deleted.
pub(super) fn begin_erasure(
    conn: &mut Conn<'_>,
    user: UserId,
    peers: &[UserId],
    erase_messages: bool,
    at: Timestamp,
) -> Result<()> {
    store::changes::set_notified(conn, user, peers.last().copied())?;
    if erase_messages {
        store::changes::begin_erasure(conn, user)?;
        store::members::clear_unread_from(conn, user, peers)?;
        if peers.len() < usize::from(STEP_SIZE) {
            // All receivers are locked.
            let oldest = store::messages::oldest_sent_by(conn, user, STEP_SIZE.into())?;
            delete_messages(conn, user, &oldest, at)?;
        }
    }
    notify(conn, user, peers, at)?;
    // Most accounts are small: then it is finished at once.
    for _ in 0..2 {
        match Step::next(conn, user)? {
            step @ (Step::RemoveClientIds(_) | Step::Finish) => step.take(conn, user, at)?,
            Step::Notify(_) | Step::DeleteMessages(_) | Step::Nothing => break,
        }
    }
    Ok(())
}

/// What is next to do of a user's change.
#[derive(Clone, PartialEq, Eq)]
enum Step {
    /// Notify these peers.
    Notify(Vec<UserId>),
    /// Delete these messages, which were sent to these users.
    DeleteMessages(Vec<(MessageId, UserId)>),
    /// Remove the `clientId`s of these messages.
    RemoveClientIds(Vec<MessageId>),
    /// Record that everything is done.
    Finish,
    /// It is finished.
    Nothing,
}

impl Step {
    fn next(conn: &mut Conn<'_>, user: UserId) -> Result<Self> {
        let Some(notified_through) = store::changes::notified_through(conn, user)? else { return Ok(Self::Nothing) };
        let peers = store::members::peers_after(conn, user, notified_through, STEP_SIZE.into())?;
        if !peers.is_empty() {
            return Ok(Self::Notify(peers));
        }
        if store::users::exists(conn, user)? {
            return Ok(Self::Finish);
        }
        if store::changes::is_erasing(conn, user)? {
            let messages = store::messages::oldest_sent_by(conn, user, STEP_SIZE.into())?;
            if !messages.is_empty() {
                return Ok(Self::DeleteMessages(messages));
            }
        }
        let named = store::messages::with_client_id(conn, user, STEP_SIZE.into())?;
        Ok(if named.is_empty() { Self::Finish } else { Self::RemoveClientIds(named) })
    }

    /// The users whose feeds it changes.
    fn concerned(&self, user: UserId) -> Vec<UserId> {
        let mut concerned = match self {
            Self::Notify(peers) => peers.clone(),
            Self::DeleteMessages(messages) => messages.iter().map(|(_, receiver)| *receiver).chain([user]).collect(),
            Self::RemoveClientIds(_) | Self::Finish | Self::Nothing => Vec::new(),
        };
        concerned.sort_unstable();
        concerned.dedup();
        concerned
    }

    /// Locks the user and all whom it concerns, and takes the step, unless somebody else has taken it meanwhile. Gives whom it
    /// concerned, and whether the change is finished.
    fn take_locked(self, conn: &mut Conn<'_>, user: UserId, at: Timestamp) -> Result<(Vec<UserId>, bool)> {
        let concerned = self.concerned(user);
        let all: Vec<UserId> = concerned.iter().copied().chain([user]).collect();
        store::users::lock(conn, &all)?;
        if Self::next(conn, user)? != self {
            return Ok((Vec::new(), false));
        }
        let is_finished = matches!(self, Self::Finish | Self::Nothing);
        self.take(conn, user, at)?;
        Ok((concerned, is_finished))
    }

    fn take(self, conn: &mut Conn<'_>, user: UserId, at: Timestamp) -> Result<()> {
        match self {
            Self::Notify(peers) => {
                if store::changes::is_erasing(conn, user)? {
                    store::members::clear_unread_from(conn, user, &peers)?;
                }
                notify(conn, user, &peers, at)?;
                Ok(store::changes::set_notified(conn, user, peers.last().copied())?)
            }
            Self::DeleteMessages(messages) => delete_messages(conn, user, &messages, at),
            Self::RemoveClientIds(messages) => Ok(store::messages::remove_client_ids(conn, &messages)?),
            Self::Finish => {
                store::changes::end_erasure(conn, user)?;
                Ok(store::changes::finish(conn, user)?)
            }
            Self::Nothing => Ok(()),
        }
    }
}

/// Appends to the feeds of peers that a user changed: also where one of the two has blocked the other, as everybody may read names.
fn notify(conn: &mut Conn<'_>, changed: UserId, peers: &[UserId], at: Timestamp) -> Result<()> {
    let new: Vec<NewEvent> = peers.iter().map(|&user| NewEvent { user, message: None, peer: changed }).collect();
    Ok(store::feed::insert(conn, EventKind::UserChanged, &new, at)?)
}

fn delete_messages(conn: &mut Conn<'_>, sender: UserId, sent: &[(MessageId, UserId)], at: Timestamp) -> Result<()> {
    let ids: Vec<MessageId> = sent.iter().map(|(id, _)| *id).collect();
    store::messages::erase(conn, &ids, at)?;
    store::indexing::note_changes(conn, &ids)?;
    let event = |&(id, receiver): &(MessageId, UserId)| {
        ConversationId::between(sender, receiver).map(|conversation| NewEvent::for_both_members(id, conversation))
    };
    let deleted: Vec<NewEvent> = sent.iter().filter_map(event).flatten().collect();
    let receivers: Vec<UserId> = sent.iter().map(|(_, receiver)| *receiver).collect();
    store::members::follow_last_message(conn, &ids, sender, &receivers)?;
    Ok(store::feed::insert(conn, EventKind::Deleted, &deleted, at)?)
}
