//! From the files of an export to an image: which file is which layer, in which order.
//!
//! Trusted are `manifest.json` and the configuration, because every engine writes them right.
//! Invariant: an image comes out only if its layers are, one by one, those that the
//! configuration names; the configuration's bytes are kept as they are.
//! Must not know: tar and HTTP.

use serde::Deserialize;

use super::Selected;
use super::archive::{Content, Export};
use crate::error::{Error, Failure};
use crate::image::{
    Blob, DOCKER_MANIFEST, IMAGE_CONFIG, IMAGE_MANIFEST, Image, LAYER_GZIP, LAYER_ZSTD, Manifest,
};
use crate::spool::SpoolFile;

/// Builds the image that was selected out of its export.
pub(super) fn image(export: Export, selected: &Selected) -> Result<Image, Error> {
    build(&export, &selected.diff_ids).map_err(|reason| {
        let message = format!("the export of image {} cannot be used: {reason}", selected.name);
        Error::Source(Failure::new(message))
    })
}

/// An entry of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// The part of an image configuration that names the layers (image-spec, config.md).
#[derive(Debug, Deserialize)]
struct Configuration {
    rootfs: RootFileSystem,
}

#[derive(Debug, Deserialize)]
struct RootFileSystem {
    #[serde(default)]
    diff_ids: Option<Vec<String>>,
}

fn build(export: &Export, diff_ids: &[String]) -> Result<Image, String> {
    let listed: Vec<Listed> = serde_json::from_slice(&export.manifest)
        .map_err(|error| format!("manifest.json is not readable: {error}"))?;
    let (entry, config) = choose(export, listed, diff_ids)?;
    let names = entry.layers.unwrap_or_default();
    if names.len() != diff_ids.len() {
        return Err(format!("{} layers are listed, {} expected", names.len(), diff_ids.len()));
    }
    let layers: Vec<Blob> = names
        .iter()
        .zip(diff_ids)
        .map(|(name, diff_id)| layer(export, name, diff_id))
        .collect::<Result<_, _>>()?;
    let config = Blob { media_type: IMAGE_CONFIG, file: config };
    let manifest = match original_manifest(export, &config, &layers) {
        Some(manifest) => manifest,
        None => Manifest::build(&config, &layers).map_err(|error| error.to_string())?,
    };
    Ok(Image { layers, config, manifest })
}

/// The entry whose configuration has the layers that the daemon named. An export of an index
/// lists several platforms.
fn choose(
    export: &Export,
    listed: Vec<Listed>,
    diff_ids: &[String],
) -> Result<(Listed, SpoolFile), String> {
    for entry in listed {
        let Some(Content::Verbatim(file)) = export.find(&entry.config) else {
            continue;
        };
        let bytes = file.read(LARGEST_CONFIG).map_err(|error| error.to_string())?;
        let Ok(configuration) = serde_json::from_slice::<Configuration>(&bytes) else {
            continue;
        };
        if configuration.rootfs.diff_ids.unwrap_or_default() == diff_ids {
            return Ok((entry, file.clone()));
        }
    }
    Err("no configuration in it has the layers that the daemon names".to_owned())
}

fn layer(export: &Export, name: &str, diff_id: &str) -> Result<Blob, String> {
    match export.find(name) {
        Some(Content::Packed { raw, stored }) if raw.as_str() == diff_id => {
            Ok(Blob { media_type: LAYER_GZIP, file: stored.clone() })
        }
        Some(Content::Packed { raw, .. }) => {
            Err(format!("layer {name} hashes to {raw}, {diff_id} expected"))
        }
        Some(Content::Verbatim(file)) => match compression(file)? {
            Some(media_type) => Ok(Blob { media_type, file: file.clone() }),
            None => Err(format!("layer {name} is neither {diff_id} nor compressed")),
        },
        Some(Content::Link(_)) | None => Err(format!("layer {name} is missing")),
    }
}

/// The media type of a compressed layer, told by its first bytes.
fn compression(file: &SpoolFile) -> Result<Option<&'static str>, String> {
    use std::io::Read as _;

    let mut magic = Vec::new();
    let opened = file.open().map_err(|error| error.to_string())?;
    opened.take(4).read_to_end(&mut magic).map_err(|error| error.to_string())?;
    Ok(match magic.as_slice() {
        [0x1f, 0x8b, ..] => Some(LAYER_GZIP),
        [0x28, 0xb5, 0x2f, 0xfd] => Some(LAYER_ZSTD),
        _ => None,
    })
}

/// The manifest that the containerd store kept for exactly these blobs. Pushing its bytes keeps
/// the digest under which the image is known where it came from.
fn original_manifest(export: &Export, config: &Blob, layers: &[Blob]) -> Option<Manifest> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Known {
        media_type: String,
        config: Descriptor,
        layers: Vec<Descriptor>,
    }
    #[derive(Deserialize)]
    struct Descriptor {
        digest: String,
        size: u64,
    }
    let is = |descriptor: &Descriptor, file: &SpoolFile| {
        descriptor.digest == file.digest.as_str() && descriptor.size == file.size
    };
    export.verbatim().filter(|file| file.size <= LARGEST_CONFIG).find_map(|file| {
        let bytes = file.read(LARGEST_CONFIG).ok().filter(|bytes| bytes.starts_with(b"{"))?;
        let known: Known = serde_json::from_slice(&bytes).ok()?;
        let fits = matches!(known.media_type.as_str(), IMAGE_MANIFEST | DOCKER_MANIFEST)
            && is(&known.config, &config.file)
            && known.layers.len() == layers.len()
            && known.layers.iter().zip(layers).all(|(known, layer)| is(known, &layer.file));
        fits.then(|| Manifest::verbatim(known.media_type, bytes))
    })
}

/// Configurations and manifests are a few KiB; registries refuse more than 4 MiB.
const LARGEST_CONFIG: u64 = 4 << 20;
