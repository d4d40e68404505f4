//! Who may do what: the one table of roles (DESIGN §1 and §6).
//!
//! Invariant: roles are totally ordered and every action names the least role that may do it. Who
//! has which role, and which refusal is shown, is decided in `registry/access.rs` alone.

use std::str::FromStr;

/// A role on a repository, inherited by the packages linked to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Pulls.
    Read,
    /// Also pushes and deletes tags, manifests by digest and blobs.
    Write,
    /// Also creates packages linked to the repository and deletes them.
    Admin,
}

impl Role {
    /// The role's name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// The text is not a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a role is read, write or admin")]
pub struct InvalidRole;

impl FromStr for Role {
    type Err = InvalidRole;

    fn from_str(text: &str) -> Result<Self, InvalidRole> {
        match text {
            "read" => Ok(Self::Read),
            "write" => Ok(Self::Write),
            "admin" => Ok(Self::Admin),
            _ => Err(InvalidRole),
        }
    }
}

/// Something a caller wants to do with a package or its repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Read manifests, blobs, tags, referrers, history.
    Pull,
    /// Upload, mount, put manifests.
    Push,
    /// Delete a tag, a manifest by digest, or a blob; restore one.
    Delete,
    /// Create a package linked to the repository.
    CreatePackage,
    /// Delete a whole package, or restore it.
    DeletePackage,
    /// Change the repository's permissions and tokens.
    Manage,
}

impl Action {
    /// The least role that may do it.
    #[must_use]
    pub const fn required_role(self) -> Role {
        match self {
            Self::Pull => Role::Read,
            Self::Push | Self::Delete => Role::Write,
            Self::CreatePackage | Self::DeletePackage | Self::Manage => Role::Admin,
        }
    }

    /// What it is called in a sentence such as "the role write is needed to …".
    #[must_use]
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete tags, manifests and blobs",
            Self::CreatePackage => "create a package",
            Self::DeletePackage => "delete a package",
            Self::Manage => "manage the repository",
        }
    }
}

/// Who may pull without any role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Visibility {
    /// Only those with a role.
    #[default]
    Private,
    /// Everybody may pull, also without logging in.
    Public,
}

impl Visibility {
    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Public => "public",
        }
    }
}

/// The text is not a visibility.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a visibility is private or public")]
pub struct InvalidVisibility;

impl FromStr for Visibility {
    type Err = InvalidVisibility;

    fn from_str(text: &str) -> Result<Self, InvalidVisibility> {
        match text {
            "private" => Ok(Self::Private),
            "public" => Ok(Self::Public),
            _ => Err(InvalidVisibility),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_and_visibilities_are_read_by_their_names_and_by_nothing_else() {
        for (name, role) in [("read", Role::Read), ("write", Role::Write), ("admin", Role::Admin)] {
            assert_eq!((role.as_str(), name.parse()), (name, Ok(role)));
        }
        for (name, kind) in [("private", Visibility::Private), ("public", Visibility::Public)] {
            assert_eq!((kind.as_str(), name.parse()), (name, Ok(kind)));
        }
        for other in ["", "Read", "owner", "public "] {
            assert_eq!(other.parse::<Role>(), Err(InvalidRole), "{other}");
            assert_eq!(other.parse::<Visibility>(), Err(InvalidVisibility), "{other}");
        }
    }

    #[test]
    fn an_action_is_named_in_a_sentence() {
        let phrase = |action: Action| format!("the role write is needed to {}", action.phrase());
        assert_eq!(phrase(Action::Push), "the role write is needed to push");
        assert_eq!(
            phrase(Action::Delete),
            "the role write is needed to delete tags, manifests and blobs"
        );
    }

    /// The seed's sentences: Read pulls; Write pushes and deletes tags; Admin creates packages and
    /// deletes images.
    #[test]
    fn the_table_is_the_seeds() {
        let allowed = |role: Role, action: Action| role >= action.required_role();
        let table = [
            (Action::Pull, [true, true, true]),
            (Action::Push, [false, true, true]),
            (Action::Delete, [false, true, true]),
            (Action::CreatePackage, [false, false, true]),
            (Action::DeletePackage, [false, false, true]),
            (Action::Manage, [false, false, true]),
        ];
        for (action, expected) in table {
            let found = [Role::Read, Role::Write, Role::Admin].map(|role| allowed(role, action));
            assert_eq!(found, expected, "{action:?}");
        }
    }
}
