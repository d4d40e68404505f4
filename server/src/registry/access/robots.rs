//! What robots may do: their roles, looked up at every request.
//!
//! Invariant: a robot has roles on repositories of its own workspace and on nothing else; one that is
//! switched off or gone has none. Only administrators of the workspace get the proof with which
//! robots are managed.

use super::super::robots::Robot;
use super::super::{Registry, RegistryError, Result};
use super::Administered;
use crate::domain::{Caller, Role, Slug, TagPermit, WorkspaceId};
use crate::metadata::{DocumentKind, Repository, documents};

impl Registry {
    /// Proof of administering a robot.
    ///
    /// # Errors
    /// The refusal.
    pub async fn robot_for(
        &self,
        caller: &Caller,
        workspace: &Slug,
        name: &Slug,
    ) -> Result<Administered<Robot>> {
        let workspace = self.workspace_admin(caller, workspace).await?;
        let found = self.robot(workspace.subject.id, name).await?;
        let missing = || RegistryError::NotFound(format!("robot {name}"));
        Ok(Administered { subject: found.ok_or_else(missing)?, tags: TagPermit::All })
    }

    /// A robot by its name, switched off or not.
    ///
    /// # Errors
    /// Those of the storage.
    pub(crate) async fn robot(&self, workspace: WorkspaceId, name: &Slug) -> Result<Option<Robot>> {
        let key = documents::robot_key(workspace, name);
        let found = self.metadata.document(DocumentKind::Robot, &key).await?;
        found.map(|document| Robot::read(workspace, name.clone(), &document)).transpose()
    }

    /// The role of a robot on a repository.
    pub(super) async fn robot_role(
        &self,
        workspace: WorkspaceId,
        name: &Slug,
        repository: &Repository,
    ) -> Result<Option<Role>> {
        if repository.workspace != workspace {
            return Ok(None);
        }
        let robot = self.robot(workspace, name).await?.filter(|robot| !robot.disabled);
        Ok(robot.and_then(|robot| robot.role_on(repository.id)))
    }
}
