//! Doors for the fuzz targets: the saved state of an upload.

use super::state::State;

/// Reads a saved upload and writes it down again.
#[must_use]
pub fn resaved(bytes: &[u8]) -> Option<Vec<u8>> {
    let state = State::decode(bytes).ok()?;
    // What another version of the hash library saved is hashed again; nothing may panic,
    // and the result is of no interest.
    let _ = state.hasher().map(crate::blobs::hasher::Hasher::finish);
    Some(state.encode().to_vec())
}
