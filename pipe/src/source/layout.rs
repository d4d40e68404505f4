//! The manifests of an OCI layout, as a tree below an entry of `index.json`.
//!
//! Nothing in it is believed: engine 25.0.0 wrote manifests without layers, with wrong sizes and
//! in a wrong order, and the containerd store exports indexes whose other platforms it never
//! had. So each manifest is held against its digest, against the configuration that it names
//! and against the blobs that are there, and what is wrong with it is noted.
//! Invariant: the tree is finite, whatever the files say.
//! Must not know: which platforms are wanted.

use std::io;

use super::documents::{Configuration, Descriptor, ImageManifest, Index};
use super::files::{Files, INDEX, LARGEST_DOCUMENT, Presence};
use crate::config::Platform;
use crate::image::{DOCKER_LIST, DOCKER_MANIFEST, Digest, IMAGE_INDEX, IMAGE_MANIFEST, Manifest};

/// A manifest and what names it.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) descriptor: Descriptor,
    pub(super) node: Node,
}

/// What a descriptor leads to.
#[derive(Debug)]
pub(super) enum Node {
    /// An image of one platform, or an artifact, with everything that it needs.
    Part(Box<Part>),
    /// An index.
    Index {
        /// As it is stored.
        manifest: Manifest,
        children: Vec<Child>,
    },
    /// It, or something that it names, is not there; the text says what.
    Missing(String),
    /// It is there and cannot be used; the text says why.
    Broken(String),
}

/// A manifest whose blobs are all there.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) manifest: Manifest,
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
    pub(super) platform: Option<Platform>,
    /// What it is about, if it is a signature or the like.
    pub(super) subject: Option<Digest>,
    /// A layer of it is not compressed.
    pub(super) raw: bool,
}

impl Child {
    /// What it runs on, by its descriptor or by its configuration.
    pub(super) fn platform(&self) -> Option<&Platform> {
        let by_config = match &self.node {
            Node::Part(part) => part.platform.as_ref(),
            Node::Index { .. } | Node::Missing(_) | Node::Broken(_) => None,
        };
        self.descriptor.platform.as_ref().or(by_config)
    }

    /// The manifests below, indexes left out; itself if it is none.
    pub(super) fn leaves(&self) -> Vec<&Self> {
        match &self.node {
            Node::Index { children, .. } => children.iter().flat_map(Self::leaves).collect(),
            _ => vec![self],
        }
    }

    /// The part whose configuration has this digest.
    pub(super) fn part_of(&self, config: &Digest) -> Option<&Part> {
        self.leaves().into_iter().find_map(|leaf| match &leaf.node {
            Node::Part(part) if part.config.digest == *config => Some(part.as_ref()),
            _ => None,
        })
    }
}

/// The entries of `index.json`; none if there is no such file.
pub(super) fn entries(files: &Files) -> io::Result<Option<Vec<Descriptor>>> {
    let bytes = files.small(INDEX, LARGEST_DOCUMENT)?;
    bytes.map(|bytes| Ok(Index::read(&bytes, INDEX)?.manifests)).transpose()
}

/// Follows descriptors down to the blobs.
pub(super) fn walk(files: &Files, roots: Vec<Descriptor>) -> io::Result<Vec<Child>> {
    let mut walk = Walk { files, manifests: MOST_MANIFESTS, bytes: MOST_BYTES };
    roots.into_iter().map(|root| walk.child(root, 0)).collect()
}

/// What may still be looked at: an index may name another one a thousand times.
struct Walk<'a> {
    files: &'a Files,
    manifests: usize,
    bytes: usize,
}

impl Walk<'_> {
    fn child(&mut self, descriptor: Descriptor, depth: usize) -> io::Result<Child> {
        let node = match self.node(&descriptor, depth) {
            Ok(node) => node,
            Err(error) if is_content(&error) => Node::Broken(error.to_string()),
            Err(error) => return Err(error),
        };
        Ok(Child { descriptor, node })
    }

    fn node(&mut self, descriptor: &Descriptor, depth: usize) -> io::Result<Node> {
        let name = format!("manifest {}", descriptor.digest.short());
        let Some(left) = self.manifests.checked_sub(1) else {
            return Ok(Node::Broken("it has more manifests than any image".to_owned()));
        };
        self.manifests = left;
        let Some(bytes) = self.files.document(&descriptor.digest)? else {
            return Ok(Node::Missing(name));
        };
        let Some(left) = self.bytes.checked_sub(bytes.len()) else {
            return Ok(Node::Broken("its manifests are larger than those of any image".to_owned()));
        };
        self.bytes = left;
        if bytes.len() as u64 != descriptor.size {
            let (named, there) = (descriptor.size, bytes.len());
            return Ok(Node::Broken(format!("{name} has {there} bytes, {named} are named")));
        }
        match kind(&descriptor.media_type) {
            Some(Kind::Index) if depth == DEEPEST => {
                Ok(Node::Broken("indexes are nested too deeply".to_owned()))
            }
            Some(Kind::Index) => self.index(descriptor, bytes, &name, depth),
            Some(Kind::Image) => self.part(descriptor, bytes, &name),
            None => Ok(Node::Broken(format!(
                "{name} has the media type {:?}, which is not known here",
                descriptor.media_type
            ))),
        }
    }

    fn index(
        &mut self,
        descriptor: &Descriptor,
        bytes: Vec<u8>,
        name: &str,
        depth: usize,
    ) -> io::Result<Node> {
        let index = Index::read(&bytes, name)?;
        if let Some(node) = disagrees(descriptor, index.media_type.as_deref(), name) {
            return Ok(node);
        }
        let children = index.manifests.into_iter().map(|child| self.child(child, depth + 1));
        let children = children.collect::<io::Result<_>>()?;
        let manifest = Manifest::verbatim(descriptor.media_type.clone(), bytes);
        Ok(Node::Index { manifest, children })
    }

    fn part(&self, descriptor: &Descriptor, bytes: Vec<u8>, name: &str) -> io::Result<Node> {
        let read = ImageManifest::read(&bytes, name)?;
        if let Some(node) = disagrees(descriptor, read.media_type.as_deref(), name) {
            return Ok(node);
        }
        let ImageManifest { config, layers, subject, .. } = read;
        for blob in layers.iter().chain([&config]) {
            match self.files.presence(&blob.digest) {
                Presence::Stored(size) if size == blob.size => {}
                Presence::Stored(size) => {
                    let (named, digest) = (blob.size, &blob.digest);
                    let reason = format!("{name}: {digest} has {size} bytes, {named} are named");
                    return Ok(Node::Broken(reason));
                }
                Presence::Missing if blob.is_foreign() => {}
                Presence::Missing | Presence::Packed => {
                    return Ok(Node::Missing(format!("{name}: {}", blob.digest)));
                }
            }
        }
        let mut part = Part {
            manifest: Manifest::verbatim(descriptor.media_type.clone(), bytes),
            config,
            layers,
            platform: None,
            subject,
            raw: false,
        };
        if part.config.is_image_config()
            && let Some(reason) = self.compare(&mut part, name)?
        {
            return Ok(Node::Broken(reason));
        }
        Ok(Node::Part(Box::new(part)))
    }

    /// Holds the layers of a part against the diffIDs of its configuration; says what is wrong.
    fn compare(&self, part: &mut Part, name: &str) -> io::Result<Option<String>> {
        let digest = &part.config.digest;
        let Some(bytes) = self.files.document(digest)? else {
            return Ok(Some(format!("{name}: its configuration is gone")));
        };
        let configuration = Configuration::read(&bytes, &format!("configuration {digest}"))?;
        let diff_ids = configuration.diff_ids();
        if diff_ids.len() != part.layers.len() {
            let (there, named) = (part.layers.len(), diff_ids.len());
            return Ok(Some(format!("{name} has {there} layers, its configuration has {named}")));
        }
        for (layer, diff_id) in part.layers.iter().zip(diff_ids) {
            let same = layer.digest.as_str() == diff_id;
            // The digest of a raw layer is its diffID.
            if layer.media_type.ends_with(".tar") && !same {
                let layer = &layer.digest;
                return Ok(Some(format!("{name} has layer {layer} where {diff_id} belongs")));
            }
            part.raw |= same;
        }
        part.platform = configuration.platform();
        Ok(None)
    }
}

/// Whether the content of the source is at fault, and not the disk.
fn is_content(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

/// A manifest that calls itself something else than what names it.
fn disagrees(descriptor: &Descriptor, written: Option<&str>, name: &str) -> Option<Node> {
    let written = written.filter(|written| *written != descriptor.media_type)?;
    let named = &descriptor.media_type;
    Some(Node::Broken(format!("{name} is named as {named:?}, but says {written:?}")))
}

enum Kind {
    Image,
    Index,
}

fn kind(media_type: &str) -> Option<Kind> {
    match media_type {
        IMAGE_MANIFEST | DOCKER_MANIFEST => Some(Kind::Image),
        IMAGE_INDEX | DOCKER_LIST => Some(Kind::Index),
        _ => None,
    }
}

/// Indexes in indexes; one is usual, two are seen.
const DEEPEST: usize = 4;
const MOST_MANIFESTS: usize = 1000;
/// All manifests together; one has a few KiB.
const MOST_BYTES: usize = 8 << 20;
