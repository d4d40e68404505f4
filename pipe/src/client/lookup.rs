//! What the registry has already, read before anything is sent: manifests, configurations, layers
//! by their content.
//!
//! Nothing here must succeed: whoever learns nothing sends everything.
//! Invariant: what is read is held against the digest by which it was asked for; credentials go to
//! the registry alone, the login itself only if the registry is also who takes logins.
//! Must not know: what the answers are good for.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use reqwest::{RequestBuilder, Response, Url};
use serde::Deserialize;
use serde_json::json;

use super::auth::{Session, basic};
use super::challenge::Challenge;
use super::error::{Action, ClientError};
use super::manifest::{ANY_MANIFEST, LARGEST};
use super::{Registry, accept, body, same_origin, upload};
use crate::image::{Digest, Manifest, There};

/// What a registry can beyond the specification; Standpipe says so in the header
/// `Standpipe-Extensions`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Extensions {
    /// It finds layers by their content.
    known_layers: bool,
    /// It finds uploads by what they were to become.
    pub(super) declared_uploads: bool,
}

/// A layer that the registry knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownLayer {
    /// The digest of the tar in it.
    pub(crate) diff_id: Digest,
    /// The digest of the blob.
    pub(crate) digest: Digest,
    /// The blob's size in bytes.
    pub(crate) size: u64,
    pub(crate) media_type: String,
}

/// An upload of an earlier run that the registry still has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OpenUpload {
    pub(super) location: Url,
    /// Bytes that are there.
    pub(super) offset: u64,
}

impl Extensions {
    /// Reads the headers of an answer of `/v2/`.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let value = headers.get("standpipe-extensions").and_then(|value| value.to_str().ok());
        let has = |name| value.is_some_and(|value| value.split(',').any(|one| one.trim() == name));
        Self { known_layers: has("known-layers"), declared_uploads: has("declared-uploads") }
    }
}

impl Registry {
    /// A manifest of a package of this registry by tag or digest, if it is there.
    pub(crate) async fn read_manifest(
        &self,
        repository: &str,
        reference: &str,
    ) -> Result<Option<Manifest>, ClientError> {
        let url = self.url_in(repository, &format!("manifests/{reference}"))?;
        let read = async |session: &Session| {
            let request = self.http.get(url.clone()).header(ACCEPT, ANY_MANIFEST);
            let response = self.send(Action::Lookup, session, request, &nothing()).await?;
            let media_type = media_type(response.headers());
            let bytes = body::at_most(response, LARGEST).await?;
            Ok(Manifest::verbatim(media_type, bytes))
        };
        let Some(manifest) = self.look_up(reference, read).await? else { return Ok(None) };
        match Digest::parse(reference) {
            Some(digest) if digest != manifest.digest => Err(not_what_it_is(&digest)),
            _ => Ok(Some(manifest)),
        }
    }

    /// A small blob of a package of this registry, if it is there.
    pub(crate) async fn read_blob(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Option<Vec<u8>>, ClientError> {
        let url = self.url_in(repository, &format!("blobs/{digest}"))?;
        let read = async |session: &Session| {
            let request = self.http.get(url.clone());
            let authorization = session.authorization.as_ref();
            let mut response = self.answer(authorization, request, &nothing()).await?;
            if response.status().is_redirection() {
                // Some registries keep blobs elsewhere. Who that is gets no credentials, and what
                // it sends is hashed.
                let elsewhere = upload::location(response.headers(), &url)?;
                response = self.answer(None, self.http.get(elsewhere), &nothing()).await?;
            }
            body::at_most(accept(Action::Lookup, response).await?, LARGEST).await
        };
        match self.look_up(digest.short(), read).await? {
            Some(bytes) if Digest::of(&bytes) != *digest => Err(not_what_it_is(digest)),
            found => Ok(found),
        }
    }

    /// The layers of the target package with these contents; none if the registry cannot say.
    pub(crate) async fn known_layers(
        &self,
        diff_ids: &[&Digest],
    ) -> Result<Option<Vec<KnownLayer>>, ClientError> {
        let (true, Some((workspace, package))) =
            (self.extensions.known_layers, self.target.path.split_once('/'))
        else {
            return Ok(None);
        };
        let path = format!("/api/v1/workspaces/{workspace}/known-layers");
        let body = json!({"package": package, "diff_ids": diff_ids}).to_string();
        let request = |url| self.http.post(url).header(CONTENT_TYPE, JSON).body(body.clone());
        let Some(list) = self.ask::<Layer>(&path, request).await? else { return Ok(None) };
        Ok(Some(list.into_iter().filter_map(Layer::known).collect()))
    }

    /// Our own uploads to the target package that were to become this blob, furthest first.
    pub(super) async fn open_uploads(
        &self,
        digest: &Digest,
    ) -> Result<Vec<OpenUpload>, ClientError> {
        let (true, Some((workspace, package))) =
            (self.extensions.declared_uploads, self.target.path.split_once('/'))
        else {
            return Ok(Vec::new());
        };
        let path = format!("/api/v1/workspaces/{workspace}/uploads");
        let query = [("package", package), ("digest", digest.as_str())];
        let request = |url| self.http.get(url).query(&query);
        let found = self.ask::<Upload>(&path, request).await?.unwrap_or_default();
        Ok(found.into_iter().filter_map(|upload| upload.open(&self.base)).collect())
    }

    /// Sees to it that the target package has a blob that it, or the package `from`, should have.
    pub(crate) async fn take_over(
        &self,
        digest: &Digest,
        from: Option<&str>,
    ) -> Result<Option<There>, ClientError> {
        let take = async |session: &Session| {
            if self.has_blob(session, digest).await? {
                return Ok(Some(There::Exists));
            }
            let Some(source) = from else { return Ok(None) };
            let mounted = self.mount_from(session, digest, source).await?;
            Ok(mounted.then(|| There::Mounted(source.to_owned())))
        };
        Ok(self.look_up(digest.short(), take).await?.flatten())
    }

    /// How large a blob of the target package is, if it is there.
    pub(crate) async fn size_of(&self, digest: &Digest) -> Result<Option<u64>, ClientError> {
        let url = self.url(&format!("blobs/{digest}"))?;
        let look = async |session: &Session| {
            let request = self.http.head(url.clone());
            let response = self.send(Action::Lookup, session, request, &nothing()).await?;
            let length = response.headers().get(CONTENT_LENGTH);
            Ok(length.and_then(|length| length.to_str().ok()?.parse().ok()))
        };
        Ok(self.look_up(digest.short(), look).await?.flatten())
    }

    /// Tries twice at most; none if there is no such thing.
    async fn look_up<T>(
        &self,
        what: &str,
        look: impl AsyncFn(&Session) -> Result<T, ClientError>,
    ) -> Result<Option<T>, ClientError> {
        let doing = format!("looking for {what}");
        let mut attempts = self.attempts_at_most(&doing, 1);
        loop {
            let session = self.ready(&mut attempts).await?;
            let found = tokio::time::timeout(PATIENCE, look(&session)).await;
            let found = found
                .unwrap_or_else(|_| Err(ClientError::Connection("no answer in time".to_owned())));
            match found {
                Ok(found) => return Ok(Some(found)),
                Err(error) if error.status() == Some(404) => return Ok(None),
                Err(error) => self.recover(&mut attempts, &session, error).await?,
            }
        }
    }

    /// Asks Standpipe's own API; none if it may not be asked.
    async fn ask<T: for<'de> Deserialize<'de>>(
        &self,
        path: &str,
        request: impl Fn(Url) -> RequestBuilder,
    ) -> Result<Option<Vec<T>>, ClientError> {
        let Some(credentials) = &self.credentials else { return Ok(None) };
        if !self.takes_logins() {
            return Ok(None);
        }
        let odd = || ClientError::Protocol("the answer is not readable".to_owned());
        let url = self.base.join(path).map_err(|_| odd())?;
        let login = basic(credentials);
        let asked = async {
            let request = request(url).timeout(PATIENCE);
            let response: Response = self.answer(Some(&login), request, &nothing()).await?;
            body::at_most(accept(Action::Lookup, response).await?, LARGEST).await
        };
        items(&asked.await?).map(Some).ok_or_else(odd)
    }

    /// Whether the registry itself is who the login is for: then it has seen it already.
    fn takes_logins(&self) -> bool {
        match &self.challenge {
            Some(Challenge::Bearer { realm, .. }) => {
                Url::parse(realm).is_ok_and(|realm| same_origin(&self.base, &realm))
            }
            Some(Challenge::Basic) | None => true,
        }
    }
}

/// The items of a list of Standpipe's own API.
pub(super) fn items<T: for<'de> Deserialize<'de>>(list: &[u8]) -> Option<Vec<T>> {
    #[derive(Deserialize)]
    struct Items<T> {
        items: Vec<T>,
    }
    serde_json::from_slice::<Items<T>>(list).ok().map(|list| list.items)
}

#[derive(Deserialize)]
pub(super) struct Layer {
    diff_id: String,
    digest: String,
    size_bytes: u64,
    media_type: String,
}

impl Layer {
    pub(super) fn known(self) -> Option<KnownLayer> {
        let Self { diff_id, digest, size_bytes, media_type } = self;
        let (diff_id, digest) = (Digest::parse(&diff_id)?, Digest::parse(&digest)?);
        Some(KnownLayer { diff_id, digest, size: size_bytes, media_type })
    }
}

#[derive(Deserialize)]
pub(super) struct Upload {
    location: String,
    offset: u64,
}

impl Upload {
    pub(super) fn open(self, base: &Url) -> Option<OpenUpload> {
        let location = base.join(&self.location).ok()?;
        same_origin(base, &location).then_some(OpenUpload { location, offset: self.offset })
    }
}

pub(super) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let bare = value.unwrap_or_default().split(';').next().unwrap_or_default();
    bare.trim().to_owned()
}

fn not_what_it_is(digest: &Digest) -> ClientError {
    ClientError::Protocol(format!("the registry sends something else for {digest}"))
}

fn nothing() -> AtomicU64 {
    AtomicU64::new(0)
}

const JSON: &str = "application/json";
/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_words_of_one_header() {
        let mut headers = HeaderMap::new();
        assert_eq!(Extensions::of(&headers), Extensions::default());
        headers.insert("standpipe-extensions", "other,known-layers , more".parse().unwrap());
        let extensions = Extensions::of(&headers);
        assert!(extensions.known_layers && !extensions.declared_uploads);
    }
}
