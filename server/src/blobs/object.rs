//! Blobs in an object store, such as S3, through the `object_store` crate.
//!
//! ```text
//! instance                     identity of the store
//! blobs/<object key>           an object
//! uploads/<uuid>               an upload in progress: its state and the bytes after its last part
//! lost+found/<object key>.<ms> an object that no row named, and when it was set aside
//! ```
//!
//! Object stores cannot rename, so the bytes of an upload go up as a multipart upload under the key
//! of the object they will become; completing it makes the object appear whole and durable. Parts
//! but the last have one size of at least 5 MiB, as S3 and R2 demand; what is left over waits in the
//! state. An upload below one part never becomes multipart: its object is put at once. Any process
//! that reaches the store can go on with any upload.
//!
//! The store must list names in ascending order and take conditional puts; S3 and its likes do. A
//! lifecycle rule should end multipart uploads that are older than a few days, for those that a crash
//! left without a state.
//!
//! A request that failed may still have been carried out, so after each finish the store is asked what
//! is under the key.
//!
//! Memory: a body holds one part and three pieces of 256 KiB. This file must not know metadata or HTTP.

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod state;
mod upload;

use super::buffers::{Buffer, Buffers};
use super::checkout::Checkouts;
use super::gather::{self, End};
use super::space::Space;
use super::{BlobError, BlobStore, ByteStream, Object, Opened, broken_task, set_aside_at};
use crate::clock::Clock;
use crate::domain::{Algorithm, Digest, ObjectKey, Timestamp, UploadId};
use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt as _};
use std::sync::Arc;
use tokio::sync::mpsc;
use upload::Session;

/// Bytes of a part. Ten thousand of them, the most that S3 takes, are 80 GiB.
const PART_SIZE: usize = 8 << 20;

/// The largest object that S3 copies in one request; larger ones are copied part by part.
const MOST_COPIED: u64 = 5 << 30;

/// An object store with resumable multipart uploads.
pub trait Store: ObjectStore + MultipartStore {}

impl<S: ObjectStore + MultipartStore> Store for S {}

/// The blob store on an object store.
#[derive(Debug)]
pub struct ObjectBlobStore<S>(Arc<Shared<S>>);

#[derive(Debug)]
struct Shared<S> {
    store: Arc<S>,
    clock: Clock,
    checkouts: Checkouts,
    part_size: usize,
    most_copied: u64,
    buffers: Buffers,
}

impl<S: Store> ObjectBlobStore<S> {
    /// Uses an object store; everything in it is Standpipe's. Wrap it in
    /// [`object_store::prefix::PrefixStore`] to use a part of one.
    #[must_use]
    pub fn new(store: Arc<S>, clock: Clock) -> Self {
        Self::with_sizes(store, clock, PART_SIZE, MOST_COPIED)
    }

    fn with_sizes(store: Arc<S>, clock: Clock, part_size: usize, most_copied: u64) -> Self {
        let checkouts = Checkouts::default();
        Self(Arc::new(Shared {
            store,
            clock,
            checkouts,
            part_size,
            most_copied,
            buffers: Buffers::default(),
        }))
    }

    /// A store with parts so small that tests need no large bodies.
    #[cfg(test)]
    pub(super) fn with_small_parts(store: Arc<S>, clock: Clock) -> Self {
        Self::with_sizes(store, clock, 64 << 10, 100 << 10)
    }
}

impl<S: Store> Shared<S> {
    fn object(&self, key: ObjectKey) -> Path {
        Path::from(format!("blobs/{key}"))
    }

    fn upload(&self, id: UploadId) -> Path {
        Path::from(format!("uploads/{id}"))
    }

    /// Deletes a name, if it is there.
    async fn delete(&self, path: &Path) -> object_store::Result<()> {
        match self.store.delete(path).await {
            Err(Error::NotFound { .. }) => Ok(()),
            deleted => deleted,
        }
    }

    async fn set_aside(&self, key: ObjectKey) -> object_store::Result<()> {
        let from = self.object(key);
        let to = Path::from(format!("lost+found/{key}.{}", self.clock.now().0));
        let size = match self.store.head(&from).await {
            Err(Error::NotFound { .. }) => return Ok(()),
            found => found?.size,
        };
        if size <= self.most_copied {
            self.store.copy(&from, &to).await?;
        } else {
            self.copy_by_parts(&from, &to, size).await?;
        }
        self.delete(&from).await
    }

    async fn copy_by_parts(&self, from: &Path, to: &Path, size: u64) -> object_store::Result<()> {
        let multipart = self.store.create_multipart(to).await?;
        let mut parts: Vec<PartId> = Vec::new();
        let mut at = 0;
        while at < size {
            let end = size.min(at + self.part_size as u64);
            let bytes = self.store.get_range(from, at..end).await?;
            parts.push(self.store.put_part(to, &multipart, parts.len(), bytes.into()).await?);
            at = end;
        }
        self.store.complete_multipart(to, &multipart, parts).await.map(drop)
    }

    async fn empty_lost_and_found(&self, before: Timestamp) -> object_store::Result<u64> {
        let mut removed = 0;
        let mut found = self.store.list(Some(&Path::from("lost+found")));
        while let Some(object) = found.try_next().await? {
            let time = object.location.filename().and_then(set_aside_at);
            if time.is_some_and(|time| time < before) {
                self.delete(&object.location).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    async fn objects(
        &self,
        after: Option<ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ObjectKey>, BlobError> {
        let folder = Path::from("blobs");
        let mut found = match after {
            Some(after) => self.store.list_with_offset(Some(&folder), &self.object(after)),
            None => self.store.list(Some(&folder)),
        };
        let mut keys: Vec<ObjectKey> = Vec::new();
        while keys.len() < limit {
            let Some(object) =
                found.try_next().await.map_err(|error| storage("list objects", error))?
            else {
                break;
            };
            let Some(key) = object.location.filename().and_then(|name| name.parse().ok()) else {
                tracing::debug!(object.path = %object.location, "left alone an object that is not Standpipe's");
                continue;
            };
            // Cutting an unordered list off at the limit would leave objects out.
            if keys.last().or(after.as_ref()).is_some_and(|last| key <= *last) {
                let source = "the object store does not list names in ascending order".into();
                return Err(BlobError::Storage { doing: "list objects", source });
            }
            keys.push(key);
        }
        Ok(keys)
    }

    async fn size(&self, key: ObjectKey) -> Result<u64, BlobError> {
        let found = self.store.head(&self.object(key)).await;
        found.map(|object| object.size).map_err(|error| missing_object(key, error))
    }

    async fn read(
        &self,
        key: ObjectKey,
        offset: u64,
        length: u64,
    ) -> Result<ByteStream, BlobError> {
        let end = offset.checked_add(length).ok_or(BlobError::Damaged(key))?;
        if length == 0 {
            // An empty range cannot be asked for.
            return if self.size(key).await? < end {
                Err(BlobError::Damaged(key))
            } else {
                Ok(ByteStream::empty())
            };
        }
        let range =
            GetOptions { range: Some(GetRange::Bounded(offset..end)), ..GetOptions::default() };
        let found = match self.store.get_opts(&self.object(key), range).await {
            Ok(found) => found,
            // Stores differ in how they refuse a range beyond the end.
            Err(error)
                if !matches!(error, Error::NotFound { .. }) && self.size(key).await? < end =>
            {
                return Err(BlobError::Damaged(key));
            }
            Err(error) => return Err(missing_object(key, error)),
        };
        if found.range != (offset..end) {
            return Err(BlobError::Damaged(key));
        }
        Ok(exactly(found.into_stream(), key, length))
    }
}

#[async_trait]
impl<S: Store> BlobStore for ObjectBlobStore<S> {
    async fn create_upload(
        &self,
        id: UploadId,
        algorithm: Algorithm,
        now: Timestamp,
    ) -> Result<(), BlobError> {
        upload::create(&self.0, id, algorithm, now).await
    }

    async fn upload_offset(&self, id: UploadId) -> Result<u64, BlobError> {
        upload::look(&self.0, id).await.map(|(state, _)| state.length)
    }

    async fn append(
        &self,
        id: UploadId,
        at: Option<u64>,
        most: Option<u64>,
        body: ByteStream,
    ) -> Result<u64, BlobError> {
        let session = Session::load(&self.0, id).await?;
        let start = session.length();
        if let Some(asked) = at
            && asked != start
        {
            return Err(BlobError::Offset { asked, actual: start });
        }
        let (sender, pieces) = mpsc::channel(gather::WAITING);
        // A task of its own: if the client goes away and this future is dropped, what has arrived is
        // still sent and saved.
        let writer = tokio::spawn(write_pieces(session, pieces));
        let end = gather::gather(body, start, most, &self.0.buffers, &sender).await;
        drop(sender);
        let length = writer.await.unwrap_or_else(|error| Err(broken_task(error)))?;
        match end {
            End::Broken(error) => Err(BlobError::Body(error)),
            End::Complete => Ok(length),
            End::TooLarge(most) => Err(BlobError::TooLarge(most)),
        }
    }

    async fn finish(&self, id: UploadId, expected: &Digest) -> Result<Object, BlobError> {
        let (shared, expected) = (Arc::clone(&self.0), *expected);
        // Not to be left half-done by a client that goes away.
        let finished =
            tokio::spawn(async move { Session::load(&shared, id).await?.finish(&expected).await });
        finished.await.unwrap_or_else(|error| Err(broken_task(error)))
    }

    async fn cancel_upload(&self, id: UploadId) -> Result<(), BlobError> {
        upload::cancel(&self.0, id).await
    }

    async fn uploads(&self) -> Result<Vec<UploadId>, BlobError> {
        let found = self.0.store.list(Some(&Path::from("uploads")));
        let ids = found.try_filter_map(async |object| {
            Ok(object.location.filename().and_then(|name| name.parse::<UploadId>().ok()))
        });
        ids.try_collect().await.map_err(|error| storage("list uploads", error))
    }

    async fn read(&self, key: ObjectKey, offset: u64, length: u64) -> Result<Opened, BlobError> {
        // Some stores have entity tags, which change with a new upload only; none of them tells that a
        // bit has flipped, and the network in between is one more thing that can flip them.
        let bytes = self.0.read(key, offset, length).await?;
        Ok(Opened { bytes, version: None })
    }

    async fn object_size(&self, key: ObjectKey) -> Result<u64, BlobError> {
        self.0.size(key).await
    }

    async fn delete(&self, key: ObjectKey) -> Result<(), BlobError> {
        self.0.delete(&self.0.object(key)).await.map_err(|error| storage("remove an object", error))
    }

    async fn objects(
        &self,
        after: Option<ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ObjectKey>, BlobError> {
        self.0.objects(after, limit).await
    }

    async fn set_aside(&self, key: ObjectKey) -> Result<(), BlobError> {
        self.0.set_aside(key).await.map_err(|error| storage("set an object aside", error))
    }

    async fn empty_lost_and_found(&self, before: Timestamp) -> Result<u64, BlobError> {
        self.0
            .empty_lost_and_found(before)
            .await
            .map_err(|error| storage("empty lost+found", error))
    }

    async fn space(&self) -> Result<Option<Space>, BlobError> {
        Ok(None)
    }

    async fn identity(&self) -> Result<Option<Vec<u8>>, BlobError> {
        let failed = |error| storage("read the identity", error);
        match self.0.store.get(&Path::from("instance")).await {
            Err(Error::NotFound { .. }) => Ok(None),
            found => Ok(Some(found.map_err(failed)?.bytes().await.map_err(failed)?.to_vec())),
        }
    }

    async fn set_identity(&self, identity: &[u8]) -> Result<(), BlobError> {
        let put = self.0.store.put(&Path::from("instance"), identity.to_vec().into()).await;
        put.map(drop).map_err(|error| storage("write the identity", error))
    }
}

async fn write_pieces<S: Store>(
    mut session: Session<S>,
    mut pieces: mpsc::Receiver<Buffer>,
) -> Result<u64, BlobError> {
    while let Some(piece) = pieces.recv().await {
        session.write(&piece).await?;
    }
    session.save().await?;
    Ok(session.length())
}

/// Passes on `length` bytes; a stream with fewer or more ends with an error.
fn exactly(
    stream: futures_util::stream::BoxStream<'static, object_store::Result<bytes::Bytes>>,
    key: ObjectKey,
    length: u64,
) -> ByteStream {
    let pieces = stream.map_err(move |error| storage("read an object", error)).map(Some);
    let end = futures_util::stream::once(std::future::ready(None));
    ByteStream::new(pieces.chain(end).scan(Some(length), move |left, piece| {
        let item = match (piece, *left) {
            // An error was passed on; nothing follows it.
            (_, None) | (None, Some(0)) => None,
            (None, Some(_)) => Some(Err(BlobError::Damaged(key))),
            (Some(Ok(bytes)), Some(before)) => match before.checked_sub(bytes.len() as u64) {
                Some(after) => {
                    *left = Some(after);
                    return std::future::ready(Some(Ok(bytes)));
                }
                None => Some(Err(BlobError::Damaged(key))),
            },
            (Some(Err(error)), Some(_)) => Some(Err(error)),
        };
        *left = None;
        std::future::ready(item)
    }))
}

fn missing_object(key: ObjectKey, error: Error) -> BlobError {
    match error {
        Error::NotFound { .. } => BlobError::UnknownObject(key),
        error => storage("look at an object", error),
    }
}

fn storage(doing: &'static str, error: Error) -> BlobError {
    BlobError::Storage { doing, source: Box::new(error) }
}

#[cfg(test)]
mod tests;
