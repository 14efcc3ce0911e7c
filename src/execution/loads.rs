//! Loading in batches, as the dataloader pattern has it: fields ask for keys, all that were asked for are loaded together,
//! and each is loaded once for an answer.

use std::{cell::RefCell, hash::Hash, mem};

use apollo_compiler::collections::{HashMap, IndexSet};

use super::{Error, Unresolved};

/// What is loaded by keys of one kind. Of most kinds an answer loads nothing, and even a table that is empty costs something.
pub struct Batch<K, V> {
    loaded: Option<HashMap<K, Result<Option<V>, Error>>>,
    /// Some of them several times.
    wanted: RefCell<Vec<K>>,
}

impl<K, V> Default for Batch<K, V> {
    fn default() -> Self {
        Self { loaded: None, wanted: RefCell::default() }
    }
}

impl<K: Eq + Hash + Clone, V> Batch<K, V> {
    /// What was loaded for a key; `None` if there is nothing.
    ///
    /// # Errors
    /// [`Unresolved::NotLoaded`] if it has to be loaded first.
    pub fn get(&self, key: K) -> Result<Option<&V>, Unresolved> {
        match self.loaded.as_ref().and_then(|loaded| loaded.get(&key)) {
            Some(Ok(found)) => Ok(found.as_ref()),
            Some(Err(error)) => Err(error.clone().into()),
            None => {
                self.wanted.borrow_mut().push(key);
                Err(Unresolved::NotLoaded)
            }
        }
    }

    /// What was asked for, and is not loaded: each once, in the order in which it was.
    pub fn wanted(&self) -> IndexSet<K> {
        self.wanted.borrow().iter().cloned().collect()
    }

    /// Takes what was asked for, to be loaded now: each once, in the order in which it was.
    pub fn take_wanted(&mut self) -> Vec<K> {
        let wanted = mem::take(self.wanted.get_mut());
        // Of most kinds it is nothing.
        if wanted.is_empty() {
            return wanted;
        }
        wanted.into_iter().collect::<IndexSet<K>>().into_iter().collect()
    }

    /// Takes what was loaded for these keys, or why that failed. A key that was not found has no value.
    pub fn fill(&mut self, keys: Vec<K>, found: Result<Vec<(K, V)>, Error>) {
        let loaded = self.loaded.get_or_insert_default();
        match found {
            Ok(found) => {
                loaded.extend(keys.into_iter().map(|key| (key, Ok(None))));
                loaded.extend(found.into_iter().map(|(key, value)| (key, Ok(Some(value)))));
            }
            Err(error) => loaded.extend(keys.into_iter().map(|key| (key, Err(error.clone())))),
        }
    }

    /// Puts something here that need not be loaded.
    pub fn insert(&mut self, key: K, value: V) {
        self.loaded.get_or_insert_default().insert(key, Ok(Some(value)));
    }
}
