//! What must be known to go on with an upload from anywhere: the object `uploads/<uuid>`.
//!
//! It is a sealed record followed by the tail, the bytes that are too few for a part. Object stores
//! replace an object as a whole, so there is one record and no slots.

use crate::blobs::hasher::{self, Hasher};
use crate::blobs::sealed::{self, Unsealed};
use crate::domain::{Algorithm, ObjectKey};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// An upload as it was last saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) key: ObjectKey,
    pub(super) algorithm: Algorithm,
    /// All bytes, the tail's included.
    pub(super) length: u64,
    /// The multipart upload, once there is a full part.
    pub(super) multipart: Option<String>,
    /// What the store calls each part, in order.
    pub(super) parts: Vec<String>,
    /// Bytes after the last part.
    pub(super) tail: Vec<u8>,
    hash_format: String,
    hash: Vec<u8>,
}

/// The stored form. Fields are only ever added, with a new version of the seal.
#[derive(Serialize, Deserialize)]
struct Stored {
    key: [u8; 16],
    algorithm: String,
    length: u64,
    multipart: Option<String>,
    parts: Vec<String>,
    hash_format: String,
    hash: Vec<u8>,
    tail_length: u64,
    tail_checksum: u32,
}

/// Why a saved upload cannot be taken up.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    /// The record.
    #[error(transparent)]
    Record(#[from] Unsealed),
    /// The tail is not what the record says.
    #[error("the bytes after the last part are damaged")]
    Tail,
}

impl State {
    pub(super) fn new(key: ObjectKey, algorithm: Algorithm) -> Self {
        let mut state = Self {
            key,
            algorithm,
            length: 0,
            multipart: None,
            parts: Vec::new(),
            tail: Vec::new(),
            hash_format: String::new(),
            hash: Vec::new(),
        };
        state.set_hasher(&Hasher::new(algorithm));
        state
    }

    pub(super) fn set_hasher(&mut self, hasher: &Hasher) {
        hasher::FORMAT.clone_into(&mut self.hash_format);
        self.hash = hasher.save();
    }

    /// The hash of everything, or `None` if another library version saved it.
    pub(super) fn hasher(&self) -> Option<Hasher> {
        Hasher::restore(self.algorithm, &self.hash_format, &self.hash)
    }

    pub(super) fn encode(&self) -> Bytes {
        let mut bytes = sealed::seal(&Stored {
            key: *self.key.0.as_bytes(),
            algorithm: self.algorithm.as_str().to_owned(),
            length: self.length,
            multipart: self.multipart.clone(),
            parts: self.parts.clone(),
            hash_format: self.hash_format.clone(),
            hash: self.hash.clone(),
            tail_length: self.tail.len() as u64,
            tail_checksum: crc32fast::hash(&self.tail),
        });
        bytes.extend_from_slice(&self.tail);
        bytes.into()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Unusable> {
        let (stored, tail) = sealed::unseal::<Stored>(bytes)?;
        if tail.len() as u64 != stored.tail_length || crc32fast::hash(tail) != stored.tail_checksum
        {
            return Err(Unusable::Tail);
        }
        Ok(Self {
            key: ObjectKey(uuid::Uuid::from_bytes(stored.key)),
            algorithm: stored.algorithm.parse().map_err(|_| Unsealed::Broken)?,
            length: stored.length,
            multipart: stored.multipart,
            parts: stored.parts,
            tail: tail.to_vec(),
            hash_format: stored.hash_format,
            hash: stored.hash,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_saved_upload_comes_back_whole_or_not_at_all(
            length: u64,
            multipart: Option<String>,
            parts: Vec<String>,
            tail: Vec<u8>,
            at: prop::sample::Index,
        ) {
            let fresh = State::new(ObjectKey::mint(Timestamp(5)), Algorithm::Sha256);
            let state = State { length, multipart, parts, tail, ..fresh };
            let bytes = state.encode();
            prop_assert_eq!(&State::decode(&bytes).expect("just saved"), &state);
            prop_assert!(State::decode(&bytes[..at.index(bytes.len())]).is_err());
        }
    }
}
