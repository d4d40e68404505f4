//! Who is working on which upload.
//!
//! Invariant: at most one [`Checkout`] of an upload exists in this process, and dropping it, however
//! that comes about, gives the upload back. Nothing else about an upload is kept in memory between
//! calls, so there is nothing to evict: what is not checked out is read from storage.

use super::BlobError;
use crate::domain::UploadId;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The uploads that calls of this process are working on.
#[derive(Clone, Debug, Default)]
pub(super) struct Checkouts(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// The durable offset of each, once its state has been read.
    busy: HashMap<UploadId, Option<u64>>,
    /// Uploads that must not be used again and could not be removed.
    dead: HashSet<UploadId>,
}

/// The exclusive right to work on one upload.
#[derive(Debug)]
pub(super) struct Checkout {
    id: UploadId,
    owner: Checkouts,
}

impl Checkouts {
    /// Takes an upload, or says [`BlobError::Busy`]. An upload that died is unknown, unless the
    /// purpose is to remove it.
    pub(super) fn take(&self, id: UploadId, purpose: Purpose) -> Result<Checkout, BlobError> {
        let mut inner = self.lock();
        if inner.dead.contains(&id) && purpose == Purpose::Work {
            return Err(BlobError::UnknownUpload(id));
        }
        if inner.busy.contains_key(&id) {
            return Err(BlobError::Busy);
        }
        inner.busy.insert(id, None);
        Ok(Checkout { id, owner: self.clone() })
    }

    /// The durable offset of an upload that is being worked on.
    pub(super) fn offset(&self, id: UploadId) -> Option<u64> {
        self.lock().busy.get(&id).copied().flatten()
    }

    /// Whether an upload died and is still lying about.
    pub(super) fn is_dead(&self, id: UploadId) -> bool {
        self.lock().dead.contains(&id)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every critical section leaves the maps whole, so a panic elsewhere does not spoil them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an upload is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To add to it or finish it.
    Work,
    /// To end it.
    Remove,
}

impl Checkout {
    pub(super) fn id(&self) -> UploadId {
        self.id
    }

    /// Publishes the offset that is now durable.
    pub(super) fn stored(&self, offset: u64) {
        self.owner.lock().busy.insert(self.id, Some(offset));
    }

    /// Declares the upload unusable although its remains could not be removed.
    pub(super) fn bury(&self) {
        self.owner.lock().dead.insert(self.id);
    }

    /// Its remains are gone.
    pub(super) fn removed(&self) {
        self.owner.lock().dead.remove(&self.id);
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        self.owner.lock().busy.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_is_taken_once_and_given_back_by_dropping() {
        let (uploads, id) = (Checkouts::default(), UploadId::random());
        let first = uploads.take(id, Purpose::Work).expect("nobody has it");
        assert!(matches!(uploads.take(id, Purpose::Remove), Err(BlobError::Busy)));
        assert_eq!(uploads.offset(id), None);
        first.stored(7);
        assert_eq!(uploads.offset(id), Some(7));
        drop(first);
        assert_eq!(uploads.offset(id), None);
        assert!(uploads.take(id, Purpose::Work).is_ok());
    }

    #[test]
    fn a_dead_upload_can_only_be_removed() {
        let (uploads, id) = (Checkouts::default(), UploadId::random());
        uploads.take(id, Purpose::Work).expect("nobody has it").bury();
        assert!(matches!(uploads.take(id, Purpose::Work), Err(BlobError::UnknownUpload(_))));
        uploads.take(id, Purpose::Remove).expect("nobody has it").removed();
        assert!(uploads.take(id, Purpose::Work).is_ok());
    }
}
