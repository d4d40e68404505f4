//! Packages.

use super::access::Administered;
use super::{Registry, RegistryError, Result};
use crate::domain::{Caller, Change, PackageName, RepositoryId, WorkspaceId};
use crate::metadata::{
    Conflict, MetadataError, Package, PackageFilter, PackageUsage, Page, Repository, Workspace,
};

/// How many rows are read at a time.
const BATCH: usize = 200;

impl Registry {
    /// Creates a package linked to a repository; the proof must be for
    /// [`Action::CreatePackage`](crate::domain::Action::CreatePackage).
    ///
    /// # Errors
    /// [`RegistryError::AlreadyExists`].
    pub async fn create_package(
        &self,
        access: &Administered<Repository>,
        change: &Change,
        name: &PackageName,
    ) -> Result<Package> {
        self.require_room_for_changes()?;
        let Repository { id, workspace, .. } = access.subject;
        match self.metadata.create_package(change, workspace, name, id).await {
            Err(MetadataError::Conflict(Conflict::SlugTaken)) => {
                Err(RegistryError::AlreadyExists(format!("package {name}")))
            }
            other => Ok(other?),
        }
    }

    /// Deletes a package; the proof must be for
    /// [`Action::DeletePackage`](crate::domain::Action::DeletePackage).
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] if somebody else was faster.
    pub async fn delete_package(
        &self,
        access: &Administered<Package>,
        change: &Change,
    ) -> Result<()> {
        let package = access.subject.id;
        match self.deleting(|| self.metadata.delete_package(change, package)).await {
            Err(MetadataError::NotFound) => Err(RegistryError::no_package(&access.subject.name)),
            other => Ok(other?),
        }
    }

    /// A page of a workspace's packages that the caller may read, by name.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn packages(
        &self,
        caller: &Caller,
        workspace: &Workspace,
        filter: &PackageFilter,
        page: Page,
    ) -> Result<Vec<Package>> {
        let mut visible = Vec::new();
        let mut cursor = page.after;
        while visible.len() < page.limit {
            let next = Page { after: cursor.clone(), limit: BATCH };
            let found = self.metadata.packages(workspace.id, filter, next).await?;
            let Some(last) = found.last() else { break };
            cursor = Some(last.name.to_string());
            for package in found {
                if self.may_read(caller, workspace.id, package.repository).await? {
                    visible.push(package);
                }
            }
        }
        visible.truncate(page.limit);
        Ok(visible)
    }

    /// A package's byte totals.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn package_usage(&self, access: &Administered<Package>) -> Result<PackageUsage> {
        Ok(self.metadata.package_usage(access.subject.id).await?)
    }

    /// Whether the caller may read the packages of a repository.
    pub(super) async fn may_read(
        &self,
        caller: &Caller,
        workspace: WorkspaceId,
        repository: RepositoryId,
    ) -> Result<bool> {
        let repository = self.metadata.repository_by_id(repository).await?;
        match repository.filter(|found| found.workspace == workspace) {
            Some(repository) => Ok(self.role(caller, &repository).await?.is_some()),
            None => Ok(false),
        }
    }
}
