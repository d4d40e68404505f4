//! A registry client under the test's control: each call is one request, nothing is repeated or hidden.

use bytes::Bytes;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Body, Method};

use crate::http::{self, Answer};
use crate::manifest::Manifest;
use crate::payload::{Hasher, Payload};
use crate::rest::Credential;

/// Registry calls with one fixed `Authorization`.
#[derive(Clone, Debug)]
pub struct Raw {
    client: reqwest::Client,
    url: String,
    authorization: Option<String>,
}

/// How the bytes of a blob travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `POST ?digest=` with the whole body.
    Single,
    /// `POST`, then `PUT ?digest=` with the whole body.
    Put,
    /// `POST`, one `PATCH` without a length, `PUT ?digest=` without a body.
    Streamed,
    /// `POST`, a `PATCH` with `Content-Range` for each piece of so many bytes, `PUT ?digest=` without a body.
    Chunked(u64),
}

/// A request that got no answer: whether it took effect is unknown.
pub type NoAnswer = reqwest::Error;

impl Raw {
    /// Calls without a credential.
    #[must_use]
    pub fn anonymous(url: &str) -> Self {
        Self { client: http::client(), url: url.to_owned(), authorization: None }
    }

    /// Calls with Basic authentication.
    #[must_use]
    pub fn basic(url: &str, username: &str, password: &str) -> Self {
        use base64::Engine as _;
        let pair =
            base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
        Self::anonymous(url).with_authorization(&format!("Basic {pair}"))
    }

    /// Calls with Basic authentication from a credential.
    #[must_use]
    pub fn with_credential(url: &str, credential: &Credential) -> Self {
        Self::basic(url, &credential.username, &credential.secret)
    }

    /// Calls with a bearer token.
    #[must_use]
    pub fn bearer(url: &str, token: &str) -> Self {
        Self::anonymous(url).with_authorization(&format!("Bearer {token}"))
    }

    fn with_authorization(mut self, value: &str) -> Self {
        self.authorization = Some(value.to_owned());
        self
    }

    /// One request. `target` is a path, or the URL of a `Location`.
    ///
    /// # Errors
    /// When no whole answer came back.
    pub async fn send(
        &self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Result<Answer, NoAnswer> {
        let url = match target.strip_prefix('/') {
            Some(path) => format!("{}/{path}", self.url),
            None => target.to_owned(),
        };
        let asked = format!("{method} {url}");
        let mut request = self.client.request(method, &url).body(body);
        if let Some(value) = &self.authorization {
            request = request.header("authorization", value);
        }
        for (name, value) in headers {
            let name = HeaderName::try_from(*name).expect("tests name headers that exist");
            let value = HeaderValue::try_from(*value).expect("tests send values that can be sent");
            request = request.header(name, value);
        }
        Answer::read(asked, request.send().await?).await
    }

    /// One request whose answer is not read beyond its head.
    ///
    /// # Panics
    /// When no answer began.
    pub async fn begin(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> reqwest::Response {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(value) = &self.authorization {
            request = request.header("authorization", value);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answered_by(request.send().await)
    }

    /// `GET` of a path.
    ///
    /// # Panics
    /// When no whole answer came back.
    pub async fn get(&self, path: &str) -> Answer {
        answered(self.send(Method::GET, path, &[], "").await)
    }

    /// `HEAD` of a path.
    ///
    /// # Panics
    /// When no whole answer came back.
    pub async fn head(&self, path: &str) -> Answer {
        answered(self.send(Method::HEAD, path, &[], "").await)
    }

    /// `DELETE` of a path.
    ///
    /// # Panics
    /// When no whole answer came back.
    pub async fn delete(&self, path: &str) -> Answer {
        answered(self.send(Method::DELETE, path, &[], "").await)
    }

    /// Starts an upload: the spec's `POST /v2/<name>/blobs/uploads/`.
    ///
    /// # Errors
    /// When no whole answer came back.
    pub async fn start_upload(&self, name: &str) -> Result<Answer, NoAnswer> {
        let path = format!("/v2/{name}/blobs/uploads/");
        self.send(Method::POST, &path, &[("content-length", "0")], "").await
    }

    /// Sends the bytes from `start` up to, but without, `end` as one piece that says where it belongs.
    ///
    /// # Errors
    /// When no whole answer came back.
    pub async fn append_chunk(
        &self,
        location: &str,
        payload: &Payload,
        start: u64,
        end: u64,
    ) -> Result<Answer, NoAnswer> {
        let range = format!("{start}-{}", end.max(1) - 1);
        let length = (end - start).to_string();
        let headers = [
            ("content-range", range.as_str()),
            ("content-length", length.as_str()),
            ("content-type", "application/octet-stream"),
        ];
        let body = Body::wrap_stream(payload.stream(start, end));
        self.send(Method::PATCH, location, &headers, body).await
    }

    /// Sends the bytes from `start` to the end as one `PATCH` without range and length.
    ///
    /// # Errors
    /// When no whole answer came back.
    pub async fn append_stream(
        &self,
        location: &str,
        payload: &Payload,
        start: u64,
    ) -> Result<Answer, NoAnswer> {
        let headers = [("content-type", "application/octet-stream")];
        let body = Body::wrap_stream(payload.stream(start, payload.length()));
        self.send(Method::PATCH, location, &headers, body).await
    }

    /// Closes an upload, with the last bytes where there are some.
    ///
    /// # Errors
    /// When no whole answer came back.
    pub async fn finish_upload(
        &self,
        location: &str,
        digest: &str,
        rest: impl Into<Body>,
    ) -> Result<Answer, NoAnswer> {
        let headers = [("content-type", "application/octet-stream")];
        let target = with_query(location, "digest", digest);
        self.send(Method::PUT, &target, &headers, rest).await
    }

    /// Sends a whole blob in one style; returns the last answer, or the first that refused.
    ///
    /// # Errors
    /// When one request got no whole answer.
    pub async fn upload(
        &self,
        name: &str,
        payload: &Payload,
        style: Style,
    ) -> Result<Answer, NoAnswer> {
        let digest = payload.digest();
        if style == Style::Single {
            let path = with_query(&format!("/v2/{name}/blobs/uploads/"), "digest", &digest);
            return self.send_whole(Method::POST, &path, payload).await;
        }
        let started = self.start_upload(name).await?;
        if started.status != 202 {
            return Ok(started);
        }
        let mut location = started.header("location");
        match style {
            Style::Put => {
                let target = with_query(&location, "digest", &digest);
                return self.send_whole(Method::PUT, &target, payload).await;
            }
            Style::Streamed => {
                let answer = self.append_stream(&location, payload, 0).await?;
                if answer.status != 202 {
                    return Ok(answer);
                }
                location = answer.header("location");
            }
            Style::Chunked(size) => {
                let mut offset = 0;
                while offset < payload.length() {
                    let end = (offset + size).min(payload.length());
                    let answer = self.append_chunk(&location, payload, offset, end).await?;
                    if answer.status != 202 {
                        return Ok(answer);
                    }
                    location = answer.header("location");
                    offset = end;
                }
            }
            Style::Single => unreachable!("answered above"),
        }
        self.finish_upload(&location, &digest, "").await
    }

    async fn send_whole(
        &self,
        method: Method,
        target: &str,
        payload: &Payload,
    ) -> Result<Answer, NoAnswer> {
        let length = payload.length().to_string();
        let headers =
            [("content-length", length.as_str()), ("content-type", "application/octet-stream")];
        let body = Body::wrap_stream(payload.stream(0, payload.length()));
        self.send(method, target, &headers, body).await
    }

    /// Pulls a blob of any size without keeping it; returns the digest of what arrived.
    ///
    /// # Panics
    /// When it is refused or does not arrive whole.
    pub async fn pull_blob(&self, name: &str, digest: &str) -> String {
        let url = format!("{}/v2/{name}/blobs/{digest}", self.url);
        let mut request = self.client.get(&url);
        if let Some(value) = &self.authorization {
            request = request.header("authorization", value);
        }
        let mut response = answered_by(request.send().await);
        assert_eq!(response.status().as_u16(), 200, "{url}");
        let mut hasher = Hasher::default();
        while let Some(piece) = answered_by(response.chunk().await) {
            hasher.update(&piece);
        }
        hasher.digest()
    }

    /// Asks an upload for its offset: the first byte that the server does not have.
    ///
    /// # Errors
    /// When no whole answer came back.
    pub async fn upload_status(&self, location: &str) -> Result<Answer, NoAnswer> {
        self.send(Method::GET, location, &[], "").await
    }

    /// Sends a manifest under a tag or digest.
    ///
    /// # Errors
    /// When no whole answer came back.
    pub async fn put_manifest(
        &self,
        name: &str,
        reference: &str,
        manifest: &Manifest,
    ) -> Result<Answer, NoAnswer> {
        let path = format!("/v2/{name}/manifests/{reference}");
        let headers = [("content-type", manifest.media_type.as_str())];
        self.send(Method::PUT, &path, &headers, manifest.bytes.clone()).await
    }

    /// Fetches a manifest of any kind.
    ///
    /// # Panics
    /// When no whole answer came back.
    pub async fn manifest(&self, name: &str, reference: &str) -> Answer {
        let path = format!("/v2/{name}/manifests/{reference}");
        let headers = [("accept", ACCEPT)];
        answered(self.send(Method::GET, &path, &headers, "").await)
    }

    /// Sends a small blob.
    ///
    /// # Errors
    /// When one request got no whole answer.
    pub async fn push_bytes(&self, name: &str, bytes: Bytes) -> Result<Answer, NoAnswer> {
        let started = self.start_upload(name).await?;
        if started.status != 202 {
            return Ok(started);
        }
        let digest = crate::payload::digest_of(&bytes);
        self.finish_upload(&started.header("location"), &digest, bytes).await
    }

    /// Sends config and layers and then the manifest under a tag; returns the manifest.
    ///
    /// # Panics
    /// When any step is refused.
    pub async fn push_image(&self, name: &str, tag: &str, seed: u64) -> Manifest {
        let layers = [Payload::new(seed, 3000), Payload::new(seed ^ 0xFF, 70_000)];
        let manifest = Manifest::image(seed, &layers);
        let config = Bytes::from(Manifest::config(seed, &layers));
        for layer in &layers {
            let _ = answered(self.upload(name, layer, Style::Put).await).expect(201);
        }
        let _ = answered(self.push_bytes(name, config).await).expect(201);
        let _ = answered(self.put_manifest(name, tag, &manifest).await).expect(201);
        manifest
    }
}

/// The answer of a request that must get one.
///
/// # Panics
/// When no whole answer came back.
#[must_use]
#[track_caller]
pub fn answered(result: Result<Answer, NoAnswer>) -> Answer {
    answered_by(result)
}

#[track_caller]
fn answered_by<T>(result: Result<T, NoAnswer>) -> T {
    result.unwrap_or_else(|error| panic!("no answer: {error:?}"))
}

/// The first byte that an upload lacks, from the `Range: 0-<last byte>` of an answer about it.
///
/// An empty upload and an upload of one byte both say `0-0`; the caller knows which it is from
/// what it sent, so this returns what the header says: the number of the last byte.
#[must_use]
pub fn last_byte(answer: &Answer) -> Option<u64> {
    answer.header("range").strip_prefix("0-")?.parse().ok()
}

/// A `Location` with one more query parameter.
#[must_use]
pub fn with_query(location: &str, name: &str, value: &str) -> String {
    let separator = if location.contains('?') { '&' } else { '?' };
    format!("{location}{separator}{name}={value}")
}

const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";
