//! An image out of Docker's `manifest.json`: which file is which layer, in which order.
//!
//! Every engine writes that list and the configuration right, so they are trusted where an
//! `index.json` beside them does not fit.
//! Invariant: an image comes out only if its layers are, one by one, those that the
//! configuration names; the configuration's bytes are kept as they are.
//! Must not know: tar and HTTP.

use std::io;

use super::documents::{Configuration, Listed};
use super::files::{Files, LIST, Reading, invalid};
use crate::config::Platform;
use crate::image::{Blob, IMAGE_CONFIG, Image, Manifest};
use crate::spool::SpoolFile;

/// An entry of the list whose configuration was read.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    listed: Listed,
    pub(super) config: SpoolFile,
    configuration: Configuration,
}

/// The list; none if there is no such file.
pub(super) fn entries(files: &Files) -> io::Result<Option<Vec<Listed>>> {
    let Some(bytes) = files.small(LIST, LARGEST_LIST)? else {
        return Ok(None);
    };
    let entries = Listed::read(&bytes)?;
    if entries.len() > MOST_ENTRIES {
        return Err(invalid(format!("{LIST} lists {} images", entries.len())));
    }
    Ok(Some(entries))
}

impl Entry {
    /// Reads the configuration of an entry.
    pub(super) fn read(files: &Files, listed: Listed) -> io::Result<Self> {
        let name = &listed.config;
        let missing = || invalid(format!("the configuration {name} is missing"));
        let (bytes, config) = files.config(name)?.ok_or_else(missing)?;
        let configuration = Configuration::read(&bytes, &format!("the configuration {name}"))?;
        Ok(Self { listed, config, configuration })
    }

    /// What the image runs on.
    pub(super) fn platform(&self) -> Option<Platform> {
        self.configuration.platform()
    }

    /// The digests of the raw layers, bottom first.
    pub(super) fn diff_ids(&self) -> &[String] {
        self.configuration.diff_ids()
    }

    /// Bytes of the layers, and how many of them the spool may have to hold.
    pub(super) fn size(&self, files: &Files) -> io::Result<(u64, u64)> {
        let mut names = self.listed.layers.clone();
        names.sort();
        names.dedup();
        let (mut all, mut spooled) = (0_u64, 0_u64);
        for name in &names {
            all = all.saturating_add(files.size(name));
            spooled = spooled.saturating_add(files.spooled(name)?);
        }
        Ok((all, spooled))
    }

    /// Compares every layer with the configuration and compresses what is raw.
    pub(super) fn image(&self, files: &Files, reading: &Reading) -> io::Result<Image> {
        let (names, diff_ids) = (&self.listed.layers, self.diff_ids());
        if names.len() != diff_ids.len() {
            let (there, named) = (names.len(), diff_ids.len());
            return Err(invalid(format!("{there} layers are listed, {named} expected")));
        }
        let layers = names.iter().zip(diff_ids);
        let layers: Vec<Blob> = layers
            .map(|(name, diff_id)| files.layer(name, diff_id, reading))
            .collect::<io::Result<_>>()?;
        let config = Blob { media_type: IMAGE_CONFIG.into(), file: self.config.clone() };
        let manifest = Manifest::build(&config, &layers).map_err(io::Error::other)?;
        let platform = self.platform().map(|platform| platform.to_string());
        Ok(Image::single(layers, config, manifest, platform))
    }
}

/// A list of a hundred images has a megabyte.
const LARGEST_LIST: u64 = 16 << 20;
/// Each may be looked at.
const MOST_ENTRIES: usize = 1000;
