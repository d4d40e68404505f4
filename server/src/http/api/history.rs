//! What happened to a package's tags.

use super::input::{At, Call, Paging, Query, parse};
use super::output::{Items, Refusals, time};
use crate::app::App;
use crate::domain::{Action, PackageId, Slug, Tag};
use crate::http::error::ApiError;
use crate::metadata::{HistoryRow, TagEvent};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// One movement of a tag.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Event {
    /// Counts the package's history.
    sequence: u64,
    /// The tag.
    tag: String,
    /// `created`, `moved` or `deleted`.
    event: &'static str,
    /// The digest it pointed to before.
    from: Option<String>,
    /// The digest it points to since.
    to: Option<String>,
    /// When (RFC 3339).
    at: String,
    /// Who did it.
    #[schema(example = "pipeline:1:2")]
    by: String,
    /// With which credential: `password` or the id of a token.
    credential: Option<String>,
    /// The request's id.
    request_id: String,
    /// The client's name for itself.
    user_agent: Option<String>,
    /// The pipeline, if the client told.
    pipeline: Option<String>,
    /// The build number, if the client told.
    build: Option<String>,
    /// The commit, if the client told.
    commit: Option<String>,
    /// The branch, if the client told.
    branch: Option<String>,
}

/// Which part of the history.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryQuery {
    /// Only of this tag.
    tag: Option<String>,
    /// At most so many items; 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

impl From<HistoryRow> for Event {
    fn from(row: HistoryRow) -> Self {
        let (event, from, to) = match row.event {
            TagEvent::Deleted(from) => ("deleted", Some(from), None),
            TagEvent::Moved { from: None, to } => ("created", None, Some(to)),
            TagEvent::Moved { from, to } => ("moved", from, Some(to)),
        };
        let change = row.moved.change;
        Self {
            sequence: row.sequence,
            tag: row.tag.to_string(),
            event,
            from: from.map(|digest| digest.to_string()),
            to: to.map(|digest| digest.to_string()),
            at: time(row.moved.at),
            by: change.actor,
            credential: change.credential,
            request_id: change.request_id,
            user_agent: change.origin.user_agent,
            pipeline: change.origin.pipeline,
            build: change.origin.build,
            commit: change.origin.commit,
            branch: change.origin.branch,
        }
    }
}

/// The newest movements of a package's tags, newest first. There is no next page.
#[utoipa::path(get, path = "/workspaces/{workspace}/packages/{package}/history", tag = "tags",
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("package" = u64, Path, description = "The package's id"), HistoryQuery),
    responses((status = 200, body = Items<Event>), Refusals))]
pub(super) async fn list(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, id)): At<(Slug, PackageId)>,
    Query(query): Query<HistoryQuery>,
) -> Result<Items<Event>, ApiError> {
    let wanted = Paging { after: None, limit: query.limit }.wanted()?;
    let tag = query.tag.map(|tag| parse::<Tag>("tag", &tag)).transpose()?;
    let caller = call.caller();
    let access = app.registry.package_for(caller, &workspace, id, Action::Pull).await?;
    let found = app.registry.history(&access, tag.as_ref(), wanted.limit()).await?;
    Ok(Items::page(found, &wanted, |row| row.sequence.to_string(), Event::from))
}
