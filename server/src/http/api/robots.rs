//! Robots: machine accounts of a workspace. Everything here takes an administrator of the workspace.

use super::input::{At, Call, Json, Paging, Query, TokenId, parse};
use super::output::{Created, Items, Refusals, time};
use super::tokens::{NewToken, Token};
use crate::app::App;
use crate::auth::TokenView;
use crate::domain::{Role, Slug};
use crate::http::error::ApiError;
use crate::registry::Registry;
use crate::registry::robots::{self, RobotChanges};
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// A machine account.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Robot {
    /// Its name in the workspace.
    #[schema(example = "deployer")]
    name: String,
    /// What it is for.
    description: String,
    /// Whether it is switched off: then none of its tokens works.
    disabled: bool,
    /// When it was made (RFC 3339).
    created_at: String,
    /// Its roles, by repository.
    roles: Vec<RobotRole>,
}

/// The role of a robot on a repository.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RobotRole {
    /// The repository's slug.
    #[schema(example = "shop")]
    repository: String,
    /// `read`, `write` or `admin`.
    #[schema(example = "read")]
    role: &'static str,
}

/// A robot to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRobot {
    /// Its name in the workspace, written like a slug.
    #[schema(example = "deployer")]
    name: String,
    /// What it is for.
    #[serde(default)]
    #[schema(max_length = 200)]
    description: String,
}

/// What to change of a robot; what is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangedRobot {
    /// What it is for.
    #[schema(max_length = 200)]
    description: Option<String>,
    /// Whether it is switched off.
    disabled: Option<bool>,
}

/// The role to give.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRobotRole {
    /// `read`, `write` or `admin`.
    #[schema(example = "read")]
    role: String,
}

/// A robot's token with its secret, which is shown only now.
#[derive(Serialize, ToSchema)]
pub(super) struct CreatedRobotToken {
    /// Its id.
    id: String,
    /// What to log in with as user name.
    #[schema(example = "deployer")]
    username: String,
    /// What to log in with as password. It cannot be read again.
    token: String,
    /// What it is called.
    name: String,
    /// When it ends (RFC 3339).
    expires_at: Option<String>,
    /// What it was made for.
    scopes: Vec<&'static str>,
}

async fn show(registry: &Registry, robot: robots::Robot) -> Result<Robot, ApiError> {
    let roles = registry.robot_roles(&robot).await?;
    let role = |(slug, role): (Slug, Role)| RobotRole {
        repository: slug.to_string(),
        role: role.as_str(),
    };
    Ok(Robot {
        name: robot.name.to_string(),
        description: robot.description,
        disabled: robot.disabled,
        created_at: time(robot.created),
        roles: roles.into_iter().map(role).collect(),
    })
}

/// A workspace's robots, by name.
#[utoipa::path(get, path = "/workspaces/{workspace}/robots", tag = "robots",
    params(("workspace" = String, Path, description = "The workspace's slug"), Paging),
    responses((status = 200, body = Items<Robot>), Refusals))]
pub(super) async fn list(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace,)): At<(Slug,)>,
    Query(paging): Query<Paging>,
) -> Result<Items<Robot>, ApiError> {
    let wanted = paging.wanted()?;
    let access = app.registry.workspace_admin(call.caller(), &workspace).await?;
    let mut shown = Vec::new();
    for robot in app.registry.robots(&access, wanted.page()).await? {
        shown.push(show(&app.registry, robot).await?);
    }
    Ok(Items::page(shown, &wanted, |robot: &Robot| robot.name.clone(), |robot| robot))
}

/// Makes a robot. It has no role and no token yet.
#[utoipa::path(post, path = "/workspaces/{workspace}/robots", tag = "robots",
    request_body = NewRobot,
    params(("workspace" = String, Path, description = "The workspace's slug")),
    responses((status = 201, body = Robot), Refusals))]
pub(super) async fn create(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace,)): At<(Slug,)>,
    Json(body): Json<NewRobot>,
) -> Result<Created<Robot>, ApiError> {
    let access = app.registry.workspace_admin(call.caller(), &workspace).await?;
    let name: Slug = parse("name", &body.name)?;
    let made = app.registry.create_robot(&access, &call.change(), &name, body.description).await?;
    let body = show(&app.registry, made).await?;
    Ok(Created { location: format!("/api/v1/workspaces/{workspace}/robots/{name}"), body })
}

/// One robot with its roles.
#[utoipa::path(get, path = "/workspaces/{workspace}/robots/{robot}", tag = "robots",
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("robot" = String, Path, description = "The robot's name")),
    responses((status = 200, body = Robot), Refusals))]
pub(super) async fn one(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, name)): At<(Slug, Slug)>,
) -> Result<axum::Json<Robot>, ApiError> {
    let access = app.registry.robot_for(call.caller(), &workspace, &name).await?;
    Ok(axum::Json(show(&app.registry, access.subject().clone()).await?))
}

/// Changes a robot: its description, switched off or not.
#[utoipa::path(patch, path = "/workspaces/{workspace}/robots/{robot}", tag = "robots",
    request_body = ChangedRobot,
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("robot" = String, Path, description = "The robot's name")),
    responses((status = 200, body = Robot), Refusals))]
pub(super) async fn change(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, name)): At<(Slug, Slug)>,
    Json(body): Json<ChangedRobot>,
) -> Result<axum::Json<Robot>, ApiError> {
    let access = app.registry.robot_for(call.caller(), &workspace, &name).await?;
    let changes = RobotChanges { description: body.description, disabled: body.disabled };
    let changed = app.registry.change_robot(&access, &call.change(), changes).await?;
    Ok(axum::Json(show(&app.registry, changed).await?))
}

/// Ends a robot with its roles; its tokens work no more from the next request on.
#[utoipa::path(delete, path = "/workspaces/{workspace}/robots/{robot}", tag = "robots",
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("robot" = String, Path, description = "The robot's name")),
    responses((status = 204, description = "It is gone"), Refusals))]
pub(super) async fn delete(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, name)): At<(Slug, Slug)>,
) -> Result<StatusCode, ApiError> {
    let access = app.registry.robot_for(call.caller(), &workspace, &name).await?;
    app.registry.delete_robot(&access, &call.change()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a robot a role on a repository, or another one than before.
#[utoipa::path(put, path = "/workspaces/{workspace}/robots/{robot}/roles/{repository}",
    tag = "robots", request_body = NewRobotRole,
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("robot" = String, Path, description = "The robot's name"),
        ("repository" = String, Path, description = "The repository's slug")),
    responses((status = 200, body = Robot), Refusals))]
pub(super) async fn set_role(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, name, repository)): At<(Slug, Slug, Slug)>,
    Json(body): Json<NewRobotRole>,
) -> Result<axum::Json<Robot>, ApiError> {
    let access = app.registry.robot_for(call.caller(), &workspace, &name).await?;
    let role = Some(parse::<Role>("role", &body.role)?);
    let changed = app.registry.set_robot_role(&access, &call.change(), &repository, role).await?;
    Ok(axum::Json(show(&app.registry, changed).await?))
}

/// Takes a robot's role on a repository away.
#[utoipa::path(delete, path = "/workspaces/{workspace}/robots/{robot}/roles/{repository}",
    tag = "robots",
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("robot" = String, Path, description = "The robot's name"),
        ("repository" = String, Path, description = "The repository's slug")),
    responses((status = 204, description = "It is gone"), Refusals))]
pub(super) async fn remove_role(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, name, repository)): At<(Slug, Slug, Slug)>,
) -> Result<StatusCode, ApiError> {
    let access = app.registry.robot_for(call.caller(), &workspace, &name).await?;
    app.registry.set_robot_role(&access, &call.change(), &repository, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A robot's tokens, by id, without their secrets.
#[utoipa::path(get, path = "/workspaces/{workspace}/robots/{robot}/tokens", tag = "robots",
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("robot" = String, Path, description = "The robot's name"), Paging),
    responses((status = 200, body = Items<Token>), Refusals))]
pub(super) async fn tokens(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, name)): At<(Slug, Slug)>,
    Query(paging): Query<Paging>,
) -> Result<Items<Token>, ApiError> {
    let wanted = paging.wanted()?;
    let access = app.registry.robot_for(call.caller(), &workspace, &name).await?;
    let found = app.auth.robot_tokens(&access, wanted.page()).await?;
    Ok(Items::page(found, &wanted, |token: &TokenView| token.id.clone(), Token::from))
}

/// Makes a token that acts as a robot. The secret is shown only now.
#[utoipa::path(post, path = "/workspaces/{workspace}/robots/{robot}/tokens", tag = "robots",
    request_body = NewToken,
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("robot" = String, Path, description = "The robot's name")),
    responses((status = 201, body = CreatedRobotToken), Refusals))]
pub(super) async fn create_token(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, robot)): At<(Slug, Slug)>,
    Json(body): Json<NewToken>,
) -> Result<Created<CreatedRobotToken>, ApiError> {
    let access = app.registry.robot_for(call.caller(), &workspace, &robot).await?;
    let new = body.read()?;
    let (view, secret) = app.auth.create_robot_token(&access, &call.change(), new).await?;
    let location = format!("/api/v1/workspaces/{workspace}/robots/{robot}/tokens/{}", view.id);
    let Token { id, name, expires_at, scopes, .. } = view.into();
    let (username, token) = (robot.to_string(), secret.expose().to_owned());
    let body = CreatedRobotToken { id, username, token, name, expires_at, scopes };
    Ok(Created { location, body })
}

/// Ends a robot's token. Holds from the next request on.
#[utoipa::path(delete, path = "/workspaces/{workspace}/robots/{robot}/tokens/{token}",
    tag = "robots",
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("robot" = String, Path, description = "The robot's name"),
        ("token" = String, Path, description = "The token's id")),
    responses((status = 204, description = "It is gone"), Refusals))]
pub(super) async fn revoke_token(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, name, TokenId(id))): At<(Slug, Slug, TokenId)>,
) -> Result<StatusCode, ApiError> {
    let access = app.registry.robot_for(call.caller(), &workspace, &name).await?;
    app.auth.revoke_robot_token(&access, &call.change(), &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
