//! Who calls, and how far the credential they used narrows them.
//!
//! Invariant: a credential only ever narrows. What the principal may do is looked up at every
//! request; nothing in here is proof of a right.

use super::{Action, Identity, Name, RepositoryId, Slug, Username, WorkspaceId};
use std::fmt;
use std::sync::Arc;

/// Who a request acts for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Principal {
    /// Nobody in particular.
    Anonymous,
    /// A build that an OIDC issuer vouches for; what it may do is in bindings.
    Oidc(Arc<Identity>),
    /// A build of a repository (pipeline token); acts as the repository with the role `write`.
    Pipeline {
        /// The repository's workspace.
        workspace: WorkspaceId,
        /// The repository.
        repository: RepositoryId,
    },
    /// A machine account of a workspace; its roles are in its account.
    Robot {
        /// The workspace.
        workspace: WorkspaceId,
        /// Its name there.
        name: Slug,
    },
    /// A person, by password or personal token.
    User(Username),
}

impl Principal {
    /// A stable text for ownership of uploads and for records: the principal, not the credential.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Anonymous => "anonymous".to_owned(),
            Self::Oidc(build) => build.key(),
            Self::Pipeline { workspace, repository } => {
                format!("pipeline:{workspace}:{repository}")
            }
            Self::Robot { workspace, name } => format!("robot:{workspace}:{name}"),
            Self::User(name) => format!("user:{name}"),
        }
    }
}

/// What a token was made for. It narrows whoever the token acts as and gives nothing by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenScopes {
    pull: bool,
    push: bool,
    delete: bool,
    api: bool,
}

/// The text is not a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token's scopes are of pull, push, delete and api, and at least one of them")]
pub struct InvalidScopes;

impl TokenScopes {
    /// Everything that the owner may do.
    pub const ALL: Self = Self { pull: true, push: true, delete: true, api: true };

    /// Reads a list of scopes.
    ///
    /// # Errors
    /// [`InvalidScopes`] for an unknown one, and for none.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidScopes> {
        let mut scopes = Self { pull: false, push: false, delete: false, api: false };
        let mut any = false;
        for name in names {
            any = true;
            match name {
                "pull" => scopes.pull = true,
                "push" => scopes.push = true,
                "delete" => scopes.delete = true,
                "api" => scopes.api = true,
                _ => return Err(InvalidScopes),
            }
        }
        if any { Ok(scopes) } else { Err(InvalidScopes) }
    }

    /// Their names, in a fixed order.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        let all =
            [(self.pull, "pull"), (self.push, "push"), (self.delete, "delete"), (self.api, "api")];
        all.into_iter().filter_map(|(has, name)| has.then_some(name)).collect()
    }

    /// Whether these are none but some of `other`.
    #[must_use]
    pub const fn is_within(self, other: Self) -> bool {
        (other.pull || !self.pull)
            && (other.push || !self.push)
            && (other.delete || !self.delete)
            && (other.api || !self.api)
    }

    /// Whether the REST API may be used.
    #[must_use]
    pub const fn api(self) -> bool {
        self.api
    }

    /// The scope that an action on a package takes. Who may push may pull, because a push looks at
    /// what is there.
    #[must_use]
    pub const fn missing_for(self, action: Action) -> Option<&'static str> {
        let (has, name) = match action {
            Action::Pull => (self.pull || self.push, "pull"),
            Action::Push => (self.push, "push"),
            Action::Delete => (self.delete, "delete"),
            Action::CreatePackage | Action::DeletePackage | Action::Manage => (self.api, "api"),
        };
        if has { None } else { Some(name) }
    }
}

impl fmt::Display for TokenScopes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.names().join(","))
    }
}

/// One right a bearer token was issued for (Docker token protocol, `access` claim).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// To list the packages (`registry:catalog:*`), of which only those are shown that the caller may
    /// read.
    Catalog,
    /// To use a package.
    Package(PackageGrant),
}

/// What a bearer token may be used for with one package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageGrant {
    /// The OCI name it is for.
    pub name: Name,
    /// May pull.
    pub pull: bool,
    /// May push.
    pub push: bool,
    /// May delete.
    pub delete: bool,
}

/// An authenticated request's author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who it is.
    pub principal: Principal,
    /// Which credential was shown, for records; never the secret.
    pub credential: Option<String>,
    /// What a bearer token was narrowed to; `None` means not narrowed (Basic).
    pub grants: Option<Vec<Grant>>,
    /// What the machine token behind the request was made for; all for other credentials.
    pub scopes: TokenScopes,
}

impl Caller {
    /// A caller who showed nothing.
    #[must_use]
    pub const fn anonymous() -> Self {
        Self::of(Principal::Anonymous)
    }

    /// A caller who is not narrowed by anything.
    #[must_use]
    pub const fn of(principal: Principal) -> Self {
        Self { principal, credential: None, grants: None, scopes: TokenScopes::ALL }
    }

    /// Whether no identity was shown.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.principal == Principal::Anonymous
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_may_do_what_its_scopes_say_and_nothing_else() {
        let missing = |names: &[&str]| {
            let scopes = TokenScopes::parse(names.iter().copied()).expect("known names");
            assert_eq!(scopes.names(), names);
            [
                Action::Pull,
                Action::Push,
                Action::Delete,
                Action::CreatePackage,
                Action::DeletePackage,
                Action::Manage,
            ]
            .map(|action| scopes.missing_for(action).unwrap_or("-"))
        };
        assert_eq!(missing(&["pull"]), ["-", "push", "delete", "api", "api", "api"]);
        assert_eq!(missing(&["push"]), ["-", "-", "delete", "api", "api", "api"]);
        assert_eq!(missing(&["delete"]), ["pull", "push", "-", "api", "api", "api"]);
        assert_eq!(missing(&["api"]), ["pull", "push", "delete", "-", "-", "-"]);
        assert_eq!(missing(&["pull", "push", "delete", "api"]), ["-"; 6]);
        assert!(TokenScopes::ALL.api() && !TokenScopes::parse(["pull"]).expect("known").api());
    }

    #[test]
    fn unknown_scopes_and_none_are_refused() {
        for bad in [&[][..], &["fly"], &["pull", "Push"], &[""]] {
            assert_eq!(TokenScopes::parse(bad.iter().copied()), Err(InvalidScopes), "{bad:?}");
        }
        let scopes = TokenScopes::parse(["push", "pull", "push"]).expect("known");
        assert_eq!(scopes.to_string(), "pull,push");
    }

    #[test]
    fn scopes_are_within_others_if_each_of_them_is() {
        let all = TokenScopes::ALL.names();
        let subsets = || {
            (1_u32..16).map(|bits| {
                let chosen = all.iter().enumerate().filter(move |(at, _)| bits & (1 << at) != 0);
                TokenScopes::parse(chosen.map(|(_, name)| *name)).expect("known")
            })
        };
        for one in subsets() {
            for other in subsets() {
                let expected = one.names().iter().all(|name| other.names().contains(name));
                assert_eq!(one.is_within(other), expected, "{one} {other}");
            }
        }
    }

    #[test]
    fn principals_of_different_kinds_have_different_keys() {
        let robot = Principal::Robot { workspace: WorkspaceId(1), name: "ann".parse().unwrap() };
        let user = Principal::User("ann".parse().unwrap());
        let pipeline =
            Principal::Pipeline { workspace: WorkspaceId(1), repository: RepositoryId(2) };
        let keys = [robot, user, pipeline, Principal::Anonymous].map(|principal| principal.key());
        assert_eq!(keys, ["robot:1:ann", "user:ann", "pipeline:1:2", "anonymous"]);
    }
}
