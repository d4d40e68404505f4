//! Robots: machine accounts of a workspace, with roles on its repositories and tokens of their own.
//!
//! Invariant: a robot is one document with its roles in it, so it is made, changed and ended as a
//! whole. Its number is random and its tokens name it, so a robot that is made later under the same
//! name has neither the roles nor the tokens of the one before. Robots have no password and never
//! administer a workspace.

use super::access::Administered;
use super::{Registry, RegistryError, Result};
use crate::domain::{Change, Event, RepositoryId, Role, Slug, Timestamp, WorkspaceId};
use crate::metadata::documents::{self, Body as _, Permission};
use crate::metadata::{Conflict, Document, DocumentKind, MetadataError, Page, Workspace};

/// The longest description in characters.
const LONGEST_DESCRIPTION: usize = 200;
/// The most repositories that a robot has a role on.
const MOST_ROLES: usize = 500;
/// How often a change is tried when others change the same robot.
const TRIES: usize = 16;

/// A robot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Robot {
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// Its name there.
    pub name: Slug,
    /// What tells it from others that had its name.
    pub number: u64,
    /// What it is for, in words.
    pub description: String,
    /// Whether it is switched off.
    pub disabled: bool,
    /// When it was made.
    pub created: Timestamp,
    /// Its role on repositories, by their ids.
    pub roles: Vec<(RepositoryId, Role)>,
}

/// What to change of a robot; `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct RobotChanges {
    /// Another description.
    pub description: Option<String>,
    /// Whether it is switched off.
    pub disabled: Option<bool>,
}

impl Robot {
    /// The role on a repository.
    #[must_use]
    pub fn role_on(&self, repository: RepositoryId) -> Option<Role> {
        let found = self.roles.iter().find(|(id, _)| *id == repository);
        found.map(|(_, role)| *role)
    }

    pub(super) fn read(workspace: WorkspaceId, name: Slug, document: &Document) -> Result<Self> {
        let stored = documents::Robot::decode(&document.body)?;
        // A role that this server does not know is none.
        let known = |(id, role): (u64, Permission)| Some((RepositoryId(id), role.role()?));
        Ok(Self {
            workspace,
            name,
            number: stored.number,
            description: stored.description,
            disabled: stored.disabled,
            created: Timestamp(stored.created),
            roles: stored.roles.into_iter().filter_map(known).collect(),
        })
    }

    /// Something done to it.
    fn event(&self, action: &'static str) -> Event {
        Event::workspace(self.workspace, action, &self.name)
    }

    fn store(&self) -> documents::Robot {
        let mut roles: Vec<_> =
            self.roles.iter().map(|(id, role)| (id.0, Permission::new(*role))).collect();
        roles.sort_unstable_by_key(|(id, _)| *id);
        documents::Robot {
            number: self.number,
            description: self.description.clone(),
            disabled: self.disabled,
            created: self.created.0,
            roles,
        }
    }
}

impl Registry {
    /// Makes a robot. It has no role and no token yet.
    ///
    /// # Errors
    /// [`RegistryError::AlreadyExists`]; [`RegistryError::Invalid`] for the description.
    pub async fn create_robot(
        &self,
        access: &Administered<Workspace>,
        change: &Change,
        name: &Slug,
        description: String,
    ) -> Result<Robot> {
        self.require_room_for_changes()?;
        check_description(&description)?;
        let robot = Robot {
            workspace: access.subject.id,
            name: name.clone(),
            number: uuid::Uuid::new_v4().as_u64_pair().0,
            description,
            disabled: false,
            created: self.clock.now(),
            roles: Vec::new(),
        };
        let key = documents::robot_key(robot.workspace, name);
        let body = robot.store().encode();
        let change = &change.doing(robot.event("robot.create"));
        match self.metadata.put_document(change, DocumentKind::Robot, &key, None, body).await {
            Ok(_) => Ok(robot),
            Err(MetadataError::Conflict(Conflict::Version)) => {
                Err(RegistryError::AlreadyExists(format!("robot {name}")))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A page of a workspace's robots, by name.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn robots(&self, access: &Administered<Workspace>, page: Page) -> Result<Vec<Robot>> {
        let workspace = access.subject.id;
        let prefix = documents::workspace_prefix(workspace);
        let after = page.after.map(|name| format!("{prefix}{name}"));
        let page = Page { after, limit: page.limit };
        let found = self.metadata.documents(DocumentKind::Robot, &prefix, page).await?;
        let read = |document: Document| {
            let name = document.key.strip_prefix(&prefix).and_then(|name| name.parse().ok());
            let name = name.ok_or(MetadataError::Corrupt(documents::Robot::NAME))?;
            Robot::read(workspace, name, &document)
        };
        found.into_iter().map(read).collect()
    }

    /// Changes a robot. Switched off, none of its tokens works.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] for the description; [`RegistryError::NotFound`] if it was deleted
    /// meanwhile.
    pub async fn change_robot(
        &self,
        access: &Administered<Robot>,
        change: &Change,
        changes: RobotChanges,
    ) -> Result<Robot> {
        if let Some(description) = &changes.description {
            check_description(description)?;
        }
        let mut event = access.subject.event("robot.change");
        if let Some(disabled) = changes.disabled {
            event = event.with("disabled", disabled);
        }
        let change = &change.doing(event);
        self.update_robot(access, change, |robot| {
            if let Some(description) = &changes.description {
                robot.description.clone_from(description);
            }
            robot.disabled = changes.disabled.unwrap_or(robot.disabled);
            Ok(())
        })
        .await
    }

    /// Gives a robot a role on a repository of its workspace, or takes it away (`None`).
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] if there is no such repository, or no role to take away;
    /// [`RegistryError::Invalid`] if the robot has too many.
    pub async fn set_robot_role(
        &self,
        access: &Administered<Robot>,
        change: &Change,
        repository: &Slug,
        role: Option<Role>,
    ) -> Result<Robot> {
        let workspace = access.subject.workspace;
        let found = self.metadata.repository(workspace, repository).await?;
        let missing = || RegistryError::NotFound(format!("repository {repository}"));
        let id = found.ok_or_else(missing)?.id;
        let event = access.subject.event("robot.role").with("repository", repository);
        let event = event.with("role", role.map_or("none", Role::as_str));
        let change = &change.doing(event);
        self.update_robot(access, change, |robot| {
            let before = robot.roles.len();
            robot.roles.retain(|(known, _)| *known != id);
            match role {
                Some(role) => robot.roles.push((id, role)),
                None if robot.roles.len() == before => {
                    return Err(RegistryError::NotFound(format!("role of {}", robot.name)));
                }
                None => {}
            }
            if robot.roles.len() > MOST_ROLES {
                let reason = format!("a robot has roles on at most {MOST_ROLES} repositories");
                return Err(RegistryError::Invalid { field: "repository", reason });
            }
            Ok(())
        })
        .await
    }

    /// The slugs of the repositories that a robot has a role on, with the roles. Of a repository that
    /// was deleted a role may be left, which gives nothing and is not shown.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn robot_roles(&self, robot: &Robot) -> Result<Vec<(Slug, Role)>> {
        let mut shown = Vec::new();
        for (id, role) in &robot.roles {
            let found = self.metadata.repository_by_id(*id).await?;
            shown.extend(found.map(|repository| (repository.fields.slug, *role)));
        }
        shown.sort();
        Ok(shown)
    }

    /// Ends a robot with its roles; its tokens work no more.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] if it was deleted meanwhile.
    pub async fn delete_robot(&self, access: &Administered<Robot>, change: &Change) -> Result<()> {
        let robot = &access.subject;
        let missing = || RegistryError::NotFound(format!("robot {}", robot.name));
        let key = documents::robot_key(robot.workspace, &robot.name);
        let kind = DocumentKind::Robot;
        let found = self.metadata.document(kind, &key).await?.ok_or_else(missing)?;
        let change = &change.doing(robot.event("robot.delete"));
        let delete = || self.metadata.delete_document(change, kind, &key, found.version);
        match self.deleting(delete).await {
            Err(MetadataError::NotFound) => Err(missing()),
            other => Ok(other?),
        }
    }

    async fn update_robot(
        &self,
        access: &Administered<Robot>,
        change: &Change,
        apply: impl Fn(&mut Robot) -> Result<()>,
    ) -> Result<Robot> {
        self.require_room_for_changes()?;
        let Robot { workspace, name, number, .. } = &access.subject;
        let key = documents::robot_key(*workspace, name);
        let kind = DocumentKind::Robot;
        for _ in 0..TRIES {
            let missing = || RegistryError::NotFound(format!("robot {name}"));
            let found = self.metadata.document(kind, &key).await?.ok_or_else(missing)?;
            let mut robot = Robot::read(*workspace, name.clone(), &found)?;
            // Another one of the same name is not the one that access was proved to.
            if robot.number != *number {
                return Err(missing());
            }
            apply(&mut robot)?;
            let body = robot.store().encode();
            match self.metadata.put_document(change, kind, &key, Some(found.version), body).await {
                Ok(_) => return Ok(robot),
                Err(MetadataError::Conflict(Conflict::Version)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(RegistryError::Busy)
    }
}

fn check_description(description: &str) -> Result<()> {
    let long = description.chars().count() > LONGEST_DESCRIPTION;
    if long || description.chars().any(char::is_control) {
        let reason = format!("at most {LONGEST_DESCRIPTION} characters without control characters");
        return Err(RegistryError::Invalid { field: "description", reason });
    }
    Ok(())
}
