//! Reading, mounting and deleting blobs.
//!
//! Invariant: a blob is visible only through a link of the package it is asked for in
//! (CVE-2024-39897, CVE-2026-27771), and what a writer is told exists stays for a lease.

use super::access::{Deletable, Readable, Writable};
use super::{Registry, RegistryError, Result};
use crate::blobs::{BlobError, ByteStream, Opened};
use crate::domain::{Change, Digest, Name};
use crate::metadata::{BlobFacts, Leased, MetadataError};

/// The most packages that are asked for a blob whose package is not named.
const MOST_SOURCES: usize = 64;

/// Which bytes of a blob are wanted: at most `length` from `offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// The first byte.
    pub offset: u64,
    /// How many.
    pub length: u64,
}

/// What an answer about a blob is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To know whether it is there.
    Look,
    /// To have its bytes.
    Pull,
}

impl Registry {
    /// A blob of the package. If the caller could push, the answer is a promise: something that
    /// nothing refers to yet gets its lease renewed first (DESIGN §5 point 3).
    ///
    /// # Errors
    /// [`RegistryError::BlobUnknown`] if this package has no such blob.
    pub async fn blob(
        &self,
        access: &Readable,
        digest: &Digest,
        purpose: Purpose,
    ) -> Result<BlobFacts> {
        let package = access.package.id;
        let unknown = || RegistryError::BlobUnknown(*digest);
        let facts = self.metadata.blob(package, digest).await?.ok_or_else(unknown)?;
        if facts.damaged && purpose == Purpose::Pull {
            return Err(RegistryError::BlobDamaged(*digest));
        }
        if facts.damaged {
            // To a push it is absent, so that the push sends it again and heals it.
            return Err(unknown());
        }
        if access.may_write
            && facts.lease_wanted
            && !self.metadata.renew_lease(package, Leased::Blob, digest).await?
        {
            return Err(unknown());
        }
        Ok(facts)
    }

    /// Opens a blob's bytes. `facts` come from [`Registry::blob`], so the range can be held against
    /// the size first.
    ///
    /// # Errors
    /// [`RegistryError::BlobUnknown`] if the blob was collected meanwhile.
    pub async fn read_blob(
        &self,
        access: &Readable,
        digest: &Digest,
        facts: BlobFacts,
        range: ByteRange,
    ) -> Result<ByteStream> {
        let ByteRange { offset, length } = range;
        let (object, read) = match self.blobs.read(facts.object, offset, length).await {
            Err(BlobError::UnknownObject(_)) => {
                // Collection may have moved on between the row and the object; a row that still
                // names the missing object is damage.
                let again = self.metadata.blob(access.package.id, digest).await?;
                let Some(again) = again else { return Err(RegistryError::BlobUnknown(*digest)) };
                (again.object, self.blobs.read(again.object, offset, length).await)
            }
            read => (facts.object, read),
        };
        let Opened { bytes, version } = match read {
            Ok(opened) => opened,
            Err(error @ (BlobError::UnknownObject(_) | BlobError::Damaged(_))) => {
                // The backend has looked: it is gone, or shorter than it was.
                self.report_damage(object, &error.to_string()).await;
                return Err(error.into());
            }
            Err(error) => return Err(error.into()),
        };
        let whole = offset == 0 && length == facts.size && length > 0;
        if !whole || self.sound.is_fresh(object, version, self.clock.now()) {
            return Ok(bytes);
        }
        Ok(self.checked(object, version, digest, bytes))
    }

    /// A package that the caller may read and that has this blob, to mount it from when the client names
    /// none (distribution-spec, "Mounting a blob": automatic content discovery). Only so many packages
    /// are looked at; then the client uploads what it has.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn discover_blob(
        &self,
        access: &Writable,
        digest: &Digest,
    ) -> Result<Option<Readable>> {
        let found = self.metadata.blob_packages(access.workspace, digest, MOST_SOURCES).await?;
        for package in found {
            let name =
                Name { workspace: access.name.workspace.clone(), package: package.name.clone() };
            match self.readable(&access.caller, &name).await {
                Ok(source) => return Ok(Some(source)),
                Err(error @ (RegistryError::Busy | RegistryError::Unavailable(_))) => {
                    return Err(error);
                }
                Err(_) => {}
            }
        }
        Ok(None)
    }

    /// Mounts a blob of another package of the same workspace. `false` if it is not there to be
    /// mounted; the caller then opens an upload instead (distribution-spec, "Mounting a blob").
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn mount_blob(
        &self,
        access: &Writable,
        change: &Change,
        source: &Readable,
        digest: &Digest,
    ) -> Result<bool> {
        self.require_room_for_changes()?;
        if source.package.workspace != access.workspace {
            return Ok(false);
        }
        let source = source.package.id;
        match self.metadata.mount_blob(change, &access.target, source, digest).await {
            Ok(_) => Ok(true),
            Err(MetadataError::NotFound) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Hides a blob from the package.
    ///
    /// # Errors
    /// [`RegistryError::BlobUnknown`] if this package has no such blob.
    pub async fn delete_blob(
        &self,
        access: &Deletable,
        change: &Change,
        digest: &Digest,
    ) -> Result<()> {
        super::tags::require_all_tags(&access.tags)?;
        let package = access.package.id;
        let delete = || self.metadata.delete_blob(change, package, digest);
        match self.deleting(delete).await {
            Err(MetadataError::NotFound) => Err(RegistryError::BlobUnknown(*digest)),
            other => Ok(other?),
        }
    }
}
