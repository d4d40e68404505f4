//! What Docker writes: a list of images in `manifest.json`, and from engine 25 an OCI layout in
//! the same files.
//!
//! The layout is used where it says more than the list: several platforms, or layers that are
//! stored compressed, whose manifest and digests should stay what they are. Where it does not fit
//! (engine 25.0.0), or where layers are raw and are therefore compressed by us, the list is used.
//! Must not know: where the files come from.

use std::collections::HashSet;
use std::io;

use super::choose::{self, Chosen};
use super::files::{Files, LIST, Reading, invalid};
use super::layout::{self, Child, Node};
use super::listed::{self, Entry};
use super::{Fault, Local};
use crate::config::Platform;
use crate::image::{Digest, Image};
use crate::known::Wanted;

/// An image, ready to be read.
#[derive(Debug)]
pub(super) enum Found {
    /// By manifests of an OCI layout.
    Manifests(Chosen),
    /// By Docker's list.
    Listed(Box<Entry>),
}

impl Found {
    /// Bytes to be read, and how many of them the spool may have to hold.
    pub(super) fn size(&self, files: &Files) -> io::Result<(u64, u64)> {
        match self {
            Self::Manifests(chosen) => Ok((chosen.size(), 0)),
            Self::Listed(entry) => entry.size(files),
        }
    }

    /// What can be asked about it before its layers are read.
    pub(super) fn wanted(&self) -> Option<Wanted> {
        match self {
            Self::Manifests(_) => None,
            Self::Listed(entry) => entry.wanted(),
        }
    }

    /// Reads the blobs and compares them with what names them.
    pub(super) fn read(&self, files: &Files, reading: &Reading) -> io::Result<Image> {
        match self {
            Self::Manifests(chosen) => chosen.read(files, reading),
            Self::Listed(entry) => entry.image(files, reading),
        }
    }
}

/// The image that a daemon was asked to export.
pub(super) fn exported(files: &Files, local: &Local, wanted: &[Platform]) -> Result<Found, Fault> {
    let roots = roots(files)?;
    // The containerd store calls an image by its manifest or index.
    let named = roots.iter().find(|root| root.descriptor.digest.as_str() == local.id);
    // The first thing that is wrong, should nothing fit.
    let mut odd = None;
    match named.map(|root| (root, &root.node)) {
        Some((root, Node::Part(_) | Node::Index { .. })) => match Chosen::from(root, wanted) {
            Ok(chosen) => return Ok(Found::Manifests(chosen)),
            // The list knows no platforms.
            Err(failure) if !wanted.is_empty() => return Err(failure.into()),
            Err(failure) => odd = Some(Fault::from(failure)),
        },
        Some((_, Node::Broken(why))) => odd = Some(invalid(why.clone()).into()),
        Some((_, Node::Missing(what))) => odd = Some(invalid(format!("{what} is missing")).into()),
        None => {}
    }
    let Some(list) = listed::entries(files)? else {
        return Err(odd.unwrap_or_else(|| invalid(format!("it has no {LIST}")).into()));
    };
    for listed in list {
        match Entry::read(files, listed) {
            Ok(entry) if entry.config.digest.as_str() == local.id => {
                return choose(&roots, entry, wanted);
            }
            Ok(entry) if entry.diff_ids() == local.diff_ids => {
                return choose(&roots, entry, wanted);
            }
            Ok(_) => {}
            Err(error) => odd = odd.or(Some(error.into())),
        }
    }
    Err(odd.unwrap_or_else(|| invalid(NOT_LISTED).into()))
}

/// The image of an entry of the list.
pub(super) fn listed(files: &Files, entry: Entry, wanted: &[Platform]) -> Result<Found, Fault> {
    choose(&roots(files)?, entry, wanted)
}

fn choose(roots: &[Child], entry: Entry, wanted: &[Platform]) -> Result<Found, Fault> {
    if let Some(root) = roots.iter().find(|root| is_better(root, &entry.config.digest)) {
        return Ok(Found::Manifests(Chosen::from(root, wanted)?));
    }
    choose::fits(wanted, entry.platform().as_ref())?;
    Ok(Found::Listed(Box::new(entry)))
}

/// Whether a root of the layout says more of the image with this configuration than the list.
fn is_better(root: &Child, config: &Digest) -> bool {
    match (&root.node, root.part_of(config)) {
        (Node::Index { .. }, part) => part.is_some(),
        (Node::Part(_), Some(part)) => !part.raw,
        _ => false,
    }
}

/// The layout beside the list. If it cannot be read, the list is enough.
fn roots(files: &Files) -> io::Result<Vec<Child>> {
    let entries = match layout::entries(files) {
        Ok(entries) => entries.unwrap_or_default(),
        Err(error) => {
            tracing::debug!("the layout is not used: {error}");
            Vec::new()
        }
    };
    let mut seen = HashSet::new();
    let once = entries.into_iter().filter(|entry| seen.insert(entry.digest.clone()));
    layout::walk(files, once.collect())
}

const NOT_LISTED: &str = "no configuration in it has the layers that the daemon names";
