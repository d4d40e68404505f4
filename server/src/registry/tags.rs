//! Tags and their history.

use super::access::{Administered, Readable};
use super::{Registry, RegistryError, Result};
use crate::domain::{Change, Tag, TagPermit};
use crate::metadata::{HistoryRow, ManifestFacts, MetadataError, Package, Page, TagNames, TagRow};

/// A tag with the manifest it points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagDetails {
    /// The tag.
    pub row: TagRow,
    /// The manifest.
    pub manifest: ManifestFacts,
}

impl Registry {
    /// The names of a page of a package's tags, in the order the specification demands.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn tag_names(&self, access: &Readable, page: Page) -> Result<TagNames> {
        Ok(self.metadata.tag_names(access.package.id, page).await?)
    }

    /// A page of tags with what they point to, for a package addressed by id.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn package_tags(
        &self,
        access: &Administered<Package>,
        page: Page,
    ) -> Result<Vec<TagDetails>> {
        let package = access.subject.id;
        let mut details = Vec::new();
        for row in self.metadata.tags(package, page).await? {
            let reference = crate::domain::Reference::Digest(row.digest);
            // A tag deleted between the two reads is left out.
            if let Some(manifest) = self.metadata.manifest_facts(package, &reference).await? {
                details.push(TagDetails { row, manifest });
            }
        }
        Ok(details)
    }

    /// One tag with its manifest.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn package_tag(
        &self,
        access: &Administered<Package>,
        tag: &Tag,
    ) -> Result<TagDetails> {
        let missing = || RegistryError::NotFound(format!("tag {tag}"));
        let package = access.subject.id;
        let reference = crate::domain::Reference::Tag(tag.clone());
        let manifest = self.metadata.manifest_facts(package, &reference).await?;
        let manifest = manifest.ok_or_else(missing)?;
        let row = self.metadata.tag(package, tag).await?.ok_or_else(missing)?;
        Ok(TagDetails { row, manifest })
    }

    /// Deletes one tag of a package addressed by id; the proof must be for
    /// [`Action::Delete`](crate::domain::Action::Delete).
    ///
    /// # Errors
    /// [`RegistryError::NotFound`]; [`RegistryError::TagRules`].
    pub async fn delete_package_tag(
        &self,
        access: &Administered<Package>,
        change: &Change,
        tag: &Tag,
    ) -> Result<()> {
        require_tag(&access.tags, tag)?;
        let package = access.subject.id;
        match self.deleting(|| self.metadata.delete_tag(change, package, tag)).await {
            Err(MetadataError::NotFound) => Err(RegistryError::NotFound(format!("tag {tag}"))),
            other => Ok(other?),
        }
    }

    /// What happened to a package's tags, newest first.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn history(
        &self,
        access: &Administered<Package>,
        tag: Option<&Tag>,
        limit: usize,
    ) -> Result<Vec<HistoryRow>> {
        Ok(self.metadata.history(access.subject.id, tag, limit).await?)
    }
}

/// Whether the caller's rules let it move a tag.
pub(super) fn require_tag(permit: &TagPermit, tag: &Tag) -> Result<()> {
    permit.check(tag).map_err(|why| {
        RegistryError::TagRules(format!(
            "this build may not move the tag {tag}: {why}; use another tag, or ask an administrator of the workspace to change the rule"
        ))
    })
}

/// Whether the caller may do what concerns all tags at once. A digest may have tags that rules keep
/// from this build, and gets them at any time, so there is no looking first.
pub(super) fn require_all_tags(permit: &TagPermit) -> Result<()> {
    match permit {
        TagPermit::All => Ok(()),
        TagPermit::Ruled { .. } => Err(RegistryError::TagRules(
            "this build may delete by tag only, because its OIDC binding has tag rules and what is deleted by digest is gone for all tags; delete the tag, or log in as somebody with the role write"
                .to_owned(),
        )),
    }
}
