//! Blobs, links and uploads.
//!
//! Invariant: a blob row names one object and an object row names the blob back; a package sees a
//! blob through its link only. A link is written with a lease and a due entry, so that what nothing
//! refers to yet is looked at again and not before.

use super::batch::{Batch, Rows, Table, Walk};
use super::causes::CauseRow;
use super::due::{self, Item};
use super::keys::{Key, KeyReader};
use super::rows::{
    BlobRow, DeclaredRow, DoomedRow, LinkRow, NumberRow, ObjectRow, Row as _, StampRow, UploadRow,
};
use super::usage::{self, WorkspaceDelta, plus};
use super::{audit, packages, tags, workspaces};
use crate::domain::{
    Change, Digest, Event, ObjectKey, PackageId, Timestamp, UploadId, WorkspaceId,
    WorkspaceSettings,
};
use crate::metadata::{
    BlobFacts, FinishedUpload, MetadataError, NewUpload, Package, Result, Stamped, StoredObject,
    Target, Upload, Why,
};
pub(super) fn link_key(package: PackageId, digest: &Digest) -> Key {
    Key::new().package(package).digest(digest)
}

pub(super) fn blob_key(workspace: WorkspaceId, digest: &Digest) -> Key {
    Key::new().workspace(workspace).digest(digest)
}

fn object_key(object: ObjectKey) -> Key {
    Key::new().raw(object.0.as_bytes())
}

pub(super) fn upload_key(id: UploadId) -> Key {
    Key::new().raw(id.0.as_bytes())
}

fn declared_key(package: PackageId, id: UploadId) -> Key {
    Key::new().package(package).raw(id.0.as_bytes())
}

/// The link of a package to a blob, unless hidden.
pub(super) fn visible_link(
    rows: &impl Rows,
    package: PackageId,
    digest: &Digest,
) -> Result<Option<LinkRow>> {
    let link: Option<LinkRow> = rows.row(Table::Link, &link_key(package, digest))?;
    Ok(link.filter(|link| link.hidden.is_none() || mutant!("hidden-is-visible")))
}

pub(super) fn blob_row(
    rows: &impl Rows,
    workspace: WorkspaceId,
    digest: &Digest,
) -> Result<Option<BlobRow>> {
    rows.row(Table::Blob, &blob_key(workspace, digest))
}

/// Whether less than a lease is left of what was granted (a grant is longer, so that not every
/// confirmation has to write).
pub(super) fn running_out(lease: u64, settings: &WorkspaceSettings, now: Timestamp) -> bool {
    Timestamp(lease).since(now) < settings.lease
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
    let settings = workspaces::settings(rows, workspace)?;
    let referenced = rows.has_prefix(Table::Edge, &link_key(package, digest))?;
    let lease = if referenced { owner.confirmed } else { link.lease };
    Ok(Some(BlobFacts {
        object: blob.object(),
        size: blob.size,
        lease_wanted: running_out(lease, &settings, now),
        damaged: blob.damaged,
    }))
}

/// The packages of a workspace that a blob is linked in.
pub(super) fn linked_in(
    rows: &impl Rows,
    workspace: WorkspaceId,
    digest: &Digest,
    limit: usize,
) -> Result<Vec<Package>> {
    let mut found = Vec::new();
    let prefix = Key::new().workspace(workspace).digest(digest);
    rows.prefix(Table::Holder, &prefix, None, &mut |rest, _| {
        if found.len() >= limit {
            return Ok(Walk::Stop);
        }
        let id = PackageId(KeyReader(rest).number().ok_or(MetadataError::Corrupt("holder"))?);
        if visible_link(rows, id, digest)?.is_some()
            && let Some(package) = packages::by_id(rows, id)?
        {
            found.push(package);
        }
        Ok(Walk::Continue)
    })?;
    Ok(found)
}

/// An upload that begins now, if its package is there already. Writes nothing.
pub(super) fn begin_upload(
    rows: &impl Rows,
    change: &Change,
    target: &Target,
    new: &NewUpload,
    now: Timestamp,
) -> Result<Option<Upload>> {
    let planned = packages::plan(rows, target)?;
    let (workspace, started) = (planned.workspace(), Stamped { at: now, change: change.clone() });
    let owner = new.owner.clone();
    let begun = |package| Upload { id: new.id, package, workspace, owner, started };
    Ok(planned.existing().map(begun))
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
    let started = Stamped { at: batch.now(), change: change.clone() };
    let upload = Upload { id: new.id, package, workspace, owner: new.owner.clone(), started };
    record(batch, &upload, new.declared.as_ref())?;
    Ok(upload)
}

/// Writes the rows of an upload.
pub(super) fn record(
    batch: &mut Batch<'_>,
    upload: &Upload,
    declared: Option<&Digest>,
) -> Result<()> {
    batch.put(Table::Upload, &upload_key(upload.id), &UploadRow::new(upload))?;
    if let Some(digest) = declared {
        let row = DeclaredRow { digest: digest.into() };
        batch.put(Table::Declared, &declared_key(upload.package, upload.id), &row)?;
    }
    let lease = workspaces::settings(batch, upload.workspace)?.lease;
    due::set(batch, &Item::Upload(upload.id), upload.started.at.plus(lease), None)
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

/// The uploads of a package that were declared to become `digest`.
pub(super) fn declared_uploads(
    rows: &impl Rows,
    package: PackageId,
    digest: &Digest,
    limit: usize,
) -> Result<Vec<Upload>> {
    let mut ids = Vec::new();
    rows.prefix(Table::Declared, &Key::new().package(package), None, &mut |key, value| {
        if DeclaredRow::decode(value)?.digest.read()? == *digest {
            let id = key.try_into().map_err(|_| MetadataError::Corrupt("declared upload"))?;
            ids.push(UploadId(uuid::Uuid::from_bytes(id)));
        }
        Ok(if ids.len() < limit { Walk::Continue } else { Walk::Stop })
    })?;
    let found = ids.into_iter().map(|id| upload(rows, id));
    Ok(found.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

pub(super) fn end_upload(batch: &mut Batch<'_>, id: UploadId) -> Result<()> {
    batch.note_ended(id);
    let Some(upload) = upload(batch, id)? else { return Ok(()) };
    batch.remove(Table::Declared, &declared_key(upload.package, id))?;
    due::clear(batch, &Item::Upload(id))?;
    batch.remove(Table::Upload, &upload_key(id)).map(|_| ())
}

pub(super) fn finish_upload(
    batch: &mut Batch<'_>,
    upload: &Upload,
    digest: &Digest,
    object: ObjectKey,
    size: u64,
) -> Result<FinishedUpload> {
    packages::live_row(batch, upload.package)?.ok_or(MetadataError::NotFound)?;
    let workspace = upload.workspace;
    let settings = workspaces::settings(batch, workspace)?;
    let existing = blob_row(batch, workspace, digest)?;
    let loser = match existing {
        Some(sound) if !sound.damaged => {
            doom(batch, workspace, object, size, batch.now())?;
            Some(object)
        }
        damaged => {
            if let Some(old) = damaged {
                // A push heals: the damaged object makes room, and stays a while for whoever wants to
                // know what became of it.
                batch.remove(Table::Object, &object_key(old.object()))?;
                let when = batch.now().plus(settings.purge);
                doom(batch, workspace, old.object(), old.size, when)?;
                let delta = WorkspaceDelta { blobs: -plus(old.size), ..Default::default() };
                usage::change_workspace(batch, workspace, delta)?;
            }
            name(batch, workspace, digest, object, size)?;
            None
        }
    };
    link(batch, &settings, workspace, upload.package, digest, size)?;
    end_upload(batch, upload.id)?;
    Ok(FinishedUpload { loser })
}

/// Makes an object the content of a blob.
fn name(
    batch: &mut Batch<'_>,
    workspace: WorkspaceId,
    digest: &Digest,
    object: ObjectKey,
    size: u64,
) -> Result<()> {
    let row = BlobRow { object: object.0.into_bytes(), size, damaged: false };
    batch.put(Table::Blob, &blob_key(workspace, digest), &row)?;
    let row = ObjectRow { workspace: workspace.0, digest: digest.into() };
    batch.put(Table::Object, &object_key(object), &row)?;
    let delta = WorkspaceDelta { blobs: plus(size), ..Default::default() };
    usage::change_workspace(batch, workspace, delta)
}

/// Enters an object that no blob names any more into the list of what is to be removed.
pub(super) fn doom(
    batch: &mut Batch<'_>,
    workspace: WorkspaceId,
    object: ObjectKey,
    size: u64,
    when: Timestamp,
) -> Result<()> {
    let row = DoomedRow { workspace: workspace.0, size, when: when.0 };
    batch.put(Table::Doomed, &object_key(object), &row)?;
    batch.mark(Table::Purge, &purge_key(when, object))?;
    let delta = WorkspaceDelta { doomed: plus(size), ..Default::default() };
    usage::change_workspace(batch, workspace, delta)
}

fn purge_key(when: Timestamp, object: ObjectKey) -> Key {
    Key::new().time(when).raw(object.0.as_bytes())
}

/// Forgets a blob that nobody holds any more and dooms its object.
pub(super) fn forget(
    batch: &mut Batch<'_>,
    workspace: WorkspaceId,
    digest: &Digest,
    blob: &BlobRow,
    when: Timestamp,
) -> Result<()> {
    if !mutant!("doomed-object-stays-named") {
        batch.remove(Table::Blob, &blob_key(workspace, digest))?;
    }
    batch.remove(Table::Object, &object_key(blob.object()))?;
    let delta = WorkspaceDelta { blobs: -plus(blob.size), ..Default::default() };
    usage::change_workspace(batch, workspace, delta)?;
    doom(batch, workspace, blob.object(), blob.size, when)
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
    let lease = batch.now().plus(settings.grant());
    let before = existing.map_or(0, |link| link.lease);
    let lease = if mutant!("upload-without-lease") { before } else { lease.0.max(before) };
    batch.put(Table::Link, &key, &LinkRow { lease, hidden: None, given_up: false })?;
    if mutant!("upload-without-due") {
        return Ok(());
    }
    due::set(batch, &Item::Link(package, *digest), Timestamp(lease), None)
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
    let foreign = from.workspace != workspace.0 && !mutant!("mount-across-workspaces");
    if foreign || visible_link(batch, source, digest)?.is_none() {
        return Err(MetadataError::NotFound);
    }
    let blob = blob_row(batch, workspace, digest)?;
    let blob = blob.ok_or(MetadataError::Corrupt("blob of a link"))?;
    if blob.damaged && !mutant!("damaged-is-mounted") {
        return Err(MetadataError::NotFound);
    }
    let settings = workspaces::settings(batch, workspace)?;
    let package = planned.package(batch, change)?;
    if mutant!("mount-without-lease") {
        let no_lease = WorkspaceSettings { lease: std::time::Duration::ZERO, ..settings };
        link(batch, &no_lease, workspace, package, digest, blob.size)?;
        return Ok(package);
    }
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
    if mutant!("head-does-not-renew") {
        return Ok(true);
    }
    let settings = workspaces::settings(batch, WorkspaceId(owner.workspace))?;
    let until = batch.now().plus(settings.grant());
    if batch.has_prefix(Table::Edge, &link_key(package, digest))? {
        packages::confirm(batch, package, until)?;
        return Ok(true);
    }
    row.lease = row.lease.max(until.0);
    batch.put(Table::Link, &link_key(package, digest), &row)?;
    let cause = due::of(batch, &Item::Link(package, *digest))?.and_then(|entry| entry.cause);
    due::set(batch, &Item::Link(package, *digest), Timestamp(row.lease), cause)?;
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
    let settings = workspaces::settings(batch, WorkspaceId(owner.workspace))?;
    let now = batch.now();
    let by = StampRow::new(change, now);
    let sequence = tags::next_sequence(batch, package)?;
    let of = (package, owner.name.as_str());
    let cause = CauseRow::new(Why::BlobDeleted, of, sequence, None, Some(digest), by.clone());
    (row.hidden, row.given_up) = (Some(by), false);
    batch.put(Table::Link, &link_key(package, digest), &row)?;
    packages::watch_cap(batch, WorkspaceId(owner.workspace), &settings)?;
    let target = format!("{}@{digest}", owner.name);
    let event = Event::workspace(WorkspaceId(owner.workspace), "blob.delete", target);
    audit::note(batch, change, &event)?;
    due::set(batch, &Item::Link(package, *digest), now.plus(settings.keep), Some(cause))
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
    if pinned_until(rows)? > now && !mutant!("pin-ignored") {
        return Ok(found);
    }
    rows.prefix(Table::Purge, &Key::new(), None, &mut |key, _| {
        let mut reader = KeyReader(key);
        let when = reader.number().ok_or(MetadataError::Corrupt("doomed object"))?;
        if found.len() >= limit || when > now.0 {
            return Ok(Walk::Stop);
        }
        let id = uuid::Uuid::from_slice(reader.0);
        found.push(ObjectKey(id.map_err(|_| MetadataError::Corrupt("doomed object"))?));
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
        batch.remove(Table::Purge, &purge_key(Timestamp(row.when), *object))?;
        let delta = WorkspaceDelta { doomed: -plus(row.size), ..Default::default() };
        usage::change_workspace(batch, WorkspaceId(row.workspace), delta)?;
    }
    Ok(())
}

pub(super) fn postpone_doomed(
    batch: &mut Batch<'_>,
    objects: &[ObjectKey],
    until: Timestamp,
) -> Result<()> {
    for object in objects {
        let key = object_key(*object);
        let row: Option<DoomedRow> = batch.row(Table::Doomed, &key)?;
        let Some(mut row) = row else { continue };
        batch.remove(Table::Purge, &purge_key(Timestamp(row.when), *object))?;
        row.when = until.0;
        batch.put(Table::Doomed, &key, &row)?;
        batch.mark(Table::Purge, &purge_key(until, *object))?;
    }
    Ok(())
}

/// Until when a backup holds back the removal of objects.
pub(super) fn pinned_until(rows: &impl Rows) -> Result<Timestamp> {
    Ok(Timestamp(rows.number(Table::Meta, &Key::new().text("pinned_until"))?))
}

pub(super) fn pin(batch: &mut Batch<'_>, until: Timestamp) -> Result<()> {
    let until = until.max(pinned_until(batch)?);
    batch.put(Table::Meta, &Key::new().text("pinned_until"), &NumberRow(until.0))
}

/// Objects in the order of their keys, with the blobs they are. One whose rows do not lead to a blob
/// is left out; [`super::check`] tells of it.
pub(super) fn objects(
    rows: &impl Rows,
    after: Option<ObjectKey>,
    limit: usize,
) -> Result<Vec<StoredObject>> {
    let mut found = Vec::new();
    let after = after.map(object_key);
    rows.prefix(Table::Object, &Key::new(), after.as_ref(), &mut |key, value| {
        if found.len() >= limit {
            return Ok(Walk::Stop);
        }
        match stored(rows, key, value) {
            Ok(object) => found.push(object),
            Err(MetadataError::Corrupt(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(Walk::Continue)
    })?;
    Ok(found)
}

fn stored(rows: &impl Rows, key: &[u8], value: &[u8]) -> Result<StoredObject> {
    let id = uuid::Uuid::from_slice(key).map_err(|_| MetadataError::Corrupt("object"))?;
    let row = ObjectRow::decode(value)?;
    let digest = row.digest.read()?;
    let blob = blob_row(rows, WorkspaceId(row.workspace), &digest)?;
    let blob = blob.ok_or(MetadataError::Corrupt("blob of an object"))?;
    Ok(StoredObject { object: ObjectKey(id), digest, size: blob.size, damaged: blob.damaged })
}

pub(super) fn mark_damaged(
    batch: &mut Batch<'_>,
    object: ObjectKey,
    damaged: bool,
) -> Result<bool> {
    let Some((workspace, digest)) = object_blob(batch, object)? else { return Ok(false) };
    let Some(mut row) = blob_row(batch, workspace, &digest)? else { return Ok(false) };
    if row.object() != object {
        return Ok(false);
    }
    if row.damaged != damaged {
        row.damaged = damaged;
        batch.put(Table::Blob, &blob_key(workspace, &digest), &row)?;
    }
    Ok(true)
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
