//! Which platforms are pushed, and what then goes under the tag.
//!
//! Everything that is there goes as it is, so that digests stay what they were. One platform of
//! several goes alone; some of several get an index of their own, with their attestations.
//! Invariant: what is chosen is there as a whole.
//! Must not know: where the files are.

use std::collections::HashSet;
use std::io;

use serde_json::{Value, json};

use super::files::{Files, Presence, Reading, invalid};
use super::layout::{Child, Node, Part};
use crate::config::Platform;
use crate::error::Failure;
use crate::image::{Blob, Digest, IMAGE_INDEX, Image, Manifest};

/// Manifests to push, as they are stored.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    parts: Vec<Part>,
    /// Inner before outer; the last one goes under the tag. None for a single platform.
    indexes: Vec<Manifest>,
    /// Signatures and the like: what is about one of those above, or about one of these.
    beside: Vec<Part>,
}

impl Chosen {
    /// The platforms of `root` that are wanted; all that are there if none is named.
    pub(super) fn from(root: &Child, wanted: &[Platform]) -> Result<Self, Failure> {
        match &root.node {
            Node::Part(part) => {
                fits(wanted, root.platform())?;
                Ok(Self::of(vec![(**part).clone()], Vec::new()))
            }
            Node::Index { .. } => Self::from_index(root, wanted),
            Node::Missing(what) => Err(Failure::new(format!("{what} is missing"))),
            Node::Broken(why) => Err(Failure::new(why.clone())),
        }
    }

    fn of(parts: Vec<Part>, indexes: Vec<Manifest>) -> Self {
        Self { parts, indexes, beside: Vec::new() }
    }

    /// Takes along what is about the manifests that were chosen.
    pub(super) fn with(mut self, referrers: &[Part]) -> Self {
        let parts = self.parts.iter().map(|part| &part.manifest);
        let mut known: HashSet<Digest> =
            parts.chain(&self.indexes).map(|manifest| manifest.digest.clone()).collect();
        // A signature may itself be signed, in any order.
        let mut left: Vec<&Part> = referrers.iter().collect();
        loop {
            let about = |part: &&Part| part.subject.as_ref().is_some_and(|of| known.contains(of));
            let (found, others): (Vec<&Part>, Vec<&Part>) = left.into_iter().partition(about);
            if found.is_empty() {
                return self;
            }
            for part in found {
                if known.insert(part.manifest.digest.clone()) {
                    self.beside.push(part.clone());
                }
            }
            left = others;
        }
    }

    /// Bytes of the blobs.
    pub(super) fn size(&self) -> u64 {
        let all = self.parts.iter().chain(&self.beside);
        let blobs = all.flat_map(|part| part.layers.iter().chain([&part.config]));
        let mut seen = HashSet::new();
        let once = blobs.filter(|blob| seen.insert(&blob.digest));
        once.fold(0, |sum, blob| sum.saturating_add(blob.size))
    }

    /// Compares every blob with its digest.
    pub(super) fn read(&self, files: &Files, reading: &Reading) -> io::Result<Image> {
        let (mut layers, mut configs) = (Vec::new(), Vec::new());
        for part in &self.parts {
            for layer in &part.layers {
                if layer.is_foreign() && files.presence(&layer.digest) == Presence::Missing {
                    tracing::info!("layer {} may not be handed on: left out", layer.digest.short());
                    continue;
                }
                let file = files.blob(&layer.digest, reading)?;
                layers.push(Blob::here(layer.media_type.clone(), file));
            }
            let file = files.blob(&part.config.digest, reading)?;
            configs.push(Blob::here(part.config.media_type.clone(), file));
        }
        let platforms = self.parts.iter().filter_map(|part| part.platform.as_ref());
        let platforms = platforms.map(Platform::to_string).collect();
        let mut manifests: Vec<Manifest> = self
            .parts
            .iter()
            .map(|part| part.manifest.clone())
            .chain(self.indexes.clone())
            .collect();
        let Some(manifest) = manifests.pop() else {
            return Err(invalid("nothing was chosen"));
        };
        for part in &self.beside {
            // Their configurations say nothing of the image; they are blobs like others.
            for blob in part.layers.iter().chain([&part.config]) {
                let file = files.blob(&blob.digest, reading)?;
                layers.push(Blob::here(blob.media_type.clone(), file));
            }
            manifests.push(part.manifest.clone());
        }
        let id = match (self.parts.as_slice(), self.indexes.as_slice()) {
            ([part], []) => Some(part.config.digest.clone()),
            _ => None,
        };
        Ok(Image { layers, configs, children: manifests, manifest, id, platforms })
    }

    fn from_index(root: &Child, wanted: &[Platform]) -> Result<Self, Failure> {
        let leaves = root.leaves();
        let images: Vec<(&Child, &Platform)> = leaves
            .iter()
            .filter(|leaf| leaf.descriptor.attests().is_none())
            .filter_map(|leaf| Some((*leaf, leaf.platform()?)))
            .collect();
        let is_there = |child: &Child| matches!(child.node, Node::Part(_));
        let complete = leaves.iter().all(|leaf| is_there(leaf));
        let there: Vec<_> = images.iter().copied().filter(|(child, _)| is_there(child)).collect();
        let chosen = if wanted.is_empty() {
            if complete && !leaves.is_empty() {
                return Ok(Self::whole(root));
            }
            if let Some(reason) = broken(&leaves) {
                return Err(Failure::new(reason));
            }
            tell_missing(&images, &there);
            there
        } else {
            let chosen = some(&images, &there, wanted)?;
            // With one platform it would still be an index; "one" means that one alone.
            if complete && chosen.len() == images.len() && chosen.len() > 1 {
                return Ok(Self::whole(root));
            }
            chosen
        };
        match chosen.as_slice() {
            [] => Err(nothing(&leaves)),
            [(one, _)] => Self::from(one, &[]),
            several => Self::several(root, &leaves, several),
        }
    }

    fn whole(root: &Child) -> Self {
        let mut chosen = Self::of(Vec::new(), Vec::new());
        chosen.add(root);
        chosen
    }

    fn add(&mut self, child: &Child) {
        match &child.node {
            Node::Part(part) => self.parts.push((**part).clone()),
            Node::Index { manifest, children } => {
                children.iter().for_each(|child| self.add(child));
                self.indexes.push(manifest.clone());
            }
            // The caller has seen that there are none.
            Node::Missing(_) | Node::Broken(_) => {}
        }
    }

    /// An index of some manifests of another one, flat.
    fn several(
        root: &Child,
        leaves: &[&Child],
        chosen: &[(&Child, &Platform)],
    ) -> Result<Self, Failure> {
        let digests: HashSet<&str> =
            chosen.iter().map(|(child, _)| child.descriptor.digest.as_str()).collect();
        let mut parts = Vec::new();
        let mut descriptors: Vec<Value> = Vec::new();
        let mut seen: HashSet<&Digest> = HashSet::new();
        for leaf in leaves {
            let digest = &leaf.descriptor.digest;
            let belongs = match leaf.descriptor.attests() {
                Some(subject) => digests.contains(subject),
                None => digests.contains(digest.as_str()),
            };
            if let Node::Part(part) = &leaf.node
                && belongs
                && seen.insert(digest)
            {
                parts.push((**part).clone());
                descriptors.push(described(leaf));
            }
        }
        let media_type = match &root.node {
            Node::Index { manifest, .. } => manifest.media_type.as_str(),
            _ => IMAGE_INDEX,
        };
        let index = Manifest::index(media_type, &descriptors.iter().collect::<Vec<_>>())
            .map_err(|error| Failure::new(format!("an index could not be written: {error}")))?;
        Ok(Self::of(parts, vec![index]))
    }
}

/// Refuses an image that is not for the platforms that are wanted.
pub(super) fn fits(wanted: &[Platform], platform: Option<&Platform>) -> Result<(), Failure> {
    let absent = wanted.iter().find(|wanted| !platform.is_some_and(|there| wanted.accepts(there)));
    match (absent, platform) {
        (None, _) => Ok(()),
        (Some(absent), None) => Err(Failure::new(format!(
            "there is no platform {absent}: the image does not say what it runs on"
        ))),
        (Some(absent), Some(there)) => Err(Failure::new(format!("there is no platform {absent}"))
            .hint(format!("The image is for {there} alone. Leave PLATFORMS out to push it."))),
    }
}

/// The images that each wish means.
fn some<'a>(
    images: &[(&'a Child, &'a Platform)],
    there: &[(&'a Child, &'a Platform)],
    wanted: &[Platform],
) -> Result<Vec<(&'a Child, &'a Platform)>, Failure> {
    let is_there = |wish: &Platform| there.iter().any(|(_, one)| wish.accepts(one));
    if let Some(wish) = wanted.iter().find(|wish| !is_there(wish)) {
        let named = images.iter().find(|(_, platform)| wish.accepts(platform));
        let failure = match named.map(|(child, _)| &child.node) {
            Some(Node::Broken(why)) => {
                Failure::new(format!("platform {wish} cannot be used: {why}"))
            }
            Some(_) => {
                Failure::new(format!("platform {wish} is named, but its content is not there"))
                    .hint(format!("Fetch it first: docker pull --platform {wish}, or build it."))
            }
            None => Failure::new(format!("there is no platform {wish}")),
        };
        return Err(failure.hint(format!("Platforms that are there: {}.", list(there))));
    }
    let is_wanted = |platform: &Platform| wanted.iter().any(|wish| wish.accepts(platform));
    Ok(there.iter().copied().filter(|(_, platform)| is_wanted(platform)).collect())
}

/// What is wrong with the first manifest that is there and cannot be used.
fn broken(leaves: &[&Child]) -> Option<String> {
    leaves.iter().find_map(|leaf| match &leaf.node {
        Node::Broken(why) => Some(why.clone()),
        _ => None,
    })
}

fn nothing(leaves: &[&Child]) -> Failure {
    match leaves.iter().find_map(|leaf| match &leaf.node {
        Node::Missing(what) => Some(what),
        _ => None,
    }) {
        Some(what) => Failure::new(format!("no platform is there as a whole ({what} is missing)")),
        None => Failure::new("the index names no image"),
    }
}

fn tell_missing(images: &[(&Child, &Platform)], there: &[(&Child, &Platform)]) {
    let missing: Vec<_> = images
        .iter()
        .copied()
        .filter(|(child, _)| matches!(child.node, Node::Missing(_)))
        .collect();
    match missing.as_slice() {
        [] => tracing::info!("something that the index names is not there: leaving it out"),
        missing => tracing::info!(
            "the index names {} too, but without content: pushing {}",
            list(missing),
            list(there)
        ),
    }
}

fn list(images: &[(&Child, &Platform)]) -> String {
    let mut names: Vec<String> = images.iter().map(|(_, platform)| platform.to_string()).collect();
    names.dedup();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// The descriptor of a manifest, with the platform in it: that is what clients choose by.
fn described(child: &Child) -> Value {
    let mut value = child.descriptor.value.clone();
    if let (Some(fields), Some(platform)) = (value.as_object_mut(), child.platform()) {
        fields.entry("platform").or_insert_with(|| {
            let mut platform_fields =
                json!({"architecture": platform.architecture(), "os": platform.os()});
            if let Some(variant) = platform.variant() {
                platform_fields["variant"] = variant.into();
            }
            platform_fields
        });
    }
    value
}
