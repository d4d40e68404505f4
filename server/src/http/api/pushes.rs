//! What a client asks that is about to push: what need not be sent, and what was begun before.
//!
//! Packages are addressed by name here, because a client that pushes knows no ids.

use super::input::{At, Call, Json, Query, parse};
use super::output::{Items, Refusals};
use crate::app::App;
use crate::domain::{Digest, Name, PackageName, Slug};
use crate::http::error::ApiError;
use crate::http::oci::uploads::place;
use crate::registry::layers;
use crate::registry::uploads::UploadStatus;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// The most contents that one request may ask for; an image has at most 127 layers.
const MOST_DIFF_IDS: usize = 500;

/// Layers by their content.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WantedLayers {
    /// The package's name within the workspace.
    #[schema(example = "shop-api")]
    package: String,
    /// The digests of the layers' tars, as an image's configuration has them; at most 500.
    diff_ids: Vec<String>,
}

/// A layer that the package has.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KnownLayer {
    /// The digest of the layer's tar.
    diff_id: String,
    /// The digest of the blob.
    digest: String,
    /// The blob's size.
    size_bytes: u64,
    /// The media type that an image of the package gives it.
    media_type: String,
}

impl From<layers::KnownLayer> for KnownLayer {
    fn from(layer: layers::KnownLayer) -> Self {
        Self {
            diff_id: layer.diff_id.to_string(),
            digest: layer.digest.to_string(),
            size_bytes: layer.size,
            media_type: layer.media_type,
        }
    }
}

/// Which uploads.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UploadQuery {
    /// The package's name within the workspace.
    package: String,
    /// What the upload was declared to become, by the header `Standpipe-Upload-Digest`.
    digest: String,
}

/// An upload that was begun and not ended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OpenUpload {
    /// Where it goes on: a path below `/v2/`.
    location: String,
    /// How many bytes are there.
    offset: u64,
}

/// The layers of a package that have these contents, as far as its latest images tell. Who can push or
/// pull the package may ask.
#[utoipa::path(post, path = "/workspaces/{workspace}/known-layers", tag = "pushes",
    request_body = WantedLayers,
    params(("workspace" = String, Path, description = "The workspace's slug")),
    responses((status = 200, body = Items<KnownLayer>), Refusals))]
pub(super) async fn known_layers(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace,)): At<(Slug,)>,
    Json(body): Json<WantedLayers>,
) -> Result<Items<KnownLayer>, ApiError> {
    let package: PackageName = parse("package", &body.package)?;
    if body.diff_ids.len() > MOST_DIFF_IDS {
        return Err(ApiError::invalid("diff_ids", format!("at most {MOST_DIFF_IDS}")));
    }
    let wanted = body.diff_ids.iter().map(|text| parse::<Digest>("diff_ids", text));
    let wanted: HashSet<Digest> = wanted.collect::<Result<_, _>>()?;
    let access = app.registry.readable(call.caller(), &Name { workspace, package }).await?;
    let known = app.registry.known_layers(&access, &wanted).await?;
    Ok(Items::whole(known, KnownLayer::from))
}

/// The caller's own uploads to a package that were declared to become a blob, furthest first. Takes the
/// role `write` on the repository.
#[utoipa::path(get, path = "/workspaces/{workspace}/uploads", tag = "pushes",
    params(("workspace" = String, Path, description = "The workspace's slug"), UploadQuery),
    responses((status = 200, body = Items<OpenUpload>), Refusals))]
pub(super) async fn open_uploads(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace,)): At<(Slug,)>,
    Query(query): Query<UploadQuery>,
) -> Result<Items<OpenUpload>, ApiError> {
    let package: PackageName = parse("package", &query.package)?;
    let digest: Digest = parse("digest", &query.digest)?;
    let name = Name { workspace, package };
    let access = app.registry.writable(call.caller(), &name).await?;
    let found = app.registry.declared_uploads(&access, &digest).await?;
    let show = |upload: UploadStatus| OpenUpload {
        location: place(&name, upload.id),
        offset: upload.offset,
    };
    Ok(Items::whole(found, show))
}
