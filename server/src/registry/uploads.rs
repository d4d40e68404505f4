//! Upload sessions (distribution-spec, "Pushing blobs").
//!
//! Invariant: a session is used only by the principal that began it, in the package it was begun in;
//! to anybody else it does not exist (CVE-2026-32589). A blob becomes visible by one metadata
//! transaction after its object is durable, and the right to push is looked up again just before.
//! Nobody is told that bytes are stored before the session itself outlives a crash: to begin one does
//! not wait for the disk, because to finish it does.

use super::access::Writable;
use super::startup::LATELY;
use super::{Registry, RegistryError, Result};
use crate::blobs::{BlobError, ByteStream, Last};
use crate::domain::{Algorithm, Change, Digest, ObjectKey, UploadId};
use crate::metadata::{MetadataError, NewUpload, Upload};

/// The most sessions of one blob in one package that are looked at.
const MOST_DECLARED: usize = 64;

/// A chunk that may be this long is not begun before its session outlives a crash.
const LONG: u64 = 1 << 20;

/// Where an upload stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadStatus {
    /// The session.
    pub id: UploadId,
    /// How many bytes are safely stored.
    pub offset: u64,
}

/// A piece of a blob, as its headers announce it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// The first byte's offset, from `Content-Range`.
    pub at: Option<u64>,
    /// The number of bytes, from `Content-Range` or `Content-Length`.
    pub length: Option<u64>,
}

impl Registry {
    /// Begins an upload. What it is declared to become is only a name by which its owner finds it
    /// again; what it does become is said, and checked, at its end.
    ///
    /// # Errors
    /// [`RegistryError::NoSpace`] below the soft mark of free space.
    pub async fn start_upload(
        &self,
        access: &Writable,
        change: &Change,
        algorithm: Algorithm,
        declared: Option<Digest>,
    ) -> Result<UploadStatus> {
        self.require_room_for_uploads()?;
        let id = UploadId::random();
        self.blobs.create_upload(id, algorithm, self.clock.now()).await?;
        let upload = NewUpload { id, owner: access.caller.principal.key(), declared };
        if let Err(error) = self.metadata.start_upload(change, &access.target, upload).await {
            self.discard_upload(id).await;
            return Err(error.into());
        }
        self.collector.touch(id, self.clock.now());
        Ok(UploadStatus { id, offset: 0 })
    }

    /// Where an upload stands.
    ///
    /// # Errors
    /// [`RegistryError::UploadUnknown`].
    pub async fn upload_status(&self, access: &Writable, id: UploadId) -> Result<UploadStatus> {
        self.own_upload(access, id).await?;
        let offset = self.blobs.upload_offset(id).await?;
        self.metadata.settle_upload(id).await.map_err(ended)?;
        Ok(UploadStatus { id, offset })
    }

    /// The caller's own uploads that were declared to become this blob, furthest first.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn declared_uploads(
        &self,
        access: &Writable,
        digest: &Digest,
    ) -> Result<Vec<UploadStatus>> {
        let Some(package) = access.package() else { return Ok(Vec::new()) };
        let owner = access.caller.principal.key();
        let found = self.metadata.declared_uploads(package, digest, MOST_DECLARED).await?;
        let mut own = Vec::new();
        for upload in found.into_iter().filter(|upload| upload.owner == owner) {
            match self.metadata.settle_upload(upload.id).await {
                Ok(()) => {}
                Err(MetadataError::NotFound) => continue,
                Err(error) => return Err(error.into()),
            }
            match self.blobs.upload_offset(upload.id).await {
                Ok(offset) if self.check_duration(&upload).is_ok() => {
                    own.push(UploadStatus { id: upload.id, offset });
                }
                Ok(_) | Err(BlobError::UnknownUpload(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        own.sort_by_key(|upload| std::cmp::Reverse(upload.offset));
        Ok(own)
    }

    /// Adds a chunk.
    ///
    /// # Errors
    /// [`RegistryError::UploadOffset`] if the chunk does not begin where the upload ends,
    /// [`RegistryError::UploadSize`] if it is not as long as announced.
    pub async fn append_chunk(
        &self,
        access: &Writable,
        id: UploadId,
        chunk: Chunk,
        body: ByteStream,
    ) -> Result<UploadStatus> {
        self.require_room_for_uploads()?;
        let upload = self.own_upload(access, id).await?;
        let offset = self.append(&upload, chunk, body).await?;
        Ok(UploadStatus { id, offset })
    }

    /// Adds the last chunk, if any, and makes the upload a blob of the package.
    ///
    /// # Errors
    /// [`RegistryError::DigestMismatch`] ends the session.
    pub async fn finish_upload(
        &self,
        access: &Writable,
        change: &Change,
        id: UploadId,
        digest: &Digest,
        last: Option<(Chunk, ByteStream)>,
    ) -> Result<()> {
        self.require_room_for_changes()?;
        let upload = self.own_upload(access, id).await?;
        let last = match last {
            Some((chunk, body)) => {
                self.require_room_for_uploads()?;
                Some(self.append_last(&upload, chunk, body).await?)
            }
            None => None,
        };
        self.still_writable(access).await?;
        // Between the object's new name and its row, the start-up sweep must not look (startup.rs).
        let _finishing = self.finishing.read().await;
        self.metadata.be_seen(LATELY).await?;
        let finished = match last {
            Some(last) => self.blobs.finish_last(last, digest).await,
            None => self.blobs.finish(id, digest).await,
        };
        let object = match finished {
            Ok(object) => object,
            Err(error @ BlobError::Digest { .. }) => {
                self.collector.ended(id);
                self.metadata.end_upload(id).await?;
                return Err(error.into());
            }
            Err(error) => return Err(error.into()),
        };
        match self.metadata.finish_upload(change, id, digest, object.key, object.size).await {
            Ok(finished) => {
                self.collector.ended(id);
                if let Some(loser) = finished.loser {
                    self.remove_doomed(loser).await;
                }
                Ok(())
            }
            Err(error) => {
                // Refused for good: nothing names the object. After a storage fault the row may be
                // there, so the object stays and the next start sorts it out.
                if matches!(error, MetadataError::NotFound) {
                    self.remove_unnamed(object.key).await;
                    return Err(RegistryError::UploadUnknown);
                }
                Err(error.into())
            }
        }
    }

    /// Ends an upload without a blob.
    ///
    /// # Errors
    /// [`RegistryError::UploadUnknown`].
    pub async fn cancel_upload(&self, access: &Writable, id: UploadId) -> Result<()> {
        self.own_upload(access, id).await?;
        match self.blobs.cancel_upload(id).await {
            Ok(()) | Err(BlobError::UnknownUpload(_)) => {}
            Err(error) => return Err(error.into()),
        }
        self.collector.ended(id);
        Ok(self.deleting(|| self.metadata.end_upload(id)).await?)
    }

    async fn append(&self, upload: &Upload, chunk: Chunk, body: ByteStream) -> Result<u64> {
        let at = self.admit_chunk(upload, chunk).await?;
        self.settle_for(upload, chunk).await?;
        let appended = self.blobs.append(upload.id, Some(at), self.limits.blob_bytes, body).await;
        self.collector.touch(upload.id, self.clock.now());
        self.metadata.settle_upload(upload.id).await.map_err(ended)?;
        let offset = appended?;
        as_announced(chunk, offset - at).map(|()| offset)
    }

    /// Adds a chunk that nobody is told of before the upload has become a blob. Where it goes is the blob
    /// store's to check: asked here first, a small blob would wait for the disk once more.
    async fn append_last(&self, upload: &Upload, chunk: Chunk, body: ByteStream) -> Result<Last> {
        self.admit_length(chunk.at.unwrap_or(0), chunk)?;
        self.check_duration(upload)?;
        self.settle_for(upload, chunk).await?;
        self.collector.touch(upload.id, self.clock.now());
        let most = self.limits.blob_bytes;
        let appended = self.blobs.append_last(upload.id, chunk.at, most, body).await;
        self.collector.touch(upload.id, self.clock.now());
        let last = appended?;
        as_announced(chunk, last.added()).map(|()| last)
    }

    /// Lets the session outlive a crash before many bytes come, so that they are found again.
    async fn settle_for(&self, upload: &Upload, chunk: Chunk) -> Result<()> {
        match chunk.length {
            Some(length) if length < LONG => Ok(()),
            _ => self.metadata.settle_upload(upload.id).await.map_err(ended),
        }
    }

    /// Where a chunk goes, if it may come now.
    async fn admit_chunk(&self, upload: &Upload, chunk: Chunk) -> Result<u64> {
        let before = self.blobs.upload_offset(upload.id).await?;
        let at = chunk.at.unwrap_or(before);
        if at != before {
            return Err(RegistryError::UploadOffset { actual: before });
        }
        self.admit_length(at, chunk)?;
        self.check_duration(upload)?;
        self.collector.touch(upload.id, self.clock.now());
        Ok(at)
    }

    /// Refuses a chunk that would end behind the longest blob.
    fn admit_length(&self, at: u64, chunk: Chunk) -> Result<()> {
        let end = chunk.length.and_then(|length| at.checked_add(length));
        match (self.limits.blob_bytes, end) {
            (Some(most), Some(end)) if end > most => Err(RegistryError::BlobTooLarge(most)),
            _ => Ok(()),
        }
    }

    fn check_duration(&self, upload: &Upload) -> Result<()> {
        match self.limits.upload_duration {
            Some(most) if self.clock.now().since(upload.started.at) > most => {
                Err(RegistryError::UploadExpired(most.as_secs()))
            }
            _ => Ok(()),
        }
    }

    async fn own_upload(&self, access: &Writable, id: UploadId) -> Result<Upload> {
        let upload = self.metadata.upload(id).await?.ok_or(RegistryError::UploadUnknown)?;
        let own = Some(upload.package) == access.package()
            && upload.owner == access.caller.principal.key();
        if own { Ok(upload) } else { Err(RegistryError::UploadUnknown) }
    }

    async fn discard_upload(&self, id: UploadId) {
        if let Err(error) = self.blobs.cancel_upload(id).await {
            tracing::warn!(upload = %id, error = %error, "an unrecorded upload was not removed; start-up will");
        }
    }

    /// Removes an object whose row is doomed and due.
    pub(super) async fn remove_doomed(&self, key: ObjectKey) {
        let removed = match self.blobs.delete(key).await {
            Ok(()) => self.metadata.forget_doomed(&[key]).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = removed {
            tracing::warn!(object = %key, error, "a doomed object was not removed yet; it stays in the list");
        }
    }

    /// Removes an object that no row names; asks the rows once more first, because removing one
    /// that is named would be loss.
    async fn remove_unnamed(&self, key: ObjectKey) {
        match self.metadata.known_objects(&[key]).await.as_deref() {
            Ok([false]) => {}
            _ => return,
        }
        if let Err(error) = self.blobs.delete(key).await {
            tracing::warn!(object = %key, error = %error, "an unnamed object was not removed; the next start sets it aside");
        }
    }
}

fn ended(error: MetadataError) -> RegistryError {
    match error {
        MetadataError::NotFound => RegistryError::UploadUnknown,
        other => other.into(),
    }
}

/// Whether as many bytes came as the headers said.
fn as_announced(chunk: Chunk, came: u64) -> Result<()> {
    match chunk.length {
        Some(said) if came != said => Err(RegistryError::UploadSize { actual: came, said }),
        _ => Ok(()),
    }
}
