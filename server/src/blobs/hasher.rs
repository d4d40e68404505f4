//! A running hash whose state can be written down and taken up again.
//!
//! Invariant: what [`Hasher::restore`] accepts continues exactly where [`Hasher::save`] stopped.
//! The saved form is promised by the hash library within one minor version only, so it is stored
//! with [`FORMAT`]; a reader that finds another format hashes the bytes again instead.

use crate::domain::{Algorithm, Digest};
use digest::common::hazmat::{SerializableState, SerializedState};
use sha2::Digest as _;
use std::fmt;

/// Names the library and version whose saved states [`Hasher::restore`] understands.
pub(super) const FORMAT: &str = "sha2-0.11";

/// A hash in progress.
#[derive(Clone)]
pub(crate) enum Hasher {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// The hash of nothing yet.
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(sha2::Sha512::new()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Digest {
        match self {
            Self::Sha256(hash) => Digest::Sha256(hash.finalize().into()),
            Self::Sha512(hash) => Digest::Sha512(hash.finalize().into()),
        }
    }

    /// The state as bytes, in [`FORMAT`].
    pub(super) fn save(&self) -> Vec<u8> {
        match self {
            Self::Sha256(hash) => hash.serialize().to_vec(),
            Self::Sha512(hash) => hash.serialize().to_vec(),
        }
    }

    /// Takes up a saved state, or `None` if it is of another format or not a state at all.
    pub(super) fn restore(algorithm: Algorithm, format: &str, saved: &[u8]) -> Option<Self> {
        if format != FORMAT {
            return None;
        }
        match algorithm {
            Algorithm::Sha256 => restore(saved).map(Self::Sha256),
            Algorithm::Sha512 => restore(saved).map(Self::Sha512),
        }
    }
}

fn restore<H: SerializableState>(saved: &[u8]) -> Option<H> {
    let saved: SerializedState<H> = saved.try_into().ok()?;
    H::deserialize(&saved).ok()
}

impl fmt::Debug for Hasher {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Hasher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_hash_taken_up_from_its_saved_state_ends_like_one_that_never_stopped(
            content: Vec<u8>,
            split: prop::sample::Index,
        ) {
            let split = split.index(content.len() + 1);
            for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
                let mut first = Hasher::new(algorithm);
                first.update(&content[..split]);
                let mut second = Hasher::restore(algorithm, FORMAT, &first.save()).expect("just saved");
                second.update(&content[split..]);
                prop_assert_eq!(second.finish(), algorithm.hash(&content));
            }
        }

        #[test]
        fn any_bytes_are_restored_or_refused_without_panic(saved: Vec<u8>) {
            for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
                let _ = Hasher::restore(algorithm, FORMAT, &saved);
            }
        }
    }

    #[test]
    fn a_state_of_another_library_version_is_refused() {
        let saved = Hasher::new(Algorithm::Sha256).save();
        assert!(Hasher::restore(Algorithm::Sha256, FORMAT, &saved).is_some());
        assert!(Hasher::restore(Algorithm::Sha256, "sha2-0.12", &saved).is_none());
        assert!(Hasher::restore(Algorithm::Sha512, FORMAT, &saved).is_none());
    }
}
