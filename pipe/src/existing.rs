//! Tags that are in the registry already: `IF_TAG_EXISTS`.
//!
//! Invariant: with `skip` and `fail` a tag that was found is not written. Whoever pushes the same tag
//! at the same time can still come in between; only a registry with immutable tags excludes that.
//! Must not know: how tags are read and written.

use std::collections::BTreeMap;

use crate::client::Registry;
use crate::config::{Config, IfTagExists, Tag};
use crate::error::{Error, Failure};
use crate::image::Digest;
use crate::report::{Outcome, PushedTag};

/// What tags name before the push.
#[derive(Debug, Default)]
pub(crate) struct Existing(BTreeMap<Tag, String>);

impl Existing {
    /// Asks the registry about these tags, if the answer matters.
    pub(crate) async fn look(
        config: &Config,
        registry: &Registry,
        tags: impl Iterator<Item = &Tag>,
    ) -> Result<Self, Error> {
        let mut found = BTreeMap::new();
        if config.options.if_tag_exists != IfTagExists::Overwrite || config.options.dry_run {
            for tag in tags {
                if let Some(digest) = registry.tag_digest(tag).await? {
                    found.insert(tag.clone(), digest);
                }
            }
        }
        Ok(Self(found))
    }

    /// With `skip`: takes those that exist out of `tags`, and reports them.
    pub(crate) fn skip(&self, config: &Config, name: &str, tags: &mut Vec<Tag>) -> Vec<PushedTag> {
        if config.options.if_tag_exists != IfTagExists::Skip {
            return Vec::new();
        }
        let mut kept = Vec::new();
        tags.retain(|tag| {
            let Some(digest) = self.0.get(tag) else { return true };
            tracing::info!("tag {tag} exists and stays as it is: {digest}");
            kept.push(pushed(name, tag, digest, Outcome::Kept));
            false
        });
        kept
    }

    /// What is to be done with a tag whose manifest is known.
    ///
    /// # Errors
    /// With `fail`: the tag names another manifest.
    pub(crate) fn judge(
        &self,
        config: &Config,
        tag: &Tag,
        digest: &Digest,
    ) -> Result<Outcome, Error> {
        let would = if config.options.dry_run { Outcome::WouldPush } else { Outcome::Pushed };
        let Some(known) = self.0.get(tag) else {
            if config.options.dry_run {
                tracing::info!("tag {tag} would be new: {digest}");
            }
            return Ok(would);
        };
        if known == digest.as_str() {
            tracing::info!("tag {tag} names this image already: {digest}");
            return Ok(Outcome::Unchanged);
        }
        if config.options.if_tag_exists == IfTagExists::Fail {
            return Err(taken(&config.repository(), tag, known));
        }
        if config.options.dry_run {
            tracing::info!("tag {tag} would move from {known} to {digest}");
        }
        Ok(would)
    }

    /// With `fail`, when it is not known yet what the tag would name.
    ///
    /// # Errors
    /// The tag exists.
    pub(crate) fn refuse(&self, config: &Config, tag: &Tag) -> Result<(), Error> {
        match self.0.get(tag) {
            Some(known) if config.options.if_tag_exists == IfTagExists::Fail => {
                Err(taken(&config.repository(), tag, known))
            }
            _ => Ok(()),
        }
    }
}

/// A tag as the report shows it; what is known of the image is added by whoever knows it.
pub(crate) fn pushed(name: &str, tag: &Tag, digest: &str, outcome: Outcome) -> PushedTag {
    PushedTag {
        tag: tag.clone(),
        reference: format!("{name}:{tag}@{digest}"),
        digest: digest.to_owned(),
        image_id: None,
        platform: None,
        outcome,
    }
}

fn taken(path: &str, tag: &Tag, known: &str) -> Error {
    let failure =
        Failure::new(format!("tag {tag} of {path} exists and names another image: {known}"));
    Error::Tag(failure.hint(
        "IF_TAG_EXISTS=fail: nothing was written. Push under a new tag, such as the build number or commit.",
    ))
}
