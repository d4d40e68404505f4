//! Workspaces and the roles people have in them.

use super::access::{Administered, InstanceAdmin};
use super::{Registry, RegistryError, Result};
use crate::domain::settings::SHORTEST_LEASE;
use crate::domain::{Caller, Change, Event, Role, Slug, Username, WorkspaceId, WorkspaceSettings};
use crate::metadata::documents::{self, Body as _};
use crate::metadata::{
    Conflict, DocumentKind, MetadataError, NewWorkspace, Page, Workspace, WorkspaceUsage,
};

impl Registry {
    /// Creates a workspace.
    ///
    /// # Errors
    /// [`RegistryError::AlreadyExists`].
    pub async fn create_workspace(
        &self,
        _proof: InstanceAdmin,
        change: &Change,
        new: NewWorkspace,
    ) -> Result<Workspace> {
        self.require_room_for_changes()?;
        let slug = new.slug.clone();
        match self.metadata.create_workspace(change, new).await {
            Err(MetadataError::Conflict(Conflict::SlugTaken)) => {
                Err(RegistryError::AlreadyExists(format!("workspace {slug}")))
            }
            other => Ok(other?),
        }
    }

    /// Changes a workspace's display name and settings.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] for a default repository that does not exist or a lease that is too
    /// short.
    pub async fn update_workspace(
        &self,
        access: &Administered<Workspace>,
        change: &Change,
        name: String,
        settings: WorkspaceSettings,
        short_delays: bool,
    ) -> Result<Workspace> {
        self.require_room_for_changes()?;
        let workspace = access.subject.id;
        if let Some(slug) = &settings.default_repository
            && self.metadata.repository(workspace, slug).await?.is_none()
        {
            let reason = format!("there is no repository {slug}");
            return Err(RegistryError::Invalid { field: "default_repository", reason });
        }
        if settings.lease < SHORTEST_LEASE && !short_delays {
            let reason = format!("at least {} seconds", SHORTEST_LEASE.as_secs());
            return Err(RegistryError::Invalid { field: "lease_seconds", reason });
        }
        Ok(self.metadata.update_workspace(change, workspace, name, settings).await?)
    }

    /// A page of the workspaces the caller has a part in, by slug.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn workspaces(&self, caller: &Caller, page: Page) -> Result<Vec<Workspace>> {
        let mut visible = Vec::new();
        let mut cursor = page.after;
        while visible.len() < page.limit {
            let next = Page { after: cursor.clone(), limit: page.limit };
            let found = self.metadata.workspaces(next).await?;
            let Some(last) = found.last() else { break };
            cursor = Some(last.slug.to_string());
            for workspace in found {
                match self.visible_workspace(caller, &workspace.slug).await {
                    Ok(workspace) => visible.push(workspace),
                    Err(RegistryError::NotFound(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        visible.truncate(page.limit);
        Ok(visible)
    }

    /// A workspace's byte totals.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn workspace_usage(&self, workspace: &Workspace) -> Result<WorkspaceUsage> {
        Ok(self.metadata.workspace_usage(workspace.id).await?)
    }

    /// The slug of a workspace, for views of what was done in it.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn workspace_slug(&self, id: WorkspaceId) -> Result<Option<Slug>> {
        Ok(self.metadata.workspace_by_id(id).await?.map(|workspace| workspace.slug))
    }

    /// Makes a user an administrator of the workspace, or no longer (`None`).
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] if there is no such user.
    pub async fn set_workspace_admin(
        &self,
        access: &Administered<Workspace>,
        change: &Change,
        user: &Username,
        admin: bool,
    ) -> Result<()> {
        let key = documents::workspace_permission_key(access.subject.id, user);
        let role = admin.then_some(Role::Admin);
        let action = if admin { "admin.add" } else { "admin.remove" };
        let change = &change.doing(Event::workspace(access.subject.id, action, user));
        self.set_permission(change, DocumentKind::WorkspacePermission, &key, user, role).await
    }

    /// The administrators of the workspace, by username, each with the role.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn workspace_roles(
        &self,
        access: &Administered<Workspace>,
        page: Page,
    ) -> Result<Vec<(String, Role)>> {
        let prefix = documents::workspace_prefix(access.subject.id);
        let after = page.after.map(|user| format!("{prefix}{user}"));
        let page = Page { after, limit: page.limit };
        let kind = DocumentKind::WorkspacePermission;
        let mut roles = Vec::new();
        for found in self.metadata.documents(kind, &prefix, page).await? {
            let user = found.key.strip_prefix(&prefix).unwrap_or(&found.key).to_owned();
            if let Some(role) = documents::Permission::decode(&found.body)?.role() {
                roles.push((user, role));
            }
        }
        Ok(roles)
    }

    /// Gives a role, changes it, or takes it away.
    pub(super) async fn set_permission(
        &self,
        change: &Change,
        kind: DocumentKind,
        key: &str,
        user: &Username,
        role: Option<Role>,
    ) -> Result<()> {
        self.require_room_for_changes()?;
        if self.metadata.document(DocumentKind::User, user.as_str()).await?.is_none() {
            return Err(RegistryError::NotFound(format!("user {user}")));
        }
        // The last writer wins, which is what PUT says; compare-and-set only repeats on a race.
        for _ in 0..16 {
            let found = self.metadata.document(kind, key).await?;
            let version = found.map(|document| document.version);
            let written = match (role, version) {
                (Some(role), version) => {
                    let body = documents::Permission::new(role).encode();
                    self.metadata.put_document(change, kind, key, version, body).await.map(|_| ())
                }
                (None, Some(version)) => {
                    self.metadata.delete_document(change, kind, key, version).await
                }
                (None, None) => return Err(RegistryError::NotFound(format!("role of {user}"))),
            };
            match written {
                Err(MetadataError::Conflict(Conflict::Version)) => {}
                other => return Ok(other?),
            }
        }
        Err(RegistryError::Busy)
    }
}
