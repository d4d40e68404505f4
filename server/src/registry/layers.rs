//! Which stored layers have which content, for clients that hold only the content: a builder knows a
//! layer by the digest of its tar (diffID), the registry by the digest of what was pushed.
//!
//! Nothing is stored for it: the configurations of the package's images say it, and the images that
//! the package's tags lead to are the ones that a push is likely to be like.
//! Invariant: an answer comes only from an image whose configuration and manifest have equally many
//! layers, and only for blobs that this package has. Work is bounded, whatever the package holds.

use super::access::Readable;
use super::{Registry, Result};
use crate::domain::manifest::{DOCKER_MANIFEST, OCI_MANIFEST};
use crate::domain::{Digest, PackageId, Reference};
use crate::metadata::{MetadataError, Page};
use futures_util::StreamExt as _;
use serde::Deserialize;
use std::collections::{HashMap, HashSet, VecDeque};

/// The most tags whose age is compared.
const MOST_TAGS: usize = 2000;
/// The most manifests that are read, those that indexes name among them.
const MOST_MANIFESTS: usize = 64;
/// A configuration that is larger is passed over.
const LARGEST_CONFIG: u64 = 1 << 20;

/// A layer that the package has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownLayer {
    /// The digest of the tar in it.
    pub diff_id: Digest,
    /// The digest of the blob.
    pub digest: Digest,
    /// The blob's size in bytes.
    pub size: u64,
    /// The media type that an image gives it.
    pub media_type: String,
}

impl Registry {
    /// The layers of the package with these contents, as far as its latest images tell. A layer that
    /// the package has in several forms is named in each.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn known_layers(
        &self,
        access: &Readable,
        wanted: &HashSet<Digest>,
    ) -> Result<Vec<KnownLayer>> {
        let package = access.package.id;
        let mut missing = wanted.clone();
        let mut queue: VecDeque<Digest> = self.latest_manifests(package).await?.into();
        let (mut looked_at, mut known) = (HashSet::new(), HashMap::new());
        while let Some(digest) = queue.pop_front() {
            if looked_at.len() == MOST_MANIFESTS || missing.is_empty() {
                break;
            }
            if !looked_at.insert(digest) {
                continue;
            }
            let reference = Reference::Digest(digest);
            let Some(manifest) = self.metadata.manifest(package, &reference).await? else {
                continue;
            };
            let Ok(stored) = serde_json::from_slice::<Stored>(&manifest.bytes) else { continue };
            queue.extend(
                stored.manifests.iter().filter_map(|child| child.digest.parse::<Digest>().ok()),
            );
            let media_type = manifest.facts.media_type.as_str();
            if matches!(media_type, OCI_MANIFEST | DOCKER_MANIFEST) {
                for layer in self.layers_of(package, &stored).await? {
                    if wanted.contains(&layer.diff_id) {
                        missing.remove(&layer.diff_id);
                        known.entry((layer.diff_id, layer.digest)).or_insert(layer);
                    }
                }
            }
        }
        let mut known: Vec<KnownLayer> = known.into_values().collect();
        known.sort_by_key(|layer| (layer.diff_id, layer.digest));
        Ok(known)
    }

    /// What the package's tags lead to, the one that was moved last first.
    async fn latest_manifests(&self, package: PackageId) -> Result<Vec<Digest>> {
        let page = Page { after: None, limit: MOST_TAGS };
        let mut tags = self.metadata.tags(package, page).await?;
        tags.sort_by_key(|tag| std::cmp::Reverse(tag.moved.at));
        Ok(tags.into_iter().map(|tag| tag.digest).take(MOST_MANIFESTS).collect())
    }

    /// The layers of one image, those that the package does not have left out.
    async fn layers_of(&self, package: PackageId, image: &Stored) -> Result<Vec<KnownLayer>> {
        let Some(config) = image.config.as_ref().and_then(|config| config.digest.parse().ok())
        else {
            return Ok(Vec::new());
        };
        let diff_ids = self.diff_ids(package, &config).await?;
        if diff_ids.len() != image.layers.len() {
            return Ok(Vec::new());
        }
        let mut layers = Vec::new();
        for (diff_id, layer) in diff_ids.into_iter().zip(&image.layers) {
            let Ok(digest) = layer.digest.parse() else { continue };
            let there = self.metadata.blob(package, &digest).await?;
            if let Some(facts) = there.filter(|facts| !facts.damaged && facts.size == layer.size) {
                let media_type = layer.media_type.clone();
                layers.push(KnownLayer { diff_id, digest, size: facts.size, media_type });
            }
        }
        Ok(layers)
    }

    /// The diffIDs in a configuration; none if it cannot be read as one.
    async fn diff_ids(&self, package: PackageId, config: &Digest) -> Result<Vec<Digest>> {
        let facts = match self.metadata.blob(package, config).await {
            Ok(Some(facts)) if facts.size <= LARGEST_CONFIG && !facts.damaged => facts,
            Ok(_) | Err(MetadataError::NotFound) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let Ok(opened) = self.blobs.read(facts.object, 0, facts.size).await else {
            return Ok(Vec::new());
        };
        let (mut bytes, mut pieces) = (Vec::new(), opened.bytes);
        while let Some(piece) = pieces.next().await {
            let Ok(piece) = piece else { return Ok(Vec::new()) };
            bytes.extend_from_slice(&piece);
        }
        // A damaged one must not tie a layer to a content that it does not have.
        if config.algorithm().hash(&bytes) != *config {
            return Ok(Vec::new());
        }
        Ok(diff_ids_in(&bytes).unwrap_or_default())
    }
}

/// The diffIDs in the bytes of a configuration, if all of them are digests.
pub(super) fn diff_ids_in(bytes: &[u8]) -> Option<Vec<Digest>> {
    let read: Configuration = serde_json::from_slice(bytes).ok()?;
    read.rootfs.diff_ids.iter().map(|text| text.parse().ok()).collect()
}

/// A manifest, as far as this file reads it. It was admitted, so there is one way to read it.
#[derive(Deserialize)]
struct Stored {
    config: Option<Named>,
    #[serde(default)]
    layers: Vec<StoredLayer>,
    #[serde(default)]
    manifests: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    digest: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredLayer {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
}

/// An image's configuration (image-spec, config.md).
#[derive(Deserialize)]
struct Configuration {
    rootfs: RootFileSystem,
}

#[derive(Deserialize)]
struct RootFileSystem {
    diff_ids: Vec<String>,
}
