//! Disk space: what a deletion would free, what was freed and why, what is looked at again and when,
//! what holds what, and giving up what is kept before its time.

use super::input::{At, Call, Count, Json, Paging, Pairs, Query, parse};
use super::output::{Items, Refusals, time};
use crate::app::App;
use crate::domain::{Action, Digest, PackageId, Slug, Tag};
use crate::http::error::ApiError;
use crate::http::extract::to_its_end;
use crate::metadata::{self, DueKind, GiveUp, ReceiptCursor, Selection};
use crate::registry::RegistryError;
use crate::registry::collection::Reclaimed;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// Bytes with what they are of. Each content is counted once.
#[derive(Debug, Serialize, ToSchema)]
struct Freed {
    /// All bytes.
    bytes: u64,
    /// Manifests.
    manifests: u64,
    /// Their bytes.
    manifest_bytes: u64,
    /// Blobs that nothing else in the workspace needs.
    blobs: u64,
    /// Their bytes.
    blob_bytes: u64,
}

/// What a deletion would free in the end: when nothing is kept for undo any more, and if nothing else
/// has changed by then.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Preview {
    #[serde(flatten)]
    freed: Freed,
    /// The search was cut short: it is at least this.
    at_least: bool,
}

/// What to give up before its time; nothing named is all that is kept.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reclamation {
    /// Only what movements of this tag released.
    #[schema(example = "1.2")]
    tag: Option<String>,
    /// Only this digest, whatever keeps it.
    digest: Option<String>,
}

/// What was given up, and what that freed at once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Reclamations {
    /// Overwrites and deletions whose keeping was ended.
    events: u64,
    #[serde(flatten)]
    freed: Freed,
    /// Things that a client was promised and that go when their lease ends.
    waiting: u64,
    /// When the last of those leases ends, as far as is known (RFC 3339).
    waiting_until: Option<String>,
}

/// Something that is looked at again, to see whether anything still needs it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Pending {
    /// `blob`, `manifest`, `tag` (what a movement of it released) or `package`.
    kind: &'static str,
    /// The tag.
    tag: Option<String>,
    /// The digest.
    digest: Option<String>,
    /// When (RFC 3339).
    at: String,
    /// The event behind it, if there was one: without one only a lease runs out.
    event: Option<Event>,
}

/// The event that made something collectable.
#[derive(Debug, Serialize, ToSchema)]
struct Event {
    /// `tag-moved`, `tag-deleted`, `manifest-deleted`, `blob-deleted`, `package-deleted` or
    /// `never-referenced`.
    why: &'static str,
    /// The package's id.
    package: u64,
    /// The package's name when it happened.
    #[schema(example = "shop-api")]
    package_name: String,
    /// Counts the package's events; 0 for what never had one.
    sequence: u64,
    /// The tag that moved or went.
    tag: Option<String>,
    /// What it was about.
    digest: Option<String>,
    /// When it was (RFC 3339).
    at: String,
    /// Whose it was.
    #[schema(example = "pipeline:1:2")]
    by: String,
    /// The request's id.
    request_id: String,
    /// The build number, if the client told.
    build: Option<String>,
    /// The commit, if the client told.
    commit: Option<String>,
}

/// What one event freed so far.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Receipt {
    event: Event,
    #[serde(flatten)]
    freed: Freed,
    /// When the first of it was freed (RFC 3339).
    first_at: String,
    /// When the last of it was freed (RFC 3339).
    last_at: String,
}

/// What keeps a blob or manifest in a package now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Holders {
    /// Tags that point to it.
    tags: Vec<String>,
    /// Manifests that need it.
    parents: Vec<String>,
    /// Tags that pointed to it and can be put back.
    history: Vec<String>,
    /// The manifest it refers to and goes with.
    subject: Option<String>,
    /// Until when a client was promised that it stays (RFC 3339); `null` if that is over.
    lease_until: Option<String>,
    /// It was deleted, and can be put back until then (RFC 3339).
    deleted_until: Option<String>,
    /// There are more tags, parents or history than are listed.
    more: bool,
}

/// What to ask the holders of.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HoldersQuery {
    /// The digest of a blob or manifest.
    digest: String,
    /// At most so many of each kind; 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

impl From<metadata::Freed> for Freed {
    fn from(freed: metadata::Freed) -> Self {
        Self {
            bytes: freed.bytes(),
            manifests: freed.manifests,
            manifest_bytes: freed.manifest_bytes,
            blobs: freed.blobs,
            blob_bytes: freed.blob_bytes,
        }
    }
}

impl From<metadata::Cause> for Event {
    fn from(cause: metadata::Cause) -> Self {
        let change = cause.by.change;
        Self {
            why: cause.why.as_str(),
            package: cause.package.0,
            package_name: cause.name.to_string(),
            sequence: cause.sequence,
            tag: cause.tag.map(|tag| tag.to_string()),
            digest: cause.digest.map(|digest| digest.to_string()),
            at: time(cause.by.at),
            by: change.actor,
            request_id: change.request_id,
            build: change.origin.build,
            commit: change.origin.commit,
        }
    }
}

impl From<metadata::DueEntry> for Pending {
    fn from(entry: metadata::DueEntry) -> Self {
        let (kind, tag, digest) = match entry.what {
            DueKind::Blob(digest) => ("blob", None, Some(digest)),
            DueKind::Manifest(digest) => ("manifest", None, Some(digest)),
            DueKind::History(tag, digest) => ("tag", Some(tag), Some(digest)),
            DueKind::Package => ("package", None, None),
        };
        Self {
            kind,
            tag: tag.map(|tag| tag.to_string()),
            digest: digest.map(|digest| digest.to_string()),
            at: time(entry.at),
            event: entry.cause.map(Event::from),
        }
    }
}

impl From<metadata::Receipt> for Receipt {
    fn from(receipt: metadata::Receipt) -> Self {
        Self {
            event: receipt.cause.into(),
            freed: receipt.freed.into(),
            first_at: time(receipt.first),
            last_at: time(receipt.last),
        }
    }
}

impl From<Reclaimed> for Reclamations {
    fn from(reclaimed: Reclaimed) -> Self {
        Self {
            events: reclaimed.events,
            freed: reclaimed.freed.into(),
            waiting: reclaimed.waiting,
            waiting_until: reclaimed.waiting_until.map(time),
        }
    }
}

impl Holders {
    /// Times that are over hold nothing and are not told.
    fn at(now: crate::domain::Timestamp, holders: metadata::Holders) -> Self {
        let texts = |tags: Vec<Tag>| tags.into_iter().map(|tag| tag.to_string()).collect();
        let to_come = |until: Option<_>| until.filter(|until| *until > now).map(time);
        Self {
            tags: texts(holders.tags),
            parents: holders.parents.into_iter().map(|digest| digest.to_string()).collect(),
            history: texts(holders.history),
            subject: holders.subject.map(|digest| digest.to_string()),
            lease_until: to_come(holders.lease),
            deleted_until: to_come(holders.deleted_until),
            more: holders.more,
        }
    }
}

impl Reclamation {
    fn what(&self) -> Result<GiveUp, ApiError> {
        match (&self.tag, &self.digest) {
            (Some(_), Some(_)) => Err(ApiError::invalid("digest", "give a tag or a digest")),
            (Some(tag), None) => Ok(GiveUp::Tag(parse("tag", tag)?)),
            (None, Some(digest)) => Ok(GiveUp::Digest(parse("digest", digest)?)),
            (None, None) => Ok(GiveUp::All),
        }
    }
}

/// What a deletion is to be asked about: tags, or digests, or nothing for the whole package.
fn selection(pairs: &[(String, String)]) -> Result<Selection, ApiError> {
    let (mut tags, mut digests): (Vec<Tag>, Vec<Digest>) = Default::default();
    for (key, value) in pairs {
        match key.as_str() {
            "tag" => tags.push(parse("tag", value)?),
            "digest" => digests.push(parse("digest", value)?),
            _ => return Err(ApiError::invalid("query", "only tag and digest make sense here")),
        }
    }
    match (tags.is_empty(), digests.is_empty()) {
        (true, true) => Ok(Selection::Package),
        (false, true) => Ok(Selection::Tags(tags)),
        (true, false) => Ok(Selection::Manifests(digests)),
        (false, false) => Err(ApiError::invalid("query", "give tags or digests, not both")),
    }
}

/// What deleting tags, manifests or the whole package would free in the end. Without a query it is
/// about the whole package; `tag` and `digest` may be given several times.
#[utoipa::path(get, path = "/workspaces/{workspace}/packages/{package}/deletion-preview",
    tag = "space",
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("package" = u64, Path, description = "The package's id"),
        ("tag" = Option<Vec<String>>, Query, description = "Tags to delete"),
        ("digest" = Option<Vec<String>>, Query, description = "Manifests to delete, with all \
            their tags")),
    responses((status = 200, body = Preview), Refusals))]
pub(super) async fn preview(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, id)): At<(Slug, PackageId)>,
    Pairs(pairs): Pairs,
) -> Result<axum::Json<Preview>, ApiError> {
    let access = app.registry.package_for(call.caller(), &workspace, id, Action::Pull).await?;
    let preview = app.registry.deletion_preview(&access, &selection(&pairs)?).await?;
    Ok(axum::Json(Preview { freed: preview.freed.into(), at_least: preview.at_least }))
}

/// Gives up what is kept for undo, and frees it now. What a client was promised still stays for the
/// lease. Takes the role `admin` on the package's repository; for a deleted package an administrator
/// of the workspace.
#[utoipa::path(post, path = "/workspaces/{workspace}/packages/{package}/reclaim", tag = "space",
    request_body = Reclamation,
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("package" = u64, Path, description = "The package's id, which a deleted one keeps")),
    responses((status = 200, body = Reclamations), Refusals))]
pub(super) async fn reclaim(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, id)): At<(Slug, PackageId)>,
    Json(body): Json<Reclamation>,
) -> Result<axum::Json<Reclamations>, ApiError> {
    let registry = app.registry.clone();
    match registry.package_for(call.caller(), &workspace, id, Action::DeletePackage).await {
        Ok(access) => {
            let what = body.what()?;
            let change = call.change();
            let verb = async move { registry.reclaim(&access, &change, &what).await };
            Ok(axum::Json(to_its_end(verb).await?.into()))
        }
        Err(RegistryError::NotFound(_)) => {
            let administered = registry.workspace_admin(call.caller(), &workspace).await?;
            let access = registry.restorable(&administered, id).await?;
            if body.what()? != GiveUp::All {
                return Err(ApiError::invalid("body", "a deleted package goes as a whole"));
            }
            let change = call.change();
            let verb = async move { registry.reclaim_deleted(&access, &change).await };
            Ok(axum::Json(to_its_end(verb).await?.into()))
        }
        Err(error) => Err(error.into()),
    }
}

/// What of a package is looked at again and when, by kind and digest. There is no next page.
#[utoipa::path(get, path = "/workspaces/{workspace}/packages/{package}/pending", tag = "space",
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("package" = u64, Path, description = "The package's id"), Count),
    responses((status = 200, body = Items<Pending>), Refusals))]
pub(super) async fn pending(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, id)): At<(Slug, PackageId)>,
    Query(count): Query<Count>,
) -> Result<Items<Pending>, ApiError> {
    let wanted = count.wanted()?;
    let access = app.registry.package_for(call.caller(), &workspace, id, Action::Pull).await?;
    let found = app.registry.pending(&access, wanted.limit()).await?;
    Ok(Items::whole(found, Pending::from))
}

/// What keeps a blob or manifest of a package.
#[utoipa::path(get, path = "/workspaces/{workspace}/packages/{package}/holders", tag = "space",
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("package" = u64, Path, description = "The package's id"), HoldersQuery),
    responses((status = 200, body = Holders), Refusals))]
pub(super) async fn holders(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, id)): At<(Slug, PackageId)>,
    Query(query): Query<HoldersQuery>,
) -> Result<axum::Json<Holders>, ApiError> {
    let wanted = Count { limit: query.limit }.wanted()?;
    let digest: Digest = parse("digest", &query.digest)?;
    let access = app.registry.package_for(call.caller(), &workspace, id, Action::Pull).await?;
    let found = app.registry.holders(&access, &digest, wanted.limit()).await?;
    Ok(axum::Json(Holders::at(app.registry.clock().now(), found)))
}

/// What was freed in a workspace, by event, newest event first. Takes an administrator of the
/// workspace.
#[utoipa::path(get, path = "/workspaces/{workspace}/receipts", tag = "space",
    params(("workspace" = String, Path, description = "The workspace's slug"), Paging),
    responses((status = 200, body = Items<Receipt>), Refusals))]
pub(super) async fn receipts(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace,)): At<(Slug,)>,
    Query(paging): Query<Paging>,
) -> Result<Items<Receipt>, ApiError> {
    let wanted = paging.wanted()?;
    let access = app.registry.workspace_admin(call.caller(), &workspace).await?;
    let before = wanted.after().map(|text| URL_SAFE_NO_PAD.decode(text).map(ReceiptCursor));
    let before = before.transpose();
    let before = before.map_err(|_| ApiError::invalid("after", "this is no cursor of ours"))?;
    let limit = wanted.page().limit;
    let found = app.registry.receipts(&access, before.as_ref(), limit).await?;
    let cursor = |found: &(ReceiptCursor, _)| URL_SAFE_NO_PAD.encode(&found.0.0);
    Ok(Items::page(found, &wanted, cursor, |(_, receipt)| receipt.into()))
}
