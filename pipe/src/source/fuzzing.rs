//! Doors for the fuzz targets: what the pipe reads of a daemon, of its export and of the machine.
//!
//! A new form of source gets a door of its own beside [`docker_archive`] that also ends in
//! [`Found`]; the properties of `fuzz/src/pipe_archive.rs` then hold for it without a change.

use std::fs;
use std::io::Read;
use std::path::Path;

use super::daemon::Inspected;
use super::{Endpoint, Selected, archive, assemble, resolve};
use crate::config::DockerHosts;
use crate::image::{Blob, Image};
use crate::spool::Spool;

/// An image that was read, with the bytes of everything that would be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The layers, bottom first.
    pub layers: Vec<FoundBlob>,
    /// The configuration.
    pub config: FoundBlob,
    /// The manifest.
    pub manifest: FoundBlob,
}

/// Something that would be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundBlob {
    /// Its media type.
    pub media_type: String,
    /// Its digest, as the pipe knows it.
    pub digest: String,
    /// Its size, as the pipe knows it.
    pub size: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Reads what `docker save` writes. `diff_ids` are the layers that the daemon named beforehand; the
/// spool lies in `parent` and is gone afterwards.
pub fn docker_archive(tar: impl Read, diff_ids: &[String], parent: &Path) -> Result<Found, String> {
    let spool = Spool::create(parent).map_err(|error| error.to_string())?;
    // As `Daemon::export` does it.
    let raw: Vec<_> = diff_ids.iter().filter_map(|id| crate::image::Digest::parse(id)).collect();
    if raw.len() != diff_ids.len() {
        return Err("names a layer that is not sha256".to_owned());
    }
    let export = archive::read(tar, &spool, &raw).map_err(|error| error.to_string())?;
    let selected = Selected {
        name: "app:1".to_owned(),
        id: "sha256:0".to_owned(),
        size: 0,
        platform: "linux/amd64".to_owned(),
        diff_ids: diff_ids.to_vec(),
        tags: Vec::new(),
    };
    let image = assemble::image(export, &selected).map_err(|error| error.to_string())?;
    found(&image)
}

fn found(image: &Image) -> Result<Found, String> {
    let manifest = FoundBlob {
        media_type: image.manifest.media_type.clone(),
        digest: image.manifest.digest.to_string(),
        size: image.manifest.bytes.len() as u64,
        bytes: image.manifest.bytes.clone(),
    };
    let layers = image.layers.iter().map(blob).collect::<Result<_, _>>()?;
    Ok(Found { layers, config: blob(&image.config)?, manifest })
}

fn blob(blob: &Blob) -> Result<FoundBlob, String> {
    Ok(FoundBlob {
        media_type: blob.media_type.to_owned(),
        digest: blob.file.digest.to_string(),
        size: blob.file.size,
        bytes: fs::read(&blob.file.path).map_err(|error| error.to_string())?,
    })
}

/// A value of `DOCKER_HOST`, as it would be shown.
pub fn endpoint(text: &str) -> Result<String, String> {
    Endpoint::parse(text).map(|endpoint| endpoint.to_string())
}

/// Where a daemon is looked for.
pub fn candidates(host: Option<&str>, internal: Option<&str>, routes: &str) -> Vec<String> {
    let host = host.and_then(|host| Endpoint::parse(host).ok());
    let hosts = DockerHosts { host, internal: internal.map(str::to_owned) };
    Endpoint::candidates(&hosts, Some(routes)).iter().map(Endpoint::to_string).collect()
}

/// What a daemon says of an image: its ID, its size and its layers.
pub fn inspected(body: &[u8]) -> Option<(String, u64, Vec<String>)> {
    let image: Inspected = serde_json::from_slice(body).ok()?;
    Some((image.id, image.size, image.root.layers.unwrap_or_default()))
}

/// The local names that are like a wanted one.
pub fn near(wanted: &str, local: &[String]) -> Vec<String> {
    resolve::near(wanted, local)
}
