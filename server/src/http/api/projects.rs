//! Projects.

use super::input::{At, Call, Json, Paging, Query, display_name, parse};
use super::output::{Created, Items, Refusals};
use crate::app::App;
use crate::domain::{ProjectKey, Slug};
use crate::http::error::ApiError;
use crate::registry::projects;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// A project: it groups repositories and carries no rights.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Project {
    /// Its key.
    #[schema(example = "WEB")]
    key: String,
    /// Its display name.
    #[schema(example = "Web")]
    name: String,
}

/// A project to be created.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewProject {
    /// Its key: upper-case letters, digits and `_`.
    #[schema(example = "WEB")]
    key: String,
    /// Its display name; the key unless given.
    #[schema(example = "Web")]
    name: Option<String>,
}

impl From<projects::Project> for Project {
    fn from(project: projects::Project) -> Self {
        Self { key: project.key, name: project.name }
    }
}

/// A workspace's projects, by key.
#[utoipa::path(get, path = "/workspaces/{workspace}/projects", tag = "projects",
    params(("workspace" = String, Path, description = "The workspace's slug"), Paging),
    responses((status = 200, body = Items<Project>), Refusals))]
pub(super) async fn list(
    call: Call,
    State(app): State<Arc<App>>,
    At((slug,)): At<(Slug,)>,
    Query(paging): Query<Paging>,
) -> Result<Items<Project>, ApiError> {
    let wanted = paging.wanted()?;
    let workspace = app.registry.visible_workspace(call.caller(), &slug).await?;
    let found = app.registry.projects(&workspace, wanted.page()).await?;
    Ok(Items::page(found, &wanted, |project| project.key.clone(), Project::from))
}

/// Creates a project. Takes an administrator of the workspace.
#[utoipa::path(post, path = "/workspaces/{workspace}/projects", tag = "projects",
    request_body = NewProject,
    params(("workspace" = String, Path, description = "The workspace's slug")),
    responses((status = 201, body = Project), Refusals))]
pub(super) async fn create(
    call: Call,
    State(app): State<Arc<App>>,
    At((slug,)): At<(Slug,)>,
    Json(body): Json<NewProject>,
) -> Result<Created<Project>, ApiError> {
    let access = app.registry.workspace_admin(call.caller(), &slug).await?;
    let key: ProjectKey = parse("key", &body.key)?;
    let name = display_name(body.name, key.as_str())?;
    let project = app.registry.create_project(&access, &call.change(), &key, name).await?;
    let location = format!("/api/v1/workspaces/{slug}/projects");
    Ok(Created { location, body: project.into() })
}
