//! Workspaces.

use super::input::{At, Call, Json, Paging, Query, display_name, nullable, parse};
use super::output::{Created, Items, Refusals, time};
use crate::app::App;
use crate::domain::{Slug, WorkspaceSettings};
use crate::http::error::ApiError;
use crate::metadata;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// The longest duration of a setting: ten years.
const LONGEST_SECONDS: u64 = 10 * 366 * 24 * 3600;

/// A workspace.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Workspace {
    /// Its name in URLs and image names.
    #[schema(example = "acme")]
    slug: String,
    /// Its display name.
    #[schema(example = "Acme")]
    name: String,
    /// Who creates packages by pushing: `never`, `admins` or `writers`.
    create_on_push: &'static str,
    /// The repository that a package created by a push is linked to when its name says nothing else.
    default_repository: Option<String>,
    /// How long what was confirmed to a client stays although nothing refers to it yet.
    lease_seconds: u64,
    /// How long what an overwrite or a deletion released can be restored.
    keep_seconds: u64,
    /// The most bytes held for restoring; beyond it the oldest is given up. `null` for no cap.
    keep_bytes: Option<u64>,
    /// From forgetting an object to removing its file.
    purge_seconds: u64,
    /// Whether an index may name manifests that are not in the package.
    sparse_indexes: bool,
    /// When it was created (RFC 3339).
    created_at: String,
    /// Byte totals; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<WorkspaceUsage>,
}

/// Byte totals of a workspace.
#[derive(Debug, Serialize, ToSchema)]
struct WorkspaceUsage {
    /// Bytes of blobs, each stored once.
    blob_bytes: u64,
    /// Bytes of manifests.
    manifest_bytes: u64,
    /// Bytes of objects that are forgotten but not removed yet.
    doomed_bytes: u64,
    /// What of them no tag leads to; only where one workspace is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<Held>,
}

/// What a workspace holds that no tag leads to: kept for undo, or promised to a client for a while.
#[derive(Debug, Serialize, ToSchema)]
struct Held {
    /// Bytes of the blobs and manifests.
    bytes: u64,
    /// Blobs, each counted once.
    blobs: u64,
    /// Manifests.
    manifests: u64,
    /// The search was cut short: it is at least this.
    at_least: bool,
}

impl WorkspaceUsage {
    fn new(usage: metadata::WorkspaceUsage) -> Self {
        let metadata::WorkspaceUsage { blob_bytes, manifest_bytes, doomed_bytes } = usage;
        Self { blob_bytes, manifest_bytes, doomed_bytes, held: None }
    }

    fn with(self, metadata::Held { held, at_least }: metadata::Held) -> Self {
        let (bytes, blobs, manifests) = (held.bytes(), held.blobs, held.manifests);
        Self { held: Some(Held { bytes, blobs, manifests, at_least }), ..self }
    }
}

/// A workspace to be created.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewWorkspace {
    /// Its name in URLs and image names; it stays for ever.
    #[schema(example = "acme")]
    slug: String,
    /// Its display name; the slug unless given.
    #[schema(example = "Acme")]
    name: Option<String>,
}

/// What to change of a workspace; what is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WorkspaceChanges {
    /// The display name.
    name: Option<String>,
    /// `never`, `admins` or `writers`.
    #[schema(example = "writers")]
    create_on_push: Option<String>,
    /// A repository's slug; `null` for none.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    default_repository: Option<Option<String>>,
    /// At least 600.
    lease_seconds: Option<u64>,
    /// How long what was released can be restored; 0 for not at all.
    keep_seconds: Option<u64>,
    /// The most bytes held for restoring; `null` for no cap.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<u64>)]
    keep_bytes: Option<Option<u64>>,
    /// From forgetting an object to removing its file; 0 for at once.
    purge_seconds: Option<u64>,
    /// Whether an index may name manifests that are not in the package.
    sparse_indexes: Option<bool>,
}

impl Workspace {
    fn new(workspace: metadata::Workspace, usage: Option<WorkspaceUsage>) -> Self {
        let settings = workspace.settings;
        Self {
            slug: workspace.slug.to_string(),
            name: workspace.name,
            create_on_push: settings.create_on_push.as_str(),
            default_repository: settings.default_repository.map(|slug| slug.to_string()),
            lease_seconds: settings.lease.as_secs(),
            keep_seconds: settings.keep.as_secs(),
            keep_bytes: settings.keep_bytes,
            purge_seconds: settings.purge.as_secs(),
            sparse_indexes: settings.sparse_indexes,
            created_at: time(workspace.created.at),
            usage,
        }
    }
}

impl WorkspaceChanges {
    /// The settings with these changes.
    fn applied_to(&self, mut settings: WorkspaceSettings) -> Result<WorkspaceSettings, ApiError> {
        if let Some(text) = &self.create_on_push {
            settings.create_on_push = parse("create_on_push", text)?;
        }
        if let Some(given) = &self.default_repository {
            let slug = given.as_deref().map(|slug| parse("default_repository", slug));
            settings.default_repository = slug.transpose()?;
        }
        for (field, given, slot) in [
            ("lease_seconds", self.lease_seconds, &mut settings.lease),
            ("keep_seconds", self.keep_seconds, &mut settings.keep),
            ("purge_seconds", self.purge_seconds, &mut settings.purge),
        ] {
            let Some(seconds) = given else { continue };
            if seconds > LONGEST_SECONDS {
                return Err(ApiError::invalid(field, format!("at most {LONGEST_SECONDS}")));
            }
            *slot = Duration::from_secs(seconds);
        }
        settings.keep_bytes = self.keep_bytes.unwrap_or(settings.keep_bytes);
        settings.sparse_indexes = self.sparse_indexes.unwrap_or(settings.sparse_indexes);
        Ok(settings)
    }
}

/// The workspaces that the caller has a part in, by slug.
#[utoipa::path(get, path = "/workspaces", tag = "workspaces", params(Paging),
    responses((status = 200, body = Items<Workspace>), Refusals))]
pub(super) async fn list(
    call: Call,
    State(app): State<Arc<App>>,
    Query(paging): Query<Paging>,
) -> Result<Items<Workspace>, ApiError> {
    let wanted = paging.wanted()?;
    let found = app.registry.workspaces(call.caller(), wanted.page()).await?;
    let cursor = |workspace: &metadata::Workspace| workspace.slug.to_string();
    Ok(Items::page(found, &wanted, cursor, |workspace| Workspace::new(workspace, None)))
}

/// Creates a workspace. Takes an administrator of the instance.
#[utoipa::path(post, path = "/workspaces", tag = "workspaces", request_body = NewWorkspace,
    responses((status = 201, body = Workspace), Refusals))]
pub(super) async fn create(
    call: Call,
    State(app): State<Arc<App>>,
    Json(body): Json<NewWorkspace>,
) -> Result<Created<Workspace>, ApiError> {
    let proof = app.registry.instance_admin(call.caller()).await?;
    let slug: Slug = parse("slug", &body.slug)?;
    let name = display_name(body.name, slug.as_str())?;
    let new = metadata::NewWorkspace { slug, name, settings: WorkspaceSettings::default() };
    let workspace = app.registry.create_workspace(proof, &call.change(), new).await?;
    let location = format!("/api/v1/workspaces/{}", workspace.slug);
    Ok(Created { location, body: Workspace::new(workspace, None) })
}

/// One workspace with its byte totals and what it holds for undo.
#[utoipa::path(get, path = "/workspaces/{workspace}", tag = "workspaces",
    params(("workspace" = String, Path, description = "The workspace's slug")),
    responses((status = 200, body = Workspace), Refusals))]
pub(super) async fn show(
    call: Call,
    State(app): State<Arc<App>>,
    At((slug,)): At<(Slug,)>,
) -> Result<axum::Json<Workspace>, ApiError> {
    let workspace = app.registry.visible_workspace(call.caller(), &slug).await?;
    let usage = WorkspaceUsage::new(app.registry.workspace_usage(&workspace).await?);
    let usage = usage.with(app.registry.held(&workspace).await?);
    Ok(axum::Json(Workspace::new(workspace, Some(usage))))
}

/// Changes a workspace's name and settings. Takes an administrator of the workspace.
#[utoipa::path(patch, path = "/workspaces/{workspace}", tag = "workspaces",
    request_body = WorkspaceChanges,
    params(("workspace" = String, Path, description = "The workspace's slug")),
    responses((status = 200, body = Workspace), Refusals))]
pub(super) async fn change(
    call: Call,
    State(app): State<Arc<App>>,
    At((slug,)): At<(Slug,)>,
    Json(body): Json<WorkspaceChanges>,
) -> Result<axum::Json<Workspace>, ApiError> {
    let access = app.registry.workspace_admin(call.caller(), &slug).await?;
    let settings = body.applied_to(access.subject().settings.clone())?;
    let name = display_name(body.name, &access.subject().name)?;
    let short_delays = app.http.short_delays;
    let change = call.change();
    let changed = app.registry.update_workspace(&access, &change, name, settings, short_delays);
    let workspace = changed.await?;
    let usage = WorkspaceUsage::new(app.registry.workspace_usage(&workspace).await?);
    Ok(axum::Json(Workspace::new(workspace, Some(usage))))
}
