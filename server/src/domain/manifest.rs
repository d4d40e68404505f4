//! What the registry reads of a manifest. The bytes themselves are stored verbatim.
//!
//! Invariant: a [`ManifestView`] comes from one JSON object that can be read in one way only. A
//! document that two clients could take for two different things (both `layers` and `manifests`;
//! a `mediaType` that is not the Content-Type; a key twice, also in another case; bytes after the end;
//! an array for an object) is refused
//! (CVE-2021-41190 and its kin), because admission would then check something other than what is
//! pulled. Unknown fields and unknown media types are welcome.

use super::{Digest, digest::InvalidDigest};
use std::collections::HashSet;

mod json;
pub mod outline;

/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker image manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Layers of these types need not be in the registry: their bytes live elsewhere by licence.
const FOREIGN_LAYERS: [&str; 5] = [
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
];

/// Why a document is not admitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidManifest {
    /// It says both what an image says and what an index says.
    #[error("a manifest has either 'manifests' or 'layers' and 'config', not both")]
    Ambiguous,
    /// The field `mediaType` contradicts the Content-Type.
    #[error("the field mediaType is {found:?}, but the Content-Type is {expected:?}")]
    ContentType {
        /// The Content-Type.
        expected: String,
        /// The field.
        found: String,
    },
    /// A descriptor's digest is not a digest.
    #[error("{field}: {source}")]
    Digest {
        /// Where it stands.
        field: String,
        /// What is wrong with it.
        source: InvalidDigest,
    },
    /// Not JSON, a key given twice, or a field of the wrong type.
    #[error("not a manifest: {0}")]
    Json(String),
    /// A field that its media type demands is missing.
    #[error("the field {0} is missing")]
    Missing(&'static str),
    /// Docker's first manifest format, which has no content addresses of its own.
    #[error("schema 1 manifests are not supported; build with a client from this decade")]
    SchemaOne,
    /// The same digest with two sizes.
    #[error("{0} is given two different sizes")]
    TwoSizes(Digest),
    /// More descriptors than the limit.
    #[error("more than {0} descriptors")]
    TooManyDescriptors(usize),
}

/// One reference to content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The content's digest.
    pub digest: Digest,
    /// The content's size in bytes, as the manifest says.
    pub size: u64,
    /// The content's media type, as the manifest says.
    pub media_type: String,
}

/// What a manifest needs in order to be complete, and what it says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManifestView {
    /// Blobs it needs: config and distributable layers, each digest once.
    pub blobs: Vec<Descriptor>,
    /// Manifests it needs (an index's children), each digest once.
    pub children: Vec<Descriptor>,
    /// The manifest this one refers to, which need not exist.
    pub subject: Option<Descriptor>,
    /// `artifactType`, or the config's media type for an image manifest without one
    /// (distribution-spec, "Listing Referrers").
    pub artifact_type: Option<String>,
    /// The config's digest, if there is one.
    pub config: Option<Digest>,
    /// Annotations, shown in lists of referrers.
    pub annotations: Vec<(String, String)>,
}

impl ManifestView {
    /// Reads a manifest of the given Content-Type, allowing at most `most_descriptors` descriptors.
    ///
    /// # Errors
    /// [`InvalidManifest`] says what is wrong in words for the person who pushed it.
    pub fn parse(
        content_type: &str,
        bytes: &[u8],
        most_descriptors: usize,
    ) -> Result<Self, InvalidManifest> {
        let document = json::Document::parse(bytes)?;
        document.check(content_type)?;
        let count = document.layers.len() + document.manifests.len();
        if count > most_descriptors {
            return Err(InvalidManifest::TooManyDescriptors(most_descriptors));
        }
        let mut view = Self::default();
        let mut seen = Seen::default();
        if let Some(json::Exact(config)) = &document.config {
            let config = config.read("config")?;
            view.config = Some(config.digest);
            if content_type != OCI_INDEX {
                view.artifact_type = Some(config.media_type.clone());
            }
            seen.push(&mut view.blobs, config)?;
        }
        for (position, json::Exact(layer)) in document.layers.iter().enumerate() {
            let layer = layer.read(&format!("layers[{position}]"))?;
            if !FOREIGN_LAYERS.contains(&layer.media_type.as_str()) {
                seen.push(&mut view.blobs, layer)?;
            }
        }
        for (position, json::Exact(child)) in document.manifests.iter().enumerate() {
            let child = child.read(&format!("manifests[{position}]"))?;
            seen.push(&mut view.children, child)?;
        }
        if let Some(json::Exact(subject)) = &document.subject {
            view.subject = Some(subject.read("subject")?);
        }
        if let Some(artifact_type) = document.artifact_type.filter(|text| !text.is_empty()) {
            view.artifact_type = Some(artifact_type);
        }
        view.annotations = document.annotations;
        Ok(view)
    }
}

/// Digests already taken; the same content twice in one manifest is legal, with two sizes it is not.
#[derive(Default)]
struct Seen(HashSet<Digest>);

impl Seen {
    fn push(
        &mut self,
        list: &mut Vec<Descriptor>,
        descriptor: Descriptor,
    ) -> Result<(), InvalidManifest> {
        if self.0.insert(descriptor.digest) {
            list.push(descriptor);
        } else if list
            .iter()
            .any(|other| other.digest == descriptor.digest && other.size != descriptor.size)
        {
            return Err(InvalidManifest::TwoSizes(descriptor.digest));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
