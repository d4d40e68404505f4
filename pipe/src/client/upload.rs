//! Blobs: is it there, send it in one request, and if that breaks, resume it in pieces.
//!
//! The first attempt is the OCI client's: HEAD, then one PUT streamed from the file. Every
//! further attempt is ours (distribution-spec, "Pushing a blob in chunks"): POST opens an
//! upload, PATCH sends a piece, GET asks how far it came after a break, PUT closes it. A
//! registry that refuses pieces gets the whole blob in one PUT again.
//! Invariant: bytes are sent again only from the offset that the registry confirmed; the work
//! ends, because attempts are counted unless the confirmed offset passed its highest so far.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use futures_util::TryStreamExt as _;
use oci_distribution::errors::OciDistributionError;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, LOCATION, RANGE};
use reqwest::{Body, RequestBuilder, Response, StatusCode, Url};

use super::auth::Session;
use super::body::{self, Sending};
use super::error::{Action, ClientError};
use super::retry::Attempts;
use super::{Registry, Sent};
use crate::config::Tag;
use crate::image::{Blob, Digest};
use crate::progress::Progress;

/// Where a resumed upload stands.
enum Upload {
    /// Not begun, or the registry has forgotten it.
    New,
    /// The registry has the first `offset` bytes.
    At { location: Url, offset: u64 },
    /// Something broke: the registry has to say how far it came.
    Unknown { location: Url },
    /// Pieces are of no use: the whole blob goes in one request.
    Whole { location: Url },
}

impl Registry {
    /// Sends a blob unless it is there.
    pub(super) async fn send_blob(
        &self,
        blob: &Blob,
        progress: &Progress,
    ) -> Result<Sent, ClientError> {
        let doing = format!("blob {}", blob.file.digest.short());
        let mut attempts = self.attempts(&doing);
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
        self.resume(blob, progress, attempts).await
    }

    /// The default path: one HEAD, one PUT.
    async fn send_whole(
        &self,
        session: &Session,
        blob: &Blob,
        progress: &Progress,
    ) -> Result<Sent, ClientError> {
        let reference = self.reference(&Tag::latest());
        let digest = blob.file.digest.as_str();
        let timeout = self.settings.transfer.timeout;
        let sending = Sending::default();
        let found = body::unless_stalled(timeout, &sending.moved, async {
            let found = session.oci.blob_exists(&reference, digest).await;
            found.map_err(|error| ClientError::from_oci(Action::FindBlob, error))
        });
        if found.await? {
            return Ok(Sent::Exists);
        }
        if let Some(source) = self.mount(session, &blob.file.digest).await {
            return Ok(Sent::Mounted(source));
        }
        let size = blob.file.size;
        let stream = sending.stream(&blob.file, 0, size, progress).await?;
        let stream = stream.map_err(OciDistributionError::IoError);
        let pushed = body::unless_stalled(timeout, &sending.moved, async {
            let pushed = session.oci.push_blob_stream(&reference, stream, digest, Some(size)).await;
            pushed.map_err(|error| ClientError::from_oci(Action::UploadBlob, error))
        });
        match body::unless_slow(size, &sending.moved, pushed).await {
            Ok(_) => Ok(Sent::Pushed),
            Err(error) => {
                sending.take_back(progress);
                Err(error)
            }
        }
    }

    /// Our own requests, until the blob is there or the attempts are used up.
    async fn resume(
        &self,
        blob: &Blob,
        progress: &Progress,
        mut attempts: Attempts<'_>,
    ) -> Result<Sent, ClientError> {
        let mut upload = Upload::New;
        let mut furthest = 0;
        let mut useless_pieces = 0;
        loop {
            let session = self.ready(&mut attempts).await?;
            match upload {
                // A server that refuses a piece may end the connection before its answer is
                // read. When pieces break without a trace, the other way is tried in between.
                Upload::At { location, offset: 0 } if useless_pieces >= 2 => {
                    useless_pieces = 0;
                    upload = Upload::Whole { location };
                }
                Upload::At { offset: 0, .. } => useless_pieces += 1,
                Upload::At { .. } => useless_pieces = 0,
                Upload::New | Upload::Unknown { .. } | Upload::Whole { .. } => {}
            }
            match self.step(&session, &mut upload, blob, progress).await {
                Ok(ControlFlow::Break(sent)) => return Ok(sent),
                Ok(ControlFlow::Continue(())) => {}
                Err(error) => {
                    if error.is_transient() && matches!(upload, Upload::Unknown { .. }) {
                        // A piece may have arrived in part, which is progress. If the registry
                        // cannot be asked now, it is asked again after the pause.
                        let _ = self.step(&session, &mut upload, blob, progress).await;
                    }
                    note_progress(&upload, &mut furthest, &mut attempts);
                    self.recover(&mut attempts, &session, error).await?;
                }
            }
            note_progress(&upload, &mut furthest, &mut attempts);
        }
    }

    /// One request and what follows from its answer.
    async fn step(
        &self,
        session: &Session,
        upload: &mut Upload,
        blob: &Blob,
        progress: &Progress,
    ) -> Result<ControlFlow<Sent>, ClientError> {
        let size = blob.file.size;
        let digest = &blob.file.digest;
        match std::mem::replace(upload, Upload::New) {
            Upload::New => {
                // The request that broke may have been the last one needed.
                if self.has_blob(session, digest).await? {
                    return Ok(ControlFlow::Break(Sent::Exists));
                }
                *upload = Upload::At { location: self.start_upload(session).await?, offset: 0 };
            }
            Upload::Unknown { location } => {
                *upload = match self.ask_offset(session, &location, size).await {
                    Ok(Some((location, offset))) => Upload::At { location, offset },
                    Ok(None) => Upload::New,
                    Err(error) => {
                        *upload = Upload::Unknown { location };
                        return Err(error);
                    }
                };
            }
            Upload::Whole { location } => {
                let result = self.send_in_one(session, &location, blob, progress).await;
                return self.ended(upload, location, result);
            }
            Upload::At { location, offset } if offset == size => {
                let result = self.close_upload(session, &location, digest).await;
                return self.ended(upload, location, result);
            }
            Upload::At { location, offset } => {
                let result = self.append(session, &location, blob, offset, progress).await;
                match result {
                    Ok((location, offset)) => *upload = Upload::At { location, offset },
                    Err(error) if refuses_pieces(&error) => {
                        tracing::debug!("the registry takes no pieces ({error}); sending in one");
                        *upload = Upload::Whole { location };
                    }
                    Err(error) => return self.ended(upload, location, Err(error)),
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// After the request that should have been the last, or one that failed.
    fn ended(
        &self,
        upload: &mut Upload,
        location: Url,
        result: Result<(), ClientError>,
    ) -> Result<ControlFlow<Sent>, ClientError> {
        let error = match result {
            Ok(()) => return Ok(ControlFlow::Break(Sent::Pushed)),
            Err(error) => error,
        };
        let interrupted = match &error {
            // The upload is gone, or bytes were garbled; whether the blob is there is asked next.
            ClientError::Refused(refusal)
                if refusal.status == 404
                    || refusal.has_code("DIGEST_INVALID")
                    || refusal.has_code("SIZE_INVALID") =>
            {
                *upload = Upload::New;
                true
            }
            _ => {
                *upload = Upload::Unknown { location };
                error.status() == Some(416)
            }
        };
        // The registry did not fail, but the pause and the count of a failure keep the two sides
        // from arguing for ever.
        Err(match interrupted {
            true => ClientError::Connection(format!("the upload was interrupted ({error})")),
            false => error,
        })
    }

    async fn has_blob(&self, session: &Session, digest: &Digest) -> Result<bool, ClientError> {
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
    async fn mount(&self, session: &Session, digest: &Digest) -> Option<String> {
        for source in &self.mount_from {
            let mut url = self.url("blobs/uploads/").ok()?;
            url.query_pairs_mut().append_pair("mount", digest.as_str()).append_pair("from", source);
            let request = self.http.post(url.clone()).header(CONTENT_LENGTH, 0);
            let response = match self.send_small(session, request).await {
                Ok(response) => response,
                Err(error) => {
                    // Whoever cannot mount uploads; what is really wrong shows there.
                    tracing::debug!("blob {} not mounted from {source}: {error}", digest.short());
                    continue;
                }
            };
            if response.status() == StatusCode::CREATED {
                return Some(source.clone());
            }
            // An upload was opened instead; it is not left behind.
            if let Ok(at) = location(response.headers(), &url) {
                let _ = self.send_small(session, self.http.delete(at)).await;
            }
        }
        None
    }

    async fn start_upload(&self, session: &Session) -> Result<Url, ClientError> {
        let url = self.url("blobs/uploads/")?;
        let request = self.http.post(url.clone()).header(CONTENT_LENGTH, 0);
        let response = self.send_small(session, request).await?;
        if let Some(least) = least_piece(response.headers()) {
            self.least_piece.fetch_max(least, Ordering::Relaxed);
        }
        location(response.headers(), &url)
    }

    /// How far the upload came; none if the registry does not know it any more.
    async fn ask_offset(
        &self,
        session: &Session,
        at: &Url,
        size: u64,
    ) -> Result<Option<(Url, u64)>, ClientError> {
        let response = match self.send_small(session, self.http.get(at.clone())).await {
            Ok(response) => response,
            Err(error) if error.is_transient() || error.is_unauthorized() => return Err(error),
            Err(_) => return Ok(None),
        };
        let next = location(response.headers(), at).unwrap_or_else(|_| at.clone());
        // "Range: 0-0" is what some registries say of an empty upload, but also of one byte.
        // Where so little is there, a new upload is as good.
        let offset = received(response.headers()).filter(|offset| (2..=size).contains(offset));
        Ok(offset.map(|offset| (next, offset)))
    }

    /// Sends the next piece; the answer says where to go on.
    async fn append(
        &self,
        session: &Session,
        at: &Url,
        blob: &Blob,
        offset: u64,
        progress: &Progress,
    ) -> Result<(Url, u64), ClientError> {
        let least = self.least_piece.load(Ordering::Relaxed);
        let length = self.settings.transfer.chunk_size.max(least);
        let end = blob.file.size.min(offset.saturating_add(length));
        let sending = Sending::default();
        let stream = sending.stream(&blob.file, offset, end - offset, progress).await?;
        let request = self
            .http
            .patch(at.clone())
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, end - offset)
            .header(CONTENT_RANGE, format!("{offset}-{}", end - 1))
            .body(Body::wrap_stream(stream));
        let answer = self.send(Action::UploadBlob, session, request, &sending.moved).await;
        let response = answer.inspect_err(|_| sending.take_back(progress))?;
        let next = location(response.headers(), at).unwrap_or_else(|_| at.clone());
        match received(response.headers()).unwrap_or(end) {
            confirmed if (offset..=end).contains(&confirmed) => Ok((next, confirmed)),
            _ => {
                Err(ClientError::Protocol("the registry confirmed bytes it did not get".to_owned()))
            }
        }
    }

    async fn close_upload(
        &self,
        session: &Session,
        at: &Url,
        digest: &Digest,
    ) -> Result<(), ClientError> {
        let request = self.http.put(with_digest(at, digest)).header(CONTENT_LENGTH, 0);
        self.send_small(session, request).await.map(drop)
    }

    /// The whole blob in one request of our own.
    async fn send_in_one(
        &self,
        session: &Session,
        at: &Url,
        blob: &Blob,
        progress: &Progress,
    ) -> Result<(), ClientError> {
        let sending = Sending::default();
        let stream = sending.stream(&blob.file, 0, blob.file.size, progress).await?;
        let request = self
            .http
            .put(with_digest(at, &blob.file.digest))
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, blob.file.size)
            .body(Body::wrap_stream(stream));
        let answer = self.send(Action::UploadBlob, session, request, &sending.moved).await;
        answer.inspect_err(|_| sending.take_back(progress)).map(drop)
    }

    async fn send_small(
        &self,
        session: &Session,
        request: RequestBuilder,
    ) -> Result<Response, ClientError> {
        self.send(Action::UploadBlob, session, request, &Sending::default().moved).await
    }
}

/// Starts the count of attempts anew when the registry has more than it ever had.
fn note_progress(upload: &Upload, furthest: &mut u64, attempts: &mut Attempts<'_>) {
    if let Upload::At { offset, .. } = upload
        && *offset > *furthest
    {
        *furthest = *offset;
        attempts.advanced();
    }
}

/// Whether a registry that answers so does not know PATCH.
fn refuses_pieces(error: &ClientError) -> bool {
    matches!(error.status(), Some(405 | 501))
        || matches!(error, ClientError::Refused(refusal) if refusal.has_code("UNSUPPORTED"))
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

/// The least size of a piece, except the last (distribution-spec, "Pushing a blob in chunks").
fn least_piece(headers: &HeaderMap) -> Option<u64> {
    headers.get("oci-chunk-min-length")?.to_str().ok()?.trim().parse().ok()
}

/// How many bytes an answer confirms: `Range: 0-N` means N + 1.
pub(super) fn received(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(RANGE)?.to_str().ok()?;
    let (_, last) = range.trim_start_matches("bytes=").split_once('-')?;
    last.trim().parse::<u64>().ok()?.checked_add(1)
}

fn with_digest(at: &Url, digest: &Digest) -> Url {
    let mut url = at.clone();
    url.query_pairs_mut().append_pair("digest", digest.as_str());
    url
}
