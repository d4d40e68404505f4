//! Manifests: admission, reading, deletion.
//!
//! Invariant: what is stored under a digest has that digest, and admission sees every blob and child
//! linked in this package in the same transaction that stores the manifest (DESIGN §5 point 4).

use super::access::{Deletable, Readable, Writable};
use super::tags::{require_all_tags, require_tag};
use super::{Registry, RegistryError, Result};
use crate::domain::{Algorithm, Change, Digest, ManifestView, Reference, Tag};
use crate::metadata::{Leased, Manifest, ManifestFacts, MetadataError, NewManifest};
use bytes::Bytes;

/// A manifest as a client sends it.
#[derive(Clone, Debug)]
pub struct ManifestUpload {
    /// What the URL names: a tag, or the digest the bytes must have.
    pub reference: Reference,
    /// Tags asked for besides (`?tag=`).
    pub tags: Vec<Tag>,
    /// The Content-Type.
    pub media_type: String,
    /// The bytes.
    pub bytes: Bytes,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredManifest {
    /// Its digest.
    pub digest: Digest,
    /// The manifest it refers to.
    pub subject: Option<Digest>,
}

impl Registry {
    /// Admits a manifest.
    ///
    /// # Errors
    /// [`RegistryError::ManifestInvalid`], [`RegistryError::ManifestTooLarge`],
    /// [`RegistryError::ManifestBlobUnknown`], [`RegistryError::DigestMismatch`],
    /// [`RegistryError::TagRules`].
    pub async fn put_manifest(
        &self,
        access: &Writable,
        change: &Change,
        upload: ManifestUpload,
    ) -> Result<StoredManifest> {
        self.require_room_for_changes()?;
        if upload.bytes.len() > self.limits.manifest_bytes {
            return Err(RegistryError::ManifestTooLarge(self.limits.manifest_bytes));
        }
        let mut tags = upload.tags;
        let digest = match upload.reference {
            Reference::Digest(expected) => {
                let actual = expected.algorithm().hash(&upload.bytes);
                if actual != expected {
                    return Err(RegistryError::DigestMismatch { expected, actual });
                }
                expected
            }
            Reference::Tag(tag) => {
                tags.insert(0, tag);
                Algorithm::Sha256.hash(&upload.bytes)
            }
        };
        for tag in &tags {
            require_tag(&access.tags, tag)?;
        }
        let most = self.limits.manifest_descriptors;
        let view = ManifestView::parse(&upload.media_type, &upload.bytes, most)?;
        let subject = view.subject.as_ref().map(|subject| subject.digest);
        let media_type = upload.media_type;
        let manifest = NewManifest { digest, media_type, bytes: upload.bytes, view, tags };
        self.metadata.put_manifest(change, &access.target, manifest).await?;
        Ok(StoredManifest { digest, subject })
    }

    /// A manifest with its bytes. Counts as a pull.
    ///
    /// # Errors
    /// [`RegistryError::ManifestUnknown`].
    pub async fn manifest(&self, access: &Readable, reference: &Reference) -> Result<Manifest> {
        let package = access.package.id;
        let unknown = || RegistryError::ManifestUnknown(reference.clone());
        let manifest = self.metadata.manifest(package, reference).await?.ok_or_else(unknown)?;
        self.confirm_manifest(access, &manifest.facts, reference).await?;
        self.pulls.count(package, manifest.facts.digest, reference, self.clock.now());
        Ok(manifest)
    }

    /// A manifest without its bytes.
    ///
    /// # Errors
    /// [`RegistryError::ManifestUnknown`].
    pub async fn manifest_facts(
        &self,
        access: &Readable,
        reference: &Reference,
    ) -> Result<ManifestFacts> {
        let unknown = || RegistryError::ManifestUnknown(reference.clone());
        let facts = self.metadata.manifest_facts(access.package.id, reference).await?;
        let facts = facts.ok_or_else(unknown)?;
        self.confirm_manifest(access, &facts, reference).await?;
        Ok(facts)
    }

    /// The manifests that refer to `subject`, by digest.
    ///
    /// # Errors
    /// Those of the storage; an unknown subject has none.
    pub async fn referrers(
        &self,
        access: &Readable,
        subject: &Digest,
        artifact_type: Option<&str>,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<ManifestFacts>> {
        let package = access.package.id;
        Ok(self.metadata.referrers(package, subject, artifact_type, after, limit).await?)
    }

    /// Deletes a tag, or a manifest by digest with all tags that point to it.
    ///
    /// # Errors
    /// [`RegistryError::ManifestUnknown`]; [`RegistryError::TagRules`].
    pub async fn delete_manifest(
        &self,
        access: &Deletable,
        change: &Change,
        reference: &Reference,
    ) -> Result<()> {
        let package = access.package.id;
        let deleted = match reference {
            Reference::Tag(tag) => {
                require_tag(&access.tags, tag)?;
                self.deleting(|| self.metadata.delete_tag(change, package, tag)).await
            }
            Reference::Digest(digest) => {
                require_all_tags(&access.tags)?;
                let delete = || self.metadata.delete_manifest(change, package, digest);
                self.deleting(delete).await.map(|_| ())
            }
        };
        match deleted {
            Err(MetadataError::NotFound) => Err(RegistryError::ManifestUnknown(reference.clone())),
            other => Ok(other?),
        }
    }

    /// Renews the lease of what a writer is told exists although nothing holds it.
    async fn confirm_manifest(
        &self,
        access: &Readable,
        facts: &ManifestFacts,
        reference: &Reference,
    ) -> Result<()> {
        if access.may_write
            && facts.lease_wanted
            && !self
                .metadata
                .renew_lease(access.package.id, Leased::Manifest, &facts.digest)
                .await?
        {
            return Err(RegistryError::ManifestUnknown(reference.clone()));
        }
        Ok(())
    }
}
