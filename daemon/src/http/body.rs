//! A request's body: bounded in size and time, whoever reads it.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::connection::Phases;
use super::respond::error;
use super::{Request, Response, StatusCode};

/// Reads a request's body of at most `bytes_max` bytes within `timeout`; the listener's own limits
/// hold besides.
///
/// # Errors
/// [`BodyError`], which knows its response.
pub async fn read_body(
    request: Request,
    bytes_max: usize,
    timeout: Duration,
) -> Result<Bytes, BodyError> {
    let mut body = request.into_body();
    let deadline = Instant::now() + timeout;
    if deadline < body.deadline {
        body.deadline = deadline;
        body.timeout = timeout;
    }
    body.read(bytes_max).await
}

/// A body that has not been read, or not to its end.
#[derive(Debug)]
pub struct Body {
    source: Source,
    /// Bytes that may still come before the listener's limit is passed.
    bytes_left: usize,
    bytes_max: usize,
    deadline: Instant,
    timeout: Duration,
}

#[derive(Debug)]
enum Source {
    /// From a connection, which is told when a body is left unread.
    Peer(Incoming, Arc<Phases>),
    Memory(Bytes),
    Ended,
}

impl Body {
    pub(super) fn of_peer(
        incoming: Incoming,
        phases: Arc<Phases>,
        bytes_max: usize,
        timeout: Duration,
    ) -> Self {
        Self {
            source: Source::Peer(incoming, phases),
            bytes_left: bytes_max,
            bytes_max,
            deadline: Instant::now() + timeout,
            timeout,
        }
    }

    /// Reads to the end, at most `bytes_max` bytes.
    ///
    /// # Errors
    /// [`BodyError`], which knows its response.
    pub async fn read(mut self, bytes_max: usize) -> Result<Bytes, BodyError> {
        if bytes_max < self.bytes_left {
            self.bytes_left = bytes_max;
            self.bytes_max = bytes_max;
        }
        // Most bodies come in one piece, which then is not copied.
        let Some(first) = self.chunk().await? else {
            return Ok(Bytes::new());
        };
        let Some(second) = self.chunk().await? else {
            return Ok(first);
        };
        let mut whole = BytesMut::with_capacity(first.len() + second.len());
        whole.extend_from_slice(&first);
        whole.extend_from_slice(&second);
        while let Some(chunk) = self.chunk().await? {
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }

    /// The next piece, or `None` at the end.
    ///
    /// # Errors
    /// [`BodyError`]; then nothing more is read.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, BodyError> {
        let chunk = match &mut self.source {
            Source::Ended => return Ok(None),
            Source::Memory(bytes) => {
                let bytes = std::mem::take(bytes);
                self.source = Source::Ended;
                bytes
            }
            Source::Peer(incoming, _) => {
                // Known too large: refuse before the peer is asked to go on with it.
                if hyper::body::Body::size_hint(incoming).lower() > as_u64(self.bytes_left) {
                    return Err(BodyError::TooLarge {
                        bytes_max: self.bytes_max,
                    });
                }
                match timeout_at(self.deadline, next_data(incoming)).await {
                    Err(_elapsed) => {
                        return Err(BodyError::Timeout {
                            after: self.timeout,
                        });
                    }
                    Ok(Some(chunk)) => chunk?,
                    Ok(None) => {
                        self.source = Source::Ended;
                        return Ok(None);
                    }
                }
            }
        };
        match self.bytes_left.checked_sub(chunk.len()) {
            Some(left) => {
                self.bytes_left = left;
                Ok(Some(chunk))
            }
            None => Err(BodyError::TooLarge {
                bytes_max: self.bytes_max,
            }),
        }
    }
}

/// The next data; trailers mean nothing to us.
async fn next_data(incoming: &mut Incoming) -> Option<Result<Bytes, BodyError>> {
    loop {
        match incoming.frame().await? {
            Ok(frame) => {
                if let Ok(data) = frame.into_data() {
                    return Some(Ok(data));
                }
            }
            Err(cause) => return Some(Err(BodyError::Broken { cause })),
        }
    }
}

fn as_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// A body from memory, for tests and for requests that a daemon makes to itself.
impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self {
            bytes_left: bytes.len(),
            bytes_max: bytes.len(),
            source: Source::Memory(bytes),
            deadline: Instant::now() + Duration::from_secs(60),
            timeout: Duration::from_secs(60),
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Source::Peer(incoming, phases) = &self.source
            && !hyper::body::Body::is_end_stream(incoming)
        {
            phases.body_left_unread();
        }
    }
}

/// Why a body could not be read. The peer is at fault; nothing of ours changed.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is larger than allowed.
    #[error("the body is larger than {bytes_max} bytes")]
    TooLarge {
        /// The limit that was passed.
        bytes_max: usize,
    },
    /// It did not end in time.
    #[error("the body did not end within {} ms", after.as_millis())]
    Timeout {
        /// The time it had.
        after: Duration,
    },
    /// The connection broke in the middle, or the chunks are malformed.
    #[error("the body broke off or is malformed: {cause}")]
    Broken {
        /// What the parser says.
        cause: hyper::Error,
    },
}

impl BodyError {
    /// The status for it.
    pub fn status(&self) -> StatusCode {
        match self {
            // Spec: HTTP-05
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            // Spec: HTTP-04
            Self::Timeout { .. } => StatusCode::REQUEST_TIMEOUT,
            // Spec: HTTP-07
            Self::Broken { .. } => StatusCode::BAD_REQUEST,
        }
    }

    /// The whole response for it. The listener closes the connection after it.
    pub fn response(&self) -> Response {
        let message = match self {
            Self::TooLarge { .. } | Self::Timeout { .. } => format!("{self}\n"),
            Self::Broken { .. } => "the body is malformed\n".to_owned(),
        };
        let mut response = error(self.status(), message);
        response.extensions_mut().insert(match self {
            Self::TooLarge { .. } => super::Refused::BodyTooLarge,
            Self::Timeout { .. } => super::Refused::BodyTimeout,
            Self::Broken { .. } => super::Refused::Malformed,
        });
        response
    }
}
