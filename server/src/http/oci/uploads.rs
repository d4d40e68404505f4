//! Upload sessions (distribution-spec, "Pushing blobs").
//!
//! Invariant: whatever happens to the connection, what arrived is kept: the body is read by a task
//! of its own. A credential is checked before the first byte of a body is asked for, so a client
//! that sends `Expect: 100-continue` is refused without sending it.

use super::endpoint::Endpoint;
use super::query::Query;
use super::range::{ContentRange, uploaded};
use super::{Answer, CONTENT_DIGEST, Call, bad_request};
use crate::blobs::ByteStream;
use crate::domain::{Algorithm, Digest, Name, UploadId};
use crate::http::error::{Code, OciError};
use crate::http::extract::{byte_stream, to_its_end};
use crate::registry::access::{Readable, Writable};
use crate::registry::uploads::{Chunk, UploadStatus};
use crate::registry::{RegistryError, Result};
use axum::body::{Body, HttpBody as _};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::TryStreamExt as _;
use std::sync::Arc;

/// The header that names an upload, which docker writes into its log.
const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// The header in which a client says what an upload will become, so that it can be found again when
/// its address is lost (`GET /api/v1/workspaces/{workspace}/uploads`). An extension of ours.
const DECLARED: HeaderName = HeaderName::from_static("standpipe-upload-digest");

/// The parameter of a location that carries the upload's pass.
pub(super) const PASS: &str = "_state";

/// Begins an upload, mounts a blob, or takes a whole blob, as the query asks.
pub(super) async fn start(call: Call, body: Body, name: Name) -> Answer {
    let access = call.registry().writable(&call.requester.caller, &name).await?;
    let query = call.query();
    let mount: Option<Digest> = query.parsed("mount", Code::DigestInvalid)?;
    let whole: Option<Digest> = query.parsed("digest", Code::DigestInvalid)?;
    let asked: Option<Algorithm> = query.parsed("digest-algorithm", Code::DigestInvalid)?;
    if let Some(digest) = &mount
        && mounted(&call, &access, query.one("from", Code::NameInvalid)?, digest).await?
    {
        return Ok(stored(&name, digest));
    }
    if let Some(digest) = whole {
        return push_whole(call, body, name, access, digest).await;
    }
    let declared = declared(call.headers())?;
    let algorithm = asked.or(mount.map(|digest| digest.algorithm())).unwrap_or(Algorithm::Sha256);
    let (registry, change) = (call.registry().clone(), call.requester.change());
    let verb = async move { registry.start_upload(&access, &change, algorithm, declared).await };
    Ok(accepted(StatusCode::ACCEPTED, &call, &name, to_its_end(verb).await?))
}

/// Where an upload stands.
pub(super) async fn status(call: Call, name: Name, id: UploadId) -> Answer {
    let access = call.registry().writable(&call.requester.caller, &name).await?;
    let status = call.registry().upload_status(&access, id).await?;
    Ok(accepted(StatusCode::NO_CONTENT, &call, &name, status))
}

/// Adds a chunk.
pub(super) async fn append(call: Call, body: Body, name: Name, id: UploadId) -> Answer {
    let access = call.registry().writable(&call.requester.caller, &name).await?;
    let chunk = chunk(call.headers())?;
    let (registry, body) = (call.registry().clone(), incoming(&call, body));
    let verb = async move { registry.append_chunk(&access, id, chunk, body).await };
    let status = to_its_end(verb).await.map_err(|error| located(error, &call, &name, id))?;
    Ok(accepted(StatusCode::ACCEPTED, &call, &name, status))
}

/// Adds the last chunk, if there is one, and closes the upload.
pub(super) async fn finish(call: Call, body: Body, name: Name, id: UploadId) -> Answer {
    let access = call.registry().writable(&call.requester.caller, &name).await?;
    let digest = call.query().parsed("digest", Code::DigestInvalid)?;
    let digest: Digest = digest.ok_or_else(missing_digest)?;
    let chunk = chunk(call.headers())?;
    let (registry, change) = (call.registry().clone(), call.requester.change());
    let last = (!body.is_end_stream()).then(|| (chunk, incoming(&call, body)));
    let verb = async move { registry.finish_upload(&access, &change, id, &digest, last).await };
    to_its_end(verb).await.map_err(|error| located(error, &call, &name, id))?;
    Ok(stored(&name, &digest))
}

/// Ends an upload without a blob.
pub(super) async fn cancel(call: Call, name: Name, id: UploadId) -> Answer {
    let access = call.registry().writable(&call.requester.caller, &name).await?;
    let registry = call.registry().clone();
    to_its_end(async move { registry.cancel_upload(&access, id).await }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The package that a mount names as its source, for a challenge.
pub(super) fn source(query: &Query) -> Option<Name> {
    query.one("mount", Code::DigestInvalid).ok().flatten()?;
    query.one("from", Code::NameInvalid).ok().flatten()?.parse().ok()
}

/// Tries to mount a blob, from any package that the caller may read if none is named. Whatever stands
/// against it, an upload is opened instead, so nobody learns what packages they may not read have
/// (CVE-2024-39897).
async fn mounted(
    call: &Call,
    access: &Writable,
    from: Option<&str>,
    digest: &Digest,
) -> Result<bool> {
    let Some(source) = readable_source(call, access, from, digest).await? else {
        return Ok(false);
    };
    let (registry, change) = (call.registry().clone(), call.requester.change());
    let (access, digest) = (access.clone(), *digest);
    to_its_end(async move { registry.mount_blob(&access, &change, &source, &digest).await }).await
}

async fn readable_source(
    call: &Call,
    access: &Writable,
    from: Option<&str>,
    digest: &Digest,
) -> Result<Option<Readable>> {
    let (registry, caller) = (call.registry(), &call.requester.caller);
    let Some(from) = from else { return registry.discover_blob(access, digest).await };
    let Ok(from) = from.parse() else { return Ok(None) };
    match registry.readable(caller, &from).await {
        Ok(source) => Ok(Some(source)),
        Err(error @ (RegistryError::Busy | RegistryError::Unavailable(_))) => Err(error),
        Err(_) => Ok(None),
    }
}

/// Takes a whole blob in one request. The client never learns the session's id, so a session that
/// did not become a blob is ended.
async fn push_whole(
    call: Call,
    body: Body,
    name: Name,
    access: Writable,
    digest: Digest,
) -> Answer {
    let chunk = chunk(call.headers())?;
    let (registry, change) = (call.registry().clone(), call.requester.change());
    let (caller, target) = (call.requester.caller.clone(), name.clone());
    let body = incoming(&call, body);
    let verb = async move {
        let begun = registry.start_upload(&access, &change, digest.algorithm(), None).await?;
        // The package may have been created just now, which this proof does not know.
        let access = registry.writable(&caller, &target).await?;
        let last = Some((chunk, body));
        let finished = registry.finish_upload(&access, &change, begun.id, &digest, last).await;
        if finished.is_err()
            && let Err(error) = registry.cancel_upload(&access, begun.id).await
        {
            tracing::debug!(upload = %begun.id, %error, "an upload that failed was not there to be ended");
        }
        finished
    };
    to_its_end(verb).await?;
    Ok(stored(&name, &digest))
}

/// What the client says that an upload will become.
fn declared(headers: &HeaderMap) -> std::result::Result<Option<Digest>, OciError> {
    let Some(value) = headers.get(DECLARED) else { return Ok(None) };
    let digest = value.to_str().ok().and_then(|text| text.parse().ok());
    let wrong = || bad_request(Code::DigestInvalid, format!("the header {DECLARED} is no digest"));
    digest.map(Some).ok_or_else(wrong)
}

/// What the headers say of a body that is a piece of a blob.
fn chunk(headers: &HeaderMap) -> std::result::Result<Chunk, OciError> {
    let length = content_length(headers);
    let Some(range) = headers.get(header::CONTENT_RANGE) else {
        return Ok(Chunk { at: None, length });
    };
    let range = range.to_str().unwrap_or_default().parse::<ContentRange>();
    let range = range.map_err(|error| bad_request(Code::BlobUploadInvalid, error.to_string()))?;
    if length.is_some_and(|length| length != range.length) {
        let message = "the headers Content-Range and Content-Length contradict each other";
        return Err(bad_request(Code::SizeInvalid, message));
    }
    Ok(Chunk { at: Some(range.first), length: Some(range.length) })
}

/// The bytes of a body, counted as they come.
fn incoming(call: &Call, body: Body) -> ByteStream {
    let app = Arc::clone(&call.oci.app);
    let counted = byte_stream(body).inspect_ok(move |piece| app.requests.received(piece.len()));
    ByteStream::new(counted)
}

/// The announced length of a body. The HTTP layer has refused what is not a number.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn accepted(status: StatusCode, call: &Call, name: &Name, upload: UploadStatus) -> Response {
    let headers = [
        (header::LOCATION, location(call, name, upload.id)),
        (header::RANGE, uploaded(upload.offset)),
        (UPLOAD_UUID, upload.id.to_string()),
    ];
    (status, headers).into_response()
}

fn stored(name: &Name, digest: &Digest) -> Response {
    let location = Endpoint::Blob { name: name.clone(), digest: *digest }.to_string();
    let headers = [(header::LOCATION, location), (CONTENT_DIGEST, digest.to_string())];
    (StatusCode::CREATED, headers).into_response()
}

/// Where an upload is.
pub(in crate::http) fn place(name: &Name, id: UploadId) -> String {
    Endpoint::Upload { name: name.clone(), id }.to_string()
}

/// Where an upload goes on.
fn location(call: &Call, name: &Name, id: UploadId) -> String {
    let path = place(name, id);
    match call.oci.app.auth.upload_pass(&call.requester.caller, id) {
        Some(pass) => format!("{path}?{PASS}={pass}"),
        None => path,
    }
}

/// A refusal after which the upload can go on says where.
fn located(error: RegistryError, call: &Call, name: &Name, id: UploadId) -> OciError {
    let goes_on = matches!(error, RegistryError::UploadOffset { .. });
    let refusal = OciError::from(error);
    if !goes_on {
        return refusal;
    }
    refusal.with(header::LOCATION, location(call, name, id)).with(UPLOAD_UUID, id)
}

fn missing_digest() -> OciError {
    bad_request(Code::DigestInvalid, "the parameter digest is missing")
}
