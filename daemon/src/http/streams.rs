//! The streams of a connection of HTTP/2: each has the deadlines that a connection of its own would
//! have.
//!
//! ```text
//! one task a stream:  Busy ──► Writing ──► 16 KiB taken ──► 16 KiB taken ──► end
//!                              └ write_timeout, then a rate: else it is reset, and nothing else is
//! ```
//!
//! A stream takes one of the places that all clients of a bastion share. Who asks for much and
//! takes nothing would keep it: the connection lives, and so no timer of the connection ends it.
//!
//! Not seen here: what becomes of the last part of a body after HTTP/2 has taken it, while its
//! client leaves no window for it. The task of a stream ends before that.
//!
//! Rows: `spec/gossip.md` GSP-190.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::rt::Executor;

use super::Limits;
use super::connection::{Deadline, Phase, Phases};
use super::metrics::{HttpMetrics, Refused};

tokio::task_local! {
    /// The phases of the stream whose task this is.
    static OF_THIS: Arc<Phases>;
}

/// Runs streams, each in a task with deadlines.
#[derive(Clone)]
pub(super) struct Streams {
    limits: Limits,
    metrics: HttpMetrics,
}

impl Streams {
    pub(super) fn new(limits: &Limits, metrics: &HttpMetrics) -> Self {
        Self {
            limits: limits.clone(),
            metrics: metrics.clone(),
        }
    }

    /// Those of the stream whose task calls this; new ones outside of such a task.
    pub(super) fn phases(limits: &Limits) -> Arc<Phases> {
        let known = OF_THIS.try_with(Arc::clone);
        known.unwrap_or_else(|_| Arc::new(Phases::new(limits)))
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let phases = Arc::new(Phases::new(&self.limits));
        phases.enter(Phase::Busy);
        let metrics = self.metrics.clone();
        let of_this = Arc::clone(&phases);
        tokio::spawn(OF_THIS.scope(of_this, async move {
            let mut deadline = Deadline::new(&phases);
            let mut stream = pin!(stream);
            let ended = poll_fn(|context| {
                if stream.as_mut().poll(context).is_ready() {
                    return Poll::Ready(true);
                }
                deadline.poll(&phases, context).map(|()| false)
            });
            // What is dropped here is reset.
            // Spec: GSP-190
            if !ended.await {
                metrics.refused(Refused::WriteTimeout);
            }
        }));
    }
}

/// Content that is handed over in small parts: the next one when there is room for it.
pub(super) struct Paced<T> {
    rest: Bytes,
    phases: Arc<Phases>,
    /// What is kept until the content is taken, or the stream is gone.
    _kept: T,
}

impl<T> Paced<T> {
    pub(super) fn new(content: Bytes, phases: Arc<Phases>, kept: T) -> Self {
        Self {
            rest: content,
            phases,
            _kept: kept,
        }
    }
}

impl<T: Unpin> Body for Paced<T> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.rest.len().min(PART_BYTES);
        let part = self.rest.split_to(length);
        self.phases.sent(length);
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.rest.len()).unwrap_or(u64::MAX))
    }
}

/// A frame of the size that everybody takes: no more than this waits in the connection for who
/// takes nothing.
const PART_BYTES: usize = 16 << 10;
