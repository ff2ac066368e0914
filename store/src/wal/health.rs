//! Whether a store may still be believed, and who wants to know when it may not.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::StoreError;

/// Shared by a store and the thread that empties its log.
#[derive(Default)]
pub(super) struct Health {
    stopped: AtomicBool,
    watch: Mutex<Watch>,
}

type Tell = Box<dyn FnOnce(&StoreError) + Send>;

enum Watch {
    /// Nothing has failed; who is to be told, one for each [`Health::watch`].
    Sound(Vec<Tell>),
    Failed(StoreError),
}

impl Default for Watch {
    fn default() -> Self {
        Self::Sound(Vec::new())
    }
}

impl Health {
    // What is there is whole: nothing that panics runs under this lock but what is told, last.
    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Errors
    /// [`StoreError::Stopped`] for ever after the store failed or was closed.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.stopped.load(Ordering::Acquire) {
            Err(StoreError::Stopped)
        } else {
            Ok(())
        }
    }

    /// Nothing is answered from here on, and nothing has failed.
    pub(super) fn close(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Nothing is answered from here on, for this reason; the first one counts.
    pub(super) fn fail(&self, error: &StoreError) {
        self.close();
        let mut watch = self.lock();
        let told = match &mut *watch {
            Watch::Sound(told) => std::mem::take(told),
            Watch::Failed(_) => return,
        };
        *watch = Watch::Failed(error.retold());
        drop(watch);
        for tell in told {
            tell(error);
        }
    }

    /// Why it failed.
    pub(super) fn failure(&self) -> Option<StoreError> {
        match &*self.lock() {
            Watch::Sound(_) => None,
            Watch::Failed(error) => Some(error.retold()),
        }
    }

    /// Tells of a failure as soon as there is one, which may be at once.
    pub(super) fn watch(&self, tell: Tell) {
        let mut watch = self.lock();
        let error = match &mut *watch {
            Watch::Sound(told) => return told.push(tell),
            Watch::Failed(error) => error.retold(),
        };
        drop(watch);
        tell(&error);
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health")
            .field("stopped", &self.stopped)
            .finish_non_exhaustive()
    }
}
