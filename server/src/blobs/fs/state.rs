//! What must be known to go on with an upload after a restart: `uploads/<uuid>.state`.
//!
//! The file has two slots of one disk block each. A checkpoint overwrites the older one in place, so
//! the newer one is whole whatever happens to the write, no name changes, and making it durable is a
//! single sync. The slot with the higher sequence number counts. Invariant: a slot with a sequence
//! number above zero describes bytes that were durable before it was written.

use super::files::OpenFile;
use crate::blobs::hasher::{self, Hasher};
use crate::blobs::sealed::{self, Unsealed};
use crate::domain::{Algorithm, ObjectKey};
use serde::{Deserialize, Serialize};
use std::io;

/// Far enough apart that no disk writes both slots as one block.
const SLOT: u64 = 4096;

/// The sequence number of a new upload, of which nothing is durable yet.
pub(super) const NEVER_SYNCED: u64 = 0;

/// A checkpoint of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) key: ObjectKey,
    pub(super) algorithm: Algorithm,
    pub(super) sequence: u64,
    /// Bytes that are durable.
    pub(super) offset: u64,
    hash_format: String,
    hash: Vec<u8>,
}

/// The stored form. Fields are only ever added, with a new version of the seal.
#[derive(Serialize, Deserialize)]
struct Stored {
    key: [u8; 16],
    algorithm: String,
    sequence: u64,
    offset: u64,
    hash_format: String,
    hash: Vec<u8>,
}

impl State {
    pub(super) fn new(key: ObjectKey, algorithm: Algorithm) -> Self {
        Self {
            key,
            algorithm,
            sequence: NEVER_SYNCED,
            offset: 0,
            hash_format: hasher::FORMAT.to_owned(),
            hash: Hasher::new(algorithm).save(),
        }
    }

    /// The checkpoint that follows this one.
    pub(super) fn next(&self, offset: u64, hasher: &Hasher) -> Self {
        Self {
            key: self.key,
            algorithm: self.algorithm,
            sequence: self.sequence + 1,
            offset,
            hash_format: hasher::FORMAT.to_owned(),
            hash: hasher.save(),
        }
    }

    /// The hash of the bytes before the offset, or `None` if another library version saved it.
    pub(super) fn hasher(&self) -> Option<Hasher> {
        Hasher::restore(self.algorithm, &self.hash_format, &self.hash)
    }

    /// Writes both slots of a new file, so that later checkpoints need no new disk space.
    pub(super) fn write_first(&self, file: &impl OpenFile) -> io::Result<()> {
        let mut bytes = self.encode();
        bytes.resize(usize::try_from(2 * SLOT).expect("two blocks are a small number"), 0);
        file.write(0, &bytes)
    }

    /// Writes this checkpoint into the older slot; the caller makes it durable.
    pub(super) fn write(&self, file: &impl OpenFile) -> io::Result<()> {
        file.write(self.sequence % 2 * SLOT, &self.encode())
    }

    /// Reads the newer whole slot. `None` means that no checkpoint was ever completed.
    pub(super) fn read(file: &impl OpenFile) -> io::Result<Option<Self>> {
        let length = file.length()?.min(2 * SLOT);
        let bytes = file.read(
            0,
            usize::try_from(length).expect("two blocks are a small number"),
            Vec::new(),
        )?;
        let mut newest: Option<Self> = None;
        for slot in bytes.chunks(usize::try_from(SLOT).expect("a block is a small number")) {
            let state = match decode(slot) {
                Ok(state) => state,
                Err(Unsealed::Broken) => continue,
                Err(error @ Unsealed::Newer(_)) => return Err(io::Error::other(error)),
            };
            if newest.as_ref().is_none_or(|newest| newest.sequence < state.sequence) {
                newest = Some(state);
            }
        }
        Ok(newest)
    }

    /// As a server with another version of the hash library would have written it.
    #[cfg(test)]
    pub(super) fn of_another_library(&self) -> Self {
        Self { hash_format: "sha2-9".to_owned(), hash: vec![1, 2, 3], ..self.clone() }
    }

    fn encode(&self) -> Vec<u8> {
        sealed::seal(&Stored {
            key: *self.key.0.as_bytes(),
            algorithm: self.algorithm.as_str().to_owned(),
            sequence: self.sequence,
            offset: self.offset,
            hash_format: self.hash_format.clone(),
            hash: self.hash.clone(),
        })
    }
}

fn decode(slot: &[u8]) -> Result<State, Unsealed> {
    let (stored, _) = sealed::unseal::<Stored>(slot)?;
    Ok(State {
        key: ObjectKey(uuid::Uuid::from_bytes(stored.key)),
        algorithm: stored.algorithm.parse().map_err(|_| Unsealed::Broken)?,
        sequence: stored.sequence,
        offset: stored.offset,
        hash_format: stored.hash_format,
        hash: stored.hash,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;
    use std::os::unix::fs::FileExt as _;

    fn sample() -> (std::fs::File, State) {
        let file = tempfile::tempfile().expect("a temporary file");
        let state = State::new(ObjectKey::mint(Timestamp(1)), Algorithm::Sha512);
        state.write_first(&file).expect("written");
        (file, state)
    }

    #[test]
    fn the_newest_checkpoint_is_read_back() {
        let (file, mut state) = sample();
        let mut hasher = Hasher::new(state.algorithm);
        for offset in 1..5 {
            hasher.update(b"x");
            state = state.next(offset, &hasher);
            state.write(&file).expect("written");
            assert_eq!(State::read(&file).expect("read"), Some(state.clone()));
        }
        assert_eq!(state.hasher().expect("known").finish(), Algorithm::Sha512.hash(b"xxxx"));
        assert_eq!(file.length().expect("length"), 2 * SLOT, "a checkpoint needs no new space");
    }

    #[test]
    fn a_torn_checkpoint_leaves_the_one_before() {
        let (file, first) = sample();
        let second = first.next(9, &Hasher::new(first.algorithm));
        second.write(&file).expect("written");
        file.write_all_at(b"?", SLOT + 20).expect("written");
        assert_eq!(State::read(&file).expect("read"), Some(first));
    }

    #[test]
    fn a_file_that_lost_everything_is_no_upload() {
        let (file, _) = sample();
        file.set_length(0).expect("cut");
        assert_eq!(State::read(&file).expect("read"), None);
        file.set_length(2 * SLOT).expect("extended");
        assert_eq!(State::read(&file).expect("read"), None);
    }

    #[test]
    fn a_state_hashed_by_another_library_version_is_read_without_its_hash() {
        let (file, state) = sample();
        state.of_another_library().write(&file).expect("written");
        let read = State::read(&file).expect("read").expect("whole");
        assert!(read.hasher().is_none());
    }

    #[test]
    fn a_state_written_by_a_newer_server_is_refused_not_overwritten() {
        let (file, _) = sample();
        let mut bytes = file.read(0, 4096, Vec::new()).expect("read");
        bytes[0] = 2;
        let length = 9 + u32::from_le_bytes(bytes[1..5].try_into().expect("four bytes")) as usize;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&bytes[..5]);
        crc.update(&bytes[9..length]);
        bytes[5..9].copy_from_slice(&crc.finalize().to_le_bytes());
        file.write(0, &bytes).expect("written");
        assert!(State::read(&file).is_err());
    }
}
