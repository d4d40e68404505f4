//! OCI layouts made by hand: as folders, as archives, and as the containerd store exports them.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::image::{Tar, digest, foreign_gzip, hex};

pub(crate) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A layout that is being put together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Store {
    /// By their hexadecimal digest.
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
    /// The entries of `index.json`.
    pub(crate) entries: Vec<Value>,
    /// The entries of Docker's `manifest.json`; no such file if there are none.
    pub(crate) list: Vec<Value>,
}

impl Store {
    /// Adds a blob and returns its descriptor.
    pub(crate) fn blob(&mut self, kind: &str, bytes: &[u8]) -> Value {
        self.blobs.insert(hex(bytes), bytes.to_vec());
        json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()})
    }

    /// Adds a document in an odd spacing: it must be pushed as it is, not written anew.
    pub(crate) fn document(&mut self, kind: &str, content: &Value) -> Value {
        let bytes = serde_json::to_vec_pretty(content).unwrap();
        self.blob(kind, &bytes)
    }

    /// Adds an image for a platform, such as `linux/arm/v7`; its layers are compressed.
    pub(crate) fn image(&mut self, platform: &str, layers: &[&[u8]]) -> Value {
        let packed: Vec<Value> =
            layers.iter().map(|layer| self.blob(LAYER, &foreign_gzip(layer))).collect();
        let diff_ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
        let mut parts = platform.split('/');
        let mut platform = json!({"os": parts.next(), "architecture": parts.next()});
        if let Some(variant) = parts.next() {
            platform["variant"] = variant.into();
        }
        let mut config = platform.clone();
        config["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
        let config = self.document(CONFIG, &config);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": packed,
        });
        let mut descriptor = self.document(IMAGE, &manifest);
        descriptor["platform"] = platform;
        descriptor
    }

    /// Adds what BuildKit attests of an image.
    pub(crate) fn attestation(&mut self, of: &Value) -> Value {
        let statement = format!(r#"{{"about":{}}}"#, of["digest"]);
        let layer = self.blob("application/vnd.in-toto+json", statement.as_bytes());
        let rootfs = json!({"type": "layers", "diff_ids": [layer["digest"]]});
        let config = json!({"architecture": "unknown", "os": "unknown", "rootfs": rootfs});
        let config = self.document(CONFIG, &config);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": [layer],
        });
        let mut descriptor = self.document(IMAGE, &manifest);
        descriptor["platform"] = json!({"architecture": "unknown", "os": "unknown"});
        descriptor["annotations"] = json!({
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": of["digest"],
        });
        descriptor
    }

    /// Adds an index of these.
    pub(crate) fn index(&mut self, children: &[&Value]) -> Value {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children});
        self.document(INDEX, &index)
    }

    /// Adds an entry to `index.json`.
    pub(crate) fn enter(&mut self, descriptor: &Value, name: Option<&str>) {
        let mut entry = descriptor.clone();
        if let Some(name) = name {
            entry["annotations"]["org.opencontainers.image.ref.name"] = name.into();
        }
        self.entries.push(entry);
    }

    /// Adds an entry to Docker's list for an image.
    pub(crate) fn list(&mut self, image: &Value, names: &[&str]) {
        let manifest = self.parsed(image);
        let path = |descriptor: &Value| {
            format!("blobs/{}", descriptor["digest"].as_str().unwrap().replace(':', "/"))
        };
        let layers: Vec<String> = manifest["layers"].as_array().unwrap().iter().map(path).collect();
        let config = path(&manifest["config"]);
        self.list.push(json!({"Config": config, "RepoTags": names, "Layers": layers}));
    }

    /// The bytes behind a descriptor.
    pub(crate) fn bytes(&self, descriptor: &Value) -> &[u8] {
        &self.blobs[&descriptor["digest"].as_str().unwrap()["sha256:".len()..]]
    }

    pub(crate) fn parsed(&self, descriptor: &Value) -> Value {
        serde_json::from_slice(self.bytes(descriptor)).unwrap()
    }

    /// Takes the content of an image away, as if it had never been fetched.
    pub(crate) fn forget(&mut self, descriptor: &Value) {
        self.blobs.remove(&descriptor["digest"].as_str().unwrap()["sha256:".len()..]);
    }

    fn top(&self) -> Vec<u8> {
        let top = json!({"schemaVersion": 2, "manifests": self.entries});
        top.to_string().into_bytes()
    }

    /// As an archive. Files come in the order of the engines: by name.
    pub(crate) fn tar(&self) -> Vec<u8> {
        let mut tar = Tar::new();
        for (hex, bytes) in &self.blobs {
            tar.file(&format!("blobs/sha256/{hex}"), bytes);
        }
        tar.file("index.json", &self.top());
        if !self.list.is_empty() {
            tar.file("manifest.json", json!(self.list).to_string().as_bytes());
        }
        tar.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        tar.finish()
    }

    /// As a folder.
    pub(crate) fn write(&self, folder: &Path) {
        let blobs = folder.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        for (hex, bytes) in &self.blobs {
            std::fs::write(blobs.join(hex), bytes).unwrap();
        }
        std::fs::write(folder.join("index.json"), self.top()).unwrap();
        std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }
}
