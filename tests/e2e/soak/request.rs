//! What a client of the soak asks; each can be asked again when there was no answer.

use std::fmt;

use reqwest::Method;
use standpipe_tests::http::Answer;
use standpipe_tests::manifest::Manifest;
use standpipe_tests::raw::{NoAnswer, Raw, Style, with_query};

use crate::artifacts::Blob;

/// A question, perhaps of several requests.
#[derive(Clone, Debug)]
pub(crate) enum Request<'a> {
    /// Without a body.
    Plain(Method, String),
    /// A manifest.
    Manifest { name: &'a str, reference: &'a str, manifest: &'a Manifest },
    /// A blob.
    Upload { name: &'a str, blob: &'a Blob, style: Style },
    /// A blob of another package, which is sent when it is not to be had.
    Mount { name: &'a str, from: &'a str, blob: &'a Blob },
    /// Half of a blob.
    Half { name: &'a str, blob: &'a Blob },
}

impl Request<'_> {
    pub(crate) async fn send(&self, raw: &Raw) -> Result<Answer, NoAnswer> {
        match self {
            Self::Plain(method, path) => raw.send(method.clone(), path, &[], "").await,
            Self::Manifest { name, reference, manifest } => {
                raw.put_manifest(name, reference, manifest).await
            }
            Self::Upload { name, blob, style } => raw.upload(name, &blob.payload, *style).await,
            Self::Mount { name, from, blob } => {
                let path = format!("/v2/{name}/blobs/uploads/");
                let path = with_query(&with_query(&path, "mount", &blob.digest), "from", from);
                let answer = raw.send(Method::POST, &path, &[("content-length", "0")], "").await?;
                if answer.status != 202 {
                    return Ok(answer);
                }
                let location = answer.header("location");
                raw.finish_upload(&location, &blob.digest, blob.payload.bytes()).await
            }
            Self::Half { name, blob } => {
                let location = raw.start_upload(name).await?.header("location");
                raw.append_chunk(&location, &blob.payload, 0, blob.payload.length() / 2).await
            }
        }
    }
}

impl fmt::Display for Request<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(method, path) => write!(formatter, "{method} {path}"),
            Self::Manifest { name, reference, manifest } => {
                write!(formatter, "PUT {name} {reference} {}", manifest.digest())
            }
            Self::Upload { name, blob, style } => {
                write!(formatter, "upload {name} {} {style:?}", blob.digest)
            }
            Self::Mount { name, from, blob } => {
                write!(formatter, "mount or upload {name} {} from {from}", blob.digest)
            }
            Self::Half { name, blob } => write!(formatter, "half an upload {name} {}", blob.digest),
        }
    }
}
