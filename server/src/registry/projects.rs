//! Projects: they group repositories and carry no rights.

use super::access::Administered;
use super::{Registry, RegistryError, Result};
use crate::domain::{Change, Event, ProjectKey};
use crate::metadata::documents::{self, Body as _};
use crate::metadata::{Conflict, DocumentKind, MetadataError, Page, Workspace};

/// A project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Its key.
    pub key: String,
    /// Its display name.
    pub name: String,
}

impl Registry {
    /// Creates a project.
    ///
    /// # Errors
    /// [`RegistryError::AlreadyExists`].
    pub async fn create_project(
        &self,
        access: &Administered<Workspace>,
        change: &Change,
        key: &ProjectKey,
        name: String,
    ) -> Result<Project> {
        self.require_room_for_changes()?;
        let id = documents::project_key(access.subject.id, key);
        let body = documents::Project { name: name.clone() }.encode();
        let event = Event::workspace(access.subject.id, "project.create", key);
        let change = &change.doing(event);
        match self.metadata.put_document(change, DocumentKind::Project, &id, None, body).await {
            Ok(_) => Ok(Project { key: key.to_string(), name }),
            Err(MetadataError::Conflict(Conflict::Version)) => {
                Err(RegistryError::AlreadyExists(format!("project {key}")))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The display name of a project, if there is one of that key.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn project(&self, workspace: &Workspace, key: &ProjectKey) -> Result<Option<String>> {
        let id = documents::project_key(workspace.id, key);
        let found = self.metadata.document(DocumentKind::Project, &id).await?;
        Ok(found.map(|found| documents::Project::decode(&found.body)).transpose()?.map(|p| p.name))
    }

    /// A page of a workspace's projects, by key.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn projects(&self, workspace: &Workspace, page: Page) -> Result<Vec<Project>> {
        let prefix = documents::workspace_prefix(workspace.id);
        let after = page.after.map(|key| format!("{prefix}{key}"));
        let page = Page { after, limit: page.limit };
        let mut projects = Vec::new();
        for found in self.metadata.documents(DocumentKind::Project, &prefix, page).await? {
            let key = found.key.strip_prefix(&prefix).unwrap_or(&found.key).to_owned();
            projects.push(Project { key, name: documents::Project::decode(&found.body)?.name });
        }
        Ok(projects)
    }
}
