//! Doors to private parsers for the fuzz targets of `fuzz/` (feature `fuzzing`).
//!
//! Invariant: nothing here decides anything; each door only calls what the pipe calls itself.
//! Nothing but `fuzz/` may use this.

use std::collections::BTreeMap;
use std::path::Path;

pub use crate::client::fuzzing as client;
pub use crate::config::fuzzing as config;
pub use crate::recall::fuzzing as recall;
pub use crate::source::fuzzing as source;

/// A manifest with annotations.
pub fn annotated(manifest: &[u8], annotations: &BTreeMap<String, String>) -> Option<Vec<u8>> {
    let manifest = crate::image::Manifest::verbatim(String::new(), manifest.to_vec());
    crate::annotate::annotate(&manifest, annotations).ok().map(|annotated| annotated.bytes)
}

/// Adds variables to the file in which pipes share them.
pub fn share(folder: &Path, variables: &[(&str, String)]) -> std::io::Result<()> {
    crate::report::share(folder, variables)
}
