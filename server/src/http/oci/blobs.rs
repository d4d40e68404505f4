//! Blobs: `GET`, `HEAD`, `DELETE` (distribution-spec, "Pulling blobs", "Deleting Blobs").
//!
//! Invariant: `Content-Length` is what the metadata says; a body that turns out shorter breaks the
//! connection off instead of looking complete.

use super::range::{Selection, select};
use super::{Answer, CONTENT_DIGEST, Call};
use crate::domain::{Digest, Name};
use crate::http::boundary::outgoing;
use crate::http::error::{Code, OciError};
use crate::http::extract::to_its_end;
use crate::registry::blobs::{ByteRange, Purpose};
use axum::body::Body;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use std::sync::Arc;

/// What may be kept must be asked for again each time: a right can be withdrawn, and an answer to
/// HEAD is a promise that only the server can renew.
pub(super) const REVALIDATE: &str = "private, no-cache";

pub(super) async fn read(call: Call, name: Name, digest: Digest) -> Answer {
    let access = call.registry().readable(&call.requester.caller, &name).await?;
    let head = call.parts.method == Method::HEAD;
    let purpose = if head { Purpose::Look } else { Purpose::Pull };
    let facts = call.registry().blob(&access, &digest, purpose).await?;
    if is_known(call.headers(), &digest) {
        return Ok(not_modified(&digest));
    }
    let (status, part) = match wanted(&call, &digest, facts.size) {
        Selection::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
        Selection::Unsatisfiable => return Err(unsatisfiable(facts.size)),
        Selection::Whole => (StatusCode::OK, ByteRange { offset: 0, length: facts.size }),
    };
    let body = if head {
        Body::empty()
    } else {
        let bytes = call.registry().read_blob(&access, &digest, facts, part).await?;
        outgoing(Arc::clone(&call.oci.app), bytes, format!("blob {digest}"))
    };
    Ok(content(status, &digest, part, facts.size, body))
}

pub(super) async fn delete(call: Call, name: Name, digest: Digest) -> Answer {
    let access = call.registry().deletable(&call.requester.caller, &name).await?;
    let (registry, change) = (call.registry().clone(), call.requester.change());
    to_its_end(async move { registry.delete_blob(&access, &change, &digest).await }).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

/// The part of a blob that is asked for. `Range` means something for GET only (RFC 9110, 14.2), and
/// with `If-Range` only if the client has this very content (13.1.5).
fn wanted(call: &Call, digest: &Digest, size: u64) -> Selection {
    let headers = call.headers();
    let mut ranges = headers.get_all(header::RANGE).iter();
    let (Some(range), None) = (ranges.next(), ranges.next()) else { return Selection::Whole };
    let stale =
        headers.get(header::IF_RANGE).is_some_and(|tag| tag.as_bytes() != etag(digest).as_bytes());
    match range.to_str() {
        Ok(range) if call.parts.method == Method::GET && !stale => select(range, size),
        _ => Selection::Whole,
    }
}

fn content(
    status: StatusCode,
    digest: &Digest,
    part: ByteRange,
    size: u64,
    body: Body,
) -> Response {
    let headers = [
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::CACHE_CONTROL, REVALIDATE.to_owned()),
        (header::CONTENT_LENGTH, part.length.to_string()),
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (CONTENT_DIGEST, digest.to_string()),
        (header::ETAG, etag(digest)),
    ];
    if status != StatusCode::PARTIAL_CONTENT {
        return (status, headers, body).into_response();
    }
    let range = format!("bytes {}-{}/{size}", part.offset, part.offset + part.length - 1);
    (status, headers, [(header::CONTENT_RANGE, range)], body).into_response()
}

fn unsatisfiable(size: u64) -> OciError {
    let message = format!("the range selects none of the blob's {size} bytes");
    OciError::new(StatusCode::RANGE_NOT_SATISFIABLE, Code::SizeInvalid, "range", message)
        .with(header::CONTENT_RANGE, format!("bytes */{size}"))
}

/// The entity tag of content: its digest, which no other content has.
pub(super) fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// Whether the client says that it has this content (RFC 9110, 13.1.2).
pub(super) fn is_known(headers: &HeaderMap, digest: &Digest) -> bool {
    let etag = etag(digest);
    let lines = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

pub(super) fn not_modified(digest: &Digest) -> Response {
    let headers = [
        (header::CACHE_CONTROL, REVALIDATE.to_owned()),
        (CONTENT_DIGEST, digest.to_string()),
        (header::ETAG, etag(digest)),
    ];
    (StatusCode::NOT_MODIFIED, headers).into_response()
}
