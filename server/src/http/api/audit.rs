//! The audit log: who did what, newest first.

use super::input::{At, Call, Query, parse};
use super::output::{Refusals, time};
use crate::app::App;
use crate::domain::{Slug, Timestamp, WorkspaceId};
use crate::http::error::ApiError;
use crate::metadata::{AuditEvent, AuditFilter, AuditPage, AuditPlace};
use crate::registry::Registry;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// The longest filter in bytes.
const LONGEST_FILTER: usize = 512;

/// Which events, and which page of them.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Only by this actor, such as `user:ann`.
    #[param(max_length = 512)]
    actor: Option<String>,
    /// Only this action, or all of a thing: `tag.delete`, or `tag`.
    #[param(max_length = 512)]
    action: Option<String>,
    /// Only what was done to something whose name begins like this.
    #[param(max_length = 512)]
    target: Option<String>,
    /// Only from then on (RFC 3339).
    since: Option<String>,
    /// Only before then (RFC 3339).
    until: Option<String>,
    /// Only what comes after this: `next` of the page before.
    #[param(max_length = 512)]
    after: Option<String>,
    /// At most so many events; 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// One thing that was done.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Event {
    /// Its id. Lines of the audit file have the same.
    #[schema(example = "1800000000000-17")]
    id: String,
    /// When (RFC 3339).
    at: String,
    /// Who: `user:<name>`, `robot:<workspace id>:<name>`, `pipeline:<workspace id>:<repository id>`,
    /// an OIDC identity, `anonymous` or `server`.
    #[schema(example = "user:ann")]
    actor: String,
    /// What was done, as `<thing>.<verb>`.
    #[schema(example = "tag.delete")]
    action: String,
    /// What it was done to; in a workspace, without the workspace.
    #[schema(example = "shop:latest")]
    target: String,
    /// The workspace it was done in.
    #[schema(example = "acme")]
    workspace: Option<String>,
    /// More about it.
    details: BTreeMap<String, String>,
    /// Which credential was used: a token's id, or `password`. Never a secret.
    credential: Option<String>,
    /// The request that asked for it.
    request_id: String,
    /// The client.
    user_agent: Option<String>,
    /// The build's number.
    build: Option<String>,
    /// How often, for logins, which are summarised.
    count: u64,
    /// The first of them (RFC 3339).
    first_at: String,
}

/// A page of the log.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Events {
    /// The events, newest first. A page may be short or empty and not the last, because only so many
    /// events are looked at for one.
    items: Vec<Event>,
    /// What to send as `after` for the next page; `null` on the last one.
    next: Option<String>,
}

impl Wanted {
    fn read(self) -> Result<(AuditFilter, Option<AuditPlace>, usize), ApiError> {
        for (field, value) in
            [("actor", &self.actor), ("action", &self.action), ("target", &self.target)]
        {
            if value.as_ref().is_some_and(|value| value.len() > LONGEST_FILTER) {
                return Err(ApiError::invalid(field, format!("at most {LONGEST_FILTER} bytes")));
            }
        }
        let moment = |field, text: &Option<String>| {
            text.as_deref().map(|text| parse::<Timestamp>(field, text)).transpose()
        };
        let (since, until) = (moment("since", &self.since)?, moment("until", &self.until)?);
        let after = self.after.as_deref().map(|text| parse("after", text)).transpose()?;
        let limit = self.limit.unwrap_or(100);
        if !(1..=1000).contains(&limit) {
            return Err(ApiError::invalid("limit", "1 to 1000"));
        }
        let Self { actor, action, target, .. } = self;
        Ok((AuditFilter { workspace: None, actor, action, target, since, until }, after, limit))
    }
}

impl Events {
    async fn of(registry: &Registry, page: AuditPage) -> Result<axum::Json<Self>, ApiError> {
        let mut slugs: HashMap<WorkspaceId, Option<String>> = HashMap::new();
        let mut items = Vec::with_capacity(page.events.len());
        for event in page.events {
            let workspace = match event.workspace {
                None => None,
                Some(id) => match slugs.get(&id) {
                    Some(known) => known.clone(),
                    None => {
                        let found = registry.workspace_slug(id).await?.map(|slug| slug.to_string());
                        slugs.entry(id).or_insert(found).clone()
                    }
                },
            };
            items.push(Event::new(event, workspace));
        }
        Ok(axum::Json(Self { items, next: page.next.map(|next| next.to_string()) }))
    }
}

impl Event {
    fn new(event: AuditEvent, workspace: Option<String>) -> Self {
        let change = event.by.change;
        Self {
            id: event.place.to_string(),
            at: time(event.by.at),
            actor: change.actor,
            action: event.action,
            target: event.target,
            workspace,
            details: event.details.into_iter().collect(),
            credential: change.credential,
            request_id: change.request_id,
            user_agent: change.origin.user_agent,
            build: change.origin.build,
            count: event.count,
            first_at: time(event.first),
        }
    }
}

/// What was done on this server, newest first. Takes an administrator of the instance.
#[utoipa::path(get, path = "/audit", tag = "audit", params(Wanted),
    responses((status = 200, body = Events), Refusals))]
pub(super) async fn list(
    call: Call,
    State(app): State<Arc<App>>,
    Query(wanted): Query<Wanted>,
) -> Result<axum::Json<Events>, ApiError> {
    let proof = app.registry.instance_admin(call.caller()).await?;
    let (filter, after, limit) = wanted.read()?;
    let page = app.registry.audit(proof, &filter, after, limit).await?;
    Events::of(&app.registry, page).await
}

/// What was done in a workspace, newest first. Takes an administrator of the workspace.
#[utoipa::path(get, path = "/workspaces/{workspace}/audit", tag = "audit",
    params(("workspace" = String, Path, description = "The workspace's slug"), Wanted),
    responses((status = 200, body = Events), Refusals))]
pub(super) async fn of_workspace(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace,)): At<(Slug,)>,
    Query(wanted): Query<Wanted>,
) -> Result<axum::Json<Events>, ApiError> {
    let access = app.registry.workspace_admin(call.caller(), &workspace).await?;
    let (filter, after, limit) = wanted.read()?;
    let page = app.registry.workspace_audit(&access, filter, after, limit).await?;
    Events::of(&app.registry, page).await
}
