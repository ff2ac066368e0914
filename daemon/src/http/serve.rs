//! The accept loop, the admission of requests, and the drain.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Method, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::body::{Body, BodyError};
use super::connection::{Deadline, Phase, Phases, Watched};
use super::metrics::{Counted, HttpMetrics, Refused, Route};
use super::respond::{error, too_busy};
use super::streams::{Paced, Streams};
use super::{Handler, Limits, Request, Response, Tls};
use crate::batch::panic_message;
use crate::shutdown::Shutdown;

/// Where connections come from: a socket, or a network that a test made up.
pub trait Listener: Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Waits for the next one, and says who is at its other end. Cancel safe.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;

    /// Prepares one for responses that are whole.
    ///
    /// # Errors
    /// It is broken already.
    fn prepare(stream: &Self::Stream) -> io::Result<()>;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        Self::accept(self).await
    }

    /// There is nothing to gather, and Nagle would hold responses back.
    fn prepare(stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)
    }
}

/// Opens a listener. Port 0 takes a free port; `TcpListener::local_addr` tells which.
///
/// # Errors
/// The operating system refuses: in use, not permitted, no such address. Must be called within a
/// tokio runtime.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // A restart must not wait for the connections of the process before to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Connections that the kernel holds until they are accepted; it may allow fewer.
const BACKLOG: u32 = 4096;

/// Connections over the limit that are told so at a time; more are reset.
const REFUSALS_MAX: usize = 64;

/// What a peer that is turned away may read in `Retry-After`.
const RETRY_AFTER_SECONDS: u32 = 1;

/// Serves connections until `shutdown` is tripped, then drains: accepts nothing more, closes idle
/// connections, lets requests in flight finish within `drain_timeout`, cuts off the rest. When it
/// returns, no handler runs any more.
///
/// # Errors
/// The listener itself is broken. Running out of descriptors or memory is waited out.
pub async fn serve<L: Listener, H: Handler>(
    listener: L,
    tls: Option<Tls>,
    limits: Limits,
    handler: Arc<H>,
    shutdown: Shutdown,
    metrics: HttpMetrics,
) -> io::Result<()> {
    let server = Arc::new(Server {
        in_flight: Arc::new(Semaphore::new(limits.requests_in_flight_max)),
        connections: Arc::new(Semaphore::new(limits.connections_max)),
        refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
        tls,
        limits,
        handler,
        shutdown,
        metrics,
    });
    let mut tasks = JoinSet::new();
    let result = server.accept(&listener, &mut tasks).await;
    drop(listener);
    server.drain(tasks).await;
    result
}

/// A server of connections that are made from here, over which others send requests.
pub(crate) struct Reversed<H>(Arc<Server<H>>);

impl<H: Handler> Reversed<H> {
    pub(crate) fn new(
        limits: Limits,
        handler: Arc<H>,
        shutdown: Shutdown,
        metrics: HttpMetrics,
    ) -> Self {
        Self(Arc::new(Server {
            in_flight: Arc::new(Semaphore::new(limits.requests_in_flight_max)),
            connections: Arc::new(Semaphore::new(0)),
            refusals: Arc::new(Semaphore::new(0)),
            tls: None,
            limits,
            handler,
            shutdown,
            metrics,
        }))
    }

    /// Answers what comes in over a connection, until it ends; after shutdown is asked for, what
    /// was begun.
    pub(crate) async fn drive<S>(&self, stream: S, bastion: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Arc::clone(&self.0).drive_reversed(stream, bastion).await;
    }
}

struct Server<H> {
    handler: Arc<H>,
    limits: Limits,
    tls: Option<Tls>,
    shutdown: Shutdown,
    metrics: HttpMetrics,
    connections: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    in_flight: Arc<Semaphore>,
}

impl<H: Handler> Server<H> {
    async fn accept<L: Listener>(
        self: &Arc<Self>,
        listener: &L,
        tasks: &mut JoinSet<()>,
    ) -> io::Result<()> {
        let mut stop = pin!(self.shutdown.wait());
        let mut pause = Duration::ZERO;
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => return Ok(()),
                Some(_ended) = tasks.join_next(), if !tasks.is_empty() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    pause = Duration::ZERO;
                    self.metrics.accepted();
                    self.admit_connection::<L>(stream, peer, tasks);
                }
                Err(cause) => match AcceptFault::of(&cause) {
                    AcceptFault::Peer => {}
                    AcceptFault::Listener => return Err(cause),
                    // Spec: HTTP-10
                    AcceptFault::Resources => {
                        self.metrics.accept_failed();
                        if pause.is_zero() {
                            tracing::error!(%cause, "cannot accept connections; pausing");
                        }
                        pause = (pause * 2).clamp(ACCEPT_PAUSE_MIN, ACCEPT_PAUSE_MAX);
                        // What closes meanwhile is what frees descriptors.
                        tokio::select! {
                            () = &mut stop => return Ok(()),
                            () = sleep(pause) => {}
                        }
                    }
                },
            }
        }
    }

    fn admit_connection<L: Listener>(
        self: &Arc<Self>,
        stream: L::Stream,
        peer: SocketAddr,
        tasks: &mut JoinSet<()>,
    ) {
        let server = Arc::clone(self);
        if let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() {
            tasks.spawn(server.connection::<L>(stream, peer, permit));
            return;
        }
        // Spec: HTTP-08
        self.metrics.refused(Refused::Connections);
        // A peer that speaks TLS could not read it, and a handshake is work that we do not have.
        if self.tls.is_none()
            && let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned()
        {
            tasks.spawn(async move {
                let phases = Arc::new(Phases::new(&server.limits));
                let words = last_words("503 Service Unavailable", "too many connections\n");
                Watched::new(stream, phases)
                    .close(words.as_bytes(), true)
                    .await;
                drop(permit);
            });
        }
    }

    async fn connection<L: Listener>(
        self: Arc<Self>,
        stream: L::Stream,
        peer: SocketAddr,
        _permit: OwnedSemaphorePermit,
    ) {
        let _open = Counted::new(&self.metrics.connections_open);
        if L::prepare(&stream).is_err() {
            return;
        }
        let Some(tls) = &self.tls else {
            return self.drive(stream, peer).await;
        };
        let handshake = TlsAcceptor::from(tls.config()).accept(stream);
        // Spec: HTTP-11
        match timeout(self.limits.header_timeout, handshake).await {
            Ok(Ok(stream)) => self.drive(stream, peer).await,
            Ok(Err(cause)) => {
                tracing::debug!(%peer, %cause, "TLS handshake failed");
                self.metrics.refused(Refused::Tls);
            }
            Err(_elapsed) => self.metrics.refused(Refused::Tls),
        }
    }

    async fn drive<S>(self: Arc<Self>, stream: S, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let phases = Arc::new(Phases::new(&self.limits));
        let service = service_fn(|request| {
            let (server, phases) = (Arc::clone(&self), Arc::clone(&phases));
            async move { Ok::<_, Infallible>(server.answer(request, peer, phases).await) }
        });
        let io = TokioIo::new(Watched::new(stream, Arc::clone(&phases)));
        let mut connection = http1::Builder::new()
            .header_read_timeout(None)
            .max_header_size(self.limits.header_bytes_max)
            .max_buf_size(self.limits.header_bytes_max.max(READ_BUFFER_BYTES_MIN))
            .serve_connection(io, service);

        let mut deadline = Deadline::new(&phases);
        let mut stop = pin!(self.shutdown.wait());
        let mut stopping = false;
        let ended = poll_fn(|context| {
            if !stopping && stop.as_mut().poll(context).is_ready() {
                stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            if let Poll::Ready(ended) = Pin::new(&mut connection).poll(context) {
                return Poll::Ready(Some(ended));
            }
            deadline.poll(&phases, context).map(|()| None)
        })
        .await;

        let watched = connection.into_parts().io.into_inner();
        match (ended, phases.phase()) {
            (Some(ended), phase) => {
                if ended.is_err_and(|cause| cause.is_parse()) {
                    // Spec: HTTP-07
                    self.metrics.refused(Refused::Malformed);
                }
                let linger = phase == Phase::Head || phases.is_body_unread();
                watched.close(b"", linger).await;
            }
            // Spec: HTTP-02
            (None, Phase::Idle) => watched.close(b"", false).await,
            // Spec: HTTP-01
            (None, Phase::Head) => {
                self.metrics.refused(Refused::HeaderTimeout);
                let words = last_words(
                    "408 Request Timeout",
                    "the request head did not end in time\n",
                );
                watched.close(words.as_bytes(), true).await;
            }
            // Spec: HTTP-06
            (None, Phase::Writing | Phase::Busy) => self.metrics.refused(Refused::WriteTimeout),
        }
    }

    /// One request: admitted or refused, answered, counted.
    async fn answer(
        &self,
        request: hyper::Request<Incoming>,
        peer: SocketAddr,
        phases: Arc<Phases>,
    ) -> Response {
        phases.enter(Phase::Busy);
        let begun = Instant::now();
        let mut response = self.admit(request, peer, &phases).await;
        if let Some(reason) = response.extensions_mut().remove::<Refused>() {
            self.metrics.refused(reason);
        }
        let route = response.extensions_mut().remove().unwrap_or(Route::OTHER);
        self.metrics
            .answered(route, response.status(), begun.elapsed());
        let headers = response.headers_mut();
        // Spec: HTTP-15
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if phases.is_body_unread() || self.shutdown.is_triggered() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        phases.enter(Phase::Writing);
        response
    }

    async fn admit(
        &self,
        request: hyper::Request<Incoming>,
        peer: SocketAddr,
        phases: &Arc<Phases>,
    ) -> Response {
        let bytes_max = self.limits.body_bytes_max;
        let announced = announced_length(&request);
        let request = request.map(|incoming| {
            Body::of_peer(
                incoming,
                Arc::clone(phases),
                bytes_max,
                self.limits.body_timeout,
            )
        });
        // Spec: HTTP-07
        if request.method() == Method::CONNECT {
            return refuse(
                StatusCode::NOT_IMPLEMENTED,
                "this is no proxy\n",
                Refused::Malformed,
            );
        }
        let hosts = request.headers().get_all(HOST).iter().count();
        if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
            return refuse(
                StatusCode::BAD_REQUEST,
                "exactly one Host\n",
                Refused::Malformed,
            );
        }
        // Spec: HTTP-05
        if announced.is_some_and(|length| usize::try_from(length).is_ok_and(|l| l > bytes_max)) {
            return BodyError::TooLarge { bytes_max }.response();
        }
        // Spec: HTTP-09
        let Ok(_permit) = self.in_flight.try_acquire() else {
            let mut response = too_busy("too many requests in flight\n", RETRY_AFTER_SECONDS);
            response.extensions_mut().insert(Refused::InFlight);
            return response;
        };
        let _counted = Counted::new(&self.metrics.requests_in_flight);
        self.run(request, peer).await
    }

    /// The handler, within its time, and with its panics caught.
    async fn run(&self, request: Request, peer: SocketAddr) -> Response {
        let path = request.uri().path().to_owned();
        let mut handling = pin!(self.handler.handle(request, peer));
        let caught = poll_fn(|context| {
            // A future that panicked is not polled again: what it broke stays with it.
            match catch_unwind(AssertUnwindSafe(|| handling.as_mut().poll(context))) {
                Ok(poll) => poll.map(Ok),
                Err(payload) => Poll::Ready(Err(panic_message(&*payload))),
            }
        });
        match timeout(self.limits.request_timeout, caught).await {
            Ok(Ok(response)) => response,
            // Spec: HTTP-16
            Ok(Err(message)) => {
                tracing::error!(path, message, "a handler panicked");
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                refuse(status, "internal error\n", Refused::Panic)
            }
            // Spec: HTTP-03
            Err(_elapsed) => {
                tracing::warn!(path, "a handler took too long");
                let mut response = too_busy(
                    "not answered in time; whether it took effect is not known\n",
                    RETRY_AFTER_SECONDS,
                );
                response.extensions_mut().insert(Refused::RequestTimeout);
                response
            }
        }
    }

    /// Requests over a connection that was made from here, each of whom the bastion names.
    // Spec: GSP-148, GSP-149
    async fn drive_reversed<S>(self: Arc<Self>, stream: S, bastion: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let _open = Counted::new(&self.metrics.connections_open);
        let server = Arc::clone(&self);
        let shares = Shares::default();
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let (server, shares) = (Arc::clone(&server), shares.clone());
            async move {
                let is_head = request.method() == Method::HEAD;
                let client = forwarded_for(&request).map(|ip| SocketAddr::new(ip, 0));
                let phases = Streams::phases(&server.limits);
                let peer = client.unwrap_or(bastion);
                // Whom the bastion does not name may be everybody.
                let share = client.map(|client| shares.take(client.ip()));
                if matches!(share, Some(None)) {
                    server.metrics.refused(Refused::InFlight);
                    let busy = too_busy("too many requests of yours\n", RETRY_AFTER_SECONDS);
                    phases.enter(Phase::Writing);
                    return Ok::<_, Infallible>(paced(busy, phases, None).await);
                }
                let mut response = server.answer(request, peer, Arc::clone(&phases)).await;
                // There is no such field in HTTP/2.
                response.headers_mut().remove(CONNECTION);
                // Spec: HTTP-19. Over HTTP/2 hyper would send the content.
                if is_head {
                    let length = response.body().size_hint().exact().unwrap_or(0);
                    let length = HeaderValue::from(length);
                    response
                        .headers_mut()
                        .entry(CONTENT_LENGTH)
                        .or_insert(length);
                    *response.body_mut() = Full::default();
                }
                Ok::<_, Infallible>(paced(response, phases, share.flatten()).await)
            }
        });
        let header_bytes_max = u32::try_from(self.limits.header_bytes_max);
        let mut connection = pin!(
            http2::Builder::new(Streams::new(&self.limits, &self.metrics))
                .timer(TokioTimer::new())
                .max_concurrent_streams(STREAMS_MAX)
                // A client takes a request back, and the bastion passes that on: it is none of the
                // bastion's doing, and all others are on the same connection.
                .max_pending_accept_reset_streams(TAKEN_BACK_MAX)
                .max_header_list_size(header_bytes_max.unwrap_or(u32::MAX))
                .keep_alive_interval(Some(self.limits.write_timeout))
                .keep_alive_timeout(self.limits.write_timeout)
                .serve_connection(TokioIo::new(stream), service)
        );
        tokio::select! {
            ended = &mut connection => {
                if let Err(cause) = ended {
                    tracing::debug!(%cause, "the connection to a bastion broke");
                }
                return;
            }
            () = self.shutdown.wait() => {}
        }
        // Spec: HTTP-17
        connection.as_mut().graceful_shutdown();
        if timeout(self.limits.drain_timeout, connection)
            .await
            .is_err()
        {
            self.metrics.refused(Refused::Drain);
        }
    }

    // Spec: HTTP-17
    async fn drain(&self, mut tasks: JoinSet<()>) {
        let all = async { while tasks.join_next().await.is_some() {} };
        if timeout(self.limits.drain_timeout, all).await.is_ok() {
            return;
        }
        tracing::warn!(
            connections = tasks.len(),
            "drain is over; cutting off the rest"
        );
        for _ in 0..tasks.len() {
            self.metrics.refused(Refused::Drain);
        }
        tasks.shutdown().await;
    }
}

/// hyper wants at least this much.
const READ_BUFFER_BYTES_MIN: usize = 64 * 1024;

/// A response whose content is handed over in parts. A client's share is taken until it is.
async fn paced(
    response: Response,
    phases: Arc<Phases>,
    share: Option<Share>,
) -> hyper::Response<Paced<Option<Share>>> {
    let (head, body) = response.into_parts();
    let Ok(content) = body.collect().await;
    let content = Paced::new(content.to_bytes(), phases, share);
    hyper::Response::from_parts(head, content)
}

/// Whom a bastion names: it leaves no other field of this name.
fn forwarded_for(request: &hyper::Request<Incoming>) -> Option<IpAddr> {
    let mut named = request.headers().get_all(FORWARDED_FOR).iter();
    let only = named.next().filter(|_| named.next().is_none())?;
    only.to_str().ok()?.trim().parse().ok()
}

/// How many requests of each client are being answered.
#[derive(Clone, Default)]
struct Shares(Arc<Mutex<HashMap<IpAddr, u32>>>);

/// One of them, until it is dropped.
struct Share(Shares, IpAddr);

impl Shares {
    fn take(&self, client: IpAddr) -> Option<Share> {
        // Who has one address of IPv6 has 2^64.
        let client = match client {
            IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) >> 64 << 64).into()),
            IpAddr::V4(_) => client,
        };
        let mut of = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = of.entry(client).or_default();
        if *count >= STREAMS_OF_CLIENT_MAX {
            return None;
        }
        *count += 1;
        Some(Share(self.clone(), client))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut of = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = of.get_mut(&self.1) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                of.remove(&self.1);
            }
        }
    }
}

/// Requests that were taken back before they were looked at, at a time: each is some bytes.
const TAKEN_BACK_MAX: usize = 4_096;

/// Of those, so many of one client: one that sends its bodies slowly must not keep all others out.
const STREAMS_OF_CLIENT_MAX: u32 = 16;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Requests of a connection to a bastion at a time. Each may leave a response of some megabytes
/// that the bastion does not take.
const STREAMS_MAX: u32 = 64;

fn announced_length(request: &hyper::Request<Incoming>) -> Option<u64> {
    request
        .headers()
        .get(CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

fn refuse(status: StatusCode, message: &'static str, reason: Refused) -> Response {
    let mut response = error(status, message);
    response.extensions_mut().insert(reason);
    response
}

/// A response for a connection on which hyper does not answer any more (or not yet).
fn last_words(status: &str, message: &str) -> String {
    let length = message.len();
    format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncache-control: no-store\r\n\
         retry-after: {RETRY_AFTER_SECONDS}\r\ncontent-type: text/plain; charset=utf-8\r\n\
         x-content-type-options: nosniff\r\ncontent-length: {length}\r\n\r\n{message}"
    )
}

const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(10);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Whose fault an error of accept is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AcceptFault {
    /// The connection ended before it was accepted: take the next one.
    Peer,
    /// Descriptors or memory ran out: retrying at once would spin.
    Resources,
    /// The socket is no listener: nothing will ever come.
    Listener,
}

impl AcceptFault {
    fn of(cause: &io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted => Self::Peer,
            io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => Self::Listener,
            _ => Self::Resources,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_descriptors_pauses_and_a_lost_peer_does_not() {
        for (code, fault) in [
            (24, AcceptFault::Resources),  // EMFILE
            (23, AcceptFault::Resources),  // ENFILE
            (105, AcceptFault::Resources), // ENOBUFS
            (12, AcceptFault::Resources),  // ENOMEM
            (103, AcceptFault::Peer),      // ECONNABORTED
            (104, AcceptFault::Peer),      // ECONNRESET
            (22, AcceptFault::Listener),   // EINVAL
        ] {
            // Spec: HTTP-10
            assert_eq!(
                AcceptFault::of(&io::Error::from_raw_os_error(code)),
                fault,
                "{code}"
            );
        }
    }
}
