//! The thread that moves what a full file holds into the engine.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

use super::health::Health;
use super::{HeadMap, Recent, WalMark};
use crate::{RedbStore, StoreError, WriteError};

/// A handle to the thread; its drop ends it, after what it is doing.
pub(super) struct Checkpointer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread works on.
pub(super) struct Parts {
    pub(super) engine: Arc<RedbStore>,
    pub(super) recent: Arc<RwLock<Recent>>,
    pub(super) health: Arc<Health>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    health: Arc<Health>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Nothing is frozen.
    Idle,
    /// To be done, or being done.
    Wanted(WalMark),
    /// The engine did not take it, and there is no use in asking it again: after one failure it
    /// refuses everything until it is opened again.
    Failed,
    /// To end.
    Ending,
}

impl Shared {
    // A state is one value: a panic cannot leave half of one.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: State) {
        *self.lock() = state;
        self.changed.notify_all();
    }

    /// Whoever watches is told first: who waits here may go on to anything.
    fn fail(&self, error: &StoreError) {
        self.health.fail(error);
        self.set(State::Failed);
    }

    fn wait_while<'a>(
        &self,
        guard: MutexGuard<'a, State>,
        condition: impl FnMut(&mut State) -> bool,
    ) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_while(guard, condition);
        waited.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Checkpointer {
    /// Starts the thread, with something to do if anything is frozen.
    pub(super) fn spawn(parts: Parts, frozen: Option<WalMark>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(frozen.map_or(State::Idle, State::Wanted)),
            changed: Condvar::new(),
            health: Arc::clone(&parts.health),
        });
        let worker = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("checkpoint".to_owned())
            .spawn(move || run(&worker, &parts))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Asks for what is frozen to be taken over. Only after [`Self::idle`].
    pub(super) fn start(&self, mark: WalMark) {
        self.shared.set(State::Wanted(mark));
    }

    /// Waits until nothing is frozen.
    ///
    /// # Errors
    /// [`WriteError::Unknown`]: the engine did not take what was frozen, and takes nothing more.
    pub(super) fn idle(&self) -> Result<(), WriteError> {
        let busy = |state: &mut State| matches!(state, State::Wanted(_));
        let state = self.shared.wait_while(self.shared.lock(), busy);
        match *state {
            State::Idle | State::Wanted(_) => Ok(()),
            State::Failed => {
                let failure = self.shared.health.failure();
                Err(WriteError::Unknown(failure.unwrap_or(StoreError::Stopped)))
            }
            State::Ending => Err(WriteError::Failed(StoreError::Stopped)),
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        let state = self.shared.lock();
        let busy = |state: &mut State| matches!(state, State::Wanted(_));
        *self.shared.wait_while(state, busy) = State::Ending;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was told where it happened.
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared, parts: &Parts) {
    // A panic must not leave anyone waiting.
    struct Dead<'a>(&'a Shared);
    impl Drop for Dead<'_> {
        fn drop(&mut self) {
            if thread::panicking() {
                self.0.fail(&super::failed(
                    "emptying the write-ahead log",
                    io::Error::other("the thread that does it panicked"),
                ));
            }
        }
    }
    let _dead = Dead(shared);
    let Parts { engine, recent, .. } = parts;
    loop {
        let idle = |state: &mut State| !matches!(state, State::Wanted(_) | State::Ending);
        let state = shared.wait_while(shared.lock(), idle);
        let State::Wanted(mark) = *state else { return };
        drop(state);
        let frozen: Arc<HeadMap> = {
            let recent = recent.read().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(&recent.frozen)
        };
        match engine.apply_heads(&frozen, mark) {
            Ok(()) => {
                let mut recent = recent.write().unwrap_or_else(PoisonError::into_inner);
                recent.frozen = Arc::default();
                drop(recent);
                shared.set(State::Idle);
            }
            Err(WriteError::Failed(error) | WriteError::Unknown(error)) => {
                tracing::error!(%error, "the log was not emptied; a new start goes on from there");
                shared.fail(&error);
            }
        }
    }
}
