//! The JSON of OCI layouts and of Docker's list, as far as a push needs it.
//!
//! Invariant: past here a digest is a digest; fields that nobody asks for may be anything.
//! Must not know: where the bytes come from.

use std::collections::BTreeMap;
use std::io;

use serde::Deserialize;
use serde_json::Value;

use super::files::{LIST, invalid};
use crate::config::Platform;
use crate::image::{DOCKER_CONFIG, Digest, IMAGE_CONFIG};

/// A descriptor (image-spec, descriptor.md).
#[derive(Debug, Clone)]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: Digest,
    /// In bytes.
    pub(super) size: u64,
    pub(super) platform: Option<Platform>,
    pub(super) annotations: BTreeMap<String, String>,
    /// Everything, for an index that names it again.
    pub(super) value: Value,
}

/// An image index or a manifest list (image-spec, image-index.md).
#[derive(Debug)]
pub(super) struct Index {
    pub(super) media_type: Option<String>,
    pub(super) manifests: Vec<Descriptor>,
}

/// A manifest of an image or an artifact (image-spec, manifest.md).
#[derive(Debug)]
pub(super) struct ImageManifest {
    pub(super) media_type: Option<String>,
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
}

/// An entry of Docker's `manifest.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Listed {
    pub(super) config: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) layers: Vec<String>,
}

/// What a configuration says of its image (image-spec, config.md).
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Configuration {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default)]
    rootfs: RootFileSystem,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct RootFileSystem {
    #[serde(default, deserialize_with = "or_default")]
    diff_ids: Vec<String>,
}

impl Descriptor {
    pub(super) fn read(value: Value) -> io::Result<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Fields {
            #[serde(default)]
            media_type: String,
            digest: String,
            size: u64,
            #[serde(default)]
            platform: Option<PlatformFields>,
            #[serde(default, deserialize_with = "or_default")]
            annotations: BTreeMap<String, String>,
        }
        #[derive(Deserialize)]
        struct PlatformFields {
            #[serde(default)]
            os: String,
            #[serde(default)]
            architecture: String,
            #[serde(default)]
            variant: Option<String>,
        }
        let fields = Fields::deserialize(&value)
            .map_err(|error| invalid(format!("a descriptor is not readable: {error}")))?;
        let Some(digest) = Digest::parse(&fields.digest) else {
            let message = format!("{:?} is not sha256, which alone is read", fields.digest);
            return Err(invalid(message));
        };
        let platform = fields.platform.as_ref().and_then(|platform| {
            known(&platform.os, &platform.architecture, platform.variant.as_deref())
        });
        let Fields { media_type, size, annotations, .. } = fields;
        Ok(Self { media_type, digest, size, platform, annotations, value })
    }

    /// Whether it names the configuration of an image, and not that of an artifact.
    pub(super) fn is_image_config(&self) -> bool {
        matches!(self.media_type.as_str(), IMAGE_CONFIG | DOCKER_CONFIG)
    }

    /// Whether it names a layer that may not be handed on, and so may be missing.
    pub(super) fn is_foreign(&self) -> bool {
        self.media_type.contains(".nondistributable.") || self.media_type.contains(".foreign.")
    }

    /// The digest of the manifest that this one attests, if it is an attestation of BuildKit's.
    pub(super) fn attests(&self) -> Option<&str> {
        let kind = self.annotations.get("vnd.docker.reference.type")?;
        let subject = self.annotations.get("vnd.docker.reference.digest")?;
        (kind == "attestation-manifest").then_some(subject.as_str())
    }

    /// The names under which an image of a layout is known.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for key in ["io.containerd.image.name", "org.opencontainers.image.ref.name"] {
            names.extend(self.annotations.get(key).cloned());
        }
        names.dedup();
        names.retain(|name| is_plain(name));
        names
    }
}

impl Index {
    /// Reads an index. `what` names it in messages.
    pub(super) fn read(bytes: &[u8], what: &str) -> io::Result<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Fields {
            #[serde(default)]
            media_type: Option<String>,
            // The list may be empty, but an index without one is damaged (image-spec,
            // image-index.md: REQUIRED), and must not be taken for one that names nothing.
            #[serde(deserialize_with = "or_default")]
            manifests: Vec<Value>,
        }
        let fields: Fields = json(bytes, what)?;
        let manifests = fields.manifests.into_iter().map(Descriptor::read);
        Ok(Self { media_type: fields.media_type, manifests: manifests.collect::<Result<_, _>>()? })
    }
}

impl ImageManifest {
    /// Reads a manifest. `what` names it in messages.
    pub(super) fn read(bytes: &[u8], what: &str) -> io::Result<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Fields {
            #[serde(default)]
            media_type: Option<String>,
            config: Value,
            #[serde(deserialize_with = "or_default")]
            layers: Vec<Value>,
        }
        let fields: Fields = json(bytes, what)?;
        let layers = fields.layers.into_iter().map(Descriptor::read);
        Ok(Self {
            media_type: fields.media_type,
            config: Descriptor::read(fields.config)?,
            layers: layers.collect::<Result<_, _>>()?,
        })
    }
}

impl Listed {
    /// Reads `manifest.json`.
    pub(super) fn read(bytes: &[u8]) -> io::Result<Vec<Self>> {
        let mut listed: Vec<Self> = json(bytes, LIST)?;
        for entry in &mut listed {
            entry.repo_tags.retain(|name| is_plain(name));
            if !entry.layers.iter().chain([&entry.config]).all(|name| is_plain(name)) {
                return Err(invalid(format!("{LIST} names a file as no file is named")));
            }
        }
        Ok(listed)
    }
}

impl Configuration {
    /// Reads a configuration. `what` names it in messages.
    pub(super) fn read(bytes: &[u8], what: &str) -> io::Result<Self> {
        json(bytes, what)
    }

    /// The digests of the raw layers, bottom first.
    pub(super) fn diff_ids(&self) -> &[String] {
        &self.rootfs.diff_ids
    }

    /// What the image runs on, if it says so.
    pub(super) fn platform(&self) -> Option<Platform> {
        known(&self.os, &self.architecture, self.variant.as_deref())
    }
}

fn known(os: &str, architecture: &str, variant: Option<&str>) -> Option<Platform> {
    let word = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
    };
    // BuildKit gives its attestations the platform unknown/unknown.
    let given = |part: &str| word(part) && part != "unknown";
    let variant = variant.filter(|variant| word(variant));
    (given(os) && given(architecture)).then(|| Platform::new(os, architecture, variant))
}

/// Whether a name can be shown in a log.
fn is_plain(name: &str) -> bool {
    name.len() <= LONGEST_NAME && !name.contains(char::is_control)
}

/// `serde_json` ends at 128 levels, and whoever calls has bounded the size.
fn json<'a, T: Deserialize<'a>>(bytes: &'a [u8], what: &str) -> io::Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| invalid(format!("{what} is not readable: {error}")))
}

/// Go writes an empty list as `null`.
fn or_default<'a, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'a>,
    T: Default + Deserialize<'a>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

const LONGEST_NAME: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_whose_list_of_manifests_has_a_damaged_name_is_not_an_empty_index() {
        let error = Index::read(br#"{"mani ests": []}"#, "index.json").unwrap_err();
        assert!(error.to_string().contains("missing field `manifests`"), "{error}");
        for empty in [&br#"{"manifests": []}"#[..], br#"{"manifests": null}"#] {
            assert!(Index::read(empty, "index.json").unwrap().manifests.is_empty());
        }
    }
}
