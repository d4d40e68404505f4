//! Manifests (distribution-spec, "Pulling manifests", "Pushing Manifests", "Deleting Manifests").
//!
//! Invariant: a manifest is the only body that is read whole; how much memory all of them together
//! may take is bounded. `Accept` never refuses: what is stored is what is sent, and a client that
//! cannot use it says so better than we could.

use super::blobs::{REVALIDATE, etag, is_known, not_modified};
use super::{Answer, CONTENT_DIGEST, Call, bad_request};
use crate::blobs::StreamError;
use crate::domain::{Name, Reference, Tag};
use crate::http::error::{Code, OciError};
use crate::http::extract::to_its_end;
use crate::metadata::ManifestFacts;
use crate::registry::RegistryError;
use crate::registry::manifests::{ManifestUpload, StoredManifest};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// The most `tag` parameters of one request (distribution-spec asks for at least 10).
const MOST_TAGS: usize = 64;
/// How long the body of a manifest may take. It is small, and it holds room that others wait for.
const LONGEST: Duration = Duration::from_secs(120);

pub(super) async fn get(call: Call, name: Name, reference: Reference) -> Answer {
    let access = call.registry().readable(&call.requester.caller, &name).await?;
    let manifest = call.registry().manifest(&access, &reference).await?;
    if is_known(call.headers(), &manifest.facts.digest) {
        return Ok(not_modified(&manifest.facts.digest));
    }
    Ok(content(&manifest.facts, manifest.bytes.into()))
}

pub(super) async fn head(call: Call, name: Name, reference: Reference) -> Answer {
    let access = call.registry().readable(&call.requester.caller, &name).await?;
    let facts = call.registry().manifest_facts(&access, &reference).await?;
    if is_known(call.headers(), &facts.digest) {
        return Ok(not_modified(&facts.digest));
    }
    Ok(content(&facts, Body::empty()))
}

pub(super) async fn put(call: Call, body: Body, name: Name, reference: Reference) -> Answer {
    let access = call.registry().writable(&call.requester.caller, &name).await?;
    let tags = tags(&call)?;
    let media_type = media_type(call.headers())?;
    let (registry, change) = (call.registry().clone(), call.requester.change());
    let (bytes, room) = read_whole(&call, body).await?;
    let upload = ManifestUpload { reference, tags: tags.clone(), media_type, bytes };
    let verb = async move {
        let stored = registry.put_manifest(&access, &change, upload).await;
        drop(room);
        stored
    };
    Ok(created(&name, &to_its_end(verb).await?, &tags))
}

pub(super) async fn delete(call: Call, name: Name, reference: Reference) -> Answer {
    let access = call.registry().deletable(&call.requester.caller, &name).await?;
    let (registry, change) = (call.registry().clone(), call.requester.change());
    to_its_end(async move { registry.delete_manifest(&access, &change, &reference).await }).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

fn content(facts: &ManifestFacts, body: Body) -> Response {
    let headers = [
        (header::CACHE_CONTROL, REVALIDATE.to_owned()),
        (header::CONTENT_LENGTH, facts.size.to_string()),
        (CONTENT_DIGEST, facts.digest.to_string()),
        (header::ETAG, etag(&facts.digest)),
    ];
    let mut response = (headers, body).into_response();
    // It came in as a header; if a future store gives back what is none, the bytes still count.
    if let Ok(media_type) = HeaderValue::try_from(facts.media_type.as_str()) {
        response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    }
    response
}

fn created(name: &Name, stored: &StoredManifest, tags: &[Tag]) -> Response {
    let digest = stored.digest.to_string();
    let location = format!("/v2/{name}/manifests/{digest}");
    let headers = [(header::LOCATION, location), (CONTENT_DIGEST, digest)];
    let mut response = (StatusCode::CREATED, headers).into_response();
    let subject = stored.subject.map(|subject| ("oci-subject", subject.to_string()));
    let tags = tags.iter().map(|tag| ("oci-tag", tag.to_string()));
    for (header, value) in subject.into_iter().chain(tags) {
        // Digests and tags are visible ASCII by their grammars.
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().append(HeaderName::from_static(header), value);
        }
    }
    response
}

/// The tags to set besides (distribution-spec, `tag` parameters).
fn tags(call: &Call) -> Result<Vec<Tag>, OciError> {
    let query = call.query();
    if query.all("tag").count() > MOST_TAGS {
        let message = format!("at most {MOST_TAGS} tags at once");
        let status = StatusCode::URI_TOO_LONG;
        return Err(OciError::new(status, Code::ManifestInvalid, "too-many-tags", message));
    }
    let mut tags: Vec<Tag> = Vec::new();
    for text in query.all("tag") {
        let tag = text.parse();
        let tag =
            tag.map_err(|error| bad_request(Code::ManifestInvalid, format!("tag: {error}")))?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Ok(tags)
}

/// The Content-Type without parameters.
fn media_type(headers: &HeaderMap) -> Result<String, OciError> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let value = value.and_then(|value| value.split(';').next()).map(str::trim).unwrap_or_default();
    let invalid = |message: &str| Err(bad_request(Code::ManifestInvalid, message));
    match value {
        "" => invalid("the header Content-Type must name the manifest's media type"),
        _ if value.len() > 255 => invalid("the media type is too long"),
        _ => Ok(value.to_owned()),
    }
}

/// Reads the body, which is refused by its announced length before any of it is read. The room for
/// it is given back when the permit is dropped.
async fn read_whole(
    call: &Call,
    body: Body,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), RegistryError> {
    let most = call.registry().limits().manifest_bytes;
    let announced = super::uploads::content_length(call.headers());
    let announced = announced.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    if announced.is_some_and(|length| length > most) {
        return Err(RegistryError::ManifestTooLarge(most));
    }
    let room = call.oci.budget.room(announced.unwrap_or(most)).await;
    let collected = tokio::time::timeout(LONGEST, Limited::new(body, most).collect()).await;
    match collected {
        Ok(Ok(collected)) => Ok((collected.to_bytes(), room)),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(RegistryError::ManifestTooLarge(most))
        }
        Ok(Err(error)) => Err(RegistryError::BodyBroken(StreamError(error))),
        Err(elapsed) => Err(RegistryError::BodyBroken(StreamError(Box::new(elapsed)))),
    }
}
