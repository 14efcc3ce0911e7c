//! The command that makes the index of searches anew.

use std::{
    io::{Write as _, stdout},
    sync::Arc,
};

use anyhow::{Result, bail};
use duologue::{
    config::{Database, Embeddings},
    domain::{Viewer, indexing, reindexing},
    store,
};

use super::{open_existing, progress::Progress};

/// Makes the words, the vectors, or both anew.
pub(super) async fn run(database: &Database, embeddings: &Embeddings, (words, vectors): (bool, bool)) -> Result<()> {
    let mut app = open_existing(database).await?;
    let is_vectors_only = vectors && !words;
    if vectors {
        app.open_embedder(embeddings).await?;
    }
    if app.embedder.is_none() && is_vectors_only {
        bail!("there is no embedding model that could make vectors: see --embedding-model and --embedding-url");
    }
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
    let app = Arc::new(app);
    let operator = Viewer::operator(&app);
    let progress = || {
        let mut progress = Progress::of(0, "{bar:30} {human_pos} of {human_len} messages, {eta} left");
        move |done: i64, total: i64| progress.reach(done, total)
    };
    // That nobody reads the first sentence is no reason to leave the rest undone.
    let mut written = Ok(());
    if words {
        indexing::reindex_words(&app, &operator, progress()).await?;
        written = writeln!(stdout(), "The words of all messages are indexed.");
    }
    if app.embedder.is_some() {
        reindexing::reindex(&app, &operator, progress()).await?;
        written = written.and(writeln!(stdout(), "All messages have vectors."));
    } else if vectors {
        written = written.and(writeln!(stdout(), "There is no embedding model, so that no vectors were made."));
    }
    app.close().await;
    Ok(written?)
}
