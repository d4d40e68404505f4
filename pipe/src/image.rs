//! An image as it is pushed: digests, blobs in files, and the manifests that name them.
//!
//! Invariant: a [`Digest`] is well-formed, so it can be a file name and a part of a URL; the
//! bytes of a manifest are a function of what it names.
//! Must not know: daemons, archives, registries.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::spool::SpoolFile;

/// `sha256:` and 64 lower case hexadecimal digits (image-spec, "Digests").
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    /// Reads `sha256:<hex>`; anything else is none.
    pub fn parse(text: &str) -> Option<Self> {
        Self::from_hex(text.strip_prefix("sha256:")?)
    }

    /// Reads the hexadecimal part.
    pub fn from_hex(hex: &str) -> Option<Self> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (hex.len() == 64 && hex.bytes().all(digit)).then(|| Self(format!("sha256:{hex}")))
    }

    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hashing = Hashing::default();
        hashing.update(bytes);
        hashing.finish().0
    }

    /// `sha256:<hex>`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hexadecimal part.
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }

    /// The first twelve hexadecimal digits, as Docker shows an ID.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Whether a text is a digest of any algorithm (image-spec, descriptor.md, "Digests").
pub(crate) fn is_digest(text: &str) -> bool {
    let Some((algorithm, encoded)) = text.split_once(':') else { return false };
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut parts = algorithm.split(['+', '.', '_', '-']);
    let encoded_as = |c: char| c.is_ascii_alphanumeric() || "=_-".contains(c);
    parts.all(|part| !part.is_empty() && part.chars().all(word))
        && !encoded.is_empty()
        && encoded.chars().all(encoded_as)
}

/// Hashes and counts bytes as they pass.
#[derive(Default)]
pub(crate) struct Hashing {
    hash: Sha256,
    size: u64,
}

impl Hashing {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
    }

    /// The digest and the number of bytes.
    pub(crate) fn finish(self) -> (Digest, u64) {
        let hex: String = self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        (Digest(format!("sha256:{hex}")), self.size)
    }
}

/// A layer or a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) media_type: Cow<'static, str>,
    pub(crate) digest: Digest,
    /// In bytes.
    pub(crate) size: u64,
    /// Bytes of the raw layer, where it was compressed here.
    pub(crate) raw: Option<u64>,
    pub(crate) place: Place,
}

/// Where the content of a blob is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// On disk, ready to be sent.
    Here(SpoolFile),
    /// In the registry, which was asked; it was not read here.
    There(There),
}

/// How a blob that is not sent came to be in the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum There {
    /// It was there.
    Exists,
    /// The registry took it over from this repository.
    Mounted(String),
}

impl Blob {
    /// One whose content is on disk.
    pub(crate) fn here(media_type: impl Into<Cow<'static, str>>, file: SpoolFile) -> Self {
        let (digest, size) = (file.digest.clone(), file.size);
        Self { media_type: media_type.into(), digest, size, raw: None, place: Place::Here(file) }
    }

    /// Its content, if that is on disk.
    pub(crate) fn file(&self) -> Option<&SpoolFile> {
        match &self.place {
            Place::Here(file) => Some(file),
            Place::There(_) => None,
        }
    }
}

/// A manifest: its exact bytes and what they hash to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) media_type: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: Digest,
}

impl Manifest {
    /// Keeps the bytes of a manifest that exists already.
    pub(crate) fn verbatim(media_type: String, bytes: Vec<u8>) -> Self {
        let digest = Digest::of(&bytes);
        Self { media_type, bytes, digest }
    }

    /// Writes an OCI image manifest (image-spec, manifest.md). The order of the fields is that
    /// of the structs below, so equal images give equal bytes.
    pub(crate) fn build(config: &Blob, layers: &[Blob]) -> Result<Self, serde_json::Error> {
        let content = ImageManifest {
            schema_version: 2,
            media_type: IMAGE_MANIFEST,
            config: Descriptor::of(config),
            layers: layers.iter().map(Descriptor::of).collect(),
        };
        Ok(Self::verbatim(IMAGE_MANIFEST.to_owned(), serde_json::to_vec(&content)?))
    }

    /// Writes an image index (image-spec, image-index.md) that names manifests by the
    /// descriptors given. `media_type` is that of an OCI index or of Docker's manifest list.
    pub(crate) fn index(
        media_type: &str,
        descriptors: &[&Value],
    ) -> Result<Self, serde_json::Error> {
        let content = ImageIndex { schema_version: 2, media_type, manifests: descriptors };
        Ok(Self::verbatim(media_type.to_owned(), serde_json::to_vec(&content)?))
    }
}

/// What goes under a tag, complete: the image of one platform, or an index of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    /// Layers of all platforms, and the content of attestations.
    pub(crate) layers: Vec<Blob>,
    /// Configurations of all platforms.
    pub(crate) configs: Vec<Blob>,
    /// The manifests that `manifest` names, those that others name before these. None for the
    /// image of one platform.
    pub(crate) children: Vec<Manifest>,
    /// The manifest or index that goes under the tag.
    pub(crate) manifest: Manifest,
    /// What Docker calls the image ID: the digest of the configuration. An index has none.
    pub(crate) id: Option<Digest>,
    /// `os/architecture` of each platform.
    pub(crate) platforms: Vec<String>,
}

impl Image {
    /// The image of one platform.
    pub(crate) fn single(
        layers: Vec<Blob>,
        config: Blob,
        manifest: Manifest,
        platform: Option<String>,
    ) -> Self {
        let id = Some(config.digest.clone());
        let platforms = platform.into_iter().collect();
        Self { layers, configs: vec![config], children: Vec::new(), manifest, id, platforms }
    }

    /// `os/architecture`, where that is one.
    pub(crate) fn platform(&self) -> Option<String> {
        match self.platforms.as_slice() {
            [one] => Some(one.clone()),
            _ => None,
        }
    }

    /// When the image was built, as its configuration says (image-spec, config.md, "created"). The
    /// platforms of an index may differ in it.
    pub(crate) fn created(&self) -> Option<String> {
        #[derive(serde::Deserialize)]
        struct Created {
            created: Option<String>,
        }
        let [config] = self.configs.as_slice() else {
            return None;
        };
        let bytes = config.file()?.read(LARGEST_CONFIG).ok()?;
        serde_json::from_slice::<Created>(&bytes).ok()?.created
    }
}

const LARGEST_CONFIG: u64 = 4 << 20;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ImageManifest<'a> {
    schema_version: u8,
    media_type: &'static str,
    config: Descriptor<'a>,
    layers: Vec<Descriptor<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ImageIndex<'a> {
    schema_version: u8,
    media_type: &'a str,
    manifests: &'a [&'a Value],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor<'a> {
    media_type: &'a str,
    digest: &'a Digest,
    size: u64,
}

impl<'a> Descriptor<'a> {
    fn of(blob: &'a Blob) -> Self {
        Self { media_type: &blob.media_type, digest: &blob.digest, size: blob.size }
    }
}

pub(crate) const IMAGE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const IMAGE_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub(crate) const LAYER_RAW: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(media_type: &'static str, content: &[u8]) -> Blob {
        let size = content.len() as u64;
        let file = SpoolFile { path: "none".into(), offset: 0, digest: Digest::of(content), size };
        Blob::here(media_type, file)
    }

    #[test]
    fn a_digest_is_sha256_in_lower_case() {
        let hex = "a".repeat(64);
        assert!(Digest::parse(&format!("sha256:{hex}")).is_some());
        for wrong in [hex.as_str(), "sha256:../../etc", "sha512:aa", &"A".repeat(64), ""] {
            assert_eq!(Digest::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_bytes_of_a_manifest_are_fixed() {
        let manifest = Manifest::build(&blob(IMAGE_CONFIG, b"{}"), &[blob(LAYER_GZIP, b"x")]);
        let expected = concat!(
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","#,
            r#""config":{"mediaType":"application/vnd.oci.image.config.v1+json","#,
            r#""digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","#,
            r#""size":2},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","#,
            r#""digest":"sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","#,
            r#""size":1}]}"#,
        );
        let manifest = manifest.unwrap();
        assert_eq!(String::from_utf8(manifest.bytes).unwrap(), expected);
        assert_eq!(manifest.digest, Digest::of(expected.as_bytes()));
    }
}
