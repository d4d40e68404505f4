//! Where the image is read from: the Docker daemon of the step, an archive, a layout.
//!
//! Every way ends in [`Image`]. `members` reads tars; `stream` turns a daemon's export, `disk`
//! an archive or a folder into `files`; `layout` and `listed` say what the files are; `choose`
//! takes the platforms that are wanted.
//! Invariant: what leaves this folder is verified: every raw layer hashed to the diffID that
//! the image's configuration names for it, every other blob to its digest. Names from outside
//! are keys, never paths.
//! Must not know: registries.

mod archive;
mod choose;
mod daemon;
mod disk;
mod docker;
mod documents;
mod endpoint;
mod engine_push;
mod files;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod layout;
mod listed;
mod location;
mod lower;
mod members;
mod near;
mod pack;
mod part;
pub mod probe;
mod relay;
mod resolve;
mod stream;
mod v1;

use std::io;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::endpoint::Endpoint;
pub use self::relay::forward;

use self::archive::Archive;
use self::daemon::{Daemon, Inspected};
use self::docker::Found;
use self::files::Reading;
use crate::client::Registry;
use crate::config::{Compression, Config, ImageSource, Platform, Tag};
use crate::error::{Error, Failure};
use crate::existing::{self, Existing};
use crate::image::{Blob, Digest, Image};
use crate::known::{Known, Wanted};
use crate::output::megabytes;
use crate::progress::Progress;
use crate::report::{Outcome, PushedTag};
use crate::spool::Spool;

/// An image of the source and the tags under which it is pushed.
#[derive(Debug, Clone)]
pub(crate) struct Selected {
    /// The name by which it was found.
    pub(crate) name: String,
    /// Bytes that will be read, as far as that is known before.
    pub(crate) size: u64,
    /// Bytes that the spool may have to hold.
    pub(crate) spooled: u64,
    pub(crate) tags: Vec<Tag>,
    /// What the registry has of it.
    pub(crate) known: Arc<Known>,
    /// All of it, if the registry has that and it need not be read.
    pub(crate) whole: Option<Image>,
    what: What,
}

impl Selected {
    /// What can be asked about the image before it is read. Manifests that exist go out as they are:
    /// about them there is nothing to be found out.
    pub(crate) fn wanted(&self) -> Option<Wanted> {
        match &self.what {
            What::Local(local) if local.is_stored => None,
            What::Local(local) => Some(Wanted {
                diff_ids: local.digests()?,
                config: Digest::parse(&local.id)?,
                platform: Some(local.platform.clone()),
                seen_as: local.seen_as.clone(),
            }),
            What::Found(found) => found.wanted(),
        }
    }

    /// The digest of its manifest or index, and what it runs on, where the daemon keeps those as they
    /// are.
    pub(crate) fn stored(&self) -> Option<(Digest, String)> {
        match &self.what {
            What::Local(local) if local.is_stored => {
                Some((Digest::parse(&local.id)?, local.platform.to_string()))
            }
            _ => None,
        }
    }
}

#[derive(Debug, Clone)]
enum What {
    /// In the daemon.
    Local(Local),
    /// In an archive; its manifests were looked at.
    Found(Arc<Found>),
}

/// An image as the daemon describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Local {
    id: String,
    platform: Platform,
    /// The digests of the raw layers, bottom first.
    diff_ids: Vec<String>,
    /// The daemon keeps manifests and layers as they were pulled or built.
    is_stored: bool,
    /// Repositories, with registry, and the digests of manifests there.
    seen_as: Vec<(String, Digest)>,
}

impl Local {
    /// The digests of the raw layers, if this program knows their kind.
    fn digests(&self) -> Option<Vec<Digest>> {
        self.diff_ids.iter().map(|diff_id| Digest::parse(diff_id)).collect()
    }
}

/// An open source.
#[derive(Debug)]
pub(crate) struct Source(Kind);

#[derive(Debug)]
enum Kind {
    Daemon(Daemon),
    Archive(Archive),
}

/// What is wrong with a source.
#[derive(Debug)]
enum Fault {
    /// It could not be read, or what was read is not as it should be.
    Read(io::Error),
    /// The words are found already.
    Told(Failure),
}

impl Source {
    /// Finds the daemon, or opens the archive. One that is compressed is unpacked into the spool. What
    /// goes on in `tasks` has to end before the program does.
    pub(crate) async fn open(
        config: &Config,
        spool: &Arc<Spool>,
        tasks: &TaskTracker,
    ) -> Result<Self, Error> {
        match &config.source {
            ImageSource::Daemon => {
                let daemon =
                    Daemon::connect(&config.docker, config.transfer.timeout, tasks).await?;
                Ok(Self(Kind::Daemon(daemon)))
            }
            ImageSource::Path { kind, text } => {
                let (kind, text) = (*kind, text.clone());
                let open = move |reading: &Reading| Archive::open(kind, &text, reading);
                let reading = Reading::new(spool, &Progress::default(), Compression::default());
                Ok(Self(Kind::Archive(blocking(reading, open).await??)))
            }
        }
    }

    /// Finds the image of each tag. Tags of one image come together.
    pub(crate) async fn select(
        &self,
        config: &Config,
        spool: &Arc<Spool>,
    ) -> Result<Vec<Selected>, Error> {
        match &self.0 {
            Kind::Daemon(daemon) => {
                let wanted = resolve::in_daemon(daemon, config).await?;
                Ok(wanted.into_iter().map(|(name, image, tags)| local(name, image, tags)).collect())
            }
            Kind::Archive(archive) => {
                let mut selected = Vec::new();
                for (number, tags) in resolve::in_archive(archive, config)? {
                    selected.push(found(archive, number, tags, config, spool).await?);
                }
                Ok(selected)
            }
        }
    }

    /// Lets the daemon push an image under all its tags, without reading it here.
    pub(crate) async fn push(
        &self,
        image: &Selected,
        config: &Config,
        registry: &Registry,
        existing: &Existing,
    ) -> Result<Vec<PushedTag>, Error> {
        let (Kind::Daemon(daemon), What::Local(local)) = (&self.0, &image.what) else {
            return Err(Error::Unexpected(Failure::new("only a daemon pushes by itself")));
        };
        let mut pushed = Vec::new();
        for tag in &image.tags {
            existing.refuse(config, tag)?;
            let digest = daemon.push(&local.id, config, tag).await?;
            tracing::info!("tag {tag}: {digest}");
            pushed.push(PushedTag {
                image_id: Digest::parse(&local.id),
                platform: Some(local.platform.to_string()),
                ..existing::pushed(&registry.name(), tag, &digest, Outcome::Pushed)
            });
        }
        Ok(pushed)
    }

    /// Where that is, for the log.
    pub(crate) fn label(&self) -> &str {
        match &self.0 {
            Kind::Daemon(_) => "the daemon",
            Kind::Archive(archive) => &archive.label,
        }
    }

    /// Reads of an image what the registry does not have, once, and compresses what is not compressed
    /// into the spool. Layers that are ready to be sent before the rest is read go to `ready`.
    pub(crate) async fn read(
        &self,
        selected: &Selected,
        config: &Config,
        spool: &Arc<Spool>,
        progress: &Progress,
        ready: Option<UnboundedSender<Blob>>,
    ) -> Result<Image, Error> {
        let reading = Reading {
            known: Arc::clone(&selected.known),
            ready,
            ..Reading::new(spool, progress, config.options.compression)
        };
        if let (Kind::Daemon(daemon), What::Local(local)) = (&self.0, &selected.what)
            && !local.is_stored
        {
            let image = part::image(daemon, local, &selected.name, &config.platforms, &reading);
            if let Some(image) = image.await? {
                return Ok(image);
            }
        }
        let about;
        let (files, found) = match (&self.0, &selected.what) {
            (Kind::Daemon(daemon), What::Local(local)) => {
                about = export_of(&selected.name);
                let files = Arc::new(daemon.export(local, &selected.name, &reading).await?);
                let (image, wanted) = (local.clone(), config.platforms.clone());
                let export = Arc::clone(&files);
                let find = move |_: &Reading| docker::exported(&export, &image, &wanted);
                let found = blocking(reading.clone(), find).await?;
                (files, Arc::new(found.map_err(|fault| fault.about(&about))?))
            }
            (Kind::Archive(archive), What::Found(found)) => {
                about = format!("image {}", selected.name);
                (Arc::clone(&archive.files), Arc::clone(found))
            }
            // An image is read from the source that it was found in.
            _ => return Err(Error::Unexpected(Failure::new("the source was changed"))),
        };
        let read = move |reading: &Reading| found.read(&files, reading);
        let image = blocking(reading, read).await?;
        image.map_err(|error| Fault::from(error).about(&about))
    }
}

impl Reading {
    fn new(spool: &Arc<Spool>, progress: &Progress, compression: Compression) -> Self {
        let (spool, progress) = (Arc::clone(spool), progress.clone());
        let (known, stopped) = (Arc::default(), CancellationToken::new());
        Self { spool, progress, compression, known, ready: None, stopped }
    }
}

impl Fault {
    /// The fault as the user is told it; `what` is what could not be read.
    fn about(self, what: &str) -> Error {
        match self {
            Self::Told(failure) => Error::Source(failure.about(what)),
            Self::Read(error) if error.kind() == io::ErrorKind::StorageFull => {
                Error::Unexpected(Failure::new(format!("the disk is full: {error}")).hint(
                    "TMPDIR names another place for layers; size: 2x gives a step more space.",
                ))
            }
            Self::Read(error) => {
                Error::Source(Failure::new(format!("{what} cannot be used: {error}")))
            }
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self::Told(failure)
    }
}

/// Runs work that blocks. It ends soon when the caller does not wait for it any more.
async fn blocking<T: Send + 'static>(
    reading: Reading,
    work: impl FnOnce(&Reading) -> T + Send + 'static,
) -> Result<T, Error> {
    let _guard = reading.stopped.clone().drop_guard();
    let done = tokio::task::spawn_blocking(move || work(&reading)).await;
    done.map_err(|error| {
        Error::Unexpected(Failure::new(format!("reading the image stopped: {error}")))
    })
}

fn local(name: String, image: Inspected, tags: Vec<Tag>) -> Selected {
    let diff_ids = image.root.layers.unwrap_or_default();
    let platform = Platform::new(&image.os, &image.architecture, image.variant.as_deref());
    tracing::info!(
        "image {name} ({}, {platform}, layers: {}, unpacked: {}) goes out as {}",
        image.id.trim_start_matches("sha256:").get(..12).unwrap_or(&image.id),
        diff_ids.len(),
        megabytes(image.size),
        list(&tags)
    );
    let is_stored = image.descriptor.is_some();
    let seen_as = image.repo_digests.unwrap_or_default();
    let seen_as = seen_as.iter().filter_map(|text| {
        let (name, digest) = text.split_once('@')?;
        Some((name.to_owned(), Digest::parse(digest)?))
    });
    let seen_as = seen_as.collect();
    let what = What::Local(Local { id: image.id, platform, diff_ids, is_stored, seen_as });
    let known = Arc::default();
    Selected { name, size: image.size, spooled: image.size, tags, known, whole: None, what }
}

async fn found(
    archive: &Archive,
    number: usize,
    tags: Vec<Tag>,
    config: &Config,
    spool: &Arc<Spool>,
) -> Result<Selected, Error> {
    let candidate = archive.candidates[number].clone();
    let digest = candidate.digest.as_ref().map_or("all platforms", Digest::short);
    let name = candidate.names.first().map_or(digest, String::as_str).to_owned();
    let (files, wanted) = (Arc::clone(&archive.files), config.platforms.clone());
    let find = move |_: &Reading| {
        let found = candidate.find(&files, &wanted)?;
        let sizes = found.size(&files)?;
        Ok::<_, Fault>((found, sizes))
    };
    let reading = Reading::new(spool, &Progress::default(), config.options.compression);
    let result = blocking(reading, find).await?;
    let about = format!("image {name} in {}", archive.label);
    let (found, (size, spooled)) = result.map_err(|fault| fault.about(&about))?;
    tracing::info!("{about} ({}) goes out as {}", megabytes(size), list(&tags));
    let (known, what) = (Arc::default(), What::Found(Arc::new(found)));
    Ok(Selected { name, size, spooled, tags, known, whole: None, what })
}

fn list(tags: &[Tag]) -> String {
    tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(", ")
}

fn export_of(name: &str) -> String {
    format!("the export of image {name}")
}
