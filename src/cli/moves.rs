//! `duologue move`: a database is moved to the other kind, or what is left of an interrupted move is removed.

use anyhow::Result;
use duologue::{
    domain::moving::{self, Move},
    store::Store,
};

use super::{print_done, progress::Progress, settings::url};

/// Connections to PostgreSQL.
const CONNECTIONS: usize = 8;

pub(super) async fn run(from: &str, to: &str, copy_only: bool) -> Result<()> {
    let [old, new] = [url(from)?, url(to)?];
    let places = [old.to_string(), new.to_string()];
    let (old, new) = (Store::open_existing(&old, CONNECTIONS).await?, Store::open(&new, CONNECTIONS).await?);
    let mut progress = Progress::of(0, "{bar:30} {human_pos} of {human_len} rows, {eta} left");
    let moved = async {
        let mut moving = Move::new(old.clone(), new.clone()).await?;
        moving.run(!copy_only, |done, total| progress.reach(done, total)).await
    };
    let moved = moved.await;
    new.close().await;
    old.close().await;
    drop(progress);
    moved?;
    let [old, new] = places;
    if copy_only {
        print_done(format_args!(
            "Everything was copied, and is the same in the new database ({new}). It cannot be served: a move begins anew."
        ));
    } else {
        print_done(format_args!(
            "The former database ({old}) is closed: its servers stop. Serve the new one ({new}) with the same signing key."
        ));
    }
    Ok(())
}

/// Gives up a move that was interrupted.
pub(super) async fn cancel(from: &str) -> Result<()> {
    let url = url(from)?;
    let place = url.to_string();
    let database = Store::open_existing(&url, CONNECTIONS).await?;
    let cancelled = moving::cancel(&database).await;
    database.close().await;
    cancelled?;
    print_done(format_args!(
        "The move is given up: {place} is what it was. What was copied cannot be used: delete the new database, or begin anew."
    ));
    Ok(())
}
