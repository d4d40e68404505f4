//! Taking over an object under the key it has elsewhere: for backups and their restoring.
//!
//! Invariant: the same as for every object: a name is given by a rename of a file whose bytes are
//! durable and have been hashed. A copy that was cut off leaves a file in `uploads/`, which the next
//! start or the next copy removes.

use super::files::{Files, OpenFile as _};
use super::upload::remove_if_there;
use super::{FsBlobStore, storage};
use crate::blobs::hasher::Hasher;
use crate::blobs::{BlobError, ByteStream};
use crate::domain::{Digest, ObjectKey, UploadId};
use bytes::Bytes;
use futures_util::StreamExt as _;
use std::sync::Arc;

impl<F: Files> FsBlobStore<F> {
    /// Stores an object that has its key already. One that is there is replaced.
    ///
    /// # Errors
    /// [`BlobError::Digest`] if the content is not what it must be; then nothing is stored.
    pub async fn import(
        &self,
        key: ObjectKey,
        expected: &Digest,
        mut body: ByteStream,
    ) -> Result<u64, BlobError> {
        let temporary = self.0.layout.data(UploadId(key.0));
        let path = temporary.clone();
        let file = self
            .blocking(move |shared| {
                let made =
                    remove_if_there(&shared.files, &path).and_then(|()| shared.files.create(&path));
                made.map_err(|error| storage("begin a copy", error))
            })
            .await?;
        let (file, mut hasher, mut written) =
            (Arc::new(file), Hasher::new(expected.algorithm()), 0);
        while let Some(piece) = body.next().await {
            let piece: Bytes = piece.map_err(BlobError::Body)?;
            let (to, at) = (Arc::clone(&file), written);
            written += u64::try_from(piece.len()).unwrap_or(u64::MAX);
            hasher = self
                .blocking(move |_| {
                    hasher.update(&piece);
                    to.write(at, &piece).map_err(|error| storage("write a copy", error))?;
                    Ok(hasher)
                })
                .await?;
        }
        let actual = hasher.finish();
        if actual != *expected {
            self.blocking(move |shared| {
                remove_if_there(&shared.files, &temporary)
                    .map_err(|error| storage("remove a wrong copy", error))
            })
            .await?;
            return Err(BlobError::Digest { expected: *expected, actual });
        }
        self.blocking(move |shared| {
            let finished = file
                .sync_all()
                .and_then(|()| shared.files.rename(&temporary, &shared.layout.object(key)))
                .and_then(|()| shared.files.sync_dir(&shared.layout.shard_of(key)));
            finished.map_err(|error| storage("finish a copy", error))?;
            shared.listing.added(key);
            Ok(written)
        })
        .await
    }
}
