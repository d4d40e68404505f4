//! The manifests that refer to one (distribution-spec, "Listing Referrers").
//!
//! Invariant: the answer is the same for a subject without referrers, a package that does not exist
//! and one that the caller may not see: an empty index (DESIGN §6). Only somebody without any
//! credential is asked to log in.

use super::{Answer, Call};
use crate::domain::manifest::OCI_INDEX;
use crate::domain::{Digest, Name};
use crate::http::error::Code;
use crate::metadata::ManifestFacts;
use crate::registry::RegistryError;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use std::collections::BTreeMap;

/// The most descriptors of one answer.
const MOST: usize = 500;
/// The most bytes of descriptors in one answer. The specification bounds manifests by 4 MiB, and
/// clients hold this one to the same.
const MOST_BYTES: usize = 3 << 20;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    schema_version: u8,
    media_type: &'static str,
    manifests: Vec<Descriptor<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor<'a> {
    media_type: &'a str,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'a str, &'a str>,
}

pub(super) async fn list(call: Call, name: Name, subject: Digest) -> Answer {
    let query = call.query();
    let artifact_type =
        query.one("artifactType", Code::Unsupported)?.filter(|text| !text.is_empty());
    let last: Option<Digest> = query.parsed("last", Code::DigestInvalid)?;
    let count = query.count(MOST)?;
    let (found, more) = match call.registry().readable(&call.requester.caller, &name).await {
        Ok(access) => {
            let limit = count + 1;
            let rows =
                call.registry().referrers(&access, &subject, artifact_type, last.as_ref(), limit);
            page(rows.await?, count)
        }
        Err(RegistryError::NameUnknown { .. }) => (Vec::new(), false),
        Err(error) => return Err(error.into()),
    };
    let next = found.last().filter(|_| more).map(|last| {
        let filter = artifact_type.map(|text| format!("&artifactType={}", encoded(text)));
        let filter = filter.unwrap_or_default();
        let (path, last) = (format!("/v2/{name}/referrers/{subject}"), last.digest);
        format!("<{path}?n={count}&last={last}{filter}>; rel=\"next\"")
    });
    render(artifact_type, &found, next)
}

/// Cuts to what fits into one answer, at least one; tells whether something was left.
fn page(mut rows: Vec<ManifestFacts>, count: usize) -> (Vec<ManifestFacts>, bool) {
    let before = rows.len();
    let mut bytes = 0;
    let mut taken = 0;
    for row in rows.iter().take(count) {
        let annotations = row.annotations.iter();
        bytes += annotations.map(|(key, value)| key.len() + value.len() + 8).sum::<usize>() + 400;
        if taken > 0 && bytes > MOST_BYTES {
            break;
        }
        taken += 1;
    }
    rows.truncate(taken);
    (rows, taken > 0 && taken < before)
}

fn render(artifact_type: Option<&str>, found: &[ManifestFacts], next: Option<String>) -> Answer {
    let manifests = found.iter().map(descriptor).collect();
    let index = Index { schema_version: 2, media_type: OCI_INDEX, manifests };
    let body = serde_json::to_vec(&index);
    let body = body.map_err(|error| RegistryError::Unavailable(Box::new(error)))?;
    let mut response = ([(header::CONTENT_TYPE, OCI_INDEX)], body).into_response();
    if artifact_type.is_some() {
        set(&mut response, HeaderName::from_static("oci-filters-applied"), "artifactType");
    }
    if let Some(next) = next {
        set(&mut response, header::LINK, &next);
    }
    Ok(response)
}

fn descriptor(facts: &ManifestFacts) -> Descriptor<'_> {
    Descriptor {
        media_type: &facts.media_type,
        digest: facts.digest.to_string(),
        size: facts.size,
        artifact_type: facts.artifact_type.as_deref(),
        annotations: facts
            .annotations
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect(),
    }
}

/// Percent-encodes a query value (RFC 3986, 2.3).
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn set(response: &mut Response, name: HeaderName, value: &str) {
    // Encoded texts, digests and names are visible ASCII.
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().insert(name, value);
    }
}
