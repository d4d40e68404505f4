//! Manifests and digests to push.

use serde_json::{Value, json};
use standpipe_server::domain::Algorithm;

/// The media type of the manifests made here.
pub(crate) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of indexes.
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A manifest with its media type.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) media_type: &'static str,
    pub(crate) bytes: Vec<u8>,
}

impl Manifest {
    pub(crate) fn of(media_type: &'static str, content: &Value) -> Self {
        Self { media_type, bytes: content.to_string().into_bytes() }
    }

    pub(crate) fn digest(&self) -> String {
        digest(&self.bytes)
    }

    pub(crate) fn digest_in(&self, algorithm: Algorithm) -> String {
        sum(algorithm, &self.bytes)
    }

    pub(crate) fn descriptor(&self) -> Value {
        self.descriptor_in(Algorithm::Sha256)
    }

    pub(crate) fn descriptor_in(&self, algorithm: Algorithm) -> Value {
        described(algorithm, self.media_type, &self.bytes)
    }
}

/// An image of these layers with an empty config and more fields.
pub(crate) fn image(layers: &[&[u8]], more: &Value) -> Manifest {
    image_in(Algorithm::Sha256, layers, more)
}

/// The same with digests of this algorithm.
pub(crate) fn image_in(algorithm: Algorithm, layers: &[&[u8]], more: &Value) -> Manifest {
    let layers: Vec<Value> = layers
        .iter()
        .map(|layer| described(algorithm, "application/vnd.oci.image.layer.v1.tar", layer))
        .collect();
    let mut content = json!({
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": described(algorithm, "application/vnd.oci.image.config.v1+json", b"{}"),
        "layers": layers,
    });
    for (key, value) in more.as_object().expect("fields") {
        content[key] = value.clone();
    }
    Manifest::of(IMAGE, &content)
}

/// An index of these manifests and more fields.
pub(crate) fn index_in(algorithm: Algorithm, children: &[&Manifest], more: &Value) -> Manifest {
    let children: Vec<Value> =
        children.iter().map(|child| child.descriptor_in(algorithm)).collect();
    let mut content = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": children });
    for (key, value) in more.as_object().expect("fields") {
        content[key] = value.clone();
    }
    Manifest::of(INDEX, &content)
}

/// A descriptor of some content.
pub(crate) fn described(algorithm: Algorithm, media_type: &str, content: &[u8]) -> Value {
    let digest = sum(algorithm, content);
    json!({ "mediaType": media_type, "digest": digest, "size": content.len() })
}

/// The digest algorithms that the registry speaks.
pub(crate) const BOTH: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

pub(crate) fn sum(algorithm: Algorithm, content: &[u8]) -> String {
    algorithm.hash(content).to_string()
}

pub(crate) fn digest(content: &[u8]) -> String {
    Algorithm::Sha256.hash(content).to_string()
}

pub(crate) fn digest512(content: &[u8]) -> String {
    Algorithm::Sha512.hash(content).to_string()
}
