//! The part of an image that the registry does not have, out of an engine with the classic store.
//!
//! Of an image whose layers and configuration are all known nothing is read. Little of a large one comes
//! through a relay (`relay`). Of any other, and if that does not work, an export is read until what is
//! missing has come by, and what is known is passed over; of a large one the lower layers are exported by
//! themselves as well, because they come sooner so (`lower`).
//! Invariant: an image comes out only if its configuration is the one that the daemon named and has
//! the layers that the daemon named, each hashed here or known; what does not fit is no image here,
//! and then everything is read instead.
//! Must not know: how the registry came to have anything.

use std::io::{self, Read};
use std::sync::Arc;

use super::choose;
use super::daemon::Daemon;
use super::documents::Configuration;
use super::files::{BLOBS, LARGEST_DOCUMENT, Reading, invalid};
use super::lower::{self, Lower};
use super::members::{Kind, Members};
use super::pack::{self, Compression};
use super::relay::{self, Fetched as Part, Need};
use super::v1::Folders;
use super::{Fault, Local};
use crate::config::Platform;
use crate::error::Error;
use crate::image::{Blob, Digest, IMAGE_CONFIG, Image, Manifest};
use crate::known::Known;
use crate::progress::Progress;

/// The image, or none if the export was not what was expected.
pub(super) async fn image(
    daemon: &Daemon,
    local: &Local,
    name: &str,
    platforms: &[Platform],
    reading: &Reading,
) -> Result<Option<Image>, Error> {
    let (Some(diff_ids), Some(id)) = (local.digests(), Digest::parse(&local.id)) else {
        return Ok(None);
    };
    let about = super::export_of(name);
    choose::fits(platforms, Some(&local.platform))
        .map_err(|failure| Fault::from(failure).about(&about))?;
    let need = Need::new(&diff_ids, id, &reading.known);
    let mut part = Part::default();
    if !part.has_all(&need)
        && !reading.known.is_empty()
        && let Some(fetched) = relay::fetch(daemon, local, &diff_ids, &need, reading).await
    {
        part = fetched;
    }
    if !part.has_all(&need) {
        match lower::make(daemon, local, &diff_ids, &need.layers).await {
            Some(lower) => {
                part = twofold(daemon, local, lower, name, &need, &diff_ids, reading).await?;
            }
            // What is needed as a whole is left to those who know every kind of export.
            None if reading.known.is_empty() => return Ok(None),
            None => part = export(daemon, local, name, &need, &diff_ids, reading).await?,
        }
    }
    if !part.has_all(&need) {
        tracing::debug!("the export is not as expected: reading all of it");
        return Ok(None);
    }
    let built = build(local, &diff_ids, &part, &reading.known);
    built.map_err(|error| Fault::from(error).about(&about))
}

/// Exports the image and its lower layers at the same time, and reads of each what the other is not
/// read for.
async fn twofold(
    daemon: &Daemon,
    local: &Local,
    lower: Lower,
    name: &str,
    need: &Need,
    diff_ids: &[Digest],
    reading: &Reading,
) -> Result<Part, Error> {
    let (below, above) = need.split(&diff_ids[..lower.layers]);
    // What is read is told of the whole.
    let aside = Reading { progress: Progress::default(), ..reading.clone() };
    let lower_half = export(daemon, &lower.local, name, &below, &diff_ids[..lower.layers], &aside);
    let whole = async {
        match Part::default() {
            nothing if nothing.has_all(&above) => Ok(nothing),
            _ => export(daemon, local, name, &above, diff_ids, reading).await,
        }
    };
    // To the end of both: two exports may fill a disk that has room for one.
    let (lower_half, whole) = tokio::join!(lower_half, whole);
    drop(lower);
    let mut part = Part::default();
    let mut is_whole = true;
    for (half, what) in [(lower_half, "the lower layers"), (whole, "the upper layers")] {
        match half {
            Ok(half) => {
                part.layers.extend(half.layers);
                part.config = part.config.or(half.config);
            }
            Err(error) => {
                tracing::debug!("{what} did not come by themselves: {error}");
                is_whole = false;
            }
        }
    }
    if !is_whole {
        let rest = export(daemon, local, name, &need.without(&part), diff_ids, reading).await?;
        part.layers.extend(rest.layers);
        part.config = part.config.or(rest.config);
    }
    Ok(part)
}

/// Exports an image and reads of it what is needed.
async fn export(
    daemon: &Daemon,
    local: &Local,
    name: &str,
    need: &Need,
    diff_ids: &[Digest],
    reading: &Reading,
) -> Result<Part, Error> {
    let (need, diff_ids) = (need.clone(), diff_ids.to_vec());
    let read = move |tar, reading: &Reading| read(tar, &need, &diff_ids, reading);
    daemon.read_export(local, name, reading, read).await
}

impl Need {
    fn new(diff_ids: &[Digest], id: Digest, known: &Arc<Known>) -> Self {
        let missing = diff_ids.iter().filter(|diff_id| known.layer(diff_id).is_none());
        let config = known.config().is_none().then_some(id);
        Self { layers: missing.cloned().collect(), config }
    }

    /// What of it is among these layers, and everything else.
    fn split(&self, lower: &[Digest]) -> (Self, Self) {
        let (below, above) = self.layers.iter().cloned().partition(|layer| lower.contains(layer));
        let above = Self { layers: above, config: self.config.clone() };
        (Self { layers: below, config: None }, above)
    }

    /// What of it is still to come.
    fn without(&self, part: &Part) -> Self {
        let missing = self.layers.iter().filter(|layer| !part.layers.contains_key(layer));
        let config = self.config.clone().filter(|_| part.config.is_none());
        Self { layers: missing.cloned().collect(), config }
    }
}

impl Part {
    fn has_all(&self, need: &Need) -> bool {
        (need.config.is_none() || self.config.is_some())
            && need.layers.iter().all(|diff_id| self.layers.contains_key(diff_id))
    }

    fn add(&mut self, raw: Digest, blob: Blob, need: &Need, reading: &Reading) {
        if need.layers.contains(&raw) {
            reading.announce(&blob);
            self.layers.insert(raw, blob);
        }
    }
}

/// What a file of an export is.
enum What {
    /// A raw layer, by the digest that its name stands for.
    Layer(Option<Digest>),
    /// The configuration that is needed.
    Config(Digest),
    /// Nothing that is needed.
    Other,
}

/// Reads an export until everything that is needed was there, or to its end.
fn read(tar: impl Read, need: &Need, diff_ids: &[Digest], reading: &Reading) -> io::Result<Part> {
    let mut members = Members::of_stream(tar);
    let (mut part, mut folders) = (Part::default(), Folders::of(diff_ids));
    while !part.has_all(need) {
        let Some(member) = members.advance()? else { break };
        if member.kind != Kind::File {
            continue;
        }
        match what(&member.name, need, diff_ids, &mut folders) {
            What::Layer(Some(named)) if !need.layers.contains(&named) => {}
            What::Layer(named) => {
                let mut content = members.content();
                let first = pack::first_bytes(&mut content)?;
                // A layer that is compressed already is left to those who know what to do with it.
                if Compression::of(&first).is_none() {
                    let packed = pack::pack(&mut first.as_slice().chain(content), reading)?;
                    if named.is_some_and(|named| named != packed.raw) {
                        let (name, raw) = (&member.name, &packed.raw);
                        return Err(invalid(format!("layer {name} hashes to {raw}")));
                    }
                    part.add(packed.raw, packed.blob, need, reading);
                }
            }
            What::Config(named) => {
                let file = pack::copy(&mut members.content(), &reading.spool)?;
                if file.digest != named {
                    return Err(invalid(format!("blob {named} hashes to {}", file.digest)));
                }
                part.config = Some(file);
            }
            What::Other => {}
        }
    }
    Ok(part)
}

fn what(name: &str, need: &Need, diff_ids: &[Digest], folders: &mut Folders<'_>) -> What {
    let named = |hex: &str| Digest::from_hex(hex);
    let is_config = |digest: &Digest| need.config.as_ref() == Some(digest);
    if let Some(digest) = name.strip_prefix(BLOBS).and_then(named) {
        return match digest {
            digest if is_config(&digest) => What::Config(digest),
            digest if diff_ids.contains(&digest) => What::Layer(Some(digest)),
            _ => What::Other,
        };
    }
    if let Some(folder) = name.strip_suffix("/layer.tar") {
        // The name of a folder is a hint: it spares reading, but proves nothing.
        return match folders.layer(folder) {
            Some(layer) if !need.layers.contains(layer) => What::Other,
            _ => What::Layer(None),
        };
    }
    // Podman calls layers by their diffIDs, and links to them.
    let by = |suffix| name.strip_suffix(suffix).and_then(named);
    match (by(".tar"), by(".json")) {
        (Some(digest), _) => What::Layer(Some(digest)),
        (_, Some(digest)) if is_config(&digest) => What::Config(digest),
        _ => What::Other,
    }
}

/// Puts the image together, if the configuration has these layers.
fn build(
    local: &Local,
    diff_ids: &[Digest],
    part: &Part,
    known: &Known,
) -> io::Result<Option<Image>> {
    let config = match (&part.config, known.config()) {
        (Some(file), _) => {
            let bytes = file.read(LARGEST_DOCUMENT)?;
            let read = Configuration::read(&bytes, "the configuration")?;
            if read.diff_ids() != local.diff_ids {
                return Ok(None);
            }
            Blob::here(IMAGE_CONFIG, file.clone())
        }
        (None, Some(known)) => known.clone(),
        (None, None) => return Ok(None),
    };
    let layer = |diff_id| known.layer(diff_id).or_else(|| part.layers.get(diff_id)).cloned();
    let Some(layers) = diff_ids.iter().map(layer).collect::<Option<Vec<Blob>>>() else {
        return Ok(None);
    };
    let manifest = Manifest::build(&config, &layers).map_err(io::Error::other)?;
    Ok(Some(Image::single(layers, config, manifest, Some(local.platform.to_string()))))
}
