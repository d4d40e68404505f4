//! What people are shown of a manifest: its parts in order, with what is said about each.
//!
//! Invariant: it is read of bytes that were admitted, so it never decides anything; what cannot be
//! read is left out. Texts are cut, because a page is not the place for megabytes of them.

use crate::domain::Digest;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The longest text that is shown, in characters.
const LONGEST: usize = 1_000;
/// The most annotations that are shown of one thing.
const MOST_ANNOTATIONS: usize = 100;

/// A manifest as people see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// The layers, or an artifact's blobs, in order.
    pub layers: Vec<Part>,
    /// The manifests of an index, in order.
    pub manifests: Vec<Part>,
    /// The config.
    pub config: Option<Part>,
    /// The annotations.
    pub annotations: Vec<(String, String)>,
}

/// A part of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
    /// The platform it is for, such as `linux/arm64/v8`.
    pub platform: Option<String>,
    /// The annotations on it.
    pub annotations: Vec<(String, String)>,
}

impl Part {
    /// Whether it is BuildKit's attestation of another part (which has no platform).
    #[must_use]
    pub fn is_attestation(&self) -> bool {
        self.annotation("vnd.docker.reference.type") == Some("attestation-manifest")
    }

    /// The value of an annotation.
    #[must_use]
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    layers: Vec<RawPart>,
    #[serde(default)]
    blobs: Vec<RawPart>,
    #[serde(default)]
    manifests: Vec<RawPart>,
    config: Option<RawPart>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct RawPart {
    #[serde(rename = "mediaType", default)]
    media_type: String,
    digest: String,
    #[serde(default)]
    size: u64,
    platform: Option<RawPlatform>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct RawPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
    #[serde(rename = "os.version", default)]
    os_version: String,
}

impl Outline {
    /// Reads a manifest that was admitted; `None` if it has another shape than these are known to have.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let raw: Raw = serde_json::from_slice(bytes).ok()?;
        let parts = |all: Vec<RawPart>| all.into_iter().filter_map(Part::read).collect();
        Some(Self {
            layers: parts(if raw.layers.is_empty() { raw.blobs } else { raw.layers }),
            manifests: parts(raw.manifests),
            config: raw.config.and_then(Part::read),
            annotations: annotations(raw.annotations),
        })
    }

    /// The platforms of an index, in order and each once, without attestations.
    #[must_use]
    pub fn platforms(&self) -> Vec<&str> {
        let mut found: Vec<&str> = Vec::new();
        for part in self.manifests.iter().filter(|part| !part.is_attestation()) {
            if let Some(platform) = part.platform.as_deref()
                && !found.contains(&platform)
            {
                found.push(platform);
            }
        }
        found
    }
}

impl Part {
    fn read(raw: RawPart) -> Option<Self> {
        Some(Self {
            digest: raw.digest.parse().ok()?,
            size: raw.size,
            media_type: cut(&raw.media_type),
            platform: raw.platform.and_then(RawPlatform::read),
            annotations: annotations(raw.annotations.unwrap_or_default()),
        })
    }
}

impl RawPlatform {
    fn read(self) -> Option<String> {
        platform(&self.os, &self.architecture, &self.variant, &self.os_version)
    }
}

/// A platform as one text.
#[must_use]
pub fn platform(os: &str, architecture: &str, variant: &str, os_version: &str) -> Option<String> {
    if os.is_empty() && architecture.is_empty() {
        return None;
    }
    let mut text = format!("{os}/{architecture}");
    if !variant.is_empty() {
        text = format!("{text}/{variant}");
    }
    if !os_version.is_empty() {
        text = format!("{text} ({os_version})");
    }
    Some(cut(&text))
}

fn annotations(all: BTreeMap<String, String>) -> Vec<(String, String)> {
    let pairs = all.into_iter().take(MOST_ANNOTATIONS);
    pairs.map(|(key, value)| (cut(&key), cut(&value))).collect()
}

/// A text as it is shown.
#[must_use]
pub fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_tells_its_platforms_and_not_its_attestations() {
        let digest = crate::domain::Algorithm::Sha256.hash(b"x");
        let text = format!(
            r#"{{"manifests":[
                {{"digest":"{digest}","size":1,"platform":{{"os":"linux","architecture":"arm64","variant":"v8"}}}},
                {{"digest":"{digest}","size":1,"platform":{{"os":"linux","architecture":"amd64"}}}},
                {{"digest":"{digest}","size":1,"platform":{{"os":"unknown","architecture":"unknown"}},
                  "annotations":{{"vnd.docker.reference.type":"attestation-manifest"}}}}]}}"#
        );
        let outline = Outline::read(text.as_bytes()).unwrap();
        assert_eq!(outline.platforms(), ["linux/arm64/v8", "linux/amd64"]);
        assert_eq!(outline.manifests.len(), 3);
    }

    #[test]
    fn a_long_text_is_cut_between_letters() {
        let shown = cut(&"ü".repeat(2_000));
        assert_eq!(shown.chars().count(), LONGEST + 1);
        assert!(Outline::read(b"[]").is_none());
    }
}
