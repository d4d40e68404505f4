//! Reads what is left of a refused request's body, within bounds, before the refusal is sent.
//!
//! Why: a server that answers and closes while the client is still sending makes the client's kernel
//! report a broken pipe, and the client's user never reads why the push was refused. Invariant: at
//! most [`MOST_BYTES`] are read, for at most [`LONGEST`]; they are counted and dropped. A client that
//! waits for permission to send (`Expect: 100-continue`) is not asked for its body by that: reading is
//! what gives the permission, so its body is only drained if a handler has begun to read it.

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// The most that is read for the sake of an answer.
const MOST_BYTES: usize = 16 << 20;
/// The longest it may take.
const LONGEST: Duration = Duration::from_secs(5);

/// A body that can be reached again after a handler has dropped it.
#[derive(Clone, Debug)]
pub(super) struct Salvage(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    body: Mutex<Body>,
    /// Whether the client sends its body, as far as we know.
    under_way: AtomicBool,
}

impl Salvage {
    /// Splits a body into the one that a handler reads and the way to what it leaves.
    pub(super) fn of(body: Body, headers: &HeaderMap) -> (Body, Self) {
        if body.is_end_stream() {
            return (Body::empty(), Self(Arc::default()));
        }
        let under_way = AtomicBool::new(!headers.contains_key(header::EXPECT));
        let salvage = Self(Arc::new(Shared { body: Mutex::new(body), under_way }));
        (Body::new(salvage.clone()), salvage)
    }

    /// Reads the rest, within bounds.
    pub(super) async fn drain(mut self) {
        if !self.0.under_way.load(Ordering::Relaxed) {
            return;
        }
        let drain = async {
            let mut read = 0;
            while let Some(Ok(frame)) = self.frame().await {
                read += frame.data_ref().map_or(0, Bytes::len);
                if read > MOST_BYTES {
                    break;
                }
            }
        };
        // Whether it was all or not, the answer is sent now.
        let _: Result<(), _> = tokio::time::timeout(LONGEST, drain).await;
    }

    fn lock(&self) -> MutexGuard<'_, Body> {
        // A body that panicked while it was polled is not polled for its content again.
        self.0.body.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpBody for Salvage {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        self.0.under_way.store(true, Ordering::Relaxed);
        Pin::new(&mut *self.lock()).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.lock().is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.lock().size_hint()
    }
}
