//! One accepted connection, and how many there may be.
//!
//! Invariant: a connection holds its permit until it is dropped, and a write that makes no progress
//! for the idle time ends it. No layer above can see a reader that does not read: the server simply
//! stops being asked for more of the body.

use super::serve::Peer;
use axum_server::AddrListener;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// How many connections there may be, and how long a write may stall.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    permits: Arc<Semaphore>,
    stall: Duration,
}

impl Connections {
    pub(super) fn new(most: usize, stall: Duration) -> Self {
        Self { permits: Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS))), stall }
    }
}

/// Accepts connections as long as there are permits.
#[derive(Debug)]
pub struct Listener {
    inner: TcpListener,
    connections: Connections,
}

impl Listener {
    pub(super) const fn new(inner: TcpListener, connections: Connections) -> Self {
        Self { inner, connections }
    }
}

impl AddrListener<Connection, Peer> for Listener {
    async fn bind_to(_: Peer) -> io::Result<Self> {
        // Binding is the caller's business: it tells the operator which address is taken.
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    async fn accept_stream(&self) -> io::Result<(Connection, Peer)> {
        let permits = Arc::clone(&self.connections.permits);
        // A closed semaphore is an error like any other; it is never closed.
        let permit = permits.acquire_owned().await.map_err(io::Error::other)?;
        let (stream, address) = self.inner.accept().await?;
        // Small answers, such as to HEAD, must not wait for the peer's acknowledgement. A socket
        // that cannot be told so works all the same.
        let _: io::Result<()> = stream.set_nodelay(true);
        let stall = Stall { limit: self.connections.stall, sleep: None };
        Ok((Connection { stream, stall, _permit: permit }, Peer::new(address)))
    }

    fn get_local_addr(&self) -> io::Result<Peer> {
        self.inner.local_addr().map(Peer::new)
    }
}

/// A connection that ends when its peer stops reading.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    stall: Stall,
    _permit: OwnedSemaphorePermit,
}

/// Counts the time since a write could last make progress.
#[derive(Debug)]
struct Stall {
    limit: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    /// Passes the outcome of a write on, or an error if writes have been pending for too long.
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.sleep = None;
            return written;
        }
        let limit = self.limit;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(sleep.as_mut().poll(context));
        Poll::Ready(Err(io::Error::from(io::ErrorKind::TimedOut)))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.stall.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.stall.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.stall.watch(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.stream).poll_shutdown(context);
        self.stall.watch(context, closed)
    }
}
