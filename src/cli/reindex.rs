//! The command that makes the index of searches anew.

use std::sync::Arc;

use anyhow::{Result, bail};
use duologue::{
    app::{App, open_embedder},
    config::{Database, Embeddings},
    domain::{Viewer, indexing, reindexing},
    store,
};

use super::{open_existing, print_done, progress::Progress, with_app};

/// What is made anew.
#[derive(Clone, Copy)]
pub(super) struct Parts {
    pub(super) words: bool,
    pub(super) vectors: bool,
}

pub(super) async fn run(database: &Database, embeddings: &Embeddings, parts: Parts) -> Result<()> {
    let embedder = if parts.vectors { open_embedder(embeddings).await? } else { None };
    if embedder.is_none() && !parts.words {
        bail!("there is no embedding model that could make vectors: see --embedding-model and --embedding-url");
    }
    let mut app = open_existing(database).await?;
    app.embedder = embedder;
    with_app(app, async |app| reindex(app, parts).await).await
}

async fn reindex(app: &Arc<App>, parts: Parts) -> Result<()> {
    if let Some(embedder) = &app.embedder {
        let identity = embedder.identity().to_owned();
        let is_new = app.store.read(move |conn| store::vectors::has_only_others(conn, &identity)).await?;
        if is_new && app.store.unserved().await?.is_none() {
            bail!(
                "a server uses this database with another embedding model: give this command the same --embedding-… settings, or stop \
                 the server"
            );
        }
    }
    let operator = Viewer::operator(app);
    let progress = || {
        let mut progress = Progress::of(0, "{bar:30} {human_pos} of {human_len} messages, {eta} left");
        move |done: i64, total: i64| progress.reach(done, total)
    };
    if parts.words {
        indexing::reindex_words(app, &operator, progress()).await?;
        print_done(format_args!("The words of all messages are indexed."));
    }
    if app.embedder.is_some() {
        reindexing::reindex(app, &operator, progress()).await?;
        print_done(format_args!("All messages have vectors."));
    } else if parts.vectors {
        print_done(format_args!("There is no embedding model, so that no vectors were made."));
    }
    Ok(())
}
