//! Doors for the fuzz targets: the parameters of a query.

use super::query::Query;
use crate::domain::{Digest, Tag};
use crate::http::error::Code;
use axum::http::Uri;

/// What is read of a query; `None` where it is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// `n`, at most as many as were allowed.
    pub count: Option<usize>,
    /// `digest`, if it is there.
    pub digest: Option<Option<Digest>>,
    /// `last`, if it is there.
    pub last: Option<Option<String>>,
    /// Each `tag`.
    pub tags: Vec<Option<Tag>>,
}

/// Reads a query, or nothing if the text cannot stand in a request line.
#[must_use]
pub fn parameters(query: &str, most: usize) -> Option<Parameters> {
    let uri: Uri = format!("/v2/?{query}").parse().ok()?;
    let query = Query::of(&uri);
    Some(Parameters {
        count: query.count(most).ok(),
        digest: query.parsed("digest", Code::DigestInvalid).ok(),
        last: query.one("last", Code::Unsupported).ok().map(|last| last.map(str::to_owned)),
        tags: query.all("tag").map(|tag| tag.parse().ok()).collect(),
    })
}
