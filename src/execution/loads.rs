//! Loading in batches, as the dataloader pattern has it: fields ask for keys, all that were asked for are loaded together,
//! and each is loaded once for an answer.

use std::{cell::RefCell, hash::Hash};

use apollo_compiler::collections::{HashMap, IndexSet};

use super::{errors::Error, writer::Stop};

/// What is loaded by keys of one kind.
pub struct Batch<K, V> {
    loaded: HashMap<K, Result<Option<V>, Error>>,
    wanted: RefCell<IndexSet<K>>,
}

impl<K, V> Default for Batch<K, V> {
    fn default() -> Self {
        Self { loaded: HashMap::default(), wanted: RefCell::default() }
    }
}

impl<K: Eq + Hash + Clone, V> Batch<K, V> {
    /// What was loaded for a key; `None` if there is nothing.
    ///
    /// # Errors
    /// [`Stop::Later`] if it has to be loaded first.
    pub fn get(&self, key: K) -> Result<Option<&V>, Stop> {
        match self.loaded.get(&key) {
            Some(Ok(found)) => Ok(found.as_ref()),
            Some(Err(error)) => Err(error.clone().into()),
            None => {
                self.wanted.borrow_mut().insert(key);
                Err(Stop::Later)
            }
        }
    }

    /// What was asked for, and is not loaded.
    pub fn wanted(&self) -> Vec<K> {
        self.wanted.borrow().iter().cloned().collect()
    }

    /// Puts something here that need not be loaded.
    pub fn insert(&mut self, key: K, value: V) {
        self.loaded.insert(key, Ok(Some(value)));
    }

    /// Loads all keys that were asked for since, in the order in which they were; false if there are none.
    pub fn load<F: IntoIterator<Item = (K, V)>>(&mut self, load: impl FnOnce(&[K]) -> Result<F, Error>) -> bool {
        let wanted: Vec<K> = self.wanted.take().into_iter().collect();
        if wanted.is_empty() {
            return false;
        }
        match load(&wanted) {
            Ok(found) => {
                self.loaded.extend(wanted.into_iter().map(|key| (key, Ok(None))));
                self.loaded.extend(found.into_iter().map(|(key, value)| (key, Ok(Some(value)))));
            }
            Err(error) => self.loaded.extend(wanted.into_iter().map(|key| (key, Err(error.clone())))),
        }
        true
    }

    /// The same, one by one.
    pub fn load_each(&mut self, mut load: impl FnMut(&K) -> Result<V, Error>) -> bool {
        let wanted = self.wanted.take();
        let any = !wanted.is_empty();
        for key in wanted {
            let value = load(&key).map(Some);
            self.loaded.insert(key, value);
        }
        any
    }
}
