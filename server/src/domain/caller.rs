//! Who calls, and how far the credential they used narrows them.
//!
//! Invariant: a credential only ever narrows. What the principal may do is looked up at every
//! request; nothing in here is proof of a right.

use super::{Identity, Name, RepositoryId, Username, WorkspaceId};
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
            Self::User(name) => format!("user:{name}"),
        }
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
}

impl Caller {
    /// A caller who showed nothing.
    #[must_use]
    pub const fn anonymous() -> Self {
        Self { principal: Principal::Anonymous, credential: None, grants: None }
    }

    /// Whether no identity was shown.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.principal == Principal::Anonymous
    }
}
