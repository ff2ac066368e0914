//! How a client gets to its peers: over the system's sockets, or a network that a test made up.
//!
//! TLS, pool and bounds are the same over both; whether a partition leaves connections behind on
//! which nothing ever comes is no question that loopback can ask.

use std::error::Error as StdError;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service;

/// A connection of a network that a test made up.
pub trait Link: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Link for S {}

/// A connection that is being made there.
pub type Dialled = Pin<Box<dyn Future<Output = io::Result<Box<dyn Link>>> + Send>>;

#[derive(Clone)]
pub(super) enum Road {
    System(HttpConnector),
    Made {
        dial: Arc<dyn Fn(Uri) -> Dialled + Send + Sync>,
        within: Duration,
    },
}

type Fault = Box<dyn StdError + Send + Sync>;

impl Service<Uri> for Road {
    type Response = Stream;
    type Error = Fault;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Fault>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        match self {
            Self::System(tcp) => tcp.poll_ready(context).map_err(Into::into),
            Self::Made { .. } => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        match self {
            Self::System(tcp) => {
                let dialled = tcp.call(uri);
                Box::pin(async { Ok(Stream::System(dialled.await?)) })
            }
            Self::Made { dial, within } => {
                let dialled = timeout(*within, dial(uri));
                Box::pin(async { Ok(Stream::Made(TokioIo::new(dialled.await??))) })
            }
        }
    }
}

pub(super) enum Stream {
    System(TokioIo<TcpStream>),
    Made(TokioIo<Box<dyn Link>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self {
            Self::System(stream) => stream.connected(),
            Self::Made(_) => Connected::new(),
        }
    }
}

impl Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::System(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Made(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl Write for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::System(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Made(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::System(stream) => Pin::new(stream).poll_flush(context),
            Self::Made(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::System(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Made(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::System(stream) => stream.is_write_vectored(),
            Self::Made(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::System(stream) => Pin::new(stream).poll_write_vectored(context, buffers),
            Self::Made(stream) => Pin::new(stream).poll_write_vectored(context, buffers),
        }
    }
}
