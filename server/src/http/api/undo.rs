//! What was deleted or replaced: what is kept of it, and putting it back.
//!
//! Invariant: an id that is not a live package the caller may see is looked for among the deleted
//! packages only for administrators of the workspace, so that to everybody else deleted, private and
//! missing look the same.

use super::input::{At, Call, Count, Json, Paging, Query, parse};
use super::output::{Items, Refusals, time};
use super::packages::{Package, repository_of};
use crate::app::App;
use crate::domain::{Action, Digest, PackageId, Slug};
use crate::http::error::ApiError;
use crate::metadata::{self, Kept, Restore};
use crate::registry::RegistryError;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// Something that can be put back.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeptItem {
    /// `tag` for what a tag pointed to before it moved or was deleted; `manifest` or `blob` for one
    /// that was deleted by digest. A blob also comes back with a manifest that needs it.
    kind: &'static str,
    /// The tag.
    tag: Option<String>,
    /// The digest.
    digest: String,
    /// The number of the tag's movement in the package's history.
    sequence: Option<u64>,
    /// Until when at least it can be put back (RFC 3339), unless the workspace's cap comes before.
    until: String,
    /// Who deleted or replaced it.
    #[schema(example = "user:ann")]
    by: String,
    /// When (RFC 3339).
    at: String,
}

/// A package that was deleted and can be put back.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeletedPackage {
    /// Its id, under which it is put back or given up.
    id: u64,
    /// The name it had.
    #[schema(example = "shop-api")]
    name: String,
    /// The repository it was linked to; `null` if that is gone, too.
    #[schema(example = "shop")]
    repository: Option<String>,
    /// Until when at least it can be put back (RFC 3339), unless the workspace's cap comes before.
    until: String,
    /// Who deleted it.
    #[schema(example = "user:ann")]
    by: String,
    /// When it was deleted (RFC 3339).
    at: String,
}

/// What to put back: of a package that is there a tag or a manifest, else the deleted package itself.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Restoration {
    /// The tag to put back: to the digest if there is one, else to what its last movement released.
    #[schema(example = "1.2")]
    tag: Option<String>,
    /// The manifest to put back.
    digest: Option<String>,
    /// For a deleted package: the name it gets, unless its own.
    name: Option<String>,
    /// For a deleted package: the slug of the repository it gets, unless its own.
    repository: Option<String>,
}

impl From<metadata::KeptItem> for KeptItem {
    fn from(item: metadata::KeptItem) -> Self {
        let (kind, tag, digest, sequence) = match item.what {
            Kept::Blob(digest) => ("blob", None, digest, None),
            Kept::Manifest(digest) => ("manifest", None, digest, None),
            Kept::Tag { tag, digest, sequence } => {
                ("tag", Some(tag.to_string()), digest, Some(sequence))
            }
        };
        Self {
            kind,
            tag,
            digest: digest.to_string(),
            sequence,
            until: time(item.until),
            by: item.by.change.actor,
            at: time(item.by.at),
        }
    }
}

impl DeletedPackage {
    async fn of(app: &App, found: metadata::DeletedPackage) -> Result<Self, RegistryError> {
        let metadata::DeletedPackage { package, until, by } = found;
        let repository = app.registry.repository_slug(package.repository).await?;
        Ok(Self {
            id: package.id.0,
            name: package.name.to_string(),
            repository: repository.map(|slug| slug.to_string()),
            until: time(until),
            by: by.change.actor,
            at: time(by.at),
        })
    }
}

impl Restoration {
    /// What to put back in a package that is there.
    fn inside(&self) -> Result<Restore, ApiError> {
        for (field, given) in [("name", &self.name), ("repository", &self.repository)] {
            if given.is_some() {
                return Err(ApiError::invalid(field, "this package is not deleted"));
            }
        }
        let digest = self.digest.as_deref().map(|text| parse::<Digest>("digest", text));
        match (&self.tag, digest.transpose()?) {
            (Some(tag), digest) => Ok(Restore::Tag { tag: parse("tag", tag)?, digest }),
            (None, Some(digest)) => Ok(Restore::Manifest(digest)),
            (None, None) => Err(ApiError::invalid("tag", "name a tag or a digest to put back")),
        }
    }
}

/// What of a package can be put back, newest first. There is no next page.
#[utoipa::path(get, path = "/workspaces/{workspace}/packages/{package}/kept", tag = "undo",
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("package" = u64, Path, description = "The package's id"), Count),
    responses((status = 200, body = Items<KeptItem>), Refusals))]
pub(super) async fn kept(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, id)): At<(Slug, PackageId)>,
    Query(count): Query<Count>,
) -> Result<Items<KeptItem>, ApiError> {
    let wanted = count.wanted()?;
    let access = app.registry.package_for(call.caller(), &workspace, id, Action::Pull).await?;
    let found = app.registry.kept(&access, wanted.limit()).await?;
    Ok(Items::whole(found, KeptItem::from))
}

/// Puts back what was deleted or replaced: a tag or a manifest of a package (takes the role `write`
/// on its repository), or a deleted package as a whole (takes an administrator of the workspace).
#[utoipa::path(post, path = "/workspaces/{workspace}/packages/{package}/restore", tag = "undo",
    request_body = Restoration,
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("package" = u64, Path, description = "The package's id, which a deleted one keeps")),
    responses((status = 200, body = Package, description = "The package is back"),
        (status = 204, description = "The tag or manifest is back"), Refusals))]
pub(super) async fn restore(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, id)): At<(Slug, PackageId)>,
    Json(body): Json<Restoration>,
) -> Result<Response, ApiError> {
    match app.registry.package_for(call.caller(), &workspace, id, Action::Push).await {
        Ok(access) => {
            app.registry.restore(&access, &call.change(), &body.inside()?).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Err(RegistryError::NotFound(_)) => {
            let package = restore_package(&call, &app, &workspace, id, body).await?;
            Ok(axum::Json(package).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

async fn restore_package(
    call: &Call,
    app: &App,
    workspace: &Slug,
    id: PackageId,
    body: Restoration,
) -> Result<Package, ApiError> {
    let caller = call.caller();
    let administered = app.registry.workspace_admin(caller, workspace).await?;
    let deleted = app.registry.restorable(&administered, id).await?;
    for (field, given) in [("tag", &body.tag), ("digest", &body.digest)] {
        if given.is_some() {
            return Err(ApiError::invalid(field, "this package is deleted; put it back first"));
        }
    }
    let name = body.name.map(|name| parse("name", &name)).transpose()?;
    let repository = match body.repository {
        None => None,
        Some(slug) => {
            let slug = parse("repository", &slug)?;
            let action = Action::CreatePackage;
            let found = app.registry.repository_for(caller, workspace, &slug, action).await?;
            Some(found.subject().id)
        }
    };
    let change = call.change();
    let package = app.registry.restore_package(&deleted, &change, name, repository).await?;
    let repository = repository_of(app, package.repository).await?;
    Ok(Package::new(package, repository))
}

/// The deleted packages of a workspace that can be put back. Takes an administrator of the workspace.
#[utoipa::path(get, path = "/workspaces/{workspace}/deleted-packages", tag = "undo",
    params(("workspace" = String, Path, description = "The workspace's slug"), Paging),
    responses((status = 200, body = Items<DeletedPackage>), Refusals))]
pub(super) async fn deleted_packages(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace,)): At<(Slug,)>,
    Query(paging): Query<Paging>,
) -> Result<Items<DeletedPackage>, ApiError> {
    let wanted = paging.wanted()?;
    let access = app.registry.workspace_admin(call.caller(), &workspace).await?;
    let after = wanted.after().map(|id| id.parse().map(PackageId)).transpose();
    let after = after.map_err(|_| ApiError::invalid("after", "this is no cursor of ours"))?;
    let found = app.registry.deleted_packages(&access, after, wanted.page().limit).await?;
    let mut shown = Vec::new();
    for package in found {
        shown.push(DeletedPackage::of(&app, package).await?);
    }
    Ok(Items::page(shown, &wanted, |package| package.id.to_string(), |package| package))
}
