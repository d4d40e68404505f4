//! Doors for the fuzz targets: what the pipe reads of a daemon, of its export and of the machine.
//!
//! A new form of source gets a door of its own beside [`docker_archive`] that also ends in
//! [`Found`]; the properties of `fuzz/src/pipe_archive.rs` then hold for it without a change.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::daemon::{self, Inspected};
use super::engine_push::{Told, refused};
use super::files::Reading;
use super::{Endpoint, Fault, Local, docker, near as names, stream};
use crate::config::{Compression, Config, DockerHosts, Platform, Tag};
use crate::image::{Blob, Digest, Image};
use crate::progress::Progress;
use crate::spool::Spool;

pub use super::probe::path;
pub use super::relay::fuzzing as relay;
pub use crate::config::PathKind;

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

/// The configuration in an answer of an engine's builder.
pub fn configuration(answer: &[u8]) -> Option<Vec<u8>> {
    super::relay::configuration(&answer.to_vec().into()).map(|found| found.to_vec())
}

/// Reads what `docker save` writes. `diff_ids` are the layers that the daemon named beforehand; the
/// spool lies in `parent` and is gone afterwards.
pub fn docker_archive(
    mut tar: impl Read,
    diff_ids: &[String],
    parent: &Path,
) -> Result<Found, String> {
    let spool = Arc::new(Spool::create(parent).map_err(|error| error.to_string())?);
    let reading = Reading::new(&spool, &Progress::default(), Compression::default());
    // As `Daemon::export` does it.
    let raw: Vec<_> = diff_ids.iter().filter_map(|id| Digest::parse(id)).collect();
    if raw.len() != diff_ids.len() {
        return Err("names a layer that is not sha256".to_owned());
    }
    let (id, platform) = ("sha256:0".to_owned(), Platform::new("linux", "amd64", None));
    let local =
        Local { id, platform, diff_ids: diff_ids.to_vec(), is_stored: false, seen_as: Vec::new() };
    let mut read = || -> Result<Image, Fault> {
        let files = stream::read(&mut tar, &raw, &reading)?;
        Ok(docker::exported(&files, &local, &[])?.read(&files, &reading)?)
    };
    let image = read().map_err(|fault| fault.about("the export").to_string())?;
    found(&image)
}

fn found(image: &Image) -> Result<Found, String> {
    let manifest = FoundBlob {
        media_type: image.manifest.media_type.clone(),
        digest: image.manifest.digest.to_string(),
        size: image.manifest.bytes.len() as u64,
        bytes: image.manifest.bytes.clone(),
    };
    let [config] = image.configs.as_slice() else {
        return Err("is an index".to_owned());
    };
    let layers = image.layers.iter().map(blob).collect::<Result<_, _>>()?;
    Ok(Found { layers, config: blob(config)?, manifest })
}

fn blob(blob: &Blob) -> Result<FoundBlob, String> {
    Ok(FoundBlob {
        media_type: blob.media_type.clone().into_owned(),
        digest: blob.digest.to_string(),
        size: blob.size,
        bytes: blob
            .file()
            .ok_or("it is not here")?
            .read(1 << 30)
            .map_err(|error| error.to_string())?,
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
    names::images(wanted, local)
}

/// What a daemon's lines about a push come to: the digest, or why there is none and what to do.
pub fn pushed(config: &Config, lines: &str) -> Result<Option<String>, (String, Vec<String>)> {
    let mut told = Told::default();
    for line in lines.lines() {
        told.hear(line).map_err(|reason| {
            let error = refused(config, &Tag::latest(), &reason);
            (error.to_string(), error.hints())
        })?;
    }
    Ok(told.digest)
}

/// Why a daemon refused something.
pub fn reason(body: &[u8]) -> String {
    daemon::reason(body)
}

/// The names with tags in a daemon's list of images.
pub fn listed(body: &[u8]) -> Option<Vec<String>> {
    serde_json::from_slice(body).ok().map(daemon::names)
}
