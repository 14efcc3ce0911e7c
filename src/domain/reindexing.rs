//! Vectors of all messages, made anew by the command that the operator runs for it.

use std::sync::Arc;

use super::{
    Error, Viewer,
    embedding::{CHUNKS_PER_STEP, EmbeddingError, Indexer, Outcome, RETRY_INTERVALS, count_pending},
    policy,
    steps::step,
};
use crate::{
    app::App,
    search::Embedder,
    store::{self, Conn},
};

/// Makes the vectors of all messages anew, if the application has a model, and says how many are done, of how many. A server on the
/// same database may do a part of it.
///
/// # Errors
/// When the model fails; what is done stays. If it does not answer at all, nothing is removed.
pub async fn reindex(
    app: &Arc<App>,
    viewer: &Viewer,
    mut progress: impl FnMut(i64, i64),
) -> Result<(), EmbeddingError> {
    policy::require_operator(viewer)?;
    let Some(embedder) = app.embedder.clone() else { return Ok(()) };
    // Before anything is removed it must be there.
    embedder.dimensions().await?;
    let remove = |embedder: Arc<Embedder>| move |conn: &mut Conn<'_>| remove_vectors(conn, embedder.identity());
    while step(app.store.write(remove(embedder.clone()))).await? != Some(true) {}
    let (mut indexer, mut total) = (Indexer::new(app, embedder), 0);
    loop {
        let left = count_pending(app, i64::MAX).await?.unwrap_or_default();
        total = left.max(total);
        progress(total - left, total);
        if left == 0 {
            return Ok(());
        }
        match indexer.step().await {
            Ok(Outcome::Taken) => {}
            Ok(Outcome::Nothing | Outcome::Elsewhere)
            | Err(EmbeddingError::Domain(Error::Busy | Error::Overloaded(_))) => {
                tokio::time::sleep(RETRY_INTERVALS[0]).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Removes some vectors of a model; true once there are none.
fn remove_vectors(conn: &mut Conn<'_>, identity: &str) -> Result<bool, store::Error> {
    store::indexing::lock(conn)?;
    let Some(model) = store::vectors::model(conn, identity)? else { return Ok(true) };
    store::vectors::set_range(conn, &model, (model.through + 1, model.through))?;
    let is_empty = store::vectors::delete_chunks(conn, &model, CHUNKS_PER_STEP)? == 0;
    if is_empty {
        // The vectors that the model makes now may have other dimensions.
        store::vectors::delete_model(conn, &model)?;
    }
    Ok(is_empty)
}
