//! Archives and layouts as a source: opened, looked through, and read where they lie.
//!
//! Must not know: registries.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use serde_json::json;

use super::choose::Chosen;
use super::docker::{self, Found};
use super::documents::{Descriptor, Listed};
use super::files::{Files, INDEX, LIST, Reading, digest_of_config, invalid};
use super::layout::{self, Child, Node, Part};
use super::listed::{self, Entry};
use super::{Fault, disk, location};
use crate::config::{PathKind, Platform};
use crate::error::{Error, Failure};
use crate::image::{Digest, IMAGE_INDEX, Manifest};

/// An opened archive or layout.
#[derive(Debug)]
pub(super) struct Archive {
    /// As the user would write it, without a reference.
    pub(super) label: String,
    pub(super) files: Arc<Files>,
    /// The images in it, in its order.
    pub(super) candidates: Vec<Candidate>,
    /// What follows the path in `SOURCE`.
    pub(super) reference: Option<String>,
}

/// An image in an archive.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) names: Vec<String>,
    /// Of its manifest or index, or of its configuration.
    pub(super) digest: Option<Digest>,
    written: Written,
    /// Everything in the layout that is about something.
    referrers: Arc<Vec<Part>>,
}

/// How an image is written down.
#[derive(Debug, Clone)]
enum Written {
    /// In Docker's list.
    Listed(Listed),
    /// In the index of a layout.
    Named(Descriptor),
    /// In the index of a layout, each platform by itself.
    Platforms(Vec<Descriptor>),
}

impl Archive {
    /// Opens what `text`, the value of `SOURCE` behind its first colon, names. Blocks.
    pub(super) fn open(kind: PathKind, text: &str, reading: &Reading) -> Result<Self, Error> {
        let location = location::find(kind, text)?;
        let label = format!("{}:{}", kind.word(), location.path.display());
        let opened = match kind {
            PathKind::DockerArchive | PathKind::OciArchive => {
                disk::archive(&location.path, reading)
            }
            PathKind::OciDirectory => disk::folder(&location.path),
        };
        let candidates = |files: &Files| match kind {
            PathKind::DockerArchive => from_list(files),
            PathKind::OciArchive | PathKind::OciDirectory => from_index(files),
        };
        let opened = opened.map_err(Fault::from).and_then(|files| Ok((candidates(&files)?, files)));
        let (candidates, files) = opened.map_err(|fault| fault.about(&label))?;
        let reference = location.reference;
        Ok(Self { label, files: Arc::new(files), candidates, reference })
    }
}

impl Candidate {
    /// Follows the image to its blobs; nothing large is read. Blocks.
    pub(super) fn find(&self, files: &Files, wanted: &[Platform]) -> Result<Found, Fault> {
        let root = match &self.written {
            Written::Listed(listed) => {
                return docker::listed(files, Entry::read(files, listed.clone())?, wanted);
            }
            Written::Named(descriptor) => layout::walk(files, vec![descriptor.clone()])?.pop(),
            Written::Platforms(descriptors) => {
                Some(joined(layout::walk(files, descriptors.clone())?)?)
            }
        };
        let root = root.ok_or_else(|| invalid("it is empty"))?;
        let chosen = Chosen::from(&root, wanted)?.with(&self.referrers);
        Ok(Found::Manifests(chosen))
    }
}

/// The images of Docker's list.
fn from_list(files: &Files) -> Result<Vec<Candidate>, Fault> {
    let Some(listed) = listed::entries(files)? else {
        return Err(no_list(files).into());
    };
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut known = HashSet::new();
    for listed in listed {
        // One image may be listed once for each of its names.
        if !known.insert(listed.config.clone()) {
            let same = |candidate: &&mut Candidate| match &candidate.written {
                Written::Listed(known) => known.config == listed.config,
                Written::Named(_) | Written::Platforms(_) => false,
            };
            if let Some(same) = candidates.iter_mut().find(same) {
                same.names.extend(listed.repo_tags);
            }
            continue;
        }
        let (names, digest) = (listed.repo_tags.clone(), digest_of_config(&listed.config));
        let (written, referrers) = (Written::Listed(listed), Arc::default());
        candidates.push(Candidate { names, digest, written, referrers });
    }
    Ok(candidates)
}

/// The images of an index.
fn from_index(files: &Files) -> Result<Vec<Candidate>, Fault> {
    let Some(descriptors) = layout::entries(files)? else {
        return Err(no_index(files).into());
    };
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut platforms = Vec::new();
    let referrers = Arc::new(referrers(files, &descriptors)?);
    for descriptor in descriptors {
        let (names, digest) = (descriptor.names(), descriptor.digest.clone());
        let same = |known: &&mut Candidate| known.digest.as_ref() == Some(&digest);
        if let Some(same) = candidates.iter_mut().find(same) {
            same.names.extend(
                names.into_iter().filter(|name| !same.names.contains(name)).collect::<Vec<_>>(),
            );
            continue;
        }
        if names.is_empty() && (descriptor.platform.is_some() || descriptor.attests().is_some()) {
            platforms.push(descriptor.clone());
        }
        let (digest, written) = (Some(digest), Written::Named(descriptor));
        let referrers = Arc::clone(&referrers);
        candidates.push(Candidate { names, digest, written, referrers });
        if candidates.len() > MOST_IMAGES {
            return Err(invalid(format!("{INDEX} names more than {MOST_IMAGES} images")).into());
        }
    }
    if platforms.len() > 1 && platforms.len() == candidates.len() {
        let written = Written::Platforms(platforms);
        return Ok(vec![Candidate { names: Vec::new(), digest: None, written, referrers }]);
    }
    // What is about an image goes along with it and is none.
    let is_beside = |candidate: &Candidate| {
        candidate.names.is_empty()
            && referrers.iter().any(|part| Some(&part.manifest.digest) == candidate.digest.as_ref())
    };
    if !candidates.iter().all(is_beside) {
        candidates.retain(|candidate| !is_beside(candidate));
    }
    // Some tools leave signatures and the like beside the images that they belong to.
    if candidates.iter().any(|candidate| !candidate.names.is_empty()) {
        candidates.retain(|candidate| !candidate.names.is_empty());
    }
    Ok(candidates)
}

/// The manifests in the index of a layout that are about others: signatures, bills of materials.
fn referrers(files: &Files, descriptors: &[Descriptor]) -> io::Result<Vec<Part>> {
    let children = layout::walk(files, descriptors.to_vec())?;
    let parts = children.into_iter().filter_map(|child| match child.node {
        Node::Part(part) if part.subject.is_some() => Some(*part),
        _ => None,
    });
    Ok(parts.collect())
}

/// An index of manifests that had none.
fn joined(children: Vec<Child>) -> io::Result<Child> {
    let values: Vec<_> = children.iter().map(|child| &child.descriptor.value).collect();
    let manifest = Manifest::index(IMAGE_INDEX, &values).map_err(io::Error::other)?;
    let descriptor = Descriptor::read(json!({
        "mediaType": IMAGE_INDEX, "digest": manifest.digest, "size": manifest.bytes.len(),
    }))?;
    Ok(Child { descriptor, node: Node::Index { manifest, children } })
}

fn no_list(files: &Files) -> Failure {
    if files.find(INDEX).is_some() {
        return Failure::new(format!("it has no {LIST}, so docker did not write it"))
            .hint("It looks like an archive of an OCI layout: write SOURCE=oci-archive:PATH.");
    }
    no_image(files, LIST)
}

fn no_index(files: &Files) -> Failure {
    if files.find(LIST).is_some() {
        return Failure::new(format!("it has no {INDEX}, so it is no OCI layout"))
            .hint("It looks like what docker save writes: write SOURCE=docker-archive:PATH.");
    }
    no_image(files, INDEX)
}

fn no_image(files: &Files, wanted: &str) -> Failure {
    let failure = Failure::new(format!("it has no {wanted}, so there is no image in it"));
    if files.has_folder("etc") || files.has_folder("usr") {
        return failure.hint(
            "It looks like the file system of a container, which docker export writes. \
             docker save writes an image.",
        );
    }
    failure.hint("docker save, podman save, buildah push and skopeo copy write archives of images.")
}

/// Each may be looked at, and their names are shown.
const MOST_IMAGES: usize = 1000;
