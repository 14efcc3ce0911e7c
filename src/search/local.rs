//! A model in this process, on one thread of its own: queries before passages, and what takes long step by step, so that no
//! query waits for all of it.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use tokio::sync::oneshot;

use super::{
    errors::EmbedError,
    folder::{About, Model},
    kinds::Kind,
};
use crate::model::vectors::Vector;

/// The name of the thread.
const THREAD: &str = "embedder";
/// Bytes of the texts of a step, unless it is one text: some 500 tokens, for which a query waits a tenth of a second or two.
const MAX_STEP_BYTES: usize = 2_048;

/// A model on a thread, which ends when this is dropped.
pub(super) struct Local {
    jobs: Sender<Job>,
}

/// Texts to embed. Nobody waits for it any more once `answer` is closed.
struct Job {
    kind: Kind,
    texts: VecDeque<String>,
    vectors: Vec<Option<Vector>>,
    answer: oneshot::Sender<Vec<Option<Vector>>>,
}

impl Local {
    /// Texts at a time: more is no faster.
    pub(super) const BATCH_SIZE: usize = 32;

    /// Reads the folder and starts the thread.
    ///
    /// # Errors
    /// One sentence about the folder.
    pub(super) fn open(folder: &Path) -> Result<(Self, About), String> {
        let why = |why| format!("the embedding model in the folder {} cannot be used: {why}", folder.display());
        let (model, about) = Model::open(folder).map_err(why)?;
        let (jobs, queue) = channel();
        let started = thread::Builder::new().name(THREAD.to_owned()).spawn(move || work(&model, &queue));
        started.map_err(|error| format!("no thread for embeddings can be started: {error}"))?;
        Ok((Self { jobs }, about))
    }

    /// A vector for each text.
    pub(super) async fn embed(&self, kind: Kind, texts: Vec<String>) -> Result<Vec<Vector>, EmbedError> {
        let (answer, answered) = oneshot::channel();
        let job = Job { kind, vectors: Vec::with_capacity(texts.len()), texts: texts.into(), answer };
        let gone = || EmbedError::misconfigured("the thread for embeddings has ended; start the server again");
        self.jobs.send(job).map_err(|_no_thread| gone())?;
        let vectors = answered.await.map_err(|_no_thread| gone())?;
        vectors.into_iter().collect::<Option<_>>().ok_or_else(|| EmbedError::refused("the model gave no vector"))
    }
}

/// Does what is asked until nobody can ask any more.
fn work(model: &Model, queue: &Receiver<Job>) {
    let (mut queries, mut passages) = (VecDeque::new(), VecDeque::new());
    loop {
        let next = if queries.is_empty() && passages.is_empty() { queue.recv().ok() } else { None };
        for job in next.into_iter().chain(queue.try_iter()) {
            match job.kind {
                Kind::Query => queries.push_back(job),
                Kind::Passage => passages.push_back(job),
            }
        }
        let jobs = if queries.is_empty() { &mut passages } else { &mut queries };
        let Some(mut job) = jobs.pop_front() else { return };
        if job.answer.is_closed() {
            continue;
        }
        let step = job.step();
        // A text that the libraries break on is refused, and ends nothing else.
        let embedded = catch_unwind(AssertUnwindSafe(|| model.embed(&step)));
        job.vectors.extend(embedded.unwrap_or_else(|_panic| step.iter().map(|_| None).collect()));
        if job.texts.is_empty() {
            // Whoever asked may have left.
            let _ = job.answer.send(job.vectors);
        } else {
            jobs.push_front(job);
        }
    }
}

impl Job {
    /// Takes the texts of the next step.
    fn step(&mut self) -> Vec<String> {
        let mut bytes = 0;
        let fits = |text: &&String| {
            bytes += text.len();
            bytes <= MAX_STEP_BYTES
        };
        let fitting = self.texts.iter().take(Local::BATCH_SIZE).take_while(fits).count();
        self.texts.drain(..fitting.max(1).min(self.texts.len())).collect()
    }
}
