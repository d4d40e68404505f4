//! Finds out what the registry has of an image: from the manifests that tags name, from what the
//! daemon remembers, and from Standpipe itself, which can look layers up by content.
//!
//! Places are asked in order until every layer is found: Standpipe's lookup or else the tags that are
//! asked for, `latest` and the tag of the branch; then `CACHE_FROM` and the image's RepoDigests.
//! Invariant: a manifest is believed only where its configuration, held against its digest, has as
//! many layers as it has; what is found is confirmed blob by blob in the target package, or mounted
//! into it. Work is bounded, and failing to find anything is no failure.
//! Must not know: where the image is.

#[cfg(feature = "fuzzing")]
pub mod fuzzing;

use std::collections::HashMap;

use futures_util::{StreamExt as _, stream};
use serde::Deserialize;

use crate::client::{KnownLayer, Registry};
use crate::config::{Config, Platform, Tag};
use crate::error::Error;
use crate::image::{Blob, Digest, IMAGE_CONFIG, Image, Place, There};
use crate::known::{Known, Wanted, fitting};
use crate::spool::Spool;

/// Looks for an image that will go out under `tags`.
pub(crate) async fn recall(
    registry: &Registry,
    config: &Config,
    wanted: &Wanted,
    tags: &[Tag],
    spool: &Spool,
) -> Result<Known, Error> {
    let mut search = Search::new(registry, config, wanted);
    search.everywhere(tags).await;
    let layers = search.confirmed().await;
    let whole = wanted.diff_ids.iter().all(|diff_id| layers.contains_key(diff_id));
    let blob = search.configuration(whole, spool).await?;
    let known = Known::new(layers, blob);
    let (there, all) = (known.count(&wanted.diff_ids), wanted.diff_ids.len());
    if all > 0 && there > 0 {
        tracing::info!("the registry has {there} of {all} layers already");
    }
    Ok(known)
}

/// An image that a daemon keeps under the digest of its manifest or index, if the target package has
/// all of it. What is chosen from it, or read out of it, needs it here.
pub(crate) async fn stored(
    registry: &Registry,
    config: &Config,
    digest: &Digest,
    platform: String,
) -> Option<Image> {
    if !config.platforms.is_empty() || config.options.provenance {
        return None;
    }
    let own = config.repository();
    let read = async |digest: &Digest| {
        let manifest = registry.read_manifest(&own, digest.as_str()).await.ok()??;
        let document: Document = serde_json::from_slice(&manifest.bytes).ok()?;
        Some((manifest, document))
    };
    let (manifest, top) = read(digest).await?;
    let (mut children, mut parts) = (Vec::new(), Vec::new());
    let mut platforms = vec![platform];
    if top.manifests.is_empty() {
        parts.push(top);
    } else {
        platforms = top.manifests.iter().filter_map(Child::shown).collect();
        for child in top.manifests.iter().take(MOST_CHILDREN + 1) {
            let (child, document) = read(&Digest::parse(&child.digest)?).await?;
            children.push(child);
            parts.push(document);
        }
        if children.len() > MOST_CHILDREN {
            return None;
        }
    }
    // An artifact may have no layers; an index in an index has no configuration, and is read here.
    let (mut layers, mut configs) = (Vec::new(), Vec::new());
    for part in parts {
        configs.push(part.config?.there()?);
        let own = part.layers.into_iter().filter(|layer| !layer.is_foreign());
        layers.extend(own.map(Described::there).collect::<Option<Vec<Blob>>>()?);
    }
    let mut asked: Vec<&Digest> = layers.iter().chain(&configs).map(|blob| &blob.digest).collect();
    asked.sort();
    asked.dedup();
    let looks = asked.into_iter().map(|digest| registry.take_over(digest, None));
    let mut looks = stream::iter(looks).buffer_unordered(config.transfer.parallel);
    while let Some(found) = looks.next().await {
        found.ok()??;
    }
    drop(looks);
    let id = children.is_empty().then(|| configs[0].digest.clone());
    Some(Image { layers, configs, children, manifest, id, platforms })
}

/// The repositories that [`recall`] may read, besides the target.
pub(crate) fn sources<'a>(
    config: &Config,
    wanted: impl Iterator<Item = &'a Wanted>,
) -> Vec<String> {
    let named = config.options.cache_from.iter().map(|cache| cache.repository.clone());
    let seen = wanted.flat_map(|wanted| seen_here(config, wanted).map(|(path, _)| path.to_owned()));
    named.chain(seen).collect()
}

/// Where the daemon has seen the image in the registry that is pushed to.
fn seen_here<'a>(
    config: &'a Config,
    wanted: &'a Wanted,
) -> impl Iterator<Item = (&'a str, &'a Digest)> {
    let here = wanted.seen_as.iter().filter_map(|(name, digest)| {
        let path = name.strip_prefix(config.registry.as_str())?.strip_prefix('/')?;
        Some((path, digest))
    });
    here.take(MOST_SEEN)
}

/// A layer that a manifest names.
#[derive(Debug)]
struct Found {
    media_type: &'static str,
    digest: Digest,
    size: u64,
    /// Where it was found, if that is not the target.
    elsewhere: Option<String>,
}

struct Search<'a> {
    registry: &'a Registry,
    config: &'a Config,
    wanted: &'a Wanted,
    found: HashMap<&'a Digest, Found>,
    /// The size of the image's own configuration, if the target has it.
    own_config: Option<u64>,
    /// Manifests that may still be read.
    left: usize,
}

impl<'a> Search<'a> {
    fn new(registry: &'a Registry, config: &'a Config, wanted: &'a Wanted) -> Self {
        let left = MOST_MANIFESTS;
        Self { registry, config, wanted, found: HashMap::new(), own_config: None, left }
    }

    fn is_done(&self) -> bool {
        self.left == 0 || self.wanted.diff_ids.iter().all(|id| self.found.contains_key(id))
    }

    async fn everywhere(&mut self, tags: &[Tag]) {
        let own = self.config.repository();
        // Standpipe looks at its tags by itself, all of them.
        if !self.ask().await {
            let mut names = tags.to_vec();
            names.push(Tag::latest());
            names.extend(self.config.build.branch_tag());
            for (index, name) in names.iter().enumerate() {
                if !names[..index].contains(name) {
                    self.place(&own, name.as_str()).await;
                }
            }
        }
        let config = self.config;
        for cache in &config.options.cache_from {
            self.place(&cache.repository, cache.tag.as_str()).await;
        }
        for (path, digest) in seen_here(config, self.wanted) {
            self.place(path, digest.as_str()).await;
        }
    }

    /// Asks Standpipe for the layers by their content; false if there is no answer.
    async fn ask(&mut self) -> bool {
        let missing = self.wanted.diff_ids.iter().filter(|id| !self.found.contains_key(id));
        let missing: Vec<&Digest> = missing.collect();
        match self.registry.known_layers(&missing).await {
            Ok(Some(known)) => {
                known.into_iter().for_each(|layer| self.note(layer, None));
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::debug!("the registry does not say which layers it has: {error}");
                false
            }
        }
    }

    /// Looks at the manifest that `reference` names.
    async fn place(&mut self, repository: &str, reference: &str) {
        if self.is_done() {
            return;
        }
        self.left -= 1;
        let Some(mut document) = self.document(repository, reference).await else { return };
        if let Some(child) = document.child_for(self.wanted.platform.as_ref()) {
            let Some(inner) = self.document(repository, &child).await else { return };
            document = inner;
        }
        self.image(repository, document).await;
    }

    async fn document(&mut self, repository: &str, reference: &str) -> Option<Document> {
        match self.registry.read_manifest(repository, reference).await {
            Ok(manifest) => serde_json::from_slice(&manifest?.bytes).ok(),
            Err(error) => {
                tracing::debug!("{repository}:{reference} was not looked at: {error}");
                // A registry that fails here is not bothered with more of what need not be.
                self.left = 0;
                None
            }
        }
    }

    /// Takes the layers of a manifest.
    async fn image(&mut self, repository: &str, document: Document) {
        let Some(config) = document.config else { return };
        let Some(digest) = Digest::parse(&config.digest) else { return };
        let elsewhere = (repository != self.config.repository()).then(|| repository.to_owned());
        let diff_ids = if digest == self.wanted.config {
            if elsewhere.is_none() {
                self.own_config = Some(config.size);
            }
            self.wanted.diff_ids.clone()
        } else {
            match self.registry.read_blob(repository, &digest).await {
                Ok(bytes) => bytes.and_then(|bytes| diff_ids(&bytes)).unwrap_or_default(),
                Err(error) => {
                    tracing::debug!("configuration {} was not read: {error}", digest.short());
                    return;
                }
            }
        };
        if diff_ids.len() != document.layers.len() {
            return;
        }
        for (diff_id, layer) in diff_ids.into_iter().zip(document.layers) {
            let Some(digest) = Digest::parse(&layer.digest) else { continue };
            let (size, media_type) = (layer.size, layer.media_type);
            self.note(KnownLayer { diff_id, digest, size, media_type }, elsewhere.as_ref());
        }
    }

    fn note(&mut self, layer: KnownLayer, elsewhere: Option<&String>) {
        let form = fitting(&layer.media_type, self.config.options.compression);
        let wanted = self.wanted.diff_ids.iter().find(|wanted| **wanted == layer.diff_id);
        if let (Some(media_type), Some(wanted)) = (form, wanted) {
            let KnownLayer { digest, size, .. } = layer;
            let elsewhere = elsewhere.cloned();
            self.found.entry(wanted).or_insert(Found { media_type, digest, size, elsewhere });
        }
    }

    /// Those of the layers that the target package has, or has now.
    async fn confirmed(&mut self) -> HashMap<Digest, Blob> {
        let found = std::mem::take(&mut self.found);
        let (registry, dry_run) = (self.registry, self.config.options.dry_run);
        let asked = found.into_iter().map(async |(diff_id, found)| {
            let from = found.elsewhere.as_deref().filter(|_| !dry_run);
            match registry.take_over(&found.digest, from).await {
                Ok(there) => Some((diff_id.clone(), found, there?)),
                Err(error) => {
                    tracing::debug!("layer {} is not known: {error}", found.digest.short());
                    None
                }
            }
        });
        let confirmed = stream::iter(asked).buffer_unordered(self.config.transfer.parallel);
        let confirmed = confirmed.filter_map(async |one| {
            let (diff_id, Found { media_type, digest, size, .. }, there) = one?;
            let place = Place::There(there);
            Some((diff_id, Blob { media_type: media_type.into(), digest, size, raw: None, place }))
        });
        confirmed.collect().await
    }

    /// The configuration, if the target package has it. A tag of the package leads to it, so it is
    /// there; what `PROVENANCE` wants to know of it is read.
    async fn configuration(&self, whole: bool, spool: &Spool) -> Result<Option<Blob>, Error> {
        let digest = &self.wanted.config;
        let size = match self.own_config {
            // An image with other layers has another configuration.
            None if whole => self.registry.size_of(digest).await.unwrap_or_default(),
            found => found,
        };
        let Some(size) = size else { return Ok(None) };
        if self.config.options.provenance {
            let bytes = self.registry.read_blob(&self.config.repository(), digest).await;
            let Ok(Some(bytes)) = bytes else { return Ok(None) };
            let file = spool
                .keep(&bytes)
                .map_err(|error| Error::local("write a configuration to the spool", &error))?;
            return Ok(Some(Blob::here(IMAGE_CONFIG, file)));
        }
        let place = Place::There(There::Exists);
        let (media_type, digest) = (IMAGE_CONFIG.into(), digest.clone());
        Ok(Some(Blob { media_type, digest, size, raw: None, place }))
    }
}

/// A manifest or an index, as far as it is read here.
#[derive(Debug, Deserialize)]
struct Document {
    config: Option<Described>,
    #[serde(default)]
    layers: Vec<Described>,
    #[serde(default)]
    manifests: Vec<Child>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
}

impl Described {
    /// The blob, which is to be confirmed.
    fn there(self) -> Option<Blob> {
        let (digest, place) = (Digest::parse(&self.digest)?, Place::There(There::Exists));
        let (media_type, size) = (self.media_type.into(), self.size);
        Some(Blob { media_type, digest, size, raw: None, place })
    }

    /// Whether it may not be handed on, and so need not be there.
    fn is_foreign(&self) -> bool {
        self.media_type.contains(".nondistributable.") || self.media_type.contains(".foreign.")
    }
}

#[derive(Debug, Deserialize)]
struct Child {
    digest: String,
    platform: Option<ChildPlatform>,
}

#[derive(Debug, Deserialize)]
struct ChildPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
}

impl Child {
    /// What it runs on, as it is told; attestations run on nothing.
    fn shown(&self) -> Option<String> {
        let ChildPlatform { os, architecture, variant } = self.platform.as_ref()?;
        let platform = Platform::new(os, architecture, variant.as_deref());
        (os != "unknown").then(|| platform.to_string())
    }
}

impl Document {
    /// The digest of the manifest for the platform, if this is an index.
    fn child_for(&self, platform: Option<&Platform>) -> Option<String> {
        let platform = platform?;
        let fits = |child: &&Child| {
            child.platform.as_ref().is_some_and(|other| {
                let other = Platform::new(&other.os, &other.architecture, other.variant.as_deref());
                platform.accepts(&other)
            })
        };
        let digest = &self.manifests.iter().find(fits)?.digest;
        Digest::parse(digest).map(|digest| digest.to_string())
    }
}

fn diff_ids(config: &[u8]) -> Option<Vec<Digest>> {
    #[derive(Deserialize)]
    struct Configuration {
        rootfs: RootFileSystem,
    }
    #[derive(Deserialize)]
    struct RootFileSystem {
        diff_ids: Vec<String>,
    }
    let configuration: Configuration = serde_json::from_slice(config).ok()?;
    configuration.rootfs.diff_ids.iter().map(|text| Digest::parse(text)).collect()
}

/// Manifests that are looked at for one image; each may cost an index and a configuration besides.
const MOST_MANIFESTS: usize = 8;
/// Of an index; each is read.
const MOST_CHILDREN: usize = 32;
/// Of the names under which a daemon has seen an image.
const MOST_SEEN: usize = 4;
