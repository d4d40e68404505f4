//! The blob seam: where the bytes of blobs are kept.
//!
//! Invariant: a durable row of the metadata names a durable object. So [`BlobStore::finish`] makes
//! an object durable under a name that was never used before, and only then may a row be written;
//! an object is deleted only after the transaction that forgot it is durable. A crash in between
//! leaves objects without rows, which the start-up sweep sets aside, and never rows without objects.
//!
//! This folder must not know metadata, HTTP, names, workspaces or who calls. It knows bytes, digests
//! and object keys.

mod buffers;
mod checkout;
pub mod fault;
pub mod fs;
mod gather;
pub(crate) mod hasher;
pub mod object;
mod sealed;
pub mod space;
pub mod stream;
#[cfg(test)]
mod suite;

use crate::domain::{Algorithm, Digest, ObjectKey, Timestamp, UploadId};
use async_trait::async_trait;
use std::any::Any;
pub use stream::{ByteStream, StreamError};

/// A backend that keeps blobs and uploads in progress.
///
/// # Contract
/// Every backend passes `suite.rs`, which has one test for each sentence here.
///
/// - **Uploads.** An upload exists from [`create_upload`](Self::create_upload) until it is finished
///   or cancelled; it survives a restart. Its bytes are visible to nobody.
/// - **Exclusive.** One writer at a time: [`append`](Self::append) or [`finish`](Self::finish) on an
///   upload that another call is working on is [`BlobError::Busy`] and changes nothing.
/// - **Acknowledged offsets are durable.** The offset returned by `append` survives a crash of the
///   process and of the machine. If `append` fails or its future is dropped, the upload's offset is
///   some offset between the one before and what was sent, [`upload_offset`](Self::upload_offset)
///   tells which, and the bytes up to it are the ones that were sent. Bytes are never interleaved.
/// - **Atomic finish.** `finish` either returns an object whose content has the digest and is
///   durable, or there is no new object. After a digest mismatch the upload is gone.
/// - **Keys are never reused**: the same content stored twice is two objects.
/// - **Reads** give exactly the bytes asked for or an error; a read that has begun is not disturbed
///   by a deletion on backends with open files.
/// - **Deleting** what is not there is a success, so it can be replayed.
/// - **"Could not look" is never "absent"**: [`BlobError::UnknownObject`] and
///   [`BlobError::UnknownUpload`] mean that the backend looked and there is none.
#[async_trait]
pub trait BlobStore: std::fmt::Debug + Send + Sync {
    /// Begins an upload whose bytes are hashed with `algorithm` on the way. The key of the object that it
    /// will become carries the time `now`, or a later one that was before its end.
    async fn create_upload(
        &self,
        id: UploadId,
        algorithm: Algorithm,
        now: Timestamp,
    ) -> Result<(), BlobError>;

    /// The number of bytes that are safely stored.
    async fn upload_offset(&self, id: UploadId) -> Result<u64, BlobError>;

    /// Adds bytes at the end. With `at`, fails with [`BlobError::Offset`] unless the upload is
    /// exactly that long. With `most`, fails with [`BlobError::TooLarge`] as soon as the upload would
    /// be longer than that, and keeps what came before. Returns the new offset.
    async fn append(
        &self,
        id: UploadId,
        at: Option<u64>,
        most: Option<u64>,
        body: ByteStream,
    ) -> Result<u64, BlobError>;

    /// Adds the last bytes, as [`append`](Self::append) does, but does not have to make them durable:
    /// they are promised to nobody before [`finish_last`](Self::finish_last) has returned. To drop the
    /// value is to leave the upload at an offset between the one before and what was sent. A body that
    /// does not end well is treated as `append` would.
    async fn append_last(
        &self,
        id: UploadId,
        at: Option<u64>,
        most: Option<u64>,
        body: ByteStream,
    ) -> Result<Last, BlobError> {
        let before = match at {
            Some(at) => at,
            None => self.upload_offset(id).await?,
        };
        let length = self.append(id, Some(before), most, body).await?;
        Ok(Last { id, length, before, session: Box::new(()) })
    }

    /// [`finish`](Self::finish) after [`append_last`](Self::append_last) of the same store.
    async fn finish_last(&self, last: Last, expected: &Digest) -> Result<Object, BlobError> {
        self.finish(last.id, expected).await
    }

    /// Turns an upload into an object if its content has the digest, hashing it again if `expected`
    /// has another algorithm than the upload was begun with.
    async fn finish(&self, id: UploadId, expected: &Digest) -> Result<Object, BlobError>;

    /// Ends an upload and frees its space. One that is not there has ended.
    async fn cancel_upload(&self, id: UploadId) -> Result<(), BlobError>;

    /// All uploads, in no particular order.
    async fn uploads(&self) -> Result<Vec<UploadId>, BlobError>;

    /// Opens an object for reading `length` bytes from `offset`. Fails with
    /// [`BlobError::UnknownObject`] if there is none, and with [`BlobError::Damaged`] if it is
    /// shorter than that.
    async fn read(&self, key: ObjectKey, offset: u64, length: u64) -> Result<Opened, BlobError>;

    /// The size of an object in bytes.
    async fn object_size(&self, key: ObjectKey) -> Result<u64, BlobError>;

    /// Removes an object.
    async fn delete(&self, key: ObjectKey) -> Result<(), BlobError>;

    /// At most `limit` object keys after `after`, in ascending order.
    async fn objects(
        &self,
        after: Option<ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ObjectKey>, BlobError>;

    /// Moves an object out of sight into `lost+found`, where it is kept for a while. One that is not
    /// there is out of sight.
    async fn set_aside(&self, key: ObjectKey) -> Result<(), BlobError>;

    /// Removes what was set aside before `before`; returns how many objects that were.
    async fn empty_lost_and_found(&self, before: Timestamp) -> Result<u64, BlobError>;

    /// Names beside the objects that are not this program's, as far as listing has met them.
    fn strangers(&self) -> Vec<String> {
        Vec::new()
    }

    /// Space left, if the backend has a bound.
    async fn space(&self) -> Result<Option<space::Space>, BlobError>;

    /// Reads the identity written beside the objects, if there is one.
    async fn identity(&self) -> Result<Option<Vec<u8>>, BlobError>;

    /// Writes the identity durably.
    async fn set_identity(&self, identity: &[u8]) -> Result<(), BlobError>;
}

/// An upload whose last bytes have arrived and are not durable yet. It is busy as long as this exists.
#[derive(Debug)]
pub struct Last {
    id: UploadId,
    length: u64,
    /// The length before them.
    before: u64,
    /// What the store needs to go on; only the one that made it can.
    session: Box<dyn Any + Send>,
}

impl Last {
    /// The number of bytes that have arrived, from the upload's first one on.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// How many bytes the last body had.
    #[must_use]
    pub const fn added(&self) -> u64 {
        self.length - self.before
    }
}

/// An object being read.
#[derive(Debug)]
pub struct Opened {
    /// The bytes asked for.
    pub bytes: ByteStream,
    /// A number that is another one as soon as anything has touched the object, as far as the backend
    /// can see that; `None` if it cannot.
    pub version: Option<u64>,
}

/// A finished object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its key.
    pub key: ObjectKey,
    /// Its size in bytes.
    pub size: u64,
}

/// Why a blob operation did not happen.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The body ended with an error before it was complete: the client went away or stalled.
    #[error("the upload's body broke off")]
    Body(#[source] StreamError),
    /// Another request is working on this upload.
    #[error("another request is writing to this upload")]
    Busy,
    /// The object is there but not what it should be.
    #[error("object {0} is damaged")]
    Damaged(ObjectKey),
    /// The content does not have the digest it was said to have.
    #[error("the content's digest is {actual}, not {expected}")]
    Digest {
        /// What the client said.
        expected: Digest,
        /// What was received.
        actual: Digest,
    },
    /// The disk is full.
    #[error("no space left for blobs")]
    NoSpace(#[source] std::io::Error),
    /// Requests hold as many files as they may; try again in a moment.
    #[error("too many blobs are being read and written")]
    Occupied,
    /// The upload is not as long as the caller thinks.
    #[error("the upload's next byte is {actual}, not {asked}")]
    Offset {
        /// What the caller thinks.
        asked: u64,
        /// How long it is.
        actual: u64,
    },
    /// The backend failed; the outcome for the caller is failure, the truth is read again.
    #[error("blob storage failed while it tried to {doing}")]
    Storage {
        /// What it tried to do.
        doing: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// More bytes than allowed.
    #[error("the blob is larger than {0} bytes")]
    TooLarge(u64),
    /// There is no such object.
    #[error("there is no object {0}")]
    UnknownObject(ObjectKey),
    /// There is no such upload.
    #[error("there is no upload {0}")]
    UnknownUpload(UploadId),
}

/// When something in `lost+found` was put there, by its name `<key>.<milliseconds>`. Only the one
/// spelling that is ever written counts, because what is known here is removed when it is old.
fn set_aside_at(name: &str) -> Option<Timestamp> {
    let (key, time) = name.split_once('.')?;
    key.parse::<ObjectKey>().ok()?;
    let at = Timestamp(time.parse().ok()?);
    (at.0.to_string() == time).then_some(at)
}

/// A task that panicked or was cancelled because the server is going down.
fn broken_task(error: tokio::task::JoinError) -> BlobError {
    BlobError::Storage { doing: "finish a background operation", source: Box::new(error) }
}
