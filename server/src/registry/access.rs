//! The only place that decides who may do what, and the only place that chooses the refusal
//! (DESIGN §6).
//!
//! Invariant: the role is looked up at every request. A token only narrows it. Who has no role on a
//! private repository gets the same answer as for a package that does not exist:
//!
//! | case | refusal |
//! |---|---|
//! | no credential, and not public | 401 with a challenge |
//! | role below `read` | 404, as if it did not exist |
//! | role too small | 403 |
//! | role enough, registry token narrower | 401 `insufficient_scope`: the client fetches another |
//! | role enough, machine token made for less | 403: fetching another would not help |
//!
//! Verbs take the proofs made here ([`Readable`], [`Writable`], …), which cannot be built elsewhere.

mod oidc;
mod robots;

pub use oidc::{Bindable, Standing};

use super::error::NotCreated;
use super::{Registry, RegistryError, Result};
use crate::domain::{
    Action, Caller, Change, CreateOnPush, Grant, Name, Origin, PackageId, Principal, Role, Slug,
    TagPermit, Username, Visibility, WorkspaceId,
};
use crate::metadata::documents::{self, Body as _};
use crate::metadata::{DocumentKind, Package, Repository, Resolution, Target, Workspace};

/// Proof that the caller may pull from a package.
#[derive(Clone, Debug)]
pub struct Readable {
    pub(super) package: Package,
    pub(super) may_write: bool,
}

impl Readable {
    /// The package.
    #[must_use]
    pub const fn package(&self) -> &Package {
        &self.package
    }
}

/// Proof that the caller may push to a package, which may be created by that.
#[derive(Clone, Debug)]
pub struct Writable {
    pub(super) caller: Caller,
    pub(super) name: Name,
    pub(super) workspace: WorkspaceId,
    pub(super) target: Target,
    pub(super) tags: TagPermit,
}

impl Writable {
    /// The package's id, unless it will be created.
    pub(super) const fn package(&self) -> Option<PackageId> {
        match &self.target {
            Target::Existing(id) => Some(*id),
            Target::Create { .. } => None,
        }
    }
}

/// Proof that the caller may delete tags, manifests and blobs of a package.
#[derive(Clone, Debug)]
pub struct Deletable {
    pub(super) package: Package,
    pub(super) tags: TagPermit,
}

/// Proof that the caller administers a package or a repository.
#[derive(Clone, Debug)]
pub struct Administered<T> {
    pub(super) subject: T,
    /// Which tags of it the caller may move.
    pub(super) tags: TagPermit,
}

impl<T> Administered<T> {
    /// What is administered.
    #[must_use]
    pub const fn subject(&self) -> &T {
        &self.subject
    }
}

/// Proof that the caller administers the whole instance.
#[derive(Clone, Copy, Debug)]
pub struct InstanceAdmin(());

impl InstanceAdmin {
    /// The server acting for itself at start-up, before anybody can call.
    pub(crate) const fn server() -> Self {
        Self(())
    }
}

/// The author of a change, from who called.
#[must_use]
pub fn change(caller: &Caller, request_id: &str, origin: Origin) -> Change {
    let origin = match &caller.principal {
        Principal::Oidc(build) => build.origin(origin),
        Principal::Anonymous
        | Principal::Pipeline { .. }
        | Principal::Robot { .. }
        | Principal::User(_) => origin,
    };
    Change {
        actor: caller.principal.key(),
        credential: caller.credential.clone(),
        request_id: request_id.to_owned(),
        origin,
        event: None,
    }
}

impl Registry {
    /// Proof for pulling.
    ///
    /// # Errors
    /// The refusal.
    pub async fn readable(&self, caller: &Caller, name: &Name) -> Result<Readable> {
        let (package, role) = self.allowed(caller, name, Action::Pull).await?;
        Ok(Readable { package, may_write: role >= Role::Write })
    }

    /// Proof for deleting tags, manifests and blobs.
    ///
    /// # Errors
    /// The refusal.
    pub async fn deletable(&self, caller: &Caller, name: &Name) -> Result<Deletable> {
        let (package, _) = self.allowed(caller, name, Action::Delete).await?;
        let tags = self.tag_permit(caller, package.repository).await?;
        Ok(Deletable { package, tags })
    }

    /// Proof for pushing. A package that does not exist yet is planned if the workspace's setting
    /// and the caller's role allow it.
    ///
    /// # Errors
    /// The refusal.
    pub async fn writable(&self, caller: &Caller, name: &Name) -> Result<Writable> {
        let resolution = self.metadata.resolve(name).await?;
        if resolution.package.is_some() {
            let (package, _) = self.decide(caller, name, Action::Push, resolution).await?;
            return Ok(Writable {
                caller: caller.clone(),
                name: name.clone(),
                workspace: package.workspace,
                target: Target::Existing(package.id),
                tags: self.tag_permit(caller, package.repository).await?,
            });
        }
        if caller.is_anonymous() {
            return Err(RegistryError::Unauthenticated);
        }
        let Some(workspace) = resolution.workspace else {
            return Err(RegistryError::unknown_name(name.clone()));
        };
        let repository = self.repository_for_new_package(caller, &workspace, name).await?;
        narrowed(caller, name, Action::Push)?;
        Ok(Writable {
            caller: caller.clone(),
            name: name.clone(),
            workspace: workspace.id,
            target: Target::Create {
                workspace: workspace.id,
                name: name.package.clone(),
                repository: repository.id,
            },
            tags: self.tag_permit(caller, repository.id).await?,
        })
    }

    /// Checks again, after a long body, what was proved before it (a role may be gone meanwhile).
    pub(super) async fn still_writable(&self, access: &Writable) -> Result<()> {
        // The token may have expired meanwhile, which the request's head settled; grants stay.
        self.writable(&access.caller, &access.name).await.map(|_| ())
    }

    /// Whether the caller may do `action` with the package now; for token scopes and lists.
    ///
    /// # Errors
    /// Only failures of the storage; a refusal is `false`.
    pub async fn may(&self, caller: &Caller, name: &Name, action: Action) -> Result<bool> {
        let outcome = match action {
            Action::Push => self.writable(caller, name).await.map(|_| ()),
            _ => self.allowed(caller, name, action).await.map(|_| ()),
        };
        match outcome {
            Ok(()) => Ok(true),
            Err(error @ (RegistryError::Unavailable(_) | RegistryError::Busy)) => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Whether the caller may ask for the list of packages: whoever showed a credential may, and a
    /// registry token must have been issued for it. What is on the list is another question.
    ///
    /// # Errors
    /// [`RegistryError::Unauthenticated`]; [`RegistryError::TokenScope`].
    pub(super) fn may_list(&self, caller: &Caller) -> Result<()> {
        if let Some(missing) = caller.scopes.missing_for(Action::Pull) {
            return Err(RegistryError::TokenScope(missing));
        }
        let listed = match &caller.grants {
            Some(grants) => grants.contains(&Grant::Catalog),
            None => !caller.is_anonymous(),
        };
        if listed { Ok(()) } else { Err(RegistryError::Unauthenticated) }
    }

    /// Proof for an action on a package addressed by its workspace and id (REST). An id of another
    /// workspace is not found, whoever asks (CVE-2019-19023 and its kin).
    ///
    /// # Errors
    /// The refusal.
    pub async fn package_for(
        &self,
        caller: &Caller,
        workspace: &Slug,
        id: PackageId,
        action: Action,
    ) -> Result<Administered<Package>> {
        let missing = || RegistryError::NotFound(format!("package {id}"));
        let found = self.metadata.workspace(workspace).await?;
        let package = self.metadata.package(id).await?;
        let (Some(found), Some(package)) = (found, package) else {
            return Err(if caller.is_anonymous() {
                RegistryError::Unauthenticated
            } else {
                missing()
            });
        };
        if package.workspace != found.id {
            return Err(if caller.is_anonymous() {
                RegistryError::Unauthenticated
            } else {
                missing()
            });
        }
        let name = Name { workspace: found.slug, package: package.name.clone() };
        // Over the API it is the API's scope that counts, whatever is done.
        not_narrowed(caller)?;
        let resolution = self.metadata.resolve(&name).await?;
        match self.decide_role(caller, &name, action, resolution).await {
            Ok((package, _)) => {
                let tags = self.tag_permit(caller, package.repository).await?;
                Ok(Administered { subject: package, tags })
            }
            Err(RegistryError::NameUnknown { .. }) => Err(missing()),
            Err(error) => Err(error),
        }
    }

    /// Proof for an action on a repository (REST).
    ///
    /// # Errors
    /// The refusal.
    pub async fn repository_for(
        &self,
        caller: &Caller,
        workspace: &Slug,
        repository: &Slug,
        action: Action,
    ) -> Result<Administered<Repository>> {
        let missing = || {
            if caller.is_anonymous() {
                RegistryError::Unauthenticated
            } else {
                RegistryError::NotFound(format!("repository {repository}"))
            }
        };
        not_narrowed(caller)?;
        let Some(workspace) = self.metadata.workspace(workspace).await? else {
            return Err(missing());
        };
        let Some(found) = self.metadata.repository(workspace.id, repository).await? else {
            return Err(missing());
        };
        match self.role(caller, &found).await? {
            None => Err(missing()),
            Some(role) if role < action.required_role() => Err(refusal(caller, action)),
            Some(_) => Ok(Administered { subject: found, tags: TagPermit::All }),
        }
    }

    /// The caller's role on a repository now, for what a page offers; each verb asks again.
    ///
    /// # Errors
    /// Only failures of the storage.
    pub async fn role_on(&self, caller: &Caller, repository: &Repository) -> Result<Option<Role>> {
        self.role(caller, repository).await
    }

    /// Proof of administering a workspace.
    ///
    /// # Errors
    /// The refusal: 404 for those who have no part in the workspace.
    pub async fn workspace_admin(
        &self,
        caller: &Caller,
        slug: &Slug,
    ) -> Result<Administered<Workspace>> {
        let workspace = self.visible_workspace(caller, slug).await?;
        if self.is_workspace_admin(caller, workspace.id).await? {
            Ok(Administered { subject: workspace, tags: TagPermit::All })
        } else {
            Err(RegistryError::AdministratorsOnly("workspace"))
        }
    }

    /// The workspace of a slug, for callers with any part in it.
    ///
    /// # Errors
    /// The refusal: 401 for anonymous callers, 404 for those who have no part in it.
    pub async fn visible_workspace(&self, caller: &Caller, slug: &Slug) -> Result<Workspace> {
        not_narrowed(caller)?;
        let missing = || RegistryError::NotFound(format!("workspace {slug}"));
        let workspace = self.metadata.workspace(slug).await?.ok_or_else(missing)?;
        if self.is_member(caller, workspace.id).await? { Ok(workspace) } else { Err(missing()) }
    }

    /// Proof of administering the instance.
    ///
    /// # Errors
    /// The refusal.
    pub async fn instance_admin(&self, caller: &Caller) -> Result<InstanceAdmin> {
        not_narrowed(caller)?;
        if self.is_instance_admin(caller).await? {
            Ok(InstanceAdmin(()))
        } else {
            Err(RegistryError::AdministratorsOnly("instance"))
        }
    }

    /// Whether the caller may use the API beside `/v2/` at all.
    ///
    /// # Errors
    /// The refusal.
    pub fn api_caller(&self, caller: &Caller) -> Result<()> {
        not_narrowed(caller)
    }

    async fn allowed(
        &self,
        caller: &Caller,
        name: &Name,
        action: Action,
    ) -> Result<(Package, Role)> {
        let resolution = self.metadata.resolve(name).await?;
        self.decide(caller, name, action, resolution).await
    }

    async fn decide(
        &self,
        caller: &Caller,
        name: &Name,
        action: Action,
        resolution: Resolution,
    ) -> Result<(Package, Role)> {
        let decided = self.decide_role(caller, name, action, resolution).await?;
        narrowed(caller, name, action)?;
        Ok(decided)
    }

    /// Whether the role suffices, whatever the token was narrowed to.
    async fn decide_role(
        &self,
        caller: &Caller,
        name: &Name,
        action: Action,
        resolution: Resolution,
    ) -> Result<(Package, Role)> {
        let hidden = || {
            if caller.is_anonymous() {
                RegistryError::Unauthenticated
            } else {
                RegistryError::unknown_name(name.clone())
            }
        };
        let Some((package, repository)) = resolution.package else { return Err(hidden()) };
        let Some(role) = self.role(caller, &repository).await? else { return Err(hidden()) };
        if role < action.required_role() {
            return Err(refusal(caller, action));
        }
        Ok((package, role))
    }

    /// The caller's role on a repository, now.
    pub(super) async fn role(
        &self,
        caller: &Caller,
        repository: &Repository,
    ) -> Result<Option<Role>> {
        let own = match &caller.principal {
            Principal::Anonymous => None,
            Principal::Oidc(build) => self.build_role(build, repository).await?,
            Principal::Pipeline { repository: id, .. } => {
                (*id == repository.id).then_some(Role::Write)
            }
            Principal::Robot { workspace, name } => {
                self.robot_role(*workspace, name, repository).await?
            }
            Principal::User(user) => {
                if self.is_workspace_admin(caller, repository.workspace).await? {
                    Some(Role::Admin)
                } else if self.active_user(user).await?.is_some() {
                    let key = documents::permission_key(repository.id, user);
                    self.permission(DocumentKind::Permission, &key).await?
                } else {
                    None
                }
            }
        };
        let public = repository.fields.visibility == Visibility::Public;
        Ok(own.or_else(|| public.then_some(Role::Read)))
    }

    /// Whether the caller is an administrator of the workspace, or of everything.
    pub(super) async fn is_workspace_admin(
        &self,
        caller: &Caller,
        workspace: WorkspaceId,
    ) -> Result<bool> {
        let Principal::User(user) = &caller.principal else { return Ok(false) };
        let Some(account) = self.active_user(user).await? else { return Ok(false) };
        if account.instance_admin {
            return Ok(true);
        }
        let key = documents::workspace_permission_key(workspace, user);
        let role = self.permission(DocumentKind::WorkspacePermission, &key).await?;
        Ok(role == Some(Role::Admin))
    }

    async fn is_instance_admin(&self, caller: &Caller) -> Result<bool> {
        let Principal::User(user) = &caller.principal else { return Ok(false) };
        Ok(self.active_user(user).await?.is_some_and(|account| account.instance_admin))
    }

    /// Whether the caller has any role in the workspace. Asks repository by repository, which is
    /// fine for the REST pages it serves and is never done for a push or pull.
    async fn is_member(&self, caller: &Caller, workspace: WorkspaceId) -> Result<bool> {
        if let Principal::Pipeline { workspace: own, .. } = &caller.principal {
            return Ok(*own == workspace);
        }
        if let Principal::Robot { workspace: own, name } = &caller.principal {
            let robot = self.robot(*own, name).await?;
            return Ok(*own == workspace && robot.is_some_and(|robot| !robot.disabled));
        }
        if let Principal::Oidc(build) = &caller.principal {
            return self.build_is_member(build, workspace).await;
        }
        if self.is_workspace_admin(caller, workspace).await? {
            return Ok(true);
        }
        for repository in self.all_repositories(workspace).await? {
            if self.role(caller, &repository).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn active_user(&self, user: &Username) -> Result<Option<documents::User>> {
        let Some(found) = self.metadata.document(DocumentKind::User, user.as_str()).await? else {
            return Ok(None);
        };
        let account = documents::User::decode(&found.body)?;
        Ok((!account.disabled).then_some(account))
    }

    async fn permission(&self, kind: DocumentKind, key: &str) -> Result<Option<Role>> {
        let Some(found) = self.metadata.document(kind, key).await? else { return Ok(None) };
        Ok(documents::Permission::decode(&found.body)?.role())
    }

    /// The repository that a package created by this push is linked to (DESIGN §7).
    async fn repository_for_new_package(
        &self,
        caller: &Caller,
        workspace: &Workspace,
        name: &Name,
    ) -> Result<Repository> {
        let refuse = |why| RegistryError::NameUnknown { name: name.clone(), why };
        let Some(repository) = self.candidate_repository(caller, workspace, name).await? else {
            let told = self.is_workspace_admin(caller, workspace.id).await?;
            return Err(refuse(if told { NotCreated::NoRepository } else { NotCreated::Hidden }));
        };
        let role = self.role(caller, &repository).await?;
        if role < Some(Role::Write) {
            return Err(refuse(NotCreated::Hidden));
        }
        let needed = match workspace.settings.create_on_push {
            CreateOnPush::Never => return Err(refuse(NotCreated::Never)),
            CreateOnPush::Admins => Role::Admin,
            CreateOnPush::Writers => Role::Write,
        };
        if role < Some(needed) {
            let repository = repository.fields.slug.to_string();
            return Err(refuse(NotCreated::Role { needed, repository }));
        }
        Ok(repository)
    }

    async fn candidate_repository(
        &self,
        caller: &Caller,
        workspace: &Workspace,
        name: &Name,
    ) -> Result<Option<Repository>> {
        if let Principal::Pipeline { workspace: own, repository } = &caller.principal {
            if *own != workspace.id {
                return Ok(None);
            }
            return Ok(self.metadata.repository_by_id(*repository).await?);
        }
        if let Principal::Oidc(build) = &caller.principal {
            return self.build_repository(build, workspace, name).await;
        }
        // A package name's part may be longer than a slug; then no repository has it.
        if let Ok(slug) = name.package.first_part().parse()
            && let Some(found) = self.metadata.repository(workspace.id, &slug).await?
        {
            return Ok(Some(found));
        }
        match &workspace.settings.default_repository {
            Some(slug) => Ok(self.metadata.repository(workspace.id, slug).await?),
            None => Ok(None),
        }
    }
}

/// A role that is too small: who showed nothing is asked to log in first.
const fn refusal(caller: &Caller, action: Action) -> RegistryError {
    match caller.principal {
        Principal::Anonymous => RegistryError::Unauthenticated,
        _ => RegistryError::Denied(action),
    }
}

/// Whether the token covers the action on this name.
fn narrowed(caller: &Caller, name: &Name, action: Action) -> Result<()> {
    if let Some(missing) = caller.scopes.missing_for(action) {
        return Err(RegistryError::TokenScope(missing));
    }
    let Some(grants) = &caller.grants else { return Ok(()) };
    let packages = grants.iter().filter_map(|grant| match grant {
        Grant::Package(grant) => Some(grant),
        Grant::Catalog => None,
    });
    let covered = packages.filter(|grant| grant.name == *name).any(|grant| match action {
        Action::Pull => grant.pull,
        Action::Push => grant.push,
        Action::Delete => grant.delete,
        Action::CreatePackage | Action::DeletePackage | Action::Manage => false,
    });
    if covered {
        return Ok(());
    }
    Err(RegistryError::InsufficientScope { name: name.clone(), action })
}

/// Registry tokens are for `/v2/` only; everything else takes the credential itself, and a machine
/// token that was made for it.
fn not_narrowed(caller: &Caller) -> Result<()> {
    if caller.is_anonymous() || caller.grants.is_some() {
        return Err(RegistryError::Unauthenticated);
    }
    if !caller.scopes.api() {
        return Err(RegistryError::TokenScope("api"));
    }
    Ok(())
}
