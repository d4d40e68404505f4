//! One accepted connection, and how many there may be.
//!
//! Invariant: a connection holds its permit until it is dropped, and one that makes no progress ends:
//! - a write that falls behind the minimum rate ends it: its peer does not read;
//! - so does an answer that nobody asks more of, while next to nothing is written: with HTTP/2 that is
//!   how a reader looks who does not read;
//! - so does the patience without a request, whatever else is sent meanwhile.
//!
//! The last two are looked at a few times in that span, so they hold to within a quarter of it.

use super::occupancy::Occupancy;
use super::pace::{Pace, Patience};
use super::permits::{Permit, Permits};
use super::serve::Peer;
use axum_server::AddrListener;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Sleep;

/// Looks at a connection in the span of its patience.
const LOOKS: u32 = 4;

/// Accepts connections as long as there are permits.
#[derive(Debug)]
pub struct Listener {
    inner: TcpListener,
    permits: Permits,
    pace: Pace,
}

impl Listener {
    pub(super) const fn new(inner: TcpListener, permits: Permits, pace: Pace) -> Self {
        Self { inner, permits, pace }
    }
}

impl AddrListener<Connection, Peer> for Listener {
    async fn bind_to(_: Peer) -> io::Result<Self> {
        // Binding is the caller's business: it tells the operator which address is taken.
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    async fn accept_stream(&self) -> io::Result<(Connection, Peer)> {
        loop {
            let permit = self.permits.next().await?;
            let (stream, address) = self.inner.accept().await?;
            // Whoever has too many already is closed; the next may be somebody else.
            let Some(permit) = permit.of(address.ip()) else { continue };
            // Small answers, such as to HEAD, must not wait for the peer's acknowledgement. A socket
            // that cannot be told so works all the same.
            let _: io::Result<()> = stream.set_nodelay(true);
            let peer = Peer::new(address);
            let looks = Looks::new(self.pace, Arc::clone(peer.occupancy()));
            let writes = Patience::new(self.pace);
            return Ok((Connection { stream, writes, looks, _permit: permit }, peer));
        }
    }

    fn get_local_addr(&self) -> io::Result<Peer> {
        self.inner.local_addr().map(Peer::new)
    }
}

/// A connection that ends when its peer makes no progress.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    writes: Patience,
    looks: Looks,
    _permit: Permit,
}

/// Looks at what holds the connection, a few times within its patience.
#[derive(Debug)]
struct Looks {
    pace: Pace,
    occupancy: Arc<Occupancy>,
    next: Option<Pin<Box<Sleep>>>,
    /// Bytes written since the last look.
    written: u64,
    /// Requests begun by the last look.
    begun: usize,
    /// Looks in a row that found no request, and an answer that nobody reads.
    idle: u32,
    unread: u32,
}

impl Looks {
    const fn new(pace: Pace, occupancy: Arc<Occupancy>) -> Self {
        Self { pace, occupancy, next: None, written: 0, begun: 0, idle: 0, unread: 0 }
    }

    fn span(&self) -> Duration {
        self.pace.patience / LOOKS
    }

    /// Looks, if it is time to. A write that waits has a patience of its own.
    fn poll(&mut self, context: &mut Context<'_>, writing: bool) -> io::Result<()> {
        loop {
            let span = self.span();
            let next = self.next.get_or_insert_with(|| Box::pin(tokio::time::sleep(span)));
            if next.as_mut().poll(context).is_pending() {
                return Ok(());
            }
            self.next = None;
            self.look(writing);
            if self.idle >= LOOKS || self.unread >= LOOKS {
                return Err(io::Error::from(io::ErrorKind::TimedOut));
            }
        }
    }

    fn look(&mut self, writing: bool) {
        let begun = self.occupancy.begun();
        let idle = self.occupancy.requests() == 0 && begun == self.begun && !writing;
        self.idle = if idle { self.idle + 1 } else { 0 };
        let enough = self.pace.bytes_per_second.saturating_mul(self.span().as_secs()).max(1);
        let unread = self.occupancy.unread() > 0 && self.written < enough;
        self.unread = if unread { self.unread + 1 } else { 0 };
        (self.begun, self.written) = (begun, 0);
    }
}

impl Connection {
    /// The first byte that comes, which stays to be read; `None` if the connection ends instead.
    pub(super) async fn first_byte(&self) -> io::Result<Option<u8>> {
        let mut first = [0];
        let found = self.stream.peek(&mut first).await?;
        Ok((found == 1).then_some(first[0]))
    }

    /// Passes the outcome of a write on, or an error if writes have fallen behind.
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
        bytes: impl Fn(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        match &written {
            Poll::Pending => {
                if self.writes.wait(context).is_err() {
                    return Poll::Ready(Err(io::Error::from(io::ErrorKind::TimedOut)));
                }
            }
            Poll::Ready(outcome) => {
                let bytes = outcome.as_ref().map_or(0, bytes);
                self.writes.moved(bytes);
                let more = u64::try_from(bytes).unwrap_or(u64::MAX);
                self.looks.written = self.looks.written.saturating_add(more);
            }
        }
        written
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        // Also when there is something to read: whoever only sends pings makes no progress.
        this.looks.poll(context, this.writes.is_waiting())?;
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, written, |bytes| *bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(context, written, |bytes| *bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(context, flushed, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch(context, closed, |()| 0)
    }
}
