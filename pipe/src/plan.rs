//! What to send, in which order; pure.
//!
//! Invariant: everything that a manifest names is sent before it, and a tag moves last, so that
//! whoever pulls while a push runs, or after one that broke, gets a whole image.
//! Must not know: registries.

use std::collections::HashSet;

use crate::config::Tag;
use crate::image::{Blob, Image, Manifest};

/// The order of a push. Blobs of one stage may be sent side by side; stages follow each other.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan<'a> {
    /// Layers, each once.
    pub(crate) layers: Vec<&'a Blob>,
    /// Configurations, each once.
    pub(crate) configs: Vec<&'a Blob>,
    /// Manifests that an index names, each once and before what names it.
    pub(crate) children: Vec<&'a Manifest>,
    /// Manifests with the tag that each goes under, in the order in which tags were asked for.
    pub(crate) tags: Vec<(&'a Tag, &'a Manifest)>,
}

impl<'a> Plan<'a> {
    /// The plan for these images, each with its tags.
    pub(crate) fn new(images: &'a [(Image, Vec<Tag>)]) -> Self {
        let mut seen = HashSet::new();
        // Apart from the blobs: a layer may have the bytes of a manifest.
        let mut seen_manifests = HashSet::new();
        let mut layers = Vec::new();
        let mut configs = Vec::new();
        let mut children = Vec::new();
        let mut tags = Vec::new();
        for (image, image_tags) in images {
            layers.extend(image.layers.iter().filter(|layer| seen.insert(&layer.digest)));
            configs.extend(image.configs.iter().filter(|config| seen.insert(&config.digest)));
            children
                .extend(image.children.iter().filter(|child| seen_manifests.insert(&child.digest)));
            tags.extend(image_tags.iter().map(|tag| (tag, &image.manifest)));
        }
        // Large ones first: the last upload of a push should not be the longest.
        layers.sort_by_key(|layer| std::cmp::Reverse(layer.size));
        Self { layers, configs, children, tags }
    }

    /// Bytes of the blobs whose content is on disk.
    pub(crate) fn bytes_here(&self) -> u64 {
        let here = self.layers.iter().chain(&self.configs).filter_map(|blob| blob.file());
        here.map(|file| file.size).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Digest, IMAGE_CONFIG, IMAGE_INDEX, LAYER_GZIP};
    use crate::spool::SpoolFile;

    fn blob(media_type: &'static str, content: &str) -> Blob {
        let digest = Digest::of(content.as_bytes());
        let size = content.len() as u64;
        let file = SpoolFile { path: "none".into(), offset: 0, digest, size };
        Blob::here(media_type, file)
    }

    fn image(config: &str, layers: &[&str]) -> Image {
        let layers: Vec<Blob> = layers.iter().map(|layer| blob(LAYER_GZIP, layer)).collect();
        let config = blob(IMAGE_CONFIG, config);
        let manifest = Manifest::build(&config, &layers).unwrap();
        Image::single(layers, config, manifest, None)
    }

    #[test]
    fn shared_and_repeated_layers_are_sent_once_and_large_ones_first() {
        let tag = |text| Tag::parse(text).unwrap();
        let images = [
            (image("c1", &["base", "longer layer", "base"]), vec![tag("1"), tag("latest")]),
            (image("c2", &["base"]), vec![tag("edge")]),
        ];
        let plan = Plan::new(&images);
        let sizes: Vec<u64> = plan.layers.iter().map(|layer| layer.size).collect();
        assert_eq!(sizes, [12, 4]);
        assert_eq!(plan.configs.len(), 2);
        assert_eq!(plan.bytes_here(), 12 + 4 + 2 + 2);
        let tags: Vec<&str> = plan.tags.iter().map(|(tag, _)| tag.as_str()).collect();
        assert_eq!(tags, ["1", "latest", "edge"]);
        assert_eq!(plan.tags[0].1, plan.tags[1].1);
    }

    #[test]
    fn manifests_of_an_index_are_sent_once_and_in_order() {
        let tag = |text| Tag::parse(text).unwrap();
        let (first, second) = (image("c1", &["a"]), image("c2", &["b"]));
        let children = vec![first.manifest.clone(), second.manifest.clone()];
        let index = Manifest::index(IMAGE_INDEX, &[]).unwrap();
        let both = Image { children, manifest: index, ..first };
        let images = [(both.clone(), vec![tag("1")]), (both.clone(), vec![tag("2")])];
        let plan = Plan::new(&images);
        assert_eq!(plan.children, both.children.iter().collect::<Vec<_>>());
        assert_eq!(plan.tags.len(), 2);
    }
}
