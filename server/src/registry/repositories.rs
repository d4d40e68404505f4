//! Repositories and the roles people have on them.

use super::access::Administered;
use super::{Registry, RegistryError, Result};
use crate::domain::{Caller, Change, Event, Role, Slug, Username, WorkspaceId};
use crate::metadata::documents::{self, Body as _};
use crate::metadata::{
    Conflict, DocumentKind, MetadataError, Page, Repository, RepositoryFields, Workspace,
};

/// How many rows are read at a time when all are wanted.
const BATCH: usize = 500;

impl Registry {
    /// Creates a repository in a workspace.
    ///
    /// # Errors
    /// [`RegistryError::AlreadyExists`]; [`RegistryError::Invalid`] for a project that does not exist.
    pub async fn create_repository(
        &self,
        access: &Administered<Workspace>,
        change: &Change,
        fields: RepositoryFields,
    ) -> Result<Repository> {
        self.require_room_for_changes()?;
        let workspace = access.subject.id;
        self.check_project(workspace, &fields).await?;
        let slug = fields.slug.clone();
        match self.metadata.create_repository(change, workspace, fields).await {
            Err(MetadataError::Conflict(Conflict::SlugTaken)) => {
                Err(RegistryError::AlreadyExists(format!("repository {slug}")))
            }
            other => Ok(other?),
        }
    }

    /// Replaces a repository's fields.
    ///
    /// # Errors
    /// As for creating.
    pub async fn update_repository(
        &self,
        access: &Administered<Repository>,
        change: &Change,
        fields: RepositoryFields,
    ) -> Result<Repository> {
        self.require_room_for_changes()?;
        self.check_project(access.subject.workspace, &fields).await?;
        let slug = fields.slug.clone();
        match self.metadata.update_repository(change, access.subject.id, fields).await {
            Err(MetadataError::Conflict(Conflict::SlugTaken)) => {
                Err(RegistryError::AlreadyExists(format!("repository {slug}")))
            }
            other => Ok(other?),
        }
    }

    /// Deletes a repository that no package is linked to.
    ///
    /// # Errors
    /// [`RegistryError::HasPackages`].
    pub async fn delete_repository(
        &self,
        access: &Administered<Repository>,
        change: &Change,
    ) -> Result<()> {
        let repository = access.subject.id;
        match self.deleting(|| self.metadata.delete_repository(change, repository)).await {
            Err(MetadataError::Conflict(Conflict::HasPackages)) => {
                Err(RegistryError::HasPackages(access.subject.fields.slug.to_string()))
            }
            other => Ok(other?),
        }
    }

    /// A page of the repositories of a workspace that the caller may read, by slug.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn repositories(
        &self,
        caller: &Caller,
        workspace: &Workspace,
        page: Page,
    ) -> Result<Vec<Repository>> {
        let mut visible = Vec::new();
        let mut cursor = page.after;
        while visible.len() < page.limit {
            let next = Page { after: cursor.clone(), limit: BATCH };
            let found = self.metadata.repositories(workspace.id, next).await?;
            let Some(last) = found.last() else { break };
            cursor = Some(last.fields.slug.to_string());
            for repository in found {
                if self.role(caller, &repository).await?.is_some() {
                    visible.push(repository);
                }
            }
        }
        visible.truncate(page.limit);
        Ok(visible)
    }

    /// Gives a user a role on a repository, or takes it away (`None`).
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] if there is no such user, or no role to take away.
    pub async fn set_role(
        &self,
        access: &Administered<Repository>,
        change: &Change,
        user: &Username,
        role: Option<Role>,
    ) -> Result<()> {
        let key = documents::permission_key(access.subject.id, user);
        let repository = &access.subject;
        let action = if role.is_some() { "role.set" } else { "role.remove" };
        let event = Event::workspace(repository.workspace, action, &repository.fields.slug);
        let event = event.with("user", user).with("role", role.map_or("none", Role::as_str));
        let change = &change.doing(event);
        self.set_permission(change, DocumentKind::Permission, &key, user, role).await
    }

    /// The roles given on a repository, by username.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn roles(
        &self,
        access: &Administered<Repository>,
        page: Page,
    ) -> Result<Vec<(String, Role)>> {
        let prefix = documents::permission_prefix(access.subject.id);
        let after = page.after.map(|user| format!("{prefix}{user}"));
        let page = Page { after, limit: page.limit };
        let mut roles = Vec::new();
        for found in self.metadata.documents(DocumentKind::Permission, &prefix, page).await? {
            let user = found.key.strip_prefix(&prefix).unwrap_or(&found.key).to_owned();
            if let Some(role) = documents::Permission::decode(&found.body)?.role() {
                roles.push((user, role));
            }
        }
        Ok(roles)
    }

    pub(super) async fn all_repositories(&self, workspace: WorkspaceId) -> Result<Vec<Repository>> {
        let mut all: Vec<Repository> = Vec::new();
        loop {
            let after = all.last().map(|last| last.fields.slug.to_string());
            let page = Page { after, limit: BATCH };
            let found = self.metadata.repositories(workspace, page).await?;
            let complete = found.len() < BATCH;
            all.extend(found);
            if complete {
                return Ok(all);
            }
        }
    }

    async fn check_project(&self, workspace: WorkspaceId, fields: &RepositoryFields) -> Result<()> {
        let Some(project) = &fields.project else { return Ok(()) };
        let key = documents::project_key(workspace, project);
        if self.metadata.document(DocumentKind::Project, &key).await?.is_none() {
            let reason = format!("there is no project {project}");
            return Err(RegistryError::Invalid { field: "project", reason });
        }
        Ok(())
    }

    /// The slug of a repository, for views of packages.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn repository_slug(&self, id: crate::domain::RepositoryId) -> Result<Option<Slug>> {
        Ok(self.metadata.repository_by_id(id).await?.map(|repository| repository.fields.slug))
    }
}
