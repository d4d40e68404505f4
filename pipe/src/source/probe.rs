//! The readers by themselves, without a daemon and a registry: for fuzz targets, and for whoever
//! wants to know what a push would make of some bytes.
//!
//! Each call reads as a push does, into a spool inside `directory`, and returns the digests of
//! the manifests that would be pushed, the one for the tag last.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::archive::Archive;
use super::files::Reading;
use super::{Fault, Local, docker, stream};
use crate::config::{Compression, PathKind, Platform};
use crate::error::Error;
use crate::image::{Digest, Image};
use crate::progress::Progress;
use crate::spool::Spool;

/// Reads what a daemon exports for the image with this ID and these layers.
///
/// # Errors
/// As a push would end.
pub fn export(
    tar: &mut dyn Read,
    id: &str,
    diff_ids: &[String],
    directory: &Path,
) -> Result<Vec<Digest>, Error> {
    let reading = reading(directory)?;
    let (id, platform) = (id.to_owned(), Platform::new("linux", "amd64", None));
    let local =
        Local { id, platform, diff_ids: diff_ids.to_vec(), is_stored: false, seen_as: Vec::new() };
    let raw: Vec<Digest> = diff_ids.iter().filter_map(|id| Digest::parse(id)).collect();
    let read = || -> Result<Image, Fault> {
        let files = stream::read(tar, &raw, &reading)?;
        Ok(docker::exported(&files, &local, &[])?.read(&files, &reading)?)
    };
    read().map(|image| digests(&image)).map_err(|fault| fault.about("the export"))
}

/// Reads every image of an archive or a layout; `text` is a path as in `SOURCE`, behind the first
/// colon.
///
/// # Errors
/// As a push of the first image that cannot be read would end.
pub fn path(
    kind: PathKind,
    text: &str,
    platforms: &[Platform],
    directory: &Path,
) -> Result<Vec<Digest>, Error> {
    let reading = reading(directory)?;
    let archive = Archive::open(kind, text, &reading)?;
    let mut all = Vec::new();
    for candidate in &archive.candidates {
        let read = || -> Result<Image, Fault> {
            let found = candidate.find(&archive.files, platforms)?;
            found.size(&archive.files)?;
            Ok(found.read(&archive.files, &reading)?)
        };
        all.extend(digests(&read().map_err(|fault| fault.about(&archive.label))?));
    }
    Ok(all)
}

fn reading(directory: &Path) -> Result<Reading, Error> {
    let spool = Arc::new(Spool::create(directory)?);
    Ok(Reading::new(&spool, &Progress::default(), Compression::default()))
}

fn digests(image: &Image) -> Vec<Digest> {
    let manifests = image.children.iter().chain([&image.manifest]);
    manifests.map(|manifest| manifest.digest.clone()).collect()
}
