//! Putting back what was deleted or replaced (DESIGN §5 point 6).

use super::access::Administered;
use super::collection::Reclaimed;
use super::{Registry, RegistryError, Result};
use crate::domain::{Change, PackageId, PackageName, RepositoryId};
use crate::metadata::{
    Conflict, DeletedPackage, GiveUp, KeptItem, MetadataError, Package, Restore, Workspace,
};

/// Proof that the caller may put a deleted package back, or give it up.
#[derive(Clone, Debug)]
pub struct Restorable {
    pub(super) package: DeletedPackage,
}

impl Restorable {
    /// The package as it was.
    #[must_use]
    pub const fn package(&self) -> &DeletedPackage {
        &self.package
    }
}

impl Registry {
    /// What of a package can be put back, newest first.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn kept(
        &self,
        access: &Administered<Package>,
        limit: usize,
    ) -> Result<Vec<KeptItem>> {
        Ok(self.metadata.kept(access.subject.id, limit).await?)
    }

    /// A page of a workspace's deleted packages that can be put back, by id.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn deleted_packages(
        &self,
        access: &Administered<Workspace>,
        after: Option<PackageId>,
        limit: usize,
    ) -> Result<Vec<DeletedPackage>> {
        Ok(self.metadata.deleted_packages(access.subject.id, after, limit).await?)
    }

    /// Proof for a deleted package of a workspace that the caller administers.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] if it cannot be put back any more.
    pub async fn restorable(
        &self,
        access: &Administered<Workspace>,
        id: PackageId,
    ) -> Result<Restorable> {
        let found = self.metadata.deleted_package(id).await?;
        let found = found.filter(|found| found.package.workspace == access.subject.id);
        match found {
            Some(package) => Ok(Restorable { package }),
            None => Err(RegistryError::NotFound(format!("deleted package {id}"))),
        }
    }

    /// Puts a tag or manifest of a package back; the proof must be for
    /// [`Action::Push`](crate::domain::Action::Push).
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] if its time is over.
    pub async fn restore(
        &self,
        access: &Administered<Package>,
        change: &Change,
        what: &Restore,
    ) -> Result<()> {
        self.require_room_for_changes()?;
        if let Restore::Tag { tag, .. } = what {
            super::tags::require_tag(&access.tags, tag)?;
        }
        match self.metadata.restore(change, access.subject.id, what).await {
            Err(MetadataError::NotFound) => {
                Err(RegistryError::NotFound("such thing to put back any more".to_owned()))
            }
            other => Ok(other?),
        }
    }

    /// Puts a deleted package back, under another name or linked to another repository if asked.
    ///
    /// # Errors
    /// [`RegistryError::AlreadyExists`] if there is another package of that name by now;
    /// [`RegistryError::RepositoryGone`] if its repository was deleted.
    pub async fn restore_package(
        &self,
        access: &Restorable,
        change: &Change,
        name: Option<PackageName>,
        repository: Option<RepositoryId>,
    ) -> Result<Package> {
        self.require_room_for_changes()?;
        let package = &access.package.package;
        let wanted = name.clone().unwrap_or_else(|| package.name.clone());
        let what = Restore::Package { name, repository };
        match self.metadata.restore(change, package.id, &what).await {
            Ok(()) => {}
            Err(MetadataError::Conflict(Conflict::SlugTaken)) => {
                return Err(RegistryError::AlreadyExists(format!("package {wanted}")));
            }
            Err(MetadataError::NotFound) => return Err(RegistryError::no_package(&package.name)),
            Err(error) => return Err(error.into()),
        }
        let restored = self.metadata.package(package.id).await?;
        restored.ok_or_else(|| RegistryError::no_package(&wanted))
    }

    /// Gives up a deleted package before its time.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn reclaim_deleted(&self, access: &Restorable, change: &Change) -> Result<Reclaimed> {
        self.reclaim_package(change, access.package.package.id, &GiveUp::All).await
    }
}
