//! Doors for the fuzz targets: the identity beside the blobs, notes in the database, and configurations
//! of images.

use super::audit::Written;
use super::verify::Verification;
use super::{layers, startup};
use crate::metadata::Instance;
use crate::metadata::documents::Body as _;

/// What is written beside the blobs of a database of this id and format.
#[must_use]
pub fn identity(id: uuid::Uuid, format: u32) -> Vec<u8> {
    startup::identity_of(&Instance { id, format }).unwrap_or_default()
}

/// Whether the blobs beside which these bytes stand are those of the database.
///
/// # Errors
/// What is told.
pub fn belong_together(bytes: &[u8], id: uuid::Uuid, format: u32) -> Result<(), String> {
    let judged = startup::belong_together(bytes, &Instance { id, format });
    judged.map_err(|error| error.to_string())
}

/// The note about a verification, read and written down again.
#[must_use]
pub fn verification(bytes: &[u8]) -> Option<Vec<u8>> {
    serde_json::from_slice::<Verification>(bytes).ok().and_then(|run| serde_json::to_vec(&run).ok())
}

/// The note about how far the audit log was written to files, read and written down again.
#[must_use]
pub fn written(bytes: &[u8]) -> Option<Vec<u8>> {
    Written::decode(bytes).ok().map(|place| place.encode())
}

/// The diffIDs of a configuration.
#[must_use]
pub fn layers_of(config: &[u8]) -> Option<Vec<String>> {
    layers::diff_ids_in(config).map(|found| found.iter().map(ToString::to_string).collect())
}
