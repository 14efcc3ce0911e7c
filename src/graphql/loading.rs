//! Writes parts of answers, loads in batches what was missing, and repeats until everything is loaded.

use std::sync::Arc;

use super::{Call, Context, internal, top_level};
use crate::{
    domain::{self, Snapshot},
    execution::{self, Arguments, Code, Error, Part, WriteFn},
};

/// Fields that are filled in well under a millisecond.
const LIGHT: u64 = 1_000;
/// Bytes of answers to events that are made together, and wait to be sent; the last one may go beyond.
const MAX_WAITING_BYTES: usize = 256 * 1024;

/// Writes one part of an answer, as [`written`] does.
pub(super) async fn written_one(
    call: &Arc<Call>,
    arguments: &Arc<Arguments>,
    write: WriteFn<Context>,
    one_snapshot: bool,
    max_bytes: usize,
) -> Result<Part, Error> {
    let mut parts = written(call, arguments, vec![write], one_snapshot, max_bytes).await?;
    parts.pop().ok_or_else(|| incomplete(call))
}

/// Writes the answers to events, as [`written`] does. What is loaded for several may be too much for one answer, where it is not for each:
/// those are written one by one.
pub(super) async fn written_events(
    call: &Arc<Call>,
    arguments: &Arc<Arguments>,
    writes: &[WriteFn<Context>],
    max_bytes: usize,
) -> Result<Vec<Part>, Error> {
    let mut parts = written(call, arguments, writes.to_vec(), false, max_bytes).await?;
    let is_too_large = |(_, errors): &Part| errors.iter().any(|error| error.code() == Code::QueryTooComplex);
    if parts.len() < 2 || !parts.iter().any(is_too_large) {
        return Ok(parts);
    }
    let (mut bytes, mut count) = (0, 0);
    for (part, write) in parts.iter_mut().zip(writes) {
        if is_too_large(part)
            && let Ok(alone) = written_one(call, arguments, write.clone(), false, max_bytes).await
        {
            *part = alone;
        }
        (bytes, count) = (bytes + part.0.len(), count + 1);
        if bytes > MAX_WAITING_BYTES {
            break;
        }
    }
    parts.truncate(count);
    Ok(parts)
}

/// Writes parts of an answer, or answers, with all that has to be loaded for them: each of at most `max_bytes`, and only the
/// first ones if they are large.
async fn written(
    call: &Arc<Call>,
    arguments: &Arc<Arguments>,
    writes: Vec<WriteFn<Context>>,
    one_snapshot: bool,
    max_bytes: usize,
) -> Result<Vec<Part>, Error> {
    let mut context = call.context(max_bytes);
    if let Some(parts) = attempt(&context, arguments, &writes, max_bytes) {
        return Ok(parts);
    }
    context.prepare().await;
    let how = Snapshot { one_snapshot, light: arguments.cost.saturating_mul(writes.len() as u64) <= LIGHT };
    let writes = Arc::new(writes);
    let (all, shared) = (writes.clone(), arguments.clone());
    let viewer = call.viewer();
    let loaded = domain::snapshot(&call.app, &viewer, how, move |conn| {
        while context.load(Ok(conn)) {
            if let Some(parts) = attempt(&context, &shared, &all, max_bytes) {
                return Some(parts);
            }
        }
        None
    });
    let parts = match loaded.await {
        Ok(parts) => parts,
        Err(error) => {
            let error = top_level(error, &call.request_id);
            let mut context = call.context(max_bytes);
            loop {
                let parts = attempt(&context, arguments, &writes, max_bytes);
                if parts.is_some() || !context.load(Err(&error)) {
                    break parts;
                }
            }
        }
    };
    parts.ok_or_else(|| incomplete(call))
}

/// A defect: an answer waits for something that nobody loads.
fn incomplete(call: &Call) -> Error {
    internal(&call.request_id, "an answer is not complete, and nothing is left to be loaded")
}

/// Writes as [`written`] does; `None` if something has to be loaded first.
fn attempt(
    context: &Context,
    arguments: &Arguments,
    writes: &[WriteFn<Context>],
    max_bytes: usize,
) -> Option<Vec<Part>> {
    let (mut parts, mut bytes, mut is_complete) = (Vec::with_capacity(writes.len()), 0, true);
    // All are looked through, also once one is not complete: what they want is loaded together.
    for write in writes {
        match execution::write_part(arguments, max_bytes, |writer| write(context, writer)) {
            Some((data, errors)) => {
                bytes += data.len();
                parts.push((data, errors));
            }
            None => is_complete = false,
        }
        if bytes > MAX_WAITING_BYTES {
            break;
        }
    }
    is_complete.then_some(parts)
}
