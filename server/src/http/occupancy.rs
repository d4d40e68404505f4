//! What holds a connection: requests that are not answered to the end, and answers that nobody reads.
//!
//! A connection cannot see requests, and with HTTP/2 a request cannot see whether anybody reads its
//! answer: it is just not asked for more. So they share this, and the connection looks at it from time
//! to time ([`super::connection`]).
//!
//! Invariant: a request counts from its head until its answer's body has ended or was given up.

use super::serve::Peer;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{ConnectInfo, Request};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

/// Counters of one connection.
#[derive(Debug, Default)]
pub(super) struct Occupancy {
    requests: AtomicUsize,
    /// Requests since the connection began.
    begun: AtomicUsize,
    /// Answers whose last piece was taken and the next one not asked for.
    unread: AtomicUsize,
}

impl Occupancy {
    /// Requests that are not answered to the end.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Requests since the connection began.
    pub(super) fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    /// Answers that wait for their reader.
    pub(super) fn unread(&self) -> usize {
        self.unread.load(Ordering::Relaxed)
    }
}

/// A request on its way; or none, where there is no connection (in tests of the router).
struct Held(Option<Arc<Occupancy>>);

impl Held {
    fn begin(occupancy: Option<Arc<Occupancy>>) -> Self {
        if let Some(occupancy) = &occupancy {
            occupancy.requests.fetch_add(1, Ordering::Relaxed);
            occupancy.begun.fetch_add(1, Ordering::Relaxed);
        }
        Self(occupancy)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(occupancy) = &self.0 {
            occupancy.requests.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Counts a request until its answer has ended.
pub(super) async fn hold(request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<Peer>>();
    let held = Held::begin(peer.map(|ConnectInfo(peer)| Arc::clone(peer.occupancy())));
    if held.0.is_none() {
        return next.run(request).await;
    }
    next.run(request).await.map(|body| Body::new(Answer { body, held, unread: false }))
}

/// An answer's body that counts.
struct Answer {
    body: Body,
    held: Held,
    unread: bool,
}

impl Answer {
    fn set_unread(&mut self, unread: bool) {
        if let Some(occupancy) = self.held.0.as_ref().filter(|_| self.unread != unread) {
            if unread {
                occupancy.unread.fetch_add(1, Ordering::Relaxed);
            } else {
                occupancy.unread.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.unread = unread;
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.set_unread(false);
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.set_unread(matches!(frame, Some(Ok(_))));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.set_unread(false);
    }
}
