//! Permissions: roles on repositories, and administrators of workspaces.

use super::input::{At, Call, Json, Paging, Query, parse};
use super::output::{Items, Refusals};
use crate::app::App;
use crate::domain::{Action, Role, Slug, Username};
use crate::http::error::ApiError;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// The role of a user.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Permission {
    /// The user.
    #[schema(example = "ann")]
    username: String,
    /// `read`, `write` or `admin`.
    #[schema(example = "write")]
    role: &'static str,
}

/// The role to give.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRole {
    /// `read`, `write` or `admin`; on a workspace only `admin`.
    #[schema(example = "write")]
    role: String,
}

fn show((username, role): (String, Role)) -> Permission {
    Permission { username, role: role.as_str() }
}

/// The roles given on a repository, by username. Takes the role `admin` on it.
#[utoipa::path(get, path = "/workspaces/{workspace}/repositories/{repository}/permissions",
    tag = "permissions",
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("repository" = String, Path, description = "The repository's slug"), Paging),
    responses((status = 200, body = Items<Permission>), Refusals))]
pub(super) async fn list(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, slug)): At<(Slug, Slug)>,
    Query(paging): Query<Paging>,
) -> Result<Items<Permission>, ApiError> {
    let wanted = paging.wanted()?;
    let caller = call.caller();
    let access = app.registry.repository_for(caller, &workspace, &slug, Action::Manage).await?;
    let found = app.registry.roles(&access, wanted.page()).await?;
    Ok(Items::page(found, &wanted, |(username, _)| username.clone(), show))
}

/// Gives a user a role on a repository, or another one than before.
#[utoipa::path(put, path = "/workspaces/{workspace}/repositories/{repository}/permissions/{user}",
    tag = "permissions", request_body = NewRole,
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("repository" = String, Path, description = "The repository's slug"),
        ("user" = String, Path, description = "The user's name")),
    responses((status = 200, body = Permission), Refusals))]
pub(super) async fn set(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, slug, user)): At<(Slug, Slug, Username)>,
    Json(body): Json<NewRole>,
) -> Result<axum::Json<Permission>, ApiError> {
    let caller = call.caller();
    let access = app.registry.repository_for(caller, &workspace, &slug, Action::Manage).await?;
    let role: Role = parse("role", &body.role)?;
    app.registry.set_role(&access, &call.change(), &user, Some(role)).await?;
    Ok(axum::Json(show((user.to_string(), role))))
}

/// Takes a user's role on a repository away.
#[utoipa::path(delete,
    path = "/workspaces/{workspace}/repositories/{repository}/permissions/{user}",
    tag = "permissions",
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("repository" = String, Path, description = "The repository's slug"),
        ("user" = String, Path, description = "The user's name")),
    responses((status = 204, description = "It is gone"), Refusals))]
pub(super) async fn remove(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, slug, user)): At<(Slug, Slug, Username)>,
) -> Result<StatusCode, ApiError> {
    let caller = call.caller();
    let access = app.registry.repository_for(caller, &workspace, &slug, Action::Manage).await?;
    app.registry.set_role(&access, &call.change(), &user, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The administrators of a workspace, by username. Takes one of them.
#[utoipa::path(get, path = "/workspaces/{workspace}/permissions", tag = "permissions",
    params(("workspace" = String, Path, description = "The workspace's slug"), Paging),
    responses((status = 200, body = Items<Permission>), Refusals))]
pub(super) async fn list_workspace_admins(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace,)): At<(Slug,)>,
    Query(paging): Query<Paging>,
) -> Result<Items<Permission>, ApiError> {
    let wanted = paging.wanted()?;
    let access = app.registry.workspace_admin(call.caller(), &workspace).await?;
    let found = app.registry.workspace_roles(&access, wanted.page()).await?;
    Ok(Items::page(found, &wanted, |(username, _)| username.clone(), show))
}

/// Makes a user an administrator of a workspace.
#[utoipa::path(put, path = "/workspaces/{workspace}/permissions/{user}", tag = "permissions",
    request_body = NewRole,
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("user" = String, Path, description = "The user's name")),
    responses((status = 200, body = Permission), Refusals))]
pub(super) async fn add_workspace_admin(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, user)): At<(Slug, Username)>,
    Json(body): Json<NewRole>,
) -> Result<axum::Json<Permission>, ApiError> {
    let access = app.registry.workspace_admin(call.caller(), &workspace).await?;
    if parse::<Role>("role", &body.role)? != Role::Admin {
        let reason = "on a workspace there is only admin; other roles are given on repositories";
        return Err(ApiError::invalid("role", reason));
    }
    app.registry.set_workspace_admin(&access, &call.change(), &user, true).await?;
    Ok(axum::Json(show((user.to_string(), Role::Admin))))
}

/// Makes a user no longer an administrator of a workspace.
#[utoipa::path(delete, path = "/workspaces/{workspace}/permissions/{user}", tag = "permissions",
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("user" = String, Path, description = "The user's name")),
    responses((status = 204, description = "It is gone"), Refusals))]
pub(super) async fn remove_workspace_admin(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, user)): At<(Slug, Username)>,
) -> Result<StatusCode, ApiError> {
    let access = app.registry.workspace_admin(call.caller(), &workspace).await?;
    app.registry.set_workspace_admin(&access, &call.change(), &user, false).await?;
    Ok(StatusCode::NO_CONTENT)
}
