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

    pub(crate) fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest(), "size": self.bytes.len() })
    }
}

/// An image of these layers with an empty config and more fields.
pub(crate) fn image(layers: &[&[u8]], more: &Value) -> Manifest {
    let layers: Vec<Value> = layers
        .iter()
        .map(|layer| descriptor("application/vnd.oci.image.layer.v1.tar", layer))
        .collect();
    let mut content = json!({
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": descriptor("application/vnd.oci.image.config.v1+json", b"{}"),
        "layers": layers,
    });
    for (key, value) in more.as_object().expect("fields") {
        content[key] = value.clone();
    }
    Manifest::of(IMAGE, &content)
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(content), "size": content.len() })
}

pub(crate) fn digest(content: &[u8]) -> String {
    Algorithm::Sha256.hash(content).to_string()
}

pub(crate) fn digest512(content: &[u8]) -> String {
    Algorithm::Sha512.hash(content).to_string()
}
