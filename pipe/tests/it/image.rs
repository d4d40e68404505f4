//! Images as the engines export them.

use std::io::Write as _;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// How the daemon exports an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Engines up to 24.
    Legacy,
    /// Engines from 25, with the classic store: raw layers named by their diffID.
    Oci,
    /// The same from an engine that writes its layout wrong.
    Faulty(Fault),
    /// The containerd store: layers as they were pulled or built.
    Containerd,
}

/// What engines before 25.0.1 wrote wrong into the OCI part of their exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The index names nothing.
    Empty,
    /// The manifest has no layers.
    NoLayers,
    /// The sizes of layers are wrong.
    WrongSizes,
    /// The layers are named in another order.
    WrongOrder,
}

/// A local image.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) names: Vec<String>,
    pub(crate) layout: Layout,
    /// Raw layers, bottom first.
    pub(crate) layers: Vec<Vec<u8>>,
    pub(crate) config: Vec<u8>,
    /// `RepoDigests`.
    pub(crate) seen_as: Vec<String>,
    /// An export that is none of the above, and the ID of what is in it.
    pub(crate) given: Option<(String, Vec<u8>)>,
}

impl Image {
    pub(crate) fn new(name: &str, layout: Layout, layers: &[&[u8]]) -> Self {
        let layers: Vec<Vec<u8>> = layers.iter().map(|layer| layer.to_vec()).collect();
        let diff_ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
        // Odd spacing: the configuration must be pushed as it is, not written anew.
        let config = format!(
            r#"{{"architecture":"amd64",  "os":"linux","config":{{"Cmd":["/app"]}},"rootfs":{{"type":"layers","diff_ids":{}}}}}"#,
            json!(diff_ids)
        );
        let (names, config) = (vec![name.to_owned()], config.into_bytes());
        Self { names, layout, layers, config, seen_as: Vec::new(), given: None }
    }

    pub(crate) fn diff_ids(&self) -> Vec<String> {
        self.layers.iter().map(|layer| digest(layer)).collect()
    }

    pub(crate) fn id(&self) -> String {
        match (self.layout, &self.given) {
            (_, Some((id, _))) => id.clone(),
            (Layout::Containerd, None) => digest(&self.manifest()),
            _ => digest(&self.config),
        }
    }

    /// The layers as the containerd store has them: gzip, but not ours.
    pub(crate) fn stored(&self) -> Vec<Vec<u8>> {
        self.layers.iter().map(|layer| foreign_gzip(layer)).collect()
    }

    /// The manifest that the containerd store has.
    pub(crate) fn manifest(&self) -> Vec<u8> {
        let layers: Vec<Value> = self
            .stored()
            .iter()
            .map(|layer| {
                json!({
                    "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                    "digest": digest(layer),
                    "size": layer.len(),
                })
            })
            .collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "digest": digest(&self.config),
                "size": self.config.len(),
            },
            "layers": layers,
        });
        serde_json::to_vec_pretty(&manifest).unwrap()
    }

    pub(crate) fn export(&self) -> Vec<u8> {
        let docker = "application/vnd.docker.distribution.manifest.v2+json";
        let oci = "application/vnd.oci.image.manifest.v1+json";
        match (self.layout, &self.given) {
            (_, Some((_, tar))) => tar.clone(),
            (Layout::Legacy, _) => self.export_legacy(),
            (Layout::Oci, _) => self.export_layout(&self.layers, oci, &self.raw_manifest(None)),
            (Layout::Faulty(fault), _) => {
                self.export_layout(&self.layers, oci, &self.raw_manifest(Some(fault)))
            }
            (Layout::Containerd, _) => self.export_layout(&self.stored(), docker, &self.manifest()),
        }
    }

    /// The manifest that an engine with the classic store writes for its export.
    fn raw_manifest(&self, fault: Option<Fault>) -> Vec<u8> {
        let mut layers: Vec<Value> = self
            .layers
            .iter()
            .map(|layer| {
                let size = if fault == Some(Fault::WrongSizes) { 7 } else { layer.len() };
                let kind = "application/vnd.oci.image.layer.v1.tar";
                json!({"mediaType": kind, "digest": digest(layer), "size": size})
            })
            .collect();
        match fault {
            Some(Fault::NoLayers) => layers.clear(),
            Some(Fault::WrongOrder) => layers.reverse(),
            _ => {}
        }
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest(&self.config),
                "size": self.config.len(),
            },
            "layers": layers,
        });
        manifest.to_string().into_bytes()
    }

    /// The names of the folders, as an engine makes them: the last one depends on more than the
    /// layers (moby, image/v1/imagev1.go, `CreateID`).
    fn folders(&self) -> Vec<String> {
        let config = json!({"Hostname": "", "Domainname": "", "User": "", "AttachStdin": false,
            "AttachStdout": false, "AttachStderr": false, "Tty": false, "OpenStdin": false,
            "StdinOnce": false, "Env": null, "Cmd": null, "Image": "", "Volumes": null,
            "WorkingDir": "", "Entrypoint": null, "OnBuild": null, "Labels": null});
        let order = [
            "Hostname",
            "Domainname",
            "User",
            "AttachStdin",
            "AttachStdout",
            "AttachStderr",
            "Tty",
            "OpenStdin",
            "StdinOnce",
            "Env",
            "Cmd",
            "Image",
            "Volumes",
            "WorkingDir",
            "Entrypoint",
            "OnBuild",
            "Labels",
        ];
        let config: Vec<String> =
            order.iter().map(|name| format!("\"{name}\":{}", config[*name])).collect();
        let config = format!("{{{}}}", config.join(","));
        let (mut chain, mut names) = (String::new(), Vec::<String>::new());
        for (index, diff_id) in self.diff_ids().iter().enumerate() {
            chain = match index {
                0 => diff_id.clone(),
                _ => digest(format!("{chain} {diff_id}").as_bytes()),
            };
            let more = match names.last() {
                Some(parent) => format!(",\"parent\":\"sha256:{parent}\""),
                None => String::new(),
            };
            let last = if index + 1 == self.layers.len() { "\"author\":\"x\"," } else { "" };
            names.push(hex(format!(
                "{{{last}\"container_config\":{config},\"created\":\"1970-01-01T00:00:00Z\",\
                     \"layer_id\":\"{chain}\"{more}}}"
            )
            .as_bytes()));
        }
        names
    }

    /// A repeated layer is a link, which may come first.
    fn export_legacy(&self) -> Vec<u8> {
        let mut tar = Tar::new();
        let (mut paths, folders) = (Vec::new(), self.folders());
        for (index, layer) in self.layers.iter().enumerate() {
            let folder = &folders[index];
            let last = self.layers.iter().rposition(|other| other == layer).unwrap();
            tar.folder(&format!("{folder}/"));
            tar.file(&format!("{folder}/VERSION"), b"1.0");
            tar.file(&format!("{folder}/json"), b"{}");
            if last == index {
                tar.file(&format!("{folder}/layer.tar"), layer);
            } else {
                tar.link(
                    &format!("{folder}/layer.tar"),
                    &format!("../{}/layer.tar", folders[last]),
                );
            }
            paths.push(format!("{folder}/layer.tar"));
        }
        let config = format!("{}.json", hex(&self.config));
        tar.file(&config, &self.config);
        tar.file("manifest.json", &self.list(&config, &paths));
        tar.file("repositories", b"{}");
        tar.finish()
    }

    fn export_layout(&self, layers: &[Vec<u8>], kind: &str, manifest: &[u8]) -> Vec<u8> {
        let manifest = manifest.to_vec();
        let blobs: Vec<&Vec<u8>> = layers.iter().chain([&self.config, &manifest]).collect();
        let mut named: Vec<(String, &Vec<u8>)> =
            blobs.iter().map(|blob| (format!("blobs/sha256/{}", hex(blob)), *blob)).collect();
        named.sort();
        named.dedup();
        let mut tar = Tar::new();
        tar.folder("blobs/");
        tar.folder("blobs/sha256/");
        for (name, blob) in &named {
            tar.file(name, blob);
        }
        let mut manifests = vec![json!({
            "mediaType": kind, "digest": digest(&manifest), "size": manifest.len(),
            "annotations": {"org.opencontainers.image.ref.name": "latest"},
        })];
        if self.layout == Layout::Faulty(Fault::Empty) {
            manifests.clear();
        }
        let index = json!({"schemaVersion": 2, "manifests": manifests});
        tar.file("index.json", index.to_string().as_bytes());
        let config = format!("blobs/sha256/{}", hex(&self.config));
        let paths: Vec<String> =
            layers.iter().map(|layer| format!("blobs/sha256/{}", hex(layer))).collect();
        tar.file("manifest.json", &self.list(&config, &paths));
        tar.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        tar.finish()
    }

    fn list(&self, config: &str, layers: &[String]) -> Vec<u8> {
        json!([{"Config": config, "RepoTags": self.names, "Layers": layers}])
            .to_string()
            .into_bytes()
    }
}

/// A tar that is being written.
pub(crate) struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    pub(crate) fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    pub(crate) fn file(&mut self, name: &str, content: &[u8]) {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        if name.contains("..") {
            // The library writes no such name by itself.
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            return self.0.append(&header, content).unwrap();
        }
        self.0.append_data(&mut header, name, content).unwrap();
    }

    fn folder(&mut self, name: &str) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        self.0.append_data(&mut header, name, std::io::empty()).unwrap();
    }

    pub(crate) fn link(&mut self, name: &str, target: &str) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        self.0.append_link(&mut header, name, target).unwrap();
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// Content for a layer: `length` bytes that hardly shrink.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub(crate) fn foreign_gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder =
        flate2::GzBuilder::new().mtime(7).write(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(bytes))
}
