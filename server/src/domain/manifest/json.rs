//! The JSON shape of a manifest, read strictly where reading loosely is dangerous.
//!
//! Invariant: keys that the registry acts on may stand once. Everything else is skipped unread, so
//! that vendors' fields pass.

use super::{DOCKER_INDEX, DOCKER_MANIFEST, Descriptor, InvalidManifest, OCI_INDEX, OCI_MANIFEST};
use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use std::fmt;

/// The parts of a manifest that the registry acts on. Serde's derive refuses a field given twice.
#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "schemaVersion")]
    schema_version: Option<u64>,
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    #[serde(rename = "artifactType")]
    artifact_type: Option<String>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    blobs: Option<Vec<RawDescriptor>>,
    manifests: Option<Vec<RawDescriptor>>,
    subject: Option<RawDescriptor>,
    annotations: Option<Annotations>,
    #[serde(rename = "fsLayers")]
    fs_layers: Option<IgnoredAny>,
}

/// A descriptor before its digest is checked.
#[derive(Deserialize)]
pub(super) struct RawDescriptor {
    #[serde(rename = "mediaType", default)]
    media_type: String,
    digest: String,
    size: u64,
}

impl RawDescriptor {
    pub(super) fn read(&self, field: &str) -> Result<Descriptor, InvalidManifest> {
        let digest = self
            .digest
            .parse()
            .map_err(|source| InvalidManifest::Digest { field: field.to_owned(), source })?;
        Ok(Descriptor { digest, size: self.size, media_type: self.media_type.clone() })
    }
}

/// A map of strings in the order of the document; values of other types are refused.
struct Annotations(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Annotations;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a map of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Annotations, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Annotations(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// A manifest document after the JSON is known to be unambiguous.
pub(super) struct Document {
    media_type: Option<String>,
    has_layers: bool,
    has_manifests: bool,
    pub(super) artifact_type: Option<String>,
    pub(super) config: Option<RawDescriptor>,
    pub(super) layers: Vec<RawDescriptor>,
    pub(super) manifests: Vec<RawDescriptor>,
    pub(super) subject: Option<RawDescriptor>,
    pub(super) annotations: Vec<(String, String)>,
}

impl Document {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, InvalidManifest> {
        // Serde would read an array as a struct by position, which no other client does.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(InvalidManifest::Json("expected a JSON object".to_owned()));
        }
        // `from_slice` refuses trailing bytes and nests at most 128 deep.
        let raw: Raw = serde_json::from_slice(bytes)
            .map_err(|error| InvalidManifest::Json(error.to_string()))?;
        if raw.schema_version == Some(1) || raw.fs_layers.is_some() {
            return Err(InvalidManifest::SchemaOne);
        }
        if raw.layers.is_some() && raw.blobs.is_some() {
            return Err(InvalidManifest::Ambiguous);
        }
        Ok(Self {
            media_type: raw.media_type,
            has_layers: raw.layers.is_some() || raw.config.is_some() || raw.blobs.is_some(),
            has_manifests: raw.manifests.is_some(),
            artifact_type: raw.artifact_type,
            config: raw.config,
            // The artifact manifest of OCI 1.1's release candidates says `blobs`.
            layers: raw.layers.or(raw.blobs).unwrap_or_default(),
            manifests: raw.manifests.unwrap_or_default(),
            subject: raw.subject,
            annotations: raw.annotations.map(|pairs| pairs.0).unwrap_or_default(),
        })
    }

    /// Holds the document against the Content-Type it was sent with.
    pub(super) fn check(&self, content_type: &str) -> Result<(), InvalidManifest> {
        if let Some(found) = self.media_type.as_deref().filter(|found| *found != content_type) {
            return Err(InvalidManifest::ContentType {
                expected: content_type.to_owned(),
                found: found.to_owned(),
            });
        }
        if self.has_layers && self.has_manifests {
            return Err(InvalidManifest::Ambiguous);
        }
        match content_type {
            OCI_MANIFEST | DOCKER_MANIFEST if self.has_manifests => {
                return Err(InvalidManifest::Ambiguous);
            }
            OCI_MANIFEST | DOCKER_MANIFEST if self.config.is_none() => {
                return Err(InvalidManifest::Missing("config"));
            }
            OCI_INDEX | DOCKER_INDEX if self.has_layers => return Err(InvalidManifest::Ambiguous),
            OCI_INDEX | DOCKER_INDEX if !self.has_manifests => {
                return Err(InvalidManifest::Missing("manifests"));
            }
            _ => {}
        }
        Ok(())
    }
}
