//! Blobs, links and uploads.
//!
//! Invariant: a blob row names one object and an object row names the blob back; a package sees a
//! blob through its link only. A link is written with a lease and a due entry, so that what nothing
//! refers to yet is looked at again and not before.

use super::batch::{Batch, Rows, Table, Walk};
use super::due::{self, Item};
use super::keys::{Key, KeyReader};
use super::packages;
use super::rows::{BlobRow, DoomedRow, LinkRow, ObjectRow, Row as _, StampRow, UploadRow};
use super::usage::{self, WorkspaceDelta, plus};
use super::workspaces;
use crate::domain::{
    Change, Digest, ObjectKey, PackageId, Timestamp, UploadId, WorkspaceId, WorkspaceSettings,
};
use crate::metadata::{
    BlobFacts, FinishedUpload, MetadataError, NewUpload, Result, Stamped, Target, Upload,
};
use std::time::Duration;

/// An upload is abandoned this long after it began, unless collection finds newer bytes.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

pub(super) fn link_key(package: PackageId, digest: &Digest) -> Key {
    Key::new().package(package).digest(digest)
}

pub(super) fn blob_key(workspace: WorkspaceId, digest: &Digest) -> Key {
    Key::new().workspace(workspace).digest(digest)
}

fn object_key(object: ObjectKey) -> Key {
    Key::new().raw(object.0.as_bytes())
}

fn upload_key(id: UploadId) -> Key {
    Key::new().raw(id.0.as_bytes())
}

/// The link of a package to a blob, unless hidden.
pub(super) fn visible_link(
    rows: &impl Rows,
    package: PackageId,
    digest: &Digest,
) -> Result<Option<LinkRow>> {
    let link: Option<LinkRow> = rows.row(Table::Link, &link_key(package, digest))?;
    Ok(link.filter(|link| link.hidden.is_none()))
}

pub(super) fn blob_row(
    rows: &impl Rows,
    workspace: WorkspaceId,
    digest: &Digest,
) -> Result<Option<BlobRow>> {
    rows.row(Table::Blob, &blob_key(workspace, digest))
}

/// Whether less than half of a lease is left.
pub(super) fn running_out(lease: u64, settings: &WorkspaceSettings, now: Timestamp) -> bool {
    Timestamp(lease).since(now) < settings.lease / 2
}

pub(super) fn facts(
    rows: &impl Rows,
    package: PackageId,
    digest: &Digest,
    now: Timestamp,
) -> Result<Option<BlobFacts>> {
    let Some(owner) = packages::live_row(rows, package)? else { return Ok(None) };
    let workspace = WorkspaceId(owner.workspace);
    let Some(link) = visible_link(rows, package, digest)? else { return Ok(None) };
    let blob = blob_row(rows, workspace, digest)?;
    let blob = blob.ok_or(MetadataError::Corrupt("blob of a link"))?;
    let lease_wanted = running_out(link.lease, &workspaces::settings(rows, workspace)?, now)
        && !rows.has_prefix(Table::Edge, &link_key(package, digest))?;
    Ok(Some(BlobFacts { object: blob.object(), size: blob.size, lease_wanted }))
}

pub(super) fn start_upload(
    batch: &mut Batch<'_>,
    change: &Change,
    target: &Target,
    new: &NewUpload,
) -> Result<Upload> {
    let planned = packages::plan(batch, target)?;
    let workspace = planned.workspace();
    let package = planned.package(batch, change)?;
    let now = batch.now();
    let upload = Upload {
        id: new.id,
        package,
        workspace,
        owner: new.owner.clone(),
        started: Stamped { at: now, change: change.clone() },
    };
    batch.put(Table::Upload, &upload_key(new.id), &UploadRow::new(&upload))?;
    due::set(batch, &Item::Upload(new.id), now.plus(ABANDONED))?;
    Ok(upload)
}

pub(super) fn upload(rows: &impl Rows, id: UploadId) -> Result<Option<Upload>> {
    let row: Option<UploadRow> = rows.row(Table::Upload, &upload_key(id))?;
    Ok(row.map(|row| row.read(id)))
}

pub(super) fn uploads(
    rows: &impl Rows,
    after: Option<UploadId>,
    limit: usize,
) -> Result<Vec<Upload>> {
    let mut found = Vec::new();
    let after = after.map(upload_key);
    rows.prefix(Table::Upload, &Key::new(), after.as_ref(), &mut |key, value| {
        if found.len() >= limit {
            return Ok(Walk::Stop);
        }
        let id = key.try_into().map_err(|_| MetadataError::Corrupt("upload"))?;
        let id = UploadId(uuid::Uuid::from_bytes(id));
        found.push(UploadRow::decode(value)?.read(id));
        Ok(Walk::Continue)
    })?;
    Ok(found)
}

pub(super) fn end_upload(batch: &mut Batch<'_>, id: UploadId) -> Result<()> {
    due::clear(batch, &Item::Upload(id))?;
    batch.remove(Table::Upload, &upload_key(id)).map(|_| ())
}

pub(super) fn finish_upload(
    batch: &mut Batch<'_>,
    id: UploadId,
    digest: &Digest,
    object: ObjectKey,
    size: u64,
) -> Result<FinishedUpload> {
    let upload = upload(batch, id)?.ok_or(MetadataError::NotFound)?;
    packages::live_row(batch, upload.package)?.ok_or(MetadataError::NotFound)?;
    let workspace = upload.workspace;
    let settings = workspaces::settings(batch, workspace)?;
    let existing = blob_row(batch, workspace, digest)?;
    let loser = match existing {
        Some(_) => {
            let when = batch.now().0;
            let row = DoomedRow { workspace: workspace.0, size, when };
            batch.put(Table::Doomed, &object_key(object), &row)?;
            let delta = WorkspaceDelta { doomed: plus(size), ..Default::default() };
            usage::change_workspace(batch, workspace, delta)?;
            Some(object)
        }
        None => {
            let row = BlobRow { object: object.0.into_bytes(), size };
            batch.put(Table::Blob, &blob_key(workspace, digest), &row)?;
            let row = ObjectRow { workspace: workspace.0, digest: digest.into() };
            batch.put(Table::Object, &object_key(object), &row)?;
            let delta = WorkspaceDelta { blobs: plus(size), ..Default::default() };
            usage::change_workspace(batch, workspace, delta)?;
            None
        }
    };
    let size = existing.map_or(size, |blob| blob.size);
    link(batch, &settings, workspace, upload.package, digest, size)?;
    end_upload(batch, id)?;
    Ok(FinishedUpload { loser })
}

/// Links a blob to a package, or shows a hidden link again, with a fresh lease.
fn link(
    batch: &mut Batch<'_>,
    settings: &WorkspaceSettings,
    workspace: WorkspaceId,
    package: PackageId,
    digest: &Digest,
    size: u64,
) -> Result<()> {
    let key = link_key(package, digest);
    let existing: Option<LinkRow> = batch.row(Table::Link, &key)?;
    if existing.is_none() {
        usage::add_holder(batch, workspace, package, digest, size)?;
    }
    let lease = batch.now().plus(settings.lease);
    let row = LinkRow { lease: lease.0.max(existing.map_or(0, |link| link.lease)), hidden: None };
    batch.put(Table::Link, &key, &row)?;
    due::set(batch, &Item::Link(package, digest), Timestamp(row.lease))
}

pub(super) fn mount(
    batch: &mut Batch<'_>,
    change: &Change,
    target: &Target,
    source: PackageId,
    digest: &Digest,
) -> Result<PackageId> {
    let planned = packages::plan(batch, target)?;
    let workspace = planned.workspace();
    let from = packages::live_row(batch, source)?.ok_or(MetadataError::NotFound)?;
    if from.workspace != workspace.0 || visible_link(batch, source, digest)?.is_none() {
        return Err(MetadataError::NotFound);
    }
    let blob = blob_row(batch, workspace, digest)?;
    let blob = blob.ok_or(MetadataError::Corrupt("blob of a link"))?;
    let settings = workspaces::settings(batch, workspace)?;
    let package = planned.package(batch, change)?;
    link(batch, &settings, workspace, package, digest, blob.size)?;
    Ok(package)
}

pub(super) fn renew_link(
    batch: &mut Batch<'_>,
    package: PackageId,
    digest: &Digest,
) -> Result<bool> {
    let Some(owner) = packages::live_row(batch, package)? else { return Ok(false) };
    let Some(mut row) = visible_link(batch, package, digest)? else { return Ok(false) };
    let settings = workspaces::settings(batch, WorkspaceId(owner.workspace))?;
    row.lease = row.lease.max(batch.now().plus(settings.lease).0);
    batch.put(Table::Link, &link_key(package, digest), &row)?;
    due::set(batch, &Item::Link(package, digest), Timestamp(row.lease))?;
    Ok(true)
}

pub(super) fn hide(
    batch: &mut Batch<'_>,
    change: &Change,
    package: PackageId,
    digest: &Digest,
) -> Result<()> {
    let owner = packages::live_row(batch, package)?.ok_or(MetadataError::NotFound)?;
    let mut row = visible_link(batch, package, digest)?.ok_or(MetadataError::NotFound)?;
    let keep = workspaces::settings(batch, WorkspaceId(owner.workspace))?.keep;
    let now = batch.now();
    row.hidden = Some(StampRow::new(change, now));
    batch.put(Table::Link, &link_key(package, digest), &row)?;
    due::set(batch, &Item::Link(package, digest), now.plus(keep))
}

pub(super) fn known(rows: &impl Rows, objects: &[ObjectKey]) -> Result<Vec<bool>> {
    let known = |object: &ObjectKey| {
        let key = object_key(*object);
        Ok(rows.has(Table::Object, &key)? || rows.has(Table::Doomed, &key)?)
    };
    objects.iter().map(known).collect()
}

pub(super) fn doomed(rows: &impl Rows, limit: usize, now: Timestamp) -> Result<Vec<ObjectKey>> {
    let mut found = Vec::new();
    rows.prefix(Table::Doomed, &Key::new(), None, &mut |key, value| {
        if found.len() >= limit {
            return Ok(Walk::Stop);
        }
        if DoomedRow::decode(value)?.when <= now.0 {
            let id = key.try_into().map_err(|_| MetadataError::Corrupt("doomed object"))?;
            found.push(ObjectKey(uuid::Uuid::from_bytes(id)));
        }
        Ok(Walk::Continue)
    })?;
    Ok(found)
}

pub(super) fn forget_doomed(batch: &mut Batch<'_>, objects: &[ObjectKey]) -> Result<()> {
    for object in objects {
        let key = object_key(*object);
        let row: Option<DoomedRow> = batch.row(Table::Doomed, &key)?;
        let Some(row) = row else { continue };
        batch.remove(Table::Doomed, &key)?;
        let delta = WorkspaceDelta { doomed: -plus(row.size), ..Default::default() };
        usage::change_workspace(batch, WorkspaceId(row.workspace), delta)?;
    }
    Ok(())
}

/// The blob that an object is, for checks.
pub(super) fn object_blob(
    rows: &impl Rows,
    object: ObjectKey,
) -> Result<Option<(WorkspaceId, Digest)>> {
    let row: Option<ObjectRow> = rows.row(Table::Object, &object_key(object))?;
    row.map(|row| Ok((WorkspaceId(row.workspace), row.digest.read()?))).transpose()
}

/// Reads a digest at the front of a key's rest.
pub(super) fn digest_of(rest: &[u8], what: &'static str) -> Result<Digest> {
    KeyReader(rest).digest().ok_or(MetadataError::Corrupt(what))
}
