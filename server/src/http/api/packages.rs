//! Packages. Below their list they are addressed by id, because names have slashes.

use super::input::{At, Call, Json, Paging, Query, parse};
use super::output::{Created, Items, Refusals, time};
use crate::app::App;
use crate::domain::{Action, PackageId, PackageName, RepositoryId, Slug};
use crate::http::error::ApiError;
use crate::metadata::{self, PackageFilter};
use crate::registry::RegistryError;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// A package: one container image name, with its tags.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Package {
    /// Its id, which is never used again.
    id: u64,
    /// Its name within the workspace; may have slashes.
    #[schema(example = "shop-api")]
    name: String,
    /// The repository it inherits its permissions from.
    #[schema(example = "shop")]
    repository: String,
    /// When it was created (RFC 3339).
    created_at: String,
    /// When a tag or manifest of it last changed (RFC 3339).
    updated_at: String,
    /// Byte totals; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<PackageUsage>,
}

/// Byte totals of a package.
#[derive(Debug, Serialize, ToSchema)]
struct PackageUsage {
    /// Bytes of the blobs linked in it.
    linked_bytes: u64,
    /// Bytes of the blobs that no other package of the workspace has.
    exclusive_bytes: u64,
    /// Bytes of its manifests.
    manifest_bytes: u64,
}

/// A package to be created.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPackage {
    /// Its name within the workspace; may have slashes.
    #[schema(example = "shop-api")]
    name: String,
    /// The slug of the repository to link it to.
    #[schema(example = "shop")]
    repository: String,
}

/// Which packages, and which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PackageQuery {
    /// Only those linked to a repository of the project with this key.
    project: Option<String>,
    /// Only those linked to the repository of this slug.
    repository: Option<String>,
    /// Only the one of this name.
    name: Option<String>,
    /// Only what comes after this: `next` of the page before.
    #[param(max_length = 512)]
    after: Option<String>,
    /// At most so many items; 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

impl Package {
    pub(super) fn new(package: metadata::Package, repository: String) -> Self {
        Self {
            id: package.id.0,
            name: package.name.to_string(),
            repository,
            created_at: time(package.created.at),
            updated_at: time(package.updated),
            usage: None,
        }
    }
}

/// The slug of a package's repository. A package always has one; the empty text is for the moment
/// in which both are deleted.
pub(super) async fn repository_of(app: &App, id: RepositoryId) -> Result<String, RegistryError> {
    let slug = app.registry.repository_slug(id).await?;
    Ok(slug.map(|slug| slug.to_string()).unwrap_or_default())
}

/// The packages of a workspace that the caller may read, by name.
#[utoipa::path(get, path = "/workspaces/{workspace}/packages", tag = "packages",
    params(("workspace" = String, Path, description = "The workspace's slug"), PackageQuery),
    responses((status = 200, body = Items<Package>), Refusals))]
pub(super) async fn list(
    call: Call,
    State(app): State<Arc<App>>,
    At((slug,)): At<(Slug,)>,
    Query(query): Query<PackageQuery>,
) -> Result<Items<Package>, ApiError> {
    let wanted = Paging { after: query.after, limit: query.limit }.wanted()?;
    let caller = call.caller();
    let workspace = app.registry.visible_workspace(caller, &slug).await?;
    let project = query.project.map(|key| parse("project", &key)).transpose()?;
    let name = query.name.map(|name| parse("name", &name)).transpose()?;
    let mut filter = PackageFilter { project, name, repository: None };
    if let Some(repository) = query.repository {
        let repository: Slug = parse("repository", &repository)?;
        let found = app.registry.repository_for(caller, &slug, &repository, Action::Pull).await?;
        filter.repository = Some(found.subject().id);
    }
    let found = app.registry.packages(caller, &workspace, &filter, wanted.page()).await?;
    let mut slugs = HashMap::new();
    for package in &found {
        if let Entry::Vacant(unknown) = slugs.entry(package.repository) {
            unknown.insert(repository_of(&app, package.repository).await?);
        }
    }
    let show = |package: metadata::Package| {
        let repository = slugs.get(&package.repository).cloned().unwrap_or_default();
        Package::new(package, repository)
    };
    Ok(Items::page(found, &wanted, |package| package.name.to_string(), show))
}

/// Creates a package linked to a repository. Takes the role `admin` on the repository.
#[utoipa::path(post, path = "/workspaces/{workspace}/packages", tag = "packages",
    request_body = NewPackage,
    params(("workspace" = String, Path, description = "The workspace's slug")),
    responses((status = 201, body = Package), Refusals))]
pub(super) async fn create(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace,)): At<(Slug,)>,
    Json(body): Json<NewPackage>,
) -> Result<Created<Package>, ApiError> {
    let caller = call.caller();
    // Who has no part in the workspace learns nothing about what a legal request would be.
    app.registry.visible_workspace(caller, &workspace).await?;
    let name: PackageName = parse("name", &body.name)?;
    let slug: Slug = parse("repository", &body.repository)?;
    let action = Action::CreatePackage;
    let access = app.registry.repository_for(caller, &workspace, &slug, action).await?;
    let package = app.registry.create_package(&access, &call.change(), &name).await?;
    let location = format!("/api/v1/workspaces/{workspace}/packages/{}", package.id);
    Ok(Created { location, body: Package::new(package, slug.to_string()) })
}

/// One package with its byte totals.
#[utoipa::path(get, path = "/workspaces/{workspace}/packages/{package}", tag = "packages",
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("package" = u64, Path, description = "The package's id")),
    responses((status = 200, body = Package), Refusals))]
pub(super) async fn show(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, id)): At<(Slug, PackageId)>,
) -> Result<axum::Json<Package>, ApiError> {
    let caller = call.caller();
    let access = app.registry.package_for(caller, &workspace, id, Action::Pull).await?;
    let usage = app.registry.package_usage(&access).await?;
    let repository = repository_of(&app, access.subject().repository).await?;
    let mut package = Package::new(access.subject().clone(), repository);
    package.usage = Some(PackageUsage {
        linked_bytes: usage.linked_bytes,
        exclusive_bytes: usage.exclusive_bytes,
        manifest_bytes: usage.manifest_bytes,
    });
    Ok(axum::Json(package))
}

/// Deletes a package with all its tags. Its name is free at once, and for a while it can be put back.
/// Takes the role `admin` on its repository.
#[utoipa::path(delete, path = "/workspaces/{workspace}/packages/{package}", tag = "packages",
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("package" = u64, Path, description = "The package's id")),
    responses((status = 204, description = "It is gone"), Refusals))]
pub(super) async fn delete(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, id)): At<(Slug, PackageId)>,
) -> Result<StatusCode, ApiError> {
    let caller = call.caller();
    let access = app.registry.package_for(caller, &workspace, id, Action::DeletePackage).await?;
    app.registry.delete_package(&access, &call.change()).await?;
    Ok(StatusCode::NO_CONTENT)
}
