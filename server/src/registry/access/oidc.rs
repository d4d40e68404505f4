//! What builds may do that an OIDC issuer vouches for: their bindings, looked up at every request.
//!
//! Invariant: a binding gives its role on its one repository to builds that meet all its conditions
//! now; which tags they may move is decided by the bindings that let them push. Only administrators
//! of the workspace get the proof with which bindings are made.

use super::super::{Registry, RegistryError, Result};
use crate::domain::{
    Binding, Caller, Identity, Name, Principal, RepositoryId, Role, Slug, TagPermit, WorkspaceId,
};
use crate::metadata::{Repository, Workspace};
use std::sync::Arc;

/// Proof that the caller administers the workspace of a repository, and so may say which builds
/// act as it.
#[derive(Clone, Debug)]
pub struct Bindable {
    pub(in crate::registry) repository: Repository,
}

impl Bindable {
    /// The repository.
    #[must_use]
    pub const fn repository(&self) -> &Repository {
        &self.repository
    }
}

/// How a build stands with this registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A binding lets it in.
    Bound,
    /// There are bindings for its source repository and audience, but it does not meet their
    /// conditions; in words.
    Unmet(String),
    /// There is none.
    Unknown,
}

impl Registry {
    /// Proof for making and ending bindings of a repository.
    ///
    /// # Errors
    /// The refusal.
    pub async fn bindable(
        &self,
        caller: &Caller,
        workspace: &Slug,
        repository: &Slug,
    ) -> Result<Bindable> {
        let workspace = self.workspace_admin(caller, workspace).await?;
        let found = self.metadata.repository(workspace.subject.id, repository).await?;
        let missing = || RegistryError::NotFound(format!("repository {repository}"));
        Ok(Bindable { repository: found.ok_or_else(missing)? })
    }

    /// Whether a build may log in now.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn standing(&self, build: &Identity) -> Result<Standing> {
        let mut unmet = None;
        for binding in self.bindings_about(build).await? {
            // Of a repository that is gone a binding may be left; ids are not used again.
            if self.metadata.repository_by_id(binding.repository).await?.is_none() {
                continue;
            }
            match binding.when.unmet(build) {
                None => return Ok(Standing::Bound),
                Some(why) => {
                    unmet.get_or_insert(why);
                }
            }
        }
        Ok(unmet.map_or(Standing::Unknown, Standing::Unmet))
    }

    /// The bindings whose conditions a build meets now.
    async fn bindings_met(&self, build: &Identity) -> Result<Vec<Binding>> {
        let mut bindings = self.bindings_about(build).await?;
        bindings.retain(|binding| binding.when.unmet(build).is_none());
        Ok(bindings)
    }

    /// The role of a build on a repository.
    pub(super) async fn build_role(
        &self,
        build: &Identity,
        repository: &Repository,
    ) -> Result<Option<Role>> {
        let bindings = self.bindings_met(build).await?;
        let own = bindings.iter().filter(|binding| is_of(binding, repository));
        Ok(own.map(|binding| binding.role).max())
    }

    /// Whether a build has a role on anything in a workspace.
    pub(super) async fn build_is_member(
        &self,
        build: &Identity,
        workspace: WorkspaceId,
    ) -> Result<bool> {
        let bindings = self.bindings_met(build).await?;
        Ok(bindings.iter().any(|binding| binding.workspace == workspace))
    }

    /// The repository of a package that a build's push would create: the one it may push to, or of
    /// several the one that the name begins with.
    pub(super) async fn build_repository(
        &self,
        build: &Identity,
        workspace: &Workspace,
        name: &Name,
    ) -> Result<Option<Repository>> {
        let bindings = self.bindings_met(build).await?;
        let own =
            |binding: &&Binding| binding.workspace == workspace.id && binding.role >= Role::Write;
        let mut ids: Vec<RepositoryId> =
            bindings.iter().filter(own).map(|binding| binding.repository).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut found = Vec::new();
        for id in ids {
            found.extend(self.metadata.repository_by_id(id).await?);
        }
        if found.len() > 1 {
            let first = name.package.first_part();
            found.retain(|repository| repository.fields.slug.as_str() == first);
        }
        Ok(found.pop())
    }

    /// Which tags a caller may move in the packages of a repository.
    pub(super) async fn tag_permit(
        &self,
        caller: &Caller,
        repository: RepositoryId,
    ) -> Result<TagPermit> {
        let Principal::Oidc(build) = &caller.principal else { return Ok(TagPermit::All) };
        let mut bindings = self.bindings_met(build).await?;
        bindings.retain(|binding| binding.repository == repository && binding.role >= Role::Write);
        if bindings.iter().any(|binding| binding.tag_rules.is_empty()) {
            return Ok(TagPermit::All);
        }
        Ok(TagPermit::Ruled { build: Arc::clone(build), bindings })
    }
}

fn is_of(binding: &Binding, repository: &Repository) -> bool {
    binding.repository == repository.id && binding.workspace == repository.workspace
}
