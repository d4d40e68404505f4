//! Where the image is read from.
//!
//! Today that is the Docker daemon of the step; an archive or a layout would be a module beside
//! `daemon` that also ends in [`Image`].
//! Invariant: what leaves this folder is verified: every raw layer hashed to the diffID that
//! the image's configuration names for it.
//! Must not know: registries.

mod archive;
mod assemble;
mod daemon;
mod endpoint;
mod engine_push;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod resolve;

use std::sync::Arc;

pub(crate) use self::endpoint::Endpoint;

use self::daemon::Daemon;
use crate::client::Registry;
use crate::config::{Config, Tag};
use crate::error::Error;
use crate::existing::{self, Existing};
use crate::image::{Digest, Image};
use crate::output::megabytes;
use crate::progress::Progress;
use crate::report::{Outcome, PushedTag};
use crate::spool::Spool;

/// A local image and the tags under which it is pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selected {
    /// The name by which it was found.
    pub(crate) name: String,
    /// The ID that the daemon gives it.
    pub(crate) id: String,
    /// Size of the unpacked layers in bytes, as the daemon sees it.
    pub(crate) size: u64,
    /// `os/architecture`.
    pub(crate) platform: String,
    /// The digests of the unpacked layers, bottom first.
    pub(crate) diff_ids: Vec<String>,
    pub(crate) tags: Vec<Tag>,
}

/// An open source.
#[derive(Debug)]
pub(crate) struct Source {
    daemon: Daemon,
}

impl Source {
    /// Finds the daemon.
    pub(crate) async fn open(config: &Config) -> Result<Self, Error> {
        let daemon = Daemon::connect(&config.docker, config.transfer.timeout).await?;
        Ok(Self { daemon })
    }

    /// Finds the local image of each tag. Tags of one image come together.
    pub(crate) async fn select(&self, config: &Config) -> Result<Vec<Selected>, Error> {
        let selected = resolve::select(&self.daemon, config).await?;
        for image in &selected {
            let tags: Vec<&str> = image.tags.iter().map(Tag::as_str).collect();
            tracing::info!(
                "image {} ({}, {}, layers: {}, unpacked: {}) goes out as {}",
                image.name,
                image.id.trim_start_matches("sha256:").get(..12).unwrap_or(&image.id),
                image.platform,
                image.diff_ids.len(),
                megabytes(image.size),
                tags.join(", ")
            );
        }
        Ok(selected)
    }

    /// Lets the daemon push an image under all its tags, without reading it here.
    pub(crate) async fn push(
        &self,
        image: &Selected,
        config: &Config,
        registry: &Registry,
        existing: &Existing,
    ) -> Result<Vec<PushedTag>, Error> {
        let mut pushed = Vec::new();
        for tag in &image.tags {
            existing.refuse(config, tag)?;
            let digest = self.daemon.push(image, config, tag).await?;
            tracing::info!("tag {tag}: {digest}");
            pushed.push(PushedTag {
                image_id: Digest::parse(&image.id),
                platform: Some(image.platform.clone()),
                ..existing::pushed(&registry.name(), tag, &digest, Outcome::Pushed)
            });
        }
        Ok(pushed)
    }

    /// Reads an image into the spool, once, and compresses what is not compressed.
    pub(crate) async fn read(
        &self,
        selected: &Selected,
        spool: &Arc<Spool>,
        progress: &Progress,
    ) -> Result<Image, Error> {
        let export = self.daemon.export(selected, spool, progress).await?;
        assemble::image(export, selected)
    }
}
