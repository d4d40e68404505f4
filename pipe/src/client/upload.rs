//! Blobs: is it there, can it be mounted, else send it.
//!
//! What is no larger than a piece goes through the OCI client: HEAD, then one PUT streamed from the
//! file. What is larger, and whatever breaks there, goes in pieces (`pieces`).

use std::sync::atomic::Ordering;

use futures_util::TryStreamExt as _;
use oci_distribution::errors::OciDistributionError;
use reqwest::header::{CONTENT_LENGTH, HeaderMap, LOCATION, RANGE};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use tokio::time::Instant;

use super::auth::Session;
use super::body::{self, Sending, Slow};
use super::error::{Action, ClientError};
use super::{Pushed, Registry, Sent};
use crate::config::Tag;
use crate::image::{Digest, There};
use crate::progress::Progress;
use crate::spool::SpoolFile;

impl Registry {
    /// Sends a blob unless it is there.
    pub(super) async fn send_blob(
        &self,
        blob: &SpoolFile,
        progress: &Progress,
    ) -> Result<Sent, ClientError> {
        let doing = format!("blob {}", blob.digest.short());
        let mut attempts = self.attempts(&doing);
        if blob.size > self.pace().piece() {
            return self.send_in_pieces(blob, progress, attempts).await;
        }
        let session = self.ready(&mut attempts).await?;
        let error = match self.send_whole(&session, blob, progress).await {
            Ok(sent) => return Ok(sent),
            Err(error) => error,
        };
        if attempts.may_renew(&error) && session.is_renewable() {
            self.renew(session.generation).await?;
        } else if error.is_final() {
            return Err(error);
        } else if error.is_transient() {
            attempts.failed(error).await?;
        } else {
            // What the OCI client cannot do or cannot name, our own requests may.
            tracing::debug!("{doing}: {error}; trying again in pieces");
        }
        self.send_in_pieces(blob, progress, attempts).await
    }

    /// The default path: one HEAD, one PUT.
    async fn send_whole(
        &self,
        session: &Session,
        blob: &SpoolFile,
        progress: &Progress,
    ) -> Result<Sent, ClientError> {
        let reference = self.reference(&Tag::latest());
        let digest = blob.digest.as_str();
        let timeout = self.settings.transfer.timeout;
        let sending = Sending::default();
        let found = body::unless_stalled(timeout, &sending.moved, async {
            let found = session.oci.blob_exists(&reference, digest).await;
            found.map_err(|error| ClientError::from_oci(Action::FindBlob, error))
        });
        if found.await? {
            return Ok(Sent::Spared(There::Exists));
        }
        if let Some(source) = self.mount(session, &blob.digest).await {
            return Ok(Sent::Spared(There::Mounted(source)));
        }
        let (size, started) = (blob.size, Instant::now());
        let stream = sending.stream(blob, 0, size, progress).await?;
        let stream = stream.map_err(OciDistributionError::IoError);
        let pushed = body::unless_stalled(timeout, &sending.moved, async {
            let pushed = session.oci.push_blob_stream(&reference, stream, digest, Some(size)).await;
            pushed.map_err(|error| ClientError::from_oci(Action::UploadBlob, error))
        });
        match body::unless_slow(size, &sending.moved, pushed).await {
            Ok(_) => Ok(Sent::Pushed(Pushed::default())),
            Err(slow) => {
                let sent = sending.moved.load(Ordering::Relaxed);
                sending.take_back(progress);
                Err(match slow {
                    Slow::Failed(error) => {
                        if matches!(&error, ClientError::Refused(no) if no.is_about_size()) {
                            self.pace_mut().refused(size);
                        }
                        error
                    }
                    Slow::Crawls(_) => {
                        self.pace_mut().crawled(sent, started.elapsed());
                        let message = "one request would take longer than registries allow";
                        ClientError::Protocol(message.to_owned())
                    }
                })
            }
        }
    }

    pub(super) async fn has_blob(
        &self,
        session: &Session,
        digest: &Digest,
    ) -> Result<bool, ClientError> {
        let request = self.http.head(self.url(&format!("blobs/{digest}"))?);
        let sending = Sending::default();
        match self.send(Action::FindBlob, session, request, &sending.moved).await {
            Ok(_) => Ok(true),
            Err(error) if error.status() == Some(404) => Ok(false),
            // Some registries keep blobs elsewhere and redirect to them: then it is there.
            Err(ClientError::Protocol(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Whether the registry has a blob; for those who do not send it.
    pub(super) async fn find_blob(&self, digest: &Digest) -> Result<bool, ClientError> {
        let doing = format!("blob {}", digest.short());
        let mut attempts = self.attempts(&doing);
        loop {
            let session = self.ready(&mut attempts).await?;
            match self.has_blob(&session, digest).await {
                Ok(found) => return Ok(found),
                Err(error) => self.recover(&mut attempts, &session, error).await?,
            }
        }
    }

    /// Asks the registry to take the blob over from one of the packages of `MOUNT_FROM`
    /// (distribution-spec, "Mounting a blob from another repository"); the one that had it.
    pub(super) async fn mount(&self, session: &Session, digest: &Digest) -> Option<String> {
        for source in &self.mount_from {
            match self.mount_from(session, digest, source).await {
                Ok(true) => return Some(source.clone()),
                Ok(false) => {}
                // Whoever cannot mount uploads; what is really wrong shows there.
                Err(error) => {
                    tracing::debug!("blob {} not mounted from {source}: {error}", digest.short());
                }
            }
        }
        None
    }

    /// Asks the registry to take the blob over from this package.
    pub(super) async fn mount_from(
        &self,
        session: &Session,
        digest: &Digest,
        source: &str,
    ) -> Result<bool, ClientError> {
        let mut url = self.url("blobs/uploads/")?;
        url.query_pairs_mut().append_pair("mount", digest.as_str()).append_pair("from", source);
        let request = self.http.post(url.clone()).header(CONTENT_LENGTH, 0);
        let response = self.send_small(session, request).await?;
        if response.status() == StatusCode::CREATED {
            return Ok(true);
        }
        // An upload was opened instead; it is not left behind.
        if let Ok(at) = location(response.headers(), &url) {
            let _ = self.send_small(session, self.http.delete(at)).await;
        }
        Ok(false)
    }

    pub(super) async fn send_small(
        &self,
        session: &Session,
        request: RequestBuilder,
    ) -> Result<Response, ClientError> {
        self.send(Action::UploadBlob, session, request, &Sending::default().moved).await
    }
}

/// The `Location` of an answer, absolute or relative to the request.
pub(super) fn location(headers: &HeaderMap, requested: &Url) -> Result<Url, ClientError> {
    let missing =
        || ClientError::Protocol("the registry did not say where to upload to".to_owned());
    let value = headers.get(LOCATION).ok_or_else(missing)?;
    let text = value.to_str().map_err(|_| missing())?;
    let url = requested.join(text).map_err(|_| missing())?;
    match url.scheme() {
        "https" | "http" => Ok(url),
        _ => Err(missing()),
    }
}

/// How many bytes an answer confirms: `Range: 0-N` means N + 1.
pub(super) fn received(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(RANGE)?.to_str().ok()?;
    let (_, last) = range.trim_start_matches("bytes=").split_once('-')?;
    last.trim().parse::<u64>().ok()?.checked_add(1)
}
