//! One upload, checked out: the parts that the store has, the tail that it has not, and the hash.
//!
//! The bytes go up under the object's final key, since object stores cannot rename. A part counts
//! once the saved state names it; one that was sent but not saved is sent again under its number.
//! The state is replaced only if it is still the one that was read, so that two servers that work on
//! one upload cannot both go on: the second is told [`BlobError::Busy`].

use super::state::State;
use super::{Shared, Store, storage};
use crate::blobs::checkout::{Checkout, Purpose};
use crate::blobs::hasher::Hasher;
use crate::blobs::{BlobError, Object};
use crate::domain::{Algorithm, Digest, ObjectKey, Timestamp, UploadId};
use futures_util::TryStreamExt as _;
use object_store::multipart::PartId;
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt as _, PutMode, PutOptions, UpdateVersion};
use std::sync::Arc;

/// Bytes sent between two saves of the state of a long body.
#[cfg(not(test))]
const CHECKPOINT: u64 = 64 << 20;
/// Small enough that crashes between two of them are cheap to test.
#[cfg(test)]
const CHECKPOINT: u64 = 40 << 10;

/// The most parts that S3 takes.
const MOST_PARTS: usize = 10_000;

/// An upload that this call alone works on.
#[derive(Debug)]
pub(super) struct Session<S> {
    shared: Arc<Shared<S>>,
    checkout: Checkout,
    /// The upload as it is; saved up to `saved`.
    state: State,
    hasher: Hasher,
    saved: u64,
    /// The saved state's version.
    version: UpdateVersion,
}

/// Begins an upload.
pub(super) async fn create<S: Store>(
    shared: &Shared<S>,
    id: UploadId,
    algorithm: Algorithm,
    now: Timestamp,
) -> Result<(), BlobError> {
    let state = State::new(ObjectKey::mint(now), algorithm).encode();
    let new = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    let put = shared.store.put_opts(&shared.upload(id), state.into(), new).await;
    put.map(drop).map_err(|error| storage("begin an upload", error))
}

/// Reads the saved state.
pub(super) async fn look<S: Store>(
    shared: &Shared<S>,
    id: UploadId,
) -> Result<(State, UpdateVersion), BlobError> {
    let failed = |error| match error {
        Error::NotFound { .. } => BlobError::UnknownUpload(id),
        error => storage("read an upload's state", error),
    };
    let found = shared.store.get(&shared.upload(id)).await.map_err(failed)?;
    let version =
        UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
    let bytes = found.bytes().await.map_err(failed)?;
    match State::decode(&bytes) {
        Ok(state) => Ok((state, version)),
        Err(error) => {
            Err(BlobError::Storage { doing: "read an upload's state", source: error.into() })
        }
    }
}

/// Ends an upload; one that is not there is ended.
pub(super) async fn cancel<S: Store>(shared: &Shared<S>, id: UploadId) -> Result<(), BlobError> {
    let _checkout = shared.checkouts.take(id, Purpose::Remove)?;
    match look(shared, id).await {
        Ok((state, _)) => remove(shared, id, &state).await,
        Err(BlobError::UnknownUpload(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes the parts, then the state that knows them.
async fn remove<S: Store>(
    shared: &Shared<S>,
    id: UploadId,
    state: &State,
) -> Result<(), BlobError> {
    if let Some(multipart) = &state.multipart {
        let aborted = shared.store.abort_multipart(&shared.object(state.key), multipart).await;
        // Stores differ in what they say of an upload that was completed or aborted before; its
        // parts are theirs to keep either way, and lifecycle rules end what was missed.
        if let Err(error) = aborted {
            tracing::debug!(error = %error, upload.id = %id, "could not abort a multipart upload");
        }
    }
    shared.delete(&shared.upload(id)).await.map_err(|error| storage("remove an upload", error))
}

impl<S: Store> Session<S> {
    /// Checks an upload out, as it was last saved.
    pub(super) async fn load(shared: &Arc<Shared<S>>, id: UploadId) -> Result<Self, BlobError> {
        let checkout = shared.checkouts.take(id, Purpose::Work)?;
        let (state, version) = look(shared, id).await?;
        let Some(hasher) = state.hasher() else {
            // The parts of an unfinished upload cannot be read back, so they cannot be hashed again.
            tracing::warn!(upload.id = %id, "removed an upload that a server with another hash library began");
            remove(shared, id, &state).await?;
            return Err(BlobError::UnknownUpload(id));
        };
        let saved = state.length;
        Ok(Self { shared: Arc::clone(shared), checkout, state, hasher, saved, version })
    }

    /// Bytes taken so far.
    pub(super) fn length(&self) -> u64 {
        self.state.length
    }

    /// Adds bytes at the end. After an error the session is over and the upload is as last saved.
    pub(super) async fn write(&mut self, piece: &[u8]) -> Result<(), BlobError> {
        let mut rest = piece;
        while !rest.is_empty() {
            let wanted = self.shared.part_size.saturating_sub(self.state.tail.len());
            let (some, later) = rest.split_at(rest.len().min(wanted));
            self.hasher.update(some);
            self.state.length += some.len() as u64;
            self.state.tail.extend_from_slice(some);
            rest = later;
            if self.state.tail.len() >= self.shared.part_size {
                self.send_part().await?;
            }
        }
        if self.state.length - self.saved >= CHECKPOINT {
            self.save().await?;
        }
        Ok(())
    }

    async fn send_part(&mut self) -> Result<(), BlobError> {
        let path = self.shared.object(self.state.key);
        let number = self.state.parts.len();
        if number == MOST_PARTS {
            return Err(BlobError::TooLarge((MOST_PARTS * self.shared.part_size) as u64));
        }
        let failed = |error| storage("send a part of an upload", error);
        let store = &self.shared.store;
        let multipart = match &self.state.multipart {
            Some(multipart) => multipart.clone(),
            None => {
                let multipart = store.create_multipart(&path).await.map_err(failed)?;
                self.state.multipart.insert(multipart).clone()
            }
        };
        let tail = std::mem::take(&mut self.state.tail);
        let part = store.put_part(&path, &multipart, number, tail.into()).await.map_err(failed)?;
        self.state.parts.push(part.content_id);
        // At once for the first: the store keeps the parts of a multipart upload that nobody knows.
        if number == 0 { self.save().await } else { Ok(()) }
    }

    /// Makes what was taken durable. Costs nothing if it already is.
    pub(super) async fn save(&mut self) -> Result<(), BlobError> {
        if self.state.length == self.saved {
            return Ok(());
        }
        self.state.set_hasher(&self.hasher);
        let options =
            PutOptions { mode: PutMode::Update(self.version.clone()), ..PutOptions::default() };
        let path = self.shared.upload(self.checkout.id());
        match self.shared.store.put_opts(&path, self.state.encode().into(), options).await {
            Ok(put) => self.version = put.into(),
            Err(Error::Precondition { .. }) => return Err(BlobError::Busy),
            Err(error) => return Err(storage("write an upload's state", error)),
        }
        self.saved = self.state.length;
        Ok(())
    }

    /// Turns the upload into an object.
    pub(super) async fn finish(self, expected: &Digest) -> Result<Object, BlobError> {
        let id = self.checkout.id();
        // Bytes that lie in parts only can be read back when they are an object.
        let known = if expected.algorithm() == self.state.algorithm {
            Some(self.hasher.clone().finish())
        } else if self.state.multipart.is_none() {
            Some(expected.algorithm().hash(&self.state.tail))
        } else {
            None
        };
        if let Some(actual) = known
            && actual != *expected
        {
            remove(&self.shared, id, &self.state).await?;
            return Err(BlobError::Digest { expected: *expected, actual });
        }
        let object = Object { key: self.state.key, size: self.state.length };
        self.complete().await?;
        if known.is_none() {
            let actual = self.shared.hash_object(object, expected.algorithm()).await?;
            if actual != *expected {
                let path = self.shared.object(object.key);
                let deleted = self.shared.delete(&path).await;
                deleted
                    .map_err(|error| storage("remove an object with the wrong content", error))?;
                remove(&self.shared, id, &self.state).await?;
                return Err(BlobError::Digest { expected: *expected, actual });
            }
        }
        if let Err(error) = self.shared.delete(&self.shared.upload(id)).await {
            tracing::warn!(error = %error, upload.id = %id, "left the state of a finished upload behind");
        }
        Ok(object)
    }

    /// Makes the object, whose name is then durable.
    async fn complete(&self) -> Result<(), BlobError> {
        let path = self.shared.object(self.state.key);
        let store = &self.shared.store;
        let outcome = self.send_last(&path).await;
        // The outcome of a request that failed is unknown: it may have been carried out, now or by an
        // earlier finish that did not live to say so. What the store has under the key decides.
        let size = match store.head(&path).await {
            Ok(found) => found.size,
            Err(error) => return Err(storage("make an object", outcome.err().unwrap_or(error))),
        };
        if size == self.state.length {
            return Ok(());
        }
        let reason = format!("the object has {size} bytes instead of {}", self.state.length);
        if outcome.is_ok() {
            let deleted = self.shared.delete(&path).await;
            deleted.map_err(|error| storage("remove an object with the wrong size", error))?;
        }
        Err(BlobError::Storage { doing: "make an object", source: reason.into() })
    }

    async fn send_last(&self, path: &Path) -> object_store::Result<()> {
        let store = &self.shared.store;
        let tail = self.state.tail.clone();
        let Some(multipart) = &self.state.multipart else {
            let new = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            return store.put_opts(path, tail.into(), new).await.map(drop);
        };
        let mut parts = self.state.parts.clone();
        if !tail.is_empty() {
            parts.push(store.put_part(path, multipart, parts.len(), tail.into()).await?.content_id);
        }
        let parts = parts.into_iter().map(|content_id| PartId { content_id }).collect();
        store.complete_multipart(path, multipart, parts).await.map(drop)
    }
}

impl<S: Store> Shared<S> {
    async fn hash_object(&self, object: Object, algorithm: Algorithm) -> Result<Digest, BlobError> {
        let failed = |error| storage("hash an object again", error);
        let mut stream =
            self.store.get(&self.object(object.key)).await.map_err(failed)?.into_stream();
        let mut hasher = Hasher::new(algorithm);
        while let Some(chunk) = stream.try_next().await.map_err(failed)? {
            hasher.update(&chunk);
        }
        Ok(hasher.finish())
    }
}
