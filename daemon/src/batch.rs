//! Group commit: many submitters, one worker thread, one durable step for all that waits.
//!
//! ```text
//!  submit ─┐            ┌──────────────┐  all that waits,   ┌────────────────────┐
//!  submit ─┼─► bounded ─┤ worker thread ├─ up to batch_max ─►│ work(Vec<Q>)       │
//!  submit ─┘   queue    └──────┬───────┘                    │  -> Ok(Vec<A>)     │
//!     ▲                        │   one answer per question  │  -> Err(Fatal)     │
//!     └────────────────────────┘◄───────────────────────────┴────────────────────┘
//! ```
//!
//! While `work` runs, what arrives waits, and becomes the next batch: load makes batches larger,
//! and an idle worker takes a lone question at once, so that batching adds no latency. Where a
//! batch costs much more than a question, a worker under load may wait for more ([`Linger`]).
//!
//! A lone question need not change threads: [`Batcher::submit`] works on it in the thread that
//! asks, when nobody else waits and the last batch was one question as well. Waking the worker and
//! being woken by it take as long as a fast disk does. What arrives meanwhile wakes the worker,
//! which goes on when that is done.
//!
//! # Guarantees
//! - Questions are taken in the order in which they entered the queue, and so appear in that order
//!   within and across batches. A question enters when [`Batcher::try_submit`] returns.
//! - Every accepted question is resolved exactly once: with its answer or with
//!   [`BatchError::Stopped`]. `Stopped` after acceptance means that the outcome is *not known*:
//!   the work may have taken effect before it failed.
//! - A submitter that goes away does not withdraw its question.
//! - At most `capacity` questions wait, besides at most `batch_max` that are being worked on.
//! - Answers leave only after `work` returned for the whole batch.
//! - `work` runs in one thread at a time, and never again after it failed.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Handle as Runtime, RuntimeFlavor};
use tokio::sync::{oneshot, watch};

/// A handle to the worker. When the last handle is dropped, the worker finishes what waits and
/// ends.
pub struct Batcher<Q, A> {
    handle: Arc<Handle<Q, A>>,
}

impl<Q, A> Clone for Batcher<Q, A> {
    fn clone(&self) -> Self {
        Self {
            handle: Arc::clone(&self.handle),
        }
    }
}

/// How long a worker under load waits for more before it takes a batch.
///
/// It waits in steps for as long as each step brings something. A wait for the disk costs
/// processor time, too: with every core busy, fewer and larger batches answer everybody sooner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Linger {
    /// Only after a batch of at least so many questions: a lone one never waits.
    pub after: usize,
    /// One step.
    pub step: Duration,
    /// How many steps at most.
    pub steps_max: u32,
}

impl<Q: Send + 'static, A: Send + 'static> Batcher<Q, A> {
    /// Starts the worker thread `name`. `work` answers each question of a batch, in order. It may
    /// block: a thread of the runtime in which it runs has given its other tasks away.
    ///
    /// # Errors
    /// The operating system refuses the thread.
    pub fn spawn(
        name: &str,
        capacity: NonZeroUsize,
        batch_max: NonZeroUsize,
        work: impl FnMut(Vec<Q>) -> Result<Vec<A>, Fatal> + Send + 'static,
    ) -> io::Result<Self> {
        Self::spawn_lingering(name, capacity, batch_max, None, work)
    }

    /// [`Self::spawn`] with a worker that waits for more under load.
    ///
    /// # Errors
    /// As there.
    pub fn spawn_lingering(
        name: &str,
        capacity: NonZeroUsize,
        batch_max: NonZeroUsize,
        linger: Option<Linger>,
        work: impl FnMut(Vec<Q>) -> Result<Vec<A>, Fatal> + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                waiting: VecDeque::new(),
                open: true,
                worker_sleeps: false,
                last_batch: 0,
            }),
            work: Mutex::new(Box::new(work)),
            arrived: Condvar::new(),
            state: watch::Sender::new(State::Running),
        });
        let worker = Worker {
            shared: Arc::clone(&shared),
            batch_max: batch_max.get(),
            linger,
        };
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || worker.run())?;
        Ok(Self {
            handle: Arc::new(Handle {
                shared,
                capacity: capacity.get(),
            }),
        })
    }

    /// Hands over a question and waits for its answer.
    ///
    /// # Errors
    /// [`BatchError::Full`] at once, and nothing was done; [`BatchError::Stopped`] when the worker
    /// has stopped, or stops before it answers (then the outcome is not known).
    pub async fn submit(&self, question: Q) -> Result<A, BatchError> {
        // Only there can a thread that blocks give its other tasks away.
        let runtime = Runtime::try_current().map(|runtime| runtime.runtime_flavor());
        if runtime.is_ok_and(|flavor| flavor == RuntimeFlavor::MultiThread)
            && let Some(work) = self.handle.shared.lead()
        {
            return tokio::task::block_in_place(|| self.handle.shared.led(work, question));
        }
        self.try_submit(question)?.await
    }

    /// Hands over a question. The order of these calls is the order of the work.
    ///
    /// # Errors
    /// [`BatchError::Full`] or [`BatchError::Stopped`]; nothing was done.
    pub fn try_submit(&self, question: Q) -> Result<Answer<A>, BatchError> {
        let (reply, answer) = oneshot::channel();
        let shared = &self.handle.shared;
        let mut queue = shared.lock();
        if !queue.open {
            return Err(BatchError::Stopped);
        }
        if queue.waiting.len() >= self.handle.capacity {
            let capacity = self.handle.capacity;
            return Err(BatchError::Full { capacity });
        }
        queue.waiting.push_back((question, reply));
        let wake = std::mem::take(&mut queue.worker_sleeps);
        drop(queue);
        if wake {
            shared.arrived.notify_one();
        }
        Ok(Answer { receiver: answer })
    }

    /// How many questions wait and are not yet being worked on.
    pub fn waiting(&self) -> usize {
        self.handle.shared.lock().waiting.len()
    }

    /// Accepts nothing more, lets the worker finish what waits, and returns when it has ended.
    pub async fn stop(&self) {
        self.handle.shared.close();
        let _ = self
            .handle
            .shared
            .state
            .subscribe()
            .wait_for(|state| !matches!(state, State::Running))
            .await;
    }

    /// Resolves when the worker failed: the process watches this, and exits. Never resolves after
    /// an orderly stop.
    pub fn failed(&self) -> impl Future<Output = Failure> + Send + use<Q, A> {
        let mut state = self.handle.shared.state.subscribe();
        async move {
            loop {
                if let State::Failed(failure) = &*state.borrow_and_update() {
                    return failure.clone();
                }
                if state.changed().await.is_err() {
                    return std::future::pending().await;
                }
            }
        }
    }
}

impl<Q, A> fmt::Debug for Batcher<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batcher")
            .field("capacity", &self.handle.capacity)
            .field("state", &*self.handle.shared.state.borrow())
            .finish_non_exhaustive()
    }
}

/// The answer that is to come.
#[derive(Debug)]
pub struct Answer<A> {
    receiver: oneshot::Receiver<A>,
}

impl<A> Future for Answer<A> {
    type Output = Result<A, BatchError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.receiver).poll(context));
        Poll::Ready(answer.map_err(|_closed| BatchError::Stopped))
    }
}

/// Why a question got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The queue is full: too much load. Nothing was done; the submitter may come again.
    #[error("{capacity} questions wait already")]
    Full {
        /// The bound of the queue.
        capacity: usize,
    },
    /// The worker has stopped. When the question had been accepted, its outcome is not known.
    #[error("the worker has stopped")]
    Stopped,
}

/// What `work` returns when nothing may go on: for instance a commit whose outcome is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Fatal {
    /// The cause, for the operator's log.
    pub reason: String,
}

/// Why the worker ended before it was asked to. The process must end and start again from what is
/// durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The work said so.
    #[error("worker stopped: {0}")]
    Fatal(Fatal),
    /// The work panicked: a bug.
    #[error("worker panicked: {message}")]
    Panicked {
        /// The panic's message.
        message: String,
    },
    /// The work gave the wrong number of answers: a bug. No answer was handed out.
    #[error("worker gave {answers} answers to {questions} questions")]
    WrongAnswerCount {
        /// The size of the batch.
        questions: usize,
        /// The answers that came.
        answers: usize,
    },
}

/// What only user handles share; its drop closes the queue, which the worker would keep alive.
struct Handle<Q, A> {
    shared: Arc<Shared<Q, A>>,
    capacity: usize,
}

impl<Q, A> Drop for Handle<Q, A> {
    fn drop(&mut self) {
        self.shared.close();
    }
}

type Work<Q, A> = dyn FnMut(Vec<Q>) -> Result<Vec<A>, Fatal> + Send;

struct Shared<Q, A> {
    queue: Mutex<Queue<Q, A>>,
    arrived: Condvar,
    /// Whoever has it works: the worker, or a submitter whose question is the only one. Locked
    /// before the queue, or tried.
    work: Mutex<Box<Work<Q, A>>>,
    state: watch::Sender<State>,
}

struct Queue<Q, A> {
    waiting: VecDeque<(Q, oneshot::Sender<A>)>,
    open: bool,
    /// The worker waits on the condition: whoever pushes first wakes it, and nobody else pays.
    worker_sleeps: bool,
    /// How many questions the worker took last.
    last_batch: usize,
}

#[derive(Debug)]
enum State {
    Running,
    Ended,
    Failed(Failure),
}

impl<Q, A> Shared<Q, A> {
    /// Nothing that panics runs under this lock, so that a poisoned queue is a whole queue.
    fn lock(&self) -> MutexGuard<'_, Queue<Q, A>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().open = false;
        self.arrived.notify_one();
    }

    /// Panics in the work are caught below this lock, so that a poisoned one is none either.
    fn work(&self) -> WorkGuard<'_, Q, A> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The right to work on a question alone: the worker sleeps, nothing waits, and there is no
    /// load. Who has it comes before everything that is pushed from now on.
    fn lead(&self) -> Option<WorkGuard<'_, Q, A>> {
        let queue = self.lock();
        let idle = queue.worker_sleeps && queue.waiting.is_empty() && queue.last_batch <= 1;
        if !(queue.open && idle) {
            return None;
        }
        self.work.try_lock().ok()
    }

    fn led(&self, mut work: WorkGuard<'_, Q, A>, question: Q) -> Result<A, BatchError> {
        let answers = answer(&mut **work, vec![question]);
        match answers {
            Ok(answers) => answers.into_iter().next().ok_or(BatchError::Stopped),
            Err(failure) => {
                self.end(State::Failed(failure));
                Err(BatchError::Stopped)
            }
        }
    }

    /// Close first, drop the waiting replies second (each then reads Stopped), tell last: who sees
    /// the failure finds nothing accepted after it. What was told first stays.
    fn end(&self, end: State) {
        let mut queue = self.lock();
        queue.open = false;
        let left = std::mem::take(&mut queue.waiting);
        drop(queue);
        drop(left);
        self.state.send_if_modified(|state| {
            let first = matches!(state, State::Running);
            if first {
                *state = end;
            }
            first
        });
        // The worker need not sleep on.
        self.arrived.notify_one();
    }
}

type WorkGuard<'a, Q, A> = MutexGuard<'a, Box<Work<Q, A>>>;

fn answer<Q, A>(work: &mut Work<Q, A>, questions: Vec<Q>) -> Result<Vec<A>, Failure> {
    let count = questions.len();
    // After a panic the work is never called again, so that its broken state is never seen.
    let answers = catch_unwind(AssertUnwindSafe(|| work(questions)))
        .map_err(|payload| Failure::Panicked {
            message: panic_message(&*payload),
        })?
        .map_err(Failure::Fatal)?;
    if answers.len() == count {
        Ok(answers)
    } else {
        Err(Failure::WrongAnswerCount {
            questions: count,
            answers: answers.len(),
        })
    }
}

struct Worker<Q, A> {
    shared: Arc<Shared<Q, A>>,
    batch_max: usize,
    linger: Option<Linger>,
}

type Batch<Q, A> = (Vec<Q>, Vec<oneshot::Sender<A>>);

impl<Q, A> Worker<Q, A> {
    fn run(self) {
        let mut taken = VecDeque::new();
        let end = loop {
            if !self.wait() {
                break State::Ended;
            }
            let mut work = self.shared.work();
            let Some((questions, replies)) = self.next_batch(&mut taken) else {
                continue;
            };
            match answer(&mut **work, questions) {
                Ok(answers) => {
                    drop(work);
                    for (reply, answer) in replies.into_iter().zip(answers) {
                        // The submitter may have gone away; the work is done all the same.
                        let _ = reply.send(answer);
                    }
                }
                Err(failure) => break State::Failed(failure),
            }
        };
        self.shared.end(end);
    }

    /// Blocks until something waits; `false` when the queue is closed and empty, and nobody works
    /// any more.
    fn wait(&self) -> bool {
        self.linger();
        let mut queue = self.shared.lock();
        while queue.waiting.is_empty() {
            if !queue.open {
                drop(queue);
                drop(self.shared.work());
                return false;
            }
            queue.worker_sleeps = true;
            queue = self
                .shared
                .arrived
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        queue.worker_sleeps = false;
        true
    }

    /// What waits, up to the most; nothing after a failure in another thread. `taken` is the
    /// worker's own queue: when it is empty, the whole waiting queue is swapped in under one lock.
    fn next_batch(&self, taken: &mut VecDeque<(Q, oneshot::Sender<A>)>) -> Option<Batch<Q, A>> {
        let mut queue = self.shared.lock();
        if queue.waiting.len() <= self.batch_max {
            std::mem::swap(&mut queue.waiting, taken);
        } else {
            taken.extend(queue.waiting.drain(..self.batch_max));
        }
        queue.last_batch = taken.len();
        drop(queue);
        (!taken.is_empty()).then(|| taken.drain(..).unzip())
    }

    /// Waits while more arrives, if the last batch said that there is load.
    fn linger(&self) {
        let Some(linger) = self.linger else {
            return;
        };
        let mut waiting = {
            let queue = self.shared.lock();
            if queue.last_batch < linger.after {
                return;
            }
            queue.waiting.len()
        };
        for _ in 0..linger.steps_max {
            thread::sleep(linger.step);
            let queue = self.shared.lock();
            let now = queue.waiting.len();
            if now == waiting || now >= self.batch_max || !queue.open {
                break;
            }
            waiting = now;
        }
    }
}

/// The text of a panic, when it has one.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
