//! A blob in pieces, which a break costs no more than a piece (distribution-spec, "Pushing a blob in
//! chunks").
//!
//! POST opens an upload, PATCH sends a piece, GET asks how far it came after a break, PUT closes it. An
//! upload that an earlier run began is gone on with: its address is in the storage folder, or the
//! registry finds it (Standpipe does). A registry that refuses pieces gets the whole blob in one PUT.
//! Invariant: bytes are sent again only from the offset that the registry confirmed; the work ends,
//! because attempts are counted unless the confirmed offset passed its highest so far or a smaller
//! piece is left to try.

use std::ops::ControlFlow;

use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap};
use reqwest::{Body, Url};
use tokio::time::Instant;

use super::auth::Session;
use super::body::{self, Sending};
use super::error::{Action, ClientError};
use super::retry::Attempts;
use super::upload::{location, received};
use super::{Pushed, Registry, Sent};
use crate::image::{Digest, There};
use crate::progress::Progress;
use crate::spool::SpoolFile;

/// Where an upload stands.
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

/// One blob on its way.
struct Job<'a> {
    blob: &'a SpoolFile,
    progress: &'a Progress,
    upload: Upload,
    /// The highest offset that the registry confirmed.
    furthest: u64,
    /// Pieces in a row that broke before anything was confirmed.
    useless: u32,
    /// What an earlier run had sent.
    before: u64,
    /// Uploads of earlier runs were looked for.
    looked: bool,
}

impl Registry {
    /// Our own requests, until the blob is there or the attempts are used up.
    pub(super) async fn send_in_pieces(
        &self,
        blob: &SpoolFile,
        progress: &Progress,
        mut attempts: Attempts<'_>,
    ) -> Result<Sent, ClientError> {
        let mut job = Job {
            blob,
            progress,
            upload: Upload::New,
            furthest: 0,
            useless: 0,
            before: 0,
            looked: false,
        };
        loop {
            let session = self.ready(&mut attempts).await?;
            job.change_over();
            match self.step(&session, &mut job).await {
                Ok(ControlFlow::Break(sent)) => {
                    self.sessions.forget(&blob.digest);
                    return Ok(sent);
                }
                Ok(ControlFlow::Continue(())) => {}
                Err(error) => {
                    if error.is_transient() && matches!(job.upload, Upload::Unknown { .. }) {
                        // A piece may have arrived in part, which is progress. If the registry
                        // cannot be asked now, it is asked again after the pause.
                        let _ = self.step(&session, &mut job).await;
                    }
                    job.note_progress(&mut attempts);
                    self.recover(&mut attempts, &session, error).await?;
                }
            }
            job.note_progress(&mut attempts);
        }
    }

    /// One request and what follows from its answer.
    async fn step(
        &self,
        session: &Session,
        job: &mut Job<'_>,
    ) -> Result<ControlFlow<Sent>, ClientError> {
        let (size, digest) = (job.blob.size, &job.blob.digest);
        match std::mem::replace(&mut job.upload, Upload::New) {
            Upload::New => return self.begin(session, job).await,
            Upload::Unknown { location } => {
                job.upload = match self.ask_offset(session, &location, size).await {
                    Ok(Some((location, offset))) => Upload::At { location, offset },
                    Ok(None) => Upload::New,
                    Err(error) => {
                        job.upload = Upload::Unknown { location };
                        return Err(error);
                    }
                };
            }
            Upload::Whole { location } => {
                let result = self.send_in_one(session, &location, job).await;
                return job.ended(location, result);
            }
            Upload::At { location, offset } if offset == size => {
                let result = self.close_upload(session, &location, digest).await;
                return job.ended(location, result);
            }
            Upload::At { location, offset } => {
                match self.append(session, &location, job, offset).await {
                    Ok((location, offset)) => {
                        self.sessions.keep(digest, &location);
                        job.upload = Upload::At { location, offset };
                    }
                    Err(error) if refuses_pieces(&error) => {
                        tracing::debug!("the registry takes no pieces ({error}); sending in one");
                        job.upload = Upload::Whole { location };
                    }
                    Err(ClientError::Refused(refusal)) if refusal.is_about_size() => {
                        let sent = self.pace().piece().min(size - offset);
                        if !self.pace_mut().refused(sent) {
                            return Err(ClientError::Refused(refusal));
                        }
                        tracing::debug!("a request was too large ({refusal}); smaller pieces");
                        job.upload = Upload::Unknown { location };
                    }
                    Err(error) => return job.ended(location, Err(error)),
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Sees whether there is anything to send, and from where on.
    async fn begin(
        &self,
        session: &Session,
        job: &mut Job<'_>,
    ) -> Result<ControlFlow<Sent>, ClientError> {
        let digest = &job.blob.digest;
        // A request that broke may have been the last one needed.
        if self.has_blob(session, digest).await? {
            return Ok(ControlFlow::Break(Sent::Spared(There::Exists)));
        }
        if !std::mem::replace(&mut job.looked, true) {
            if let Some(source) = self.mount(session, digest).await {
                return Ok(ControlFlow::Break(Sent::Spared(There::Mounted(source))));
            }
            if let Some((location, offset)) = self.earlier(session, job.blob).await {
                tracing::info!(
                    "layer {}: going on after {} that an earlier run has sent",
                    digest.short(),
                    crate::output::megabytes(offset)
                );
                job.before = offset;
                job.progress.add(offset);
                job.upload = Upload::At { location, offset };
                return Ok(ControlFlow::Continue(()));
            }
        }
        let location = self.start_upload(session, digest).await?;
        self.sessions.keep(digest, &location);
        job.before = 0;
        job.upload = Upload::At { location, offset: 0 };
        Ok(ControlFlow::Continue(()))
    }

    /// What an earlier run has left of this blob.
    async fn earlier(&self, session: &Session, blob: &SpoolFile) -> Option<(Url, u64)> {
        if let Some(location) = self.sessions.find(&blob.digest)
            && let Ok(Some(found)) = self.ask_offset(session, &location, blob.size).await
        {
            return Some(found);
        }
        let found = self.open_uploads(&blob.digest).await.unwrap_or_else(|error| {
            tracing::debug!("the registry does not say what was begun before: {error}");
            Vec::new()
        });
        let furthest = found.into_iter().find(|upload| (1..=blob.size).contains(&upload.offset))?;
        Some((furthest.location, furthest.offset))
    }

    async fn start_upload(&self, session: &Session, digest: &Digest) -> Result<Url, ClientError> {
        let url = self.url("blobs/uploads/")?;
        let mut request = self.http.post(url.clone()).header(CONTENT_LENGTH, 0);
        if self.extensions.declared_uploads {
            // By this a later run finds the upload again.
            request = request.header("standpipe-upload-digest", digest.as_str());
        }
        let response = self.send_small(session, request).await?;
        if let Some(least) = least_piece(response.headers()) {
            self.pace_mut().at_least(least);
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
        if offset.is_none() {
            // It is not left behind; whether the registry minds is of no consequence.
            let _ = self.send_small(session, self.http.delete(next.clone())).await;
        }
        Ok(offset.map(|offset| (next, offset)))
    }

    /// Sends the next piece; the answer says where to go on.
    async fn append(
        &self,
        session: &Session,
        at: &Url,
        job: &Job<'_>,
        offset: u64,
    ) -> Result<(Url, u64), ClientError> {
        let end = job.blob.size.min(offset.saturating_add(self.pace().piece()));
        let (length, sending, started) = (end - offset, Sending::default(), Instant::now());
        let stream = sending.stream(job.blob, offset, length, job.progress).await?;
        let request = self
            .http
            .patch(at.clone())
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, length)
            .header(CONTENT_RANGE, format!("{offset}-{}", end - 1))
            .body(Body::wrap_stream(stream));
        let answer = self.send(Action::UploadBlob, session, request, &sending.moved);
        let response = match body::unless_slow(length, &sending.moved, answer).await {
            Ok(response) => response,
            Err(body::Slow::Crawls(sent)) => {
                sending.take_back(job.progress);
                self.pace_mut().crawled(sent, started.elapsed());
                let message = "the line is slow, going on with smaller pieces";
                return Err(ClientError::Connection(message.to_owned()));
            }
            Err(body::Slow::Failed(error)) => {
                sending.take_back(job.progress);
                if matches!(error, ClientError::Connection(_)) {
                    self.pace_mut().broke();
                }
                return Err(error);
            }
        };
        let next = location(response.headers(), at).unwrap_or_else(|_| at.clone());
        match received(response.headers()).unwrap_or(end) {
            confirmed if (offset..=end).contains(&confirmed) => {
                self.pace_mut().moved(length, started.elapsed());
                Ok((next, confirmed))
            }
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
        job: &Job<'_>,
    ) -> Result<(), ClientError> {
        let (blob, sending) = (job.blob, Sending::default());
        let stream = sending.stream(blob, 0, blob.size, job.progress).await?;
        let request = self
            .http
            .put(with_digest(at, &blob.digest))
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, blob.size)
            .body(Body::wrap_stream(stream));
        let answer = self.send(Action::UploadBlob, session, request, &sending.moved).await;
        answer.inspect_err(|_| sending.take_back(job.progress)).map(drop)
    }
}

impl Job<'_> {
    /// A server that refuses a piece may end the connection before its answer is read. When pieces
    /// break without a trace, the other way is tried in between.
    fn change_over(&mut self) {
        match std::mem::replace(&mut self.upload, Upload::New) {
            Upload::At { location, offset: 0 } if self.useless >= 2 => {
                self.useless = 0;
                self.upload = Upload::Whole { location };
            }
            upload => {
                match upload {
                    Upload::At { offset: 0, .. } => self.useless += 1,
                    Upload::At { .. } => self.useless = 0,
                    Upload::New | Upload::Unknown { .. } | Upload::Whole { .. } => {}
                }
                self.upload = upload;
            }
        }
    }

    /// Starts the count of attempts anew when the registry has more than it ever had.
    fn note_progress(&mut self, attempts: &mut Attempts<'_>) {
        if let Upload::At { offset, .. } = self.upload
            && offset > self.furthest
        {
            self.furthest = offset;
            attempts.advanced();
        }
    }

    /// After the request that should have been the last, or one that failed.
    fn ended(
        &mut self,
        location: Url,
        result: Result<(), ClientError>,
    ) -> Result<ControlFlow<Sent>, ClientError> {
        let error = match result {
            Ok(()) => {
                let pushed = Pushed { before: self.before };
                return Ok(ControlFlow::Break(Sent::Pushed(pushed)));
            }
            Err(error) => error,
        };
        let interrupted = match &error {
            // The upload is gone, or bytes were garbled; whether the blob is there is asked next.
            ClientError::Refused(refusal)
                if refusal.status == 404
                    || refusal.has_code("DIGEST_INVALID")
                    || refusal.has_code("SIZE_INVALID") =>
            {
                self.upload = Upload::New;
                true
            }
            _ => {
                self.upload = Upload::Unknown { location };
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
}

/// Whether a registry that answers so does not know PATCH.
fn refuses_pieces(error: &ClientError) -> bool {
    matches!(error.status(), Some(405 | 501))
        || matches!(error, ClientError::Refused(refusal) if refusal.has_code("UNSUPPORTED"))
}

/// The least size of a piece, except the last (distribution-spec, "Pushing a blob in chunks").
pub(super) fn least_piece(headers: &HeaderMap) -> Option<u64> {
    headers.get("oci-chunk-min-length")?.to_str().ok()?.trim().parse().ok()
}

fn with_digest(at: &Url, digest: &Digest) -> Url {
    let mut url = at.clone();
    url.query_pairs_mut().append_pair("digest", digest.as_str());
    url
}
