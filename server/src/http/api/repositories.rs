//! Repositories.

use super::input::{At, Call, Json, Paging, Query, display_name, nullable, parse};
use super::output::{Created, Items, Refusals, time};
use crate::app::App;
use crate::domain::{Action, ProjectKey, Slug, Visibility};
use crate::http::error::ApiError;
use crate::metadata::{self, RepositoryFields};
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// A source repository. Packages linked to it inherit its permissions.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Repository {
    /// Its name in URLs.
    #[schema(example = "shop")]
    slug: String,
    /// Its display name.
    name: String,
    /// The key of its project.
    #[schema(example = "WEB")]
    project: Option<String>,
    /// `private` or `public`: who may pull without a role.
    visibility: &'static str,
    /// When it was created (RFC 3339).
    created_at: String,
}

/// A repository to be created.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRepository {
    /// Its name in URLs.
    #[schema(example = "shop")]
    slug: String,
    /// Its display name; the slug unless given.
    name: Option<String>,
    /// The key of its project.
    #[schema(example = "WEB")]
    project: Option<String>,
    /// `private` (unless given) or `public`.
    #[schema(example = "private")]
    visibility: Option<String>,
}

/// What to change of a repository; what is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RepositoryChanges {
    /// A new slug. Image names do not change with it.
    slug: Option<String>,
    /// The display name.
    name: Option<String>,
    /// The key of a project; `null` for none.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    project: Option<Option<String>>,
    /// `private` or `public`.
    visibility: Option<String>,
}

impl From<metadata::Repository> for Repository {
    fn from(repository: metadata::Repository) -> Self {
        let RepositoryFields { slug, name, project, visibility } = repository.fields;
        Self {
            slug: slug.to_string(),
            name,
            project: project.map(|project| project.to_string()),
            visibility: visibility.as_str(),
            created_at: time(repository.created.at),
        }
    }
}

impl NewRepository {
    fn fields(self) -> Result<RepositoryFields, ApiError> {
        let slug: Slug = parse("slug", &self.slug)?;
        let name = display_name(self.name, slug.as_str())?;
        let project = self.project.map(|key| parse::<ProjectKey>("project", &key)).transpose()?;
        let visibility = self.visibility.map(|text| parse("visibility", &text)).transpose()?;
        let visibility: Visibility = visibility.unwrap_or_default();
        Ok(RepositoryFields { slug, name, project, visibility })
    }
}

impl RepositoryChanges {
    fn applied_to(self, mut fields: RepositoryFields) -> Result<RepositoryFields, ApiError> {
        if let Some(slug) = self.slug {
            fields.slug = parse("slug", &slug)?;
        }
        fields.name = display_name(self.name, &fields.name)?;
        if let Some(project) = self.project {
            let project = project.map(|key| parse("project", &key));
            fields.project = project.transpose()?;
        }
        if let Some(visibility) = self.visibility {
            fields.visibility = parse("visibility", &visibility)?;
        }
        Ok(fields)
    }
}

/// The repositories of a workspace that the caller may read, by slug.
#[utoipa::path(get, path = "/workspaces/{workspace}/repositories", tag = "repositories",
    params(("workspace" = String, Path, description = "The workspace's slug"), Paging),
    responses((status = 200, body = Items<Repository>), Refusals))]
pub(super) async fn list(
    call: Call,
    State(app): State<Arc<App>>,
    At((slug,)): At<(Slug,)>,
    Query(paging): Query<Paging>,
) -> Result<Items<Repository>, ApiError> {
    let wanted = paging.wanted()?;
    let workspace = app.registry.visible_workspace(call.caller(), &slug).await?;
    let found = app.registry.repositories(call.caller(), &workspace, wanted.page()).await?;
    let cursor = |repository: &metadata::Repository| repository.fields.slug.to_string();
    Ok(Items::page(found, &wanted, cursor, Repository::from))
}

/// Creates a repository. Takes an administrator of the workspace.
#[utoipa::path(post, path = "/workspaces/{workspace}/repositories", tag = "repositories",
    request_body = NewRepository,
    params(("workspace" = String, Path, description = "The workspace's slug")),
    responses((status = 201, body = Repository), Refusals))]
pub(super) async fn create(
    call: Call,
    State(app): State<Arc<App>>,
    At((slug,)): At<(Slug,)>,
    Json(body): Json<NewRepository>,
) -> Result<Created<Repository>, ApiError> {
    let access = app.registry.workspace_admin(call.caller(), &slug).await?;
    let fields = body.fields()?;
    let repository = app.registry.create_repository(&access, &call.change(), fields).await?;
    let location = format!("/api/v1/workspaces/{slug}/repositories/{}", repository.fields.slug);
    Ok(Created { location, body: repository.into() })
}

/// One repository.
#[utoipa::path(get, path = "/workspaces/{workspace}/repositories/{repository}",
    tag = "repositories",
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("repository" = String, Path, description = "The repository's slug")),
    responses((status = 200, body = Repository), Refusals))]
pub(super) async fn show(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, slug)): At<(Slug, Slug)>,
) -> Result<axum::Json<Repository>, ApiError> {
    let found = app.registry.repository_for(call.caller(), &workspace, &slug, Action::Pull).await?;
    Ok(axum::Json(found.subject().clone().into()))
}

/// Changes a repository. Takes the role `admin` on it.
#[utoipa::path(patch, path = "/workspaces/{workspace}/repositories/{repository}",
    tag = "repositories", request_body = RepositoryChanges,
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("repository" = String, Path, description = "The repository's slug")),
    responses((status = 200, body = Repository), Refusals))]
pub(super) async fn change(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, slug)): At<(Slug, Slug)>,
    Json(body): Json<RepositoryChanges>,
) -> Result<axum::Json<Repository>, ApiError> {
    let caller = call.caller();
    let access = app.registry.repository_for(caller, &workspace, &slug, Action::Manage).await?;
    let fields = body.applied_to(access.subject().fields.clone())?;
    let changed = app.registry.update_repository(&access, &call.change(), fields).await?;
    Ok(axum::Json(changed.into()))
}

/// Deletes a repository that no package is linked to. Takes the role `admin` on it.
#[utoipa::path(delete, path = "/workspaces/{workspace}/repositories/{repository}",
    tag = "repositories",
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("repository" = String, Path, description = "The repository's slug")),
    responses((status = 204, description = "It is gone"), Refusals))]
pub(super) async fn delete(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, slug)): At<(Slug, Slug)>,
) -> Result<StatusCode, ApiError> {
    let caller = call.caller();
    let access = app.registry.repository_for(caller, &workspace, &slug, Action::Manage).await?;
    app.registry.delete_repository(&access, &call.change()).await?;
    Ok(StatusCode::NO_CONTENT)
}
