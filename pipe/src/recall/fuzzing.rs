//! Doors for the fuzz targets: what is read of the manifests and configurations of a registry.

use super::{Child, Described, Document, diff_ids};
use crate::config::Platform;
use crate::image::Blob;

/// What is read of a manifest or an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// The digest of the manifest for the platform that was asked for.
    pub child: Option<String>,
    /// How the platforms of an index are shown.
    pub platforms: Vec<String>,
    /// Digest and size of the configuration and of each layer, of those that can be confirmed.
    pub blobs: Vec<(String, u64)>,
    /// How many layers there are.
    pub layers: usize,
}

/// Reads a manifest or an index.
pub fn document(bytes: &[u8], platform: &Platform) -> Option<Looked> {
    let document: Document = serde_json::from_slice(bytes).ok()?;
    let child = document.child_for(Some(platform));
    let platforms = document.manifests.iter().filter_map(Child::shown).collect();
    let layers = document.layers.len();
    let blobs = document.config.into_iter().chain(document.layers);
    let known = |blob: Blob| (blob.digest.to_string(), blob.size);
    let blobs = blobs.filter_map(Described::there).map(known).collect();
    Some(Looked { child, platforms, blobs, layers })
}

/// The diffIDs of a configuration.
pub fn layers_of(config: &[u8]) -> Option<Vec<String>> {
    diff_ids(config).map(|found| found.iter().map(ToString::to_string).collect())
}
