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
use crate::image::{Blob, Digest, IMAGE_CONFIG, Image, Manifest};
use crate::known::Wanted;
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

    /// What can be asked about it before its layers are read.
    pub(super) fn wanted(&self) -> Option<Wanted> {
        let diff_ids = self.diff_ids().iter().map(|diff_id| Digest::parse(diff_id));
        Some(Wanted {
            diff_ids: diff_ids.collect::<Option<_>>()?,
            config: self.config.digest.clone(),
            platform: self.platform(),
            seen_as: Vec::new(),
        })
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
        let layer = |(name, diff_id): (&String, &String)| {
            let known = Digest::parse(diff_id).and_then(|id| reading.known.layer(&id).cloned());
            match known {
                // What is compressed goes out as it is.
                Some(known) if files.is_raw(name)? => Ok(known),
                _ => files.layer(name, diff_id, reading),
            }
        };
        let layers: Vec<Blob> = names.iter().zip(diff_ids).map(layer).collect::<io::Result<_>>()?;
        let config = Blob::here(IMAGE_CONFIG, self.config.clone());
        let manifest = Manifest::build(&config, &layers).map_err(io::Error::other)?;
        let platform = self.platform().map(|platform| platform.to_string());
        Ok(Image::single(layers, config, manifest, platform))
    }
}

/// A list of a hundred images has a megabyte.
const LARGEST_LIST: u64 = 16 << 20;
/// Each may be looked at.
const MOST_ENTRIES: usize = 1000;
