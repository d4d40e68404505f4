//! The bodies of documents, and their keys.
//!
//! Invariant: a body's first byte is its format. Decoding an unknown format, or a body with bytes left
//! over, is an error, never a guess, so an older server does not misread what a newer one wrote.

use super::{MetadataError, Result};
use crate::domain::{ProjectKey, RepositoryId, Role, Slug, Timestamp, Username, WorkspaceId};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The format of every body so far.
const FORMAT: u8 = 1;

/// Something that is stored as a document's body.
pub trait Body: Serialize + DeserializeOwned {
    /// What it is called when it cannot be read.
    const NAME: &'static str;

    /// The stored form.
    fn encode(&self) -> Vec<u8> {
        // Why this cannot fail: postcard fails on maps of unknown length and on full fixed buffers,
        // and these are plain structs going into a growing one.
        postcard::to_extend(self, vec![FORMAT]).expect("plain structs always encode")
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`MetadataError::Corrupt`] for another format or a damaged body.
    fn decode(bytes: &[u8]) -> Result<Self> {
        let damaged = || MetadataError::Corrupt(Self::NAME);
        let Some((&FORMAT, rest)) = bytes.split_first() else { return Err(damaged()) };
        match postcard::take_from_bytes(rest) {
            Ok((body, [])) => Ok(body),
            _ => Err(damaged()),
        }
    }
}

/// A person.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct User {
    /// Argon2id in PHC form; empty if the person has set no password yet, or it was reset.
    pub password_hash: String,
    /// Whether the person administers the whole instance.
    pub instance_admin: bool,
    /// Whether the account is switched off.
    pub disabled: bool,
    /// The one-time secret with which a password can be set, if there is one.
    pub invitation: Option<Invitation>,
}

/// A one-time secret with which a person sets a password. The secret is not in it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Invitation {
    /// SHA-256 of the secret.
    pub secret_hash: [u8; 32],
    /// When it ends, in milliseconds since the Unix epoch.
    pub expires: u64,
}

impl Body for User {
    const NAME: &'static str = "user";
}

/// What a token acts as.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum TokenSubject {
    /// A person.
    User {
        /// The username.
        username: String,
    },
    /// A repository's pipeline.
    Pipeline {
        /// The workspace's id.
        workspace: u64,
        /// The repository's id.
        repository: u64,
    },
    /// A robot.
    Robot {
        /// The workspace's id.
        workspace: u64,
        /// Its name there.
        name: String,
        /// Its number: a robot of the same name that is made later is another one.
        robot: u64,
    },
}

/// A machine-made token. The secret is not in it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Token {
    /// What it was called by whoever made it.
    pub name: String,
    /// SHA-256 of the secret part.
    pub secret_hash: [u8; 32],
    /// What it acts as.
    pub subject: TokenSubject,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created: u64,
    /// When it ends, likewise; `None` for never.
    pub expires: Option<u64>,
    /// The names of what it was made for.
    pub scopes: Vec<String>,
}

impl Body for Token {
    const NAME: &'static str = "token";
}

/// Somebody signed in to the pages. The cookie's secret is not in it; its hash is in the key.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Session {
    /// The account's version when it began; any other one ends it.
    pub version: u64,
    /// When it began, in milliseconds since the Unix epoch.
    pub created: u64,
    /// When something was asked last, likewise.
    pub seen: u64,
    /// The browser, as it called itself.
    pub agent: Option<String>,
}

impl Body for Session {
    const NAME: &'static str = "session";
}

/// Key of a session.
#[must_use]
pub fn session_key(user: &Username, id: &str) -> String {
    format!("{user}/{id}")
}

/// Prefix of all sessions of a user.
#[must_use]
pub fn session_prefix(user: &Username) -> String {
    format!("{user}/")
}

/// A role given to a user, on a repository or a workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Permission {
    /// 1 read, 2 write, 3 admin.
    role: u8,
}

impl Permission {
    /// The permission of a role.
    #[must_use]
    pub const fn new(role: Role) -> Self {
        Self {
            role: match role {
                Role::Read => 1,
                Role::Write => 2,
                Role::Admin => 3,
            },
        }
    }

    /// The role, or `None` for one that this server does not know.
    #[must_use]
    pub const fn role(self) -> Option<Role> {
        match self.role {
            1 => Some(Role::Read),
            2 => Some(Role::Write),
            3 => Some(Role::Admin),
            _ => None,
        }
    }
}

impl Body for Permission {
    const NAME: &'static str = "permission";
}

/// A machine account of a workspace. Its roles are part of it, so that it is created, changed and
/// deleted as a whole.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Robot {
    /// Random; its tokens name it.
    pub number: u64,
    /// What it is for, in words.
    pub description: String,
    /// Whether it is switched off.
    pub disabled: bool,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created: u64,
    /// Repositories' ids, ascending, and its role on each.
    pub roles: Vec<(u64, Permission)>,
}

impl Body for Robot {
    const NAME: &'static str = "robot";
}

/// What builds of another system may do; the id is the key.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct OidcBinding {
    /// The workspace's id.
    pub workspace: u64,
    /// The repository's id.
    pub repository: u64,
    /// The role on it.
    pub role: Permission,
    /// The issuer's URL.
    pub issuer: String,
    /// The audience that tokens must name.
    pub audience: String,
    /// The source repository as the issuer calls it, without braces.
    pub source: String,
    /// What a build must be to log in.
    pub when: OidcConditions,
    /// Which tags it may move; the first rule that names a tag decides.
    pub tag_rules: Vec<OidcTagRule>,
}

/// What a build must be; patterns as people wrote them.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct OidcConditions {
    /// Branches.
    pub branches: Vec<String>,
    /// Deployment environments.
    pub environments: Vec<String>,
    /// Claims and what they may be.
    pub claims: Vec<(String, Vec<String>)>,
}

/// Who may move which tags.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct OidcTagRule {
    /// The tags.
    pub tags: Vec<String>,
    /// Which builds may move them.
    pub when: OidcConditions,
}

impl Body for OidcBinding {
    const NAME: &'static str = "OIDC binding";
}

/// A project.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Project {
    /// The display name.
    pub name: String,
}

impl Body for Project {
    const NAME: &'static str = "project";
}

/// Key of a user's role on a repository.
#[must_use]
pub fn permission_key(repository: RepositoryId, user: &Username) -> String {
    format!("{:020}/{user}", repository.0)
}

/// Prefix of all permissions of a repository.
#[must_use]
pub fn permission_prefix(repository: RepositoryId) -> String {
    format!("{:020}/", repository.0)
}

/// Key of a user's role on a workspace.
#[must_use]
pub fn workspace_permission_key(workspace: WorkspaceId, user: &Username) -> String {
    format!("{:020}/{user}", workspace.0)
}

/// Prefix of all documents of a workspace (its permissions, its projects).
#[must_use]
pub fn workspace_prefix(workspace: WorkspaceId) -> String {
    format!("{:020}/", workspace.0)
}

/// Key of a robot.
#[must_use]
pub fn robot_key(workspace: WorkspaceId, name: &Slug) -> String {
    format!("{:020}/{name}", workspace.0)
}

/// Key of a project.
#[must_use]
pub fn project_key(workspace: WorkspaceId, key: &ProjectKey) -> String {
    format!("{:020}/{key}", workspace.0)
}

impl Token {
    /// Whether it has ended.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_with_bytes_left_over_is_damaged() {
        let mut bytes = Permission::new(Role::Admin).encode();
        assert_eq!(Permission::decode(&bytes).unwrap().role(), Some(Role::Admin));
        bytes.push(0);
        assert!(matches!(Permission::decode(&bytes), Err(MetadataError::Corrupt("permission"))));
    }
}
