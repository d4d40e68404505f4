//! Pipeline tokens: what a build logs in with. They act as their repository with the role `write`.

use super::input::{At, Call, Json, Paging, Query, TokenId};
use super::output::{Created, Items, Refusals};
use super::tokens::{NewToken, Token};
use crate::app::App;
use crate::auth::TokenView;
use crate::domain::{Action, Slug};
use crate::http::error::ApiError;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// The user name shown with a pipeline token. Any other works as well: the token says who it is.
const USERNAME: &str = "pipeline";

/// A pipeline token with its secret, which is shown only now.
#[derive(Serialize, ToSchema)]
pub(super) struct CreatedPipelineToken {
    /// Its id.
    id: String,
    /// What to log in with as user name.
    #[schema(example = "pipeline")]
    username: &'static str,
    /// What to log in with as password. It cannot be read again.
    token: String,
    /// What it is called.
    name: String,
    /// When it ends (RFC 3339).
    expires_at: Option<String>,
}

/// A repository's pipeline tokens, by id, without their secrets. Takes the role `admin` on it.
#[utoipa::path(get, path = "/workspaces/{workspace}/repositories/{repository}/pipeline-tokens",
    tag = "tokens",
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("repository" = String, Path, description = "The repository's slug"), Paging),
    responses((status = 200, body = Items<Token>), Refusals))]
pub(super) async fn list(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, slug)): At<(Slug, Slug)>,
    Query(paging): Query<Paging>,
) -> Result<Items<Token>, ApiError> {
    let wanted = paging.wanted()?;
    let caller = call.caller();
    let access = app.registry.repository_for(caller, &workspace, &slug, Action::Manage).await?;
    let found = app.auth.pipeline_tokens(&access, wanted.page()).await?;
    Ok(Items::page(found, &wanted, |token: &TokenView| token.id.clone(), Token::from))
}

/// Makes a pipeline token. Takes the role `admin` on the repository. The secret is shown only now.
#[utoipa::path(post, path = "/workspaces/{workspace}/repositories/{repository}/pipeline-tokens",
    tag = "tokens", request_body = NewToken,
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("repository" = String, Path, description = "The repository's slug")),
    responses((status = 201, body = CreatedPipelineToken), Refusals))]
pub(super) async fn create(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, slug)): At<(Slug, Slug)>,
    Json(body): Json<NewToken>,
) -> Result<Created<CreatedPipelineToken>, ApiError> {
    let caller = call.caller();
    let access = app.registry.repository_for(caller, &workspace, &slug, Action::Manage).await?;
    let new = body.read()?;
    let made = app.auth.create_pipeline_token(&access, &call.change(), new).await?;
    let (view, secret) = made;
    let location =
        format!("/api/v1/workspaces/{workspace}/repositories/{slug}/pipeline-tokens/{}", view.id);
    let Token { id, name, expires_at, .. } = view.into();
    let token = secret.expose().to_owned();
    let body = CreatedPipelineToken { id, username: USERNAME, token, name, expires_at };
    Ok(Created { location, body })
}

/// Ends a pipeline token. Holds from the next request on.
#[utoipa::path(delete,
    path = "/workspaces/{workspace}/repositories/{repository}/pipeline-tokens/{token}",
    tag = "tokens",
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("repository" = String, Path, description = "The repository's slug"),
        ("token" = String, Path, description = "The token's id")),
    responses((status = 204, description = "It is gone"), Refusals))]
pub(super) async fn revoke(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, slug, TokenId(id))): At<(Slug, Slug, TokenId)>,
) -> Result<StatusCode, ApiError> {
    let caller = call.caller();
    let access = app.registry.repository_for(caller, &workspace, &slug, Action::Manage).await?;
    app.auth.revoke_pipeline_token(&access, &call.change(), &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
