//! Manifests made by hand, with the digests that the test computed itself.

use serde_json::{Value, json};

use crate::payload::{Payload, digest_of};

/// The bytes of a manifest and what they are.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Its media type.
    pub media_type: String,
    /// The bytes as sent.
    pub bytes: Vec<u8>,
}

impl Manifest {
    /// Any JSON under any type, for manifests that are wrong on purpose.
    #[must_use]
    pub fn of(media_type: &str, content: &Value) -> Self {
        Self { media_type: media_type.to_owned(), bytes: content.to_string().into_bytes() }
    }

    /// An image manifest over the config of [`Manifest::config`] and these layers.
    #[must_use]
    pub fn image(seed: u64, layers: &[Payload]) -> Self {
        let config = Self::config(seed, layers);
        let layers: Vec<Value> =
            layers.iter().map(|layer| descriptor(LAYER, &layer.digest(), layer.length())).collect();
        let config = descriptor(CONFIG, &digest_of(&config), config.len() as u64);
        Self::of(
            IMAGE,
            &json!({"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": layers}),
        )
    }

    /// The config blob of such an image; no two seeds share one.
    #[must_use]
    pub fn config(seed: u64, layers: &[Payload]) -> Vec<u8> {
        let layers: Vec<String> = layers.iter().map(Payload::digest).collect();
        json!({
            "architecture": "amd64", "os": "linux",
            "config": {"Labels": {"seed": seed.to_string()}},
            "rootfs": {"type": "layers", "diff_ids": layers},
        })
        .to_string()
        .into_bytes()
    }

    /// An index over these manifests, one platform each.
    #[must_use]
    pub fn index(children: &[Self]) -> Self {
        let architectures = ["amd64", "arm64", "s390x", "ppc64le"];
        let children: Vec<Value> = children
            .iter()
            .zip(architectures)
            .map(|(child, architecture)| {
                let mut entry =
                    descriptor(&child.media_type, &child.digest(), child.bytes.len() as u64);
                entry["platform"] = json!({"architecture": architecture, "os": "linux"});
                entry
            })
            .collect();
        Self::of(INDEX, &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children}))
    }

    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> String {
        digest_of(&self.bytes)
    }
}

/// A descriptor.
#[must_use]
pub fn descriptor(media_type: &str, digest: &str, size: u64) -> Value {
    json!({"mediaType": media_type, "digest": digest, "size": size})
}

/// Media type of an OCI image manifest.
pub const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an OCI image index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of an OCI image config.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of a layer.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
