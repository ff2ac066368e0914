//! The thread that moves what a full file holds into the engine.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

use super::{HeadMap, Recent, WalMark};
use crate::{RedbStore, StoreError, WriteError};

/// A handle to the thread; its drop ends it, after what it is doing.
pub(super) struct Checkpointer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Clone)]
enum State {
    /// Nothing is frozen.
    Idle,
    /// To be done, or being done.
    Wanted(WalMark),
    /// The engine did not take it, for this reason; nothing changed.
    Refused(WalMark, String),
    /// It is not known whether the engine took it. For ever.
    Unknown(String),
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
    pub(super) fn spawn(
        engine: Arc<RedbStore>,
        recent: Arc<RwLock<Recent>>,
        frozen: Option<WalMark>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(frozen.map_or(State::Idle, State::Wanted)),
            changed: Condvar::new(),
        });
        let worker = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("checkpoint".to_owned())
            .spawn(move || run(&worker, &engine, &recent))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Asks for what is frozen to be taken over. Only after [`Self::idle`].
    pub(super) fn start(&self, mark: WalMark) {
        self.shared.set(State::Wanted(mark));
    }

    /// Whether the engine is still to be trusted.
    ///
    /// # Errors
    /// [`WriteError::Unknown`] since a commit of the engine had an unknown outcome.
    pub(super) fn check(&self) -> Result<(), WriteError> {
        match &*self.shared.lock() {
            State::Unknown(reason) => Err(WriteError::Unknown(fault(reason))),
            _ => Ok(()),
        }
    }

    /// Waits until nothing is frozen. What the engine refused is tried once more.
    ///
    /// # Errors
    /// The engine refuses again, or its state is not known.
    pub(super) fn idle(&self) -> Result<(), WriteError> {
        let mut state = self.shared.lock();
        if let State::Refused(mark, _) = &*state {
            *state = State::Wanted(*mark);
            self.shared.changed.notify_all();
        }
        let state = self
            .shared
            .wait_while(state, |state| matches!(state, State::Wanted(_)));
        match &*state {
            State::Idle | State::Wanted(_) => Ok(()),
            State::Refused(_, reason) => Err(WriteError::Failed(fault(reason))),
            State::Unknown(reason) => Err(WriteError::Unknown(fault(reason))),
            State::Ending => Err(WriteError::Failed(StoreError::Stopped)),
        }
    }
}

fn fault(reason: &str) -> StoreError {
    super::failed(
        "emptying the write-ahead log",
        io::Error::other(reason.to_owned()),
    )
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

fn run(shared: &Shared, engine: &RedbStore, recent: &RwLock<Recent>) {
    // A panic must not leave anyone waiting.
    struct Dead<'a>(&'a Shared);
    impl Drop for Dead<'_> {
        fn drop(&mut self) {
            if thread::panicking() {
                let reason = "the thread that empties it panicked".to_owned();
                self.0.set(State::Unknown(reason));
            }
        }
    }
    let _dead = Dead(shared);
    loop {
        let state = shared.wait_while(shared.lock(), |state| {
            !matches!(state, State::Wanted(_) | State::Ending)
        });
        let State::Wanted(mark) = *state else {
            return;
        };
        drop(state);
        let frozen: Arc<HeadMap> = {
            let recent = recent.read().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(&recent.frozen)
        };
        let state = match engine.apply_heads(&frozen, mark) {
            Ok(()) => {
                let mut recent = recent.write().unwrap_or_else(PoisonError::into_inner);
                recent.frozen = Arc::default();
                State::Idle
            }
            Err(WriteError::Failed(error)) => {
                tracing::error!(%error, "the log was not emptied; nothing is lost");
                State::Refused(mark, error.to_string())
            }
            Err(WriteError::Unknown(error)) => {
                tracing::error!(%error, "the outcome of emptying the log is not known");
                State::Unknown(error.to_string())
            }
        };
        shared.set(state);
    }
}
