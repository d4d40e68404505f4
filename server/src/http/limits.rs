//! What a request may be at most before anybody looks at it.
//!
//! Invariant: memory a request can claim before it is authorised is bounded here and in `serve.rs`:
//! its path, its query, its headers. Bodies are bounded by who reads them.

use super::error::{ApiError, Code, OciError};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The longest path in bytes. A name has at most 255 characters, a sha512 digest 135.
const LONGEST_PATH: usize = 2 << 10;
/// The longest query in bytes.
const LONGEST_QUERY: usize = 16 << 10;
/// The most bytes of all headers together.
const MOST_HEADER_BYTES: usize = 32 << 10;

/// Refuses what is too long.
pub(super) async fn check(request: Request, next: Next) -> Response {
    let registry = request.uri().path().starts_with("/v2");
    let refuse = |status, kind, message: &str| {
        if registry {
            return OciError::new(status, Code::Unsupported, kind, message).into_response();
        }
        ApiError::new(status, kind, message).into_response()
    };
    let uri = request.uri();
    if uri.path().len() > LONGEST_PATH || uri.query().unwrap_or_default().len() > LONGEST_QUERY {
        return refuse(StatusCode::URI_TOO_LONG, "uri-too-long", "the URL is too long");
    }
    let headers = request.headers().iter();
    let bytes: usize = headers.map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > MOST_HEADER_BYTES {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return refuse(status, "headers-too-large", "the headers are too large");
    }
    next.run(request).await
}

/// Bytes of manifest bodies held in memory at once by all requests. Manifests are the only bodies
/// that are read whole.
const BUDGET: usize = 16 << 20;
/// What one permit stands for, in bytes.
const UNIT: usize = 1 << 10;

/// Room for bodies that are read whole. A request waits for its share before it reads.
#[derive(Clone, Debug)]
pub(super) struct BodyBudget(Arc<Semaphore>);

impl BodyBudget {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(BUDGET / UNIT)))
    }

    /// Waits for room for so many bytes; more than there is in all counts as all.
    pub(super) async fn room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = bytes.div_ceil(UNIT).clamp(1, BUDGET / UNIT);
        let units = u32::try_from(units).ok()?;
        Arc::clone(&self.0).acquire_many_owned(units).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn bodies_beyond_the_budget_wait_for_room() {
        let budget = BodyBudget::new();
        let first = budget.room(BUDGET - UNIT).now_or_never().flatten().expect("room");
        let second = budget.room(1).now_or_never().flatten().expect("room");
        assert!(budget.room(1).now_or_never().is_none(), "full");
        drop(second);
        assert!(budget.room(1).now_or_never().is_some(), "room again");
        drop(first);
        assert!(budget.room(usize::MAX).now_or_never().is_some(), "one body always fits");
    }
}
