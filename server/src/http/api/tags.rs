//! Tags of a package.

use super::input::{At, Call, Paging, Query};
use super::output::{Items, Refusals, time};
use crate::app::App;
use crate::domain::{Action, PackageId, Slug};
use crate::http::error::ApiError;
use crate::registry::tags::TagDetails;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// A tag and what it points to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Tag {
    /// The tag.
    #[schema(example = "1.2")]
    name: String,
    /// The digest of the manifest it points to.
    digest: String,
    /// The manifest's type.
    media_type: String,
    /// The artifact's type, if it says one.
    artifact_type: Option<String>,
    /// Bytes of the manifest and all it needs, each content once.
    size_bytes: u64,
    /// When the manifest was first pushed (RFC 3339).
    pushed_at: String,
    /// When the tag was put there (RFC 3339).
    moved_at: String,
    /// Who put it there.
    #[schema(example = "user:ann")]
    moved_by: String,
    /// How often it was pulled by this tag.
    pulls: u64,
    /// When it was last pulled by this tag (RFC 3339).
    last_pulled_at: Option<String>,
}

impl From<TagDetails> for Tag {
    fn from(tag: TagDetails) -> Self {
        let TagDetails { row, manifest } = tag;
        Self {
            name: row.tag.to_string(),
            digest: manifest.digest.to_string(),
            media_type: manifest.media_type,
            artifact_type: manifest.artifact_type,
            size_bytes: manifest.closure_bytes,
            pushed_at: time(manifest.pushed.at),
            moved_at: time(row.moved.at),
            moved_by: row.moved.change.actor,
            pulls: row.pulls.count,
            last_pulled_at: row.pulls.last.map(time),
        }
    }
}

/// A package's tags, by name.
#[utoipa::path(get, path = "/workspaces/{workspace}/packages/{package}/tags", tag = "tags",
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("package" = u64, Path, description = "The package's id"), Paging),
    responses((status = 200, body = Items<Tag>), Refusals))]
pub(super) async fn list(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, id)): At<(Slug, PackageId)>,
    Query(paging): Query<Paging>,
) -> Result<Items<Tag>, ApiError> {
    let wanted = paging.wanted()?;
    let caller = call.caller();
    let access = app.registry.package_for(caller, &workspace, id, Action::Pull).await?;
    let found = app.registry.package_tags(&access, wanted.page()).await?;
    Ok(Items::page(found, &wanted, |tag| tag.row.tag.to_string(), Tag::from))
}

/// One tag.
#[utoipa::path(get, path = "/workspaces/{workspace}/packages/{package}/tags/{tag}", tag = "tags",
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("package" = u64, Path, description = "The package's id"),
        ("tag" = String, Path, description = "The tag")),
    responses((status = 200, body = Tag), Refusals))]
pub(super) async fn show(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, id, tag)): At<(Slug, PackageId, crate::domain::Tag)>,
) -> Result<axum::Json<Tag>, ApiError> {
    let caller = call.caller();
    let access = app.registry.package_for(caller, &workspace, id, Action::Pull).await?;
    Ok(axum::Json(app.registry.package_tag(&access, &tag).await?.into()))
}

/// Deletes a tag. What it pointed to is kept for a while. Takes the role `write` on the repository.
#[utoipa::path(delete, path = "/workspaces/{workspace}/packages/{package}/tags/{tag}",
    tag = "tags",
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("package" = u64, Path, description = "The package's id"),
        ("tag" = String, Path, description = "The tag")),
    responses((status = 204, description = "It is gone"), Refusals))]
pub(super) async fn delete(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, id, tag)): At<(Slug, PackageId, crate::domain::Tag)>,
) -> Result<StatusCode, ApiError> {
    let caller = call.caller();
    let access = app.registry.package_for(caller, &workspace, id, Action::Delete).await?;
    app.registry.delete_package_tag(&access, &call.change(), &tag).await?;
    Ok(StatusCode::NO_CONTENT)
}
