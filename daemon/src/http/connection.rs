//! One connection: hyper's state machine, and the deadlines of the phase that it is in.
//!
//! ```text
//!            first byte           head complete          handler done
//!   Idle ───────────────► Head ──────────────► Busy ──────────────► Writing ──► Idle
//!   keep_alive_idle       header_timeout       (handler's own)      write_timeout
//!   close                 408, close           -                    reset
//! ```
//!
//! hyper has one timer, which runs from the end of one response to the end of the next head: it
//! would take an idle connection for a slow one. So its timer is off, and the phase is read off
//! the bytes that pass through [`Watched`]. All of it happens in the connection's one task.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::Limits;

/// A response may take `write_timeout` and a second for each so many bytes: who reads more slowly,
/// however steadily, is cut off.
const WRITE_BYTES_PER_SECOND_MIN: u64 = 16 * 1024;

/// How long a connection that we end is read on, so that the answer is not lost in a reset.
const LINGER: Duration = Duration::from_secs(1);

/// How much of it is read.
const LINGER_BYTES_MAX: usize = 4 << 20;

/// Where a connection is, and until when it may be there. Written and read by one task; atomics
/// only because hyper's parts must be `Send`.
#[derive(Debug)]
pub(super) struct Phases {
    opened: Instant,
    phase: AtomicU8,
    /// Milliseconds after `opened`.
    deadline_ms: AtomicU64,
    /// When the present response began, and how much of it is written.
    writing_since_ms: AtomicU64,
    written: AtomicU64,
    end_seen: AtomicBool,
    body_unread: AtomicBool,
    header_timeout: Duration,
    write_timeout: Duration,
    keep_alive_idle: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Idle,
    Head,
    Busy,
    Writing,
}

const NEVER: u64 = u64::MAX;

impl Phases {
    pub(super) fn new(limits: &Limits) -> Self {
        let phases = Self {
            opened: Instant::now(),
            phase: AtomicU8::new(0),
            deadline_ms: AtomicU64::new(NEVER),
            writing_since_ms: AtomicU64::new(0),
            written: AtomicU64::new(0),
            end_seen: AtomicBool::new(false),
            body_unread: AtomicBool::new(false),
            header_timeout: limits.header_timeout,
            write_timeout: limits.write_timeout,
            keep_alive_idle: limits.keep_alive_idle,
        };
        phases.enter(Phase::Idle);
        phases
    }

    pub(super) fn enter(&self, phase: Phase) {
        let (code, allowed) = match phase {
            Phase::Idle => (0, Some(self.keep_alive_idle)),
            Phase::Head => (1, Some(self.header_timeout)),
            Phase::Busy => (2, None),
            Phase::Writing => {
                let now = millis(self.opened.elapsed());
                self.writing_since_ms.store(now, Relaxed);
                self.written.store(0, Relaxed);
                (3, Some(self.write_timeout))
            }
        };
        self.phase.store(code, Relaxed);
        let deadline = allowed.map_or(NEVER, |allowed| millis(self.opened.elapsed() + allowed));
        self.deadline_ms.store(deadline, Relaxed);
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            2 => Phase::Busy,
            _ => Phase::Writing,
        }
    }

    pub(super) fn body_left_unread(&self) {
        self.body_unread.store(true, Relaxed);
    }

    pub(super) fn is_body_unread(&self) -> bool {
        self.body_unread.load(Relaxed)
    }

    fn received(&self, bytes: usize) {
        if bytes == 0 {
            self.end_seen.store(true, Relaxed);
        } else if self.phase() == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    /// The peer has `write_timeout` to take anything more, and in all no more time than the slowest
    /// tolerated rate gives it. The first bound alone would let a byte now and then hold a response
    /// for ever, the second alone would count what the kernel buffered as taken.
    pub(super) fn sent(&self, bytes: usize) {
        if self.phase() == Phase::Writing {
            let bytes = u64::try_from(bytes).unwrap_or(0);
            let written = self.written.fetch_add(bytes, Relaxed) + bytes;
            let allowed = millis(self.write_timeout);
            let earned = allowed + written * 1000 / WRITE_BYTES_PER_SECOND_MIN;
            let by_rate = self.writing_since_ms.load(Relaxed) + earned;
            let by_progress = millis(self.opened.elapsed()) + allowed;
            self.deadline_ms.store(by_rate.min(by_progress), Relaxed);
        }
    }

    /// hyper flushes after it has handed over the whole buffered response: bodies here are whole,
    /// so that a flush that completes with something written ends the response.
    fn flushed(&self) {
        if self.phase() == Phase::Writing && self.written.load(Relaxed) > 0 {
            self.enter(Phase::Idle);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.deadline_ms.load(Relaxed) {
            NEVER => None,
            ms => self.opened.checked_add(Duration::from_millis(ms)),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NEVER)
}

/// The timer of a connection. It is moved only when the deadline comes nearer; one that moved away
/// is noticed when it fires, so that a busy connection does not touch the timer wheel.
pub(super) struct Deadline {
    sleep: Pin<Box<Sleep>>,
}

impl Deadline {
    pub(super) fn new(phases: &Phases) -> Self {
        let at = phases.deadline().unwrap_or(phases.opened);
        Self {
            sleep: Box::pin(sleep_until(at)),
        }
    }

    /// Ready when the deadline of the present phase has passed.
    pub(super) fn poll(&mut self, phases: &Phases, context: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = phases.deadline() else {
            return Poll::Pending;
        };
        loop {
            if deadline < self.sleep.deadline() {
                self.sleep.as_mut().reset(deadline);
            }
            ready!(self.sleep.as_mut().poll(context));
            if deadline <= self.sleep.deadline() {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(deadline);
        }
    }
}

/// A stream whose bytes move the phases. hyper's own shutdown of it only flushes: the two-step
/// close comes after it, in [`Watched::close`].
pub(super) struct Watched<S> {
    stream: S,
    phases: Arc<Phases>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Watched<S> {
    pub(super) fn new(stream: S, phases: Arc<Phases>) -> Self {
        Self { stream, phases }
    }

    /// Ends the connection: our end first, then, when the peer may still be sending what we do not
    /// want (`linger`), a bounded read to its end. Errors mean that the peer is gone.
    pub(super) async fn close(mut self, last_words: &[u8], linger: bool) {
        let phases = Arc::clone(&self.phases);
        let _ = timeout(LINGER, async {
            self.stream.write_all(last_words).await?;
            self.stream.shutdown().await?;
            // Spec: HTTP-18
            if !linger || phases.end_seen.load(Relaxed) {
                return Ok(());
            }
            drain(&mut self.stream).await
        })
        .await;
    }
}

/// Reads and forgets, to the end or to the bound.
async fn drain(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    // On the heap: an array would be part of the future of every open connection.
    let mut buffer = vec![0; 4096];
    let mut left = LINGER_BYTES_MAX;
    while let Some(rest) = left.checked_sub(stream.read(&mut buffer).await?) {
        if rest == left {
            return Ok(());
        }
        left = rest;
    }
    Ok(())
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.phases.received(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.phases.sent(count);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices))?;
        self.phases.sent(count);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.phases.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}
