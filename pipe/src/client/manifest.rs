//! Manifests: put one under a tag and look whether the tag now names it; put those that an index
//! names under their digests.
//!
//! Invariant: a tag counts as pushed only after the registry named our digest for it, or, if
//! somebody else moved the tag meanwhile, for the manifest itself.

use std::sync::atomic::AtomicU64;

use oci_distribution::Reference;
use oci_distribution::secrets::RegistryAuth;
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};

use super::Registry;
use super::auth::Session;
use super::body;
use super::error::{Action, ClientError};
use super::retry::Attempts;
use crate::config::Tag;
use crate::image::{self, Digest, Manifest};

impl Registry {
    /// What a tag names, if it is there.
    pub(super) async fn find_tag(&self, tag: &Tag) -> Result<Option<String>, ClientError> {
        let doing = format!("tag {tag}");
        self.read_by_ourselves(&mut self.attempts(&doing), tag.as_str()).await
    }

    /// Puts the manifest under the tag and checks the result.
    pub(super) async fn send_manifest(
        &self,
        manifest: &Manifest,
        tag: &Tag,
    ) -> Result<(), ClientError> {
        let doing = format!("tag {tag}");
        let mut attempts = self.attempts(&doing);
        self.put(&mut attempts, manifest, self.reference(tag), tag.as_str()).await?;
        let mut attempts = self.attempts(&doing);
        let session = self.ready(&mut attempts).await?;
        let named = match self.read_by_client(&session, tag).await {
            Ok(named) => named,
            Err(error) => {
                self.recover_or_pass(&mut attempts, &session, error).await?;
                self.read_by_ourselves(&mut attempts, tag.as_str()).await?
            }
        };
        if named.as_deref() == Some(manifest.digest.as_str()) {
            return Ok(());
        }
        self.judge_other(&mut attempts, manifest, tag, named).await
    }

    /// Puts a manifest under its digest. The registry compares the two, so nothing is left to
    /// check.
    pub(super) async fn send_child(&self, manifest: &Manifest) -> Result<(), ClientError> {
        let doing = format!("manifest {}", manifest.digest.short());
        let mut attempts = self.attempts(&doing);
        let reference = self.reference_by_digest(&manifest.digest);
        self.put(&mut attempts, manifest, reference, manifest.digest.as_str()).await
    }

    /// Puts a manifest under `name`, a tag or a digest, which is also what `reference` ends in.
    async fn put(
        &self,
        attempts: &mut Attempts<'_>,
        manifest: &Manifest,
        reference: Reference,
        name: &str,
    ) -> Result<(), ClientError> {
        let session = self.ready(attempts).await?;
        if let Err(error) = self.put_by_client(&session, manifest, &reference).await {
            self.recover_or_pass(attempts, &session, error).await?;
            self.put_by_ourselves(attempts, manifest, name).await?;
        }
        Ok(())
    }

    /// The tag names something else: was it moved, or did the registry change the manifest?
    async fn judge_other(
        &self,
        attempts: &mut Attempts<'_>,
        manifest: &Manifest,
        tag: &Tag,
        named: Option<String>,
    ) -> Result<(), ClientError> {
        let ours = self.read_by_ourselves(attempts, manifest.digest.as_str()).await?;
        let named = named.map_or_else(|| "nothing".to_owned(), |named| super::error::clean(&named));
        if ours.as_deref() == Some(manifest.digest.as_str()) {
            tracing::warn!("tag {tag} now names {named}: somebody else pushed it at the same time");
            return Ok(());
        }
        Err(ClientError::Protocol(format!(
            "the registry names {named} for tag {tag}, but {} was pushed",
            manifest.digest
        )))
    }

    /// Another attempt is ours to make if the OCI client failed in a way that may pass.
    async fn recover_or_pass(
        &self,
        attempts: &mut Attempts<'_>,
        session: &Session,
        error: ClientError,
    ) -> Result<(), ClientError> {
        match error {
            ClientError::Protocol(reason) => {
                tracing::debug!("{reason}; trying it another way");
                Ok(())
            }
            error => self.recover(attempts, session, error).await,
        }
    }

    async fn put_by_client(
        &self,
        session: &Session,
        manifest: &Manifest,
        reference: &Reference,
    ) -> Result<(), ClientError> {
        let (content_type, bytes) = (media_type(manifest)?, manifest.bytes.clone());
        body::unless_stalled(self.settings.transfer.timeout, &AtomicU64::new(0), async {
            let put = session.oci.push_manifest_raw(reference, bytes, content_type).await;
            put.map(drop).map_err(|error| ClientError::from_oci(Action::PutManifest, error))
        })
        .await
    }

    async fn put_by_ourselves(
        &self,
        attempts: &mut Attempts<'_>,
        manifest: &Manifest,
        name: &str,
    ) -> Result<(), ClientError> {
        loop {
            let session = self.ready(attempts).await?;
            let request = self
                .http
                .put(self.url(&format!("manifests/{name}"))?)
                .header(CONTENT_TYPE, media_type(manifest)?)
                .body(manifest.bytes.clone());
            let nothing = AtomicU64::new(0);
            match self.send(Action::PutManifest, &session, request, &nothing).await {
                Ok(_) => return Ok(()),
                Err(error) => self.recover(attempts, &session, error).await?,
            }
        }
    }

    /// The digest that the registry names for a tag: `Docker-Content-Digest`, else the hash of
    /// what it sends.
    async fn read_by_client(
        &self,
        session: &Session,
        tag: &Tag,
    ) -> Result<Option<String>, ClientError> {
        let reference = self.reference(tag);
        body::unless_stalled(self.settings.transfer.timeout, &AtomicU64::new(0), async {
            let read =
                session.oci.fetch_manifest_digest(&reference, &RegistryAuth::Anonymous).await;
            read.map(Some).map_err(|error| ClientError::from_oci(Action::ReadManifest, error))
        })
        .await
    }

    /// As above, for a tag or a digest; none if there is no such manifest.
    async fn read_by_ourselves(
        &self,
        attempts: &mut Attempts<'_>,
        name: &str,
    ) -> Result<Option<String>, ClientError> {
        loop {
            let session = self.ready(attempts).await?;
            match self.read_once(&session, name).await {
                Ok(digest) => return Ok(Some(digest)),
                Err(error) if error.status() == Some(404) => return Ok(None),
                Err(error) => self.recover(attempts, &session, error).await?,
            }
        }
    }

    async fn read_once(&self, session: &Session, name: &str) -> Result<String, ClientError> {
        for method in [Method::HEAD, Method::GET] {
            let url = self.url(&format!("manifests/{name}"))?;
            let request = self.http.request(method.clone(), url).header(ACCEPT, ANY_MANIFEST);
            let nothing = AtomicU64::new(0);
            let response = self.send(Action::ReadManifest, session, request, &nothing).await?;
            if let Some(digest) = named(response.headers()) {
                return Ok(digest.to_owned());
            }
            if method == Method::GET {
                let bytes = body::at_most(response, LARGEST).await?;
                return Ok(Digest::of(&bytes).as_str().to_owned());
            }
        }
        Err(ClientError::Protocol("the registry names no digest".to_owned()))
    }
}

/// The digest in a header, if it is one: it becomes a part of references.
pub(super) fn named(headers: &HeaderMap) -> Option<&str> {
    let named = headers.get("docker-content-digest")?.to_str().ok()?;
    image::is_digest(named).then_some(named)
}

fn media_type(manifest: &Manifest) -> Result<HeaderValue, ClientError> {
    HeaderValue::try_from(&manifest.media_type)
        .map_err(|_| ClientError::Protocol("the manifest has no usable media type".to_owned()))
}

/// A tag may name any of these before the push.
pub(super) const ANY_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";

/// What registries accept at most (distribution-spec, "Pushing Manifests").
pub(super) const LARGEST: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_of_a_registry_that_is_none_is_not_taken() {
        let mut headers = HeaderMap::new();
        assert_eq!(named(&headers), None);
        for (said, taken) in [("sha256:0a", true), ("sha256:$(id)", false), ("x", false)] {
            headers.insert("docker-content-digest", HeaderValue::from_static(said));
            assert_eq!(named(&headers), taken.then_some(said));
        }
    }
}
